// Looks at every text of a page as it is drawn, folded parts opened.
// Returns what is cut, what lies on another text of the same chart, and what a line of a chart crosses.
() => {
  for (const part of document.querySelectorAll("details")) part.open = true;
  const words = (element) => element.textContent.trim().replace(/\s+/g, " ").slice(0, 60);
  const shown = (element) => element.getClientRects().length > 0;
  // What is drawn of a node: not what a part that scrolls keeps out of sight.
  const boxOf = (node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    let { left, top, right, bottom } = range.getBoundingClientRect();
    const around = node.parentElement.closest(".scroller, pre");
    if (around) {
      const frame = around.getBoundingClientRect();
      [left, right] = [Math.max(left, frame.left), Math.min(right, frame.right)];
      [top, bottom] = [Math.max(top, frame.top), Math.min(bottom, frame.bottom)];
    }
    return { left, top, right, bottom };
  };
  const overlap = (a, b) =>
    Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2;

  // A label is an element that holds text of its own: a number of an axis, a name, a cell, a heading.
  const labels = [];
  const walker = document.createTreeWalker(document.querySelector("body"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const element = node.parentElement;
    if (!node.textContent.trim() || element.closest("script, style, title, .tip") || !shown(element)) continue;
    const box = boxOf(node);
    if (box.right > box.left && box.bottom > box.top) labels.push({ element, box, text: words(node) });
  }

  const cut = labels.filter(({ element, box }) => {
    for (let around = element; around; around = around.parentElement) {
      if (around.matches(".scroller, pre")) return false; // it can be scrolled to
      const style = getComputedStyle(around);
      if (around instanceof HTMLElement && (style.overflowX === "hidden" || style.overflowY === "hidden")) {
        const frame = around.getBoundingClientRect();
        if (box.right > frame.right + 1 || box.bottom > frame.bottom + 1 || box.left < frame.left - 1) return true;
      }
      if (style.textOverflow === "ellipsis") return true;
    }
    return box.left < 0 || box.right > document.documentElement.clientWidth;
  });

  // The pieces of one label (its lines, its words in bold) may touch each other.
  const whole = (label) => label.element.closest("svg text, .tok, p, li, dt, dd, th, td, h1, h2, h3, small, pre, .who, .what, summary") ?? label.element;
  const nested = (a, b) => a === b || a.contains(b) || b.contains(a);
  const inCharts = labels.map((label) => ({ ...label, whole: whole(label) }));
  const covered = [];
  const byTop = [...inCharts].sort((a, b) => a.box.top - b.box.top);
  for (let i = 0; i < byTop.length; i++) {
    for (let j = i + 1; j < byTop.length && byTop[j].box.top < byTop[i].box.bottom; j++) {
      const [a, b] = [byTop[i], byTop[j]];
      if (overlap(a.box, b.box) && !nested(a.whole, b.whole)) covered.push(`${a.text} | ${b.text}`);
    }
  }

  // Lines that carry meaning; those of the grid lie behind, and a label has a halo.
  const crossed = [];
  for (const plot of document.querySelectorAll("svg.plot, svg.strip")) {
    const texts = inCharts.filter(({ element }) => plot.contains(element));
    if (!texts.length) continue;
    for (const line of plot.querySelectorAll("line:not(.grid), polyline")) {
      if (!shown(line)) continue;
      for (const point of along(line)) {
        const hit = texts.find(({ box }) => point.x > box.left + 1 && point.x < box.right - 1 && point.y > box.top + 3 && point.y < box.bottom - 3);
        if (hit) crossed.push(`${hit.text} by ${line.getAttribute("class")}`);
      }
    }
  }
  function along(line) {
    const matrix = line.getScreenCTM();
    const length = line.getTotalLength();
    const count = Math.max(2, Math.ceil((length * Math.max(matrix.a, matrix.d)) / 2));
    return Array.from({ length: count + 1 }, (_, i) => line.getPointAtLength((length * i) / count).matrixTransform(matrix));
  }

  const luminance = (colour) => {
    const [r, g, b] = colour.match(/[\d.]+/g).map((part) => {
      const value = part / 255;
      return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = getComputedStyle(document.body).backgroundColor;
  const contrast = (colour) => {
    const [light, dark] = [luminance(colour), luminance(paper)].sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  };
  const faint = [...document.querySelectorAll("svg text")]
    .filter((text) => shown(text) && contrast(getComputedStyle(text).fill) < 4.5)
    .map(words);

  const unique = (found) => [...new Set(found)];
  return {
    labels: labels.length,
    boxes: labels.map(({ box }) => [box.left, box.top, box.right, box.bottom].map(Math.round)),
    paper,
    cut: unique(cut.map(({ text }) => text)),
    covered: unique(covered),
    crossed: unique(crossed),
    faint: unique(faint),
  };
}
