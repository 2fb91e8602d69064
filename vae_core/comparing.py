"""Runs side by side: in what their recipes differ, and which group of them is best, with how sure that is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from scipy.special import ndtr, stdtrit
from torch import Tensor

from vae_core.config import Config

RESAMPLES = 4_000
LEVEL = 0.95

Interval = tuple[float, float]


@dataclass(frozen=True)
class BestOf:
    """The runs of one group. The intervals are of what the mean and the best of so many runs are expected to be; a
    single run has none. The best of more runs is better by luck alone: compare the best of equally many."""

    name: str
    runs: int
    best: float
    mean: float
    best_interval: Interval | None
    mean_interval: Interval | None


def config_differences(a: Config, b: Config) -> list[tuple[str, Any, Any]]:
    """The settings in which two recipes differ, as (key with dots, value in a, value in b)."""
    mine, other = _flat(asdict(a)), _flat(asdict(b))
    return [(key, mine[key], other[key]) for key in mine if mine[key] != other[key]]


def _flat(value: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, part in value.items():
        flat |= _flat(part, f"{before}{key}.") if isinstance(part, dict) else {before + key: part}
    return flat


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean of some runs, and its standard error (NaN for one)."""
    found = torch.tensor(values, dtype=torch.float64)
    error = found.std().item() / len(values) ** 0.5 if len(values) > 1 else math.nan
    return found.mean().item(), error


def best_of(groups: Mapping[str, Sequence[float]], *, generator: torch.Generator) -> list[BestOf]:
    """The groups of final held-out ELBOs, in nats, that with the best run first. Raises ValueError for a group without
    runs, or with a number that is not finite."""
    for name, values in groups.items():
        if not values or not all(map(math.isfinite, values)):
            raise ValueError(f"the group {name!r} must have at least one run, and finite numbers only; got {values!r}")
    rows = [_row(name, torch.tensor(values, dtype=torch.float64), generator) for name, values in groups.items()]
    return sorted(rows, key=lambda row: -row.best)


def _row(name: str, values: Float[Tensor, "N"], generator: torch.Generator) -> BestOf:
    intervals: list[Interval | None] = [None, None]
    if len(values) > 1:
        drawn = _resampled(values, generator)
        intervals = [_interval(drawn.amax(1), len(values)), _interval(drawn.mean(1), len(values))]
    return BestOf(name, len(values), values.max().item(), values.mean().item(), *intervals)


def _resampled(values: Float[Tensor, "N"], generator: torch.Generator) -> Float[Tensor, "B N"]:
    """Groups drawn by the smoothed bootstrap, shrunk to keep the variance (Silverman & Young 1987).

    Without the noise the best of a draw would never exceed the best there is, whose interval would then hold the
    truth in less than half of all cases.
    """
    count, mean, spread = len(values), values.mean(), values.std()
    size = (RESAMPLES, count)
    picked = values[torch.randint(count, size, generator=generator)]
    width = (4 / (3 * count)) ** 0.2  # of the kernel, in standard deviations (Silverman 1986, eq. 3.28)
    noise = width * spread * torch.randn(size, generator=generator, dtype=values.dtype)
    return mean + (picked - mean + noise) / math.sqrt((count - 1) / count + width**2)


def _interval(drawn: Float[Tensor, "B"], count: int) -> Interval:
    """Quantiles as far out as Student's t asks for so few runs (the expanded percentile interval, Hesterberg 2015)."""
    t = stdtrit(count - 1, (1 + LEVEL) / 2)
    tail = ndtr(-math.sqrt(count / (count - 1)) * t)
    low, high = drawn.quantile(drawn.new_tensor([tail, 1 - tail])).tolist()
    return low, high
