/* Explorers on the page: draws the descriptions that mage_edu.explorers wrote into it, and moves them without a kernel.

   A quantity is a number, a formula in x and the names of sliders and values, or a table over the places of sliders. Formulas come from our own
   notebooks and were checked when they were written: numbers, names, + - * / **, one comparison and the functions below. */
"use strict";
(() => {
  const FUNCTIONS = { sin: Math.sin, cos: Math.cos, exp: Math.exp, log: Math.log, sqrt: Math.sqrt, tanh: Math.tanh, abs: Math.abs, sign: Math.sign };
  const MARGIN = { left: 58, right: 12, top: 8, bottom: 44 };
  const compiled = new Map();

  function evaluate(formula, names) {
    const keys = [...Object.keys(FUNCTIONS), ...Object.keys(names)], id = formula + "|" + keys;
    if (!compiled.has(id)) compiled.set(id, new Function(...keys, `return (${formula});`));
    return compiled.get(id)(...Object.values(FUNCTIONS), ...Object.values(names));
  }

  function place(slider, value) {
    return Math.min(Math.max(Math.round((value - slider.low) / slider.step), 0), Math.round((slider.high - slider.low) / slider.step));
  }

  // A number, or a list of them where a table has more axes than sliders.
  function resolve(quantity, names, sliders) {
    if (typeof quantity === "string") return evaluate(quantity, names);
    if (quantity === null || typeof quantity !== "object") return quantity;
    return quantity.over.reduce((table, name) => table[place(sliders[name], names[name])], quantity.table);
  }

  function fill(words, names) {
    if (typeof words !== "string") words = words.find(([condition]) => evaluate(condition, names))[1];
    return words.replace(/\{([^{}:]+):(\+?)(?:\.(\d+)f|g)\}/g, (_, formula, sign, digits) => {
      const value = evaluate(formula, names) + 0;
      const text = digits === undefined ? String(Number(value.toPrecision(6))) : value.toFixed(Number(digits));
      return ((sign && !text.startsWith("-") ? "+" : "") + text).replace(/-/g, "\u2212");
    });
  }

  function element(kind, attributes = {}, text = "") {
    const made = document.createElementNS(kind in { svg: 1, path: 1, line: 1, circle: 1, text: 1, g: 1, clipPath: 1, rect: 1 } ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml", kind);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text) made.textContent = text;
    return made;
  }

  // Round numbers between low and high, some `count` of them.
  function ticks(low, high, count) {
    const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999);
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push(Number((k * step).toPrecision(8)));
    return found;
  }

  function axes(svg, panel, x, y, width, height) {
    const bottom = height - MARGIN.bottom, right = width - MARGIN.right;
    const say = (px, py, text, anchor, more = {}) => svg.append(element("text", { x: px, y: py, "text-anchor": anchor, ...more }, text));
    for (const at of ticks(...panel.xlim, width < 420 ? 4 : 7)) {
      svg.append(element("line", { class: "grid", x1: x(at), x2: x(at), y1: MARGIN.top, y2: bottom }));
      say(x(at), bottom + 17, String(at).replace("-", "\u2212"), "middle");
    }
    for (const at of ticks(...panel.ylim, 5)) {
      svg.append(element("line", { class: "grid", x1: MARGIN.left, x2: right, y1: y(at), y2: y(at) }));
      say(MARGIN.left - 6, y(at) + 4, String(at).replace("-", "\u2212"), "end");
    }
    say((MARGIN.left + right) / 2, height - 6, panel.xlabel, "middle");
    say(0, 0, panel.ylabel, "middle", { transform: `translate(13 ${(MARGIN.top + bottom) / 2}) rotate(-90)` });
  }

  function places(mark) {
    if (mark.x.length !== 2) return mark.x;
    const [low, high] = mark.x;
    return Array.from({ length: 601 }, (_, k) => low + ((high - low) * k) / 600);
  }

  function drawMark(mark, at, x, y, frame) {
    const over = (quantity, xs) => {
      const found = typeof quantity === "string" ? xs.map((one) => at(quantity, { x: one })) : at(quantity);
      return Array.isArray(found) ? found : xs.map(() => found);
    };
    const path = (xs, ys) => xs.map((one, k) => `${k ? "L" : "M"}${x(one).toFixed(1)} ${y(ys[k]).toFixed(1)}`).join("");
    const color = `explorer-${mark.color}`;
    if (mark.kind === "Curve") {
      const xs = places(mark);
      return element("path", { class: color, fill: "none", d: path(xs, over(mark.y, xs)), "stroke-width": mark.width, ...(mark.dashed ? { "stroke-dasharray": "6 4" } : {}) });
    }
    if (mark.kind === "Band") {
      const xs = places(mark), back = [...xs].reverse();
      return element("path", { class: `${color} band`, d: path(xs, over(mark.high, xs)) + path(back, over(mark.low, xs).slice().reverse()).replace("M", "L") + "Z" });
    }
    if (mark.kind === "Rule") {
      const px = x(at(mark.x));
      return element("line", { class: color, x1: px, x2: px, y1: frame.top, y2: frame.bottom, "stroke-width": 1.5, "stroke-dasharray": "2 4" });
    }
    const px = x(at(mark.x)), py = y(at(mark.y));
    if (mark.kind === "Dot") return element("circle", { class: `${color} dot`, cx: px, cy: py, r: 5.5 });
    const tip = x(at(mark.x) + at(mark.dx)), head = 8 * Math.sign(tip - px);
    return element("path", { class: color, fill: "none", "stroke-width": 2.5, d: head ? `M${px} ${py}H${tip}M${tip - head} ${py - 6}L${tip} ${py}L${tip - head} ${py + 6}` : "" });
  }

  function drawPanel(panel, box, names, sliders, seen) {
    const at = (quantity, more = {}) => resolve(quantity, { ...names, ...more }, sliders);
    const width = Math.max(260, Math.min(box.clientWidth || 640, 720)), height = panel.height;
    const scale = ([low, high], from, to) => (value) => from + ((value - low) / (high - low)) * (to - from);
    const x = scale(panel.xlim, MARGIN.left, width - MARGIN.right), y = scale(panel.ylim, height - MARGIN.bottom, MARGIN.top);
    const svg = element("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${fill(panel.title, names)}. ${seen}` });
    axes(svg, panel, x, y, width, height);
    const clip = element("clipPath", { id: box.id + "-clip" });
    clip.append(element("rect", { x: MARGIN.left, y: MARGIN.top, width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom }));
    const inside = element("g", { "clip-path": `url(#${box.id}-clip)` });
    svg.append(clip, inside);
    const legend = element("p", { class: "explorer-legend" });
    for (const mark of panel.marks) {
      inside.append(drawMark(mark, at, x, y, { top: MARGIN.top, bottom: height - MARGIN.bottom }));
      const label = fill(mark.label, names);
      if (label) {
        const sign = mark.kind === "Arrow" ? (at(mark.dx) < 0 ? "\u2190 " : "\u2192 ") : mark.kind === "Dot" ? "\u25cf " : mark.kind === "Band" ? "\u25a0 " : mark.kind === "Rule" ? "\u22ee " : mark.dashed ? "\u2504 " : "\u2501 ";
        const entry = element("span", { class: `explorer-${mark.color}` });
        entry.append(element("span", { "aria-hidden": "true" }, sign), label);
        legend.append(entry, " ");
      }
    }
    box.replaceChildren(element("p", { class: "explorer-title" }, fill(panel.title, names)), legend, svg);
  }

  function bringToLife(root) {
    const explorer = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
    const sliders = Object.fromEntries(explorer.sliders.map((slider) => [slider.name, slider]));
    const moved = Object.fromEntries(explorer.sliders.map((slider) => [slider.name, slider.value]));
    const says = root.querySelector(".explorer-says"), controls = element("div", { class: "explorer-controls" });
    const boxes = explorer.panels.map((_, k) => element("div", { class: "explorer-panel", id: `${root.id}-${k}` }));

    function redraw() {
      const names = { ...moved };
      for (const [name, quantity] of Object.entries(explorer.values)) names[name] = resolve(quantity, names, sliders);
      const seen = fill(explorer.says, names);
      explorer.panels.forEach((panel, k) => drawPanel(panel, boxes[k], names, sliders, seen));
      if (says.textContent !== seen) says.textContent = seen;
    }

    for (const slider of explorer.sliders) {
      const id = `${root.id}-${slider.name}`, digits = (String(slider.step).split(".")[1] || "").length;
      const show = () => moved[slider.name].toFixed(digits).replace("-", "\u2212");
      const range = element("input", { type: "range", id, min: slider.low, max: slider.high, step: slider.step, value: slider.value });
      const output = element("output", { for: id }, show());
      range.addEventListener("input", () => {
        moved[slider.name] = slider.low + slider.step * place(slider, Number(range.value));
        output.textContent = show();
        redraw();
      });
      controls.append(element("label", { for: id }, slider.label || slider.name), range, output);
    }
    says.setAttribute("aria-live", "polite");
    says.before(controls, ...boxes);
    redraw();
    let width = 0;
    new ResizeObserver(() => {
      if (boxes[0].clientWidth !== width) { width = boxes[0].clientWidth; redraw(); }
    }).observe(root);
  }

  const start = () => document.querySelectorAll(".explorer").forEach(bringToLife);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
