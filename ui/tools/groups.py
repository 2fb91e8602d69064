"""Two groups of examples, and the vector of latent space from the mean of one to the mean of the other."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ui.resources import CPU, explored
from vae_core.datasets import Spec
from vae_core.separation import Separation, along, separation
from vae_core.training import generator_for
from vae_core.traversals import attribute_vector

REGION, REST = -1, -2
"""Groups that are no label: the selected region, and everything else."""
BOOTSTRAP_SEED = 13


def groups(y: Tensor, region: Bool[Tensor, "N"] | None) -> list[int]:
    """The selected region, if it holds anything, and the labels that there are."""
    labels = y.unique().tolist()
    return [REGION, *labels] if region is not None and region.any() else labels


def group_name(spec: Spec, group: int) -> str:
    return {REGION: "The selected region", REST: "Everything else"}.get(group) or f"“{spec.classes[group]}”"


def members(y: Tensor, region: Bool[Tensor, "N"] | None, group: int) -> Bool[Tensor, "N"]:
    """Which examples are of a label, or of the region; all are for “everything else”."""
    if group == REST:
        return torch.ones_like(y, dtype=torch.bool)
    if group == REGION:
        assert region is not None
        return region
    return torch.eq(y, group)


def sides(
    y: Tensor, region: Bool[Tensor, "N"] | None, towards: int, away: int
) -> tuple[Bool[Tensor, "N"], Bool[Tensor, "N"]]:
    """The examples that have the attribute, and those of the other group that have it not."""
    having = members(y, region, towards)
    return having, members(y, region, away) & ~having


@dataclass(frozen=True)
class Attribute:
    """The vector from one group's mean to the other's, and how far it separates them, or why that has no answer."""

    vector: Float[Tensor, "H"]
    separation: Separation | None
    refusal: str


@lru_cache(maxsize=8)
def attribute(folder: Path, token: str, data: str, having: bytes, lacking: bytes) -> Attribute:
    """Of two groups, one byte an example; `token` is the model's `version`. Raises ValueError for an empty group."""
    means = explored(folder, data).means
    a, b = (torch.from_numpy(np.frombuffer(group, dtype=bool).copy()) for group in (having, lacking))
    found = attribute_vector(means, a, b)
    try:
        at = along(means, found)
        return Attribute(found, separation(at[a], at[b], generator=generator_for(CPU, BOOTSTRAP_SEED)), "")
    except ValueError as refusal:
        return Attribute(found, None, str(refusal))
