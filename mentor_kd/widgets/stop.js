// A stop button. It notifies Python once and keeps the keys that press it from reaching JupyterLab.
function render({ model, el }) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "jupyter-button";
  button.style.cssText = "font-size: 13px; padding: 0 14px; width: auto; height: 28px; line-height: 26px; margin: 2px 0 6px; border: 1px solid currentColor; border-radius: 3px; color: var(--jp-ui-font-color1, #222); background: var(--jp-layout-color2, #eee); opacity: 1";
  button.setAttribute("data-lm-suppress-shortcuts", "true"); // must be on the focused element: on an ancestor it has no effect
  const show = () => {
    button.textContent = model.get("label");
    button.disabled = model.get("asked");
  };
  button.addEventListener("click", () => {
    model.set("asked", true);
    model.save_changes();
  });
  model.on("change:label", show);
  model.on("change:asked", show);
  show();
  el.append(button);
}

export default { render };
