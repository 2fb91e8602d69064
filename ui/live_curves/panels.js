// What is drawn when it is unfolded: how the KL divides among the dimensions, and how large gradients are.

const DEAD = 0.01, LEAST = 0.1, ROW = 13, TICKS = 24;
const DASHES = { encoder: "solid", decoder: "dash", prior: "dot" }, BORDERS = { solid: "solid", dash: "dashed", dot: "dotted" };

// a heat strip of every dimension, and beside it what each carries now; the largest on top
function dimensionsFigure(looks, axis, look) {
  const now = looks.at(-1).kl_by_dimension, order = now.map((kl, index) => index).sort((a, b) => now[b] - now[a]);
  const places = order.map((_, place) => place), every = Math.ceil(order.length / TICKS);
  const shown = order.map((index) => looks.map((row) => row.kl_by_dimension[index]));
  const colour = (kl) => Math.log10(Math.max(kl, 1e-3));
  const grid = { gridcolor: look.line, zeroline: false, linecolor: look.line };
  return {
    height: 92 + ROW * Math.max(order.length, 4),
    traces: [
      { type: "heatmap", x: looks.map((row) => row[axis]), y: places, z: shown.map((values) => values.map(colour)), customdata: shown,
        zmin: -3, zmax: Math.max(0.5, colour(Math.max(...now))), colorscale: look.scale, hovertemplate: `%{text}: %{customdata:.3f} nats at %{x}<extra></extra>`,
        text: order.map((index) => looks.map(() => dimensionName(index))),
        colorbar: { orientation: "h", x: 0.32, len: 0.64, y: 0, yref: "paper", yanchor: "top", ypad: 24, thickness: 8, outlinewidth: 0,
          tickvals: [-3, -2, -1, 0, 1], ticktext: ["≤ 0.001", "0.01", "0.1", "1", "10 nats"] } },
      { type: "bar", orientation: "h", xaxis: "x2", x: order.map((index) => now[index]), y: places,
        marker: { color: order.map((index) => (now[index] < DEAD ? look.line : look.held)) }, customdata: order.map(dimensionName),
        hovertemplate: "%{customdata}: %{x:.3f} nats<extra></extra>" },
    ],
    layout: {
      xaxis: { ...grid, domain: [0, 0.64] }, xaxis2: { ...grid, domain: [0.7, 1], range: [0, Math.max(1.05 * now[order[0]], LEAST)], nticks: 4, title: { text: "nats now", standoff: 4 } },
      yaxis: { ...grid, showgrid: false, autorange: "reversed", tickvals: places.filter((place) => place % every === 0),
        ticktext: order.filter((_, place) => place % every === 0).map(dimensionName), automargin: true },
      margin: { l: 8, r: 8, t: 6, b: 52 }, bargap: 0.25, showlegend: false,
    },
  };
}

// the same in words
function dimensionsText(looks) {
  const now = looks.at(-1).kl_by_dimension, order = now.map((kl, index) => index).sort((a, b) => now[b] - now[a]);
  const dead = now.filter((kl) => kl < DEAD).length;
  return {
    short: `KL of ${now.length} latent dimensions at epoch ${looks.at(-1).epoch}: ${dead} of them below ${DEAD} nats.`,
    long: order.map((index) => `${dimensionName(index)} ${now[index].toFixed(3)}`).join(", ") + " nats.",
  };
}

function gradientsFigure(rows, axis, look) {
  const reports = rows.filter((row) => row.gradient_norms), parts = Object.keys(reports.at(-1)?.gradient_norms ?? {});
  const traces = parts.map((part) => ({
    ...peaks(reports.map((row) => row[axis]), reports.map((row) => row.gradient_norms[part] ?? 0)),
    name: part, mode: "lines", line: { color: look.parts[part], width: 1.6, dash: DASHES[part] },
  }));
  const last = reports.at(-1);
  const said = parts.map((part) => `${part} ${last.gradient_norms[part]?.toPrecision(3)}`).join(", ");
  return {
    traces, layout: { yaxis: { type: "log", gridcolor: look.line, linecolor: look.line, automargin: true, hoverformat: ".3g", } },
    said: last ? `Euclidean norms of the gradients at epoch ${last.epoch}: ${said}.` : "",
    key: parts.map((part) => [part, look.parts[part], BORDERS[DASHES[part]]]),
  };
}
