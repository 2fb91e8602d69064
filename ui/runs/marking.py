"""The tool with which the owner writes on runs: tags, a note, and what is never thrown away for its age."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import streamlit as st

from ui.mirror import controlled
from ui.runs.catalogue import Entry
from ui.runs.chosen import Chosen
from ui.runs.doing import say, soon, to_each
from vae_core.marks import LONGEST_NOTE, MOST_TAGS, Marks, mark, marks
from vae_core.runs import Run


def change(entries: Sequence[Entry], changed: Callable[[Marks], Marks]) -> None:
    """For callbacks: soon rewrites the marks of the runs, as they are then."""
    soon("Writing …", lambda: rewrite(entries, changed))


def rewrite(entries: Sequence[Entry], changed: Callable[[Marks], Marks]) -> None:
    found = [Run(entry.folder) for entry in entries]
    say(None, to_each(found, lambda run: mark(run, changed(marks(run))))[1])


def common_tags(entries: Sequence[Entry]) -> list[str]:
    """The tags that all of the runs have."""
    first, *others = (entry.brief.marks.tags for entry in entries)
    return [tag for tag in first if all(tag in tags for tags in others)]


def show(chosen: Chosen) -> None:
    mine = chosen.mine
    if not mine:
        st.info("Choose runs of your own in the table to write on them. Shipped models and others' runs are read only.")
        return
    if len(mine) < len(chosen.entries):
        st.caption(f"{len(chosen.entries) - len(mine)} of the chosen runs are not yours and stay as they are.")
    _tags(mine)
    if len(mine) == 1:
        _note(mine[0])
    with st.container(horizontal=True):
        _switch(mine, "pinned", "Pinned", "Never thrown away for its age, and marked ★ in the table.")
        _switch(mine, "shared", "Shared", "Never thrown away for its age: others may hold its link.")


def _tags(mine: Sequence[Entry]) -> None:
    common = common_tags(mine)
    known = dict.fromkeys([*common, *(tag for entry in mine for tag in entry.brief.marks.tags)])

    def tagged() -> None:
        wanted = st.session_state["tags"]
        gone = {tag for tag in common if tag not in wanted}

        def retagged(old: Marks) -> Marks:
            kept = [tag for tag in old.tags if tag not in gone]
            return replace(old, tags=(*kept, *(tag for tag in wanted if tag not in kept)))

        change(mine, retagged)

    st.multiselect(
        "Tags" if len(mine) == 1 else f"Tags of all {len(mine)} runs", list(known), accept_new_options=True,
        key=controlled("tags", common), on_change=tagged, max_selections=MOST_TAGS,
        placeholder="Type a tag and press Enter",
    )  # fmt: skip


def _note(entry: Entry) -> None:
    def written() -> None:
        text = st.session_state["note"]
        change([entry], lambda old: replace(old, note=text))

    st.text_area("Note", key=controlled("note", entry.brief.marks.note), on_change=written, max_chars=LONGEST_NOTE)


def _switch(mine: Sequence[Entry], name: str, label: str, help_text: str) -> None:
    def switched() -> None:
        wanted = st.session_state[f"all {name}"]
        change(mine, lambda old: replace(old, **{name: wanted}))

    key = controlled(f"all {name}", all(getattr(entry.brief.marks, name) for entry in mine))
    st.toggle(label, key=key, on_change=switched, help=help_text)
