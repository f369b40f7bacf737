"use strict";
// Tables that sort, filter and turn their pages; links into closed sections; a command to copy. The page is whole without.

function table(root) {
  const body = root.querySelector("tbody");
  const input = root.querySelector("input");
  const shown = root.querySelector(".shown");
  const turns = root.querySelectorAll("[data-turn]");
  const size = Number(root.dataset.page);
  const all = Array.from(body.rows);
  let rows = all, page = 0, sorted = -1, rising = false;

  function draw() {
    const visible = new Set(rows.slice(page * size, (page + 1) * size));
    all.forEach((row) => { row.hidden = !visible.has(row); });
    const first = page * size + 1, last = page * size + visible.size;
    const range = visible.size < rows.length ? `${first} to ${last} of ${rows.length.toLocaleString("en")}` : `${rows.length}`;
    shown.textContent = `${range} row${rows.length === 1 ? "" : "s"}`;
    turns.forEach((button) => {
      const next = page + Number(button.dataset.turn);
      button.disabled = next < 0 || next * size >= rows.length;
    });
  }

  function key(row) {
    const cell = row.cells[sorted];
    return cell.dataset.sort === undefined ? cell.textContent : Number(cell.dataset.sort);
  }

  function compare(a, b) {
    const [x, y] = [key(a), key(b)];
    if (typeof x === "string") return x.localeCompare(y, "en", { numeric: true }) * (rising ? 1 : -1);
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return rising ? x - y : y - x;
  }

  root.querySelectorAll("th button").forEach((button, column) => {
    button.addEventListener("click", () => {
      const text = !button.parentElement.classList.contains("n");
      rising = sorted === column ? !rising : text;
      sorted = column;
      root.querySelectorAll("th").forEach((head) => head.removeAttribute("aria-sort"));
      button.parentElement.setAttribute("aria-sort", rising ? "ascending" : "descending");
      all.sort(compare);
      const kept = new Set(rows);
      rows = all.filter((row) => kept.has(row));
      body.append(...all);
      page = 0;
      draw();
    });
  });
  turns.forEach((button) => button.addEventListener("click", () => { page += Number(button.dataset.turn); draw(); }));
  if (input) input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    rows = all.filter((row) => row.textContent.toLowerCase().includes(wanted));
    page = 0;
    draw();
  });
}

function open() {
  const target = document.getElementById(location.hash.slice(1));
  if (!target) return;
  const closed = target.closest("details:not([open])");
  if (closed) closed.open = true;
  document.querySelectorAll(".aimed").forEach((other) => other.classList.remove("aimed"));
  if (!target.classList.contains("section")) target.classList.add("aimed");
  target.scrollIntoView();
}

document.querySelectorAll(".grid").forEach(table);
document.querySelectorAll("[data-copy]").forEach((button) => button.addEventListener("click", () => {
  const code = button.parentElement.querySelector("code");
  getSelection().selectAllChildren(code);
  if (navigator.clipboard) navigator.clipboard.writeText(code.textContent).then(() => { button.textContent = "Copied"; }, () => {});
}));
document.querySelectorAll("summary .link").forEach((link) => link.addEventListener("click", (event) => event.stopPropagation()));
addEventListener("hashchange", open);
open();
