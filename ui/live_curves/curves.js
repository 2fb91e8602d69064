// Curves of a run: fetches reports as JSON lines from where it left off and redraws Plotly charts in place.

const EAGER = 50, POLL = 1000, HIDDEN = 5000;
// of a page's time no more than a fortieth goes into drawing, however slow or busy the machine
const SHARE = 40;
// the words about the curves are renewed at most so often; many who watch do it one after the other, each in a turn of
// so many milliseconds
const WORDS = 2000, TURN = 50;
const CONFIG = { displayModeBar: false, responsive: true };
// pixels beyond the window within which a chart is kept up with a run that trains; others catch up when they come near
const NEAR = 200;

// a first chart takes long: what was drawn so far is shown before the next one begins
const painted = () => new Promise((resolve) =>
  document.hidden ? resolve() : requestAnimationFrame(() => setTimeout(resolve)));

class Curves {
  constructor(root) {
    this.root = root;
    this.panels = [...root.querySelectorAll(".panel")];
    for (const panel of this.panels) panel.addEventListener("toggle", () => this.rows.length && this.drawPanel(panel));
    this.reset("");
    this.line = new MomentLine(this);
    this.sight = new IntersectionObserver(
      (seen) => this.behind && seen.some(({ isIntersecting }) => isIntersecting) && this.draw(false),
      { scrollMargin: `${NEAR}px` });
    for (const chart of root.querySelectorAll(".chart")) this.sight.observe(chart);
    this.looked = () => document.hidden || !this.plotly || this.poll();
    document.addEventListener("visibilitychange", this.looked);
  }

  reset(url) {
    Object.assign(this, { url, offset: 0, last: "", rows: [], drawn: false, cost: 0 });
  }

  chart(name) {
    return this.root.querySelector(`.chart[data-name=${name}]`);
  }

  async update(data, send) {
    Object.assign(this, { data, send });
    this.root.hidden = !data.url;
    this.announce(data.said ?? "");
    const loading = loadPlotly(data.plotly);
    if (!data.url) return;
    if (this.url !== data.url) this.reset(data.url);
    this.plotly = await loading;
    if (this.gone) return;
    const style = getComputedStyle(this.root);
    this.look = { ink: style.getPropertyValue("--st-text-color"), line: style.getPropertyValue("--st-border-color"),
      train: style.getPropertyValue("--st-primary-color"), font: style.fontFamily, ...data.colours };
    this.root.style.setProperty("--train", this.look.train);
    this.root.style.setProperty("--held", this.look.held);
    const drawing = JSON.stringify([data.url, data.axis, data.active, this.look]);
    if (drawing === this.drawing) return; // other words beside the same curves
    this.drawing = drawing;
    if (this.rows.length) this.draw();
    this.poll();
  }

  // a screen reader is told of what is new, not of every number
  announce(text) {
    const place = this.root.querySelector(".said");
    if (place.textContent !== text) place.textContent = text;
  }

  async poll() {
    clearTimeout(this.timer);
    // the last line comes again: where it is another, the file was written anew
    const { url, offset, last } = this;
    const response = await fetch(`${url}?from=${offset - last.length}`).catch(() => null);
    if (this.gone || url !== this.url || offset !== this.offset) return;
    if (response?.ok) {
      this.askers = +response.headers.get("X-Askers");
      const next = +response.headers.get("X-Next"), text = await response.text();
      if (offset !== this.offset) return;
      if (!text.startsWith(last)) {
        this.reset(url);
        return this.poll();
      }
      if (next > offset) {
        const lines = text.slice(last.length).trimEnd().split("\n");
        Object.assign(this, { offset: next, last: `${lines.at(-1)}\n` });
        this.add(lines.map(parseReport));
      }
    }
    const wait = document.hidden ? HIDDEN : Math.max(POLL, SHARE * this.cost);
    if (this.data.active) this.timer = setTimeout(() => this.poll(), this.rows.length ? wait : EAGER);
  }

  // a look at the held-out data is news to the plane beside the curves, and to the words about them
  add(reports) {
    this.rows.push(...reports);
    const begin = performance.now(), first = !this.drawn; // which takes long, and comes once
    this.draw(first || !this.data.active);
    this.cost = first ? 0 : performance.now() - begin;
    const look = reports.findLast((row) => "held_out_elbo" in row);
    if (!look || !this.data.active || look.step === this.data.look) return;
    window.dispatchEvent(new CustomEvent("elbo-room-look", { detail: { base: this.url.replace("metrics", ""), step: look.step } }));
    this.tell(look.step);
  }

  // has the words renewed soon, for the newest look there is by then
  tell(step) {
    this.newest = step;
    if (this.telling) return;
    const all = TURN * this.askers, again = (this.told ?? -Infinity) + Math.max(WORDS, all);
    this.telling = setTimeout(() => {
      this.telling = undefined;
      if (this.newest === this.data.look) return;
      this.told = performance.now();
      this.send(this.newest);
    }, Math.max(again - performance.now(), all * Math.random()));
  }

