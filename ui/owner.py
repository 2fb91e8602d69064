"""Whose session this is, and what it may do: the user who signed in, else the browser.

A browser is known by a random key in a cookie, which the server sets and scripts cannot read. Where sign-in is
configured (Streamlit's `[auth]` secrets) a user's runs are the user's in every browser.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec

import streamlit as st

from vae_core import runs
from vae_core.durable import explained
from vae_core.runs import Run

COOKIE = "elbo_room_owner"
KEY = re.compile(r"[0-9a-f]{32}")
"""What the server makes: nothing that a user's name can be taken for."""

REFUSED = "refused"
NO_COOKIES = "This browser keeps no cookies, so that a run could not be known as yours. Allow them, and reload."
NOT_YOURS = "This run belongs to another browser or user: it can be looked at, but not steered or deleted."


def owner() -> str:
    """Whose the runs of this session are; empty where there is no browser (tests), or one that keeps no cookies."""
    if st.user.get("is_logged_in"):
        return user_key(st.user)
    key = st.context.cookies.get(COOKIE, "")
    return key if KEY.fullmatch(key) else ""


def own_runs() -> list[Run]:
    """This session's, newest first, damaged ones included."""
    return runs.listed(owner()) if owner() else []


def user_key(user: Mapping[str, object]) -> str:
    """A user as the identity provider knows one: by issuer and subject, which never change."""
    identity = f"{user['iss']} {user['sub']}"
    return "user-" + hashlib.blake2s(identity.encode(), digest_size=16).hexdigest()


def may_steer(run: Run) -> bool:
    """Whether this session may change a run. To be asked whenever it does, however well its buttons are hidden."""
    return run.owner == owner() != ""


def attempt(run: Run, act: Callable[[], object], place: str = "") -> None:
    """Does what a button of a run's page says; what speaks against it is shown by the `refusal` of that place."""
    st.session_state.pop(REFUSED, None)
    try:
        act()
    except (ValueError, OSError) as error:
        st.session_state[REFUSED] = run.id, place, in_words(error)


def as_owner(run: Run, act: Callable[[], object], place: str = "") -> None:
    """Attempts what only the owner of a run may do; others are told so at the top of the page."""
    if may_steer(run):
        attempt(run, act, place)
    else:
        st.session_state[REFUSED] = run.id, "", NOT_YOURS


def in_words(error: ValueError | OSError) -> str:
    return explained(error) if isinstance(error, OSError) else str(error)


def refusal(run: Run, place: str = "") -> None:
    """Why the last thing asked of this run, in this place of its page, was not done."""
    *about, text = st.session_state.get(REFUSED, ("", "", ""))
    if about == [run.id, place]:
        st.error(text)


def account() -> None:
    """Signing in and out, where that is configured."""
    if "is_logged_in" not in st.user:
        return
    with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center", key="account"):
        if st.user.is_logged_in:
            st.caption(str(st.user.get("name") or st.user.get("email") or "Signed in"), width="content")
            st.button("Sign out", icon=":material/logout:", type="tertiary", on_click=st.logout)
        elif find_spec("authlib") is None:
            st.caption("Sign-in is configured, but needs a package: `pip install streamlit[auth]`.", width="content")
        else:
            _sign_in()


def _sign_in() -> None:
    """A button for each provider of the secrets that has a name, else one for the one provider."""
    named = [name for name, part in st.secrets["auth"].items() if isinstance(part, Mapping)]
    for provider in named or [None]:
        st.button(
            f"Sign in with {provider}" if provider else "Sign in", icon=":material/login:", type="tertiary",
            on_click=st.login, args=(provider,), help="Your runs are then yours in every browser.",
        )  # fmt: skip
