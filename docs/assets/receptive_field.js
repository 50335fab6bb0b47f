/* What a unit of any layer of a network sees of the image, where the pointer is. */
"use strict";

(() => {
  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));
    node.append(...children);
    return node;
  };

  function start(root, models) {
    const choice = make("select", { "aria-label": "network" }, ...Object.keys(models).map((name) => make("option", {}, name)));
    const layers = make("select", { "aria-label": "layer", size: 12 });
    const canvas = make("canvas", { width: 448, height: 448, role: "img", "aria-label": "the image, and what the unit sees of it" });
    const text = make("p", { "aria-live": "polite" });
    root.append(
      make("div", { class: "jc-controls" }, make("label", {}, "network ", choice)),
      make("div", { class: "jc-stage" }, layers, make("figure", {}, canvas, make("figcaption", {}, text))),
    );
    let place = [0.5, 0.5];

    const layer = () => models[choice.value].layers[layers.selectedIndex];
    const color = (name) => getComputedStyle(root).getPropertyValue(name);

    function list() {
      layers.replaceChildren(...models[choice.value].layers.map(([path, out, size]) =>
        make("option", {}, `${path}  ${out}×${out}  receptive field ${size}×${size}`)));
      layers.selectedIndex = Math.min(layers.length - 1, Math.floor(layers.length / 2));
      draw();
    }

    function draw() {
      const n = models[choice.value].size;
      const [path, out, size, stride, center] = layer();
      const unit = place.map((share) => Math.min(out - 1, Math.floor(share * out)));
      const [rows, columns] = unit.map((i) => Arithmetic.seen(i, { size, stride, center }, n));
      const pen = canvas.getContext("2d"), scale = canvas.width / n;
      pen.fillStyle = color("--jc-image");
      pen.fillRect(0, 0, canvas.width, canvas.height);
      pen.fillStyle = color("--jc-tap");
      pen.fillRect(columns[0] * scale, rows[0] * scale, (columns[1] - columns[0] + 1) * scale, (rows[1] - rows[0] + 1) * scale);
      pen.strokeStyle = color("--jc-line");
      pen.beginPath();
      for (let i = 0; i <= out; i++) { // where the units of the layer are
        const at = (i * canvas.width) / out;
        pen.moveTo(at, 0); pen.lineTo(at, canvas.height); pen.moveTo(0, at); pen.lineTo(canvas.width, at);
      }
      if (out <= 64) pen.stroke();
      pen.fillStyle = color("--jc-unit");
      const cell = canvas.width / out;
      pen.fillRect(unit[1] * cell + cell / 4, unit[0] * cell + cell / 4, Math.max(3, cell / 2), Math.max(3, cell / 2));
      const whole = rows[0] === 0 && rows[1] === n - 1 && columns[0] === 0 && columns[1] === n - 1;
      text.textContent =
        `${path}: unit (${unit}) of ${out}×${out} sees rows ${rows[0]} to ${rows[1]} and columns ${columns[0]} to ` +
        `${columns[1]} of the ${n}×${n} image${whole ? ", all of it" : ""}. Its receptive field, not clipped to the image, ` +
        `is ${size}×${size}; the effective stride is ${stride} pixel${stride === 1 ? "" : "s"}.`;
    }

    choice.addEventListener("change", list);
    layers.addEventListener("change", draw);
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      place = [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width].map((v) => Math.max(0, Math.min(0.9999, v)));
      draw();
    });
    new MutationObserver(draw).observe(document.body, { attributes: true }); // light or dark
    choice.value = "resnet18" in models ? "resnet18" : choice.value;
    list();
  }

  document.querySelectorAll(".jc-receptive-field").forEach((root) => start(root, window.RECEPTIVE_FIELDS));
})();
