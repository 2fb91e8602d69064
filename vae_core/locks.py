"""Locks on files, which the system releases when their holder dies, however it dies."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 0.5
PAUSE = 0.005
"""Seconds: whoever only looks whether a lock is held holds it too, but for microseconds."""


@contextmanager
def holding(path: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Holds the lock of a file, which is made if need be. Raises BlockingIOError if another keeps it for so long."""
    deadline = time.monotonic() + patience
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(PAUSE)
        yield


def held(path: Path) -> bool:
    """Whether somebody holds the lock of a file."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
