// The latent plane: fetches payloads (see ui/payload.py), draws them, decodes under the pointer, and reports what is done.

const REACH = 7, PATIENCE = 500, SLICE = 7, FINE_SIDE = 22, THUMB = 58;

class Plane {
  constructor(root) {
    this.root = root;
    for (const name of ["stage", "scene", "marks", "wait", "legend", "scale", "bar"]) this[name] = root.querySelector("." + name);
    this.panel = new Panel(root, (event) => this.act(event));
    this.gestures = new Gestures(this.marks, this);
    this.examples = new Map();
    this.hidden = new Set();
    this.cursor = [0, 0];
    this.bar.addEventListener("click", (event) => this.press(event.target.closest("button")));
    this.resized = new ResizeObserver(() => this.measure());
    this.resized.observe(this.stage);
    this.replayed = ({ detail }) => this.replay(detail);
    window.addEventListener("elbo-room-moment", this.replayed);
    this.looked = ({ detail }) => this.follow(detail);
    window.addEventListener("elbo-room-look", this.looked);
  }

  destroy() {
    this.resized.disconnect();
    window.removeEventListener("elbo-room-moment", this.replayed);
    window.removeEventListener("elbo-room-look", this.looked);
    clearTimeout(this.settled);
    cancelAnimationFrame(this.refining);
  }

  get ready() { return Boolean(this.plane && this.data.pickable); }

  // every act says the view too, so that none is lost when two follow each other at once
  act(event) {
    clearTimeout(this.settled);
    const { x, y, half } = this.view;
    this.send({ ...event, view: this.whole() ? null : [x, y, half], hidden: [...this.hidden].sort((a, b) => a - b), time: Date.now() });
  }

  update(data, send) {
    const before = this.data;
    for (const picture of [...(data.selection?.pictures ?? []), ...data.pins]) picture.pixels = unpack(picture.pixels);
    Object.assign(this, { data, send });
    this.root.classList.toggle("pickable", data.pickable);
    this.marks.setAttribute("aria-label", data.pickable
      ? "Latent plane. Arrow keys move a crosshair, with shift in fine steps; Enter pins and decodes that point; plus and minus zoom; 0 shows all; B twice selects a box; Escape clears."
      : "Latent plane: posterior means of held-out examples over the decoded manifold.");
    const style = getComputedStyle(this.root);
    this.ink = colour(style.getPropertyValue("--st-text-color"));
    this.stroke = `rgb(${this.ink.slice(0, 3)})`;
    this.accent = style.getPropertyValue("--st-primary-color");
    this.paper = style.getPropertyValue("--st-background-color");
    this.font = getComputedStyle(this.root).fontFamily;
    if (before?.url !== data.url) return this.load(data);
    if (!this.plane) return;
    if (before.layer !== data.layer) this.loadLayer();
    this.prepare();
  }

  get theme() { return [...this.ink, this.accent, this.paper].join(); }

  async load(data) {
    this.fetched = data.url;
    if (!data.url) return void (this.wait.textContent = "The first picture comes with the first step.");
    this.wait.hidden = Boolean(this.plane) && !data.pickable; // a run that trains has a new plane every second
    try {
      const decoder = data.decoder ? this.weights(data.decoder) : null, plane = await fetchMessage(data.url);
      if (this.fetched !== data.url) return;
      this.show(plane);
      if (!decoder) return;
      const weights = await decoder;
      if (this.fetched !== data.url) return;
      this.decoder = new ExactDecoder(weights, plane);
      this.look();
    } catch (error) {
      if (this.fetched !== data.url) return;
      this.wait.hidden = false;
      this.wait.textContent = error.message;
    }
  }

  // the run that is shown has a new snapshot
  follow({ base, step }) {
    const url = `${base}snapshots/${step}`;
    if (base === this.data?.follows && url !== this.data.url) this.load(this.data = { ...this.data, url });
  }

  // another moment of the run that is shown (ui/replay), in a view that stays; none: back to the newest
  replay({ base, half, message }) {
    if (!this.data?.url?.startsWith(base)) return;
    if (!message) return this.load(this.data);
    this.fetched = null;
    this.show(parse(message), [0, 0, half]);
    this.scale.hidden = Boolean(this.plane.tiles);
    this.scale.textContent = "No pictures: those of this moment were decoded on other axes.";
  }

