"use strict";
/* Draws the page of one run, or of several beside each other, from the JSON in the document. Text is always set as text. */

const NS = "http://www.w3.org/2000/svg";
const LABELED = 30; // most classes that are named beside their confusion matrix
const COLORS = ["--c0", "--c1", "--c2", "--c3", "--c4", "--c5"];

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null));
  return node;
}

function draw(tag, attributes = {}, text = null) {
  const node = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== null) node.textContent = text;
  return node;
}

const short = (value) =>
  typeof value !== "number" ? String(value) : Number.isInteger(value) ? value.toLocaleString("en")
    : Math.abs(value) < 1e-3 ? (+value.toPrecision(5)).toExponential() : String(+value.toPrecision(5));
const percent = (share) => `${(100 * share).toFixed(2)} %`;
const shown = (value) => (value === null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value));
const title = (text) => make("h2", {}, text);

function table(head, rows, numbers = []) {
  const cell = (tag) => (value, i) => {
    const node = make(tag, numbers.includes(i) ? { class: "number" } : {});
    node.append(value instanceof Node ? value : String(value));
    return node;
  };
  const body = make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map(cell("td")))));
  const top = make("thead", {}, make("tr", {}, ...head.map(cell("th"))));
  return make("div", { class: "scroll" }, make("table", {}, top, body));
}

/* ------------------------------------------------------------ curves */

const zoom = { range: null, charts: [] };

/** Points [x, y] of at most `most` columns: the lowest and the highest of each, in their order. */
function thinned(points, most) {
  if (points.length <= 2 * most) return points;
  const found = [], size = points.length / most;
  for (let i = 0; i < most; i++) {
    const part = points.slice(Math.floor(i * size), Math.floor((i + 1) * size));
    let low = part[0], high = part[0];
    for (const point of part) {
      if (point[1] < low[1]) low = point;
      if (point[1] > high[1]) high = point;
    }
    found.push(...(low[0] <= high[0] ? [low, high] : [high, low]));
  }
  return found;
}

function ticks(low, high, count = 5) {
  const span = high - low || 1, step = 10 ** Math.floor(Math.log10(span / count));
  const size = [1, 2, 5, 10].map((m) => m * step).find((s) => span / s <= count);
  const found = [];
  for (let v = Math.ceil(low / size) * size; v <= high + size * 1e-9; v += size) found.push(+v.toPrecision(12));
  return found;
}

function nearest(points, x) {
  let low = 0, high = points.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < x) low = middle + 1;
    else high = middle;
  }
  return low > 0 && x - points[low - 1][0] < points[low][0] - x ? points[low - 1] : points[low];
}

