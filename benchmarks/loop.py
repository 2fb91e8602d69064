"""What the scripts share: a loop that ascends one objective, mean and standard error, progress lines."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vae_core.bounds import Objective
from vae_core.config import ObjectiveConfig
from vae_core.estimators import ESTIMATORS
from vae_core.likelihoods import Observe
from vae_core.model import HelmholtzMachine
from vae_core.optimisers import OPTIMISERS, SCHEDULES

Draw = Callable[[torch.Generator], Tensor]
"""Gives the next batch of images, as the likelihood sees them."""


@dataclass(frozen=True)
class Ascent:
    """What is maximised with which optimiser; the learning rate follows `schedule` over `steps`."""

    objective: ObjectiveConfig
    optimiser: str = "adam"
    learning_rate: float = 1e-3
    schedule: str = "constant"
    steps: int = 1_000


def ascend(model: HelmholtzMachine, draw: Draw, how: Ascent, *, generator: torch.Generator) -> Iterator[int]:
    """Yields the number of steps done after every step."""
    options = {"eps": 1e-4} if how.optimiser == "adam" and how.schedule == "burda" else {}
    optimiser = OPTIMISERS[how.optimiser](model.parameters(), lr=how.learning_rate, **options)
    objective = Objective(how.objective)
    estimate = ESTIMATORS[how.objective.estimator].estimate
    for step in range(how.steps):
        for group in optimiser.param_groups:
            group["lr"] = how.learning_rate * SCHEDULES[how.schedule](step / how.steps)
        optimiser.zero_grad(set_to_none=True)
        value = estimate(model, draw(generator), objective, how.objective.draws, generator=generator).objective.mean()
        (-value).backward()
        optimiser.step()
        yield step + 1
