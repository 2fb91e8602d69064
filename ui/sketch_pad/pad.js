// The sketch pad: grey levels of SIDE × SIDE pixels, shown as ink of opacity grey/255 over the page's background, so
// that light ink on dark as data is dark ink on light paper in the light theme.

const SIDE = 112, EDGE = 1.5, STEP = 4, DEEPEST = 60;

function colour(text) {
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  context.fillStyle = text;
  context.fillRect(0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data];
}

// the distance of a point from a line between two others
function distance(x, y, [ax, ay], [bx, by]) {
  const dx = bx - ax, dy = by - ay, length = dx * dx + dy * dy;
  const share = length ? Math.max(0, Math.min(1, ((x - ax) * dx + (y - ay) * dy) / length)) : 0;
  return Math.hypot(x - ax - share * dx, y - ay - share * dy);
}

// a line of a round brush; ink laid twice is no darker than once
function line(grey, from, to, radius) {
  const reach = radius + EDGE, range = (axis) => [
    Math.max(0, Math.floor(Math.min(from[axis], to[axis]) - reach)),
    Math.min(SIDE, Math.ceil(Math.max(from[axis], to[axis]) + reach)),
  ];
  const [left, right] = range(0), [top, bottom] = range(1);
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      const inside = (radius - distance(x + 0.5, y + 0.5, from, to)) / EDGE + 0.5, i = y * SIDE + x;
      grey[i] = Math.max(grey[i], Math.round(255 * Math.max(0, Math.min(1, inside))));
    }
  }
}

