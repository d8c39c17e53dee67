// Charts: a cursor under the pointer, or moved by the arrow keys, reads the values of all lines.
for (const chart of document.querySelectorAll("svg.chart")) {
  const series = JSON.parse(chart.dataset.series), frame = JSON.parse(chart.dataset.frame);
  const readout = chart.parentElement.querySelector(".readout");
  const places = [...new Set(series.flatMap(line => line.points.map(point => point[0])))].sort((a, b) => a - b);
  const nearest = (list, x, of) => list.reduce((best, item) => Math.abs(of(item) - x) < Math.abs(of(best) - x) ? item : best);
  let cursor = null, place = places.length;

  const show = x => {
    if (!cursor) {
      cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
      cursor.setAttribute("class", "cursor");
      cursor.setAttribute("y1", frame.top);
      cursor.setAttribute("y2", frame.bottom);
      chart.append(cursor);
    }
    place = places.indexOf(nearest(places, x, item => item));
    const at = frame.left + (frame.right - frame.left) * places[place] / frame.x_end;
    cursor.setAttribute("x1", at);
    cursor.setAttribute("x2", at);
    readout.textContent = `${Math.round(places[place])}: ` + series.map(line =>
      `${line.label} ${nearest(line.points, places[place], point => point[0])[1].toPrecision(4)}`).join(", ");
  };
  const hide = () => {
    if (cursor) cursor.remove();
    cursor = null;
    readout.textContent = "";
  };
  chart.addEventListener("pointermove", event => {
    const box = chart.getBoundingClientRect(), scale = chart.viewBox.baseVal.width / box.width;
    const share = ((event.clientX - box.left) * scale - frame.left) / (frame.right - frame.left);
    show(share * frame.x_end);
  });
  chart.addEventListener("pointerleave", hide);
  chart.addEventListener("blur", hide);
  chart.addEventListener("keydown", event => {
    const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (!step) return;
    event.preventDefault();
    show(places[Math.max(0, Math.min(places.length - 1, place + step))]);
  });
}
