"""Steering a run from its page: pause, single steps, slow motion, settings that change while it trains, more epochs."""

from functools import partial
from typing import Any

import streamlit as st

from ui.owner import as_owner, refusal
from ui.places import place_choice, where
from ui.resources import dispatcher, dispatchers
from vae_core.config import Config
from vae_core.estimators import ESTIMATORS
from vae_core.rules import EPOCH_LIMIT
from vae_core.runs import Run, Status
from vae_core.steering import Settings, differences, steered

PACES = {0.0: "Full speed", 0.2: "5 steps a second", 1.0: "1 step a second"}
MORE = 20
SETTINGS = "settings"
"""The place of a run's page where they are changed, and refused."""
WEIGHTS_ONLY = "Its weights were imported without the optimiser’s state: it can be explored, but not trained on."


def controls(run: Run, status: Status) -> None:
    """The buttons of a run that trains or waits."""
    if status.state == "queued":
        stop(run, "Cancel", "close", "Takes it out of the queue; it can be started later.")
        return
    if status.state == "paused":
        ask(run, "Resume", "play_arrow", "resume", "Goes on at once.")
        ask(run, "One step", "skip_next", "step", "One update, with every number of it shown below.")
    elif status.state == "running":
        ask(run, "Pause", "pause", "pause", "Waits where it is; nothing is lost.")
    stop(run, "Stop", "stop", "Keeps the partial model.")
    if status.state in ("running", "paused"):
        pace(run, status.pace)
        change_settings(run)


def ask(run: Run, label: str, icon: str, kind: Any, help_text: str) -> None:
    st.button(
        label, icon=f":material/{icon}:", on_click=as_owner, args=(run, partial(run.request, kind)), help=help_text,
        key=f"{kind} run",
    )  # fmt: skip


def stop(run: Run, label: str, icon: str, help_text: str) -> None:
    st.button(
        label, icon=f":material/{icon}:", on_click=as_owner, args=(run, partial(dispatcher().stop, run)),
        help=help_text, key="stop run",
    )  # fmt: skip


def pace(run: Run, present: float) -> None:
    """Whoever changes it, in whichever tab: the choice shows the pace that the worker keeps to."""
    key, paces = f"pace {run.id} {present}", list(PACES)
    nearest = min(paces, key=lambda seconds: abs(seconds - present))

    def paced() -> None:
        as_owner(run, partial(run.request, "pace", seconds=st.session_state[key]))

    st.selectbox(
        "Pace", paces, index=paces.index(nearest), format_func=PACES.__getitem__, key=key, on_change=paced, width=180,
        label_visibility="collapsed",
    )  # fmt: skip


def setting_fields(config: Config, prefix: str) -> None:
    """Inputs for the settings that a run may change on its way; `settings_asked` reads them."""
    objective, names = config.objective, list(ESTIMATORS)
    st.number_input(
        "Learning rate (peak)", value=config.schedule.learning_rate, format="%.5f", step=1e-4,
        key=f"{prefix} learning_rate",
    )  # fmt: skip
    st.number_input("β", value=objective.beta, step=0.1, key=f"{prefix} beta")
    st.number_input("Draws K", value=objective.draws, step=1, key=f"{prefix} draws")
    st.selectbox(
        "Gradient estimator", names, index=names.index(objective.estimator), key=f"{prefix} estimator",
        format_func=lambda name: ESTIMATORS[name].label,
    )  # fmt: skip


def settings_asked(config: Config, prefix: str) -> Settings:
    """What differs from the recipe. Raises ValueError for what does not fit."""
    asked = {name: st.session_state[f"{prefix} {name}"] for name in ("learning_rate", "beta", "draws", "estimator")}
    return differences(config, steered(config, asked))


def change_settings(run: Run) -> None:
    """Settings that may change while the run trains; each change is kept with its step and marked on the curves."""
    config, prefix = run.present_config(), f"steer {run.id}"

    def apply() -> None:
        settings = settings_asked(config, prefix)
        if settings:
            run.request("change", **settings)

    with st.popover("Change settings", icon=":material/tune:"):
        setting_fields(config, prefix)
        st.button("Apply from the next step on", on_click=as_owner, args=(run, apply, SETTINGS), type="primary")
        refusal(run, SETTINGS)


def go_on(run: Run, status: Status) -> None:
    """What a run that has ended can still do: be trained on."""
    begun = bool(run.checkpoints())
    if begun and not run.resumable():
        st.caption(WEIGHTS_ONLY)
        return
    if status.state != "finished":
        how = "Trains on from the last checkpoint, as if it had never ended." if begun else "From the first step."
        for place, there in dispatchers().items():
            st.button(
                f"{'Go on' if begun else 'Start again'}{where(place)}", icon=":material/play_arrow:",
                on_click=as_owner, args=(run, partial(there.submit, run)), key=f"go on {place}", help=how,
            )  # fmt: skip
        return
    config, key = run.present_config(), f"more epochs {run.id}"
    room = EPOCH_LIMIT - config.schedule.epochs
    if room < 1:
        return

    def extend() -> None:
        epochs = config.schedule.epochs + st.session_state[key]
        dispatcher(place).submit(run, {"epochs": epochs})

    with st.popover("Train on", icon=":material/more_time:"):
        st.number_input("More epochs", 1, room, min(MORE, room), key=key)
        place = place_choice()
        st.button(
            "Train on", on_click=as_owner, args=(run, extend), type="primary",
            help="With a learning-rate schedule of its own.",
        )  # fmt: skip
