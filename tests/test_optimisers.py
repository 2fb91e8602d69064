import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from vae_core.optimisers import OPTIMISERS, SCHEDULES

RATE = 0.1
GRADIENT = 3.0


def first_step_of_adam(weight: Tensor) -> Tensor:
    """With bias correction the first step is the learning rate, whatever the gradient (Kingma & Ba 2015, section 2)."""
    return weight - RATE * GRADIENT / (GRADIENT + 1e-8)


FIRST_STEPS: dict[str, Callable[[Tensor], Tensor]] = {
    "adam": first_step_of_adam,
    "adamw": lambda weight: first_step_of_adam(weight * (1 - RATE * 0.01)),
    "adagrad": lambda weight: weight - RATE * GRADIENT / (GRADIENT + 1e-10),
    "sgd": lambda weight: weight - RATE * GRADIENT,
}

KNOWN_VALUES = {
    "one_cycle": {0.0: 0.04, 0.1: 0.52, 0.2: 1.0, 0.6: 0.5, 1.0: 0.0},
    "cosine": {0.0: 1.0, 0.25: 0.5 + math.sqrt(0.125), 0.5: 0.5, 1.0: 0.0},
    "constant": {0.0: 1.0, 0.37: 1.0, 1.0: 1.0},
}
PEAKS = {"one_cycle": 0.2, "cosine": 0.0, "constant": 0.0}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_first_step_by_hand(name: str) -> None:
    weight = nn.Parameter(torch.tensor([2.0, -1.0]))
    expected = FIRST_STEPS[name](weight.detach().clone())
    weight.grad = torch.full((2,), GRADIENT)
    OPTIMISERS[name]([weight], lr=RATE).step()
    torch.testing.assert_close(weight.detach(), expected)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_at_known_points(name: str) -> None:
    for progress, value in KNOWN_VALUES[name].items():
        assert SCHEDULES[name](progress) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_rises_to_its_peak_and_never_after(name: str) -> None:
    points = [step / 1000 for step in range(1001)]
    values = [SCHEDULES[name](progress) for progress in points]
    peak = round(1000 * PEAKS[name])
    assert values[: peak + 1] == sorted(values[: peak + 1])
    assert values[peak:] == sorted(values[peak:], reverse=True)
    assert max(values) == pytest.approx(1.0)
    assert min(values) >= 0
    assert max(abs(a - b) for a, b in pairwise(values)) < 0.01  # no jump
