"""Parts of a page that run again by themselves."""

from collections.abc import Callable

import streamlit as st


def part(draw: Callable[[], None], every: float | None = None) -> None:
    """Draws a part of a page, which runs again alone when something is done in it, and `every` so many seconds.

    It has a place of its own. Of a part that runs again before the browser has heard of it, Streamlit forgets all that
    was said, and without that place the browser would take the next part's for it.
    """
    with st.container():
        st.fragment(draw, run_every=every)()
