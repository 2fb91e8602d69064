"""Sweeps of the app: many runs that wait in the queue, and one file beside the runs that says which belong together.

The file is `.sweeps/<id>.json` in the folder of the runs. Who knows the id may look; the runs keep their owner.
"""

import json
import re
import secrets
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from vae_core.config import Config
from vae_core.durable import make_folder, write_atomically
from vae_core.grid import Point
from vae_core.marks import Marks, mark
from vae_core.runs import Run, Status, runs_root
from vae_core.waiting import initials

FOLDER = ".sweeps"
ID = re.compile(r"[0-9a-f]{16}")
MOST = 200
"""Runs of one sweep."""
TAG = 6
"""Signs of the id in the tag of its runs."""

Create = Callable[[Config, str], Run]
"""Makes a run of an owner that waits for its turn."""


@dataclass(frozen=True)
class Member:
    """A run of a sweep, with the setting and the seed that are its own."""

    run: str
    setting: dict[str, str]
    seed: int


@dataclass(frozen=True)
class Sweep:
    """`owner` is a fingerprint of the owner's key; `created` in seconds since 1970; `wanted` how many members it was to
    have: with fewer, not all of them were queued."""

    id: str
    owner: str
    dataset: str
    created: float
    members: tuple[Member, ...]
    wanted: int = 0

    def of(self, owner: str) -> bool:
        return self.owner == initials(owner)

    @property
    def tag(self) -> str:
        """What its runs are marked with."""
        return f"sweep {self.id[:TAG]}"

    @property
    def axes(self) -> dict[str, list[str]]:
        """The settings that vary, each with its values in order."""
        names = self.members[0].setting if self.members else {}
        return {name: list(dict.fromkeys(member.setting[name] for member in self.members)) for name in names}

    @property
    def columns(self) -> int:
        """How many values the last setting has, which goes through all of them before another changes."""
        return len(list(self.axes.values())[-1]) if self.axes else 1


def require_few(count: int) -> None:
    """Raises ValueError for more runs than a sweep may have."""
    if count > MOST:
        raise ValueError(f"these are {count:,} runs, but a sweep has at most {MOST}: take fewer values or seeds")


def start(points: Sequence[Point], owner: str, created: float, create: Create) -> Sweep:
    """Queues one run after the other; the sweep so far is always on the disk.

    Raises what `create` raises; the runs before stay, and their sweep.
    """
    require_few(len(points))
    sweep = Sweep(secrets.token_hex(8), initials(owner), points[0].config.dataset, created, (), len(points))
    for point in points:
        run = create(point.config, owner)
        mark(run, Marks(tags=(sweep.tag,)))
        sweep = replace(sweep, members=(*sweep.members, Member(run.id, point.setting, point.seed)))
        _write(sweep)
    return sweep


def _path(sweep_id: str) -> Path:
    return runs_root() / FOLDER / f"{sweep_id}.json"


def _write(sweep: Sweep) -> None:
    path = _path(sweep.id)
    make_folder(path.parent)
    write_atomically(path, json.dumps(asdict(sweep)).encode())


def find(sweep_id: str) -> Sweep | None:
    """The sweep of that id; None where there is none, or its file is damaged."""
    if not ID.fullmatch(sweep_id):
        return None
    try:
        value = json.loads(_path(sweep_id).read_text(encoding="utf-8"))
        return Sweep(**{**value, "members": tuple(Member(**member) for member in value["members"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def listed(owner: str) -> list[Sweep]:
    """The owner's sweeps, newest first."""
    found = [find(path.stem) for path in (runs_root() / FOLDER).glob("*.json")]
    return sorted((s for s in found if s is not None and s.of(owner)), key=lambda s: s.created, reverse=True)


def remaining(members: Sequence[tuple[dict[str, str], Status]], places: int) -> float | None:
    """Seconds until all runs have been trained, with so many side by side; None while nothing can be told.

    What a run takes in all is told by its own pace, else by runs of its setting, else by all.
    """
    paces = [_whole(status) for _, status in members]
    known = [pace for pace in paces if pace is not None]
    if not known:
        return None
    left = []
    for (setting, status), pace in zip(members, paces, strict=True):
        if not status.active:
            continue
        alike = [p for (other, _), p in zip(members, paces, strict=True) if p is not None and other == setting]
        expected = pace if pace is not None else statistics.mean(alike or known)
        left.append(max(0.0, expected - status.seconds))
    return max([*left, sum(left) / max(1, places)]) if left else 0.0


def _whole(status: Status) -> float | None:
    """Seconds that a run takes from its first step to its last, as far as it has shown."""
    return status.seconds * status.total_steps / status.step if status.step and status.seconds else None
