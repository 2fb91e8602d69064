"""Train: choose, press, watch. With `?run=…` in the address it shows that run, in any tab, going on."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import streamlit as st

from ui.controls import dataset_choice, download_note, training_form
from ui.forks import fork_popover, origin_line
from ui.latent_plane import Sources, latent_plane
from ui.live_curves import live_curves, prepare_curves
from ui.owner import NO_COOKIES, in_words, may_steer, own_runs, owner, refusal
from ui.part import part
from ui.pictures import sample_strip
from ui.places import place_choice
from ui.pulse import pulse, signs
from ui.reading import reading, show_notes, spoken
from ui.replay import replay
from ui.resources import dispatcher
from ui.steer import controls, go_on
from ui.step_graph import step_graph
from ui.theme import TERMS
from ui.words import (
    bound_note,
    clock,
    describe,
    disk_line,
    nats,
    objective_note,
    prior_note,
    recipe_line,
)
from vae_core import runs
from vae_core.config import Config, ModelConfig
from vae_core.datasets import DATASETS
from vae_core.housekeeping import used_by
from vae_core.rules import problems
from vae_core.runs import DamagedRun, Row, Run, Status

LOG_LINES, NEWEST = 50, 6
AXES = {"epoch": "by epoch", "seconds": "by seconds of training"}


def open_run(run_id: str) -> None:
    st.query_params["run"] = run_id


def leave_run() -> None:
    st.query_params.pop("run", None)


def set_up() -> None:
    """The form, then the runs of this browser."""
    st.title("Train your own")
    dataset = dataset_choice()
    sample_strip(dataset)
    config, unreadable = training_form(dataset)
    found = unreadable + problems(config)
    for sentence in found:
        st.error(sentence)
    note = download_note(dataset)
    if note:
        st.info(note)
    place = place_choice()
    if st.button("Train", type="primary", icon=":material/play_arrow:", disabled=bool(found)):
        begin(config, place)
    list_own_runs()
    prepare_curves("prepare")


def begin(config: Config, place: str) -> None:
    """A new run, which waits for its turn in a place, and its page."""
    if not owner():
        st.error(NO_COOKIES)
        return
    try:
        run = dispatcher(place).create(config, owner())
    except (ValueError, OSError) as error:
        st.error(in_words(error))
        return
    open_run(run.id)
    st.rerun()


def list_own_runs() -> None:
    own = own_runs()
    if not own:
        return
    st.subheader("Your runs")
    st.caption(disk_line(used_by(owner()), dispatcher().limits.disk))
    for run in own[:NEWEST]:
        with st.container(horizontal=True, vertical_alignment="center"):
            try:
                st.markdown(describe(run.config(), run.status()), width="stretch")
            except DamagedRun as error:
                st.markdown(f"**damaged** · `{run.id}` · {error}", width="stretch")
                continue
            st.button("Open", key=f"open-{run.id}", on_click=open_run, args=(run.id,))
    if len(own) > NEWEST:
        st.page_link("pages/runs/runs.py", label=f"All {len(own):,} runs", icon=":material/table_rows:")


def header(run: Run, status: Status, seen: dict[str, Any], graph_of: int | None) -> None:
    """State, progress and the buttons that fit. `graph_of` is the step whose graph is shown below."""
    if status.active:
        pulse(run, seen, graph_of)
    elif status.state == "failed":
        st.error(status.reason)
    else:
        st.progress(
            status.done,
            f"{status.state.capitalize()} at {status.done:.0%} after {clock(status.seconds)}. {status.reason}",
        )
    mine = may_steer(run)
    with st.container(horizontal=True):
        if status.active and mine and not seen["stopping"]:
            controls(run, status)
        explorable = not status.active and run.checkpoints()
        if explorable and st.button("Explore it", type="primary", icon=":material/explore:"):
            st.switch_page("pages/explore/plane.py", query_params={"model": run.id})
        if not status.active and mine:
            go_on(run, status)
        if status.state == "paused" or not status.active:
            fork_popover(run)
        if not status.active and st.button("New run", icon=":material/add:"):
            leave_run()
            st.rerun()  # the whole page, of which this is a part that runs by itself
    refusal(run)


def numbers(look: Row | None, model: ModelConfig) -> None:
    """The newest numbers, with what they are."""
    if look is None:
        return
    found = (
        ("Held-out ELBO", nats(look["held_out_elbo"]), "elbo"),
        ("Reconstruction", nats(look["held_out_reconstruction"]), "reconstruction"),
        ("KL", nats(look["held_out_kl"]), "kl"),
        ("Active units", f"{look['active_units']:.0f} of {model.layers[0]}", "active"),
    )
    with st.container(horizontal=True, gap="small"):
        for label, value, key in found:
            if not model.plain or key in ("reconstruction", "active"):
                st.metric(label, value, help=TERMS[key], width="content")


def told(part: Callable[[], None]) -> Callable[[], None]:
    """A part of a run's page that says so where the run is damaged, or gone since."""

    @wraps(part)
    def attempt() -> None:
        try:
            part()
        except DamagedRun as damage:
            say_damaged(damage)

    return attempt


