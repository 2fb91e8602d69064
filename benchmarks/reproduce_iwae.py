"""How near do we come to table 1 of Importance Weighted Autoencoders (Burda et al. 2016)? MNIST, dynamically binarised.

One stochastic layer of 50 units under 2 x 200 tanh units, or two of 100 and 50 with 2 x 100 between; pathwise
gradients, Adam, minibatches of 20. Judged by -log p(x) with 5,000 draws on test images that are binarised once.
`--whole` is the paper's schedule: 3^i epochs at a rate of 1e-3 * 10^(-i/7) for i = 0 … 7, 3,280 in all; a short one
falls to 0 by a cosine. Unlike the paper's, weights start as PyTorch's do, Adam's epsilon is PyTorch's, and 5,000
training images are set aside.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.loop import DATA, INITIAL, JUDGING, TRAINING, Ascent, Clock, ascend, batches, rounded, show, stream
from vae_core import datasets
from vae_core.config import ModelConfig, ObjectiveConfig
from vae_core.evaluation import mean_and_error
from vae_core.likelihoods import binarise
from vae_core.model import HelmholtzMachine, machine
from vae_core.optimisers import SCHEDULES
from vae_core.sampling import importance_log_likelihood

RESULTS = Path(__file__).parent / "results" / "reproduce_iwae.json"
STAGES = 8
WHOLE_EPOCHS = sum(3**stage for stage in range(STAGES))
ONE = ModelConfig(widths=(200, 200), activation="tanh", latent=50)
TWO = ModelConfig(widths=(200, 200), activation="tanh", below=(100,), latent=50, inner_widths=(100, 100))


@dataclass(frozen=True)
class Row:
    """One row of the table: the model, its number of draws, and the paper's -log p(x)."""

    model: ModelConfig
    draws: int
    paper: float


ROWS = {
    "vae": Row(ONE, 1, 86.76),
    "iwae-5": Row(ONE, 5, 85.54),
    "iwae-50": Row(ONE, 50, 84.78),
    "two-layer-iwae-50": Row(TWO, 50, 82.90),
}


def staged(progress: float) -> float:
    """The paper's schedule: share of the first rate at a fraction of all epochs."""
    ends = [(3 ** (stage + 1) - 1) / 2 / WHOLE_EPOCHS for stage in range(STAGES)]
    return 10 ** (-sum(progress >= end for end in ends) / (STAGES - 1))


def train(row: Row, given: argparse.Namespace, x: Tensor, clock: Clock) -> HelmholtzMachine:
    model = machine(row.model, (1, 28, 28), generator=stream(given.seed, INITIAL))
    per_epoch = len(x) // given.batch
    schedule = staged if given.whole else SCHEDULES["cosine"]
    how = Ascent(ObjectiveConfig("iwae", "pathwise", row.draws), given.epochs * per_epoch, given.rate, "adam", schedule)
    for step in ascend(model, batches(x, binarise, given.batch), how, generator=stream(given.seed, TRAINING)):
        if step % max(1, how.steps // 10) == 0:
            clock.say(f"{row.draws} draws: epoch {step / per_epoch:.1f} of {given.epochs}")
    return model


def judge(model: HelmholtzMachine, x: Tensor, given: argparse.Namespace) -> dict[str, float]:
    """-log p(x), nats, with the standard error over images."""
    found = importance_log_likelihood(model, x, given.draws, generator=stream(given.seed, JUDGING))
    mean, error = mean_and_error(-found.log_p)
    return {"minus_log_p": mean, "se": error}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--whole", action="store_true", help=f"the paper's {WHOLE_EPOCHS} epochs, all test images")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--images", type=int, default=500, help="test images to judge by")
    parser.add_argument("--draws", type=int, default=5_000, help="for judging")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.whole:
        given.epochs, given.images = WHOLE_EPOCHS, 10_000
    return given


def main() -> None:
    given, clock = arguments(), Clock()
    torch.set_num_threads(1)
    x = datasets.load("mnist", "train").x
    test = binarise(datasets.load("mnist", "test").x[: given.images], generator=stream(given.seed, DATA))
    table: dict[str, Any] = {}
    RESULTS.parent.mkdir(exist_ok=True)
    for name in given.networks:
        begin = clock.seconds
        found = judge(train(ROWS[name], given, x, clock), test, given)
        behind = found["minus_log_p"] - ROWS[name].paper
        table[name] = {**found, "paper": ROWS[name].paper, "behind": behind, "seconds": clock.seconds - begin}
        clock.say(f"{name}: {found['minus_log_p']:.2f} ± {found['se']:.2f}; the paper has {ROWS[name].paper:.2f}")
        RESULTS.write_text(json.dumps(rounded(table)), encoding="utf-8")
    show({"settings": vars(given), "table": table, "seconds": clock.seconds}, digits=5)


if __name__ == "__main__":
    main()
