// The large view: all panels of an image, zoomed and moved together.
const viewer = document.getElementById("viewer");
const shown = {cards: [], place: 0, whole: null, zoom: 1, x: 0.5, y: 0.5};

const applyZoom = () => {
  const half = 0.5 / shown.zoom;
  shown.x = Math.max(half, Math.min(1 - half, shown.x));
  shown.y = Math.max(half, Math.min(1 - half, shown.y));
  for (const panel of viewer.querySelectorAll(".panel")) {
    const {width, height} = shown.whole;
    panel.setAttribute("viewBox", [(shown.x - half) * width, (shown.y - half) * height,
      width / shown.zoom, height / shown.zoom].join(" "));
  }
  viewer.dataset.zoom = shown.zoom;
};
const zoomTo = zoom => {
  shown.zoom = Math.max(1, Math.min(16, zoom));
  applyZoom();
};
const showImage = (cards, place) => {
  const card = cards[place];
  const stage = viewer.querySelector(".stage"), facts = viewer.querySelector(".facts");
  stage.replaceChildren(...[...card.querySelectorAll(".panel-box")].map(box => box.cloneNode(true)));
  facts.replaceChildren(...[...card.querySelector(".details").children].map(part => part.cloneNode(true)));
  document.getElementById("viewer-title").textContent = `${card.dataset.name} (${place + 1} of ${cards.length})`;
  const {width, height} = stage.querySelector(".panel").viewBox.baseVal;
  Object.assign(shown, {cards, place, whole: {width, height}, x: 0.5, y: 0.5});
  zoomTo(1);
  if (!viewer.open) viewer.showModal();
  viewer.dispatchEvent(new Event("shown"));
};
const turn = step => showImage(shown.cards, (shown.place + step + shown.cards.length) % shown.cards.length);
const actions = {
  previous: () => turn(-1), next: () => turn(1), larger: () => zoomTo(shown.zoom * 1.5),
  smaller: () => zoomTo(shown.zoom / 1.5), whole: () => zoomTo(1), close: () => viewer.close(),
};
const keys = {ArrowLeft: "previous", ArrowRight: "next", "+": "larger", "=": "larger", "-": "smaller", "0": "whole"};

for (const button of viewer.querySelectorAll("[data-do]"))
  button.addEventListener("click", actions[button.dataset.do]);
viewer.addEventListener("keydown", event => {
  const action = keys[event.key];
  if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  actions[action]();
});
viewer.addEventListener("click", event => {
  if (event.target === viewer) viewer.close(); // beside the content
});
viewer.addEventListener("wheel", event => {
  const panel = event.target.closest(".panel");
  if (!panel) return;
  event.preventDefault();
  const box = panel.getBoundingClientRect();
  const px = (event.clientX - box.left) / box.width - 0.5, py = (event.clientY - box.top) / box.height - 0.5;
  const before = shown.zoom, zoom = Math.max(1, Math.min(16, before * Math.exp(-event.deltaY / 400)));
  shown.x += px / before - px / zoom; // what is under the pointer stays there
  shown.y += py / before - py / zoom;
  zoomTo(zoom);
}, {passive: false});
viewer.addEventListener("pointermove", event => {
  const panel = event.target.closest(".panel");
  if (!panel || !(event.buttons & 1)) return;
  const box = panel.getBoundingClientRect();
  shown.x -= event.movementX / box.width / shown.zoom;
  shown.y -= event.movementY / box.height / shown.zoom;
  applyZoom();
});
