"""Paths between two codes, with what they decode to."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from ui.address import Vector
from ui.resources import Explored
from ui.tiles import decoded_tiles
from ui.tools.strips import SHARP
from vae_core import paths
from vae_core.datasets import Spec

FINE = 41
"""Points of a shortest path, and of every path whose length is measured, however many are shown."""
Ends = tuple[Vector, Vector]
Shortest = Float[Tensor, "F H"] | None


@dataclass(frozen=True)
class Film:
    """S codes along a path, what they decode to as tiles, and how much that changes from each to the next."""

    z: Float[Tensor, "S H"]
    tiles: UInt8[Tensor, "S h w"]
    changes: Float[Tensor, "S-1"]


def unit(spec: Spec) -> tuple[int, str]:
    """How many there are in the whole range of a value, and what they are called."""
    return (255, "grey levels") if spec.kind == "image" else (100, "% of the range")


def resampled(path: Float[Tensor, "F H"], steps: int) -> Float[Tensor, "{steps} H"]:
    """Points at even shares of the way from point to point of a path."""
    return interpolate(path.mT[None], steps, mode="linear", align_corners=True)[0].mT


def codes(thing: Explored, kind: str, ends: Ends, steps: int, shortest: Shortest) -> Float[Tensor, "{steps} H"]:
    """A linear or spherical path, or the `shortest` one that was found. Raises ValueError where there is none."""
    if shortest is not None:
        return resampled(shortest, steps)
    a, b = map(torch.tensor, ends)
    return paths.linear(a, b, steps) if kind == "linear" else paths.spherical(a, b, steps, thing.model.centre())


def changes(thing: Explored, z: Float[Tensor, "S H"]) -> Float[Tensor, "S-1"]:
    """Root mean square change of the decoded from code to code, in the unit of `unit`."""
    return unit(thing.spec)[0] * paths.step_lengths(thing.decode(z))


def film(thing: Explored, z: Float[Tensor, "S H"]) -> Film:
    return Film(z, decoded_tiles(thing, z, SHARP), changes(thing, z))
