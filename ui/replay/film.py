"""The replay of a run as a GIF to keep."""

from collections.abc import Callable

import streamlit as st

from ui.exports import animation
from ui.moments import Reel, even, moment
from ui.replay.frames import frame
from vae_core.datasets import DATASETS
from vae_core.runs import DamagedRun, Run, load_tensors

MOST = 60
"""Frames: of a run with more snapshots, so many are taken."""
MILLISECONDS = 120
LINGER = 10
"""How many times as long the last frame stays."""
MADE = "film"
"""In the session: the last film, after what it is of."""


def film(run: Run, reel: Reel, on_progress: Callable[[float], object]) -> bytes:
    """A GIF of at most MOST moments of a run, evenly chosen; `on_progress` is told the share drawn. Raises
    DamagedRun."""
    spec, steps = DATASETS[run.config().dataset], even(tuple(reel.said), MOST)
    pictures = []
    for number, step in enumerate(steps):
        on_progress(number / len(steps))
        seen = moment(load_tensors(run.snapshot_path(step)), reel.axes)
        pictures.append(frame(seen, spec, reel.half, reel.said[step]))
    return animation(pictures + pictures[-1:] * LINGER, MILLISECONDS)


def film_button(run: Run, reel: Reel) -> None:
    """Makes the film when asked to, and then gives it. No fragment of its own: the page calls this in one that runs
    again by itself, and of two such, one within the other, the inner one's elements may arrive before their place."""
    own, place, made = (run.id, *reel.said), st.empty(), st.session_state.get(MADE)
    if not made or made[0] != own:
        if not place.button("Make a GIF", icon=":material/movie:", help=f"At most {MOST} moments, evenly chosen."):
            return
        try:
            drawn = film(run, reel, lambda share: place.progress(share, "Drawing …"))
        except DamagedRun as error:
            place.error(f"There is no film of a damaged run: {error}.")
            return
        made = st.session_state[MADE] = own, drawn
    place.download_button(
        "Save the GIF", made[1], f"{run.id}.gif", "image/gif", icon=":material/download:", on_click="ignore"
    )
