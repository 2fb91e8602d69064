"""Explore: a trained model's latent space, plane by plane. Hover to decode, click to keep, then ask."""

from pathlib import Path

import streamlit as st

from ui import state
from ui.acting import acted, overlay, sources
from ui.address import DATA, KINDS, TOOLS, Address, read
from ui.choices import (
    choose_axes,
    choose_base,
    choose_data,
    choose_kind,
    choose_layer,
    choose_model,
    choose_points,
)
from ui.embeddings import embedding, make_embedding
from ui.inspection import truth
from ui.latent_plane import latent_plane
from ui.part import part
from ui.planes import Opened, limits, view_of
from ui.resources import PREFERRED, Explored, explored, landscape_of, locate
from ui.tools import SHOW
from ui.tools.addition import Addition
from ui.words import bound_note, prior_note, recipe_line
from vae_core.datasets import DataUnavailable
from vae_core.embedding import EMBEDDINGS
from vae_core.runs import DamagedRun, Run

KEY = "plane"
FLAT = ("axes", "principal")
OFTEN = 1.0
"""Seconds after which a page looks whether the model's landscape has been measured."""


def arrive() -> None:
    """Takes over the address of the browser, unless it is the one that this page wrote."""
    asked = state.asked()
    if asked is None:
        return
    model, notices = asked.get("model", PREFERRED), []
    if locate(model) is None:
        notices.append(f"There is no model “{model[:60]}” here; this is {PREFERRED}.")
        model, asked = PREFERRED, {}
    folder = locate(model)
    assert folder is not None
    state.arrive(Address(model), notices)
    data = asked.get("data", "sample")
    try:
        address, more = read(asked, model, limits(explored(folder, data if data in DATA else "sample")))
    except (DamagedRun, DataUnavailable):
        return  # what follows says so, under a box to choose another model
    state.arrive(address, notices + more)


def choose(folder: Path, thing: Explored, address: Address) -> None:
    """Which plane, what lies on and under it, and a place on it."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        choose_kind(thing, address)
        choose_layer(address)
        choose_data(address)
        if address.kind in FLAT:
            typed(folder, thing, address)
    if is_slice(thing, address):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            choose_axes(thing, address)


def is_slice(thing: Explored, address: Address) -> bool:
    """Whether the plane leaves out coordinates that can be put elsewhere."""
    return thing.means.shape[1] > 2 and address.kind == "axes"


def typed(folder: Path, thing: Explored, address: Address) -> None:
    """The coordinates of a place, to be typed."""
    opened = Opened(folder, thing, view_of(folder, address), address)
    names = [name for name in opened.drawn.names if name]

    def keep() -> None:
        at = [st.session_state.get(f"typed {k}", 0.0) for k in range(2)]
        state.put(state.current().with_pin(opened.drawn.pin(at)))

    with st.popover("Type coordinates", width="stretch"):
        for number, name in enumerate(names):
            st.number_input(name, -100.0, 100.0, 0.0, 0.1, key=f"typed {number}")
        st.button("Pin this place", on_click=keep)


def how_far(opened: Opened, index: int) -> None:
    """The exact log p(x) of the chosen example and the two gaps, when asked for."""
    if not st.button("How far is this bound from the truth?", icon=":material/straighten:"):
        return
    with st.spinner("Integrating over the whole latent plane, and looking for the best posterior …", show_time=True):
        try:
            found = truth(opened.thing, index)
        except ValueError as error:
            st.warning(str(error))
            return
    with st.container(horizontal=True, gap="small"):
        for label, value, help_text in found:
            st.metric(label, value, help=help_text, width="content")
    st.caption("log p(x) − ELBO = KL(q(z|x) ‖ p(z|x)) = approximation gap + amortisation gap, in nats.")


def choose_tool(address: Address) -> str:
    """What is asked about the plane, underneath it."""
    key = state.controlled("tool", address.tool or None)

    def turned() -> None:
        state.change(tool=st.session_state[key] or "")

    st.segmented_control(
        "Tools", list(TOOLS), format_func=TOOLS.__getitem__, key=key, on_change=turned, label_visibility="collapsed"
    )
    return address.tool


def caption(thing: Explored, address: Address) -> str:
    """What is seen, in words."""
    config, kind = thing.config, address.kind
    if kind in EMBEDDINGS:
        return f"Dots are {KINDS[kind]}’s places of {len(thing.data):,} posterior means. {EMBEDDINGS[kind].help}"
    others = thing.means.shape[1] - 2
    held = "other coordinate held" if others == 1 else f"{others} other coordinates held"
    slice_note = f", the {held}" if is_slice(thing, address) else ""
    return (
        f"Dots are posterior means of {len(thing.data):,} examples, over what the decoder makes there{slice_note}. "
        f"Lines enclose 50, 90 and 99 % of the aggregate posterior q(z), smoothed. {prior_note(config)} "
        f"Numbers are in nats per example. {bound_note(config)}"
    )


def draw(opened: Opened, added: Addition) -> None:
    """The plane itself, under the choices that offer pins."""
    if opened.address.kind == "points":
        choose_points(opened)
    if is_slice(opened.thing, opened.address):
        choose_base(opened.thing, opened.address)
    latent_plane(KEY, sources(opened), overlay(opened, added.paths, added.shown), lambda: acted(KEY, opened))


def show(opened: Opened, with_tools: bool) -> None:
    """The plane, and what is asked about it underneath. A tool says what it adds to the plane before that is drawn."""
    address, added = opened.address, Addition()
    stage = st.container() if with_tools else None
    if with_tools:
        st.caption(caption(opened.thing, address))
        tool = choose_tool(address)
        added = SHOW[tool](opened) if tool else added
    if stage is None:
        draw(opened, added)
    else:
        with stage:
            draw(opened, added)
    if address.pin is not None and address.pin.index is not None and opened.thing.exact:
        how_far(opened, address.pin.index)


def explore(folder: Path, thing: Explored, with_tools: bool) -> None:
    """What the address shows; what is done on it reruns this fragment alone, which therefore holds no more than it
    must: every widget in it is drawn again with every pin."""
    measuring = not landscape_of(folder).done()

    def body() -> None:
        if measuring and landscape_of(folder).done():
            st.rerun()
        address = state.current()
        try:
            drawn = view_of(folder, address)
        except ValueError as refusal:
            st.error(f"This view cannot be shown: {refusal}.")
        else:
            show(Opened(folder, thing, drawn, address), with_tools)
        state.mirror()

    part(body, OFTEN if measuring else None)


title, choice = st.columns([1, 1.6], vertical_alignment="bottom", gap="large")
title.title("Latent plane")
try:
    with st.spinner("Loading the model …", show_time=False):
        arrive()
        address = state.current()
        folder = locate(address.model)
        assert folder is not None
        with choice:
            choose_model(address)
        thing = explored(folder, address.data)
        landscape_of(folder)
    st.caption(f"{thing.spec.label} · {recipe_line(Run(folder).present_config())}")
    for notice in state.notices():
        st.warning(notice)
    choose(folder, thing, address)
    if address.kind in EMBEDDINGS and address.data == "sample" and embedding(folder, address.kind) is None:
        make_embedding(folder, thing, address)
    else:
        explore(folder, thing, with_tools=bool(address.tool))
        if not address.tool:
            st.caption(caption(thing, address))
            choose_tool(address)
except (DamagedRun, DataUnavailable) as damage:
    st.error(f"This model cannot be opened: {damage}")
