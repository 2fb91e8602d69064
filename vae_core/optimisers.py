"""Optimisers, and learning-rate schedules as pure functions of the fraction of steps done."""

import math
from collections.abc import Callable
from functools import partial

import torch

OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": partial(torch.optim.Adam, fused=True),
    "adamw": partial(torch.optim.AdamW, fused=True),
    "adagrad": torch.optim.Adagrad,
    "sgd": torch.optim.SGD,
}


def _one_cycle(progress: float, rise: float = 0.2) -> float:
    """Cosine up from 1/25 over the first fifth, cosine down to 0 after (Smith & Topin 2018)."""
    if progress < rise:
        return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * progress / rise))
    return 0.5 * (1 + math.cos(math.pi * (progress - rise) / (1 - rise)))


SCHEDULES: dict[str, Callable[[float], float]] = {
    "one_cycle": _one_cycle,
    "cosine": lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
    "constant": lambda progress: 1.0,
}
"""Learning rate over its peak, as a function of the fraction of steps done."""
