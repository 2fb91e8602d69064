"""What several models make of one thing, side by side: pictures, or profiles as lines of one chart."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
import streamlit as st
from jaxtyping import Real
from torch import Tensor

from ui.exports import png
from ui.tiles import tiles
from ui.tools.strips import STILL, dressed, in_view, places, profile_lines
from vae_core.datasets import Spec

WIDTH = 132
CHART = 360
FEATURE_ROOM, PLAIN_ROOM = 130, 64
INK = "#717581"


@dataclass(frozen=True)
class Shown:
    """An example in stored or decoded values, named, in the colour it has in all charts."""

    name: str
    values: Real[Tensor, "D"]
    colour: str = INK


def side_by_side(spec: Spec, examples: Sequence[Shown], key: str) -> None:
    if spec.kind == "image":
        _pictures(spec, examples)
    else:
        _profiles(spec, examples, key)


def _pictures(spec: Spec, examples: Sequence[Shown]) -> None:
    with st.container(horizontal=True, gap="small"):
        for example in examples:
            with st.container(width=WIDTH, gap="xxsmall"):
                st.image(png(tiles(example.values[None], spec.shape, WIDTH)[0]), width=WIDTH, alt=example.name)
                st.caption(example.name)


def _profiles(spec: Spec, examples: Sequence[Shown], key: str) -> None:
    lines = [line for e in examples for line in profile_lines(spec, e.values[None], [e.name], [e.colour])]
    word, quantity = places(spec)[1], in_view(spec, examples[0].values)[1]
    figure = go.Figure(lines).update_xaxes(title="" if spec.features else word).update_yaxes(title=quantity)
    room = {"showlegend": True, "margin_b": FEATURE_ROOM if spec.features else PLAIN_ROOM, "margin_autoexpand": True}
    names = ", ".join(example.name for example in examples)
    st.plotly_chart(dressed(figure, CHART).update_layout(room), config=STILL, key=key, alt=f"Lines: {names}.")
