"""The report of a run, and the explorer of every kind of card, in headless Chromium with the network off."""

import base64
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import CHROMIUM, MISSING, Chromium, Page, opened

from bayesnu.experiment.setup import Experiment, load_combination, load_experiment
from bayesnu.inference.likelihood import make_problem, minimise_pulls
from bayesnu.physics.couplings import COUPLINGS
from bayesnu.report.build import templates
from bayesnu.report.explorer import explorer_content
from bayesnu.results.counts import counts_json

pytestmark = pytest.mark.browser
COLOURS = """(async () => {
  const found = [];
  for (const image of document.querySelectorAll("img")) {
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const pixels = new Uint32Array(context.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
    found.push([image.alt, image.naturalWidth, new Set(pixels).size]);
  }
  return found;
})()"""
SHOWN = """(() => {
  const value = name => Number(document.querySelector(`[data-part="${name}"]`).dataset.value);
  return {
    counts: [...document.querySelectorAll('[data-part="counts"] td:last-child')].map(td => Number(td.dataset.value)),
    fixed: value("fixed"), profiled: value("profiled"),
    command: document.querySelector('[data-part="command"]').textContent,
    drawn: [...document.querySelectorAll("svg path.now")].map(path => path.getAttribute("d")),
  };
})()"""

SCROLLED = """[...document.querySelectorAll("#explorer *")].filter(
  e => e.scrollHeight > e.clientHeight + 1 && getComputedStyle(e).overflowY !== "visible").map(e => e.outerHTML)"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    if not CHROMIUM.exists():
        pytest.fail(MISSING.format(CHROMIUM), pytrace=False)
    with Chromium(tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    options = ["--coupling", "mu_numu", "--coupling", "q_nue", "--draws", "500", "--out", str(folder)]
    bayesnu("run", "dune-on-axis", *options)
    return folder


@pytest.fixture(scope="module")
def address(run_folder: Path) -> str:
    return (run_folder / "report.html").as_uri()


@pytest.fixture
def page(browser: Chromium, address: str) -> Iterator[Page]:
    """The page on a desktop; whatever a test does, the console stays empty and nothing is fetched."""
    with opened(browser, address) as tab:
        yield tab
        assert tab.complaints() == []
        assert [url for url in tab.requests() if not url.startswith(("data:", address))] == []


def bayesnu(*arguments: str) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "bayesnu.cli", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def predicted(command: str) -> list[float]:
    """The counts of all bins that the command shown on a page prints."""
    program, *arguments = shlex.split(command)
    assert program == "bayesnu"
    content = json.loads(bayesnu(*arguments, "--format", "json"))
    return [n for exposure in content["exposures"] for n in exposure["total"]]


def test_without_chromium_one_sentence_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"/nowhere is missing: install Debian's chromium"):
        Chromium(tmp_path, Path("/nowhere"))


def test_a_complaint_of_the_console_is_heard(browser: Chromium, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text('<script>console.error("one"); missing();</script><img src="http://example.org/two.png">')
    with opened(browser, broken.as_uri()) as tab:
        heard = " ".join(tab.complaints())
        assert tab.requests() == [broken.as_uri(), "http://example.org/two.png"]
    assert "one" in heard
    assert "missing is not defined" in heard
    assert "ERR_INTERNET_DISCONNECTED" in heard


def test_the_limits_table_is_found(page: Page, run_folder: Path) -> None:
    cells = page.evaluate(
        "[...document.querySelector('#limits').closest('section').querySelectorAll('tr')]"
        ".map(row => [...row.children].map(cell => cell.innerText))"
    )
    assert cells[0][:2] == ["coupling", "90% credible (NUTS)"]
    assert [row[0] for row in cells[1:]] == ["mu_numu [10^-10 mu_B]", "q_nue [10^-8 e]"]
    entry = json.loads((run_folder / "limits.json").read_text())["limits"][0]
    assert cells[1][1] == f"< {entry['credible']['intervals'][0][1] * 1e10:.2f}"


def test_every_figure_has_a_width_and_colours(page: Page) -> None:
    figures = page.evaluate(COLOURS)
    assert len(figures) == 2 + 2 * 5
    assert all(alternative and width > 200 and colours > 1 for alternative, width, colours in figures)
    assert page.evaluate(
        "[...document.querySelectorAll('figure')].every(f => f.querySelector('figcaption').textContent)"
    )


def test_a_slider_moves_the_counts_to_those_of_predict(page: Page) -> None:
    """By the keyboard, in both directions, of couplings and a pull."""
    first = page.evaluate(SHOWN)
    assert (first["fixed"], first["profiled"]) == (0.0, 0.0)
    page.press("#coupling-0", "ArrowRight", 37)
    one = page.evaluate(SHOWN)
    assert one["drawn"] != first["drawn"]
    assert "mu_numu=" in one["command"]
    np.testing.assert_allclose(one["counts"], predicted(one["command"]), rtol=1e-9, atol=0)
    page.press("#coupling-1", "ArrowLeft", 20)
    page.press("#pull-3", "ArrowRight", 50)
    both = page.evaluate(SHOWN)
    assert "q_nue=-" in both["command"]
    assert "ccqe=0.075" in both["command"]
    assert both["fixed"] > one["fixed"] > one["profiled"] > 0
    np.testing.assert_allclose(both["counts"], predicted(both["command"]), rtol=1e-9, atol=0)
    page.click("[data-part=standard]")
    assert page.evaluate(SHOWN) == first


def test_the_bounds_of_the_posterior_are_one_click_away(page: Page, run_folder: Path) -> None:
    entries = json.loads((run_folder / "limits.json").read_text())["limits"]
    page.click(".control:has(#coupling-0) button")
    limit = page.evaluate("Number(document.querySelector('#coupling-0-value').value)")
    assert limit == pytest.approx(entries[0]["credible"]["intervals"][0][1], rel=1e-5)
    page.click(".control:has(#coupling-1) button:last-child")
    values = page.evaluate("[0, 1].map(k => Number(document.querySelector(`#coupling-${k}-value`).value))")
    assert values == [0, pytest.approx(entries[1]["credible"]["intervals"][-1][1], rel=1e-5)]
    shown = page.evaluate(SHOWN)
    page.click("[data-part=profile]")
    profiled = page.evaluate(SHOWN)
    assert profiled["fixed"] == pytest.approx(shown["profiled"], abs=1e-6)
    fields = page.evaluate("[0, 1, 2, 3, 4].map(k => Number(document.querySelector(`#pull-${k}-value`).value))")
    assert [f"{value:.6g}" for value in fields] == [
        f"{float(given.partition('=')[2]):.6g}" for given in shlex.split(profiled["command"])[6::2]
    ]
    page.press("#pull-3", "ArrowRight", 10)
    moved = page.evaluate(SHOWN)
    assert moved["fixed"] > profiled["fixed"] + 0.01
    np.testing.assert_allclose(moved["counts"], predicted(moved["command"]), rtol=1e-9, atol=0)


def test_contents_and_figures_are_searched(page: Page) -> None:
    page.evaluate("document.querySelector('#search').focus()")
    page.call("Input.insertText", text="rank q_nue")
    shown = page.evaluate("[...document.querySelectorAll('#entries a')].filter(a => a.offsetParent).map(a => a.hash)")
    assert shown == ["#q_nue", "#figure-q_nue-ranks"]
    assert page.evaluate("document.querySelector('#contents output').textContent") == "1 sections, 1 figures"
    page.click("#entries a[href='#figure-q_nue-ranks']")
    assert page.evaluate("document.querySelector('#figure-q_nue-ranks img').getBoundingClientRect().height") > 100


def test_a_phone_scrolls_in_one_direction(browser: Chromium, address: str) -> None:
    with opened(browser, address, width=390, height=844, phone=True) as tab:
        tab.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        width, inner = tab.evaluate("[document.scrollingElement.scrollWidth, innerWidth]")
        assert (width <= inner, inner) == (True, 390)
        assert tab.evaluate(SCROLLED) == []
        assert tab.complaints() == []


def test_it_prints_with_everything_open(page: Page) -> None:
    page.evaluate(
        "addEventListener('beforeprint',"
        " () => { window.left = document.querySelectorAll('details:not([open])').length; })"
    )
    printed = base64.b64decode(page.call("Page.printToPDF", preferCSSPageSize=True)["data"])
    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Subtype /Image") >= 12
    assert page.evaluate("window.left") == 0
    assert page.evaluate("document.querySelectorAll('details:not([open])').length") > 0


COARSE = ("response.energy_cells=24", "response.angle_cells=16", "response.samples=30720")
CARDS = {
    "dune-on-axis": (["mu_numu", "q_nue"], []),
    "dune-on-axis with the response's error": (["mu_numu"], [*COARSE, "response.mc_stat=covariance"]),
    "dune-on-axis with independent errors": (["q_numu"], []),
    "nucleus-10kg": (["mu_nue", "d_nue"], []),
    "nucleus-10kg-radiative": (["d_nue"], []),
    "coherent-csi-2017": (["q_numu", "mu_nue"], []),
    "coherent-csi-2017 at a transition moment": (["d_numu"], []),
    "lsnd-nue": (["mu_nue", "mu_numu"], []),
    "dune-on-axis and lsnd-nue": (["mu_nue", "mu_numu"], []),
}


@pytest.fixture
def explored(
    browser: Chromium, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[Page, Experiment, list[str]]]:
    """The explorer of a card by itself, of couplings that move -2 ln L by about 1 where their sliders end."""
    couplings, overrides = CARDS[request.param]
    cards = request.param.split(" with ")[0].split(" at ")[0].split(" and ")
    experiment = load_experiment(cards[0], overrides) if len(cards) == 1 else load_combination(cards)
    if request.param.endswith("independent errors"):
        experiment = replace(experiment, bin_errors=np.linspace(0.01, 0.05, experiment.data.size) ** 2)
        assert make_problem(experiment, couplings).statistic == "gamma-poisson"
    scales = make_problem(experiment, couplings).scales
    sliders: list[dict[str, Any]] = [
        {
            "name": name,
            "unit": COUPLINGS[name].unit,
            "squared_only": COUPLINGS[name].squared_only,
            "reach": 3 * scale,
            "bounds": [],
            "probability": "90%",
        }
        for name, scale in zip(couplings, scales.tolist(), strict=True)
    ]
    content = explorer_content(counts_json(experiment, couplings), sliders, "bayesnu predict", None)
    path = tmp_path / "explorer.html"
    body = templates().get_template("explorer.html").render(explorer=content, data_kind="data")
    path.write_text(f"<!doctype html><meta charset='utf-8'>{body}", encoding="utf-8")
    with opened(browser, path.as_uri()) as tab:
        yield tab, experiment, couplings
        assert tab.complaints() == []


@pytest.mark.parametrize("explored", CARDS, indirect=True)
def test_every_kind_of_card_gives_the_counts_and_the_likelihood_of_a_fit(
    explored: tuple[Page, Experiment, list[str]],
) -> None:
    page, experiment, couplings = explored
    for k in range(len(couplings)):
        page.press(f"#coupling-{k}", "ArrowRight", 60 + 30 * k)
    page.press("#pull-0", "ArrowRight", 20)
    shown = page.evaluate(SHOWN)
    theta = page.evaluate(
        "[...document.querySelectorAll('[data-part=couplings] [type=number]')].map(f => Number(f.value))"
    )
    pull = page.evaluate("Number(document.querySelector('#pull-0-value').value)")
    assert all(value > 0 for value in [*theta, pull])
    model = experiment.model
    expected = model.expected(dict(zip(couplings, theta, strict=True)), {model.pulls[0]: pull})
    np.testing.assert_allclose(shown["counts"], expected, rtol=1e-9, atol=0)
    problem = make_problem(experiment, couplings)
    points = np.stack([np.zeros(len(theta)), np.array(theta) / problem.scales], axis=1)
    fits = minimise_pulls(problem, points)
    assert fits.converged.all()
    assert shown["profiled"] == pytest.approx(fits.value[1] - fits.value[0], abs=1e-6)
    assert len(shown["drawn"]) == 2 * page.evaluate("document.querySelectorAll('svg').length")
