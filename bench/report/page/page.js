"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("live");

  // ------------------------------------------------------------ light and dark
  const theme = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const kept = () => { try { return localStorage.getItem("bench-theme"); } catch { return null; } };
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const say = () => {
    theme.textContent = dark() ? "Light" : "Dark";
    theme.title = `show this page ${dark() ? "light" : "dark"}`;
  };
  if (kept() === "dark" || kept() === "light") root.dataset.theme = kept();
  theme.hidden = false;
  theme.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("bench-theme", root.dataset.theme); } catch { /* it is not kept */ }
    say();
  });
  system.addEventListener("change", say);
  say();

  // ------------------------------------------------------------ tables
  const value = (row, column) => {
    const cell = row.cells[column];
    const number = cell.dataset.sort === undefined ? NaN : Number(cell.dataset.sort);
    const text = cell.textContent.trim();
    return { number, text: text === "-" ? "" : text };
  };
  const compare = (a, b, sign) => {
    const numbers = Number(Number.isNaN(a.number)) - Number(Number.isNaN(b.number));
    if (numbers || !Number.isNaN(a.number)) return numbers || sign * (a.number - b.number);
    const empty = Number(!a.text) - Number(!b.text); // what is not there comes last, either way
    return empty || sign * a.text.localeCompare(b.text, "en", { numeric: true });
  };
  const sort = (table, heading) => {
    const ascending = heading.getAttribute("aria-sort") !== "ascending";
    const column = heading.cellIndex;
    for (const other of heading.parentElement.cells) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    for (const body of table.tBodies) {
      const rows = [...body.rows].map((row) => ({ row, value: value(row, column) }));
      rows.sort((a, b) => compare(a.value, b.value, ascending ? 1 : -1));
      body.append(...rows.map(({ row }) => row));
    }
  };
  const filter = (box, table, count) => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = [...table.tBodies].flatMap((body) => [...body.rows]);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
  };
  for (const whole of document.querySelectorAll(".table")) {
    const table = whole.querySelector("table");
    const box = whole.querySelector("input");
    const count = whole.querySelector(".count");
    for (const heading of table.tHead.rows[0].cells) {
      heading.querySelector("button").addEventListener("click", () => sort(table, heading));
    }
    box.addEventListener("input", () => filter(box, table, count));
    box.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { box.value = ""; filter(box, table, count); }
    });
  }

  // ------------------------------------------------------------ keyboard, links, paper
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const boxes = [...document.querySelectorAll(".table input")].filter((box) => box.offsetParent);
    const next = boxes.find((box) => box.getBoundingClientRect().top >= 0) ?? boxes[0];
    if (next) { event.preventDefault(); next.focus(); }
  });
  const open = () => {
    const place = location.hash && document.getElementById(location.hash.slice(1));
    if (place instanceof HTMLDetailsElement) { place.open = true; place.scrollIntoView(); }
  };
  addEventListener("hashchange", open);
  document.addEventListener("click", (event) => {
    // a second click on the same link changes no address
    if (event.target.closest('a[href^="#"]')) setTimeout(open);
  });
  open();
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open], .row)")];
    for (const details of closed) details.open = true;
  });
  addEventListener("afterprint", () => { for (const details of closed) details.open = false; });
})();
