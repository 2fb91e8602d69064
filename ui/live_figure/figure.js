// Draws a figure that the server sends, and what it sends later in the same place.

const CONFIG = { displayModeBar: false, responsive: true };

// a layout in the colours of the theme, which the server does not know
function dressed(layout, style) {
  const ink = style.getPropertyValue("--st-text-color"), line = style.getPropertyValue("--st-border-color");
  const axes = Object.entries(layout).filter(([name]) => /^[xy]axis/.test(name));
  const drawn = axes.map(([name, axis]) => [name, { gridcolor: line, linecolor: line, zerolinecolor: line, ...axis }]);
  return { uirevision: "same", ...layout, ...Object.fromEntries(drawn),
    font: { color: ink, family: style.fontFamily, size: 12 },
    hoverlabel: { bgcolor: style.getPropertyValue("--st-background-color"), font: { family: style.fontFamily } } };
}

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".live-figure");
  root.setAttribute("aria-label", data.alt);
  root.wanted = data.figure;
  loadPlotly(data.plotly).then((plotly) => {
    if (root.isConnected) plotly.react(root, root.wanted.data, dressed(root.wanted.layout, getComputedStyle(root)), CONFIG);
  });
  return () => window.Plotly?.purge(root);
}
