"""The choices above the plane: which model, which plane of its latent space, and what lies under its points.

They are drawn less often than the plane under them: callbacks ask for the present address, not for the one drawn with.
"""

from dataclasses import replace

import streamlit as st
import torch

from ui import state
from ui.address import DATA, KINDS, LAYERS, Address, rounded
from ui.inspection import name_of
from ui.owner import own_runs
from ui.planes import Opened, axis_name, base_of, chosen_axes, vector_of
from ui.resources import Explored, pretrained_names
from ui.words import short
from vae_core.embedding import EMBEDDINGS

SLIDERS = 12
"""Most coordinates beside the plane that get a slider: those that carry most."""
SLIDER_REACH = 4.0
DEAD = 0.01
"""Dimensions that carry less, in nats or variance of the means, are called dead."""


def models() -> dict[str, str]:
    """Every model that can be opened, with its name on screen: own runs after the shipped ones."""
    named = {name: name for name in pretrained_names()}
    for run in own_runs():
        if run.checkpoints():
            named[run.id] = f"my run {short(run.id)}"
    return named


def choose_model(address: Address) -> None:
    options = models()
    options.setdefault(address.model, f"shared run {short(address.model)}")

    def opened() -> None:
        present = state.current()
        state.put(Address(st.session_state["model"], tool=present.tool, layer=present.layer))

    key = state.controlled("model", address.model)
    st.selectbox("Model", list(options), format_func=options.__getitem__, key=key, on_change=opened)


def choose_kind(thing: Explored, address: Address) -> None:
    """Two axes, principal components, three points, or an embedding."""
    kinds = [kind for kind in KINDS if thing.means.shape[1] > 1 or kind == "axes"]

    def turned() -> None:
        present, kind = state.current(), st.session_state["kind"]
        anchors = _first_three(thing, present) if kind == "points" else ()
        if kind == "points" and not anchors:
            state.arrive(present, ["A plane through three points needs three pins: click three places first."])
            return
        data = "sample" if kind in EMBEDDINGS else present.data
        state.put(replace(present, kind=kind, anchors=anchors, view=None, lasso=(), data=data))

    help_text = "t-SNE and UMAP keep neighbours together but cannot be decoded: a click goes to the nearest data point."
    key = state.controlled("kind", address.kind)
    st.selectbox("Plane", kinds, format_func=KINDS.__getitem__, key=key, on_change=turned, help=help_text)


def _first_three(thing: Explored, address: Address) -> tuple[tuple[float, ...], ...]:
    pins = address.pins[:3]
    return tuple(rounded(vector_of(thing, pin).tolist()) for pin in pins) if len(pins) == 3 else ()


def choose_axes(thing: Explored, address: Address) -> None:
    """Which two dimensions span the plane, the ones that carry most first."""
    unit = " nats" if thing.by_rate else ""
    chosen = chosen_axes(thing, address)

    def label(axis: int) -> str:
        weight = thing.weights[axis].item()
        return f"{axis_name(axis)}: {weight:.2f}{unit}" + (" · dead" if weight < DEAD else "")

    def turned(changed: int) -> None:
        pair = [st.session_state["axis 0"], st.session_state["axis 1"]]
        if pair[0] == pair[1]:
            pair[1 - changed] = chosen[changed]
        state.change(axes=tuple(pair), view=None, lasso=())

    carried = "KL, the nats that a dimension carries" if thing.by_rate else "the variance of the posterior means"
    help_text = f"Ordered by {carried}. “Dead”: it carries less than {DEAD}."
    for number, name in enumerate(("Across", "Up")):
        key = state.controlled(f"axis {number}", chosen[number])
        st.selectbox(name, thing.order, format_func=label, key=key, on_change=turned, args=(number,), help=help_text)


def choose_base(thing: Explored, address: Address) -> None:
    """Where the coordinates lie that the plane leaves out: at the prior's centre, at a pin, or on sliders."""
    pins = [(f"Pin {chr(65 + k)}: {name_of(thing, pin)}", pin) for k, pin in enumerate(address.pins)]
    base, axes = base_of(thing, address), chosen_axes(thing, address)

    def put(vector: torch.Tensor | None) -> None:
        state.change(base=() if vector is None else rounded(vector.tolist()), view=None)

    def slid(axis: int) -> None:
        moved = base.clone()
        moved[axis] = st.session_state[f"base {axis}"]
        put(moved)

    others = [axis for axis in thing.order if axis not in axes]
    with st.popover("Other coordinates" + (": moved" if address.base else ""), width="stretch"):
        st.caption("The plane is a slice: all other coordinates are held where you put them here.")
        with st.container(horizontal=True):
            st.button("Centre of the prior", on_click=put, args=(None,), disabled=not address.base)
            for label, pin in pins:
                st.button(label, on_click=put, args=(vector_of(thing, pin),))
        for axis in others[:SLIDERS]:
            value = max(-SLIDER_REACH, min(SLIDER_REACH, base[axis].item()))
            key = state.controlled(f"base {axis}", value)
            st.slider(axis_name(axis), -SLIDER_REACH, SLIDER_REACH, step=0.05, key=key, on_change=slid, args=(axis,))


def choose_points(opened: Opened) -> None:
    """Which three pins the plane goes through."""
    address, thing = opened.address, opened.thing
    names = {k: f"{chr(65 + k)}: {name_of(thing, pin)}" for k, pin in enumerate(address.pins)}

    def turned() -> None:
        found = st.session_state["through"]
        if len(found) == 3:
            state.change(anchors=tuple(rounded(opened.vector(address.pins[k]).tolist()) for k in found), view=None)

    st.multiselect(
        "Through three pins", list(names), format_func=names.__getitem__, max_selections=3, key="through",
        on_change=turned, placeholder="Choose three pins to turn the plane",
    )  # fmt: skip


def choose_layer(address: Address) -> None:
    def turned() -> None:
        state.change(layer=st.session_state["layer"])

    key = state.controlled("layer", address.layer)
    help_text = (
        "Decoded: what the decoder makes of each spot. Holes: where data lie, what lies between, where the decoder "
        "extrapolates. q(z)/p(z): aggregate posterior against prior. Magnification: how fast what is decoded changes."
    )
    st.selectbox(
        "Underneath", list(LAYERS), format_func=LAYERS.__getitem__, key=key, on_change=turned,
        help=help_text, disabled=address.kind in EMBEDDINGS,
    )  # fmt: skip


def choose_data(address: Address) -> None:
    def turned() -> None:
        pins = tuple(pin for pin in state.current().pins if pin.index is None)  # numbers name other examples now
        state.change(data=st.session_state["data"], pins=pins, chosen=None, lasso=())

    key = state.controlled("data", address.data)
    st.selectbox("Points", list(DATA), format_func=DATA.__getitem__, key=key, on_change=turned)
