// Texts inside an element whose contrast with their background is below 4.5 to 1, from computed styles.
// A gradient counts as the worst of its colours. Texts of disabled controls are left out, as in WCAG 2.
(root) => {
  const parse = (text) => {
    const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
    return { r, g, b, a };
  };
  const over = (top, under) => {
    const mix = (name) => top[name] * top.a + under[name] * (1 - top.a);
    return { r: mix("r"), g: mix("g"), b: mix("b"), a: 1 };
  };
  const luminance = ({ r, g, b }) => {
    const [x, y, z] = [r, g, b].map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const contrast = (a, b) => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const backgrounds = (node) => {
    const chain = [];
    for (let one = node; one; one = one.parentElement) chain.unshift(one);
    let found = [{ r: 255, g: 255, b: 255, a: 1 }];
    for (const one of chain) {
      const style = getComputedStyle(one);
      found = found.map((under) => over(parse(style.backgroundColor), under));
      const drawn = style.backgroundImage.match(/rgba?\([^)]*\)/g);
      if (drawn) found = drawn.map(parse).flatMap((colour) => found.map((under) => over(colour, under)));
    }
    return found;
  };
  const opacity = (node) => (node ? Number(getComputedStyle(node).opacity) * opacity(node.parentElement) : 1);
  const bad = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    const box = node.getBoundingClientRect();
    if (!text || !box.width || !box.height || ["STYLE", "SCRIPT"].includes(node.tagName)) continue;
    const style = getComputedStyle(node);
    if (style.visibility === "hidden" || node.closest(":disabled, [aria-disabled=true]")) continue;
    seen += 1;
    const ink = parse(style.color);
    ink.a *= opacity(node);
    const worst = Math.min(...backgrounds(node).map((under) => contrast(over(ink, under), under)));
    if (worst < 4.5) bad.push(`${worst.toFixed(2)}: ${text.slice(0, 40)} <${node.tagName.toLowerCase()} ${node.className}>`);
  }
  return { seen, bad: [...new Set(bad)] };
}
