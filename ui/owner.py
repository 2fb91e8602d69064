"""Whose browser this is: a random key in a cookie that the server sets and scripts cannot read."""

import streamlit as st

COOKIE = "elbo_room_owner"


def owner() -> str:
    """The key of this session's browser; empty where there is no browser (tests)."""
    return st.context.cookies.get(COOKIE, "")
