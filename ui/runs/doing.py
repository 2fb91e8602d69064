"""Changing runs from the page: each only by its owner, and under a spinner.

What takes a moment is not done in a widget's callback, where nothing can be shown, but next. What came of it is said
until something else is done.
"""

from collections.abc import Callable, Iterable, Sequence

import streamlit as st

from ui.owner import NOT_YOURS, in_words, may_steer
from vae_core.runs import Run

PENDING, SAID, REFUSED = "runs pending", "runs said", "runs refused"


def soon(words: str, act: Callable[[], None]) -> None:
    """For callbacks: lets the page do it before it draws anything else, and say so meanwhile."""
    st.session_state[PENDING] = (words, act)


def pending() -> bool:
    return PENDING in st.session_state


def do_pending() -> None:
    words, act = st.session_state.pop(PENDING, ("", None))
    if act is not None:
        say(None)
        with st.spinner(words, show_time=True):
            act()


def say(what: Callable[[], object] | None, refused: Sequence[str] = ()) -> None:
    """What came of it: something to draw, and sentences on what was not done."""
    st.session_state.update({SAID: what, REFUSED: list(dict.fromkeys(refused))})


def show_said() -> None:
    what = st.session_state.get(SAID)
    if what is not None:
        what()
    for sentence in st.session_state.get(REFUSED, []):
        st.warning(sentence)


def to_each(found: Iterable[Run], act: Callable[[Run], object]) -> tuple[list[str], list[str]]:
    """Does something to runs of this session; gives the names of those it was done to, and a sentence on each other."""
    done, refused = [], []
    for run in found:
        try:
            if not may_steer(run):
                raise ValueError(NOT_YOURS)
            act(run)
            done.append(run.id)
        except (ValueError, OSError) as error:
            refused.append(in_words(error))
    return done, refused
