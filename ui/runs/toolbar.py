"""The buttons under the table: to the pages that show a run alone, and what stops runs."""

from collections.abc import Sequence

import streamlit as st

from ui.resources import dispatcher
from ui.runs.catalogue import Entry
from ui.runs.chosen import Chosen
from ui.runs.doing import say, soon, to_each
from ui.runs.removal import counted
from ui.runs.state import library
from vae_core.runs import Run


def open_buttons(chosen: Chosen) -> None:
    """Where one run is chosen, its latent space and its curves."""
    one = chosen.entries[0] if len(chosen.entries) == 1 else None
    explorable = one is not None and ((one.folder / "model.safetensors").is_file() or Run(one.folder).checkpoints())
    help_text = None if one else "Choose exactly one run."
    if st.button("Explore", icon=":material/explore:", disabled=not explorable, help=help_text, key="explore run"):
        assert one is not None
        st.switch_page("pages/explore/plane.py", query_params={"model": one.id})
    watchable = one is not None and one.origin != "shipped"
    if st.button("Watch", icon=":material/show_chart:", disabled=not watchable, help=help_text, key="watch run"):
        assert one is not None
        st.switch_page("pages/train/train.py", query_params={"run": one.id})
    st.button(
        "Choose none", icon=":material/deselect:", on_click=lambda: library.change(runs=()),
        disabled=not library.current().runs,
    )  # fmt: skip


def stop_button(mine: Sequence[Entry]) -> None:
    """Where any of one's own runs still trains or waits: each keeps its partial model, or is never begun."""
    active = [Run(entry.folder) for entry in mine if entry.active]

    def stop() -> None:
        say(None, to_each(active, dispatcher().stop)[1])

    if active:
        st.button(
            f"Stop {counted(len(active))}", icon=":material/stop:", key="stop runs",
            on_click=lambda: soon("Stopping …", stop),
        )  # fmt: skip