def say_damaged(damage: DamagedRun) -> None:
    st.error(f"This run is damaged: {damage}. The other runs are not affected.")


def watch(run: Run) -> None:
    """A run, while it goes on and after. Its parts run again by themselves when there is something new to be seen."""
    config, drawn = run.config(), run.status()
    layers = " and ".join(map(str, config.model.layers))
    st.title(f"{DATASETS[config.dataset].label}, {layers} latent dimensions")
    st.caption(recipe_line(run.present_config()))
    origin_line(run)

    @told
    def top() -> None:
        status = run.status()
        if status.state != drawn.state:
            st.rerun()
        seen = signs(run, status)  # before what they tell of is read: what comes in between is then news
        trace = run.trace() if status.active else None
        fresh = trace is not None and abs(trace["step"] - status.step) <= 1
        header(run, status, seen, trace["step"] if trace and fresh else None)
        if trace and fresh:
            step_graph(DATASETS[config.dataset], trace)

    @told
    def newest() -> None:
        found, present = reading(run), run.present_config()
        with st.container():  # which keeps its place when it is empty, and so do the curves
            numbers(found.look, config.model)
        axis = st.segmented_control(
            "Horizontal axis",
            list(AXES),
            format_func=AXES.__getitem__,
            default="epoch",
            required=True,
            key="axis",
            label_visibility="collapsed",
        )
        source, look = f"/api/runs/{run.id}/metrics", found.look["step"] if found.look else None
        live_curves(f"curves-{run.id}", source, axis or "epoch", drawn.active, look, spoken(found.notes))
        st.caption(f"{bound_note(config)} {objective_note(present)}")
        show_notes(found.notes)

    @told
    def moments() -> None:
        steps, base = run.snapshots(), f"/api/runs/{run.id}/"
        if not (steps or drawn.active):
            return
        if steps and (drawn.state == "paused" or not drawn.active):
            replay(run)
        latent_plane(f"plane-{run.id}", Sources(f"{base}snapshots/{steps[-1]}" if steps else None, follows=base))
        st.caption(
            "Dots: posterior means of held-out examples. Underneath: what the decoder makes of each spot. "
            f"{prior_note(config)}"
        )

    @told
    def printed() -> None:
        log = run.log(LOG_LINES)
        if log:
            with st.expander("Log"):
                st.code(log, language=None)
                if drawn.active:
                    st.button("Read it again", icon=":material/refresh:")

    part(top)
    left, right = st.columns(2, gap="large")
    with left:
        part(moments)
    with right:
        part(newest)

    part(printed)


asked = st.query_params.get("run")
found_run = runs.find(asked) if asked else None
if found_run is not None:
    try:
        watch(found_run)
    except DamagedRun as damage:
        say_damaged(damage)
        st.button("Back to the form", on_click=leave_run)
else:
    if asked:
        st.warning(f"There is no run “{asked}” here.")
    set_up()
