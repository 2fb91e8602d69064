"""The tool of lattices and samples: what a plane decodes to everywhere, and what the model makes up by itself."""

import streamlit as st

from ui.address import KINDS
from ui.lattices import (
    Grid,
    decodable,
    lattice_picture,
    lattice_words,
    samples_picture,
    why_not_equal,
    why_one_temperature,
)
from ui.planes import Drawn, Opened
from ui.resources import Explored, version
from ui.tools.addition import Addition
from vae_core.generation import can_draw, can_warm

LATTICE, SAMPLES = "Lattice", "Samples from the prior"
EVEN, EQUAL = "Even in z", "Equal prior probability"
SIDES, SAMPLE_SIDES = (2, 40), (5, 20)
START = {"image": 20, "profile": 10}
WIDTH = 640
SEED = "samples drawn"


def show(opened: Opened) -> Addition:
    what = st.segmented_control(
        "Show", [LATTICE, SAMPLES], default=LATTICE, required=True, key="lattice or samples",
        label_visibility="collapsed",
    )  # fmt: skip
    if what == SAMPLES:
        _samples(opened)
    else:
        _lattice(opened)
    return Addition()


def _lattice(opened: Opened) -> None:
    drawn, plane = decodable(opened)
    if opened.drawn.plane is None:
        st.info(
            f"Nothing can be decoded from a {KINDS[opened.address.kind]} map: this is the lattice of {drawn.names}."
        )
    grid = _choose_grid(opened, drawn)
    if grid is None:
        return
    origin, basis = tuple(plane.origin.tolist()), tuple(tuple(row) for row in plane.basis.tolist())
    with st.spinner(f"Decoding {grid.side**2:,} places …", show_time=True):
        png = lattice_picture(opened.folder, version(opened.folder), origin, basis, grid)
    _picture(png, lattice_words(drawn, grid), f"{opened.folder.name}-lattice.png")


def _choose_grid(opened: Opened, drawn: Drawn) -> Grid | None:
    view, in_view = opened.address.view, False
    with st.container(horizontal=True, vertical_alignment="bottom"):
        steps = st.segmented_control(
            "Steps", [EVEN, EQUAL], default=EVEN, required=True, key="lattice steps",
            help="Even in z: the plane as it lies. Equal prior probability: even steps through the inverse Gaussian "
            "distribution function, so that every tile stands for the same share of the prior (AEVB, figure 4).",
        )  # fmt: skip
        side = st.slider("Tiles a side", *SIDES, START[opened.thing.spec.kind], key="lattice side", width=220)
        if steps == EVEN:
            in_view = st.toggle(
                "Only the part in view", key="lattice in view", disabled=view is None or opened.drawn.plane is None,
                help="Zoom or move the plane first: the wheel, + and −, or dragging.",
            )  # fmt: skip
    why = why_not_equal(opened.thing) if steps == EQUAL else ""
    if why:
        st.info(why)
        return None
    if in_view and view is not None and opened.drawn.plane is not None:
        return Grid(side, False, (view.x, view.y), view.half)
    return Grid(side, steps == EQUAL, (0.0, 0.0), drawn.extent)


def _samples(opened: Opened) -> None:
    thing = opened.thing
    if not can_draw(thing.model):
        st.info("A plain autoencoder has no prior to draw from. Train with a prior to see what the model makes up.")
        return
    side, temperature = _choose_samples(thing)
    seed = st.session_state.get(SEED, 0)
    with st.spinner(f"Decoding {side**2:,} draws …", show_time=True):
        png = samples_picture(opened.folder, version(opened.folder), side, temperature, seed)
    note = why_one_temperature(thing) or f"Temperature {temperature:g}."
    words = f"{side}×{side} means of p(x|z) at draws of the prior (AEVB, figure 5). {note}"
    _picture(png, words, f"{opened.folder.name}-samples-{seed}.png")


def _choose_samples(thing: Explored) -> tuple[int, float]:
    def again() -> None:
        st.session_state[SEED] = st.session_state.get(SEED, 0) + 1

    with st.container(horizontal=True, vertical_alignment="bottom"):
        side = st.slider("Samples a side", *SAMPLE_SIDES, 10, key="samples side", width=220)
        temperature = st.slider(
            "Temperature", 0.0, 2.0, 1.0, 0.05, key="samples temperature", width=220,
            disabled=not can_warm(thing.model),
            help="How far from the prior’s mean, as a share of the drawn distance: 0 is the mean itself, 1 the prior, "
            "above 1 rarer than the prior has it.",
        )  # fmt: skip
        st.button("Draw again", icon=":material/casino:", on_click=again)
    return side, temperature if can_warm(thing.model) else 1.0


def _picture(png: bytes, words: str, name: str) -> None:
    with st.container(width=WIDTH):
        st.image(png, width="stretch", caption=words, alt=words)
    st.download_button("Save as PNG", png, name, "image/png", icon=":material/download:", on_click="ignore")
