"""Where a run trains: the choice, where there is one, and the words for it."""

import streamlit as st

from ui.resources import dispatchers

PLACES = {"local": "This machine", "ray": "Ray cluster"}
HELP = "The cluster shares the folder of runs with this machine; a run waits there for a free processor, or GPU."


def place_choice(key: str = "place") -> str:
    """The chosen key of `dispatchers`; shows nothing where there is only one. On one page each has a key of its own."""
    places = list(dispatchers())
    if len(places) == 1:
        return places[0]
    return st.selectbox("Where", places, format_func=PLACES.__getitem__, help=HELP, width=220, key=key)


def where(place: str) -> str:
    """What the label of a button that trains adds to say in which place; nothing where there is only one."""
    return "" if len(dispatchers()) == 1 else {"local": " on this machine", "ray": " on the Ray cluster"}[place]