  // the same for every plane of a model
  async weights(url) {
    if (this.decoderUrl !== url) {
      const message = await fetchMessage(url);
      this.message = { ...message, numbers: readNumbers(message.numbers, message.half) };
      this.decoderUrl = url;
    }
    return this.message;
  }

  // what can be decoded; the decoder itself may still be on its way
  get decodable() { return Boolean(this.plane.origin); }

  show(plane, view = this.data.view) {
    this.plane = plane;
    this.points = new Points(plane, this.data.palette);
    this.decoder = plane.atlas ? new Atlas(plane) : null;
    this.landscape = this.heat = this.fine = this.near = this.pointer = null;
    this.cursor = this.data.selection?.at ?? plane.start ?? [0, 0];
    this.hidden = new Set(this.data.hidden);
    const [x, y, half] = view ?? [0, 0, plane.extent];
    this.view = new View(x, y, half, this.stage.clientWidth, this.stage.clientHeight);
    this.wait.hidden = true;
    this.prepare();
    this.showLegend();
    this.root.dataset.url = this.data.url;
    if (this.data.pickable) this.loadLayer();
  }

  // what depends on payload, theme and what lies over the plane, not on the view; a new pin changes only the last
  prepare() {
    const { plane, data } = this, looks = `${this.theme} ${data.inside} ${data.layer}`;
    if (this.painted?.plane !== plane || this.painted.theme !== this.theme) {
      this.painter = new Painter(plane, this.ink);
      this.root.classList.toggle("profile", this.painter.profile);
      const tiles = plane.tiles ?? plane.atlas;
      this.underlay = tiles ? this.painter.sheet(tiles, plane.side) : null;
      this.fine = null;
    }
    const same = this.painted?.plane === plane && this.painted.looks === looks;
    this.painted = { plane, looks, theme: this.theme };
    this.inside = data.inside ? unpack(data.inside) : null;
    if (data.selection && data.selection !== this.selected) this.cursor = data.selection.at;
    this.selected = data.selection;
    this.shown = data.selection?.at;
    this.panel.showSelection(this.painter, data.selection);
    if (plane.originals && !data.pickable) this.panel.showStrips(this.painter, plane.originals, plane.reconstructions);
    this.panel.showPins(this.painter, data.pins);
    if (!same) this.draw();
    this.look();
  }

  async loadLayer() {
    const { url, layers, layer } = this.data, wanted = `${url} ${layer}`;
    this.wanted = wanted;
    this.heat = null;
    this.scale.hidden = true;
    if (!layers) return;
    try {
      this.landscape ??= await fetchMessage(layers.replace("LAYER", "holes"));
      const message = layer === "holes" ? this.landscape : ["images", "none"].includes(layer) ? null
        : await fetchMessage(layers.replace("LAYER", layer));
      if (this.wanted !== wanted) return;
      if (message) this.showHeat(message);
    } catch (error) {
      if (this.wanted !== wanted) return;
      this.scale.hidden = false;
      this.scale.textContent = error.message;
    }
    this.draw();
    this.look();
  }

  showHeat(message) {
    const stops = message.stops.map(colour);
    this.heat = { canvas: heat(message.grid, message.side, stops, message.kinds), smooth: !message.kinds };
    this.scale.hidden = false;
    this.scale.replaceChildren(...(message.kinds ? message.kinds.map((kind, i) => {
      const item = document.createElement("span"), swatch = document.createElement("i");
      swatch.style.background = message.stops[i];
      item.append(swatch, kind);
      return item;
    }) : [document.createTextNode(`${message.label}: ${message.low}`), Object.assign(document.createElement("canvas"), { width: 150, height: 10 }),
      document.createTextNode(message.high)]));
    const bar = this.scale.querySelector("canvas")?.getContext("2d");
    if (!bar) return;
    const ramp = bar.createLinearGradient(0, 0, 150, 0);
    message.stops.forEach((stop, i) => ramp.addColorStop(i / (stops.length - 1), stop));
    bar.fillStyle = ramp;
    bar.fillRect(0, 0, 150, 10);
  }