/** A chart of lines {name, color, points}. Hovering names values, dragging zooms all charts, a double click undoes it. */
function chart(name, lines) {
  const W = 460, H = 220, L = 60, B = 24, T = 8, R = 20;
  const svg = draw("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${name} by step` });
  const said = make("p", { class: "said", "aria-live": "polite" });
  const node = make("figure", { class: "chart" }, make("b", {}, name), svg, said);
  const steps = lines.flatMap(({ points }) => points.map(([x]) => x));
  const whole = [Math.min(...bounds(steps)), Math.max(...bounds(steps))];
  let x0, x1, start = null;

  const place = (x) => L + ((x - x0) / (x1 - x0 || 1)) * (W - L - R);
  const step = (event) => {
    const box = svg.getBoundingClientRect();
    const share = (((event.clientX - box.left) / box.width) * W - L) / (W - L - R);
    return Math.max(x0, Math.min(x1, x0 + share * (x1 - x0)));
  };
  const legend = () =>
    said.replaceChildren(...lines.map(({ name, color }) => make("span", {}, mark(color), `${name}  `)));

  function redraw() {
    [x0, x1] = zoom.range ?? whole;
    const inside = lines.map((line) => ({ ...line, points: line.points.filter(([x]) => x >= x0 && x <= x1) }));
    const values = inside.flatMap(({ points }) => points.map(([, y]) => y));
    const [low, high] = values.length ? bounds(values) : [0, 1];
    const margin = (high - low || Math.abs(high) || 1) * 0.05, y0 = low - margin, y1 = high + margin;
    const up = (y) => T + ((y1 - y) / (y1 - y0)) * (H - T - B);
    svg.replaceChildren();
    for (const y of ticks(y0, y1))
      svg.append(draw("line", { class: "grid", x1: L, x2: W - R, y1: up(y), y2: up(y) }), draw("text", { x: L - 5, y: up(y) + 4, "text-anchor": "end" }, short(y)));
    for (const x of ticks(x0, x1)) svg.append(draw("text", { x: place(x), y: H - 7, "text-anchor": "middle" }, short(x)));
    for (const { color, points } of inside) {
      const path = thinned(points, 450).map(([x, y]) => `${place(x).toFixed(1)},${up(y).toFixed(1)}`);
      const style = `stroke:var(${color});fill:none;stroke-width:1.6`;
      if (path.length === 1) svg.append(draw("circle", { cx: path[0].split(",")[0], cy: path[0].split(",")[1], r: 3, style: `fill:var(${color})` }));
      else if (path.length) svg.append(draw("polyline", { points: path.join(" "), style }));
    }
    legend();
  }

  const cursor = draw("line", { class: "cursor", y1: T, y2: H - B });
  const box = draw("rect", { class: "zoom", y: T, height: H - T - B });
  svg.addEventListener("pointermove", (event) => {
    const x = step(event);
    cursor.setAttribute("x1", place(x));
    cursor.setAttribute("x2", place(x));
    svg.append(cursor);
    if (start !== null) {
      box.setAttribute("x", place(Math.min(start, x)));
      box.setAttribute("width", Math.abs(place(x) - place(start)));
      svg.append(box);
    }
    said.replaceChildren(...lines.filter(({ points }) => points.length).map(({ name, color, points }) => {
      const [at, y] = nearest(points, x);
      return make("span", {}, mark(color), `${name} ${short(y)} (step ${short(at)})  `);
    }));
  });
  svg.addEventListener("pointerleave", () => (cursor.remove(), box.remove(), (start = null), legend()));
  svg.addEventListener("pointerdown", (event) => (start = step(event)));
  svg.addEventListener("pointerup", (event) => {
    const end = step(event);
    if (start !== null && Math.abs(place(end) - place(start)) > 8) setZoom([Math.min(start, end), Math.max(start, end)]);
    start = null;
    box.remove();
  });
  svg.addEventListener("dblclick", () => setZoom(null));
  zoom.charts.push(redraw);
  redraw();
  return node;
}

function setZoom(range) {
  zoom.range = range;
  zoom.charts.forEach((redraw) => redraw());
}

/** The least and the largest of many numbers. */
function bounds(values) {
  let low = Infinity, high = -Infinity;
  for (const v of values) {
    if (v < low) low = v;
    if (v > high) high = v;
  }
  return [low, high];
}

const mark = (color) => make("span", { class: "key", style: `background:var(${color})` });

function curves(runs) {
  const several = runs.length > 1, metric = runs[0].metric;
  const names = (run, group, label) => (several ? (label ? `${run.name}: ${label}` : run.name) : label || group);
  const groups = [
    ["loss", [["loss", "training"], ["validation_loss", "validation"], ["test_loss", "test"]]],
    [metric, [[metric, "training"], [`validation_${metric}`, "validation"], [`test_${metric}`, "test"]]],
    ["learning rate", [["learning_rate", ""]]],
    ["gradient norm", [["gradient_norm", ""]]],
    ["images per second", [["images_per_second", ""]]],
  ];
  const charts = [];
  for (const [name, keys] of groups) {
    const lines = [];
    runs.forEach((run, i) => keys.forEach(([key, label], j) => {
      const points = run.lines.filter((line) => typeof line[key] === "number").map((line) => [line.step, line[key]]);
      const color = COLORS[(several ? i : j) % COLORS.length];
      const held = several && label === "training" && keys.length > 1; // of several runs, evaluations are compared
      if (points.length && !held) lines.push({ name: names(run, name, label), color, points });
    }));
    if (lines.length) charts.push(chart(name, lines));
  }
  const reset = make("button", { type: "button" }, "Whole run");
  reset.addEventListener("click", () => setZoom(null));
  return [title("Curves"), make("p", { class: "quiet" }, "Point at a curve for its values; drag over steps to zoom. ", reset), make("div", { class: "charts" }, ...charts)];
}

/* ------------------------------------------------------------ config */

function settings(run) {
  const all = make("input", { type: "checkbox", id: "all-keys" });
  const place = make("div");
  const show = () => {
    const rows = run.settings.filter((row) => all.checked || row.differs);
    place.replaceChildren(table(["key", "value", "default"], rows.map(({ key, value, differs, default: normal }) =>
      [make("code", {}, key), differs ? make("b", {}, shown(value)) : shown(value), shown(normal)])));
  };
  all.addEventListener("change", show);
  show();
  return [title("Config"), make("label", { for: "all-keys" }, all, " also keys at their defaults"), place];
}

/* ------------------------------------------------------------ network */

const milliseconds = (value) => (value === null || value === undefined ? "" : value < 0.1 ? value.toFixed(3) : String(+value.toPrecision(3)));

function network(run) {
  if (!run.layers.length) return [];
  const panel = make("div", { class: "panel", hidden: "", "aria-live": "polite" });
  const columns = [
    ["layer", (layer) => layer.path], ["output", (layer) => layer.output], ["window", (layer) => layer.window],
    ["parameters", (layer) => (layer.parameters ? short(layer.parameters) : ""), true],
    ["MACs", (layer) => (layer.macs ? short(layer.macs) : ""), true],
    ["receptive field", (layer) => layer.field_size, true],
  ];
  if (run.measured) columns.push(
    ["formulation", (layer) => layer.formulation],
    ["forward", (layer) => milliseconds(layer.forward), true],
    ["backward", (layer) => milliseconds(layer.backward), true],
  );
  const cell = (tag, [, , number], text) => make(tag, number ? { class: "number" } : {}, text);
  const rows = run.layers.map((layer) => {
    const row = make("tr", { class: "link", tabindex: "0" }, ...columns.map((column) => cell("td", column, column[1](layer))));
    const open = () => {
      row.parentNode.querySelectorAll(".chosen").forEach((other) => other.classList.remove("chosen"));
      row.classList.add("chosen");
      panel.hidden = false;
      panel.replaceChildren(...inside(run, layer));
    };
    row.addEventListener("click", open);
    row.addEventListener("keydown", (event) => event.key === "Enter" && open());
    return row;
  });
  const top = make("thead", {}, make("tr", {}, ...columns.map((column) => cell("th", column, column[0]))));
  const totals = `${short(run.totals.parameters)} parameters, ${short(run.totals.macs)} MACs for one image.`;
  return [
    title("Network"),
    make("p", { class: "quiet" }, `${totals} Choose a layer for its formula, its kernels and the receptive fields of its units.`),
    ...(run.measured ? [make("p", { class: "quiet" }, `${run.measured}.`)] : []),
    make("div", { class: "scroll", style: "max-height:26rem;overflow-y:auto" }, make("table", {}, top, make("tbody", {}, ...rows))),
    panel,
  ];
}

function inside(run, layer) {
  const lines = [...layer.formula.map((line) => make("p", { class: "mono" }, line)), ...(layer.formulations?.length ? [make("p", { class: "quiet" }, `formulations: ${layer.formulations.join(", ")}`)] : [])];
  const found = [make("div", {}, make("b", {}, layer.path), ...lines)];
  if (layer.field.length && run.image) found.push(receptiveField(run.image, layer));
  if (layer.kernel) found.push(make("figure", {}, make("img", { src: layer.kernel.src, width: layer.kernel.width, alt: layer.kernel.words }), make("figcaption", { class: "quiet" }, layer.kernel.words)));
  return found;
}

/** The test image, with the receptive field of the unit under the pointer. */
function receptiveField(image, layer) {
  const scale = Math.max(1, Math.floor(224 / Math.max(image.height, image.width)));
  const canvas = make("canvas", { width: image.width * scale, height: image.height * scale, role: "img", "aria-label": `a test image with the receptive field of a unit of ${layer.path}` });
  const text = make("figcaption", { class: "quiet", style: "max-width:18rem" });
  const picture = new Image();
  let place = [0.5, 0.5];
  const paint = () => {
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
    const sides = [image.height, image.width];
    const unit = place.map((share, a) => Math.min(layer.units[a] - 1, Math.floor(share * layer.units[a])));
    const range = unit.map((i, a) => {
      const { size, stride, center } = layer.field[a], first = center + i * stride - (size - 1) / 2;
      return [Math.max(0, first), Math.min(sides[a] - 1, first + size - 1)];
    });
    const [[top, bottom], [left, right]] = range;
    pen.lineWidth = 2;
    pen.strokeStyle = getComputedStyle(canvas).getPropertyValue("--tap");
    pen.strokeRect(left * scale + 1, top * scale + 1, (right - left + 1) * scale - 2, (bottom - top + 1) * scale - 2);
    text.textContent = `unit (${unit.join(", ")}) of ${layer.units.join("×")}: receptive field rows ${top} to ${bottom}, columns ${left} to ${right}`;
  };
  picture.onload = paint;
  picture.src = image.src;
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    place = [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width].map((v) => Math.max(0, Math.min(0.999, v)));
    paint();
  });
  return make("figure", {}, canvas, text);
}

