// The soft-label lens. Python computes; this file draws and reports the user's choices. Text from models and data is set
// as textContent, never as HTML. Elements that can have the focus keep their keys from JupyterLab's shortcuts.

function make(tag, className, parent, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}

function ours(node) {
  node.setAttribute("data-lm-suppress-shortcuts", "true");
  return node;
}

// spaces and line breaks are shown, but dimmed
function write(node, token) {
  node.replaceChildren();
  for (const letter of token) {
    if ("␣↵⇥".includes(letter)) make("span", "lens-space", node, letter);
    else node.append(letter);
  }
  return node;
}

function render({ model, el }) {
  const root = make("div", "lens", el);
  const set = (name, value) => {
    model.set(name, value);
    model.save_changes();
  };

  // the controls
  const bar = make("div", "lens-controls", root);
  const field = (label, ...nodes) => {
    const box = make("label", "lens-field", bar);
    make("span", "", box, label);
    box.append(...nodes);
  };
  const step = (text, name, by) => {
    const button = ours(make("button", "lens-button", null, text));
    button.type = "button";
    button.setAttribute("aria-label", name);
    button.addEventListener("click", () => go(model.get("index") + by));
    return button;
  };
  const which = ours(make("input"));
  Object.assign(which, { type: "number", min: 1, max: model.get("count") });
  which.setAttribute("aria-label", "rationale");
  which.addEventListener("change", () => go(Number(which.value) - 1));
  const place = make("span", "lens-field", bar);
  make("span", "", place, "rationale");
  place.append(step("◀", "previous rationale", -1), which, step("▶", "next rationale", 1));
  make("span", "", place, `of ${model.get("count")}`);
  const go = (index) => {
    const next = Math.min(Math.max(Math.round(index) || 0, 0), model.get("count") - 1);
    if (next === model.get("index")) return numbers();
    root.classList.add("lens-busy");
    set("index", next);
  };
  const measure = ours(make("select"));
  for (const [name, title] of Object.entries(model.get("measures"))) {
    make("option", "", measure, title).value = name;
  }
  measure.addEventListener("change", () => set("measure", measure.value));
  field("colour", measure);
  const slider = (label, name, min, max, by) => {
    const input = ours(make("input"));
    Object.assign(input, { type: "range", min, max, step: by });
    const value = make("output", "lens-value");
    input.addEventListener("input", () => set(name, Number(input.value)));
    const show = () => {
      input.value = model.get(name);
      value.textContent = model.get(name).toFixed(2);
    };
    model.on(`change:${name}`, show);
    show();
    field(label, input, value);
  };
  slider("temperature τ", "temperature", 0.25, 8, 0.25);
  slider("weight λ", "weight", 0, 1, 0.05);

  const error = make("div", "lens-error", root);
  error.setAttribute("role", "alert");
  const question = make("div", "lens-question", root);
  const legend = make("div", "lens-legend", root);
  const strips = make("div", "lens-strips", root);
  const bars = make("div", "lens-bars", root);
  make("div", "lens-note", root, "Bars: probabilities at temperature τ, as in the loss. Target: (1 − λ) · hard label + " +
    "λ · mentor. Push: minus the gradient of the loss, (1 − λ)(hard label − student at τ = 1) + λ τ (mentor − student " +
    "at τ); blue raises a logit, orange lowers it. Select a token with the mouse or ← → ↑ ↓ Home End.");

  const numbers = () => {
    which.value = model.get("index") + 1;
  };
  const choose = (token) => {
    const last = model.get("page").tokens.length - 1;
    set("token", Math.min(Math.max(token, 0), last));
    mark();
  };
  const mark = () => {
    const token = model.get("token");
    for (const strip of strips.querySelectorAll(".lens-strip")) {
      strip.querySelector(".lens-chosen")?.classList.remove("lens-chosen");
      const chosen = strip.children[token];
      if (!chosen) continue;
      chosen.classList.add("lens-chosen");
      for (const one of strip.querySelectorAll("[aria-selected=true]")) one.setAttribute("aria-selected", "false");
      chosen.setAttribute("aria-selected", "true");
      strip.setAttribute("aria-activedescendant", chosen.id);
    }
  };
  // the nearest token in the line above or below
  const across = (strip, down) => {
    const nodes = [...strip.children];
    const now = nodes[model.get("token")];
    const beyond = nodes.filter((n) => (down ? n.offsetTop > now.offsetTop + 3 : n.offsetTop < now.offsetTop - 3));
    if (!beyond.length) return model.get("token");
    const line = down ? beyond[0].offsetTop : beyond[beyond.length - 1].offsetTop;
    const far = (n) => Math.abs(n.offsetLeft - now.offsetLeft);
    const there = beyond.filter((n) => Math.abs(n.offsetTop - line) < 3);
    return nodes.indexOf(there.reduce((a, b) => (far(b) < far(a) ? b : a)));
  };
  const keys = (event) => {
    const strip = event.currentTarget;
    const token = model.get("token");
    const moves = {
      ArrowLeft: () => token - 1,
      ArrowRight: () => token + 1,
      ArrowUp: () => across(strip, false),
      ArrowDown: () => across(strip, true),
      Home: () => 0,
      End: () => Infinity,
    };
    if (!(event.key in moves) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    choose(moves[event.key]());
  };

  const drawPage = () => {
    const page = model.get("page");
    question.replaceChildren();
    make("span", "", question, page.question);
    if (page.source) make("span", "lens-source", question, ` (${page.source} rationale)`);
    root.classList.remove("lens-busy");
    numbers();
  };
  const drawStrips = () => {
    const focused = [...strips.querySelectorAll(".lens-strip")].indexOf(document.activeElement);
    const tokens = model.get("page").tokens;
    strips.replaceChildren();
    model.get("strips").forEach((one, number) => {
      const box = make("div", "lens-side", strips);
      const head = make("div", "lens-head", box);
      make("b", "", head, one.name);
      make("span", "", head, `: ${one.mean}`);
      const strip = ours(make("div", "lens-strip", box));
      strip.tabIndex = 0;
      strip.setAttribute("role", "listbox");
      strip.setAttribute("aria-label", `tokens, ${model.get("legend").title}, ${one.name}`);
      strip.addEventListener("keydown", keys);
      tokens.forEach((token, place) => {
        const node = write(make("span", "lens-token", strip), token);
        node.id = `${model.cid ?? model.get("page").id}-${number}-${place}`;
        node.setAttribute("role", "option");
        node.title = `${one.values[place].toFixed(2)} ${model.get("legend").unit}`;
        node.style.background = one.faces[place];
        node.style.color = one.inks[place];
        node.addEventListener("click", () => choose(place));
        if (token.endsWith("↵")) node.classList.add("lens-break");
      });
    });
    mark();
    strips.querySelectorAll(".lens-strip")[Math.min(focused, strips.children.length - 1)]?.focus();
  };
  const drawLegend = () => {
    const { title, high, unit, ramp } = model.get("legend");
    legend.replaceChildren();
    make("span", "", legend, `${title}: 0`);
    make("span", "lens-ramp", legend).style.background = `linear-gradient(to right, ${ramp.join(", ")})`;
    make("span", "", legend, `${high} ${unit}`);
    measure.value = model.get("measure");
  };
  const drawBars = () => {
    const { title, tokens, columns } = model.get("bars");
    bars.replaceChildren();
    if (!tokens) return;
    write(make("div", "lens-title", bars), title.replaceAll(" ", "\u00a0"));
    const grid = make("div", "lens-grid", bars);
    const widths = columns.map((column) => (column.signed ? "minmax(80px, 1.3fr)" : "minmax(50px, 1fr)"));  // bar and number fit
    grid.style.gridTemplateColumns = ["max-content", ...widths].join(" ");
    make("span", "", grid);
    for (const column of columns) {
      const head = make("span", "lens-column", grid);
      make("b", "", head, column.name);
      make("span", "", head, column.note);
    }
    tokens.forEach((token, row) => {
      write(make("span", "lens-label", grid), token);
      for (const column of columns) {
        const cell = make("span", column.signed ? "lens-cell lens-signed" : "lens-cell", grid);
        const bar = make("span", "lens-bar", cell);
        const share = Math.abs(column.values[row]);
        bar.style.background = column.fill[row];
        const label = make("span", "lens-number", cell, column.labels[row]);
        if (column.signed) {
          const width = `${share.toFixed(4)} * (50% - 37px)`;
          const up = column.values[row] >= 0;
          bar.style.cssText += `; width: calc(${width}); ${up ? "left" : "right"}: 50%`;
          label.style[up ? "left" : "right"] = `calc(50% + ${width} + 3px)`;
        } else {
          const width = `${share.toFixed(4)} * (100% - 30px)`;
          bar.style.cssText += `; width: calc(${width}); left: 0`;
          label.style.left = `calc(${width} + 3px)`;
        }
      }
    });
  };
  const drawError = () => {
    error.textContent = model.get("error");
    error.hidden = !model.get("error");
    if (model.get("error")) root.classList.remove("lens-busy");
  };
  const listeners = { page: drawPage, strips: drawStrips, legend: drawLegend, bars: drawBars, token: mark };
  listeners.error = drawError;
  for (const [name, draw] of Object.entries(listeners)) model.on(`change:${name}`, draw);
  drawError();
  drawPage();
  if (model.get("strips").length) drawLegend();
  drawStrips();
  drawBars();
}

export default { render };
