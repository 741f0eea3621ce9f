// Facets as checkboxes with counts. All text is set as textContent, never as HTML.
function render({ model, el }) {
  el.classList.add("mkd-facets");
  function draw() {
    const focused = document.activeElement?.dataset?.facet;
    const chosen = model.get("chosen");
    el.replaceChildren();
    for (const group of model.get("groups")) {
      const field = document.createElement("fieldset");
      const legend = document.createElement("legend");
      legend.textContent = group.name;
      field.append(legend);
      const most = Math.max(1, ...group.labels.map(([, count]) => count));
      for (const [label, count] of group.labels) {
        const line = document.createElement("label");
        const box = document.createElement("input");
        box.type = "checkbox";
        box.checked = (chosen[group.name] ?? []).includes(label);
        box.dataset.facet = `${group.name}/${label}`;
        box.addEventListener("change", () => {
          const now = { ...model.get("chosen") };
          const others = (now[group.name] ?? []).filter((one) => one !== label);
          now[group.name] = box.checked ? [...others, label] : others;
          model.set("chosen", now);
          model.save_changes();
        });
        const name = document.createElement("span");
        name.textContent = label;
        const number = document.createElement("span");
        number.className = "mkd-count";
        number.textContent = count.toLocaleString("en");
        line.style.setProperty("--share", `${(100 * count) / most}%`);
        line.classList.toggle("mkd-none", count === 0);
        line.append(box, name, number);
        field.append(line);
      }
      el.append(field);
    }
    if (focused) el.querySelector(`[data-facet="${CSS.escape(focused)}"]`)?.focus();
  }
  model.on("change:groups", draw);
  draw();
}
export default { render };
