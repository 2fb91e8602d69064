// Replays a run: fetches its snapshots ahead of time and hands each on, to the plane and the curves of the same page.

const AHEAD = 8, KEPT = 40;

class Replay {
  constructor(root) {
    this.root = root;
    [this.button, this.slider, this.speed, this.output] = root.children;
    this.button.addEventListener("click", () => this.playing ? this.pause() : this.play());
    this.slider.addEventListener("input", () => { this.pause(); this.show(+this.slider.value); });
  }

  // a run that was trained on has more moments: the newest is shown by then
  update(data) {
    const same = this.data?.base === data.base && this.data.moments.length === data.moments.length;
    this.data = data;
    if (same) return;
    this.pause();
    this.fetched = new Map();
    this.at = this.wanted = this.slider.max = this.last;
    this.slider.value = this.last;
    this.tell();
  }

  get last() { return this.data.moments.length - 1; }

  // the last few are kept
  load(index) {
    const { base, axes, moments } = this.data, { fetched } = this;
    if (fetched.has(index)) return fetched.get(index);
    const loading = fetch(`${base}snapshots/${moments[index][0]}?axes=${axes}`).then(async (response) => {
      if (response.ok) return response.arrayBuffer();
      throw new Error((await response.json()).error);
    });
    loading.catch(() => fetched.delete(index));
    fetched.set(index, loading);
    while (fetched.size > KEPT) fetched.delete(fetched.keys().next().value);
    return loading;
  }

  // the last one asked for is shown
  async show(index) {
    this.wanted = index;
    try {
      const message = await this.load(index);
      if (this.gone || this.wanted !== index) return;
      const { base, half, moments } = this.data;
      this.at = index;
      this.slider.value = index;
      this.announce({ base, half, step: moments[index][0], message });
      this.tell();
      for (let next = index + 1; next <= Math.min(this.last, index + AHEAD); next++) this.load(next);
    } catch (error) {
      this.pause();
      this.output.textContent = error.message;
    }
  }

  announce(detail) { window.dispatchEvent(new CustomEvent("elbo-room-moment", { detail })); }

  tell() {
    const [, said] = this.data.moments[this.at];
    this.output.textContent = `${said} · ${this.at + 1} of ${this.last + 1}`;
    this.slider.setAttribute("aria-valuetext", said);
  }

  pause() {
    this.playing = null;
    this.button.textContent = "Play";
  }

  async play() {
    const own = this.playing = {};
    this.button.textContent = "Pause";
    for (let index = this.at < this.last ? this.at + 1 : 0; index <= this.last; index++) {
      const due = performance.now() + 1000 / this.speed.value;
      await this.show(index);
      await new Promise((resolve) => setTimeout(resolve, due - performance.now()));
      if (this.playing !== own) return;
    }
    this.pause();
  }

  destroy() {
    this.gone = true;
    this.playing = null;
    this.announce({ base: this.data.base });
  }
}

export default function ({ data, parentElement }) {
  const replay = (parentElement.__replay ??= new Replay(parentElement.querySelector(".replay")));
  replay.update(data);
  return () => { replay.destroy(); delete parentElement.__replay; };
}
