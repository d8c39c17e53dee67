// Tables: a click on a head sorts by its column, numbers from the largest, another click turns the order round.
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const rows = [...table.tBodies[0].rows];
    const values = new Map(rows.map(row => [row, row.cells[column].dataset.value]));
    const numeric = rows.some(row => row.cells[column].classList.contains("number") && values.get(row) !== "");
    const before = head.getAttribute("aria-sort");
    const descending = before ? before === "ascending" : numeric;
    rows.sort((a, b) => {
      const [x, y] = [values.get(a), values.get(b)];
      if (x === "" || y === "") return (x === "") - (y === ""); // what is unknown stays below
      const order = numeric ? x - y : x.localeCompare(y, "en", {numeric: true});
      return descending ? -order : order;
    });
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    table.tBodies[0].append(...rows);
  }));
}
