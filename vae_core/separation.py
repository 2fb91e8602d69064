"""How far two groups of codes lie apart along one direction, and how sure a sample makes us of it."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

RESAMPLES = 1_000
LEVEL = 0.95
LEAST = 5
"""Of a group: resamples of fewer are too often all the same."""
VALUES = 4_000_000
"""Drawn values that are held at once."""


@dataclass(frozen=True)
class Separation:
    """Distance of the means of two groups in pooled standard deviations, with the ends of its bootstrap interval."""

    distance: float
    low: float
    high: float


def along(codes: Float[Tensor, "N H"], direction: Float[Tensor, "H"]) -> Float[Tensor, "N"]:
    """Coordinates of codes on the line in that direction. Raises ValueError for a direction of no length."""
    length = direction.norm()
    if not length > 0:
        raise ValueError("the direction has no length: the means of both groups coincide; choose other groups")
    return codes @ (direction / length)


def _distance(
    counts: tuple[int, int], means: tuple[Tensor, Tensor], variances: tuple[Tensor, Tensor]
) -> Float[Tensor, "*batch"]:
    """Cohen's d (Cohen 1988, eq. 2.5.1) from unbiased variances."""
    free = [count - 1 for count in counts]
    pooled = (free[0] * variances[0] + free[1] * variances[1]) / sum(free)
    return (means[0] - means[1]) / pooled.sqrt()


def _resampled(values: Float[Tensor, "N"], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Means and variances of RESAMPLES draws with replacement, each as large as the sample."""
    rows = max(1, VALUES // len(values))
    means, variances = [], []
    for start in range(0, RESAMPLES, rows):
        size = (min(rows, RESAMPLES - start), len(values))
        drawn = values[torch.randint(len(values), size, generator=generator)]
        variance, mean = torch.var_mean(drawn, dim=1)
        means.append(mean)
        variances.append(variance)
    return torch.cat(means), torch.cat(variances)


def separation(a: Float[Tensor, "N"], b: Float[Tensor, "M"], *, generator: torch.Generator) -> Separation:
    """How far `a` lies above `b`, with the percentile interval of LEVEL (Efron 1979): either group is resampled, the
    direction they were projected on is held.

    Raises ValueError for groups of fewer than LEAST values, and where neither group varies.
    """
    counts = (len(a), len(b))
    if min(counts) < LEAST:
        raise ValueError(
            f"a separation needs {LEAST} examples at least in either group; got {counts[0]} and {counts[1]}"
        )
    a, b = a.double(), b.double()
    found = _distance(counts, (a.mean(), b.mean()), (a.var(), b.var())).item()
    if not math.isfinite(found):
        raise ValueError(
            "neither group varies along its direction, so that there is no standard deviation to measure in"
        )
    (mean_a, var_a), (mean_b, var_b) = _resampled(a, generator), _resampled(b, generator)
    spread = _distance(counts, (mean_a, mean_b), (var_a, var_b))
    low, high = spread.quantile(spread.new_tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2])).tolist()
    return Separation(found, low, high)
