"""The filter above the table, and the choice by name: what clicking rows does, without the table."""

from collections.abc import Sequence

import streamlit as st

from ui.mirror import controlled
from ui.runs.address import LONGEST, ORIGINS, STATES
from ui.runs.catalogue import Entry
from ui.runs.state import library
from vae_core.datasets import DATASETS


def choose_filter(entries: Sequence[Entry]) -> None:
    """Text, data set, state, origin and tag."""
    wanted = library.current()
    tags = {tag: tag for entry in entries for tag in sorted(entry.brief.marks.tags)}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input(
            "Search", key=controlled("filter text", wanted.text), max_chars=LONGEST, live=True, width=220,
            on_change=lambda: library.change(text=st.session_state["filter text"]), placeholder="name, recipe, note …",
            icon=":material/search:", type="search",
        )  # fmt: skip
        _choose("data", "Data", {name: spec.label for name, spec in DATASETS.items()})
        _choose("state", "State", STATES)
        _choose("origin", "From", ORIGINS)
        _choose("tag", "Tag", tags | ({wanted.tag: wanted.tag} if wanted.tag else {}))
        st.button("Show all", on_click=_show_all, disabled=not wanted.filtered)


def _choose(part: str, label: str, options: dict[str, str]) -> None:
    key = controlled(f"filter {part}", getattr(library.current(), part) or None)

    def turned() -> None:
        library.change(**{part: st.session_state[key] or ""})

    st.selectbox(
        label, list(options), format_func=options.__getitem__, key=key,
        on_change=turned, placeholder="all", width=150, disabled=not options,
    )  # fmt: skip


def _show_all() -> None:
    library.change(text="", data="", state="", origin="", tag="")


def choose_by_name(entries: Sequence[Entry], shown: Sequence[Entry]) -> None:
    """The chosen runs, to be typed, taken away, or put in another order."""
    names = {entry.id: entry.name for entry in entries}
    chosen = [run for run in library.current().runs if run in names]
    hidden = len(set(chosen) - {entry.id for entry in shown})

    def turned() -> None:
        library.change(runs=tuple(st.session_state["chosen by name"]))

    st.multiselect(
        "Chosen runs" + (f", {hidden} of them outside the filter" if hidden else ""), list(names),
        format_func=names.__getitem__, key=controlled("chosen by name", chosen), on_change=turned,
        placeholder="Choose rows of the table, or type a name",
    )  # fmt: skip
