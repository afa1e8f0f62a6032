// The contents that can be searched, figures behind a link, and everything open on paper.
"use strict";
(() => {
  const search = document.getElementById("search");
  const entries = [...document.querySelectorAll("#entries li")];

  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const has = text => words.every(word => text.toLowerCase().includes(word));
    let sections = 0, figures = 0;
    for (const entry of entries) {
      const section = document.getElementById(entry.dataset.section).closest("section");
      const links = [...entry.querySelectorAll("span")];
      for (const link of links) {
        link.hidden = !has(`${entry.dataset.section} ${link.textContent} ${link.querySelector("a").title}`);
      }
      const found = links.filter(link => !link.hidden).length;
      entry.hidden = !has(section.textContent) && found === 0;
      sections += entry.hidden ? 0 : 1;
      figures += found;
    }
    document.querySelector("#contents output").textContent = words.length ? `${sections} sections, ${figures} figures` : "";
  });

  const open = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const details = target?.closest("details");
    if (details && !details.open) {
      details.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", open);
  open();

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach(details => { details.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach(details => { details.open = false; }));
})();
