"""The state of the Explore page: one `Address` in the session, mirrored in the browser's address bar.

Widgets write to it in their callbacks and are set from it before they are drawn, so that a link, the browser's Back
button and a click all lead the same way.
"""

from dataclasses import replace
from typing import Any

import streamlit as st

from ui.address import Address

KEY, WRITTEN, NOTICES = "explore", "explore_written", "explore_notices"


def current() -> Address:
    return st.session_state[KEY]


def change(**parts: Any) -> None:
    """Replaces parts of the address."""
    put(replace(current(), **parts))


def put(address: Address) -> None:
    """Takes the place of what was shown, and of what was said about it."""
    st.session_state[KEY] = address
    st.session_state[NOTICES] = []


def asked() -> dict[str, str] | None:
    """The browser's address if somebody else wrote it: a link, Back, or a page's button; None while it is ours, and
    once it has been asked for: also what cannot be shown is taken over once only, so that a choice leads away from it.
    """
    found = st.query_params.to_dict()
    if found == st.session_state.get(WRITTEN) and KEY in st.session_state:
        return None
    st.session_state[WRITTEN] = found
    return found


def arrive(address: Address, notices: list[str]) -> None:
    """Takes over what a link asked for; `notices` say which parts of it made no sense."""
    put(address)
    st.session_state[NOTICES] = notices


def mirror() -> None:
    """Writes the state into the browser's address."""
    params = current().params()
    if params != st.session_state.get(WRITTEN) or st.query_params.to_dict() != params:
        st.query_params.from_dict(params)
    st.session_state[WRITTEN] = params


def notices() -> list[str]:
    return st.session_state.get(NOTICES, [])


def controlled(key: str, value: Any) -> str:
    """The key of a widget that shows `value`, whatever it showed before."""
    st.session_state[key] = value
    return key
