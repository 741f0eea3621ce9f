// A stop button: says so to Python once, and takes the keys that it is pressed with, so that none reaches JupyterLab.
function render({ model, el }) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "jupyter-button";
  button.style.cssText = "font-size: 13px; padding: 2px 14px; width: auto; border: 1px solid currentColor; border-radius: 3px";
  el.setAttribute("data-lm-suppress-shortcuts", "true");
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
