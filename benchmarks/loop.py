"""What the scripts of papers share: a loop that ascends an objective, batches, progress lines and the closing JSON."""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vae_core.bounds import Objective
from vae_core.config import ObjectiveConfig
from vae_core.estimators import ESTIMATORS
from vae_core.likelihoods import Observe
from vae_core.model import HelmholtzMachine
from vae_core.optimisers import OPTIMISERS, SCHEDULES
from vae_core.training import generator_for

CPU = torch.device("cpu")
INITIAL, TRAINING, JUDGING, DATA = range(4)
"""What a seed's streams are for: they do not touch each other."""

Draw = Callable[[torch.Generator], Tensor]
"""Gives the next batch of images, as the likelihood sees them."""


@dataclass(frozen=True)
class Ascent:
    """How an objective is maximised; `schedule` gives the share of the learning rate at a fraction of the steps."""

    objective: ObjectiveConfig
    steps: int
    learning_rate: float = 1e-3
    optimiser: str = "adam"
    schedule: Callable[[float], float] = SCHEDULES["cosine"]


def ascend(model: HelmholtzMachine, draw: Draw, how: Ascent, *, generator: torch.Generator) -> Iterator[int]:
    """Yields the number of steps done after every step."""
    optimiser = OPTIMISERS[how.optimiser](model.parameters(), lr=how.learning_rate)
    objective, estimate = Objective(how.objective), ESTIMATORS[how.objective.estimator].estimate
    for step in range(how.steps):
        for group in optimiser.param_groups:
            group["lr"] = how.learning_rate * how.schedule(step / how.steps)
        value = estimate(model, draw(generator), objective, how.objective.draws, generator=generator).objective.mean()
        optimiser.zero_grad(set_to_none=True)
        (-value).backward()
        optimiser.step()
        yield step + 1


def batches(x: Tensor, observe: Observe, size: int) -> Draw:
    """Batches in fresh orders, epoch after epoch; `observe` turns grey levels into what the likelihood sees."""
    rest: list[Tensor] = []

    def draw(generator: torch.Generator) -> Tensor:
        if not rest:
            order = torch.randperm(len(x), generator=generator)
            rest.extend(order[: len(x) // size * size].split(size))
        return observe(x[rest.pop()], generator=generator)

    return draw


def stream(seed: int, purpose: int) -> torch.Generator:
    return generator_for(CPU, seed, purpose)


def mean_and_se(values: Sequence[float]) -> dict[str, float]:
    """Mean of independent values, with its standard error (NaN for one alone)."""
    mean = sum(values) / len(values)
    spread = sum((value - mean) ** 2 for value in values)
    error = math.sqrt(spread / (len(values) - 1) / len(values)) if len(values) > 1 else math.nan
    return {"mean": mean, "se": error}


class Clock:
    """Progress lines: what is done, after how many seconds."""

    def __init__(self) -> None:
        self.begin = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.begin

    def say(self, what: str) -> None:
        print(f"  {self.seconds:7.1f} s  {what}", flush=True)


def rounded(value: Any, digits: int = 4) -> Any:
    """The same with every float rounded to significant digits, NaN as None, so that JSON can hold it."""
    if isinstance(value, dict):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item, digits) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    return value


def show(result: dict[str, Any], digits: int = 4) -> None:
    """The closing line of a script: its result as JSON."""
    print(json.dumps(rounded(result, digits), indent=2), flush=True)
