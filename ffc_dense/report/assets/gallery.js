// Galleries: order, filter, and the large view of what is visible.
const galleries = [...document.querySelectorAll(".gallery")];
const arrange = gallery => {
  const {sort, show, filter, count} = gallery.querySelector("form").elements;
  const list = gallery.querySelector(".cards"), cards = [...list.children];
  const word = filter.value.trim().toLowerCase();
  cards.sort((a, b) => sort.value === "name"
    ? a.dataset.name.localeCompare(b.dataset.name, "en", {numeric: true})
    : b.dataset[sort.value] - a.dataset[sort.value] || a.dataset.name.localeCompare(b.dataset.name));
  for (const card of cards) {
    const gain = card.dataset.fixed - card.dataset.broken;
    card.hidden = (show.value === "gain" && gain <= 0) || (show.value === "loss" && gain >= 0)
      || !card.dataset.words.includes(word);
  }
  list.append(...cards);
  count.value = `${cards.filter(card => !card.hidden).length} of ${cards.length} ${gallery.dataset.samples}`;
};
const visible = gallery => [...gallery.querySelectorAll(".card:not([hidden])")];
let opened = null; // the gallery of the large view

for (const gallery of galleries) {
  const form = gallery.querySelector("form");
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("input", () => {
    arrange(gallery);
    gallery.dispatchEvent(new Event("arranged"));
  });
  gallery.addEventListener("click", event => {
    const button = event.target.closest(".open");
    if (!button) return;
    opened = gallery;
    const cards = visible(gallery);
    showImage(cards, cards.indexOf(button.closest(".card")));
  });
  arrange(gallery);
}
viewer.addEventListener("close", () => {
  if (shown.cards.length) shown.cards[shown.place].querySelector(".open").focus();
});
