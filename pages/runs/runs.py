"""Runs: all of them in one table; choose some, then ask about them."""

from collections.abc import Sequence

import streamlit as st

from ui.mirror import controlled
from ui.owner import owner
from ui.part import part
from ui.runs import SHOW
from ui.runs.address import TOOLS
from ui.runs.catalogue import Entry, catalogue, matching, missing, renewed
from ui.runs.chosen import Chosen, choice
from ui.runs.doing import do_pending, pending, show_said
from ui.runs.filtering import choose_by_name, choose_filter
from ui.runs.removal import delete_button, trash
from ui.runs.state import arrive, library
from ui.runs.table import choose_rows
from ui.runs.taking import import_field
from ui.runs.toolbar import open_buttons, stop_button

OFTEN = 2.0
"""Seconds between two looks at runs that train."""


def listing(entries: Sequence[Entry], shown: Sequence[Entry]) -> None:
    """The table, alone in a fragment that follows runs while they train, and the choice in it by name."""
    live, drawn = any(entry.active for entry in shown), library.current()

    def table() -> None:
        now = [renewed(entry) for entry in shown]
        choose_rows(now)
        if library.current() != drawn or [e.active for e in now] != [e.active for e in shown]:
            st.rerun()

    if shown:
        part(table, OFTEN if live else None)
    else:
        st.info("No run passes this filter.")
    choose_by_name(entries, shown)


def choose_tool() -> str:
    def turned() -> None:
        library.change(tool=st.session_state["tool"])

    st.segmented_control(
        "Tools", list(TOOLS), format_func=TOOLS.__getitem__, key=controlled("tool", library.current().tool),
        on_change=turned, required=True, label_visibility="collapsed",
    )  # fmt: skip
    return library.current().tool


def ask(chosen: Chosen) -> None:
    """A tool about the chosen runs. What is done in it draws no more than itself, unless it changes runs; curves go on
    while runs train."""
    name = choose_tool()
    growing = name == "curves" and any(entry.active for entry in chosen.entries)

    def tool() -> None:
        if pending():
            st.rerun()
        SHOW[name](chosen)

    part(tool, OFTEN if growing else None)


arrive()
do_pending()
with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom"):
    st.title("Runs", width="content")
    with st.container(horizontal=True, width="content"):
        import_field()
        trash()
for notice in library.notices():
    st.warning(notice)
with st.spinner("Reading the runs …", show_time=False):
    every = catalogue(owner(), library.current().runs)
for sentence in missing(every, library.current().runs):
    st.warning(sentence)
show_said()
choose_filter(every)
found = matching(every, library.current())
listing(every, found)
selected = choice(every, found, library.current().runs)
with st.container(horizontal=True):
    open_buttons(selected)
    stop_button(selected.mine)
    delete_button(selected.mine)
ask(selected)
library.mirror()
