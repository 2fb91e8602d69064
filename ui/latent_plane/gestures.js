// Pointer, wheel, touch and keyboard on the plane, as few words: hover, pin, pan, zoom, select.

const CLICK = 4, FINE = 8;

class Gestures {
  constructor(canvas, plane) {
    Object.assign(this, { canvas, plane, mode: "move", pointers: new Map(), trail: null, corner: null });
    const on = (name, handle, options) => canvas.addEventListener(name, handle, options);
    on("pointerdown", (event) => this.down(event));
    on("pointermove", (event) => this.move(event));
    on("pointerup", (event) => this.up(event));
    on("pointercancel", (event) => this.cancel(event));
    on("pointerleave", () => this.pointers.size || plane.leave());
    on("wheel", (event) => this.wheel(event), { passive: false });
    on("keydown", (event) => this.key(event));
  }

  down(event) {
    if (!this.plane.ready || event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    this.start = this.pointers.size === 1 ? [event.offsetX, event.offsetY] : null;
    this.dragged = this.pointers.size > 1;
    if (this.mode !== "move" && this.start) this.trail = [this.start];
  }

  move(event) {
    if (!this.plane.ready) return;
    const place = [event.offsetX, event.offsetY], before = this.pointers.get(event.pointerId);
    if (!before) return this.plane.hover(...place);
    this.dragged ||= Math.hypot(place[0] - this.start[0], place[1] - this.start[1]) > CLICK;
    if (this.pointers.size === 2) this.pinch(event.pointerId, place);
    else if (this.dragged && this.trail) this.extend(place);
    else if (this.dragged) this.plane.pan(place[0] - before[0], place[1] - before[1]);
    this.pointers.set(event.pointerId, place);
  }

  extend(place) {
    const [first] = this.trail;
    if (this.mode === "box") this.trail = [first, [place[0], first[1]], place, [first[0], place[1]]];
    else if (Math.hypot(place[0] - this.trail.at(-1)[0], place[1] - this.trail.at(-1)[1]) > CLICK) this.trail.push(place);
    this.plane.outline(this.trail);
  }

  pinch(moved, place) {
    const [other] = [...this.pointers].filter(([id]) => id !== moved).map(([, at]) => at), before = this.pointers.get(moved);
    const length = (a) => Math.hypot(a[0] - other[0], a[1] - other[1]);
    this.plane.pan((place[0] - before[0]) / 2, (place[1] - before[1]) / 2);
    this.plane.zoom(length(place) / Math.max(1, length(before)), (place[0] + other[0]) / 2, (place[1] + other[1]) / 2);
  }

  up(event) {
    const { trail, dragged } = this;
    if (!this.pointers.delete(event.pointerId) || this.pointers.size) return;
    this.trail = null;
    if (dragged && trail) this.plane.select(trail);
    else if (!dragged) this.plane.pinAt(event.offsetX, event.offsetY);
  }

  cancel(event) {
    this.pointers.delete(event.pointerId);
    this.trail = null;
    this.plane.outline(null);
  }

  // a wheel over a plane that nobody has touched scrolls the page
  wheel(event) {
    if (!this.plane.ready || !(event.ctrlKey || event.metaKey || this.canvas.matches(":focus"))) return;
    event.preventDefault();
    this.plane.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), event.offsetX, event.offsetY);
  }

  key(event) {
    const { plane } = this, step = event.shiftKey ? 1 / FINE : 1;
    if (!plane.ready || event.ctrlKey || event.metaKey || event.altKey) return;
    const acts = {
      ArrowLeft: () => plane.step(-step, 0),
      ArrowRight: () => plane.step(step, 0),
      ArrowUp: () => plane.step(0, step),
      ArrowDown: () => plane.step(0, -step),
      Enter: () => plane.pinCursor(),
      " ": () => plane.pinCursor(),
      "+": () => plane.zoomCursor(1.3),
      "=": () => plane.zoomCursor(1.3),
      "-": () => plane.zoomCursor(1 / 1.3),
      0: () => plane.reset(),
      Home: () => plane.reset(),
      b: () => this.keyboardBox(),
      Escape: () => this.escape(),
    };
    const act = acts[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  }

  // one corner where the crosshair is, the opposite one at the next press
  keyboardBox() {
    if (!this.corner) {
      this.corner = this.plane.cursor;
      return this.plane.say("First corner of a box set; move the crosshair and press B again.");
    }
    const [a, b] = [this.corner, this.plane.cursor].map((place) => this.plane.view.toPixels(place));
    this.corner = null;
    this.plane.select([a, [b[0], a[1]], b, [a[0], b[1]]]);
  }

  escape() {
    this.corner = null;
    this.trail = null;
    this.plane.clear();
  }
}
