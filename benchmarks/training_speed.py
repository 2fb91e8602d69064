"""How fast is our training step? Images per second on MNIST, 784-400-20, batch 128, Adam, float32, beside

(a) the usual tutorial way, (b) the bare matrix products of forward and backward in the same shapes, and (c) the
same step written out by hand for this one model, with torch's own parts alone: what eager PyTorch can do at all.
All take turns in blocks, so that a busy machine slows all alike; medians over the blocks are compared.
"""

import json
import statistics
import time
from collections.abc import Callable
from itertools import islice

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor, nn

from benchmarks.tutorial import TutorialVAE, loader, steps
from vae_core import datasets
from vae_core.config import Config, ModelConfig, ScheduleConfig
from vae_core.training import load_trainer
from vae_core.worker import few_collections

BATCH, BLOCKS = 128, 15
SHAPES = ((784, 400), (400, 40), (20, 400), (400, 784))
CONFIG = Config(
    "mnist",
    ModelConfig(widths=(400,), activation="relu", latent=20),
    schedule=ScheduleConfig(learning_rate=1e-3, schedule="constant", batch_size=BATCH),
)


def bare_products() -> Callable[[], None]:
    """One step's products: forward, weight gradients, and input gradients of all layers but the first."""
    weights = [torch.randn(out, inputs) for inputs, out in SHAPES]
    inputs = [torch.randn(BATCH, size) for size, _ in SHAPES]
    gradients = [torch.randn(BATCH, out) for _, out in SHAPES]

    def step() -> None:
        for layer, (w, x, g) in enumerate(zip(weights, inputs, gradients, strict=True)):
            _ = x @ w.T
            _ = g.T @ x
            if layer:
                _ = g @ w

    return step


def by_hand(images: UInt8[Tensor, "N 784"]) -> Callable[[], None]:
    """Binarised images, one draw, analytic KL, Adam: nothing can be chosen, and nothing is counted."""
    up, code, down, out = (nn.Linear(*sizes) for sizes in ((784, 400), (400, 40), (20, 400), (400, 784)))
    parameters = [parameter for layer in (up, code, down, out) for parameter in layer.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=1e-3, fused=True)
    order, place = torch.randperm(len(images)), 0

    def step() -> None:
        nonlocal place
        rows = images.index_select(0, order[place : place + BATCH])
        place = (place + BATCH) % (len(images) - BATCH)
        noise = torch.rand(rows.shape)
        x = torch.lt(noise.mul_(255), rows, out=noise)
        mean, log_scale = code(F.relu(up(x))).chunk(2, -1)
        scale = log_scale.exp()
        logits = out(F.relu(down(torch.addcmul(mean, scale, torch.randn_like(mean)))))
        log_lik = torch.linalg.vecdot(x, logits) - F.softplus(logits).sum(-1)
        kl = (0.5 * (scale.square() + mean.square() - 1) - log_scale).sum(-1)
        optimiser.zero_grad(set_to_none=True)
        (kl - log_lik).mean().backward()
        optimiser.step()

    return step


def seconds_per_step(step: Callable[[], object], count: int) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - begin) / count


def main() -> None:
    trainer = load_trainer(CONFIG)
    tutorial = steps(TutorialVAE(20), loader(BATCH), binarise=False)
    contestants: dict[str, tuple[Callable[[], object], int]] = {
        "ours": (trainer.advance, 100),
        "tutorial": (lambda: list(islice(tutorial, 1)), 20),
        "bare products": (bare_products(), 100),
        "by hand": (by_hand(datasets.load("mnist", "train").x), 100),
    }
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for block in range(BLOCKS + 1):
        for name, (step, count) in contestants.items():
            spent = seconds_per_step(step, count)
            if block:  # the first block warms up
                times[name].append(spent)
    typical = {name: statistics.median(values) for name, values in times.items()}
    result = {
        "images_per_second": {name: round(BATCH / seconds) for name, seconds in typical.items()},
        "milliseconds_per_step": {name: round(1e3 * seconds, 2) for name, seconds in typical.items()},
        "ours_over_tutorial": round(typical["tutorial"] / typical["ours"], 2),
        "ours_over_bare_products": round(typical["bare products"] / typical["ours"], 3),
        "ours_over_by_hand": round(typical["by hand"] / typical["ours"], 3),
        "by_hand_over_bare_products": round(typical["bare products"] / typical["by hand"], 3),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    with few_collections():  # as in a worker
        main()
