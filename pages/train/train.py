"""Train: choose, press, watch. With `?run=…` in the address it shows that run, in any tab, going on."""

import streamlit as st

from ui.controls import dataset_choice, download_note, training_form
from ui.forks import fork_popover, origin_line
from ui.latent_plane import Sources, latent_plane
from ui.live_curves import live_curves, prepare_curves
from ui.owner import NO_COOKIES, in_words, may_steer, owner, refusal
from ui.pictures import sample_strip
from ui.places import place_choice
from ui.reading import show_notes, spoken
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
    queue_line,
    recipe_line,
)
from vae_core import runs
from vae_core.config import Config, ModelConfig
from vae_core.datasets import DATASETS
from vae_core.diagnosis import diagnose
from vae_core.housekeeping import used_by
from vae_core.rules import problems
from vae_core.runs import DamagedRun, Row, Run, Status

OFTEN, REFRESH, SELDOM = 0.5, 1.0, 2.0
LOG_LINES = 50
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
    own_runs()
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


def own_runs() -> None:
    own = runs.listed(owner())
    if not own:
        return
    st.subheader("Your runs")
    st.caption(disk_line(used_by(owner()), dispatcher().limits.disk))
    for run in own[:20]:
        with st.container(horizontal=True, vertical_alignment="center"):
            try:
                st.markdown(describe(run.config(), run.status()), width="stretch")
            except DamagedRun as error:
                st.markdown(f"**damaged** · `{run.id}` · {error}", width="stretch")
                continue
            st.button("Open", key=f"open-{run.id}", on_click=open_run, args=(run.id,))


def header(run: Run, status: Status) -> None:
    """State, progress and the one button that fits."""
    done = status.step / max(status.total_steps, 1)
    turn = dispatcher().queue.turn(run.id) if status.state == "queued" else 0
    if turn:
        st.progress(done, queue_line(turn, dispatcher().at_limit(run.owner)))
    elif status.state in ("queued", "preparing"):
        st.progress(done, status.reason or "Preparing: reading the data …")
    elif status.active and run.requested("stop"):
        st.progress(done, "Stopping: keeping the partial model …")
    elif status.state == "paused":
        st.progress(done, f"Paused at step {status.step:,} of {status.total_steps:,} ({done:.0%})")
    elif status.active:
        left = (status.total_steps - status.step) * status.seconds / max(status.step, 1)
        st.progress(done, f"{done:.0%} · {status.rate:,.0f} examples/s · {clock(left)} left")
    elif status.state == "failed":
        st.error(status.reason)
    else:
        st.progress(done, f"{status.state.capitalize()} at {done:.0%} after {clock(status.seconds)}. {status.reason}")
    mine = may_steer(run)
    with st.container(horizontal=True):
        if status.active and mine and not run.requested("stop"):
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


def numbers(rows: list[Row], model: ModelConfig) -> None:
    """The newest numbers, with what they are."""
    held_out = [row for row in rows if "held_out_elbo" in row]
    if not held_out:
        return
    last = held_out[-1]
    found = (
        ("Held-out ELBO", nats(last["held_out_elbo"]), "elbo"),
        ("Reconstruction", nats(last["held_out_reconstruction"]), "reconstruction"),
        ("KL", nats(last["held_out_kl"]), "kl"),
        ("Active units", f"{last['active_units']:.0f} of {model.layers[0]}", "active"),
    )
    with st.container(horizontal=True, gap="small"):
        for label, value, key in found:
            if model.posterior != "deterministic" or key in ("reconstruction", "active"):
                st.metric(label, value, help=TERMS[key], width="content")


def watch(run: Run) -> None:
    """A run, while it goes on and after."""
    config = run.config()
    started_active = run.status().active
    layers = " and ".join(map(str, config.model.layers))
    st.title(f"{DATASETS[config.dataset].label}, {layers} latent dimensions")
    st.caption(recipe_line(run.present_config()))
    origin_line(run)

    @st.fragment(run_every=OFTEN if started_active else None)
    def top() -> None:
        status = run.status()
        header(run, status)
        trace = run.trace()
        if status.active and trace is not None and abs(trace["step"] - status.step) <= 1:
            step_graph(DATASETS[config.dataset], trace)
        if started_active != status.active:
            st.rerun()

    @st.fragment(run_every=SELDOM if started_active else None)
    def newest() -> None:
        rows, present = run.rows(), run.present_config()
        notes = diagnose(rows, present)
        with st.container():  # which keeps its place when it is empty, and so do the curves
            numbers(rows, config.model)
        axis = st.segmented_control(
            "Horizontal axis",
            list(AXES),
            format_func=AXES.__getitem__,
            default="epoch",
            required=True,
            key="axis",
            label_visibility="collapsed",
        )
        source = f"/api/runs/{run.id}/metrics"
        live_curves(f"curves-{run.id}", source, axis or "epoch", started_active, spoken(notes))
        st.caption(f"{bound_note(config)} {objective_note(present)}")
        show_notes(notes)

    @st.fragment(run_every=REFRESH if started_active else None)
    def moments() -> None:
        steps, status = run.snapshots(), run.status()
        if steps:
            with st.container():
                if status.state == "paused" or not status.active:
                    replay(run)
            latent_plane(f"plane-{run.id}", Sources(f"/api/runs/{run.id}/snapshots/{steps[-1]}"))
            st.caption(
                "Dots: posterior means of held-out examples. Underneath: what the decoder makes of each spot. "
                f"{prior_note(config)}"
            )
        elif started_active:
            st.caption("The first picture comes with the first step.")

    @st.fragment(run_every=SELDOM if started_active else None)
    def printed() -> None:
        log = run.log(LOG_LINES)
        if log:
            with st.expander("Log"):
                st.code(log, language=None)

    top()
    left, right = st.columns(2, gap="large")
    with left:
        moments()
    with right:
        newest()

    printed()


asked = st.query_params.get("run")
found_run = runs.find(asked) if asked else None
if found_run is not None:
    try:
        watch(found_run)
    except DamagedRun as damage:
        st.error(f"This run is damaged: {damage}. The other runs are not affected.")
        st.button("Back to the form", on_click=leave_run)
else:
    if asked:
        st.warning(f"There is no run “{asked}” here.")
    set_up()
