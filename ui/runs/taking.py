"""Taking in a run that was exported, by this app or another."""

from io import BufferedIOBase

import streamlit as st

from ui.owner import NO_COOKIES, owner
from ui.resources import dispatcher
from ui.runs.doing import say, soon
from ui.runs.state import library
from ui.words import short
from vae_core.housekeeping import used_by
from vae_core.importing import import_archive

MEGABYTES = 64
"""A run of MNIST takes about 15, with its optimiser's state 40."""
TAKEN = "runs taken in"


def take_in(file: BufferedIOBase) -> None:
    """A new run of this session, and chosen; or a sentence on why not."""
    st.session_state[TAKEN] = st.session_state.get(TAKEN, 0) + 1  # a new field, empty again
    try:
        if not owner():
            raise ValueError(NO_COOKIES)
        dispatcher().limits.admit(0, 0, used_by(owner()))
        run = import_archive(file, owner())
    except ValueError as error:
        say(None, [str(error)])
        return
    library.change(runs=(run.id,))
    say(lambda: st.success(f"Imported as {short(run.id)}. It is chosen now."))


def import_field() -> None:
    key = f"import {st.session_state.get(TAKEN, 0)}"

    def given() -> None:
        file = st.session_state[key]
        if file is not None:
            soon("Importing …", lambda: take_in(file))

    most = min(MEGABYTES, st.get_option("server.maxUploadSize"))
    with st.popover("Import", icon=":material/upload:"):
        st.file_uploader(
            "A run as a zip, as it is exported here", "zip", key=key, on_change=given, max_upload_size=most,
            help="Nothing in it is executed: recipe, weights and curves are read.",
        )  # fmt: skip