  showLegend() {
    const { classes, labels } = this.plane, present = new Set(labels);
    this.legend.replaceChildren(...classes.flatMap((name, i) => {
      if (!present.has(i)) return [];
      const item = document.createElement("button"), dot = document.createElement("i");
      item.setAttribute("aria-pressed", !this.hidden.has(i));
      dot.style.background = this.data.palette[i % this.data.palette.length];
      item.append(dot, name);
      item.disabled = !this.data.pickable;
      item.addEventListener("click", () => {
        this.hidden.delete(i) || this.hidden.add(i);
        item.setAttribute("aria-pressed", !this.hidden.has(i));
        this.draw();
        this.settle();
      });
      return item;
    }));
  }

  measure() {
    if (!this.view || !this.stage.clientWidth) return;
    [this.view.width, this.view.height] = [this.stage.clientWidth, this.stage.clientHeight];
    this.draw();
  }

  whole() {
    const { x, y, half } = this.view;
    return x === 0 && y === 0 && half === this.plane.extent;
  }

  // the view has come to rest: the address learns of it, and what is seen is decoded more finely
  settle() {
    clearTimeout(this.settled);
    this.settled = setTimeout(() => {
      this.act({ kind: "view" });
      this.refine();
    }, PATIENCE);
  }

  moved() {
    cancelAnimationFrame(this.refining);
    this.draw();
    this.settle();
  }

  pan(dx, dy) {
    this.view.pan(dx, dy);
    this.moved();
  }

  zoom(factor, px, py) {
    this.view.zoom(factor, px, py, this.plane.extent / 500, 4 * this.plane.extent);
    this.moved();
  }

  zoomCursor(factor) { this.zoom(factor, ...this.view.toPixels(this.cursor)); }

  reset() {
    Object.assign(this.view, { x: 0, y: 0, half: this.plane.extent });
    this.fine = null;
    this.moved();
  }

  step(across, up) {
    const unit = this.view.half / 25;
    this.cursor = [this.cursor[0] + across * unit, this.cursor[1] + up * unit];
    const { x, y } = this.view;
    this.view.follow(this.cursor);
    if (this.view.x !== x || this.view.y !== y) this.moved();
    this.pointer = null;
    this.look();
  }

  hover(px, py) {
    this.pointer = [px, py];
    this.look();
  }

  leave() {
    this.pointer = null;
    this.look();
  }

  nearest(px, py) { return this.points.nearest(this.view, px, py, this.hidden, this.decodable ? REACH : Infinity); }

  // at what is under the pointer, or else under the crosshair
  look() {
    const place = this.pointer ?? this.view.toPixels(this.cursor);
    this.near = this.nearest(...place);
    this.lookAt(this.view.toLatent(...place));
  }

  // decodes a place and says what is there
  lookAt(place) {
    this.drawMarks();
    if (!this.data.pickable) return;
    const { decoder } = this;
    if (!this.decodable) this.panel.paintLive(this.painter, this.near == null ? null : this.example(this.near), this.plane.note);
    else if (!decoder) this.panel.paintLive(this.painter, null, "The decoder is on its way …");
    else if (decoder.has(place)) this.panel.paintLive(this.painter, decoder.decode(place), this.plane.note);
    else this.panel.paintLive(this.painter, null, "Outside the atlas of decoded tiles: a click decodes exactly.");
    this.tell(place);
  }

  tell(place) {
    const near = this.near == null ? "" : ` · ${this.plane.classes[this.points.labels[this.near]]}, example ${this.near}`;
    this.say(`${this.coordinates(place)}${this.kind(place)}${near}`);
  }

  say(text) { this.panel.where.textContent = text; }

  // here is data, between data, or extrapolation
  kind([u, v]) {
    if (!this.landscape || !this.decodable) return "";
    const { side, grid, kinds, extent } = this.landscape;
    const column = Math.floor((u / extent + 1) / 2 * side), row = Math.floor((1 - v / extent) / 2 * side);
    if (column < 0 || row < 0 || column >= side || row >= side) return ` · ${kinds.at(-1)}`;
    return ` · ${kinds[grid[row * side + column]]}`;
  }

  coordinates(at) {
    return this.plane.axes.map((name, i) => name && `${name} = ${MINUS(at[i].toFixed(2))}`).filter(Boolean).join(",  ");
  }

