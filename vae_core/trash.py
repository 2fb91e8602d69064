"""Deleting a run with undo: its folder moves to `.trash` beside the others, where nothing lists it, and back.

The name there says when it was thrown away: `.trash/<nanoseconds since 1970>~<run id>`. One renaming on one file system
is all that happens until the trash is emptied.
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vae_core import durable
from vae_core.runs import RUN_ID, DamagedRun, Run, runs_root

TRASH = ".trash"


@dataclass(frozen=True)
class Discarded:
    """A run in the trash. `id` is what it was called and will be again; `at` is in seconds since 1970."""

    id: str
    run: Run
    at: float


def discard(run: Run) -> None:
    """Moves an ended run to the trash. Raises ValueError while it trains or waits to be trained."""
    busy = ValueError(f"The run {run.id} is still training or queued; stop it before deleting it.")
    if not _ended(run):
        raise busy
    trash = run.folder.parent / TRASH
    durable.make_folder(trash)
    try:
        with run.lock():  # no worker begins with it at this moment
            run.folder.rename(trash / f"{time.time_ns():020d}~{run.id}")
    except BlockingIOError:
        raise busy from None


def _ended(run: Run) -> bool:
    try:
        return not run.status().active
    except DamagedRun:
        return not run.locked()


def restore(run_id: str) -> Run:
    """Takes a run back out of the trash, the last that was so called. Raises ValueError if it is not there."""
    called = [found for found in _all() if found.id == run_id]
    if not called:
        raise ValueError(
            f"There is no run {run_id[:100]!r} in the trash: it was restored already, or deleted for good."
        )
    target = runs_root() / run_id
    if target.exists():
        raise ValueError(f"There is a run {run_id} already; delete that one before this is restored.")
    called[0].run.folder.rename(target)
    os.utime(target)  # from now on it counts as looked at
    return Run(target)


def discarded(owner: str = "") -> list[Discarded]:
    """The owner's runs in the trash, last thrown away first."""
    return [found for found in _all() if found.run.owner == owner]


def empty(older_than: float) -> int:
    """Deletes for good what was thrown away more than so many seconds ago. Returns how many runs those were."""
    trash, latest = runs_root() / TRASH, time.time() - older_than
    old = [found for found in _all() if found.at <= latest]
    for found in old:
        with suppress(OSError):  # another process was quicker; or a file resists, and is tried again next time
            durable.vanish(found.run.folder)
    durable.clear_drafts(trash, older=0.0)
    return len(old)


def _all() -> list[Discarded]:
    trash = runs_root() / TRASH
    folders = sorted(trash.iterdir(), reverse=True) if trash.is_dir() else []
    return [found for found in map(_discarded, folders) if found]


def _discarded(folder: Path) -> Discarded | None:
    moment, _, run_id = folder.name.partition("~")
    if not moment.isdecimal() or not RUN_ID.fullmatch(run_id):
        return None
    return Discarded(run_id, Run(folder), int(moment) / 1e9)
