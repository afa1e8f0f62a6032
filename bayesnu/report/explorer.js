// The explorer: expected counts and -2 ln L of a run, evaluated again for the couplings and pulls of the sliders.
// Counts are those of bayesnu.experiment.expectation, the statistic that of bayesnu.inference.likelihood.
"use strict";
(() => {
  const root = document.getElementById("explorer");
  const source = document.getElementById("explorer-data");
  if (!source) return;
  const model = JSON.parse(source.textContent);
  const observations = model.data.length;
  const sum = values => values.reduce((a, b) => a + b, 0);

  // Expected counts: Σ_component Π_p (1 + f_p)^k Σ_monomial Π_j θ_j^n · A[component, monomial, observation].

  function strengths(couplings) {
    const values = model.monomials.map(m => m.reduce((product, [j, n]) => product * couplings[j] ** n, 1));
    const counts = model.components.map(() => new Float64Array(observations));
    for (const block of model.blocks) {
      const own = counts[block.component], factor = values[block.monomial];
      if (factor !== 0) block.counts.forEach((value, k) => { own[block.first + k] += factor * value; });
    }
    return counts;
  }

  function weightsOf(pulls) {
    return model.components.map(powers => powers.reduce((product, [p, k]) => product * (1 + pulls[p]) ** k, 1));
  }

  function expected(counts, pulls) {
    const total = new Float64Array(observations);
    weightsOf(pulls).forEach((weight, c) => counts[c].forEach((value, i) => { total[i] += weight * value; }));
    return total;
  }

  // -2 ln L and its first and second derivatives in observation i, normal or a count; `mean` is the expected one.

  function deviance(i, mean) {
    const [n, normal, variance] = [model.data[i], model.normal_variance[i], model.relative_variance[i]];
    if (normal > 0) return (n - mean) ** 2 / normal;
    if (!(mean > 0)) return mean === 0 && n === 0 ? 0 : Infinity;
    const away = n > 0 ? (mean - n) / n : 0;
    const logRatio = n > 0 ? Math.log1p(away) : 0;
    if (variance > 0) {
      return 2 * (n + 1 / variance) * Math.log1p(variance * (mean - n) / (1 + variance * n)) - 2 * n * logRatio;
    }
    return n > 0 ? 2 * n * (away - logRatio) : 2 * mean;
  }

  function slopes(i, mean) {
    const [n, normal, v] = [model.data[i], model.normal_variance[i], model.relative_variance[i]];
    if (normal > 0) return [2 * (mean - n) / normal, 2 / normal, 2 / normal];
    // Nothing expected and nothing seen: no pull changes that.
    if (mean === 0 && n === 0) return [2, 0, 0];
    return [
      2 * (mean - n) / (mean * (1 + v * mean)),
      2 * (n / mean ** 2 - v * (1 + v * n) / (1 + v * mean) ** 2),
      2 / (mean * (1 + v * mean)), // The second one where n is what is expected.
    ];
  }

  const constrained = model.pulls.map(pull => pull.constrained && pull.width > 0);

  function minusTwoLogL(counts, pulls) {
    const total = expected(counts, pulls);
    return sum(model.data.map((_, i) => deviance(i, total[i])))
      + sum(pulls.map((f, p) => (constrained[p] ? (f / model.pulls[p].width) ** 2 : 0)));
  }

  // Pulls that minimise -2 ln L: Newton's steps in z = f/σ, or those with the expected curvature where it is not convex.

  function solve(matrix, gradient) {
    const n = gradient.length;
    const scale = matrix.map((row, a) => 1 / Math.sqrt(row[a]));
    const factor = matrix.map(row => new Float64Array(row.length));
    for (let a = 0; a < n; a++) {
      for (let b = 0; b <= a; b++) {
        let total = matrix[a][b] * scale[a] * scale[b];
        for (let k = 0; k < b; k++) total -= factor[a][k] * factor[b][k];
        if (a !== b) factor[a][b] = total / factor[b][b];
        else if (total > 1e-14) factor[a][a] = Math.sqrt(total);
        else return null;
      }
    }
    const step = gradient.map((g, a) => -g * scale[a]);
    for (let a = 0; a < n; a++) {
      for (let k = 0; k < a; k++) step[a] -= factor[a][k] * step[k];
      step[a] /= factor[a][a];
    }
    for (let a = n - 1; a >= 0; a--) {
      for (let k = a + 1; k < n; k++) step[a] -= factor[k][a] * step[k];
      step[a] /= factor[a][a];
    }
    return step.map((s, a) => s * scale[a]);
  }

  function derivatives(counts, pulls, free, convex) {
    const place = new Map(free.map((p, a) => [p, a]));
    const weights = weightsOf(pulls);
    const change = free.map(() => new Float64Array(observations));
    const rates = free.map(p => model.pulls[p].width / (1 + pulls[p]));
    const own = model.components.map(powers => powers.filter(([p]) => place.has(p)).map(([p, k]) => [place.get(p), k]));
    own.forEach((powers, c) => powers.forEach(([a, k]) => {
      counts[c].forEach((value, i) => { change[a][i] += k * rates[a] * weights[c] * value; });
    }));
    const at = Array.from(expected(counts, pulls), (mean, i) => slopes(i, mean));
    const penalty = free.map(p => (constrained[p] ? 2 : 0));
    const gradient = free.map((p, a) =>
      sum(at.map((slope, i) => slope[0] * change[a][i])) + penalty[a] * pulls[p] / model.pulls[p].width);
    const matrix = free.map((_, a) => free.map((__, b) =>
      sum(at.map((slope, i) => slope[convex ? 2 : 1] * change[a][i] * change[b][i])) + (a === b ? penalty[a] + 1e-12 : 0)));
    if (!convex) {
      own.forEach((powers, c) => {
        const pull = weights[c] * sum(at.map((slope, i) => slope[0] * counts[c][i]));
        for (const [a, k] of powers) {
          for (const [b, l] of powers) matrix[a][b] += pull * rates[a] * rates[b] * (a === b ? k * (k - 1) : k * l);
        }
      });
    }
    return { gradient, matrix };
  }

  function profile(counts, start) {
    const free = model.pulls.map((_, p) => p).filter(p => model.pulls[p].width > 0);
    let pulls = start.slice(), value = minusTwoLogL(counts, pulls);
    for (let round = 0; round < 200 && Number.isFinite(value); round++) {
      let at = derivatives(counts, pulls, free, false);
      let step = solve(at.matrix, at.gradient);
      if (step === null) {
        at = derivatives(counts, pulls, free, true);
        step = solve(at.matrix, at.gradient);
      }
      if (step === null) break;
      const promise = -sum(step.map((s, a) => s * at.gradient[a])) / 2;
      // No factor 1 + f falls below a tenth of what it is.
      let length = Math.min(1, ...free.map((p, a) => -0.9 * (1 + pulls[p]) / Math.min(step[a] * model.pulls[p].width, -1e-300)));
      let better = false;
      for (let halving = 0; halving < 40 && !better; halving++, length /= 2) {
        const trial = pulls.slice();
        free.forEach((p, a) => { trial[p] += length * step[a] * model.pulls[p].width; });
        const attempt = minusTwoLogL(counts, trial);
        if (attempt <= value) [better, pulls, value] = [true, trial, attempt];
      }
      if (!better || promise < 1e-10) break;
    }
    return { pulls, value };
  }

  // What is set, and what is compared with it: the Standard Model, its pulls 0 or profiled as well.

  const none = model.pulls.map(() => 0);
  const standard = strengths(model.couplings.map(() => 0));
  const standardCounts = expected(standard, none);
  const standardValue = minusTwoLogL(standard, none);
  const standardProfiled = profile(standard, none);
  const state = { couplings: model.couplings.map(() => 0), pulls: none.slice(), profiled: none };

  // The spectra: data with their errors, the Standard Model, what the sliders say, and the ratios of all to it.

  const width = 380, height = 330, left = 60, right = 22, top = 10, split = 218, gap = 14, bottom = 40;
  const errors = model.errors ?? model.data.map(Math.sqrt);
  const round = value => Math.round(value * 100) / 100;
  const short = value => (value === 0 ? "0" : Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3
    ? value.toExponential(1).replace(".0e", "e").replace("e+", "e") : String(Number(value.toPrecision(4))));

  function ticks(low, high, wanted) {
    const step = [1, 2, 5, 10].map(k => k * 10 ** Math.floor(Math.log10((high - low) / wanted)))
      .find(size => (high - low) / size <= wanted) ?? high - low;
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push(Number((k * step).toPrecision(12)));
    return found;
  }

  function decades(low, high) {
    const found = [];
    for (let k = Math.ceil(Math.log10(low) - 1e-9); 10 ** k <= high * (1 + 1e-9); k++) found.push(10 ** k);
    if (found.length > 1) return found.length > 6 ? found.filter((_, k) => k % 2 === 0) : found;
    return [1, 2, 5].flatMap(k => [-1, 0, 1].map(d => k * 10 ** (Math.floor(Math.log10(low)) + d)))
      .filter(value => value >= low && value <= high).sort((a, b) => a - b);
  }

  function axis(low, high, from, to, logarithmic) {
    const map = logarithmic ? Math.log : value => value;
    const [a, b] = [map(low), map(high)];
    return value => round(from + (map(Math.min(Math.max(value, low), high)) - a) / (b - a) * (to - from));
  }

  function stairs(edges, values, x, y, name) {
    const path = values.map((value, k) => (Number.isFinite(value)
      ? `${k === 0 || !Number.isFinite(values[k - 1]) ? "M" : "L"}${x(edges[k])} ${y(value)}H${x(edges[k + 1])}` : "")).join("");
    return `<path class="${name}" d="${path}"/>`;
  }

  function points(edges, values, spreads, x, y, logarithmic) {
    return values.map((value, k) => {
      if (!Number.isFinite(value)) return "";
      const centre = x(logarithmic ? Math.sqrt(edges[k] * edges[k + 1]) : (edges[k] + edges[k + 1]) / 2);
      return `<path class="data" d="M${centre} ${y(value - spreads[k])}V${y(value + spreads[k])}"/>`
        + `<circle class="data" cx="${centre}" cy="${y(value)}" r="2.4"/>`;
    }).join("");
  }

  function spectrum(exposure, counts) {
    const { edges, first } = exposure, bins = edges.length - 1;
    const cut = values => Array.from(values).slice(first, first + bins);
    const [data, spread, sm, now] = [cut(model.data), cut(errors), cut(standardCounts), cut(counts)];
    const logarithmicX = model.axis.scale === "log";
    const positive = [...sm, ...now].filter(value => value > 0);
    const highest = Math.max(...now, ...sm, ...data.map((n, k) => n + spread[k]), 1e-12);
    const least = Math.min(highest, ...positive);
    const logarithmicY = highest > 50 * least;
    const x = axis(edges[0], edges[bins], left, width - right, logarithmicX);
    const low = logarithmicY ? Math.max(least / 2, highest / 1e7) : Math.min(0, ...now), high = highest * (logarithmicY ? 2 : 1.08);
    const y = axis(low, high, split, top, logarithmicY);
    const relative = values => values.map((value, k) => (sm[k] > 0 ? value / sm[k] : NaN));
    const ratios = { data: relative(data), spread: relative(spread), now: relative(now) };
    const typical = ratios.spread.filter(Number.isFinite).sort((a, b) => a - b)[Math.floor(bins / 2)] ?? 0;
    const away = [...ratios.now, ...ratios.data].filter(Number.isFinite).map(value => Math.abs(value - 1));
    const half = 1.25 * Math.max(typical, 1e-6, ...away);
    const r = axis(1 - half, 1 + half, height - bottom, split + gap, false);
    const grid = [
      ...(logarithmicX ? decades(edges[0], edges[bins]) : ticks(edges[0], edges[bins], 6)).map(value =>
        `<path class="tick" d="M${x(value)} ${height - bottom}v-4M${x(value)} ${split}v-4"/>`
        + `<text x="${x(value)}" y="${height - bottom + 14}" text-anchor="middle">${short(value)}</text>`),
      ...(logarithmicY ? decades(low, high) : ticks(low, high, 6)).map(value =>
        `<path class="tick" d="M${left} ${y(value)}h4"/><text x="${left - 5}" y="${y(value) + 4}" text-anchor="end">${short(value)}</text>`),
      ...ticks(1 - half, 1 + half, 4).map(value =>
        `<path class="tick" d="M${left} ${r(value)}h4"/><text x="${left - 5}" y="${r(value) + 4}" text-anchor="end">${short(value)}</text>`),
    ].join("");
    const words = `${exposure.name}: ${short(sum(now))} counts expected, ${short(sum(sm))} in the Standard Model, ${short(sum(data))} in the data`;
    return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escape(words)}">`
      + `<rect class="frame" x="${left}" y="${top}" width="${width - left - right}" height="${split - top}"/>`
      + `<rect class="frame" x="${left}" y="${split + gap}" width="${width - left - right}" height="${height - bottom - split - gap}"/>`
      + grid
      + `<text x="${(left + width - right) / 2}" y="${height - 8}" text-anchor="middle">${escape(model.axis.label)}</text>`
      + `<text transform="translate(11 ${(top + split) / 2}) rotate(-90)" text-anchor="middle">counts per bin</text>`
      + `<text transform="translate(11 ${(split + gap + height - bottom) / 2}) rotate(-90)" text-anchor="middle">/ SM</text>`
      + stairs(edges, now, x, y, "now") + stairs(edges, sm, x, y, "sm") + points(edges, data, spread, x, y, logarithmicX)
      + stairs(edges, ratios.now, x, r, "now") + stairs(edges, relative(sm), x, r, "sm")
      + points(edges, ratios.data, ratios.spread, x, r, logarithmicX)
      + "</svg>";
  }

  function escape(text) {
    return String(text).replace(/[&<>"]/g, c => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
  }

  // The controls: a slider and a field for each coupling and pull; both hold numbers that `bayesnu predict` takes.

  const steps = 200;
  const find = name => root.querySelector(`[data-part="${name}"]`);

  function control(kind, index, item) {
    const id = `${kind}-${index}`;
    const label = kind === "coupling" ? `${item.name} [${item.unit}]` : item.name;
    const box = document.createElement("div");
    box.className = "control";
    box.innerHTML = `<label for="${id}">${escape(label)}</label>`
      + `<input id="${id}-value" type="number" step="any" aria-label="value of ${escape(label)}">`
      + `<input id="${id}" type="range" step="1" min="${item.low}" max="${steps}">`
      + (item.bounds?.length ? `<div class="bounds">${item.bounds.map((bound, k) =>
        `<button type="button" data-bound="${k}" title="${escape(item.name)} at this bound, the other couplings 0">`
        + `${escape(item.probability)} point: ${Number(bound.toPrecision(3))}</button>`).join("")}</div>` : "");
    const [slider, field] = [box.querySelector("[type=range]"), box.querySelector("[type=number]")];
    const values = kind === "coupling" ? state.couplings : state.pulls;
    const set = value => {
      values[index] = value;
      update();
    };
    slider.addEventListener("input", () => {
      set(Number((Number(slider.value) / steps * item.reach).toPrecision(6)));
    });
    field.addEventListener("change", () => {
      const value = Number(field.value);
      set(Number.isFinite(value) ? Math.max(value, item.least) : 0);
    });
    box.querySelectorAll("button").forEach(button => button.addEventListener("click", () => {
      state.couplings.fill(0);
      set(Number(item.bounds[Number(button.dataset.bound)].toPrecision(6)));
    }));
    const show = () => {
      const value = values[index];
      slider.value = String(Math.round(value / item.reach * steps));
      if (Number(field.value) !== value || field.value === "") field.value = String(value);
      slider.setAttribute("aria-valuetext", kind === "coupling" ? `${value} ${item.unit}` : `${value}, ${short(value / item.width)} σ`);
    };
    find(kind === "coupling" ? "couplings" : "pulls").append(box);
    return show;
  }

  const controls = [
    ...model.couplings.map((item, j) => control("coupling", j, {
      ...item, low: item.squared_only ? 0 : -steps, least: item.squared_only ? 0 : -Infinity,
    })),
    // A factor 1 + f stays above 0.
    ...model.pulls.map((item, p) => [item, p]).filter(([item]) => item.width > 0).map(([item, p]) => control("pull", p, {
      ...item, reach: Math.min(3 * item.width, 0.99), low: -steps, least: -0.999999,
    })),
  ];

  const charts = model.exposures.map(exposure => {
    const figure = document.createElement("figure");
    figure.innerHTML = `<div></div><figcaption>${escape(exposure.name)}</figcaption>`;
    find("charts").append(figure);
    return figure.firstElementChild;
  });
  const rows = model.exposures.flatMap(exposure => exposure.edges.slice(1).map((edge, k) => {
    const row = document.createElement("tr");
    row.innerHTML = `<td>${escape(exposure.name)}</td><td>${short(exposure.edges[k])}–${short(edge)}</td><td></td><td></td><td></td>`;
    find("counts").append(row);
    return row;
  }));

  const signed = value => (Number.isFinite(value)
    ? `${value < -5e-4 ? "−" : value > 5e-4 ? "+" : ""}${Math.abs(value) >= 1e5 ? Math.abs(value).toExponential(3) : Math.abs(value).toFixed(3)}`
    : "∞: the data are impossible here");

  function update() {
    const counts = strengths(state.couplings);
    const total = expected(counts, state.pulls);
    const atPulls = minusTwoLogL(counts, state.pulls) - standardValue;
    // Always from 0, so that what is found does not depend on the way there.
    const best = profile(counts, none);
    state.profiled = best.pulls;
    const profiled = best.value - standardProfiled.value;
    controls.forEach(show => show());
    charts.forEach((chart, k) => { chart.innerHTML = spectrum(model.exposures[k], total); });
    rows.forEach((row, i) => {
      const cells = row.children;
      [model.data[i], standardCounts[i], total[i]].forEach((value, k) => {
        cells[2 + k].textContent = value >= 1e6 ? value.toExponential(5) : value.toFixed(3);
        cells[2 + k].dataset.value = String(value);
      });
    });
    for (const [name, value] of [["fixed", atPulls], ["profiled", profiled]]) {
      find(name).textContent = signed(value);
      find(name).dataset.value = String(value);
    }
    const given = (option, items, values) => items.map((item, k) =>
      (values[k] === 0 ? "" : ` --${option} '${item.name}=${values[k]}'`)).join("");
    const fitOnly = model.pulls.some((item, p) => item.name.startsWith("mc_stat[") && state.pulls[p] !== 0);
    find("command").textContent = fitOnly ? "none: pulls mc_stat[k] are the fit's alone"
      : model.command + given("set", model.couplings, state.couplings) + given("pull", model.pulls, state.pulls);
  }

  find("standard").addEventListener("click", () => {
    state.couplings.fill(0);
    state.pulls.fill(0);
    update();
  });
  find("profile").addEventListener("click", () => {
    state.profiled.forEach((f, p) => { state.pulls[p] = Number(f.toPrecision(6)); });
    update();
  });
  find("zero").addEventListener("click", () => {
    state.pulls.fill(0);
    update();
  });
  update();
})();
