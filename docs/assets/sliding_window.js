/* A window that slides over its input: sliders, formula with its numbers, input and output. */
"use strict";

(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const CELL = 26;
  const SLIDERS = [
    ["n", "input size", 1, 14, 7],
    ["k", "kernel size", 1, 7, 3],
    ["s", "stride", 1, 4, 1],
    ["d", "dilation", 1, 3, 1],
  ];
  const PADDINGS = ["valid", "same", "full", "causal", "1", "2", "3"];

  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));
    node.append(...children);
    return node;
  };
  const shape = (tag, attributes) => {
    const node = document.createElementNS(SVG, tag);
    Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));
    return node;
  };

  /** A square map of cells; `style(i, j)` names the classes of a cell, `enter(i, j)` is called under the pointer. */
  function grid(cells, low, size, label, style, enter) {
    const side = Math.max(1, cells) * CELL;
    const svg = shape("svg", { viewBox: `-1 -1 ${side + 2} ${side + 2}`, role: "img", "aria-label": label });
    svg.style.maxWidth = `${side + 2}px`;
    for (let i = 0; i < cells; i++)
      for (let j = 0; j < cells; j++) {
        const padded = Math.min(i, j) < low || Math.max(i, j) >= low + size;
        const cell = shape("rect", {
          x: j * CELL, y: i * CELL, width: CELL, height: CELL, class: `jc-cell ${padded ? "jc-pad" : ""} ${style(i, j)}`,
        });
        if (enter) cell.addEventListener("pointerenter", () => enter(i, j));
        svg.append(cell);
      }
    return svg;
  }

  function start(root) {
    const values = Object.fromEntries(SLIDERS.map(([name, , , , value]) => [name, value]));
    let padding = "valid", transposed = false, unit = [0, 0], timer = null;

    const controls = make("div", { class: "jc-controls" });
    for (const [name, label, low, high, value] of SLIDERS) {
      const output = make("output", {}, String(value));
      const slider = make("input", { type: "range", min: low, max: high, value, "aria-label": label });
      slider.addEventListener("input", () => {
        values[name] = Number(slider.value);
        output.textContent = slider.value;
        draw();
      });
      controls.append(make("label", {}, `${label} ${name} = `, output, slider));
    }
    const choice = make("select", { "aria-label": "padding" }, ...PADDINGS.map((word) => make("option", {}, word)));
    choice.addEventListener("change", () => ((padding = choice.value), draw()));
    const kind = make("input", { type: "checkbox", "aria-label": "transposed" });
    kind.addEventListener("change", () => ((transposed = kind.checked), (unit = [0, 0]), draw()));
    const play = make("button", { type: "button", class: "md-button" }, "Play");
    play.addEventListener("click", () => (timer ? stop() : run()));
    controls.append(
      make("label", {}, "padding ", choice),
      make("label", {}, kind, " transposed convolution"),
      play,
    );
    const formula = make("p", { class: "jc-formula", "aria-live": "polite" });
    const stage = make("div", { class: "jc-stage" });
    const code = make("pre", { class: "jc-code" });
    root.append(controls, formula, stage, code);

    function run() {
      play.textContent = "Pause";
      timer = setInterval(() => {
        const { count } = sizes();
        const next = count > 0 ? (unit[0] * count + unit[1] + 1) % (count * count) : 0;
        unit = count > 0 ? [Math.floor(next / count), next % count] : [0, 0];
        draw();
      }, 500);
    }
    function stop() {
      clearInterval(timer);
      timer = null;
      play.textContent = "Play";
    }

    /** Padding, output size, and the number of units that are stepped through along an axis. */
    function sizes() {
      const { n, k, s, d } = values;
      if (!transposed) {
        const pads = Arithmetic.pads(padding, n, k, s, d);
        const out = Arithmetic.outSize(n, k, s, pads, d);
        return { pads, out, count: out };
      }
      const reach = d * (k - 1) + 1;
      const total = padding === "same" ? Math.max(0, reach - s) : null;
      const pads = total === null ? Arithmetic.pads(padding, n, k, s, d) : [Math.floor(total / 2), Math.ceil(total / 2)];
      return { pads, out: Arithmetic.transposedSize(n, k, s, pads, d), count: n };
    }

    function draw() {
      const { n, k, s, d } = values;
      const { pads: [lo, hi], out, count } = sizes();
      unit = unit.map((i) => Math.max(0, Math.min(i, count - 1)));
      const words = transposed
        ? `out = (n − 1)·s + d·(k − 1) + 1 − lo − hi = (${n} − 1)·${s} + ${d}·(${k} − 1) + 1 − ${lo} − ${hi} = ${out}`
        : `out = ⌊(n + lo + hi − d·(k − 1) − 1) / s⌋ + 1 = ⌊(${n} + ${lo} + ${hi} − ${d}·(${k} − 1) − 1) / ${s}⌋ + 1 = ${out}`;
      formula.textContent = words;
      stage.replaceChildren();
      const argument = /\d/.test(padding) ? padding : `"${padding}"`;
      code.textContent = `jc.Conv${transposed ? "Transpose" : ""}(features, ${k}, stride=${s}, dilation=${d}, padding=${argument})`;
      if (out < 1) {
        formula.textContent += transposed ? ": the padding removes all of it." : ": no window fits. Take a smaller kernel or more padding.";
        return;
      }
      const move = (i, j) => (stop(), (unit = [i, j]), draw());
      const windows = unit.map((i) => Arithmetic.taps(i, k, s, [lo, hi], d));
      const on = (i, j) => windows[0].includes(i) && windows[1].includes(j);
      const here = (i, j) => (i === unit[0] && j === unit[1] ? "jc-unit" : "");
      const figure = (title, svg) => stage.append(make("figure", {}, svg, make("figcaption", {}, title)));
      if (transposed) {
        figure(`input ${n}×${n}: unit (${unit})`, grid(n, 0, n, `input of ${n} by ${n} cells`, here, move));
        const cover = Array.from({ length: out }, (_, o) =>
          Array.from({ length: n }, (_, i) => Arithmetic.taps(i, k, s, [lo, hi], d).includes(o)).filter(Boolean).length);
        const most = Math.max(...cover);
        const uneven = new Set(cover.slice(k, out - k)).size > 1;
        figure(
          `output ${out}×${out}: the cells it adds to` + (uneven ? "; shades: how many units add to a cell (checkerboard)" : ""),
          grid(out, 0, out, `output of ${out} by ${out} cells`, (i, j) =>
            `${on(i, j) ? "jc-tap" : ""} jc-cover${Math.min(4, Math.round((4 * cover[i] * cover[j]) / (most * most)))}`),
        );
      } else {
        const all = n + lo + hi;
        const padded = lo + hi ? `, padded to ${all}×${all}` : "";
        figure(
          `input ${n}×${n}${padded}: the window of unit (${unit})`,
          grid(all, lo, n, `input of ${n} by ${n} cells`, (i, j) => (on(i - lo, j - lo) ? "jc-tap" : "")),
        );
        figure(`output ${out}×${out}`, grid(out, 0, out, `output of ${out} by ${out} cells`, here, move));
      }
    }

    draw();
  }

  document.querySelectorAll(".jc-sliding-window").forEach(start);
})();
