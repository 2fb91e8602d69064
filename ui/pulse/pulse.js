// How far a run is, asked for again and again; the page is told only of what it has not drawn.

const SOON = 150, BEAT = 1000, HIDDEN = 5000, AGAIN = 3000;
const NEWS = ["state", "stopping", "pace", "traced"];

class Pulse {
  constructor(root) {
    [this.words, this.track] = root.children;
    this.looked = () => document.hidden || this.next(0);
    document.addEventListener("visibilitychange", this.looked);
  }

  update(data, send) {
    Object.assign(this, { data, send, told: "" });
    this.show(data.seen);
    this.next(SOON); // what was asked for just now is done by then
  }

  show({ text, done }) {
    this.words.textContent = text;
    this.track.setAttribute("aria-valuenow", Math.round(100 * done));
    this.track.setAttribute("aria-valuetext", text);
    this.track.firstElementChild.style.width = `${100 * done}%`;
  }

  // what the page has drawn does not hold any more
  outdated(signs) {
    const { seen, graph } = this.data;
    return NEWS.some((name) => signs[name] !== seen[name])
      || (graph !== null && Math.abs(signs.step - graph) > 1);
  }

  async beat() {
    const { url } = this.data, response = await fetch(url).catch(() => null), signs = await response?.json().catch(() => null);
    if (this.gone || url !== this.data.url) return;
    if (signs && response.ok) this.show(signs);
    if (signs && (!response.ok || this.outdated(signs))) this.tell(JSON.stringify(NEWS.map((name) => signs[name])));
    this.next(document.hidden ? HIDDEN : BEAT);
  }

  next(wait) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.beat(), wait);
  }

  // once, and again if nothing came of it
  tell(news) {
    if (news === this.told && performance.now() - this.since < AGAIN) return;
    Object.assign(this, { told: news, since: performance.now() });
    this.send(Date.now());
  }

  destroy() {
    this.gone = true;
    document.removeEventListener("visibilitychange", this.looked);
    clearTimeout(this.timer);
  }
}

export default function ({ data, parentElement, setTriggerValue }) {
  const pulse = (parentElement.__pulse ??= new Pulse(parentElement.querySelector(".pulse")));
  pulse.update(data, (value) => setTriggerValue("news", value));
  return () => { pulse.destroy(); delete parentElement.__pulse; };
}
