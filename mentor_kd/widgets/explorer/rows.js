// A page of rationales, and the explorer's keys. All text is set as textContent, never as HTML.
const JUDGE = { k: "keep", d: "drop", u: "unsure", w: "withdrawn", z: "undo" };
const MOVE = { ArrowDown: "next", ArrowUp: "previous", PageDown: "page down", PageUp: "page up", Home: "first", End: "last" };
const FIELD = { n: ".mkd-note input", "/": ".mkd-search input" };
const TYPED = "input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable=true]";

function render({ model, el }) {
  el.classList.add("mkd-rows");
  const box = document.createElement("div");
  box.className = "mkd-table";
  box.tabIndex = 0;
  const table = document.createElement("table");
  const foot = document.createElement("div");
  foot.className = "mkd-foot";
  box.append(table);
  el.append(box, foot);
  const ask = (action, more = {}) => model.send({ action, ...more });

  function button(text, label, action, more) {
    const one = document.createElement("button");
    one.type = "button";
    one.textContent = text;
    one.ariaLabel = label;
    one.addEventListener("click", () => ask(action, more));
    return one;
  }

  function head() {
    const row = document.createElement("tr");
    for (const [name, label, sorts] of model.get("heads")) {
      const cell = document.createElement("th");
      const sorted = model.get("order") === sorts;
      const arrow = sorted ? (model.get("falling") ? " ▼" : " ▲") : "";
      cell.className = `mkd-${name}`;
      if (sorts) cell.append(button(label + arrow, `sort by ${label}`, "sort", { order: sorts }));
      else cell.textContent = label;
      if (sorted) cell.ariaSort = model.get("falling") ? "descending" : "ascending";
      row.append(cell);
    }
    return row;
  }

  function draw() {
    const focused = document.activeElement?.ariaLabel;
    const inside = el.contains(document.activeElement);
    const top = document.createElement("thead");
    top.append(head());
    const body = document.createElement("tbody");
    model.get("rows").forEach((values, i) => {
      const row = document.createElement("tr");
      row.ariaSelected = i === model.get("cursor") ? "true" : "false";
      row.addEventListener("click", () => ask("go", { row: i }));
      for (const [name] of model.get("heads")) {
        const cell = document.createElement("td");
        cell.className = `mkd-${name}`;
        cell.dir = name === "text" ? "auto" : "";
        cell.textContent = values[name];
        if (name === "status") cell.dataset.kept = values.kept;
        if (name === "verdict") cell.dataset.verdict = values.code;
        row.append(cell);
      }
      body.append(row);
    });
    table.replaceChildren(top, body);
    const where = document.createElement("span");
    where.textContent = model.get("where");
    foot.replaceChildren(button("◀", "page up", "page up"), where, button("▶", "page down", "page down"));
    if (inside && focused) [...el.querySelectorAll("button")].find((b) => b.ariaLabel === focused)?.focus();
  }

  function onKey(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const typing = event.target.matches(TYPED);
    if (event.key === "Enter" && event.target.closest(".mkd-note")) {
      ask("note", { text: event.target.value });
      box.focus();
    } else if (event.key === "Escape") box.focus();
    else if (typing) return;
    else if (JUDGE[event.key]) ask(JUDGE[event.key]);
    else if (FIELD[event.key]) root.querySelector(FIELD[event.key])?.focus();
    else if (MOVE[event.key] && el.contains(event.target)) ask(MOVE[event.key]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  // No key may reach JupyterLab's command mode from here (x cuts the cell!). JupyterLab's selectors match the focused
  // element before its ancestors, so the attribute must be set on the focused element itself.
  const ours = (event) => (event.target.dataset.lmSuppressShortcuts = "true");

  let root = null;
  let gone = false;
  (function attach() {  // the enclosing widget is added to the page a little later
    if (gone) return;
    root = el.closest(".mkd-explorer");
    if (!root) return void requestAnimationFrame(attach);
    root.addEventListener("focusin", ours);
    root.addEventListener("keydown", onKey, true);  // capture: text fields do not pass their keys on
  })();
  box.addEventListener("click", () => box.focus({ preventScroll: true }));
  for (const name of ["rows", "cursor", "heads", "where"]) model.on(`change:${name}`, draw);
  draw();
  return () => {
    gone = true;
    root?.removeEventListener("focusin", ours);
    root?.removeEventListener("keydown", onKey, true);
  };
}
export default { render };
