"""Steering a run from its page: pause, single steps, slow motion, settings that change while it trains, more epochs."""

from dataclasses import replace
from typing import Any

import streamlit as st

from ui.resources import launcher
from vae_core.estimators import ESTIMATORS
from vae_core.runs import Run, Status
from vae_core.steering import steered

PACES = {0.0: "Full speed", 0.2: "5 steps a second", 1.0: "1 step a second"}
MORE = 20
REFUSED = "refused change"


def controls(run: Run, status: Status) -> None:
    """The buttons of a run that trains or waits."""
    if status.state == "paused":
        ask(run, "Resume", "play_arrow", "resume", "Goes on at once.")
        ask(run, "One step", "skip_next", "step", "One update, with every number of it shown below.")
    elif status.state == "running":
        ask(run, "Pause", "pause", "pause", "Waits where it is; nothing is lost.")
    ask(run, "Stop", "stop", "stop", "Keeps the partial model.")
    if status.state in ("running", "paused"):
        pace(run)
        change_settings(run)


def ask(run: Run, label: str, icon: str, kind: Any, help_text: str) -> None:
    st.button(label, icon=f":material/{icon}:", on_click=run.request, args=(kind,), help=help_text, key=f"{kind} run")


def pace(run: Run) -> None:
    def paced() -> None:
        run.request("pace", seconds=st.session_state["pace"])

    st.selectbox(
        "Pace", list(PACES), format_func=PACES.__getitem__, key="pace", on_change=paced, width=180,
        label_visibility="collapsed",
    )  # fmt: skip


def change_settings(run: Run) -> None:
    """Settings that may change while the run trains; each change is kept with its step and marked on the curves."""
    config = run.present_config()
    objective = config.objective

    def apply() -> None:
        asked = {name: st.session_state[f"steer {name}"] for name in ("learning_rate", "beta", "draws", "estimator")}
        present = {**vars(config.schedule), **vars(objective)}
        settings = {name: value for name, value in asked.items() if value != present[name]}
        try:
            steered(config, settings)
        except ValueError as error:
            st.session_state[REFUSED] = str(error)
            return
        st.session_state.pop(REFUSED, None)
        if settings:
            run.request("change", **settings)

    with st.popover("Change settings", icon=":material/tune:"):
        st.number_input(
            "Learning rate (peak)", value=config.schedule.learning_rate, format="%.5f", step=1e-4,
            key="steer learning_rate",
        )  # fmt: skip
        st.number_input("β", value=objective.beta, step=0.1, key="steer beta")
        st.number_input("Draws K", value=objective.draws, step=1, key="steer draws")
        names = list(ESTIMATORS)
        st.selectbox(
            "Gradient estimator", names, index=names.index(objective.estimator), key="steer estimator",
            format_func=lambda name: ESTIMATORS[name].label,
        )  # fmt: skip
        st.button("Apply from the next step on", on_click=apply, type="primary")
        if REFUSED in st.session_state:
            st.error(st.session_state[REFUSED])


def go_on(run: Run, status: Status) -> None:
    """What a run that has ended can still do: be trained on."""
    if status.state != "finished":
        if run.checkpoints():
            st.button(
                "Go on", icon=":material/play_arrow:", on_click=_start, args=(run, status),
                help="Trains on from the last checkpoint, as if it had never ended.",
            )  # fmt: skip
        return
    config = run.present_config()

    def extend() -> None:
        run.request("change", epochs=config.schedule.epochs + st.session_state["more epochs"])
        _start(run, status)

    with st.popover("Train on", icon=":material/more_time:"):
        st.number_input("More epochs", 1, 10_000 - config.schedule.epochs, MORE, key="more epochs")
        st.button("Train on", on_click=extend, type="primary", help="With a learning-rate schedule of its own.")


def _start(run: Run, status: Status) -> None:
    run.forget_requests()
    run.write_status(replace(status, state="queued", reason=""))
    launcher().start(run)
