/* The curves of results/ on the page: draws what docs/curves.py wrote into it, and lets the reader choose. The statistics are computed there, by
   mage_edu.evaluate; here they are only drawn. Plain SVG, no request to anywhere. */
"use strict";
(() => {
  const SVG = { svg: 1, path: 1, line: 1, circle: 1, text: 1, g: 1 };
  const MARGIN = { left: 70, right: 14, top: 10, bottom: 44 };
  const COLORS = 6; // then the same colours dashed

  function element(kind, attributes = {}, ...inside) {
    const made = document.createElementNS(kind in SVG ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml", kind);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...inside);
    return made;
  }

  const minus = (text) => String(text).replace(/-/g, "\u2212");
  const shown = (value) => minus(Math.abs(value) >= 100 ? value.toFixed(0) : Number(value.toPrecision(3)));
  const words = (name) => name.replace(/_/g, " ");
  const unit = (x) => ({ step: "environment steps", episode: "episodes", seconds: "seconds of training" })[x] || words(x);
  const unique = (values) => [...new Set(values)];

  // Round numbers between low and high, some `count` of them.
  function ticks(low, high, count) {
    const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999), found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push(Number((k * step).toPrecision(8)));
    return found;
  }

  // What the thick line is: the IQM where it is asked for and there are four seeds, else the mean.
  const statistic = (line, wanted) => (wanted === "iqm" && line.seeds.length >= 4 ? "iqm" : "mean");

  function range(values, padding) {
    const low = Math.min(...values), high = Math.max(...values), more = (high - low || Math.abs(high) || 1) * padding;
    return [low - more, high + more];
  }

  function draw(panel, lines, choice, box) {
    const width = Math.max(280, Math.min(box.clientWidth || 640, 860)), height = width < 480 ? 300 : 380;
    const xs = lines.flatMap((line) => line.seeds.flatMap((seed) => seed.x)), ys = lines.flatMap((line) => line.seeds.flatMap((seed) => seed.y));
    const scale = ([low, high], from, to) => (value) => from + ((value - low) / (high - low)) * (to - from);
    const xlim = range(xs, 0.02), ylim = range(ys, 0.05);
    const x = scale(xlim, MARGIN.left, width - MARGIN.right), y = scale(ylim, height - MARGIN.bottom, MARGIN.top);
    const title = `${panel.task}: ${words(panel.y)} over ${unit(panel.x)}`;
    const svg = element("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}, of ${lines.map((line) => line.name).join(", ")}. The final values are in the table below.` });
    const bottom = height - MARGIN.bottom, right = width - MARGIN.right;
    for (const at of ticks(...xlim, width < 480 ? 4 : 7)) {
      svg.append(element("line", { class: "grid", x1: x(at), x2: x(at), y1: MARGIN.top, y2: bottom }));
      svg.append(element("text", { x: x(at), y: bottom + 17, "text-anchor": "middle" }, minus(at.toLocaleString("en"))));
    }
    for (const at of ticks(...ylim, 6)) {
      svg.append(element("line", { class: "grid", x1: MARGIN.left, x2: right, y1: y(at), y2: y(at) }));
      svg.append(element("text", { x: MARGIN.left - 6, y: y(at) + 4, "text-anchor": "end" }, minus(at.toLocaleString("en"))));
    }
    svg.append(element("text", { x: (MARGIN.left + right) / 2, y: height - 6, "text-anchor": "middle" }, unit(panel.x)));
    svg.append(element("text", { transform: `translate(14 ${(MARGIN.top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, words(panel.y)));
    const path = (points) => points.map(([px, py], k) => `${k ? "L" : "M"}${x(px).toFixed(2)} ${y(py).toFixed(2)}`).join("");
    for (const line of lines) {
      const which = statistic(line, choice.statistic), low = which + "_low", high = which + "_high";
      const group = element("g", { class: line.color, "data-line": line.name, "data-statistic": which });
      if (choice.band && line.all.length && low in line.all[0]) {
        const there = line.all.map((one) => [one.at, one[high]]), back = line.all.map((one) => [one.at, one[low]]).reverse();
        if (line.all.length > 1) group.append(element("path", { class: "band", d: path(there) + path(back).replace("M", "L") + "Z" }));
        else group.append(element("path", { class: "whisker", d: path([there[0], back[0]]) }));
      }
      if (choice.seeds) {
        for (const seed of line.seeds) {
          if (seed.x.length > 1) group.append(element("path", { class: "seed", "data-seed": seed.seed, d: path(seed.x.map((at, k) => [at, seed.y[k]])) }));
          else group.append(element("circle", { class: "dot", "data-seed": seed.seed, cx: x(seed.x[0]), cy: y(seed.y[0]), r: 3 }));
        }
      }
      const middle = line.all.map((one) => [one.at, one[which]]);
      if (middle.length > 1) group.append(element("path", { class: "middle", d: path(middle) }));
      else if (middle.length) group.append(element("circle", { class: "middle-dot", cx: x(middle[0][0]), cy: y(middle[0][1]), r: 6 }));
      svg.append(group);
    }
    box.replaceChildren(element("p", { class: "curves-title" }, title), svg);
  }

  function table(panel, lines, choice) {
    const head = element("tr");
    for (const name of ["line", `at (${unit(panel.x)})`, "seeds", "thick line", "value", "95 % interval", "every seed at its last point"]) head.append(element("th", { scope: "col" }, name));
    const body = element("tbody");
    for (const line of lines) {
      const which = statistic(line, choice.statistic), last = line.all[line.all.length - 1], row = element("tr", { "data-line": line.name });
      const few = choice.statistic === "iqm" && which === "mean" ? "mean (fewer than four seeds)" : which === "iqm" ? "IQM" : "mean";
      const interval = last && which + "_low" in last ? `${shown(last[which + "_low"])} to ${shown(last[which + "_high"])}` : line.seeds.length === 1 ? "one seed: none" : "none";
      const each = line.seeds.map((seed) => `${seed.seed}: ${shown(seed.y[seed.y.length - 1])}`).join(", ");
      const cells = [last ? minus(Number(last.at.toPrecision(6)).toLocaleString("en")) : "no shared point", line.seeds.length, few, last ? shown(last[which]) : "none", interval, each];
      row.append(element("th", { scope: "row" }, line.name), ...cells.map((text) => element("td", {}, String(text))));
      body.append(row);
    }
    return element("table", {}, element("caption", {}, "Final values of the curves drawn above"), element("thead", {}, head), body);
  }

  function swatch(color) {
    const svg = element("svg", { width: 26, height: 10, "aria-hidden": "true", class: color });
    svg.append(element("path", { class: "middle", d: "M1 5H25" }));
    return svg;
  }

  function bringToLife(root, number) {
    const tables = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
    const choice = { path: tables[0].path, statistic: "iqm", seeds: true, band: true, off: new Set() };
    const controls = element("div", { class: "curves-controls" }), lineBox = element("fieldset", { class: "curves-lines" });
    const note = element("p", { class: "curves-note" }), picture = element("div", { class: "curves-picture" });
    const values = element("div", { class: "curves-table", tabindex: 0, role: "region", "aria-label": "Final values" }), says = element("p", { class: "curves-says", "aria-live": "polite" });
    const selects = {};

    function select(name, label) {
      const id = `curves-${number}-${name}`, box = element("select", { id });
      box.addEventListener("change", () => { choice[name] = box.value; settle(name); });
      controls.append(element("label", { for: id }, label), box);
      selects[name] = box;
    }

    function offer(name, options) {
      const box = selects[name];
      box.replaceChildren(...options.map(([value, text]) => element("option", { value }, text)));
      if (!options.some(([value]) => value === choice[name])) choice[name] = options[0][0];
      box.value = choice[name];
      box.disabled = options.length === 1;
    }

    const current = () => tables.find((one) => one.path === choice.path);
    const panel = () => current().panels.find((one) => one.task === choice.task && one.y === choice.y && one.x === choice.x);

    // Offer what the table has, from coarse to fine; what stays possible stays chosen.
    function settle(changed) {
      let left = current().panels;
      for (const name of ["task", "y", "x"]) {
        offer(name, unique(left.map((one) => one[name])).map((value) => [value, name === "task" ? value : name === "x" ? unit(value) : words(value)]));
        left = left.filter((one) => one[name] === choice[name]);
      }
      if (changed === "path") choice.off = new Set(panel().lines.slice(COLORS).map((line) => line.name)); // more are hard to tell apart
      offerLines();
      redraw();
    }

    function offerLines() {
      const boxes = panel().lines.map((line, k) => {
        line.color = `curve-${k % COLORS}${k >= COLORS ? " dashed" : ""}`;
        const box = element("input", { type: "checkbox", id: `curves-${number}-line-${k}` });
        box.checked = !choice.off.has(line.name);
        box.addEventListener("change", () => { choice.off[box.checked ? "delete" : "add"](line.name); redraw(); });
        return element("label", { for: box.id }, box, swatch(line.color), line.name);
      });
      lineBox.replaceChildren(element("legend", {}, "Lines"), ...boxes);
    }

    function redraw() {
      const now = panel(), lines = now.lines.filter((line) => !choice.off.has(line.name));
      note.textContent = current().title + (current().status === "obsolete" ? `. Obsolete: ${current().note}` : "") + ".";
      if (lines.length) {
        draw(now, lines, choice, picture);
        values.replaceChildren(table(now, lines, choice));
      } else {
        picture.replaceChildren(element("p", {}, "No line is chosen."));
        values.replaceChildren();
      }
      const few = choice.statistic === "iqm" && lines.some((line) => line.seeds.length < 4);
      const said = `${lines.length} of ${now.lines.length} lines.${few ? " Of lines with fewer than four seeds the thick line is the mean." : ""}`;
      if (says.textContent !== said) says.textContent = said;
    }

    select("path", "table");
    select("task", "task");
    select("y", "measure");
    select("x", "along");
    select("statistic", "thick line");
    offer("path", tables.map((one) => [one.path, one.path + (one.status === "obsolete" ? " (obsolete)" : "")]));
    offer("statistic", [["iqm", "interquartile mean (IQM)"], ["mean", "mean"]]);
    const checks = element("div", { class: "curves-checks" });
    controls.append(checks);
    for (const [name, label] of [["seeds", "every seed"], ["band", "95 % interval"]]) {
      const box = element("input", { type: "checkbox", id: `curves-${number}-${name}` });
      box.checked = true;
      box.addEventListener("change", () => { choice[name] = box.checked; redraw(); });
      checks.append(element("label", { for: box.id }, box, label));
    }
    root.replaceChildren(controls, lineBox, note, picture, says, values);
    settle("path");
    let width = 0;
    new ResizeObserver(() => {
      if (picture.clientWidth !== width) { width = picture.clientWidth; redraw(); }
    }).observe(picture);
    root.dataset.ready = "yes";
  }

  const start = () => document.querySelectorAll(".curves").forEach(bringToLife);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
