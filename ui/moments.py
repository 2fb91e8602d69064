"""Moments of a run, as its snapshots keep them, and what stays the same while they are replayed."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from ui.planes import Drawn, axis_names, on_plane
from ui.words import nats
from vae_core.planes import axis_plane
from vae_core.runs import Row, Run, load_tensors
from vae_core.snapshots import Axes

SURVEYED = 60
"""Snapshots of a long run that are looked at to find how large its view must be."""


@dataclass(frozen=True)
class Moment:
    """A plane with its points, their labels, and the lattice that was decoded on it: no tiles where none was."""

    drawn: Drawn
    labels: UInt8[Tensor, "N"]
    tiles: UInt8[Tensor, "T D"]


def moment(tensors: dict[str, Tensor], axes: Axes | None = None) -> Moment:
    """What a snapshot shows along its own axes or others, of which it has no lattice. Raises ValueError for axes that
    its space has not, KeyError for a snapshot that lacks something."""
    first, second = tensors["axes"].tolist()
    own, means = (first, second), tensors["means"].float()
    along = axes or own
    plane = axis_plane(along, torch.zeros(means.shape[1]))
    lattice, prior = tensors["lattice"], [tuple(row) for row in tensors["prior"].tolist()]
    if along != own:
        lattice, prior = lattice[:0], []
    drawn = Drawn(axis_names(along), plane, on_plane(plane, means), tensors["extent"].item(), prior)
    return Moment(drawn, tensors["labels"], lattice)


@dataclass(frozen=True)
class Reel:
    """What a run is replayed through: its steps of which there are snapshots, each with what it was in words; and the
    view that stays: two axes, and half the side of a square that holds all."""

    said: dict[int, str]
    axes: Axes
    half: float


def reel(run: Run) -> Reel:
    """Raises DamagedRun; IndexError for a run without snapshots."""
    steps = tuple(run.snapshots())
    reports = {row["step"]: row for row in run.rows() if "held_out_elbo" in row}
    return Reel({step: said(step, reports.get(step)) for step in steps}, *_view(run.folder, steps))


def said(step: int, report: Row | None) -> str:
    """A moment in words."""
    words = f"Step {step:,}"
    return (
        words + f" · epoch {report['epoch']:.1f} · held-out ELBO {nats(report['held_out_elbo'])}" if report else words
    )


@lru_cache(maxsize=16)
def _view(folder: Path, steps: tuple[int, ...]) -> tuple[Axes, float]:
    seen = [load_tensors(Run(folder).snapshot_path(step)) for step in even(steps, SURVEYED)]
    first, second = seen[-1]["axes"].tolist()
    return (first, second), max(tensors["extent"].item() for tensors in seen)


def even(steps: tuple[int, ...], most: int) -> list[int]:
    """At most so many of the steps, evenly chosen, the first and the last among them."""
    count = min(most, len(steps))
    return [steps[round(i * (len(steps) - 1) / max(count - 1, 1))] for i in range(count)]