  // pictures of data points come one by one, and stay
  example(i) {
    if (!this.data.examples) return null;
    const key = `${this.data.examples}&i=${i}`;
    if (this.examples.has(key)) return this.examples.get(key);
    this.examples.set(key, null);
    fetch(key).then(async (response) => {
      if (!response.ok) return;
      this.examples.set(key, new Uint8Array(await response.arrayBuffer()));
      if (this.near === i) this.look();
    });
    return null;
  }

  pinAt(px, py) {
    const index = this.nearest(px, py);
    if (index == null && !this.decodable) return;
    this.pin(index == null ? this.view.toLatent(px, py) : this.points.at(index), index);
  }

  pinCursor() { this.pinAt(...this.view.toPixels(this.cursor)); }

  pin(at, index) {
    this.cursor = at;
    this.drawMarks();
    this.act({ kind: "pin", at, index });
    if (index == null) this.showExact(at);
  }

  // the server's exact picture of a place at once; all else that is known of the pin follows
  async showExact(at) {
    const { selection } = this.data, rounded = at.map((v) => v.toFixed(4)).join("_");
    const response = await fetch(`${this.data.decode}&at=${rounded}`).catch(() => null);
    if (!response?.ok) return;
    const pixels = new Uint8Array(await response.arrayBuffer());
    if (this.data.selection !== selection || this.cursor !== at) return;
    this.shown = at;
    this.panel.showSelection(this.painter, { heading: this.coordinates(at), pictures: [{ title: "The mean of p(x|z), exactly", pixels }] });
  }

  outline(trail) {
    this.trail = trail;
    this.drawMarks();
  }

  select(trail) {
    this.trail = null;
    this.act({ kind: "lasso", region: trail.map(([x, y]) => this.view.toLatent(x, y)) });
  }

  // the selection goes first, then the pins
  clear() {
    this.trail = null;
    this.cursor = this.data.selection?.at ?? [0, 0];
    this.leave();
    if (this.data.region.length) this.act({ kind: "lasso", region: [] });
    else if (this.data.pins.length) this.act({ kind: "clear" });
  }

  press(button) {
    if (!button || !this.plane) return;
    if (button.dataset.mode) {
      this.gestures.mode = button.dataset.mode;
      for (const other of this.bar.querySelectorAll("[data-mode]")) other.setAttribute("aria-pressed", other === button);
      return;
    }
    ({
      in: () => this.zoomCursor(1.5),
      out: () => this.zoomCursor(1 / 1.5),
      reset: () => this.reset(),
      png: () => savePng(this),
      svg: () => saveSvg(this),
    })[button.dataset.do]();
  }

  // what is on screen decoded anew at the view's own grain, a few milliseconds a frame
  refine() {
    if (!this.decoder || !this.underlay || this.whole()) return;
    const { x, y, half } = this.view, size = this.painter.size, tiles = new Uint8Array(FINE_SIDE ** 2 * size);
    let next = 0;
    const work = () => {
      for (const stop = performance.now() + SLICE; next < FINE_SIDE ** 2 && performance.now() < stop; next++) {
        const place = [x + half * ((2 * (next % FINE_SIDE) + 1) / FINE_SIDE - 1), y + half * (1 - (2 * Math.floor(next / FINE_SIDE) + 1) / FINE_SIDE)];
        if (this.decoder.has(place)) tiles.set(this.decoder.decode(place), next * size);
      }
      if (next < FINE_SIDE ** 2) return void (this.refining = requestAnimationFrame(work));
      this.fine = { canvas: this.painter.sheet(tiles, FINE_SIDE), x, y, half };
      this.draw();
    };
    this.refining = requestAnimationFrame(work);
  }

  draw() {
    const { view, plane } = this;
    if (!plane || !view.width) return;
    const context = sized(this.scene, view.width, view.height);
    context.imageSmoothingQuality = "high";
    this.drawUnderlay(context);
    context.strokeStyle = this.accent;
    context.lineWidth = 1;
    context.setLineDash([3, 4]);
    for (const sigma of plane.prior.length === 1 ? [1, 2] : [1]) for (const one of plane.prior) ellipse(context, view, one, sigma);
    context.setLineDash([]);
    this.points.draw(context, view, this.hidden, this.inside);
    this.drawContours(context);
    this.drawAxes(context);
    this.drawMarks();
  }