/* ------------------------------------------------------------ predictions */

function thumb(found, i) {
  const [label, answer, confidence] = found.examples[i];
  const { side, across, src } = found.sprite, zoomed = 84 / side;
  const image = make("div", { class: "image", role: "img", "aria-label": `an image of ${found.classes[label]}` });
  image.style.backgroundImage = `url(${src})`;
  image.style.backgroundSize = `${across * side * zoomed}px auto`;
  image.style.backgroundPosition = `${-(i % across) * 84}px ${-Math.floor(i / across) * 84}px`;
  const words = label === answer ? found.classes[label] : `${found.classes[label]} → ${found.classes[answer]}`;
  return make("figure", {}, image, make("figcaption", {}, `${words}, ${Math.round(100 * confidence)}\u00a0%`));
}

function confusion(found) {
  const n = found.classes.length, cell = Math.max(1, Math.floor(Math.min(26, 620 / n))), scale = n > 620 ? 620 / n : 1;
  const side = Math.ceil(n * cell * scale);
  const canvas = make("canvas", { class: "matrix", width: side, height: side, role: "img", "aria-label": "confusion matrix: rows are true classes, columns predicted ones" });
  const said = make("p", { class: "said", "aria-live": "polite" }, "Rows are true classes, columns predicted ones. Point at a cell; click for its images.");
  const images = make("div", { class: "thumbs" });
  const counts = new Map(found.pairs.map(([label, answer, count]) => [label * n + answer, count]));
  const totals = new Array(n).fill(0);
  found.pairs.forEach(([label, , count]) => (totals[label] += count));
  const pen = canvas.getContext("2d");
  const paint = () => {
    const style = getComputedStyle(document.documentElement);
    pen.fillStyle = style.getPropertyValue("--panel");
    pen.fillRect(0, 0, side, side);
    for (const [label, answer, count] of found.pairs) {
      pen.globalAlpha = 0.15 + 0.85 * Math.sqrt(count / totals[label]);
      pen.fillStyle = style.getPropertyValue(label === answer ? "--c0" : "--c1");
      pen.fillRect(answer * cell * scale, label * cell * scale, Math.max(1, cell * scale - (cell > 6 ? 1 : 0)), Math.max(1, cell * scale - (cell > 6 ? 1 : 0)));
    }
    pen.globalAlpha = 1;
  };
  paint();
  const longest = Math.max(...found.classes.map((name) => name.length));
  const grid = make("div", { class: `confusion${n > LABELED ? "" : longest > 2 ? " named" : " named brief"}` }, canvas);
  grid.style.setProperty("--names", `${Math.min(7, 0.8 + 0.45 * longest)}rem`);
  if (n <= LABELED) found.classes.forEach((name, i) => {
    const place = `${(100 * (i + 0.5)) / n}%`;
    grid.append(make("span", { class: "row", style: `top:${place}`, title: name }, name), make("span", { class: "column", style: `left:${place}`, title: name }, name));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width].map((v) => Math.max(0, Math.min(n - 1, Math.floor(v * n))));
  };
  const words = (label, answer) => {
    const count = counts.get(label * n + answer) ?? 0;
    return `${found.classes[label]} → ${found.classes[answer]}: ${short(count)} of ${short(totals[label])} image${totals[label] === 1 ? "" : "s"}`;
  };
  canvas.addEventListener("pointermove", (event) => (said.textContent = words(...at(event))));
  canvas.addEventListener("click", (event) => {
    const [label, answer] = at(event);
    const here = found.examples.map((_, i) => i).filter((i) => found.examples[i][0] === label && found.examples[i][1] === answer);
    said.textContent = `${words(label, answer)}${here.length ? "" : "; none of them is kept on this page"}`;
    images.replaceChildren(...here.slice(0, 40).map((i) => thumb(found, i)));
  });
  return [title("Confusion"), make("div", { class: "scroll" }, grid), said, images];
}

