// What benchmarks/interaction_browser.py asks of a page. Every time is in ms by performance.now(), from navigation on.

window.probe = (() => {
  const PATIENCE = 30000;
  const nextFrame = () => new Promise((resolve) => requestAnimationFrame(resolve));

  // the first moment after the frame that holds all changes made so far
  async function painted() {
    await nextFrame();
    return new Promise((resolve) => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => resolve(performance.now());
      port2.postMessage(0);
    });
  }

  let root = null, pressed = null, wanted = null;
  const plane = () => root.__plane;

  // the component lives in a shadow root: watch each from its birth
  const attach = Element.prototype.attachShadow;
  Element.prototype.attachShadow = function (how) {
    const made = attach.call(this, how);
    new MutationObserver((changes) => {
      for (const { target, type } of changes) {
        if (type === "attributes" && target.matches(".plane")) root = made;
        wanted?.(type === "attributes" ? "shown" : target.className);
      }
    }).observe(made, { attributeFilter: ["data-url"], childList: true, subtree: true });
    return made;
  };
  addEventListener("pointerup", (event) => { pressed = event; }, true);

  // the next change of that name for which `holds`: when it was made, and painted
  const next = (name, holds = () => true) => new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`${name}: nothing new within ${PATIENCE / 1000} s`)), PATIENCE);
    wanted = (seen) => {
      if (seen !== name || !holds()) return;
      wanted = null;
      const drawn = performance.now();
      painted().then((moment) => resolve({ drawn, painted: moment }));
    };
  });
  const sincePress = async (change) => {
    const { drawn, painted } = await change;
    return { drawn: drawn - pressed.timeStamp, painted: painted - pressed.timeStamp };
  };
  const placeOf = ([across, down]) => {
    const { left, top, width, height } = plane().marks.getBoundingClientRect();
    return [across * width, down * height, left + across * width, top + down * height];
  };

  return {
    opened: next("shown"),
    answer: null,
    landscape: () => Boolean(plane().landscape),

    // of places in shares of the canvas those where a click meets no data point
    free: (places) => places.filter((place) => plane().nearest(...placeOf(place).slice(0, 2)) == null),

    // expects the exact picture of a place that is about to be clicked; gives its pixel in the window
    expectPicture(place) {
      const [px, py, x, y] = placeOf(place), [u, v] = plane().view.toLatent(px, py), near = 3 / plane().view.scale;
      this.answer = sincePress(next("pictures", () => {
        const at = plane().shown;
        return at && Math.hypot(at[0] - u, at[1] - v) < near;
      }));
      return [x, y];
    },

    expectPlane() { this.answer = sincePress(next("shown")); },

    async hover(places) {
      const times = [], canvas = plane().marks, before = plane().panel.where.textContent;
      for (const place of places) {
        const [, , clientX, clientY] = placeOf(place);
        await new Promise((resolve) => setTimeout(resolve, 20 + 15 * place[0]));
        const begin = performance.now();
        canvas.dispatchEvent(new PointerEvent("pointermove", { clientX, clientY, bubbles: true, pointerId: 1, pointerType: "mouse" }));
        const drawn = performance.now() - begin;
        times.push({ drawn, painted: await painted() - begin });
      }
      if (plane().panel.where.textContent === before) throw new Error("the pointer moved, but the plane did not say where");
      return times;
    },

    // a wheel turned to and fro, then a hand that drags in circles; each change is a draw, one in every frame
    async motion(seconds) {
      const draws = [], begin = await nextFrame(), { marks } = plane(), half = 500 * seconds;
      const send = (name, Event, more) => {
        const before = performance.now();
        marks.dispatchEvent(new Event(name, { bubbles: true, cancelable: true, pointerId: 1, ...more }));
        draws.push(performance.now() - before);
      };
      let now = begin, zoomed = null;
      for (; now - begin < 2 * half; now = await nextFrame()) {
        const turn = 2 * Math.PI * (now - begin) / half, [, , clientX, clientY] = placeOf([0.5 + 0.2 * Math.sin(turn), 0.5 + 0.2 * Math.cos(turn)]);
        if (now - begin < half) send("wheel", WheelEvent, { clientX, clientY, ctrlKey: true, deltaY: 60 * Math.cos(turn) });
        else {
          if (!zoomed) marks.dispatchEvent(new PointerEvent("pointerdown", { clientX, clientY, pointerId: 1 }));
          zoomed ??= { ...plane().view };
          send("pointermove", PointerEvent, { clientX, clientY });
        }
      }
      marks.dispatchEvent(new PointerEvent("pointerup", { pointerId: 1 }));
      const { x, y } = plane().view;
      if (zoomed.half === plane().plane.extent || (x === zoomed.x && y === zoomed.y)) throw new Error("the plane did not follow");
      return { draws, perSecond: 1000 * draws.length / (now - begin) };
    },
  };
})();