  drawUnderlay(context) {
    const { view, heat, underlay, fine, plane } = this;
    if (heat) {
      context.imageSmoothingEnabled = heat.smooth;
      context.drawImage(heat.canvas, ...box(view, 0, 0, plane.extent));
      context.imageSmoothingEnabled = true;
    } else if (underlay && this.data.layer !== "none") {
      context.globalAlpha = 0.42;
      const fits = fine && Math.abs(fine.half / view.half - 1) < 0.3;
      if (!fits) context.drawImage(underlay, ...box(view, 0, 0, plane.reach));
      else context.drawImage(fine.canvas, ...box(view, fine.x, fine.y, fine.half));
      context.globalAlpha = 1;
    }
  }

  drawContours(context) {
    context.strokeStyle = this.stroke;
    for (const { lines, width } of this.landscape?.contours ?? []) {
      context.lineWidth = width;
      for (const line of lines) polyline(context, this.view, line);
    }
  }

  drawAxes(context) {
    context.font = "11px " + this.font;
    context.lineWidth = 3;
    context.strokeStyle = this.paper;
    context.fillStyle = this.stroke;
    context.textBaseline = "middle";
    for (const [text, x, y, align] of axisTexts(this.view, this.plane.axes)) {
      context.textAlign = align;
      context.strokeText(text, x, y);
      context.fillText(text, x, y);
    }
  }

  drawMarks() {
    if (!this.plane || !this.view.width) return;
    const { view, data, stroke, paper, accent } = this, context = sized(this.marks, view.width, view.height);
    context.strokeStyle = accent;
    context.lineWidth = 2.5;
    for (const path of data.paths) polyline(context, view, path);
    this.drawPosterior(context);
    this.drawRegion(context);
    for (const { letter, at, chosen } of data.pins) badge(context, letter, view.toPixels(at), chosen ? accent : stroke, paper, this.font);
    if (!data.pickable) return;
    if (this.near != null) this.drawNear(context);
    this.drawCrosshair(context);
  }

  drawPosterior(context) {
    const { selection } = this.data;
    if (!selection?.ellipse) return;
    context.strokeStyle = context.fillStyle = this.stroke;
    for (const [sigma, width] of [[1, 2], [2, 1.2]]) {
      context.lineWidth = width;
      ellipse(context, this.view, selection.ellipse, sigma);
    }
    for (const draw of selection.cloud) {
      const [x, y] = this.view.toPixels(draw);
      context.fillRect(x - 1, y - 1, 2, 2);
    }
  }

  drawRegion(context) {
    const region = this.trail?.map(([x, y]) => this.view.toLatent(x, y)) ?? this.data.region;
    if (!region.length) return;
    context.strokeStyle = this.accent;
    context.lineWidth = 1.5;
    context.setLineDash([6, 4]);
    polyline(context, this.view, region, true);
    context.setLineDash([]);
  }

  drawNear(context) {
    const [x, y] = this.view.toPixels(this.points.at(this.near)), pixels = this.example(this.near);
    ring(context, x, y, 6, this.stroke, this.paper);
    if (!pixels || !(this.pointer || this.marks.matches(":focus"))) return;
    const left = Math.max(4, Math.min(this.view.width - THUMB - 4, x + 12)), top = Math.max(4, y - THUMB - 10);
    context.fillStyle = this.paper;
    context.fillRect(left, top, THUMB, THUMB);
    context.imageSmoothingEnabled = false;
    context.drawImage(this.painter.sheet(pixels, 1), left, top, THUMB, THUMB);
    context.imageSmoothingEnabled = true;
    context.strokeStyle = this.stroke;
    context.lineWidth = 1;
    context.strokeRect(left + 0.5, top + 0.5, THUMB, THUMB);
  }

  drawCrosshair(context) {
    const [x, y] = this.view.toPixels(this.cursor);
    for (const [width, style] of [[4, this.paper], [2, this.accent]]) {
      context.lineWidth = width;
      context.strokeStyle = style;
      context.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(x + 11 * dx, y + 11 * dy);
        context.lineTo(x + 19 * dx, y + 19 * dy);
      }
      context.stroke();
    }
  }
}

export default function ({ data, parentElement, setTriggerValue }) {
  const plane = (parentElement.__plane ??= new Plane(parentElement.querySelector(".plane")));
  plane.update(data, (value) => setTriggerValue("act", value));
  return () => { plane.destroy(); delete parentElement.__plane; };
}
