"""Embeddings of held-out samples: made in processes of their own, kept for all sessions and routes."""

from pathlib import Path

import streamlit as st
from jaxtyping import Float
from torch import Tensor

from ui import state
from ui.address import KINDS, Address
from ui.part import part
from ui.resources import Explored, version
from vae_core.embedding import EmbeddingProcess

KEPT = 8
OFTEN = 0.5
SEED = 9
RUNNING = "embedding"

_made: dict[tuple[Path, str, str], Float[Tensor, "N 2"]] = {}


def embedding(folder: Path, method: str) -> Float[Tensor, "N 2"] | None:
    """The map of a model's held-out sample by a method of EMBEDDINGS, if it has been made."""
    return _made.get((folder, version(folder), method))


def _keep(folder: Path, method: str, points: Float[Tensor, "N 2"]) -> None:
    while len(_made) >= KEPT:
        _made.pop(next(iter(_made)))
    _made[(folder, version(folder), method)] = points


def make_embedding(folder: Path, thing: Explored, address: Address) -> None:
    """Shows that a map is being made, with a button that gives up; reruns the page when it is there."""
    running = st.session_state.get(RUNNING)
    if running is None or running[:2] != (folder, address.kind):
        if running is not None:
            running[2].cancel()
        running = (folder, address.kind, EmbeddingProcess(thing.means, address.kind, SEED))
        st.session_state[RUNNING] = running

    def give_up() -> None:
        st.session_state.pop(RUNNING)[2].cancel()
        state.change(kind="axes")

    def waiting() -> None:
        if RUNNING not in st.session_state:  # given up: a click reruns no more than this fragment
            st.rerun()
        if running[2].done():
            del st.session_state[RUNNING]
            try:
                _keep(folder, address.kind, running[2].points())
            except RuntimeError as error:
                state.arrive(Address(address.model), [f"{KINDS[address.kind]} failed: {error}."])
            st.rerun()
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(
                f":material/hourglass_top: Making the {KINDS[address.kind]} map of {len(thing.means):,} codes …"
            )
            st.button("Cancel", on_click=give_up)

    part(waiting, OFTEN)
