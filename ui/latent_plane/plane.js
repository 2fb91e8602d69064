// The latent plane: draws a payload (see ui/payload.py) on two canvases and reports picks. Images are ink of opacity
// grey/255 over the page's background, so that both themes show them naturally.

const REACH = 7, MARGIN = { left: 34, bottom: 24 };

function parse(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const blobs = {};
  let offset = 4 + length;
  for (const { name, length: size } of header.blobs) {
    blobs[name] = new Uint8Array(buffer.slice(offset, offset + size));
    offset += size;
  }
  return { ...header, ...blobs };
}

function colour(text) {
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  context.fillStyle = text;
  context.fillRect(0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data];
}

// grey levels as ink: the theme's text colour with the grey level as opacity
function inked(grey, width, height, ink) {
  const canvas = new OffscreenCanvas(width, height), context = canvas.getContext("2d");
  const image = context.createImageData(width, height), out = new Uint32Array(image.data.buffer);
  const rgb = ink[0] | (ink[1] << 8) | (ink[2] << 16);
  for (let i = 0; i < grey.length; i++) out[i] = rgb | (grey[i] << 24);
  context.putImageData(image, 0, 0);
  return canvas;
}

// tiles one after another -> rows of `columns` tiles
function mosaic(tiles, columns, rows, [height, width]) {
  const out = new Uint8Array(tiles.length);
  for (let t = 0; t < columns * rows; t++) {
    const row = Math.floor(t / columns), column = t % columns;
    for (let y = 0; y < height; y++) {
      const from = (t * height + y) * width;
      out.set(tiles.subarray(from, from + width), ((row * height + y) * columns + column) * width);
    }
  }
  return out;
}

function ticks(low, high) {
  const rough = (high - low) / 7, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const out = [];
  for (let v = Math.ceil(low / step) * step; v <= high + 1e-9; v += step) out.push(Math.round(v / step) * step);
  return out;
}

