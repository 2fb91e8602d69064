"""How noisy is the encoder's gradient under each estimator? A small VAE of MNIST, briefly trained, one fixed batch.

The total variance is the sum over the encoder's parameters of the variance of one gradient (of the mean over the
batch) between repeats. (a) The ELBO with the same number of draws: score function, leave-one-out, pathwise. The score
function of several draws multiplies every score by the mean over all draws; "apart" is the mean of as many gradients
of one draw each. (b) IWAE with 1, 5 and 50 draws: pathwise over doubly reparameterised.
"""

import argparse
import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.loop import DATA, INITIAL, JUDGING, TRAINING, Ascent, Clock, ascend, batches, show, stream
from vae_core import datasets
from vae_core.bounds import Objective
from vae_core.config import ModelConfig, ObjectiveConfig
from vae_core.datasets import DATASETS
from vae_core.estimators import ESTIMATORS
from vae_core.likelihoods import binarise
from vae_core.model import HelmholtzMachine, machine

MODEL = ModelConfig(widths=(200,), activation="tanh", latent=20)
ELBO_DRAWS, IWAE_DRAWS = 5, (1, 5, 50)
ELBO_ESTIMATORS = ("score_function", "score_function_loo", "pathwise", "pathwise_analytic", "doubly_reparameterised")


@dataclass(frozen=True)
class Spread:
    """Total variance over repeats, its relative standard error, and the squared length of the mean gradient."""

    variance: float
    relative_error: float
    signal: float


def encoder_gradient(model: HelmholtzMachine, x: Tensor, how: ObjectiveConfig, generator: torch.Generator) -> Tensor:
    estimate = ESTIMATORS[how.estimator].estimate(model, x, Objective(how), how.draws, generator=generator)
    gradients = torch.autograd.grad(estimate.objective.mean(), list(model.recognition.parameters()))
    return torch.cat([gradient.flatten() for gradient in gradients])


def spread(model: HelmholtzMachine, x: Tensor, how: ObjectiveConfig, repeats: int, seed: int) -> Spread:
    generator = stream(seed, JUDGING)
    gradients = torch.stack([encoder_gradient(model, x, how, generator) for _ in range(repeats)])
    mean = gradients.mean(0)
    distances = (gradients - mean).square().sum(1).double() * repeats / (repeats - 1)
    variance = distances.mean().item()
    signal = mean.square().sum().item() - variance / repeats
    return Spread(variance, distances.std().item() / math.sqrt(repeats) / variance, signal)


def ratio(above: Spread, below: Spread) -> dict[str, float]:
    value = above.variance / below.variance
    return {"ratio": value, "se": value * math.hypot(above.relative_error, below.relative_error)}


def trained(steps: int, seed: int) -> HelmholtzMachine:
    model = machine(MODEL, DATASETS["mnist"].shape, generator=stream(seed, INITIAL))
    draw = batches(datasets.load("mnist", "train").x, binarise, 100)
    for _ in ascend(model, draw, Ascent(ObjectiveConfig(), steps), generator=stream(seed, TRAINING)):
        pass
    return model


def compare_elbo(model: HelmholtzMachine, x: Tensor, repeats: int, seed: int, clock: Clock) -> dict[str, Any]:
    found: dict[str, Spread] = {}
    for name in ELBO_ESTIMATORS:
        found[name] = spread(model, x, ObjectiveConfig(estimator=name, draws=ELBO_DRAWS), repeats, seed)
        clock.say(f"ELBO, {name}: total variance {found[name].variance:.4g}")
    alone = spread(model, x, ObjectiveConfig(estimator="score_function"), repeats, seed)
    found["score_function_apart"] = replace(alone, variance=alone.variance / ELBO_DRAWS)
    return {
        "total_variance": {name: value.variance for name, value in found.items()},
        "relative_error": {name: value.relative_error for name, value in found.items()},
        "squared_mean": found["pathwise"].signal,
        "over_pathwise": {name: ratio(value, found["pathwise"]) for name, value in found.items() if name != "pathwise"},
        "score_function_over_leave_one_out": ratio(found["score_function"], found["score_function_loo"]),
        "apart_over_leave_one_out": ratio(found["score_function_apart"], found["score_function_loo"]),
    }


def compare_iwae(model: HelmholtzMachine, x: Tensor, repeats: int, seed: int, clock: Clock) -> dict[str, Any]:
    doubly = {}
    for draws in IWAE_DRAWS:
        pair = [
            spread(model, x, ObjectiveConfig("iwae", name, draws), repeats, seed)
            for name in ("pathwise", "doubly_reparameterised")
        ]
        doubly[str(draws)] = ratio(*pair)
        clock.say(f"IWAE-{draws}: pathwise over doubly reparameterised {doubly[str(draws)]['ratio']:.3g}")
    return doubly


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000, help="of training before")
    parser.add_argument("--images", type=int, default=50, help="in the fixed batch")
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    clock = Clock()
    model = trained(given.steps, given.seed)
    clock.say(f"trained for {given.steps} steps")
    x = binarise(datasets.load("mnist", "validation").x[: given.images], generator=stream(given.seed, DATA))
    elbo = compare_elbo(model, x, given.repeats, given.seed, clock)
    doubly = compare_iwae(model, x, given.repeats, given.seed, clock)
    result = {"elbo_draws": ELBO_DRAWS, "elbo": elbo, "iwae_pathwise_over_doubly_reparameterised": doubly}
    show({"settings": vars(given), **result, "seconds": clock.seconds}, digits=3)


if __name__ == "__main__":
    main()
