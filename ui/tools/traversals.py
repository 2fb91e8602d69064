"""The tool of traversals: every dimension of the code moved by itself, the one that carries most first."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import plotly.graph_objects as go
import streamlit as st
import torch
from jaxtyping import Float, Int, UInt8
from plotly.subplots import make_subplots
from torch import Tensor

from ui.address import Vector
from ui.choices import DEAD
from ui.exports import lattice_png
from ui.planes import Opened, axis_name
from ui.resources import CPU, Explored, explored, version
from ui.tiles import tiles
from ui.tools.addition import Addition
from ui.tools.picking import CENTRE, kept, said, vector
from ui.tools.strips import GAP, SHARP, STILL, dressed, in_view, places, profile_lines, shades, strip
from ui.words import signed
from vae_core.datasets import Spec
from vae_core.generation import can_draw
from vae_core.ranges import prior_range
from vae_core.training import generator_for
from vae_core.traversals import quantile_range, spans, traversal

SOURCES = {"prior": "Prior", "posterior": "Posterior means"}
REACHES = (0.25, 0.1, 0.05, 0.01, 0.001)
STEPS = (5, 21)
FEW = 24
"""Rows that are shown unless all are asked for."""
RANGE_SEED = 12
ACROSS = 3
PANEL = 130
"""Pixels that a row of small charts is high."""


@dataclass(frozen=True)
class Rows:
    """R dimensions in the order of what they carry, the S values that each takes, and the decoded values."""

    order: Int[Tensor, "R"]
    values: Float[Tensor, "R S"]
    decoded: Float[Tensor, "R S D"]


def value_range(thing: Explored, source: str, reach: float) -> tuple[Float[Tensor, "H"], Float[Tensor, "H"]]:
    """The quantiles `reach` and 1 - `reach` of every dimension, of the prior or of the posterior means."""
    if source == "prior":
        return prior_range(thing.model, reach, generator=generator_for(CPU, RANGE_SEED))
    return quantile_range(thing.means, reach)


@lru_cache(maxsize=4)
def rows_of(
    folder: Path, token: str, data: str, centre: Vector, source: str, reach: float, steps: int, count: int
) -> Rows:
    """The `count` dimensions that carry most, moved around `centre`; `token` is the model's `version`."""
    thing = explored(folder, data)
    order = torch.tensor(thing.order[:count])
    values = spans(*value_range(thing, source, reach), steps)
    z = traversal(values, torch.tensor(centre)).unflatten(0, values.shape)[order]
    return Rows(order, values[order], torch.stack([thing.decode(row) for row in z]))


def row_name(thing: Explored, axis: int) -> str:
    """A dimension with what it carries."""
    weight = thing.weights[axis].item()
    carried = f"{weight:.2f} nats" if thing.by_rate else f"variance {weight:.2f}"
    return f"{axis_name(axis)} · {carried}" + (" · dead" if weight < DEAD else "")


def row_tiles(made: Rows, spec: Spec) -> UInt8[Tensor, "R S h w"]:
    return tiles(made.decoded.flatten(0, 1), spec.shape, SHARP).unflatten(0, made.values.shape)


