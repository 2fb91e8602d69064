"""The tool that hands runs on: links to them, and each as a zip."""

import io
from collections.abc import Sequence
from urllib.parse import urlencode

import streamlit as st

from ui.links import show_link
from ui.runs.catalogue import Entry
from ui.runs.chosen import Chosen
from ui.runs.state import library
from vae_core.archive import export
from vae_core.runs import DamagedRun, Run, weights_file
from vae_core.tensorboard import MISSING, available, export_events

LISTED = 10
"""Runs that are offered one by one."""


def packed(entry: Entry, resumable: bool) -> bytes:
    """The run as a zip; made when it is asked for, beside the page."""
    file = io.BytesIO()
    export(Run(entry.folder), file, resumable=resumable)
    return file.getvalue()


def has_weights(entry: Entry) -> bool:
    try:
        return weights_file(entry.folder).is_file()
    except DamagedRun:
        return False


def links(chosen: Chosen) -> dict[str, str]:
    """Addresses, without the server's: of this choice, and of a single run's own pages."""
    found = {"This comparison": f"/runs?{urlencode(library.current().params())}"}
    if len(chosen.entries) == 1:
        (entry,) = chosen.entries
        if entry.origin != "shipped":
            found["Its curves, going on while it trains"] = f"/train?run={entry.id}"
        if has_weights(entry):
            found["Its latent space"] = f"/explore?model={entry.id}"
    return found


def show(chosen: Chosen) -> None:
    if not chosen.entries:
        st.info("Choose runs in the table to hand them on, by a link or as files.")
        return
    st.caption("Who has such a link can look at these runs and take copies, but not change them.")
    for name, link in links(chosen).items():
        st.caption(f"**{name}**")
        show_link(link)
    resumable = st.toggle(
        "With the optimiser's state", key="export resumable",
        help="Then an imported run can be trained on, bit for bit; the file is three times as large.",
    )  # fmt: skip
    with st.container(horizontal=True):
        for entry in chosen.entries[:LISTED]:
            _save(entry, resumable)
        _save_events([Run(picked.entry.folder) for picked in chosen.runs[:LISTED]])
    more = f" The first {LISTED} of {len(chosen.entries)} runs." if len(chosen.entries) > LISTED else ""
    st.caption(
        "A zip holds recipe, weights, curves, model card, and a script that trains it again without this app." + more
    )


def events(found: Sequence[Run]) -> bytes:
    """The curves of runs as a zip of TensorBoard's event files; made when it is asked for, beside the page."""
    file = io.BytesIO()
    export_events(found, file)
    return file.getvalue()


def _save_events(found: Sequence[Run]) -> None:
    here = available()
    st.download_button(
        "TensorBoard", lambda: events(found), "tensorboard.zip", "application/zip",
        icon=":material/show_chart:", on_click="ignore", key="export events", disabled=not (here and found),
        help="Their curves as event files: unzip, then `tensorboard --logdir` that folder." if here else MISSING,
    )  # fmt: skip


def _save(entry: Entry, resumable: bool) -> None:
    st.download_button(
        f"{entry.name}.zip", lambda: packed(entry, resumable), f"{entry.id}.zip", "application/zip",
        icon=":material/download:", on_click="ignore", key=f"export {entry.id}", disabled=not has_weights(entry),
        help=None if has_weights(entry) else "It has no weights yet.",
    )  # fmt: skip
