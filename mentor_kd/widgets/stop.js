// A stop button: says so to Python once, and takes the keys that it is pressed with, so that none reaches JupyterLab.
function render({ model, el }) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "jupyter-button";
  button.style.cssText = "font-size: 13px; padding: 0 14px; width: auto; height: 28px; line-height: 26px; margin: 2px 0 6px; border: 1px solid currentColor; border-radius: 3px";
  button.setAttribute("data-lm-suppress-shortcuts", "true"); // on what has the focus: further up it has no effect
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
