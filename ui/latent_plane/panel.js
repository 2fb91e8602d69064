// What stands beside the plane: the picture under the pointer, the chosen pin, and the tray of pins.

class Panel {
  constructor(root, act) {
    this.act = act;
    for (const name of ["live", "where", "heading", "pictures", "numbers", "tray"]) this[name] = root.querySelector("." + name);
    [this.screen, this.caption] = this.live.children;
  }

  paintLive(painter, grey, note) {
    this.screen.style.visibility = grey ? "visible" : "hidden";
    if (grey) painter.onto(this.screen, grey);
    if (this.caption.textContent !== note) this.caption.textContent = note;
  }

  figure(painter, title, grey, columns = 1) {
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    const canvas = document.createElement("canvas");
    painter.onto(canvas, grey, columns);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", title);
    caption.textContent = title;
    figure.append(canvas, caption);
    return figure;
  }

  showSelection(painter, selection) {
    this.heading.textContent = selection?.heading ?? "";
    this.pictures.className = "pictures";
    this.pictures.replaceChildren(...(selection?.pictures ?? []).map(({ title, pixels, small }) => {
      const figure = this.figure(painter, title, pixels);
      figure.classList.toggle("small", small);
      return figure;
    }));
    this.numbers.replaceChildren(...(selection?.numbers ?? []).flatMap(([name, value, help]) => {
      const term = document.createElement("dt"), number = document.createElement("dd");
      [term.textContent, term.title, number.textContent] = [name, help, value];
      return [term, number];
    }));
  }

  // rows of originals over their reconstructions: what a run looks like
  showStrips(painter, originals, reconstructions) {
    this.pictures.className = "pictures strip";
    this.pictures.replaceChildren(
      this.figure(painter, "Held-out examples", originals, 10),
      this.figure(painter, "Their reconstructions, decoded from the mean of q(z|x)", reconstructions, 10));
  }

  showPins(painter, pins) {
    const button = (name, text, label, act) => {
      const made = document.createElement("button");
      made.className = name;
      made.textContent = text;
      made.setAttribute("aria-label", label);
      made.addEventListener("click", act);
      return made;
    };
    const items = pins.map(({ letter, title, pixels, chosen }, number) => {
      const item = document.createElement("div"), canvas = document.createElement("canvas");
      item.className = chosen ? "pin chosen" : "pin";
      item.setAttribute("role", "listitem");
      painter.onto(canvas, pixels);
      const take = button("take", "", `Pin ${letter}: ${title}`, () => this.act({ kind: "choose", number }));
      take.title = title;
      take.setAttribute("aria-pressed", chosen);
      take.append(canvas, letter);
      item.append(take, button("drop", "×", `Remove pin ${letter}`, () => this.act({ kind: "drop", number })));
      return item;
    });
    if (pins.length > 1) items.push(button("all", "Clear pins", "Remove all pins", () => this.act({ kind: "clear" })));
    this.tray.replaceChildren(...items);
  }
}