  // what all charts share, with the marks of settings that changed
  layout(own) {
    const axis = this.data.axis, { ink, line, font } = this.look;
    return {
      margin: { l: 30, r: 8, t: 6, b: 24 }, showlegend: false, uirevision: axis, dragmode: "zoom", hovermode: "x unified",
      paper_bgcolor: "transparent", plot_bgcolor: "transparent", font: { color: ink, family: font, size: 11 },
      xaxis: { gridcolor: line, zeroline: false, linecolor: line }, ...this.marks(axis, ink), ...own,
    };
  }

  async draw(everything = true) {
    Object.assign(this, { everything, behind: false });
    for (const name of ["elbo", "reconstruction", "kl"]) {
      if (!this.drawn && name !== "elbo") await painted();
      this.drawCurve(name);
    }
    this.drawn = true;
    for (const panel of this.panels) this.drawPanel(panel);
    this.root.dataset.rows = this.rows.length;
    this.line.place();
  }

  show(chart, traces, layout) {
    const { top, bottom } = chart.getBoundingClientRect();
    if (this.everything || (bottom > -NEAR && top < innerHeight + NEAR)) this.plotly.react(chart, traces, layout, CONFIG);
    else this.behind = true;
  }

  drawCurve(name) {
    const { axis } = this.data, { train, held, line } = this.look;
    const series = (prefix) => {
      const rows = thinned(this.rows.filter((row) => `${prefix}_${name}` in row));
      return { x: rows.map((row) => row[axis]), y: rows.map((row) => row[`${prefix}_${name}`]) };
    };
    const trained = series("train"), looks = series("held_out"), range = settledRange(trained.y);
    const traces = [
      { ...trained, name: "train", mode: "lines", line: { color: train, width: 1.4 } },
      { ...looks, name: "held out", mode: "lines+markers", line: { color: held, width: 2 }, marker: { size: 5 } },
    ];
    const yaxis = { gridcolor: line, zeroline: false, linecolor: line, automargin: true, hoverformat: ".2f", ...(range ? { range } : { autorange: true }) };
    this.show(this.chart(name), traces, this.layout({ yaxis }));
    const said = looks.y.length ? `, held out ${signed(looks.y.at(-1))}` : "";
    this.chart(name).setAttribute("aria-label", `${name} at epoch ${this.rows.at(-1).epoch}: training ${signed(trained.y.at(-1))}${said} nats per example`);
  }

  drawPanel(panel) {
    if (panel.open) this[panel.dataset.panel](panel);
  }

  dimensions(panel) {
    const looks = splitLooks(this.rows, this.data.axis), chart = this.chart("dimensions"), split = looks.length > 0;
    panel.querySelector(".about").textContent = split
      ? "How much each dimension of the code carries on held-out data: since the start, and now. The largest on top."
      : "The KL of this posterior and prior has no terms by dimension: only diagonal Gaussians of one layer have.";
    chart.hidden = panel.querySelector(".numbers").hidden = !split;
    if (!split) return;
    const figure = dimensionsFigure(looks, this.data.axis, this.look), text = dimensionsText(looks);
    chart.style.height = `${figure.height}px`;
    this.show(chart, figure.traces, this.layout({ hovermode: "closest", shapes: [], annotations: [], ...figure.layout }));
    chart.setAttribute("aria-label", text.short);
    panel.querySelector(".numbers p").textContent = text.long;
  }

  gradients(panel) {
    const figure = gradientsFigure(this.rows, this.data.axis, this.look);
    this.show(this.chart("gradients"), figure.traces, this.layout(figure.layout));
    this.chart("gradients").setAttribute("aria-label", figure.said);
    panel.querySelector(".key").replaceChildren(...figure.key.map(([part, colour, dash]) => {
      const entry = Object.assign(document.createElement("span"), { textContent: part });
      entry.style.setProperty("--colour", colour);
      entry.style.setProperty("--dash", dash);
      return entry;
    }));
  }

  // where settings changed while it trained, and where it left another run
  marks(axis, ink) {
    const rows = this.rows.filter((row) => row.changed || row.forked);
    const changes = (changed) => Object.entries(changed ?? {}).map(([name, value]) => `${name.replace("_", " ")} ${value}`);
    const fork = (forked) => forked ? [`<a href="train?run=${forked.run}" target="_self">forked at step ${forked.step}</a>`] : [];
    const said = (row) => [...fork(row.forked), ...changes(row.changed)].join("<br>");
    return {
      shapes: rows.map((row) => ({ type: "line", x0: row[axis], x1: row[axis], yref: "paper", y0: 0, y1: 1, line: { color: ink, width: 1, dash: "dot" } })),
      annotations: rows.map((row) => ({ x: row[axis], y: 1, yref: "paper", yanchor: "top", xanchor: "left", showarrow: false, text: said(row), align: "left", captureevents: Boolean(row.forked), font: { size: 10 } })),
    };
  }

  destroy() {
    this.gone = true;
    this.sight.disconnect();
    document.removeEventListener("visibilitychange", this.looked);
    clearTimeout(this.timer);
    clearTimeout(this.telling);
    this.line.destroy();
  }
}

export default function ({ data, parentElement, setTriggerValue }) {
  const curves = (parentElement.__curves ??= new Curves(parentElement.querySelector(".curves")));
  curves.update(data, (step) => setTriggerValue("look", step));
  return () => { curves.destroy(); delete parentElement.__curves; };
}
