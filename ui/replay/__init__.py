"""The replay of a run: a slider that takes the latent plane and the curves of the same page through its snapshots.

It fetches the snapshots itself, ahead of time, and hands them on as a window event `elbo-room-moment`, to which the
plane and the curves of that run listen: a frame needs no word from the server.
"""

from pathlib import Path

import streamlit as st
from streamlit.components.v2 import component

from ui.moments import reel
from ui.replay.film import film_button
from vae_core.runs import DamagedRun, Run

HERE = Path(__file__).parent


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


_component = component("elbo_room.replay", html=_read("replay.html"), css=_read("replay.css"), js=_read("replay.js"))


def replay(run: Run) -> None:
    """A slider over a run's moments, with what each was in words, and the film of them; nothing where there is but one
    moment to be seen."""
    try:
        through = reel(run)
    except DamagedRun as error:
        st.caption(f"This run cannot be replayed: {error}.")
        return
    if len(through.said) < 2:
        return
    data = {
        "base": f"/api/runs/{run.id}/",
        "axes": "_".join(map(str, through.axes)),
        "half": through.half,
        "moments": list(through.said.items()),
    }
    _component(key=f"replay-{run.id}", data=data)
    film_button(run, through)
