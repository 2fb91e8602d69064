// Messages of ui/payload.py, and examples as pictures: ink of opacity grey/255 over the page's background, so that both
// themes show them naturally; what is no image is drawn as a profile, one value after another.

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

async function fetchMessage(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error((await response.json().catch(() => ({}))).error ?? "The server did not answer.");
  return parse(await response.arrayBuffer());
}

const unpack = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

function colour(text) {
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  context.fillStyle = text;
  context.fillRect(0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data];
}

function inkInto(context, grey, width, height, ink) {
  const image = context.createImageData(width, height), out = new Uint32Array(image.data.buffer);
  const rgb = ink[0] | (ink[1] << 8) | (ink[2] << 16);
  for (let i = 0; i < grey.length; i++) out[i] = rgb | (grey[i] << 24);
  context.putImageData(image, 0, 0);
}

// one profile into a box, values 0…255 upwards
function lineInto(context, values, [x, y, width, height], stroke, thickness) {
  context.beginPath();
  for (let i = 0; i < values.length; i++)
    context.lineTo(x + (i + 0.5) / values.length * width, y + (1 - values[i] / 255) * (height - 2 * thickness) + thickness);
  context.strokeStyle = stroke;
  context.lineWidth = thickness;
  context.lineJoin = "round";
  context.stroke();
}

// how examples of one data set are drawn
class Painter {
  constructor({ tile, kind, features, low, high }, ink) {
    Object.assign(this, { profile: kind === "profile", features, low, high, ink });
    [this.height, this.width] = tile;
    this.size = this.height * this.width;
    this.stroke = `rgb(${ink.slice(0, 3)})`;
  }

  // tiles one after another -> a canvas of rows of `columns` tiles
  sheet(tiles, columns) {
    const rows = Math.ceil(tiles.length / this.size / columns);
    if (this.profile) return this.profileSheet(tiles, columns, rows);
    const { width, height } = this, grey = new Uint8Array(rows * columns * this.size);
    for (let t = 0; t * this.size < tiles.length; t++) {
      const row = Math.floor(t / columns), column = t % columns;
      for (let y = 0; y < height; y++) {
        const from = (t * height + y) * width;
        grey.set(tiles.subarray(from, from + width), ((row * height + y) * columns + column) * width);
      }
    }
    const canvas = new OffscreenCanvas(columns * width, rows * height);
    inkInto(canvas.getContext("2d"), grey, canvas.width, canvas.height, this.ink);
    return canvas;
  }

  profileSheet(tiles, columns, rows) {
    const side = 56, canvas = new OffscreenCanvas(columns * side, rows * side), context = canvas.getContext("2d");
    for (let t = 0; t * this.size < tiles.length; t++) {
      const box = [t % columns * side + 4, Math.floor(t / columns) * side + 6, side - 8, side - 12];
      lineInto(context, tiles.subarray(t * this.size, (t + 1) * this.size), box, this.stroke, 1.5);
    }
    return canvas;
  }

  // one example, or a sheet of them, on a canvas of the page
  onto(canvas, grey, columns = 1) {
    canvas.classList.add("picture");
    if (columns === 1 && grey.length === this.size && !this.profile) {
      if (canvas.width !== this.width) [canvas.width, canvas.height] = [this.width, this.height];
      inkInto(canvas.getContext("2d"), grey, this.width, this.height, this.ink);
    } else if (columns === 1 && grey.length === this.size) this.chart(canvas, grey);
    else {
      const sheet = this.sheet(grey, columns);
      [canvas.width, canvas.height] = [sheet.width, sheet.height];
      canvas.getContext("2d").drawImage(sheet, 0, 0);
    }
  }

  // in the units of the source: what a value of a profile is
  name(values, i) {
    const value = this.low[i] + values[i] / 255 * (this.high[i] - this.low[i]);
    return MINUS(`${this.features[i] ?? `value ${i + 1}`}: ${value.toPrecision(3)}`);
  }

  chart(canvas, values) {
    const kept = values.slice();
    canvas.onpointermove = ({ offsetX }) => {
      const place = Math.floor(offsetX / canvas.clientWidth * kept.length);
      canvas.title = this.name(kept, Math.max(0, Math.min(kept.length - 1, place)));
    };
    [canvas.width, canvas.height] = [600, 220];
    const context = canvas.getContext("2d");
    lineInto(context, values, [4, 10, 592, 200], this.stroke, 3);
    if (values.length > 32) return;
    context.fillStyle = this.stroke;
    for (let i = 0; i < values.length; i++) {
      context.beginPath();
      context.arc(4 + (i + 0.5) / values.length * 592, 10 + (1 - values[i] / 255) * 194 + 3, 6, 0, 2 * Math.PI);
      context.fill();
    }
  }
}