function mistakes(found) {
  const wrong = found.examples.map((_, i) => i).filter((i) => found.examples[i][0] !== found.examples[i][1]);
  wrong.sort((a, b) => found.examples[b][2] - found.examples[a][2]);
  const words = `${short(found.wrong)} of ${short(found.count)} test images; those of the highest confidence:`;
  return [title("Mistakes"), make("p", {}, words), make("div", { class: "thumbs" }, ...wrong.slice(0, 36).map((i) => thumb(found, i)))];
}

/** The worst predictions: of each its image, and maps of what it depends on. */
function attributions({ names, layer, items }) {
  const methods = names.filter((name) => name !== "image" && name !== "pixels").map((name) => (name === "Grad-CAM" ? `Grad-CAM at ${layer}` : name));
  const figures = items.map(({ words, src }) => {
    const shown = src.map((address, i) => make("img", { src: address, alt: `${names[i]} of ${words}`, title: names[i] }));
    return make("figure", {}, make("div", { class: "maps" }, ...shown), make("figcaption", {}, words));
  });
  const what = names.includes("pixels") ? "Each: the image, the pixels that are explained" : "Each: the image";
  const words = `${what}, ${methods.join(", ")}; from dark blue to yellow, the more it matters.`;
  return [title("What the worst predictions depend on"), make("p", { class: "quiet" }, words), make("div", { class: "attributions" }, ...figures)];
}

