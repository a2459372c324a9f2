"use strict";
// Sorts and filters long tables, and copies code. Without it, all of the page can still be read.
(() => {
  const SHORT = 8; // rows of a table that need neither
  const number = (text) => (/^[+-]?[\d,]*\.?\d+(e[+-]?\d+)?\b/i.test(text) ? parseFloat(text.replace(/,/g, "")) : NaN);

  // Numbers before words, and what is missing last in both directions.
  const compared = (one, other, sign) => {
    const [a, b] = [one, other].map(number);
    if (!Number.isNaN(a) && !Number.isNaN(b)) return sign * (a - b);
    if (Number.isNaN(a) !== Number.isNaN(b)) return Number.isNaN(a) ? 1 : -1;
    return sign * one.localeCompare(other);
  };

  const sortable = (table) => {
    const body = table.tBodies[0];
    for (const [column, head] of [...table.tHead.rows[0].cells].entries()) {
      const button = document.createElement("button");
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const isRising = head.getAttribute("aria-sort") === "ascending";
        for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", isRising ? "descending" : "ascending");
        const text = (row) => row.cells[column].innerText.trim();
        body.append(...[...body.rows].sort((one, other) => compared(text(one), text(other), isRising ? -1 : 1)));
      });
    }
  };

  const filterable = (table) => {
    const label = document.createElement("label");
    const field = Object.assign(document.createElement("input"), { type: "search", placeholder: "pruned, silu, ..." });
    const count = document.createElement("output");
    label.className = "filter";
    label.append("Only rows with ", field, count);
    table.closest(".scroll").before(label);
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      const rows = [...table.tBodies[0].rows];
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
      const shown = rows.filter((row) => !row.hidden).length;
      count.textContent = words.length ? `${shown} of ${rows.length}` : "";
    });
  };

  for (const table of document.querySelectorAll("details table")) {
    if (!table.tHead || table.tBodies[0].rows.length < SHORT) continue;
    sortable(table);
    filterable(table);
  }

  for (const block of document.querySelectorAll("pre")) {
    const button = Object.assign(document.createElement("button"), { className: "copy", textContent: "Copy" });
    button.addEventListener("click", async () => {
      const selection = getSelection();
      selection.selectAllChildren(block);
      try {
        await navigator.clipboard.writeText(block.textContent);
        button.textContent = "Copied";
        selection.removeAllRanges();
      } catch {
        button.textContent = "Selected"; // the browser allows no script to copy: the keyboard does
      }
    });
    block.before(button);
  }
})();