class Pad {
  constructor(root) {
    this.root = root;
    for (const name of ["stage", "paper", "hint", "status"]) this[name] = root.querySelector("." + name);
    this.size = root.querySelector("input");
    this.grey = new Uint8Array(SIDE * SIDE);
    this.before = [];
    this.cursor = [SIDE / 2, SIDE / 2];
    this.paper.setAttribute("aria-label", "Sketch pad");
    this.listen();
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this.stage);
  }

  destroy() { this.resized.disconnect(); }

  update(send) {
    this.send = send;
    this.ink = colour(getComputedStyle(this.root).getPropertyValue("--st-text-color"));
    this.accent = getComputedStyle(this.root).getPropertyValue("--st-primary-color");
    this.draw();
  }

  listen() {
    this.paper.addEventListener("pointerdown", (event) => this.press(event));
    this.paper.addEventListener("pointermove", (event) => this.drag(event));
    for (const name of ["pointerup", "pointercancel"]) this.paper.addEventListener(name, (event) => this.lift(event));
    this.paper.addEventListener("keydown", (event) => this.key(event));
    this.paper.addEventListener("focus", () => { this.keyed = this.paper.matches(":focus-visible"); this.draw(); });
    this.paper.addEventListener("blur", () => { this.keyed = this.lowered = false; this.draw(); });
    this.root.querySelector(".undo").addEventListener("click", () => this.undo());
    this.root.querySelector(".clear").addEventListener("click", () => this.clear());
    this.root.querySelector(".use").addEventListener("click", () => this.use());
    this.size.addEventListener("input", () => this.draw());
  }

  get radius() { return Number(this.size.value) / 2; }
  get empty() { return !this.grey.some(Boolean); }

  say(text) { this.status.textContent = text; }

  place(event) {
    const box = this.paper.getBoundingClientRect();
    return [(event.clientX - box.left) * SIDE / box.width, (event.clientY - box.top) * SIDE / box.height];
  }

  remember() {
    this.before.push(this.grey.slice());
    if (this.before.length > DEEPEST) this.before.shift();
  }

  press(event) {
    if (!event.isPrimary || event.button !== 0) return;
    this.paper.setPointerCapture(event.pointerId);
    this.keyed = this.lowered = false;
    this.remember();
    this.pointer = event.pointerId;
    this.last = this.place(event);
    this.stroke(this.last);
  }

  drag(event) {
    if (event.pointerId !== this.pointer) return;
    const passed = event.getCoalescedEvents?.() ?? [];
    for (const point of passed.length ? passed : [event]) this.stroke(this.place(point));
  }

  lift(event) {
    if (event.pointerId === this.pointer) this.pointer = null;
  }

  stroke(to) {
    line(this.grey, this.last, to, this.radius);
    this.last = to;
    this.say("");
    this.draw();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = event.shiftKey ? 1 : STEP;
    const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    const act = move ? () => this.move(move) : {
      " ": () => this.toggle(), u: () => this.undo(), c: () => this.clear(), enter: () => this.use(),
    }[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    this.keyed = true;
    if (move || !event.repeat) act();
    this.draw();
  }

  move([dx, dy]) {
    const inside = (v) => Math.max(0, Math.min(SIDE, v)), [x, y] = this.cursor;
    this.cursor = [inside(x + dx), inside(y + dy)];
    if (this.lowered) line(this.grey, [x, y], this.cursor, this.radius);
    this.tell();
  }

  toggle() {
    this.lowered = !this.lowered;
    if (this.lowered) {
      this.remember();
      line(this.grey, this.cursor, this.cursor, this.radius);
    }
    this.tell();
  }

  tell() {
    const [x, y] = this.cursor.map((v) => Math.round(100 * v / SIDE));
    this.say(`${this.lowered ? "Drawing" : "Brush lifted"}: ${x} % across, ${y} % down.`);
  }

  undo() {
    this.lowered = false;
    this.say(this.before.length ? "Undone." : "There is nothing to undo.");
    this.grey = this.before.pop() ?? this.grey;
    this.draw();
  }

  clear() {
    this.lowered = false;
    if (this.empty) return this.say("The pad is empty.");
    this.remember();
    this.grey = new Uint8Array(SIDE * SIDE);
    this.say("Cleared; Undo brings it back.");
    this.draw();
  }

  use() {
    if (this.empty) return this.say("The pad is empty: draw something first.");
    this.send({ pixels: btoa(String.fromCharCode(...this.grey)), time: Date.now() });
    this.say("The drawing is being used.");
  }

  draw() {
    const ratio = window.devicePixelRatio || 1, size = Math.round(this.stage.clientWidth * ratio);
    if (!size || !this.ink) return;
    if (this.paper.width !== size) this.paper.width = this.paper.height = size;
    const context = this.paper.getContext("2d");
    context.clearRect(0, 0, size, size);
    context.imageSmoothingQuality = "high";
    context.drawImage(this.picture(), 0, 0, size, size);
    this.hint.hidden = this.keyed || !this.empty;
    if (this.keyed) this.drawCursor(context, size / SIDE, ratio);
  }

  picture() {
    const canvas = new OffscreenCanvas(SIDE, SIDE), context = canvas.getContext("2d");
    const image = context.createImageData(SIDE, SIDE), out = new Uint32Array(image.data.buffer);
    const rgb = this.ink[0] | (this.ink[1] << 8) | (this.ink[2] << 16);
    for (let i = 0; i < out.length; i++) out[i] = rgb | (this.grey[i] << 24);
    context.putImageData(image, 0, 0);
    return canvas;
  }

  // a ring of the brush's size, full while it draws
  drawCursor(context, scale, ratio) {
    const [x, y] = this.cursor.map((v) => v * scale);
    context.beginPath();
    context.arc(x, y, this.radius * scale, 0, 2 * Math.PI);
    context.strokeStyle = context.fillStyle = this.accent;
    context.lineWidth = 2.5 * ratio;
    context.stroke();
    if (this.lowered) context.fill();
  }
}

export default function ({ parentElement, setTriggerValue }) {
  const pad = (parentElement.__pad ??= new Pad(parentElement.querySelector(".pad")));
  pad.update((value) => setTriggerValue("sketch", value));
  return () => { pad.destroy(); delete parentElement.__pad; };
}
