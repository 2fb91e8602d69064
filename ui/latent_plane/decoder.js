// What the plane decodes to without asking the server: exactly, where the decoder's weights travelled, or between the
// nodes of an atlas of decoded examples.

const ACTIVATIONS = {
  relu: (v) => v > 0 ? v : 0,
  silu: (v) => v / (1 + Math.exp(-v)),
  tanh: Math.tanh,
  softplus: (v) => v > 20 ? v : Math.log1p(Math.exp(v)),
  gelu: (v) => 0.5 * v * (1 + erf(v / Math.SQRT2)),
};

// Abramowitz & Stegun 7.1.26 is good to 1e-7 only: a series near 0, a continued fraction beyond
function erf(x) {
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a < 2.5) {
    let term = a, sum = a;
    for (let n = 1; Math.abs(term) > 1e-10 * sum && n < 60; n++) {
      term *= -a * a / n;
      sum += term / (2 * n + 1);
    }
    return Math.sign(x) * sum * 2 / Math.sqrt(Math.PI);
  }
  let fraction = 0;
  for (let n = 24; n > 0; n--) fraction = n / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / Math.sqrt(Math.PI) / (a + fraction));
}

const LINKS = {
  identity: (v) => v,
  sigmoid: (v) => 1 / (1 + Math.exp(-v)),
  continuous_bernoulli: (v) => Math.abs(v) < 0.2
    ? 0.5 + v * (1 / 12 - v * v * (1 / 720 - v * v / 30240))
    : 0.5 + 0.5 / Math.tanh(0.5 * v) - 1 / v,
};

function halfToFloat(halves) {
  const out = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) {
    const h = halves[i], sign = h & 0x8000 ? -1 : 1, exponent = h >> 10 & 31, fraction = h & 1023;
    out[i] = sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
  }
  return out;
}

// a table for all 65,536 half floats makes millions of them quick to read
function readNumbers(bytes, half) {
  if (!half) return new Float32Array(bytes.buffer);
  const table = (readNumbers.table ??= halfToFloat(Uint16Array.from({ length: 65536 }, (_, i) => i)));
  return Float32Array.from(new Uint16Array(bytes.buffer), (h) => table[h]);
}

class ExactDecoder {
  constructor(message, { origin, basis }) {
    this.kernel = (message.kernel ??= new Kernel(message.layers, message.numbers));
    this.activation = ACTIVATIONS[message.activation];
    this.link = LINKS[message.link];
    Object.assign(this, { origin, basis });
    this.out = new Uint8Array(message.layers.at(-1)[1]);
  }

  get exact() { return true; }
  has() { return true; }

  decode([u, v]) {
    const { origin, basis, kernel, link, out } = this, { input } = kernel;
    for (let i = 0; i < input.length; i++) input[i] = origin[i] + u * basis[0][i] + v * basis[1][i];
    const y = kernel.run(this.activation);
    for (let i = 0; i < out.length; i++) out[i] = Math.round(255 * Math.min(1, Math.max(0, link(y[i]))));
    return out;
  }
}

// bilinear between nodes that span [-extent, extent] on both axes, the first row on top
class Atlas {
  constructor({ atlas, side, extent }) {
    Object.assign(this, { atlas, nodes: side, extent });
    this.size = atlas.length / side ** 2;
    this.out = new Uint8Array(this.size);
  }

  get exact() { return false; }
  has([u, v]) { return Math.abs(u) <= this.extent && Math.abs(v) <= this.extent; }

  decode([u, v]) {
    const { atlas, nodes, size, out } = this;
    const column = (u / this.extent + 1) / 2 * (nodes - 1), row = (1 - v / this.extent) / 2 * (nodes - 1);
    const c = Math.max(0, Math.min(nodes - 2, Math.floor(column))), r = Math.max(0, Math.min(nodes - 2, Math.floor(row)));
    const across = column - c, down = row - r;
    const p = (r * nodes + c) * size, q = p + size, s = p + nodes * size, t = s + size;
    const wp = (1 - across) * (1 - down), wq = across * (1 - down), ws = (1 - across) * down, wt = across * down;
    for (let i = 0; i < size; i++)
      out[i] = wp * atlas[p + i] + wq * atlas[q + i] + ws * atlas[s + i] + wt * atlas[t + i] + 0.5;
    return out;
  }
}
