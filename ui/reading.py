"""What the curves of a run show, in words: the most important notes in sight, the others folded."""

from collections.abc import Sequence

import streamlit as st

from vae_core.history import Note

SHOWN = 3


def show_notes(notes: Sequence[Note]) -> None:
    """At most three notes; the rest can be unfolded."""
    for note in notes[:SHOWN]:
        _show(note)
    if notes[SHOWN:]:
        with st.expander("More about these curves", key="more notes"):
            for note in notes[SHOWN:]:
                _show(note)


def spoken(notes: Sequence[Note]) -> str:
    """For a screen reader: what there is to be read, without the numbers, which would be said again and again."""
    return f"Notes on the curves: {'; '.join(note.title for note in notes[:SHOWN])}." if notes else ""


def _show(note: Note) -> None:
    sign = ":orange[:material/warning:] " if note.serious else ""
    st.markdown(f"{sign}**{note.title}.** {note.text}")
