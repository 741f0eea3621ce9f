// A page of predictions: filter, search, and 50 rows at a time. All text is set as textContent, never as HTML.
(function () {
  "use strict";
  const { rows, questions, others, baseline } = JSON.parse(document.getElementById("data").textContent);
  const SIZE = 50;
  const find = (id) => document.getElementById(id);
  const state = { show: "all", seed: "", against: baseline, words: "", page: 0 };

  // what a row must be for each choice; against: whether the other method was right, null where it has no such row
  const KINDS = {
    all: () => true,
    right: (right) => right,
    wrong: (right) => !right,
    flips: (right, against) => against !== null && right !== against,
    won: (right, against) => right && against === false,
    lost: (right, against) => !right && against === true,
  };

  function against(row) {
    const place = others.indexOf(state.against);
    return place < 0 ? null : row.others[place];
  }

  function haystack(row) {
    const [question, answer] = questions[row.id];
    row.words ??= [row.id, question, answer, row.prediction ?? "", row.text].join("\n").toLowerCase();
    return row.words;
  }

  function chosen(kind) {
    const words = state.words.trim().toLowerCase();
    return rows.filter(
      (row) =>
        KINDS[kind](row.right, against(row)) &&
        (state.seed === "" || String(row.seed) === state.seed) &&
        (words === "" || haystack(row).includes(words)),
    );
  }

  function make(tag, text, name) {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (name) node.className = name;
    return node;
  }

  function part(label, text, name) {
    const line = make("div", undefined, name);
    line.append(make("b", label + ": "));
    const value = make("bdi", text);
    value.dir = "auto";
    line.append(value);
    return line;
  }

  function shown(row) {
    const [question, answer] = questions[row.id];
    const item = make("li", undefined, row.right ? "right" : "wrong");
    const other = against(row);
    const head = `${row.right ? "✓ right" : "✗ wrong"} · seed ${row.seed} · ${row.id}`;
    const beside = other === null ? "" : ` · ${state.against}: ${other ? "✓ right" : "✗ wrong"}`;
    item.append(make("div", head + beside, "head"), part("question", question));
    item.append(part("gold answer", answer), part("prediction", row.prediction ?? `none (${row.miss})`));
    item.append(part("text", row.text, "text"));
    return item;
  }

  function draw() {
    for (const box of document.querySelectorAll("[data-show]")) {
      box.setAttribute("aria-pressed", String(box.dataset.show === state.show));
      box.querySelector("span").textContent = chosen(box.dataset.show).length.toLocaleString("en");
    }
    const found = chosen(state.show);
    const pages = Math.max(1, Math.ceil(found.length / SIZE));
    state.page = Math.min(Math.max(state.page, 0), pages - 1);
    const start = state.page * SIZE;
    find("rows").replaceChildren(...found.slice(start, start + SIZE).map(shown));
    find("rows").start = start + 1;
    find("where").textContent = found.length
      ? `${start + 1} to ${Math.min(start + SIZE, found.length)} of ${found.length.toLocaleString("en")}`
      : "no row matches: choose all, or clear the search";
    find("previous").disabled = state.page === 0;
    find("next").disabled = state.page === pages - 1;
  }

  function change(values) {
    Object.assign(state, { page: 0 }, values);
    draw();
  }

  for (const box of document.querySelectorAll("[data-show]")) {
    box.addEventListener("click", () => change({ show: box.dataset.show }));
  }
  find("seed").addEventListener("change", (event) => change({ seed: event.target.value }));
  find("against")?.addEventListener("change", (event) => change({ against: event.target.value }));
  find("words").addEventListener("input", (event) => change({ words: event.target.value }));
  for (const [id, by] of [["previous", -1], ["next", 1]]) {
    find(id).addEventListener("click", () => {
      change({ page: state.page + by });
      find("rows").scrollIntoView();
    });
  }
  // a link may choose: #seed=1&show=wrong
  function follow() {
    const given = new URLSearchParams(location.hash.slice(1));
    const seed = [...find("seed").options].map((one) => one.value).find((one) => one === given.get("seed")) ?? "";
    find("seed").value = seed;
    change({ seed, show: Object.hasOwn(KINDS, given.get("show") ?? "") ? given.get("show") : "all" });
  }
  window.addEventListener("hashchange", follow);
  follow();
})();
