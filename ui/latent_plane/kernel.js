// The layers of a decoder: in WebAssembly, which is several times as fast as loops in JavaScript, where there is any.

// compiled from affine.wat, in base64
const AFFINE = [
  "AGFzbQEAAAABCgFgBn9/f39/fwACDgECanMGbWVtb3J5AgABAwIBAAcKAQZhZmZpbmUAAArZAwHWAwIDfwV7IAUgAkECdGohBgNA/QwAAAAAAAAA",
  "AAAAAAAAAAAAIQr9DAAAAAAAAAAAAAAAAAAAAAAhC/0MAAAAAAAAAAAAAAAAAAAAACEM/QwAAAAAAAAAAAAAAAAAAAAAIQ1BACEHA0AgBCAHav0A",
  "BAAhCSAAIAdqIQggCiAJIAj9AAQA/eYB/eQBIQogCCABaiEIIAsgCSAI/QAEAP3mAf3kASELIAggAWohCCAMIAkgCP0ABAD95gH95AEhDCAIIAFq",
  "IQggDSAJIAj9AAQA/eYB/eQBIQ0gB0EQaiEHIAcgAUkNAAsgCiAL/Q0AAQIDEBESEwQFBgcUFRYXIQkgCiAL/Q0ICQoLGBkaGwwNDg8cHR4fIQsg",
  "DCAN/Q0AAQIDEBESEwQFBgcUFRYXIQogDCAN/Q0ICQoLGBkaGwwNDg8cHR4fIQ0gBSAD/QAEACAJIAr9DQABAgMEBQYHEBESExQVFhcgCSAK/Q0I",
  "CQoLDA0ODxgZGhscHR4f/eQBIAsgDf0NAAECAwQFBgcQERITFBUWFyALIA39DQgJCgsMDQ4PGBkaGxwdHh/95AH95AH95AH9CwQAIAAgAUECdGoh",
  "ACADQRBqIQMgBUEQaiEFIAUgBkkNAAsLAF0EbmFtZQJEAQAOAAZ3ZWlnaHQBBnN0cmlkZQIEcm93cwMEYmlhcwQBeAUBeQYDZW5kBwJhdAgBcAkB",
  "dgoCczALAnMxDAJzMg0CczMDEAEAAgAEZm91cgEFYWxvbmc=",
].join("");

const PAGE = 65536;
const four = (count) => count + 3 & ~3;

// the same in JavaScript: y = W x + b, by addresses in bytes
const plainly = (floats) => (weight, stride, rows, bias, x, y) => {
  const across = stride / 4;
  for (let row = 0; row < rows; row++) {
    let sum = floats[bias / 4 + row];
    for (let i = 0, w = weight / 4 + row * across; i < across; i++) sum += floats[w + i] * floats[x / 4 + i];
    floats[y / 4 + row] = sum;
  }
};

// a policy may forbid it, an old browser may not know it
function compiled(memory) {
  try {
    const module = new WebAssembly.Module(Uint8Array.from(atob(AFFINE), (letter) => letter.charCodeAt(0)));
    return new WebAssembly.Instance(module, { js: { memory } }).exports.affine;
  } catch {
    return plainly(new Float32Array(memory.buffer));
  }
}

// all numbers of a decoder in one memory: layers, and what goes in and out of each; filled up with zeros to fours
class Kernel {
  constructor(layers, numbers) {
    let count = 0;
    const take = (many) => (count += many) - many;
    this.layers = layers.map(([inputs, outputs]) => ({
      stride: four(inputs), rows: four(outputs), weight: take(four(inputs) * four(outputs)), bias: take(four(outputs)),
    }));
    const widths = [layers[0][0], ...layers.map(([, outputs]) => outputs)];
    this.places = widths.map((width) => take(four(width)));
    const memory = new WebAssembly.Memory({ initial: Math.ceil(4 * count / PAGE) }), floats = new Float32Array(memory.buffer);
    let read = 0;
    layers.forEach(([inputs, outputs], l) => {
      const { stride, weight, bias } = this.layers[l];
      for (let row = 0; row < outputs; row++, read += inputs) floats.set(numbers.subarray(read, read + inputs), weight + row * stride);
      floats.set(numbers.subarray(read, read += outputs), bias);
    });
    this.values = this.places.map((at, l) => floats.subarray(at, at + widths[l]));
    this.affine = compiled(memory);
  }

  get input() { return this.values[0]; }

  // from the input to the output of the last layer; `bend` is applied between layers
  run(bend) {
    this.layers.forEach(({ stride, rows, weight, bias }, l) => {
      this.affine(4 * weight, 4 * stride, rows, 4 * bias, 4 * this.places[l], 4 * this.places[l + 1]);
      const y = this.values[l + 1];
      if (l + 1 < this.layers.length) for (let i = 0; i < y.length; i++) y[i] = bend(y[i]);
    });
    return this.values.at(-1);
  }
}
