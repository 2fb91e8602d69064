"""The search for a shortest path, on a thread: any other choice can be made meanwhile; what was found is kept."""

from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event

import streamlit as st
import torch
from jaxtyping import Float
from torch import Tensor

from ui.part import part
from ui.planes import Opened
from ui.resources import Explored, version
from ui.tools.films import FINE, Ends
from vae_core.paths import geodesic

KEPT = 32
AT_ONCE = 2
OFTEN = 0.3
PATIENCE = 0.2
"""Seconds that a page waits for an answer before it shows a bar."""
RUNNING = "path search"
Key = tuple[Path, str, Ends]

_threads = ThreadPoolExecutor(AT_ONCE, "path")
_found: dict[Key, Float[Tensor, "F H"]] = {}


class Search:
    """A shortest path of FINE points that is being looked for; `share` is how much of the search is done."""

    def __init__(self, thing: Explored, key: Key) -> None:
        self.key, self.share, self._stopped = key, 0.0, Event()
        self.future: Future[Float[Tensor, "F H"]] = _threads.submit(self._run, thing)

    def _run(self, thing: Explored) -> Float[Tensor, "F H"]:
        a, b = map(torch.tensor, self.key[2])
        return geodesic(thing.expected, a, b, FINE, means=thing.means, on_progress=self._report)

    def _report(self, share: float) -> None:
        if self._stopped.is_set():
            raise CancelledError
        self.share = share

    def cancel(self) -> None:
        """It ends at its next report."""
        self._stopped.set()


def _keep(search: Search) -> Float[Tensor, "F H"]:
    while len(_found) >= KEPT:
        _found.pop(next(iter(_found)))
    return _found.setdefault(search.key, search.future.result())


def give_up() -> None:
    """Ends the search of this session, if there is one."""
    search = st.session_state.pop(RUNNING, None)
    if search is not None:
        search.cancel()


def shortest(opened: Opened, ends: Ends) -> Float[Tensor, "F H"] | None:
    """The shortest path found between two codes; None, and a bar on the page, while it is being looked for."""
    key = (opened.folder, version(opened.folder), ends)
    if key in _found:
        return _found[key]
    search = st.session_state.get(RUNNING)
    if search is None or search.key != key:
        give_up()
        search = st.session_state[RUNNING] = Search(opened.thing, key)
    wait([search.future], PATIENCE)
    if search.future.done():
        del st.session_state[RUNNING]
        return _keep(search)
    _show(search)
    return None


def _show(search: Search) -> None:
    def waiting() -> None:
        if search.future.done():
            st.rerun()
        st.progress(search.share, f"Looking for the shortest path: {search.share:.0%}. Any other choice stops it.")

    part(waiting, OFTEN)
