// The part of the plane that is on screen, equally scaled on both axes; the second coordinate grows upwards.

class View {
  constructor(x, y, half, width, height) { Object.assign(this, { x, y, half, width, height }); }

  get scale() { return this.width / (2 * this.half); }
  toPixels([u, v]) {
    return [(u - this.x) * this.scale + this.width / 2, this.height / 2 - (v - this.y) * this.scale];
  }
  toLatent(px, py) {
    return [(px - this.width / 2) / this.scale + this.x, (this.height / 2 - py) / this.scale + this.y];
  }
  // the same place of the plane stays under the given pixel
  zoom(factor, px, py, least, most) {
    const [u, v] = this.toLatent(px, py);
    this.half = Math.max(least, Math.min(most, this.half / factor));
    const [x, y] = this.toLatent(px, py);
    this.x += u - x;
    this.y += v - y;
  }
  pan(dx, dy) {
    this.x -= dx / this.scale;
    this.y += dy / this.scale;
  }
  // moves as little as needed to show a place
  follow([u, v]) {
    const up = this.half * this.height / this.width, inside = 0.96;
    this.x = Math.max(u - inside * this.half, Math.min(u + inside * this.half, this.x));
    this.y = Math.max(v - inside * up, Math.min(v + inside * up, this.y));
  }
}

function ticks(low, high) {
  const rough = (high - low) / 7, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const out = [];
  for (let v = Math.ceil(low / step) * step; v <= high + 1e-9; v += step) out.push(Math.round(v / step) * step);
  return out;
}
