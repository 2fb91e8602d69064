// Curves of a run: fetches reports as JSON lines from where it left off and redraws three Plotly charts in place.

const EAGER = 50, POLL = 1000, SETTLED = 0.06;

function loadPlotly(url) {
  return (window.__elboRoomPlotly ??= new Promise((resolve, reject) => {
    if (window.Plotly) return resolve(window.Plotly);
    const script = document.createElement("script");
    script.src = url;
    script.onload = () => resolve(window.Plotly);
    script.onerror = reject;
    document.head.append(script);
  }));
}

// the range without the first steep part: the start of a run would flatten all the rest
function settledRange(values) {
  const sorted = [...values].sort((a, b) => a - b), at = (q) => sorted[Math.round(q * (sorted.length - 1))];
  if (sorted.length < 12) return null;
  const low = at(SETTLED), high = at(1), pad = Math.max(0.08 * (high - low), 1e-3);
  return [low - pad, high + pad];
}

// a first chart takes long: what was drawn so far is shown before the next one begins
const painted = () => new Promise((resolve) =>
  document.hidden ? resolve() : requestAnimationFrame(() => setTimeout(resolve)));

class Curves {
  constructor(root) {
    this.root = root;
    this.reset("");
  }

  reset(url) {
    Object.assign(this, { url, offset: 0, rows: [], drawn: false });
  }

  async update(data) {
    this.data = data;
    this.root.hidden = !data.url;
    const loading = loadPlotly(data.plotly);
    if (!data.url) return;
    if (this.url !== data.url) this.reset(data.url);
    this.plotly = await loading;
    if (this.gone) return;
    const style = getComputedStyle(this.root);
    this.look = { ink: style.getPropertyValue("--st-text-color"), line: style.getPropertyValue("--st-border-color"),
      train: style.getPropertyValue("--st-primary-color"), held: "#e76300", font: style.fontFamily };
    this.root.style.setProperty("--train", this.look.train);
    this.root.style.setProperty("--held", this.look.held);
    if (this.rows.length) this.draw();
    this.poll();
  }

  async poll() {
    clearTimeout(this.timer);
    const { url, offset } = this;
    const response = await fetch(`${url}?from=${offset}`).catch(() => null);
    if (this.gone || url !== this.url || offset !== this.offset) return;
    if (response?.ok) {
      const next = +response.headers.get("X-Next"), text = await response.text();
      if (offset !== this.offset) return;
      if (next < offset) this.reset(url);
      else if (text) {
        this.offset = next;
        this.rows.push(...text.trim().split("\n").map((line) => JSON.parse(line)));
        this.draw();
      }
    }
    if (this.data.active) this.timer = setTimeout(() => this.poll(), this.rows.length ? POLL : EAGER);
  }

  async draw() {
    const axis = this.data.axis, { ink, line, font } = this.look;
    for (const chart of this.root.querySelectorAll(".chart")) {
      const name = chart.dataset.name;
      if (!this.drawn && name !== "elbo") await painted();
      const series = (prefix) => {
        const rows = this.rows.filter((row) => `${prefix}_${name}` in row);
        return { x: rows.map((row) => row[axis]), y: rows.map((row) => row[`${prefix}_${name}`]) };
      };
      const train = series("train"), held = series("held_out");
      const traces = [
        { ...train, name: "train", mode: "lines", line: { color: this.look.train, width: 1.4 } },
        { ...held, name: "held out", mode: "lines+markers", line: { color: this.look.held, width: 2 }, marker: { size: 5 } },
      ];
      const grid = { gridcolor: line, zeroline: false, linecolor: line, automargin: true };
      const range = settledRange(train.y);
      const layout = {
        margin: { l: 8, r: 8, t: 6, b: 8 }, showlegend: false, uirevision: axis, dragmode: "zoom",
        paper_bgcolor: "transparent", plot_bgcolor: "transparent", font: { color: ink, family: font, size: 11 },
        xaxis: grid,
        yaxis: { ...grid, ...(range ? { range } : { autorange: true }), hoverformat: ".2f" }, hovermode: "x unified",
        ...this.marks(axis, ink),
      };
      this.plotly.react(chart, traces, layout, { displayModeBar: false, responsive: true });
    }
    this.drawn = true;
    const last = this.rows.at(-1), heldOut = this.rows.findLast((row) => "held_out_elbo" in row);
    this.root.querySelector(".summary").textContent = `Epoch ${last.epoch}: training ELBO ${last.train_elbo.toFixed(2)} ` +
      `nats per example` + (heldOut ? `, held out ${heldOut.held_out_elbo.toFixed(2)}.` : ".");
    this.root.dataset.rows = this.rows.length;
  }

  // where settings changed while it trained
  marks(axis, ink) {
    const rows = this.rows.filter((row) => row.changed);
    const said = (changed) => Object.entries(changed).map(([name, value]) => `${name.replace("_", " ")} ${value}`).join("<br>");
    return {
      shapes: rows.map((row) => ({ type: "line", x0: row[axis], x1: row[axis], yref: "paper", y0: 0, y1: 1, line: { color: ink, width: 1, dash: "dot" } })),
      annotations: rows.map((row) => ({ x: row[axis], y: 1, yref: "paper", yanchor: "top", xanchor: "left", showarrow: false, text: said(row.changed), font: { size: 10 } })),
    };
  }

  destroy() {
    this.gone = true;
    clearTimeout(this.timer);
  }
}

export default function ({ data, parentElement }) {
  const curves = (parentElement.__curves ??= new Curves(parentElement.querySelector(".curves")));
  curves.update(data);
  return () => { curves.destroy(); delete parentElement.__curves; };
}
