"""The tool that decodes one z with every chosen model whose latent space has that size."""

import re
from collections import Counter

import streamlit as st
import torch

from ui.address import Vector, read_number, rounded, write_number
from ui.choices import SLIDER_REACH, SLIDERS
from ui.mirror import controlled
from ui.planes import axis_name
from ui.resources import CPU
from ui.runs.chosen import Chosen, opened
from ui.runs.pictures import Shown, side_by_side
from ui.tools.picking import kept
from vae_core.datasets import DATASETS
from vae_core.training import generator_for

PLACE, DRAWN = "same z", "same z draws"
BETWEEN = re.compile(r"[\s,;]+")


def sizes(chosen: Chosen) -> list[int]:
    """Sizes of the latent spaces of the chosen models, the most frequent first."""
    return [size for size, _ in Counter(run.config.model.layers[0] for run in chosen.runs).most_common()]


def read_place(text: str, size: int) -> Vector:
    """A typed latent vector. Raises ValueError naming what is wrong with it."""
    words = [word for word in BETWEEN.split(text.strip()) if word]
    if len(words) != size:
        raise ValueError(f"z has {len(words)} numbers, but these models take {size}.")
    try:
        return rounded([read_number(word.replace("−", "-")) for word in words])
    except ValueError as error:
        raise ValueError(f"z cannot be read: {error}.") from error


def said(place: Vector) -> str:
    return ", ".join(map(write_number, place))


def show(chosen: Chosen) -> None:
    offered = sizes(chosen)
    if not offered:
        st.info("Choose runs in the table: what each makes of one and the same z is shown here.")
        return
    size = offered[0]
    if len(offered) > 1:
        st.caption("The chosen models have latent spaces of different sizes; a z belongs to those of one size.")
        size = st.segmented_control(
            "Latent dimensions", offered, required=True, key=kept("same z size", offered, size), width="content"
        ) or size  # fmt: skip
    place = choose(size)
    models = opened([run for run in chosen.runs if run.config.model.layers[0] == size])
    for name in dict.fromkeys(run.config.dataset for run, _ in models):
        found = [
            Shown(run.label, thing.decode(torch.tensor([place]))[0], run.look.colour)
            for run, thing in models
            if run.config.dataset == name
        ]
        side_by_side(DATASETS[name], found, f"same z {name}")
    st.caption("The mean of p(x|z). The same coordinate means another thing in another model.")


def choose(size: int) -> Vector:
    """One z for all models: typed, drawn, or on sliders where there are few enough dimensions."""
    place: Vector = st.session_state.get(PLACE, ())
    if len(place) != size:
        place = (0.0,) * size
    st.session_state[PLACE] = place
    with st.container(horizontal=True, vertical_alignment="bottom"):
        _typed(place)
        st.button("Centre", on_click=_put, args=((0.0,) * size,), help="z = 0")
        st.button("Draw from N(0, I)", icon=":material/casino:", on_click=_draw, args=(size,))
    if size <= SLIDERS:
        _sliders(place)
    return place


def _put(place: Vector) -> None:
    st.session_state[PLACE] = place


def _draw(size: int) -> None:
    st.session_state[DRAWN] = st.session_state.get(DRAWN, 0) + 1
    draw = torch.randn(size, generator=generator_for(CPU, st.session_state[DRAWN]))
    _put(rounded(draw.tolist()))


def _typed(place: Vector) -> None:
    refused = "same z refused"

    def taken() -> None:
        try:
            _put(read_place(st.session_state["same z typed"], len(place)))
            st.session_state.pop(refused, None)
        except ValueError as error:
            st.session_state[refused] = str(error)

    key = controlled("same z typed", said(place))
    st.text_input("z, numbers with commas", key=key, on_change=taken, width=420)
    if refused in st.session_state:
        st.warning(st.session_state.pop(refused))


def _sliders(place: Vector) -> None:
    def slid(axis: int) -> None:
        _put((*place[:axis], st.session_state[f"same z {axis}"], *place[axis + 1 :]))

    columns = st.columns(min(len(place), 4))
    for axis, value in enumerate(place):
        key = controlled(f"same z {axis}", max(-SLIDER_REACH, min(SLIDER_REACH, value)))
        with columns[axis % len(columns)]:
            st.slider(axis_name(axis), -SLIDER_REACH, SLIDER_REACH, step=0.05, key=key, on_change=slid, args=(axis,))
