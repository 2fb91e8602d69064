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
    const numbers = message.numbers;
    let offset = 0;
    const take = (count) => numbers.subarray(offset, offset += count);
    this.layers = message.layers.map(([inputs, outputs]) => ({ inputs, outputs, weight: take(inputs * outputs), bias: take(outputs) }));
    this.activation = ACTIVATIONS[message.activation];
    this.link = LINKS[message.link];
    this.buffers = this.layers.map(({ outputs }) => new Float32Array(outputs));
    this.start = new Float32Array(origin.length);
    Object.assign(this, { origin, basis });
    this.out = new Uint8Array(this.buffers.at(-1).length);
  }

  get exact() { return true; }
  has() { return true; }

  decode([u, v]) {
    let x = this.start;
    for (let i = 0; i < x.length; i++) x[i] = this.origin[i] + u * this.basis[0][i] + v * this.basis[1][i];
    for (let l = 0; l < this.layers.length; l++) x = this.affine(this.layers[l], x, this.buffers[l], l < this.layers.length - 1);
    for (let i = 0; i < x.length; i++) this.out[i] = Math.round(255 * Math.min(1, Math.max(0, this.link(x[i]))));
    return this.out;
  }

  // eight rows at once, so that each input is read once for all of them: twice as fast as row by row
  affine({ inputs, outputs, weight, bias }, x, y, bent) {
    let o = 0;
    for (; o + 7 < outputs; o += 8) {
      const p0 = o * inputs, p1 = p0 + inputs, p2 = p1 + inputs, p3 = p2 + inputs;
      const p4 = p3 + inputs, p5 = p4 + inputs, p6 = p5 + inputs, p7 = p6 + inputs;
      let s0 = bias[o], s1 = bias[o + 1], s2 = bias[o + 2], s3 = bias[o + 3];
      let s4 = bias[o + 4], s5 = bias[o + 5], s6 = bias[o + 6], s7 = bias[o + 7];
      for (let i = 0; i < inputs; i++) {
        const v = x[i];
        s0 += weight[p0 + i] * v;
        s1 += weight[p1 + i] * v;
        s2 += weight[p2 + i] * v;
        s3 += weight[p3 + i] * v;
        s4 += weight[p4 + i] * v;
        s5 += weight[p5 + i] * v;
        s6 += weight[p6 + i] * v;
        s7 += weight[p7 + i] * v;
      }
      y[o] = s0; y[o + 1] = s1; y[o + 2] = s2; y[o + 3] = s3;
      y[o + 4] = s4; y[o + 5] = s5; y[o + 6] = s6; y[o + 7] = s7;
    }
    for (; o < outputs; o++) {
      let sum = bias[o];
      for (let i = 0, p = o * inputs; i < inputs; i++) sum += weight[p + i] * x[i];
      y[o] = sum;
    }
    if (bent) for (let i = 0; i < outputs; i++) y[i] = this.activation(y[i]);
    return y;
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
