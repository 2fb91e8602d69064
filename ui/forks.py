"""Forks on the page of a run: where it came from, and what it can become with other settings or in other hands."""

from collections.abc import Callable

import streamlit as st

from ui.owner import NO_COOKIES, attempt, owner
from ui.places import place_choice
from ui.resources import dispatcher
from ui.steer import setting_fields, settings_asked
from vae_core import runs
from vae_core.config import Config
from vae_core.forking import config_at, fork, origin, steps_per_epoch
from vae_core.runs import Run
from vae_core.steering import Settings

PAGE = "pages/train/train.py"


def fork_popover(run: Run) -> None:
    """Goes on from a checkpoint with other settings, as a run of whoever asks; nothing before there is a checkpoint."""
    steps = [int(path.name) for path in reversed(run.resumable())]
    if not steps:
        return
    with st.popover("Fork", icon=":material/fork_right:"):
        st.caption("A run of your own that goes on from a checkpoint of this one, which stays as it is.")
        step = st.selectbox("Checkpoint", steps, format_func=_moment(run.config()), key=f"fork {run.id}")
        before, prefix = config_at(run, step), f"fork {run.id} {step}"
        setting_fields(before, prefix)
        epochs = st.number_input("Epochs in all", value=before.schedule.epochs, step=1, key=f"{prefix} epochs")
        seed = st.number_input(
            "Seed", value=before.seed, step=1, key=f"{prefix} seed",
            help="Another one gives other noise and another order of the examples from here on.",
        )  # fmt: skip
        place = place_choice("fork place")
        if st.button("Fork and train", type="primary"):
            with st.spinner("Copying the checkpoint …"):
                asked = {"epochs": epochs, "seed": seed}
                attempt(run, lambda: _begin(run, step, settings_asked(before, prefix) | asked, place))
            st.rerun()


def _moment(config: Config) -> Callable[[int], str]:
    pace = steps_per_epoch(config)
    return lambda step: f"step {step:,} · epoch {step / pace:.1f}"


def _begin(parent: Run, step: int, settings: Settings, place: str) -> None:
    """A fork that waits for its turn in a place, and its page. Raises ValueError, OSError."""
    if not owner():
        raise ValueError(NO_COOKIES)
    dispatcher(place).admit(owner())
    child = fork(parent, step, settings, owner())
    dispatcher(place).submit(child)
    st.query_params["run"] = child.id


def origin_line(run: Run) -> None:
    """Which run this one was forked from, if any."""
    left = origin(run)
    if left is None:
        return
    said = f"Forked at step {left.step:,} of {left.run.rsplit('-', 1)[0]}"
    if runs.find(left.run):
        st.page_link(PAGE, label=said, icon=":material/fork_right:", query_params={"run": left.run})
    else:
        st.caption(f"{said}, which is no longer here.")
