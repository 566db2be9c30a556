// Live progress, cards with images, layers and keys. Every page also works without this file.

const body = document.body;

function value(activity, path) {
  return path.split(".").reduce((found, key) => (found === null || found === undefined ? found : found[key]), activity);
}

function sized(bytes) {
  for (const [unit, factor] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (bytes >= factor) return `${(bytes / factor).toFixed(1)} ${unit}`;
  }
  return `${bytes} B`;
}

function shown(found, as) {
  if (found === null || found === undefined) return "";
  if (as === "size") return sized(found);
  return typeof found === "number" ? found.toLocaleString("en-US") : String(found);
}

function update(activity) {
  for (const one of document.querySelectorAll("[data-live]")) {
    const text = shown(value(activity, one.dataset.live), one.dataset.as);
    if (one.textContent !== text) one.textContent = text;
  }
  for (const one of document.querySelectorAll("[data-progress]")) {
    const [done, total] = one.dataset.progress.split(" ").map((path) => value(activity, path) || 0);
    one.max = total || 1;
    one.value = done;
  }
  for (const one of document.querySelectorAll("[data-show-when]")) one.hidden = !value(activity, one.dataset.showWhen);
  for (const one of document.querySelectorAll("[data-hide-when]")) one.hidden = Boolean(value(activity, one.dataset.hideWhen));
}

// A page that shows work is loaded again when the work ends.
const watched = body.dataset.watch;
if (watched) {
  const events = new EventSource("/events");
  events.addEventListener("activity", (event) => {
    const activity = JSON.parse(event.data);
    const work = activity[watched];
    const state = work ? work.state : "none";
    if (body.dataset.state === "working" && state !== "working" && state !== "none") {
      events.close();
      location.replace(location.pathname + location.search.replace(/[?&]again=1/, ""));
      return;
    }
    update(activity);
  });
  // A reload must not replace a page that the user has asked for already.
  for (const leaving of ["submit", "beforeunload", "pagehide"]) addEventListener(leaving, () => events.close());
}

// Labels that are drawn get a box each, which hides their shapes, also in tiles that come later.
const labels = document.getElementById("labels");
const hidden = new Set();
const hiding = new CSSStyleSheet();
document.adoptedStyleSheets.push(hiding);
function findLabels(place) {
  if (!labels) return;
  for (const one of place.querySelectorAll("[data-label]")) {
    const color = one.dataset.label;
    if (labels.querySelector(`[value="${color}"]`)) continue;
    const label = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox", value: color, checked: true });
    box.addEventListener("change", () => {
      if (box.checked) hidden.delete(color);
      else hidden.add(color);
      hiding.replaceSync([...hidden].map((number) => `g[data-color="${number}"] { display: none; }`).join(" "));
    });
    const name = document.createElement("bdi");
    name.textContent = one.querySelector("bdi").textContent;
    label.append(box, " ", one.querySelector("svg").cloneNode(true), name);
    labels.append(label);
    labels.hidden = false;
  }
}

// Cards get their images when they come near the screen.
async function load(card) {
  const address = card.dataset.card;
  delete card.dataset.card;
  card.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(address);
    if (!answer.ok) throw new Error(String(answer.status));
    const made = document.createElement("template");
    made.innerHTML = await answer.text();
    card.append(made.content);
    findLabels(card);
  } catch {
    const note = document.createElement("p");
    note.className = "quiet";
    note.textContent = "The images are not available any more. Make a new plan.";
    card.append(note);
  } finally {
    card.removeAttribute("aria-busy");
  }
}

const near = new IntersectionObserver((found) => {
  for (const one of found) {
    if (one.isIntersecting) {
      near.unobserve(one.target);
      load(one.target);
    }
  }
}, { rootMargin: "300px" });
for (const card of document.querySelectorAll("[data-card]")) near.observe(card);

for (const layers of document.querySelectorAll(".layers:not(#labels)")) layers.hidden = false;
findLabels(document);

// The image of an item is enlarged in its frame.
const ZOOMS = [100, 150, 200, 300, 400, 600, 800];
let zoomed = 0;
function zoom(by) {
  const frame = document.querySelector(".frame");
  if (!frame) return;
  frame.classList.remove(`zoom-${zoomed}`);
  zoomed = Math.min(Math.max(zoomed + by, 0), ZOOMS.length - 1);
  frame.classList.add(`zoom-${zoomed}`);
  document.querySelector(".zoom output").textContent = `${ZOOMS[zoomed]} %`;
}
for (const one of document.querySelectorAll(".zoom")) one.hidden = false;
for (const one of document.querySelectorAll("[data-zoom]")) one.addEventListener("click", () => zoom(Number(one.dataset.zoom)));
for (const box of document.querySelectorAll("[data-layer]")) {
  box.addEventListener("change", () => body.classList.toggle(`hide-${box.dataset.layer}`, !box.checked));
}

for (const form of document.querySelectorAll(".filters")) {
  form.addEventListener("change", (event) => {
    if (event.target.tagName === "SELECT") form.requestSubmit();
  });
}

// Keys. They are off while the user types.
const cards = [...document.querySelectorAll(".cards .card")];
function step(by) {
  if (!cards.length) return;
  const at = cards.findIndex((card) => card.contains(document.activeElement));
  const next = cards[Math.min(Math.max(at + by, 0), cards.length - 1)];
  next.focus();
  next.scrollIntoView({ block: "nearest" });
}
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea, button")) return;
  const link = (relation) => document.querySelector(`.pager a[rel="${relation}"]`);
  switch (event.key) {
    case "j":
      if (cards.length) step(1);
      else link("next")?.click();
      break;
    case "k":
      if (cards.length) step(-1);
      else link("prev")?.click();
      break;
    case "+":
      zoom(1);
      break;
    case "-":
      zoom(-1);
      break;
    case "o":
      document.activeElement.closest(".card")?.querySelector("h4 a")?.click();
      break;
    case "/": {
      const search = document.querySelector("[data-search]");
      if (!search) return;
      event.preventDefault();
      search.focus();
      break;
    }
    default:
  }
});
