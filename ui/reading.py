"""What the curves of a run show, in words: the most important notes in sight, the others folded."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock

import streamlit as st

from vae_core.diagnosis import diagnose
from vae_core.history import Note
from vae_core.overview import Stamp, last_look, stamp
from vae_core.runs import DamagedRun, Row, Run

SHOWN = 3
TURNS = Lock()
"""Of many who watch one run, the first reads it for all, and again after the next look at the held-out data."""


@dataclass(frozen=True)
class Reading:
    """The last look at the held-out data, if there was one, and what the curves show."""

    look: Row | None
    notes: tuple[Note, ...]


def reading(run: Run) -> Reading:
    """Raises DamagedRun."""
    with TURNS:
        try:
            look = last_look(run.folder / "metrics.jsonl")
        except (OSError, ValueError, RecursionError) as error:
            raise DamagedRun(f"metrics.jsonl cannot be read: {error}") from error
        looked = (look["step"], look["held_out_elbo"]) if look else None
        return Reading(look, _notes(run.folder, looked, stamp(f"{run.folder}/changes.jsonl")))


@lru_cache(maxsize=64)
def _notes(folder: Path, looked: tuple[int, float] | None, changed: Stamp) -> tuple[Note, ...]:
    run = Run(folder)
    return tuple(diagnose(run.rows(), run.present_config()))


def show_notes(notes: Sequence[Note]) -> None:
    """At most three notes; the rest can be unfolded."""
    if notes:
        st.markdown(_written(notes[:SHOWN]))
    if notes[SHOWN:]:
        with st.expander("More about these curves", key="more notes"):
            st.markdown(_written(notes[SHOWN:]))


def spoken(notes: Sequence[Note]) -> str:
    """For a screen reader: what there is to be read, without the numbers, which would be said again and again."""
    return f"Notes on the curves: {'; '.join(note.title for note in notes[:SHOWN])}." if notes else ""


def _written(notes: Sequence[Note]) -> str:
    """A paragraph each, in one element: many who watch have them drawn again and again."""
    sign = ":orange[:material/warning:] "
    return "\n\n".join(f"{sign if note.serious else ''}**{note.title}.** {note.text}" for note in notes)