def charts(made: Rows, spec: Spec, names: list[str]) -> go.Figure:
    """One small chart a dimension, a line for every value from low (dark) to high (light)."""
    across = min(ACROSS, len(names))
    down = -(-len(names) // across)
    figure = make_subplots(
        down, across, subplot_titles=names,
        horizontal_spacing=0.03, vertical_spacing=min(0.3, 0.35 / down),
    )  # fmt: skip
    for number, (values, profiles) in enumerate(zip(made.values.tolist(), made.decoded, strict=True)):
        at = {"row": number // across + 1, "col": number % across + 1}
        lines = profile_lines(spec, profiles, [f"z = {signed(value)}" for value in values], shades(len(values)))
        figure.add_traces(lines, rows=[at["row"]] * len(lines), cols=[at["col"]] * len(lines))
    word = places(spec)[1]
    figure.update_xaxes(matches="x", showticklabels=False, fixedrange=True, showgrid=False)
    figure.update_xaxes(title=word, row=down)
    figure.update_yaxes(matches="y", fixedrange=True, nticks=3, ticklabelposition="inside top")
    figure.update_annotations(font_size=12)
    return dressed(figure, 60 + PANEL * down)


def choose(opened: Opened) -> tuple[Vector, str, float, int]:
    """The centre, whose quantiles make the range, how far it reaches, and the number of steps."""
    pins, sources = (CENTRE, *opened.address.pins), list(SOURCES)[0 if can_draw(opened.thing.model) else 1 :]
    columns = st.columns([1.3, 1, 1, 1.2])
    centre = columns[0].selectbox(
        "Around", pins, format_func=lambda pin: said(opened, pin),
        key=kept("traversal centre", pins, CENTRE), help="Where all the other dimensions stay.",
    )  # fmt: skip
    source = columns[1].selectbox(
        "Range of the", sources, format_func=SOURCES.__getitem__, key=kept("traversal source", sources, sources[0]),
        help="Whose quantiles each dimension runs between: the prior’s, or those of the means of q(z|x) of all points.",
    )  # fmt: skip
    reach = columns[2].selectbox(
        "Quantiles", REACHES, 2, format_func=lambda reach: f"{100 * reach:g} … {100 - 100 * reach:g} %",
        key="traversal reach",
    )  # fmt: skip
    steps = columns[3].slider("Steps", *STEPS, 9, 2, key="traversal steps")
    return vector(opened, centre), source, reach, steps


def show(opened: Opened) -> Addition:
    thing = opened.thing
    size, dead = len(thing.weights), int((thing.weights < DEAD).sum())
    chosen = choose(opened)
    with st.container(horizontal=True, vertical_alignment="center"):
        carry = "KL, what it carries" if thing.by_rate else "the variance of its posterior means"
        st.caption(
            f"Ordered by {carry}. {dead} of {size} dead.", help=f"Dead: less than {DEAD}. Moving it does nothing."
        )
        every = size > FEW and st.toggle(f"Show all {size}", key="traversal all")
    with st.spinner("Decoding …", show_time=True):
        made = rows_of(
            opened.folder, version(opened.folder), opened.address.data, *chosen, size if every else min(size, FEW)
        )
    names = [row_name(thing, axis) for axis in made.order.tolist()]
    pictures = row_tiles(made, thing.spec)
    if thing.spec.kind == "profile":
        _charts(made, thing.spec, names)
    else:
        _grid(made, names, pictures)
    st.download_button(
        "Save as PNG", lambda: lattice_png(pictures.flatten(0, 1), pictures.shape[1]),
        f"{opened.folder.name}-traversals.png", "image/png", icon=":material/download:", on_click="ignore",
    )  # fmt: skip
    return Addition()


def _grid(made: Rows, names: list[str], pictures: UInt8[Tensor, "R S h w"]) -> None:
    """One picture a dimension, with its name and its range before it."""
    width = pictures.shape[1] * (pictures.shape[3] + 2 * GAP)
    for name, values, row in zip(names, made.values.tolist(), pictures, strict=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.caption(f"**{name}**  \n{signed(values[0])} … {signed(values[-1])}", width=150)
            st.image(strip(row), width=width, alt=f"{name}: decoded from {signed(values[0])} to {signed(values[-1])}")


def _charts(made: Rows, spec: Spec, names: list[str]) -> None:
    quantity = in_view(spec, made.decoded)[1]
    words = (
        f"Decoded {quantity} by {places(spec)[1]}: one line a value of the dimension, dark where low, light where high."
    )
    st.plotly_chart(charts(made, spec, names), key="traversal charts", config=STILL, alt=words)
    st.caption(words)