function calibration(found) {
  const W = 280, H = 220, M = 44, svg = draw("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": "accuracy by confidence" });
  const x = (v) => M + v * (W - M - 20), y = (v) => H - 28 - v * (H - 40);
  for (const { low, high, accuracy, count } of found.bins) {
    const bar = draw("rect", { x: x(low) + 1, width: x(high) - x(low) - 2, y: y(accuracy), height: y(0) - y(accuracy), style: "fill:var(--c0)" });
    bar.append(draw("title", {}, `confidence ${percent(low)} to ${percent(high)}: accuracy ${percent(accuracy)} of ${short(count)} images`));
    svg.append(bar);
  }
  svg.append(draw("line", { class: "cursor", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }));
  for (const v of [0, 0.5, 1]) svg.append(draw("text", { x: x(v), y: H - 6, "text-anchor": "middle" }, `${100 * v} %`), draw("text", { x: M - 4, y: y(v) + 4, "text-anchor": "end" }, `${100 * v} %`));
  const words = `Accuracy of the answers by their confidence; on the dashed line both agree. Mean difference: ${percent(found.calibration_error)}.`;
  return [title("Calibration"), make("div", { class: "chart", style: "max-width:300px" }, svg), make("p", { class: "quiet" }, words)];
}

/* ------------------------------------------------------------ the page */

function facts(run) {
  const pairs = run.facts.map(([name, value]) => make("div", {}, make("span", { class: "quiet" }, name), make("b", {}, value)));
  return make("div", { class: "facts" }, ...pairs);
}

function about(run) {
  const copy = make("button", { type: "button" }, "Copy");
  copy.addEventListener("click", () => navigator.clipboard?.writeText(run.command).then(() => (copy.textContent = "Copied"), () => {}));
  return [
    title("Time and machine"), make("div", { class: "machine" }, table(["", ""], run.machine)),
    title("Repeat this run"), make("pre", {}, run.command), copy,
  ];
}

function pictures(run) {
  return run.pictures.flatMap(({ name, src }) => [title(name), make("div", { class: "scroll" }, make("img", { class: "wide", src, alt: name }))]);
}

function comparison(runs) {
  const keys = [...new Set(runs.flatMap((run) => run.settings.map(({ key }) => key)))];
  const value = (run, key) => shown(run.settings.find((row) => row.key === key)?.value ?? null);
  const differing = keys.filter((key) => new Set(runs.map((run) => value(run, key))).size > 1);
  const names = [...new Set(runs.flatMap((run) => run.facts.map(([name]) => name)))];
  const fact = (run, name) => run.facts.find((pair) => pair[0] === name)?.[1] ?? "";
  const rows = runs.map((run, i) => [make("span", {}, mark(COLORS[i % COLORS.length]), run.name), ...names.map((name) => fact(run, name)), ...differing.map((key) => value(run, key))]);
  return [title("Runs"), table(["run", ...names, ...differing], rows)];
}

function show(runs) {
  const page = document.getElementById("page"), run = runs[0];
  zoom.charts.length = 0;
  document.title = runs.map(({ name }) => name).join(", ");
  page.replaceChildren(make("h1", {}, document.title));
  if (runs.length > 1) page.append(...comparison(runs), ...curves(runs));
  else {
    page.append(facts(run), ...curves(runs));
    if (run.classification) page.append(...confusion(run.classification), ...mistakes(run.classification), ...calibration(run.classification));
    if (run.attributions) page.append(...attributions(run.attributions));
    page.append(...pictures(run), ...network(run), ...settings(run), ...about(run));
  }
}

/** Of a run that is training: fetch its records every two seconds. */
function follow(address) {
  let last = null;
  setInterval(async () => {
    const text = await fetch(address).then((answer) => (answer.ok ? answer.text() : null), () => null);
    if (text === null || text === last) return;
    last = text;
    show(JSON.parse(text));
  }, 2000);
}

const runs = JSON.parse(document.getElementById("data").textContent);
show(runs);
if (runs[0].live) follow(runs[0].live);
