"""Small multiples: the held-out ELBO of every run of a sweep, one small chart a setting, all on the same axes."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from streamlit.components.v2 import component

from ui.runs.curves import settled_range
from ui.runs.thinning import thinned
from ui.theme import PALETTE
from ui.words import signed

HERE = Path(__file__).parent
WIDTH, HEIGHT = 220, 104
"""Of one chart, in the SVG's own units."""
LEFT, TOP, BOTTOM = 46, 12, 18
POINTS = 80
WIDEST = 5
MARKS = ("●", "■", "▲", "◆", "✚", "★")
STATES = {
    "queued": "waits",
    "preparing": "begins",
    "paused": "paused",
    "finished": "done",
    "stopped": "stopped",
    "failed": "failed",
}
_component = component(
    "elbo_room.multiples",
    html='<div class="charts"></div>',
    css=(HERE / "multiples.css").read_text(encoding="utf-8"),
    js=(HERE / "multiples.js").read_text(encoding="utf-8"),
)

Curve = tuple[Float[np.ndarray, "N"], Float[np.ndarray, "N"]]


@dataclass(frozen=True)
class Line:
    """One run: its seed, what is done of it (0 to 1), its state, and its held-out ELBO over epochs."""

    run: str
    seed: int
    state: str
    done: float
    curve: Curve


@dataclass(frozen=True)
class Panel:
    """One setting, in words, with its runs."""

    title: str
    lines: tuple[Line, ...]


def show(key: str, panels: Sequence[Panel], columns: int) -> None:
    """Draws the charts, and anew in place when they have changed."""
    _component(key=key, data={"charts": multiples(panels, columns)})


def multiples(panels: Sequence[Panel], columns: int = 1) -> str:
    """All charts as HTML, in rows of `columns` where they fit. Colours that follow the theme are CSS variables."""
    curves = [line.curve for panel in panels for line in panel.lines if len(line.curve[0])]
    across = (0.0, max((float(x[-1]) for x, _ in curves), default=1.0) or 1.0)
    low, high = settled_range([y for _, y in curves]) or _whole_range([y for _, y in curves])
    charts = "".join(_chart(panel, across, (low, high)) for panel in panels)
    return f'<div class="multiples" style="--columns:{min(columns, WIDEST)}">{charts}</div>'


def _whole_range(values: Sequence[Float[np.ndarray, "N"]]) -> list[float]:
    """Where there are too few values to tell a steep start."""
    if not values:
        return [-1.0, 0.0]
    low, high = min(float(y.min()) for y in values), max(float(y.max()) for y in values)
    room = 0.05 * (high - low) or 1.0
    return [low - room, high + room]


def _chart(panel: Panel, across: tuple[float, float], up: tuple[float, float]) -> str:
    right, bottom = WIDTH - 6, HEIGHT - BOTTOM
    said = "; ".join(_said(line) for line in panel.lines)
    lines = "".join(_line(line, number, across, up) for number, line in enumerate(panel.lines))
    ticks = "".join(
        f'<text x="{LEFT - 5}" y="{y + 4}" text-anchor="end">{signed(value, 1)}</text>'
        for y, value in ((TOP, up[1]), (bottom, up[0]))
    )
    return (
        f"<figure><figcaption>{html.escape(panel.title)}<small>{_links(panel)}</small></figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(f"{panel.title}: {said}")}">'
        f'<path class="axes" d="M{LEFT},{TOP}V{bottom}H{right}"/>{lines}{ticks}'
        f'<text x="{right}" y="{HEIGHT - 4}" text-anchor="end">{across[1]:.3g} epochs</text></svg></figure>'
    )


def _line(line: Line, number: int, across: tuple[float, float], up: tuple[float, float]) -> str:
    x, y = line.curve
    if not len(x):
        return ""
    kept = thinned(x, y, POINTS)
    px = LEFT + (x[kept] - across[0]) / (across[1] - across[0]) * (WIDTH - 6 - LEFT)
    py = TOP + (up[1] - y[kept].clip(*up)) / (up[1] - up[0]) * (HEIGHT - BOTTOM - TOP)
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(px, py, strict=True))
    colour = PALETTE[number % len(PALETTE)]
    return (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
        f'<text x="{px[-1]:.1f}" y="{py[-1] + 3:.1f}" style="fill:{colour}" class="mark">'
        f"{MARKS[number % len(MARKS)]}</text>"
    )


def _links(panel: Panel) -> str:
    """A link to each run, with its mark and where it stands."""
    parts = []
    for number, line in enumerate(panel.lines):
        colour, mark = PALETTE[number % len(PALETTE)], MARKS[number % len(MARKS)]
        parts.append(
            f'<a href="/train?run={html.escape(line.run)}" target="_self">'
            f'<span style="color:{colour}" aria-hidden="true">{mark}</span> seed {line.seed}: {standing(line)}</a>'
        )
    return " ".join(parts)


def standing(line: Line) -> str:
    return STATES.get(line.state) or f"{line.done:.0%}"


def _said(line: Line) -> str:
    reached = f", held-out ELBO {signed(float(line.curve[1][-1]), 2)} nats" if len(line.curve[1]) else ""
    return f"seed {line.seed} {standing(line)}{reached}"
