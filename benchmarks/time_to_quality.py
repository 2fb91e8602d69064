"""How long until the held-out ELBO of 2-D MNIST passes -150 nats? Ours with its default settings, beside the tutorial
network with 2 latents and Adam 1e-3, both on dynamically binarised images, both judged by the same evaluation.

Only training is timed; looking at the held-out data is not. Each looks every LOOK steps.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from benchmarks.tutorial import TutorialVAE, loader, steps
from vae_core import datasets
from vae_core.defaults import recipe
from vae_core.distributions import Bernoulli, Normal
from vae_core.evaluation import evaluate
from vae_core.families import Family
from vae_core.launch import in_worker_environment
from vae_core.likelihoods import binarise
from vae_core.model import Conditional, HelmholtzMachine
from vae_core.priors import StandardNormalPrior
from vae_core.training import fit, generator_for, load_trainer
from vae_core.worker import few_collections

TARGET, LOOK, BATCH = -150.0, 100, 128


class _Read(Family):
    """A part of the tutorial network as a conditional density, so that `evaluate` can judge it."""

    def __init__(self, density: Callable[[Tensor], Normal | Bernoulli]) -> None:
        super().__init__()
        self.density = density

    def forward(self, inputs: Tensor) -> Normal | Bernoulli:
        return self.density(inputs)


def as_machine(tutorial: TutorialVAE) -> HelmholtzMachine:
    def posterior(x: Tensor) -> Normal:
        mean, log_variance = tutorial.encode(x)
        return Normal(mean, (0.5 * log_variance).exp())

    def likelihood(z: Tensor) -> Bernoulli:
        return Bernoulli(tutorial.out(torch.relu(tutorial.up(z))))

    encoder = Conditional(nn.Identity(), _Read(posterior))
    return HelmholtzMachine([encoder], [Conditional(nn.Identity(), _Read(likelihood))], StandardNormalPrior(2))


def seconds_to_target(training: Iterator[object], model: HelmholtzMachine, limit: float) -> tuple[float, float]:
    """Seconds of training until the target, and the ELBO then; infinity if the limit is reached before."""
    held_out = datasets.load("mnist", "validation").x
    spent = 0.0
    while True:
        begin = time.perf_counter()
        ended = sum(1 for _ in zip(range(LOOK), training, strict=False)) < LOOK
        spent += time.perf_counter() - begin
        elbo = evaluate(model, binarise, held_out, generator=generator_for(torch.device("cpu"), 0)).elbo
        print(f"  {spent:7.1f} s  {elbo:8.2f} nats", flush=True)
        if elbo > TARGET:
            return spent, elbo
        if ended or spent > limit:
            return float("inf"), elbo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=float, default=900, help="seconds after which the tutorial gives up")
    limit = parser.parse_args().limit
    print("ours")
    trainer = load_trainer(recipe("mnist"))
    ours, _ = seconds_to_target(fit(trainer), trainer.model, limit)
    print("tutorial")
    tutorial = TutorialVAE(2)
    theirs, elbo = seconds_to_target(steps(tutorial, loader(BATCH), binarise=True), as_machine(tutorial), limit)
    result = {"ours_seconds": round(ours, 1), "tutorial_seconds": round(theirs, 1), "tutorial_elbo": round(elbo, 2)}
    print(json.dumps({**result, "tutorial_over_ours": round(theirs / ours, 1)}, indent=2))


if __name__ == "__main__":
    in_worker_environment()
    with few_collections():  # as in a worker
        main()
