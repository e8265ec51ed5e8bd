"use strict";
// The first column sorts as text, the others by the first number of a cell; cells without
// one stay last.
function number(cell) {
  return parseFloat(cell.textContent.replace("−", "-"));
}

function compare(a, b, column, sign) {
  const [x, y] = [a.cells[column], b.cells[column]];
  if (column === 0) {
    return sign * x.textContent.localeCompare(y.textContent, "en", { numeric: true });
  }
  const [p, q] = [number(x), number(y)];
  if (isNaN(p) || isNaN(q)) return isNaN(p) - isNaN(q);
  return sign * (p - q);
}

for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const before = head.getAttribute("aria-sort");
    const first = head.cellIndex === 0 ? "ascending" : "descending";
    const second = head.cellIndex === 0 ? "descending" : "ascending";
    const order = before === first ? second : first;
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    const body = head.closest("table").tBodies[0];
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...body.rows].sort((a, b) => compare(a, b, head.cellIndex, sign));
    body.append(...rows);
  });
}
