"use strict";
// Filters. The page is complete without them.
(() => {
  const at = (id) => document.getElementById(id);
  const form = at("filters");
  const all = [...document.querySelectorAll(".card, .row")];
  const lists = { "by-action": "actions", "by-label": "labels", "by-reason": "reasons" };
  const narrow = () => {
    const collection = at("by-collection").value;
    const name = at("by-name").value.toLowerCase();
    let shown = 0;
    for (const one of all) {
      const fits = (!collection || one.dataset.collection === collection)
        && (!name || one.querySelector(".name").textContent.toLowerCase().includes(name))
        && Object.entries(lists).every(([id, key]) => !at(id).value || one.dataset[key].split(" ").includes(at(id).value));
      one.hidden = !fits;
      shown += fits;
    }
    for (const part of document.querySelectorAll(".block, .rows, .collection")) {
      part.hidden = !part.querySelector(".card:not([hidden]), .row:not([hidden])");
    }
    at("count").textContent = `${shown} of ${all.length} entries shown`;
  };
  for (const kind of ["before", "after", "same"]) {
    at(`see-${kind}`).addEventListener("change", (event) => {
      document.body.classList.toggle(`hide-${kind}`, !event.target.checked);
    });
  }
  form.addEventListener("input", narrow);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = all.length === 0;
  narrow();
})();
