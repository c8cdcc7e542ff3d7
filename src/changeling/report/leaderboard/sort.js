"use strict";
// Make the headers of sortable tables buttons that sort the rows: by numbers, the best first, or by texts.
for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.querySelectorAll("thead th[data-sort]")];
  const body = table.tBodies[0];
  headers.sort((a, b) => a.classList.contains("label") ? (b.classList.contains("label") ? 0 : -1) : b.classList.contains("label") ? 1 : 0);
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const best = header.dataset.sort === "low" || header.classList.contains("label") ? "ascending" : "descending";
      const worst = best === "ascending" ? "descending" : "ascending";
      const order = header.getAttribute("aria-sort") === best ? worst : best;
      headers.forEach(other => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const rows = [...body.rows];
      rows.sort((a, b) => compare(a.cells[column], b.cells[column], sign));
      body.append(...rows);
    });
  });
}
for (const hint of document.querySelectorAll(".needs-script")) hint.hidden = false;

// Cells without a number are last in both orders.
function compare(a, b, sign) {
  if (a.dataset.value === undefined) return sign * a.textContent.localeCompare(b.textContent, "en", { numeric: true });
  if (!a.dataset.value || !b.dataset.value) return (a.dataset.value ? 0 : 1) - (b.dataset.value ? 0 : 1);
  return sign * (Number(a.dataset.value) - Number(b.dataset.value));
}
