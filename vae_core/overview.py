"""One line per run, for tables of thousands: read quickly, and again only when one of its files has changed."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeVar

from vae_core.config import Config
from vae_core.datasets import DATASETS
from vae_core.marks import FILE as MARKS
from vae_core.marks import Marks, marks
from vae_core.runs import DamagedRun, Row, Run, Status, listed

WATCHED = (
    "config.json", "status.json", "metrics.jsonl", "metrics.json", "changes.jsonl", MARKS, "checkpoints", "snapshots",
)  # fmt: skip
"""What an overview is read from. With every change a file gets another time, size or inode, a folder with every file
that comes or goes."""
TAIL = 8_192
LONGEST_TAIL = 1_048_576
"""Bytes at the end of metrics.jsonl among which the last held-out numbers are looked for: first, and at most."""

T = TypeVar("T")
Stamp = tuple[int, int, int] | None


@dataclass(frozen=True)
class Numbers:
    """The last numbers on data not trained on, nats per example; `rate` and `distortion` sum to -ELBO. A plain
    autoencoder has neither ELBO nor rate."""

    elbo: float | None
    elbo_se: float | None
    rate: float | None
    distortion: float
    active_units: int
    part: Literal["held out", "test"]


@dataclass(frozen=True)
class Overview:
    """A run or published model in brief; what cannot be read is None and `damaged` says why.

    `config` is the recipe with every change so far, `created` in seconds since 1970, `disk` in bytes.
    """

    id: str
    config: Config | None
    status: Status | None
    numbers: Numbers | None
    marks: Marks
    created: float
    disk: int
    damaged: str = ""


def overviews(owner: str = "") -> list[Overview]:
    """The owner's runs, newest first, damaged ones included."""
    return [overview(run) for run in listed(owner)]


def overview(run: Run) -> Overview:
    """One run, or published model, in brief."""
    folder = str(run.folder)
    stamps = tuple(stamp(f"{folder}/{name}") for name in WATCHED)
    data = _data_of(folder, stamps[0])
    found = _read(folder, stamps, "" if data in DATASETS else data)
    if found.status is None or not found.status.active:
        return found
    try:
        return replace(found, status=run.status())  # whether its worker lives is written in no file
    except DamagedRun as error:
        return replace(found, status=None, damaged=str(error))


def numbers(run: Run) -> Numbers | None:
    """The last held-out numbers of a run, or the test numbers of a published model; None before there are any.

    Raises DamagedRun.
    """
    found = _measured(run)
    if found and run.config().model.plain:
        return replace(found, elbo=None, elbo_se=None, rate=None)
    return found


def _measured(run: Run) -> Numbers | None:
    try:
        if (row := _published(run)) is not None:
            elbo, se, rate, distortion = (
                float(row[f"test_{name}"]) for name in ("elbo", "elbo_se", "rate", "distortion")
            )
            return Numbers(elbo, se, rate, distortion, int(row["test_active_units"]), "test")
        if row := last_look(run.folder / "metrics.jsonl"):
            elbo, se, rate, gain = (
                float(row[f"held_out_{name}"]) for name in ("elbo", "elbo_se", "kl", "reconstruction")
            )
            return Numbers(elbo, se, rate, -gain, int(row["active_units"]), "held out")
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedRun(f"its metrics cannot be read: {error}") from error


def _published(run: Run) -> Row | None:
    path = run.folder / "metrics.json"
    return json.loads(path.read_bytes()) if path.is_file() else None


def last_look(path: Path) -> Row | None:
    """The last whole line with held-out numbers, from the end of the file: most lines have none, and there are many."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    with file:
        end = file.seek(0, os.SEEK_END)
        for length in (TAIL, LONGEST_TAIL):
            start = file.seek(max(0, end - length))
            tail = file.read(length)
            whole = tail[: tail.rfind(b"\n") + 1]
            line = whole.rfind(b"\n", 0, max(0, whole.rfind(b'"held_out_elbo"'))) + 1
            if b'"held_out_elbo"' in whole and (line or not start):
                return json.loads(whole[line : whole.index(b"\n", line)])
    return None


def stamp(path: str) -> Stamp:
    """What differs once a file has been written, or a folder has got or lost a file; None where there is neither."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


@lru_cache(maxsize=16_384)
def _data_of(folder: str, recipe: Stamp) -> str:
    """The name of the data set; empty where the recipe cannot be read."""
    try:
        return Config.from_json(Path(folder, "config.json").read_text(encoding="utf-8")).dataset
    except (OSError, ValueError):
        return ""


@lru_cache(maxsize=16_384)
def _read(folder: str, stamps: tuple[Stamp, ...], gone: str) -> Overview:
    """`gone` is the name of its data set if that is no longer there."""
    run, damage = Run(Path(folder)), []

    def unless_damaged(read: Callable[[], T]) -> T | None:
        try:
            return read()
        except DamagedRun as error:
            damage.append(str(error))
            return None

    def recipe() -> Config:
        if gone:
            raise DamagedRun(f"its data set {gone} is gone: put its folder back among the data")
        return run.present_config()

    made, config = stamps[0], unless_damaged(recipe)
    return Overview(
        run.id,
        config,
        unless_damaged(lambda: _status(run)),
        unless_damaged(lambda: numbers(run)) if config else None,
        marks(run),
        made[0] / 1e9 if made else 0.0,
        disk_use(folder),
        " ".join(damage),
    )


def _status(run: Run) -> Status:
    try:
        published = _published(run)
        if published is None:
            return run.recorded_status()
        return Status("finished", seconds=float(published["train_seconds"]))
    except DamagedRun:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedRun(f"metrics.json cannot be read: {error}") from error


def disk_use(folder: str) -> int:
    """Bytes of all files of a run; what goes while they are added counts for nothing."""
    total = 0
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                total += _size(entry)
    return total


def _size(entry: "os.DirEntry[str]") -> int:
    if entry.name == "snapshots":  # of one run they have one size, so that only the newest is looked at
        names = os.listdir(entry.path)
        return len(names) * os.stat(f"{entry.path}/{max(names)}").st_size if names else 0
    return disk_use(entry.path) if entry.is_dir(follow_symlinks=False) else entry.stat(follow_symlinks=False).st_size
