"""The tool of attribute vectors: the way from one group of examples to another, walked from any place."""

import plotly.graph_objects as go
import streamlit as st
import torch
from jaxtyping import Float
from torch import Tensor

from ui.planes import Opened
from ui.resources import version
from ui.theme import PALETTE
from ui.tiles import decoded_tiles
from ui.tools.addition import Addition
from ui.tools.groups import REST, Attribute, attribute, group_name, groups, sides
from ui.tools.picking import CENTRE, drawn, keep, kept, look, looked_at, said, vector
from ui.tools.strips import SHARP, STILL, dressed, in_view, places, profile_lines, strip
from ui.words import signed
from vae_core.datasets import Spec
from vae_core.separation import LEVEL

REACH, STEP = 3.0, 0.5
TIMES = "attribute times"
LARGE = 140
"""Pixels that the pictures before and after are wide at least."""


def walk(start: Float[Tensor, "H"], step: Float[Tensor, "H"]) -> Float[Tensor, "S H"]:
    """From -REACH to REACH times the vector."""
    times = torch.linspace(-REACH, REACH, round(2 * REACH / STEP) + 1)
    return start + times[:, None] * step


def chart(spec: Spec, profiles: Float[Tensor, "2 D"]) -> go.Figure:
    """A profile before and after."""
    lines = profile_lines(spec, profiles, ("before", "after"), (PALETTE[3], PALETTE[6]))
    figure = dressed(go.Figure(lines), 280)
    figure.update_xaxes(title=places(spec)[1], showticklabels=not spec.features, fixedrange=True)
    figure.update_yaxes(title=in_view(spec, profiles)[1], fixedrange=True, automargin=True)
    return figure.update_layout(showlegend=True, legend={"orientation": "h", "y": 1.12}, margin={"autoexpand": True})


def choose(opened: Opened) -> tuple[int, int, float]:
    """The two groups, and how many times the vector between them is added."""
    spec, y, region = opened.thing.spec, opened.thing.data.y, opened.inside()
    first = groups(y, region)
    second = [REST, *first]
    columns = st.columns([1, 1, 1.5])
    towards = columns[0].selectbox(
        "Towards", first, format_func=lambda group: group_name(spec, group),
        key=kept("attribute towards", first, first[0]), help="Box or Lasso above the plane selects a region.",
    )  # fmt: skip
    away = columns[1].selectbox(
        "Away from", second, format_func=lambda group: group_name(spec, group), key=kept("attribute away", second, REST)
    )
    times = columns[2].slider(
        "Times the vector", -REACH, REACH, 1.0, 0.1, key=TIMES, on_change=look, args=(TIMES,),
        help="1 is the whole way from the mean of one group to the mean of the other.",
    )  # fmt: skip
    return towards, away, times


def show(opened: Opened) -> Addition:
    thing, region = opened.thing, opened.inside()
    towards, away, times = choose(opened)
    having, lacking = sides(thing.data.y, region, towards, away)
    if not lacking.any():
        st.info("Nothing is left to go away from: choose two different groups.")
        return Addition()
    with st.spinner("Comparing the groups …", show_time=True):
        masks = having.numpy().tobytes(), lacking.numpy().tobytes()
        found = attribute(opened.folder, version(opened.folder), opened.address.data, *masks)
    start = torch.tensor(vector(opened, opened.address.pin or CENTRE))
    end, way = start + times * found.vector, walk(start, found.vector)
    before_and_after(opened, torch.stack([start, end]), times)
    st.image(strip(decoded_tiles(thing, way, SHARP)), width="stretch", alt="The decoded, from −3 to 3 times the vector")
    st.caption(
        f"From −{REACH:g} to {REACH:g} times the vector, in steps of {STEP:g}; the middle one is where it starts."
    )
    say(found, (int(having.sum()), int(lacking.sum())))
    st.button("Pin the result", icon=":material/keep:", on_click=keep, args=(end,))
    return Addition(drawn(opened, way), looked_at(TIMES, opened, end))


def before_and_after(opened: Opened, z: Float[Tensor, "2 H"], times: float) -> None:
    thing, pin = opened.thing, opened.address.pin
    if thing.spec.kind == "profile":
        figure = chart(thing.spec, thing.decode(z))
        st.plotly_chart(figure, key="attribute chart", config=STILL, alt="The decoded profile before and after")
    else:
        pictures = list(decoded_tiles(thing, z, LARGE).numpy())
        st.image(pictures, caption=["Before", f"{signed(times, 1)} times"], width=LARGE, alt=["Before", "After"])
    st.caption(f"Start: {said(opened, pin or CENTRE)}." + ("" if pin else " Choose a pin to start there."))


def say(found: Attribute, counts: tuple[int, int]) -> None:
    """How well the vector separates the groups."""
    if found.separation is None:
        st.caption(f"How well it separates cannot be said: {found.refusal}.")
        return
    d, level = found.separation, f"{100 * LEVEL:g} %"
    st.markdown(
        f"**Separation {signed(d.distance)} sd** ({level} interval {signed(d.low)} … {signed(d.high)}),"
        f" {counts[0]:,} against {counts[1]:,} examples.",
        help="Distance of the two groups’ means along the vector, in their pooled standard deviation (sd). Interval: "
        "bootstrap of the examples, with the vector held. The same examples made the vector, so small groups look "
        "better than they are.",
    )
