"""What does log p(x) cost, exactly and by sampling, and how far below the truth do samplers stay?

The shipped `mnist-2d` on binarised test images: quadrature at two tolerances, importance sampling, annealed importance
sampling, and the gap of the ELBO split in two.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from benchmarks.loop import DATA, JUDGING, Clock, show, stream
from vae_core import datasets
from vae_core.evaluation import mean_and_error
from vae_core.gaps import gaps
from vae_core.likelihoods import binarise
from vae_core.model import HelmholtzMachine
from vae_core.quadrature import log_evidence
from vae_core.runs import load_model
from vae_core.sampling import Annealing, Sampled, annealed_log_likelihood, importance_log_likelihood

T = TypeVar("T")
WEIGHTS = Path(__file__).parent.parent / "pretrained" / "mnist-2d"
TOLERANCES = (1e-2, 1e-4)
AGREEMENT = 0.01
"""Nats between the two that are asked for, at most."""


def timed(images: int, compute: Callable[[], T]) -> tuple[T, float]:
    """The result, and seconds an image."""
    begin = time.perf_counter()
    result = compute()
    return result, (time.perf_counter() - begin) / images


def stated(values: Tensor) -> dict[str, float]:
    mean, error = mean_and_error(values)
    return {"mean": mean, "se": error, "median": values.median().item()}


def exact(model: HelmholtzMachine, x: Tensor, clock: Clock) -> tuple[Tensor, dict[str, Any]]:
    """The finer log p(x), and how the two compare."""
    by_tolerance: dict[str, Any] = {}
    values = []
    for tolerance in TOLERANCES:
        found, seconds = timed(len(x), lambda tolerance=tolerance: log_evidence(model, x, tolerance))
        values.append(found.log_p)
        by_tolerance[f"{tolerance:g}"] = {
            "log_p": stated(found.log_p),
            "largest_estimated_error": found.error.max().item(),
            "median_estimated_error": found.error.median().item(),
            "decoder_evaluations_per_image": found.evaluations / len(x),
            "seconds_per_image": seconds,
        }
        clock.say(f"quadrature at {tolerance:g}: {found.log_p.mean():.3f} nats, {seconds:.4f} s an image")
    difference = (values[0] - values[1]).abs().max().item()
    agree = {"largest_difference": difference, "allowed": AGREEMENT, "met": difference <= AGREEMENT}
    return values[-1], {"images": len(x), "by_tolerance": by_tolerance, **agree}


def sampled(found: Sampled, truth: Tensor, seconds: float) -> dict[str, Any]:
    shortfall = truth - found.log_p
    return {
        "images": len(truth),
        "log_p": stated(found.log_p),
        "own_error_mean": found.error.mean().item(),
        "shortfall": stated(shortfall),
        "largest_shortfall": shortfall.max().item(),
        "median_absolute_difference": shortfall.abs().median().item(),
        "seconds_per_image": seconds,
    }


def compare(model: HelmholtzMachine, x: Tensor, given: argparse.Namespace, clock: Clock) -> dict[str, Any]:
    truth, quadrature = exact(model, x, clock)
    few, fewer, fewest = given.importance, given.annealed, given.gaps
    generator = stream(given.seed, JUDGING)
    found, seconds = timed(few, lambda: importance_log_likelihood(model, x[:few], given.draws, generator=generator))
    importance = sampled(found, truth[:few], seconds)
    clock.say(f"importance sampling: shortfall {importance['shortfall']['mean']:.4f} nats, {seconds:.3f} s an image")
    how = Annealing(given.temperatures, given.leapfrog, given.chains)
    found, seconds = timed(fewer, lambda: annealed_log_likelihood(model, x[:fewer], how, generator=generator))
    annealed = sampled(found, truth[:fewer], seconds)
    clock.say(f"annealed sampling: shortfall {annealed['shortfall']['mean']:.4f} nats, {seconds:.3f} s an image")
    split, seconds = timed(fewest, lambda: gaps(model, x[:fewest]))
    clock.say("gaps")
    named = {"total": split.total, "approximation": split.approximation, "amortisation": split.amortisation}
    parts = {name: stated(gap) for name, gap in named.items()}
    found_gaps = {"images": fewest, **parts, "seconds_per_image": seconds}
    return {"quadrature": quadrature, "importance": importance, "annealed": annealed, "gaps": found_gaps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_000, help="for quadrature")
    parser.add_argument("--importance", type=int, default=200, help="images for importance sampling")
    parser.add_argument("--draws", type=int, default=5_000)
    parser.add_argument("--annealed", type=int, default=20, help="images for annealed importance sampling")
    parser.add_argument("--temperatures", type=int, default=100)
    parser.add_argument("--leapfrog", type=int, default=5)
    parser.add_argument("--chains", type=int, default=16)
    parser.add_argument("--gaps", type=int, default=50, help="images for the gaps")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    clock = Clock()
    x = binarise(datasets.load("mnist", "test").x[: given.images], generator=stream(given.seed, DATA))
    _, model = load_model(WEIGHTS)
    show({"settings": vars(given), **compare(model, x, given, clock), "seconds": clock.seconds}, digits=6)


if __name__ == "__main__":
    main()
