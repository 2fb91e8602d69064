"""Deleting runs, taking that back, and what lies in the trash."""

import time
from collections.abc import Sequence

import streamlit as st

from ui.owner import owner
from ui.runs.catalogue import Entry
from ui.runs.doing import say, soon, to_each
from ui.runs.state import library
from ui.words import clock, short
from vae_core.housekeeping import TRASH_DAYS
from vae_core.runs import Run
from vae_core.trash import Discarded, discard, discarded, restore

LISTED = 20


def delete(entries: Sequence[Entry]) -> None:
    """To the trash; what cannot go there stays, and the page says why."""
    gone, refused = to_each([Run(entry.folder) for entry in entries], discard)
    library.change(runs=tuple(run for run in library.current().runs if run not in gone))
    say((lambda: _undo_line(gone)) if gone else None, refused)


def bring_back(names: Sequence[str]) -> None:
    """Out of the trash again, and chosen."""
    lying = {found.id: found.run for found in discarded(owner())}
    called = {lying[name].id: name for name in names if name in lying}
    back, refused = to_each([lying[name] for name in called.values()], lambda run: restore(called[run.id]))
    if not called:
        refused = ["It is not in the trash any more: it was restored already, or deleted for good."]
    returned = [called[name] for name in back]
    library.change(runs=tuple(dict.fromkeys((*library.current().runs, *returned))))
    say(None, refused)


def delete_button(mine: Sequence[Entry]) -> None:
    """For one's own runs among the chosen."""
    label = f"Delete {counted(len(mine))}" if mine else "Delete"

    def asked() -> None:
        soon(f"Deleting {counted(len(mine))} …", lambda: delete(mine))

    st.button(
        label, icon=":material/delete:", disabled=not mine, on_click=asked, key="delete runs",
        help="They go to the trash, from which they can be taken back.",
    )  # fmt: skip


def _back(names: Sequence[str]) -> None:
    soon(f"Restoring {counted(len(names))} …", lambda: bring_back(names))


def counted(count: int) -> str:
    return "1 run" if count == 1 else f"{count:,} runs"


def _undo_line(gone: Sequence[str]) -> None:
    """What was deleted last, and the way back."""
    with st.container(horizontal=True, vertical_alignment="center", border=True, key="undo"):
        st.markdown(f"Deleted {counted(len(gone))}.", width="content")
        st.button("Undo", icon=":material/undo:", on_click=_back, args=(gone,))


def trash() -> None:
    """What was deleted, the last first, each with a way back."""
    lying = discarded(owner())
    with st.popover(f"Trash ({len(lying):,})", icon=":material/delete_sweep:", disabled=not lying):
        st.caption(f"Deleted runs can be restored for {TRASH_DAYS} days.")
        for found in lying[:LISTED]:
            _restorable(found)
        if len(lying) > LISTED:
            st.caption(f"The last {LISTED} of {len(lying):,}.")
        st.button("Restore all", on_click=_back, args=([found.id for found in lying],))


def _restorable(found: Discarded) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"`{short(found.id)}` deleted {clock(time.time() - found.at)} ago", width="stretch")
        st.button("Restore", key=f"restore {found.run.folder.name}", on_click=_back, args=([found.id],))
