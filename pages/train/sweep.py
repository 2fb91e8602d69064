"""Sweep: many settings in one go, and how each comes along. With `?sweep=…` in the address it shows that sweep."""

import time
from collections import Counter
from dataclasses import replace

import streamlit as st

from ui.controls import dataset_choice, download_note
from ui.owner import NO_COOKIES, in_words, owner
from ui.part import part
from ui.resources import dispatcher
from ui.runs.chosen import what_is_bounded
from ui.sweeps import multiples
from ui.sweeps.form import sweep_form
from ui.sweeps.results import Standing, panels, standings, tables
from ui.theme import hundredths
from ui.words import clock, recipe_line
from vae_core import sweeps
from vae_core.datasets import label
from vae_core.defaults import recipe
from vae_core.grid import Point
from vae_core.runs import DamagedRun, find
from vae_core.sweeps import Sweep

OFTEN = 2.0
NEWEST = 8
NUMBERS = hundredths("ELBO", "± (standard error)", "Rate (KL)", "Distortion")


def open_sweep(sweep_id: str) -> None:
    st.query_params["sweep"] = sweep_id


def leave_sweep() -> None:
    st.query_params.pop("sweep", None)


def set_up() -> None:
    """The form, then the sweeps of this browser."""
    st.title("Sweep")
    st.markdown("Train every combination of some settings, and see side by side what each does.")
    base = recipe(dataset_choice())
    epochs = st.number_input("Epochs of each run", 1, 10_000, base.schedule.epochs, width=220)
    base = replace(base, schedule=replace(base.schedule, epochs=epochs))
    wanted = sweep_form(base)
    st.caption(f"All else: {recipe_line(base)}")
    for sentence in wanted.problems:
        st.error(sentence)
    note = download_note(base.dataset)
    if note:
        st.info(note)
    words = f"Train {len(wanted.points)} runs" if wanted.points else "Train"
    nothing = not wanted.points
    if st.button(words, type="primary", icon=":material/play_arrow:", disabled=nothing, key="train sweep"):
        begin(wanted.points)
    own_sweeps()


def begin(points: list[Point]) -> None:
    """Queues the runs, and goes to their page."""
    if not owner():
        st.error(NO_COOKIES)
        return
    try:
        dispatcher().admit(owner(), len(points))
        with st.spinner(f"Queueing {len(points)} runs …", show_time=True):
            # nothing is drawn until all are queued: a click meanwhile would end the script where it draws
            sweep = sweeps.start(points, owner(), time.time(), dispatcher().create)
    except (ValueError, OSError) as error:
        st.error(in_words(error))
        return
    open_sweep(sweep.id)
    st.rerun()


def counted(sweep: Sweep) -> str:
    """How many runs it has, and of how many if not all were queued."""
    queued = len(sweep.members)
    return f"{queued} of {sweep.wanted} runs" if queued < sweep.wanted else f"{queued} runs"


def own_sweeps() -> None:
    own = sweeps.listed(owner())[:NEWEST] if owner() else []
    if own:
        st.subheader("Your sweeps")
    for sweep in own:
        with st.container(horizontal=True, vertical_alignment="center"):
            when = time.strftime("%d %B, %H:%M", time.localtime(sweep.created))
            axes = "; ".join(f"{name} {', '.join(values)}" for name, values in sweep.axes.items())
            st.markdown(f"**{label(sweep.dataset)}** · {when} · {counted(sweep)} · {axes}", width="stretch")
            st.button("Open", key=f"open {sweep.id}", on_click=open_sweep, args=(sweep.id,))


def header(sweep: Sweep, found: list[Standing]) -> bool:
    """How far all of it is, and the button that ends it; whether anything still goes on."""
    states = Counter(standing.status.state for standing in found)
    done = sum(count for state, count in states.items() if state in ("finished", "stopped", "failed"))
    active = done < len(found)
    members = [(standing.member.setting, standing.status) for standing in found]
    left = sweeps.remaining(members, dispatcher().launcher.places())
    remaining = f" · about {clock(left)} left" if active and left is not None else ""
    counts = ", ".join(f"{count} {state}" for state, count in states.most_common())
    st.progress(done / max(1, len(found)), f"{done} of {len(found)} runs ended: {counts}{remaining}")
    if active and sweep.of(owner()):
        st.button(
            "Stop all", icon=":material/stop:", on_click=stop_all, args=(sweep,),
            help="What waits is never begun; what trains keeps its partial model.",
        )  # fmt: skip
    return active


def stop_all(sweep: Sweep) -> None:
    """Those that wait first: else each that stops would let one of them begin."""
    runs = [run for member in reversed(sweep.members) if (run := find(member.run)) and run.owner == owner()]
    for run in runs:
        try:
            if run.status().active:
                dispatcher().stop(run)
        except (DamagedRun, OSError) as error:
            st.error(in_words(error))


def watch(sweep: Sweep) -> None:
    """A sweep, while it goes on and after."""
    st.title(f"Sweep of {label(sweep.dataset)}")
    if len(sweep.members) < sweep.wanted:
        st.warning(
            f"{counted(sweep)} were queued: a limit, a full disk or a restart came before the others. Train those as a "
            "sweep of their own."
        )
    live = any(standing.status.active for standing in standings(sweep))

    def body() -> None:
        found = standings(sweep)
        active = header(sweep, found)
        configs = [s.found.config for s in found if s.found and s.found.config]
        st.caption(
            f"Held-out ELBO over epochs, nats per example, all charts on the same axes. {what_is_bounded(configs)}"
        )
        multiples.show(f"multiples-{sweep.id}", panels(found), sweep.columns)
        ranked = tables(found)
        if ranked:
            st.subheader("Best first")
        for (_, note), table in ranked.items():
            st.dataframe(table, hide_index=True, column_config=NUMBERS)
            st.caption(f"Of the runs that finished, held out, nats per example. {note}")
        if live and not active:
            st.rerun()

    part(body, OFTEN if live else None)
    with st.container(horizontal=True):
        st.button("New sweep", icon=":material/add:", on_click=leave_sweep)
        if st.button("Compare these runs", icon=":material/table_rows:", help=f"They carry the tag “{sweep.tag}”."):
            st.switch_page("pages/runs/runs.py", query_params={"tag": sweep.tag})


asked = st.query_params.get("sweep")
found_sweep = sweeps.find(asked) if asked else None
if found_sweep is not None:
    watch(found_sweep)
else:
    if asked:
        st.warning(f"There is no sweep “{asked[:40]}” here.")
    set_up()
