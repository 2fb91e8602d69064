"""The state of a page: one frozen value in the session, mirrored in the browser's address bar.

Widgets write to it in their callbacks and are set from it before they are drawn, so that a link, the browser's Back
button and a click all lead the same way.
"""

from dataclasses import replace
from typing import Any, Generic

import streamlit as st

from ui.links import A


class Mirror(Generic[A]):
    """The state that a session keeps under `key`."""

    def __init__(self, key: str) -> None:
        self._key, self._written, self._notices = key, f"{key}_written", f"{key}_notices"

    def current(self) -> A:
        return st.session_state[self._key]

    def change(self, **parts: Any) -> None:
        """Replaces parts of the state."""
        self.put(replace(self.current(), **parts))

    def put(self, state: A) -> None:
        """Takes the place of what was shown, and of what was said about it."""
        st.session_state[self._key] = state
        st.session_state[self._notices] = []

    def asked(self) -> dict[str, str] | None:
        """The browser's address if somebody else wrote it: a link, Back, or a page's button; None while it is ours, and
        once it has been asked for: also what cannot be shown is taken over once only, so that a choice leads away from
        it."""
        found = st.query_params.to_dict()
        if found == st.session_state.get(self._written) and self._key in st.session_state:
            return None
        st.session_state[self._written] = found
        return found

    def arrive(self, state: A, notices: list[str]) -> None:
        """Takes over what a link asked for; `notices` say which parts of it made no sense."""
        self.put(state)
        st.session_state[self._notices] = notices

    def mirror(self) -> None:
        """Writes the state into the browser's address."""
        params = self.current().params()
        if params != st.session_state.get(self._written) or st.query_params.to_dict() != params:
            st.query_params.from_dict(params)
        st.session_state[self._written] = params

    def notices(self) -> list[str]:
        return st.session_state.get(self._notices, [])


def controlled(key: str, value: Any) -> str:
    """The key of a widget that shows `value`, whatever it showed before.

    What it shows already is not set again: the browser would drop the keyboard's place in it, and a text half typed.
    """
    if key not in st.session_state or st.session_state[key] != value:
        st.session_state[key] = value
    return key
