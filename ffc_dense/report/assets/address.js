// The address keeps what is shown: #gallery=0&sort=broken&show=all&filter=car&open=1. A link to it shows the same.
const writeAddress = gallery => {
  const {sort, show, filter} = gallery.querySelector("form").elements;
  const state = new URLSearchParams({gallery: gallery.dataset.number, sort: sort.value, show: show.value, filter: filter.value});
  if (viewer.open) state.set("open", shown.place + 1);
  history.replaceState(null, "", "#" + state);
};
const readAddress = () => {
  const state = new URLSearchParams(location.hash.slice(1));
  const gallery = galleries.find(each => each.dataset.number === state.get("gallery"));
  if (!gallery) return;
  const {sort, show, filter} = gallery.querySelector("form").elements;
  for (const choice of [sort, show])
    if ([...choice.options].some(option => option.value === state.get(choice.name))) choice.value = state.get(choice.name);
  filter.value = state.get("filter") || "";
  arrange(gallery);
  gallery.scrollIntoView();
  const cards = visible(gallery), place = Number(state.get("open"));
  if (Number.isInteger(place) && place >= 1 && place <= cards.length) {
    opened = gallery;
    showImage(cards, place - 1);
  }
};
for (const gallery of galleries) gallery.addEventListener("arranged", () => writeAddress(gallery));
viewer.addEventListener("shown", () => writeAddress(opened));
viewer.addEventListener("close", () => writeAddress(opened));
window.addEventListener("hashchange", readAddress);
readAddress();
