"""Cleaning: runs that ended long ago are thrown away, the trash is emptied, and what each owner takes up is added."""

import logging
import threading
import time
from functools import lru_cache
from pathlib import Path

from vae_core import durable, locks, trash
from vae_core.limits import Limits
from vae_core.marks import marks
from vae_core.overview import disk_use
from vae_core.runs import DamagedRun, Run, listed, listed_all, runs_root

DAY = 86_400.0
TRASH_DAYS = 7
FIRST, INTERVAL = 60.0, 3_600.0
FRESH = 2.0
"""Seconds for which a disk use that was added up is good enough: many runs may be queued at once."""

log = logging.getLogger(__name__)


def used_by(owner: str) -> int:
    """Bytes that the owner's runs take, those in the trash not counted."""
    return _used(runs_root(), owner, int(time.monotonic() / FRESH))


@lru_cache(maxsize=256)
def _used(root: Path, owner: str, moment: int) -> int:
    return sum(disk_use(str(run.folder)) for run in listed(owner))


def retire(days: int) -> list[Run]:
    """Throws runs away that ended, and were last marked or restored, so many days ago, but none pinned or shared;
    with 0 days none."""
    before = time.time() - days * DAY
    return [run for run in listed_all() if days and _expired(run, before) and _discarded(run)]


def _expired(run: Run, before: float) -> bool:
    try:
        status, kept = run.status(), marks(run)
        touched = max(status.updated, run.folder.stat().st_mtime)
    except (DamagedRun, FileNotFoundError):
        return False
    return not status.active and touched < before and not (kept.pinned or kept.shared)


def _discarded(run: Run) -> bool:
    try:
        trash.discard(run)
    except (ValueError, FileNotFoundError):  # it is being trained again, or its owner was quicker
        return False
    return True


def tidy(limits: Limits) -> None:
    """All that is to be done now and then."""
    for run in retire(limits.retention_days):
        log.info("The run %s ended more than %d days ago; it is in the trash.", run.id, limits.retention_days)
    trash.empty(TRASH_DAYS * DAY)
    durable.clear_drafts(runs_root())


def keep_house(limits: Limits, closed: threading.Event) -> None:
    """Tidies every hour until `closed`. Of several apps on one disk one does it at a time."""
    interval = FIRST
    while not closed.wait(interval):
        interval = INTERVAL
        try:
            with locks.holding(runs_root() / ".house", patience=0.0):
                tidy(limits)
        except BlockingIOError:
            pass
        except Exception:
            log.exception("The house could not be kept; it is tried again in an hour.")
