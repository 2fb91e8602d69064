"""The tool of paths: what lies between two pins, straight, around the centre, or along the decoder's own geometry."""

import plotly.graph_objects as go
import streamlit as st
from jaxtyping import Float
from plotly.subplots import make_subplots
from torch import Tensor

from ui.address import Pin
from ui.exports import filmstrip, gif
from ui.planes import Opened
from ui.resources import Explored, landscape_of
from ui.theme import PALETTE
from ui.tools.addition import Addition
from ui.tools.films import FINE, Ends, Film, Shortest, changes, codes, film, unit
from ui.tools.picking import drawn, keep, look, looked_at, said, vector
from ui.tools.searching import give_up, shortest
from ui.tools.strips import STILL, dressed, strip

KINDS = {"linear": "Straight", "spherical": "Around the centre", "geodesic": "Following the decoder"}
HELP = (
    "Straight: evenly along the line. Around the centre: spherical interpolation around the prior’s centre. Following "
    "the decoder’s geometry: the shortest path found where length is how much the decoded changes (a geodesic)."
)
STEPS, START = (5, 40), 12
FROM_TO = ("path from", "path to")
PICKED, STEP = "path ends", "path step"
FRAME = 120
"""Milliseconds that the animation shows each step."""


def ends_of(pins: tuple[Pin, ...], picked: tuple[Pin, Pin] | None) -> tuple[Pin, Pin]:
    """The ends that were picked, while both are there; else the last two pins."""
    return picked if picked is not None and all(pin in pins for pin in picked) else (pins[-2], pins[-1])


def lengths_said(thing: Explored, kind: str, straight: Float[Tensor, "F H"], own: Float[Tensor, "F H"]) -> str:
    """The decoded lengths of the straight line and, where it is another one, of the path shown."""
    lengths = {
        KINDS[name].lower(): changes(thing, z).sum().item() for name, z in {"linear": straight, kind: own}.items()
    }
    said = ", ".join(f"{name}: {length:,.1f}" for name, length in lengths.items())
    return f"Length of the decoded path, {unit(thing.spec)[1]}: {said}."


def chart(made: Film, word: str, log_q: Float[Tensor, "S"] | None) -> go.Figure:
    """Under every picture its place: between two the change from one to the other, under each the density of data."""
    count, rows = len(made.z), 1 if log_q is None else 2
    titles = [f"Change from step to step, {word}", "Density of data: log q(z), nats"][:rows]
    figure = make_subplots(rows, 1, shared_xaxes=True, subplot_titles=titles, vertical_spacing=0.25)
    figure.add_bar(
        x=[k + 1.5 for k in range(count - 1)],
        y=made.changes.tolist(),
        marker_color=PALETTE[0],
        name="change",
        row=1,
        col=1,
    )
    if log_q is not None:
        figure.add_scatter(
            x=list(range(1, count + 1)), y=log_q.tolist(), mode="lines+markers", line_color=PALETTE[6],
            name="log q(z)", row=2, col=1,
        )  # fmt: skip
    figure.update_xaxes(range=[0.5, count + 0.5], fixedrange=True, showgrid=False)
    figure.update_xaxes(title="step", row=rows)
    figure.update_yaxes(ticklabelposition="inside top", fixedrange=True, nticks=4)
    figure.update_annotations(x=0, xanchor="left", font_size=13)
    return dressed(figure, 80 + 110 * rows)


def pick_ends() -> None:
    """For a callback: the ends that are shown stay, whatever is pinned next."""
    st.session_state[PICKED] = tuple(st.session_state[key] for key in FROM_TO)


def keep_step(z: Float[Tensor, "H"]) -> None:
    """For the callback of a button: a step becomes a pin, and the path stays."""
    pick_ends()
    keep(z)


def choose(opened: Opened) -> tuple[Ends, str, int]:
    """The ends, the kind of path, and the number of steps."""
    pins = opened.address.pins

    columns = st.columns([1, 1, 1.5])
    chosen = ends_of(pins, st.session_state.get(PICKED))
    for column, key, label, pin in zip(columns, FROM_TO, ("From", "To"), chosen, strict=False):
        st.session_state[key] = pin
        column.selectbox(label, pins, format_func=lambda pin: said(opened, pin), key=key, on_change=pick_ends)
    steps = columns[2].slider("Steps", *STEPS, START, key="path steps")
    kind = st.segmented_control(
        "Path", list(KINDS), format_func=KINDS.__getitem__, default="linear", required=True, key="path kind", help=HELP
    )
    return (vector(opened, chosen[0]), vector(opened, chosen[1])), kind, steps


def reel(thing: Explored, kind: str, ends: Ends, steps: int, found: Shortest) -> tuple[Film, str]:
    """A path decoded, and its length in words. Raises ValueError where there is no such path."""
    whole, straight = codes(thing, kind, ends, FINE, found), codes(thing, "linear", ends, FINE, None)
    return film(thing, codes(thing, kind, ends, steps, found)), lengths_said(thing, kind, straight, whole)


def density(opened: Opened, z: Float[Tensor, "S H"]) -> Float[Tensor, "S"] | None:
    """log q(z) under a path; where there is none, says why."""
    if opened.landscape is not None:
        return opened.landscape.aggregate.log_prob(z)
    measured = landscape_of(opened.folder)
    refusal = measured.exception() if measured.done() else None
    st.caption(
        "The density of data is still being measured; it is drawn here at your next click."
        if refusal is None
        else f"The density of data cannot be drawn for this model: {refusal}."
    )
    return None


def show(opened: Opened) -> Addition:
    if len(opened.address.pins) < 2:
        st.info("A path goes from pin to pin: click two places or points on the plane first.")
        return Addition()
    ends, kind, steps = choose(opened)
    if ends[0] == ends[1]:
        st.info("Both ends are the same place: choose two different pins.")
        return Addition()
    if kind != "geodesic":
        give_up()
        found = None
    elif (found := shortest(opened, ends)) is None:
        return Addition()
    try:
        made, words = reel(opened.thing, kind, ends, steps, found)
    except ValueError as refusal:
        st.warning(f"There is no such path: {refusal}.")
        return Addition()
    st.image(strip(made.tiles), width="stretch", alt=f"{steps} steps of the path, decoded, from left to right")
    figure = chart(made, unit(opened.thing.spec)[1], density(opened, made.z))
    st.plotly_chart(figure, key="path chart", config=STILL, alt=words)
    st.caption(words, help="Root mean square change of all values of an example, added up along the path.")
    at = choose_step(opened, made)
    return Addition(drawn(opened, made.z), looked_at(STEP, opened, made.z[at]))


def choose_step(opened: Opened, made: Film) -> int:
    """The step that is looked at; and what can be done with it and with all of them."""
    steps = len(made.z)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.session_state[STEP] = min(st.session_state.get(STEP, (steps + 1) // 2), steps)
        at = st.slider("Step", 1, steps, key=STEP, on_change=look, args=(STEP,), width=260) - 1
        st.button("Pin this step", icon=":material/keep:", on_click=keep_step, args=(made.z[at],))
        name, icon = f"{opened.folder.name}-path", ":material/download:"
        st.download_button(
            "Filmstrip PNG", lambda: filmstrip(made.tiles), f"{name}.png", "image/png", icon=icon, on_click="ignore"
        )
        st.download_button(
            "Animation GIF", lambda: gif(made.tiles, FRAME, back=True), f"{name}.gif", "image/gif", icon=icon,
            on_click="ignore",
        )  # fmt: skip
    return at
