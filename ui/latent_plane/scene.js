// Drawing on the two canvases: what stays while one moves the pointer (scene), and what follows it (marks).

const MINUS = (text) => text.replace("-", "−");
const LETTER = "600 12px ", FAINT = 0.14;
const CROWD = 20000; // more points have hard rims, which are drawn twice as fast

function sized(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio))
    [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

// a disc, with a soft rim or a hard one: pixel offsets and how much of each pixel it covers
function disc(radius, soft) {
  const reach = Math.ceil(radius + 0.5), x = [], y = [], cover = [];
  for (let dy = -reach; dy <= reach; dy++)
    for (let dx = -reach; dx <= reach; dx++) {
      const share = Math.min(1, radius + 0.5 - Math.hypot(dx, dy)), covered = soft ? share : Number(share >= 0.4);
      if (covered <= 0) continue;
      x.push(dx);
      y.push(dy);
      cover.push(covered);
    }
  return { x: Int32Array.from(x), y: Int32Array.from(y), cover: Float32Array.from(cover) };
}

function blend(pixels, at, colour, a) {
  const before = pixels[at + 3] / 255, after = a + before * (1 - a), share = a / after;
  for (let c = 0; c < 3; c++) pixels[at + c] += (colour[c] - pixels[at + c]) * share;
  pixels[at + 3] = after * 255;
}

// points as stamps into a pixel buffer: tens of thousands take milliseconds
class Points {
  constructor({ points, labels, quantum }, palette) {
    const pairs = new Int16Array(points.buffer);
    this.u = Float32Array.from({ length: labels.length }, (_, i) => pairs[2 * i] * quantum);
    this.v = Float32Array.from({ length: labels.length }, (_, i) => pairs[2 * i + 1] * quantum);
    this.labels = labels;
    this.colours = palette.map(colour);
  }

  get count() { return this.labels.length; }
  at(i) { return [this.u[i], this.v[i]]; }

  // of those that are shown, the nearest within reach
  nearest(view, px, py, hidden, reach) {
    const { u, v, labels } = this, scale = view.scale;
    const [x, y] = view.toLatent(px, py);
    let best = null, least = (reach / scale) ** 2;
    for (let i = 0; i < labels.length; i++) {
      const d = (u[i] - x) ** 2 + (v[i] - y) ** 2;
      if (d < least && !hidden.has(labels[i])) { best = i; least = d; }
    }
    return best;
  }

  radius(view) { return Math.max(0.9, view.width / 240 * Math.min(1, (2500 / this.count) ** 0.25)); }

  draw(context, view, hidden, inside) {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(view.width * ratio), height = Math.round(view.height * ratio);
    if (this.buffer?.width !== width || this.buffer.height !== height) {
      this.buffer = context.createImageData(width, height);
      this.layer = new OffscreenCanvas(width, height);
    }
    const pixels = this.buffer.data.fill(0), whole = new Uint32Array(pixels.buffer), stamp = disc(this.radius(view) * ratio, this.count < CROWD);
    const { u, v, labels, colours } = this, { x: dx, y: dy, cover } = stamp;
    const scale = view.scale * ratio, x0 = width / 2 - view.x * scale, y0 = height / 2 + view.y * scale;
    const shown = Uint8Array.from({ length: 256 }, (_, label) => hidden.has(label) ? 0 : 1);
    const opaque = colours.map(([r, g, b]) => (255 << 24 | b << 16 | g << 8 | r) >>> 0);
    for (let i = 0; i < labels.length; i++) {
      const cx = Math.round(x0 + u[i] * scale), cy = Math.round(y0 - v[i] * scale);
      if (cx < -9 || cy < -9 || cx > width + 9 || cy > height + 9 || !shown[labels[i]]) continue;
      const label = labels[i] % colours.length, strength = inside && !(inside[i >> 3] >> (i & 7) & 1) ? FAINT : 1;
      for (let k = 0; k < cover.length; k++) {
        const x = cx + dx[k], y = cy + dy[k], a = cover[k] * strength;
        if (x < 0 || y < 0 || x >= width || y >= height) continue;
        if (a === 1) whole[y * width + x] = opaque[label];
        else blend(pixels, 4 * (y * width + x), colours[label], a);
      }
    }
    this.layer.getContext("2d").putImageData(this.buffer, 0, 0);
    context.drawImage(this.layer, 0, 0, view.width, view.height);
  }
}

function box(view, x, y, half) {
  const [left, top] = view.toPixels([x - half, y + half]), size = 2 * half * view.scale;
  return [left, top, size, size];
}

function ellipse(context, view, [cx, cy, a, b, angle], sigma) {
  const [x, y] = view.toPixels([cx, cy]), unit = sigma * view.scale;
  context.beginPath();
  context.ellipse(x, y, a * unit, b * unit, -angle, 0, 2 * Math.PI); // angles count counterclockwise, the canvas points down
  context.stroke();
}

function polyline(context, view, places, closed = false) {
  context.beginPath();
  for (const place of places) context.lineTo(...view.toPixels(place));
  if (closed) context.closePath();
  context.stroke();
}

function ring(context, x, y, radius, stroke, paper) {
  for (const [width, style] of [[4, paper], [2, stroke]]) {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.lineWidth = width;
    context.strokeStyle = style;
    context.stroke();
  }
}

// a letter beside a place, so that what lies there stays visible
function badge(context, text, [px, py], fill, paper, font) {
  const x = px + 13, y = py - 13;
  for (const [width, style] of [[4, paper], [1.5, fill]]) {
    context.beginPath();
    context.moveTo(px, py);
    context.lineTo(x, y);
    context.lineWidth = width;
    context.strokeStyle = style;
    context.stroke();
  }
  context.beginPath();
  context.arc(x, y, 8.5, 0, 2 * Math.PI);
  context.fillStyle = fill;
  context.fill();
  context.fillStyle = paper;
  context.font = LETTER + font;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(text, x, y + 0.5);
}

// numbers along the two axes of a view: [text, x, y, align] each
function axisTexts(view, [across, up]) {
  const { width, height } = view, out = [], label = (v) => MINUS(String(+v.toPrecision(6)));
  const [left, bottom] = view.toLatent(0, height), [right, top] = view.toLatent(width, 0);
  for (const v of ticks(left, right)) {
    const [x] = view.toPixels([v, 0]);
    if (x > 34 && x < width - 44) out.push([label(v), x, height - 9, "center"]);
  }
  out.push([across, width - 8, height - 9, "right"]);
  if (!up) return out;
  for (const v of ticks(bottom, top)) {
    const [, y] = view.toPixels([0, v]);
    if (y > 24 && y < height - 24) out.push([label(v), 5, y, "left"]);
  }
  out.push([up, 6, 12, "left"]);
  return out;
}

// a grid of bytes as colours: from low to high along the given stops, or one colour a kind
function heat(grid, side, stops, kinds) {
  const canvas = new OffscreenCanvas(side, side), context = canvas.getContext("2d");
  const image = context.createImageData(side, side);
  for (let i = 0; i < grid.length; i++) {
    const place = grid[i] / 255 * (stops.length - 1), low = Math.min(stops.length - 2, Math.floor(place)), t = place - low;
    for (let c = 0; c < 4; c++)
      image.data[4 * i + c] = kinds ? stops[grid[i]][c] : stops[low][c] * (1 - t) + stops[low + 1][c] * t;
  }
  context.putImageData(image, 0, 0);
  return canvas;
}
