"""What a machine and each of its users may take up, as the environment says."""

import os
from dataclasses import dataclass, field, fields
from typing import Any

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""That this process may use, where the system says so."""
MEGABYTE = 1_000_000
HIGHEST = 1_000_000


class LimitReached(ValueError):
    """A run cannot be queued; the message says which limit there is, how much is in use and what to do."""


def _setting(variable: str, default: int, lowest: int = 1) -> Any:
    return field(default=default, metadata={"variable": variable, "default": default, "lowest": lowest})


@dataclass(frozen=True)
class Limits:
    """Runs in training on this machine; and for each owner runs in training, runs waiting, and megabytes of disk.

    Runs that ended `retention_days` ago are thrown away; with 0, none are.
    """

    workers: int = _setting("ELBO_ROOM_WORKERS", CORES)
    running: int = _setting("ELBO_ROOM_MAX_RUNNING", 32)
    queued: int = _setting("ELBO_ROOM_MAX_QUEUED", 500)
    disk: int = _setting("ELBO_ROOM_MAX_DISK", 20_000)
    retention_days: int = _setting("ELBO_ROOM_RETENTION_DAYS", 0, lowest=0)

    @staticmethod
    def from_environment() -> "Limits":
        """Raises ValueError for what is no whole number, or too small or too large a one."""
        return Limits(**{f.name: _whole(**f.metadata) for f in fields(Limits)})

    def admit(self, runs: int, waiting: int, disk: int) -> None:
        """Whether an owner with so many runs waiting, and so many bytes on `disk`, may queue so many more.

        Raises LimitReached.
        """
        if waiting + runs > self.queued:
            more = "" if runs == 1 else f", and these are {runs:,} more"
            raise LimitReached(
                f"{waiting:,} of your runs wait in the queue{more}, but at most {self.queued:,} may wait. "
                "Wait until some have begun, or cancel some of them."
            )
        used = disk / MEGABYTE
        if used >= self.disk:
            raise LimitReached(
                f"Your runs take {used:,.0f} MB of disk, but may take at most {self.disk:,} MB. "
                "Delete runs that you no longer need."
            )


def _whole(variable: str, default: int, lowest: int) -> int:
    text = os.environ.get(variable, "").strip() or str(default)
    if not (text.isascii() and text.isdecimal() and len(text) <= 7 and lowest <= int(text) <= HIGHEST):
        raise ValueError(f"{variable} is {text[:50]!r}, but must be a whole number from {lowest} to {HIGHEST:,}.")
    return int(text)
