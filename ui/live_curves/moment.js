// The moment of a run that is replayed (ui/replay), as a line over each of its curves: an element of its own, since a
// chart that is drawn anew would take longer than a frame.

class MomentLine {
  constructor(curves) {
    this.curves = curves;
    this.follow = ({ detail: { base, step } }) => {
      if (!curves.url.startsWith(base)) return;
      this.step = step;
      this.place();
    };
    window.addEventListener("elbo-room-moment", this.follow);
  }

  place() {
    const { root, rows, data } = this.curves, row = rows.find(({ step }) => step === this.step);
    for (const chart of root.querySelectorAll("figure .chart")) this.over(chart, row?.[data.axis]);
  }

  over(chart, value) {
    const { xaxis, yaxis } = chart._fullLayout ?? {};
    if (!xaxis) return;
    if (!chart.nextElementSibling) {
      chart.after(Object.assign(document.createElement("i"), { className: "moment" }));
      chart.on("plotly_afterplot", () => this.place()); // after a zoom too
    }
    const line = chart.nextElementSibling, x = value == null ? -1 : xaxis.l2p(value);
    line.hidden = x < 0 || x > xaxis._length;
    const place = { left: xaxis._offset + x, top: chart.offsetTop + yaxis._offset, height: yaxis._length };
    for (const [name, pixels] of Object.entries(place)) line.style[name] = `${pixels}px`;
  }

  destroy() {
    window.removeEventListener("elbo-room-moment", this.follow);
  }
}