class Plane {
  constructor(root) {
    this.root = root;
    for (const name of ["stage", "scene", "marks", "wait", "legend", "where", "pictures", "numbers"])
      this[name] = root.querySelector("." + name);
    this.cursor = [0, 0];
    this.marks.addEventListener("pointermove", (event) => this.hover(event));
    this.marks.addEventListener("pointerleave", () => { this.near = null; this.drawMarks(); this.tell(); });
    this.marks.addEventListener("click", (event) => this.click(event));
    this.marks.addEventListener("keydown", (event) => this.key(event));
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this.stage);
  }

  destroy() { this.resized.disconnect(); }

  update(data, pick) {
    this.pick = pick;
    this.data = data;
    this.root.classList.toggle("pickable", data.pickable);
    this.marks.setAttribute("aria-label", data.pickable
      ? "Latent plane. Arrow keys move a crosshair, with shift in fine steps; Enter decodes that point."
      : "Latent plane: posterior means of held-out examples over the decoded manifold.");
    const style = getComputedStyle(this.root);
    this.ink = colour(style.getPropertyValue("--st-text-color"));
    this.accent = style.getPropertyValue("--st-primary-color");
    this.paper = style.getPropertyValue("--st-background-color");
    if (data.selection) this.cursor = data.selection.at;
    this.showSelection();
    if (this.url === data.url) return this.prepare();
    this.url = data.url;
    this.fetchPlane(data.url);
  }

  async fetchPlane(url) {
    const response = await fetch(url);
    if (this.url !== url) return;
    if (!response.ok) {
      this.wait.hidden = false;
      this.wait.textContent = (await response.json().catch(() => ({}))).error ?? "The plane could not be loaded.";
      return;
    }
    this.plane = parse(await response.arrayBuffer());
    if (this.url !== url) return;
    this.plane.points = new Int16Array(this.plane.points.buffer);
    this.wait.hidden = true;
    this.prepare();
    this.showLegend();
    this.showSelection();
    this.root.dataset.url = url;
  }

  // what depends on payload and theme, not on size
  prepare() {
    if (!this.plane) return;
    const { tiles, side, tile: [height, width] } = this.plane;
    this.underlay = inked(mosaic(tiles, side, side, [height, width]), side * width, side * height, this.ink);
    this.draw();
  }

  // the view: a square of latent units, equally scaled on both axes; z2 grows upwards
  get half() { return this.plane.extent; }
  toPixels([x, y]) {
    const size = this.stage.clientWidth;
    return [(x / this.half + 1) / 2 * size, (1 - y / this.half) / 2 * size];
  }
  toLatent(px, py) {
    const size = this.stage.clientWidth;
    return [(2 * px / size - 1) * this.half, (1 - 2 * py / size) * this.half];
  }
  point(i) { return [this.plane.points[2 * i] * this.plane.quantum, this.plane.points[2 * i + 1] * this.plane.quantum]; }

  sized(canvas) {
    const ratio = window.devicePixelRatio || 1, size = this.stage.clientWidth;
    if (canvas.width !== Math.round(size * ratio)) canvas.width = canvas.height = Math.round(size * ratio);
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, size, size);
    return [context, size];
  }

  draw() {
    if (!this.plane || !this.stage.clientWidth) return;
    const [context, size] = this.sized(this.scene);
    context.imageSmoothingQuality = "high";
    context.globalAlpha = 0.42;
    context.drawImage(this.underlay, 0, 0, size, size);
    context.globalAlpha = 1;
    this.drawPrior(context);
    this.drawPoints(context);
    this.drawAxes(context, size);
    this.drawMarks();
  }

  drawPrior(context) {
    context.strokeStyle = this.accent;
    context.lineWidth = 1;
    context.setLineDash([3, 4]);
    const { prior } = this.plane;
    for (const sigma of prior.length === 1 ? [1, 2] : [1]) for (const one of prior) this.ellipse(context, one, sigma);
    context.setLineDash([]);
  }

  // angles count counterclockwise, and the canvas points downwards
  ellipse(context, [cx, cy, a, b, angle], sigma) {
    const [x, y] = this.toPixels([cx, cy]), unit = sigma * this.stage.clientWidth / 2 / this.half;
    context.beginPath();
    context.ellipse(x, y, a * unit, b * unit, -angle, 0, 2 * Math.PI);
    context.stroke();
  }

  drawPoints(context) {
    const { labels } = this.plane, radius = Math.max(1.7, this.stage.clientWidth / 240);
    for (let label = 0; label < this.plane.classes.length; label++) {
      context.beginPath();
      for (let i = 0; i < labels.length; i++) {
        if (labels[i] !== label) continue;
        const [x, y] = this.toPixels(this.point(i));
        context.moveTo(x + radius, y);
        context.arc(x, y, radius, 0, 2 * Math.PI);
      }
      context.fillStyle = this.data.palette[label % this.data.palette.length];
      context.strokeStyle = this.paper;
      context.lineWidth = 0.6;
      context.fill();
      context.stroke();
    }
  }

  drawAxes(context, size) {
    context.font = "11px " + getComputedStyle(this.root).fontFamily;
    context.lineWidth = 3;
    context.strokeStyle = this.paper;
    context.fillStyle = `rgb(${this.ink.slice(0, 3)})`;
    const write = (text, x, y) => { context.strokeText(text, x, y); context.fillText(text, x, y); };
    const [xName, yName] = this.plane.axes;
    const label = (v) => String(+v.toFixed(3)).replace("-", "−");
    context.textAlign = "center";
    context.textBaseline = "bottom";
    for (const v of ticks(-this.half, this.half)) {
      const [x] = this.toPixels([v, 0]);
      if (x > MARGIN.left && x < size - MARGIN.left) write(label(v), x, size - 4);
    }
    write(xName, size - 14, size - 4);
    if (!yName) return;
    context.textAlign = "left";
    context.textBaseline = "middle";
    for (const v of ticks(-this.half, this.half)) {
      const [, y] = this.toPixels([0, v]);
      if (y > MARGIN.bottom && y < size - MARGIN.bottom) write(label(v), 5, y);
    }
    write(yName, 6, 12);
  }

  drawMarks() {
    if (!this.plane || !this.stage.clientWidth) return;
    const [context] = this.sized(this.marks), selection = this.data.selection;
    if (this.near != null) {
      const [x, y] = this.toPixels(this.point(this.near));
      this.ring(context, x, y, 6, `rgb(${this.ink.slice(0, 3)})`);
    }
    if (selection?.ellipse) {
      context.strokeStyle = `rgb(${this.ink.slice(0, 3)})`;
      for (const [sigma, width] of [[1, 2], [2, 1.2]]) {
        context.lineWidth = width;
        this.ellipse(context, selection.ellipse, sigma);
      }
      context.fillStyle = context.strokeStyle;
      for (const draw of selection.cloud) {
        const [x, y] = this.toPixels(draw);
        context.fillRect(x - 1, y - 1, 2, 2);
      }
    }
    const onEllipse = selection?.ellipse && this.cursor.every((v, i) => v === selection.at[i]);
    if (!this.data.pickable || onEllipse) return;
    const [x, y] = this.toPixels(this.cursor);
    this.ring(context, x, y, 8, this.accent);
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + 4 * dx, y + 4 * dy);
      context.lineTo(x + 14 * dx, y + 14 * dy);
    }
    context.stroke();
  }

  ring(context, x, y, radius, stroke) {
    for (const [width, style] of [[4, this.paper], [2, stroke]]) {
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.lineWidth = width;
      context.strokeStyle = style;
      context.stroke();
    }
  }

  nearest(px, py) {
    let best = null, distance = REACH ** 2;
    for (let i = 0; i < this.plane.labels.length; i++) {
      const [x, y] = this.toPixels(this.point(i)), d = (x - px) ** 2 + (y - py) ** 2;
      if (d < distance) { best = i; distance = d; }
    }
    return best;
  }

  hover(event) {
    if (!this.plane) return;
    this.near = this.nearest(event.offsetX, event.offsetY);
    this.drawMarks();
    this.tell(this.toLatent(event.offsetX, event.offsetY));
  }

  click(event) {
    if (!this.plane || !this.data.pickable) return;
    const index = this.nearest(event.offsetX, event.offsetY);
    this.choose(index == null ? this.toLatent(event.offsetX, event.offsetY) : this.point(index), index);
  }

  key(event) {
    if (!this.plane || !this.data.pickable) return;
    const step = this.half / (event.shiftKey ? 200 : 25);
    const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }[event.key];
    if (!move && event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    event.stopPropagation();
    if (move) {
      this.cursor = this.cursor.map((v, i) => Math.max(-this.half, Math.min(this.half, v + move[i])));
      this.drawMarks();
      this.tell(this.cursor);
    } else {
      const [px, py] = this.toPixels(this.cursor);
      this.choose(this.cursor, this.nearest(px, py));
    }
  }

  choose(at, index) {
    this.cursor = at;
    this.drawMarks();
    this.pick({ at: at.map((v) => +v.toFixed(6)), index, time: Date.now() });
  }

  coordinates(at) {
    return this.plane.axes.map((name, i) => name && `${name} = ${at[i].toFixed(2).replace("-", "−")}`)
      .filter(Boolean).join(",  ");
  }

  // the line above the pictures: the point under the cursor, else what is selected
  tell(at) {
    if (at && this.near != null) {
      this.where.textContent = `${this.coordinates(this.point(this.near))}: ` +
        `an example of “${this.plane.classes[this.plane.labels[this.near]]}”`;
    } else if (at) this.where.textContent = this.coordinates(at);
    else this.where.textContent = this.data.selection?.heading ??
      (this.data.pickable ? "Click anywhere to decode that point." : "");
  }

  showLegend() {
    this.legend.replaceChildren(...this.plane.classes.map((name, i) => {
      const item = document.createElement("span"), dot = document.createElement("i");
      item.setAttribute("role", "listitem");
      dot.style.background = this.data.palette[i % this.data.palette.length];
      item.append(dot, name);
      return item;
    }));
  }

  figure(title, grey, height, width) {
    const figure = document.createElement("figure"), canvas = document.createElement("canvas");
    const caption = document.createElement("figcaption");
    [canvas.width, canvas.height] = [width, height];
    canvas.getContext("2d").drawImage(inked(grey, width, height, this.ink), 0, 0);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", title);
    caption.textContent = title;
    figure.append(canvas, caption);
    return figure;
  }

  showSelection() {
    this.tell();
    if (!this.plane) return;
    const { originals, reconstructions, tile: [height, width] } = this.plane, selection = this.data.selection;
    if (selection) {
      this.pictures.className = selection.pictures.length === 1 ? "pictures large" : "pictures";
      this.pictures.replaceChildren(...selection.pictures.map(({ title, pixels }) =>
        this.figure(title, Uint8Array.from(atob(pixels), (c) => c.charCodeAt(0)), height, width)));
    } else if (originals) {
      const columns = 10, strip = (tiles) => {
        const rows = tiles.length / (columns * height * width);
        return [mosaic(tiles, columns, rows, [height, width]), rows * height, columns * width];
      };
      this.pictures.className = "pictures strip";
      this.pictures.replaceChildren(
        this.figure("Held-out examples", ...strip(originals)),
        this.figure("Their reconstructions, decoded from the mean of q(z|x)", ...strip(reconstructions)));
    }
    this.numbers.replaceChildren(...(selection?.numbers ?? []).flatMap(([name, value, help]) => {
      const term = document.createElement("dt"), number = document.createElement("dd");
      [term.textContent, term.title, number.textContent] = [name, help, value];
      return [term, number];
    }));
  }
}

export default function ({ data, parentElement, setTriggerValue }) {
  const plane = (parentElement.__plane ??= new Plane(parentElement.querySelector(".plane")));
  plane.update(data, (value) => setTriggerValue("pick", value));
  return () => { plane.destroy(); delete parentElement.__plane; };
}
