// The plane as it is on screen, as a file.

function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function flattened(canvases, paper) {
  const canvas = new OffscreenCanvas(canvases[0].width, canvases[0].height), context = canvas.getContext("2d");
  context.fillStyle = paper;
  context.fillRect(0, 0, canvas.width, canvas.height);
  for (const layer of canvases) context.drawImage(layer, 0, 0);
  return canvas;
}

async function savePng({ scene, marks, paper }) {
  save(await flattened([scene, marks], paper).convertToBlob(), "latent-plane.png");
}

async function asDataUrl(canvas) {
  const reader = new FileReader(), blob = await canvas.convertToBlob();
  return new Promise((resolve) => {
    reader.onload = () => resolve(reader.result);
    reader.readAsDataURL(blob);
  });
}

const escaped = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

// what lies under the points as one image, all else as vectors
async function saveSvg(plane) {
  const { view, points, hidden, data, stroke, accent, paper } = plane, { width, height } = view;
  const under = new OffscreenCanvas(2 * width, 2 * height), context = under.getContext("2d");
  context.scale(2, 2);
  plane.drawUnderlay(context);
  const f = (value) => value.toFixed(2), r = f(points.radius(view));
  const round = ([cx, cy, a, b, angle], sigma, style) => {
    const [x, y] = view.toPixels([cx, cy]), s = sigma * view.scale;
    return `<ellipse rx="${f(a * s)}" ry="${f(b * s)}" transform="translate(${f(x)} ${f(y)}) rotate(${f(-angle * 180 / Math.PI)})" ${style}/>`;
  };
  const line = (places, style) => `<polyline points="${places.map((p) => view.toPixels(p).map(f).join()).join(" ")}" ${style}/>`;
  const parts = [`<rect width="100%" height="100%" fill="${paper}"/>`, `<image width="${width}" height="${height}" href="${await asDataUrl(under)}"/>`];
  for (const one of plane.plane.prior)
    for (const sigma of plane.plane.prior.length === 1 ? [1, 2] : [1]) parts.push(round(one, sigma, `fill="none" stroke="${accent}" stroke-dasharray="3 4"`));
  for (let i = 0; i < points.count; i++) {
    if (hidden.has(points.labels[i])) continue;
    const [x, y] = view.toPixels(points.at(i));
    if (x > 0 && y > 0 && x < width && y < height)
      parts.push(`<circle cx="${f(x)}" cy="${f(y)}" r="${r}" fill="${data.palette[points.labels[i] % data.palette.length]}"/>`);
  }
  for (const { lines, width: thick } of plane.landscape?.contours ?? [])
    for (const places of lines) parts.push(line(places, `fill="none" stroke="${stroke}" stroke-width="${thick}"`));
  for (const places of data.paths) parts.push(line(places, `fill="none" stroke="${accent}" stroke-width="2.5"`));
  if (data.selection?.ellipse) for (const sigma of [1, 2]) parts.push(round(data.selection.ellipse, sigma, `fill="none" stroke="${stroke}" stroke-width="1.5"`));
  for (const { letter, at } of data.pins) {
    const [x, y] = view.toPixels(at);
    parts.push(`<path d="M${f(x)} ${f(y)}l13 -13" stroke="${accent}"/><circle cx="${f(x + 13)}" cy="${f(y - 13)}" r="8.5" fill="${accent}"/><text x="${f(x + 13)}" y="${f(y - 9)}" text-anchor="middle" font-size="12" fill="${paper}">${letter}</text>`);
  }
  const anchors = { center: "middle", left: "start", right: "end" };
  for (const [text, x, y, align] of axisTexts(view, plane.plane.axes))
    parts.push(`<text x="${f(x)}" y="${f(y + 4)}" text-anchor="${anchors[align]}" font-size="11" fill="${stroke}">${escaped(text)}</text>`);
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif">${parts.join("")}</svg>`;
  save(new Blob([svg], { type: "image/svg+xml" }), "latent-plane.svg");
}
