"""Do figures 2 and 3 of Auto-Encoding Variational Bayes (Kingma & Welling 2014) come out? AEVB beside wake-sleep.

Figure 2: the lower bound on train and test images over the number of training samples seen, for MNIST (500 tanh
units) and Frey faces (200) with codes of several sizes. Figure 3: the marginal likelihood by importance sampling, for
100 units, 3 latent dimensions and two sizes of the training set. Minibatches of 100, one draw, Adagrad whose rate is
the best of three after the first steps. Unlike the paper's: MNIST is binarised anew at every visit, the mean of the
Frey faces is not squashed, weights start as PyTorch's do and do not decay.
"""

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots
from torch import Tensor

from benchmarks.loop import DATA, INITIAL, JUDGING, TRAINING, Ascent, Clock, ascend, batches, rounded, show, stream
from vae_core import datasets
from vae_core.config import ModelConfig, ObjectiveConfig
from vae_core.evaluation import example_terms, mean_and_error
from vae_core.likelihoods import LIKELIHOODS
from vae_core.model import HelmholtzMachine, machine
from vae_core.networks import Shape
from vae_core.optimisers import SCHEDULES
from vae_core.sampling import importance_log_likelihood

RESULTS = Path(__file__).parent / "results"
BATCH, TRIAL_STEPS = 100, 100
RATES = (0.01, 0.02, 0.1)
WAYS = {
    "AEVB": ObjectiveConfig("elbo", "pathwise_analytic", 1),
    "wake-sleep": ObjectiveConfig("elbo", "wake_sleep", 1),
}
FREY_TEST = 200
Judge = Callable[[HelmholtzMachine, Tensor], Tensor]
"""A number for each image, nats."""


@dataclass(frozen=True)
class Panel:
    """One panel of a figure: data, recipe, and how long it trains."""

    name: str
    model: ModelConfig
    shape: Shape
    train: Tensor
    test: Tensor
    samples: int
    judge: Judge


def bound(model: HelmholtzMachine, seen: Tensor) -> Tensor:
    return example_terms(model, seen, 5, generator=stream(0, JUDGING)).elbo


def marginal(model: HelmholtzMachine, seen: Tensor) -> Tensor:
    return importance_log_likelihood(model, seen[:200], 1_000, generator=stream(0, JUDGING)).log_p


def mnist_panels(sizes: list[int], samples: int) -> list[Panel]:
    train, test = datasets.load("mnist", "train").x, datasets.load("mnist", "test").x
    return [
        Panel(
            f"MNIST, N_z = {size}", ModelConfig(widths=(500,), activation="tanh", latent=size), (1, 28, 28), train,
            test, samples, bound,
        )
        for size in sizes
    ]  # fmt: skip


def frey_panels(sizes: list[int], samples: int) -> list[Panel]:
    """No panels where the data set is absent: it states no licence, so nothing here downloads it."""
    path = datasets.data_root() / "FreyFace" / "frey_faces.npz"
    if not path.is_file():
        print(f"Frey faces are left out: {path} is not there, and nobody may pass it on.")
        return []
    x = torch.from_numpy(np.load(path)["images"]).flatten(1)
    x = x[torch.randperm(len(x), generator=stream(0, DATA))]
    test, train = x[:FREY_TEST], x[FREY_TEST:]
    config = {"widths": (200,), "activation": "tanh", "likelihood": "gaussian_per_pixel"}
    return [
        Panel(
            f"Frey faces, N_z = {size}", ModelConfig(latent=size, **config), (1, 28, 20), train, test, samples, bound
        )
        for size in sizes
    ]  # fmt: skip


def marginal_panels(counts: list[int], samples: int) -> list[Panel]:
    train, test = datasets.load("mnist", "train").x, datasets.load("mnist", "test").x
    config = ModelConfig(widths=(100,), activation="tanh", latent=3)
    return [
        Panel(f"marginal likelihood, N_train = {n}", config, (1, 28, 28), train[:n], test, samples, marginal)
        for n in counts
    ]


def new_run(panel: Panel, way: str, rate: float, steps: int, seed: int) -> tuple[HelmholtzMachine, Any]:
    """A fresh model, and what trains it step by step."""
    model = machine(panel.model, panel.shape, generator=stream(seed, INITIAL))
    draw = batches(panel.train, LIKELIHOODS[panel.model.likelihood].observe, BATCH)
    how = Ascent(WAYS[way], steps, rate, "adagrad", SCHEDULES["constant"])
    return model, ascend(model, draw, how, generator=stream(seed, TRAINING))


def seen(panel: Panel, part: Tensor, count: int) -> Tensor:
    return LIKELIHOODS[panel.model.likelihood].observe(part[:count], generator=stream(1, JUDGING))


def best_rate(panel: Panel, way: str, seed: int) -> float:
    """The one with the highest bound on training images after the first steps."""
    reached = {}
    for rate in RATES:
        model, steps = new_run(panel, way, rate, TRIAL_STEPS, seed)
        for _ in steps:
            pass
        value = bound(model, seen(panel, panel.train, 1_000)).mean().item()
        reached[rate] = value if math.isfinite(value) else -math.inf
    return max(RATES, key=lambda rate: reached[rate])


def moments(steps: int, count: int) -> set[int]:
    """Steps at which to look, evenly spaced in their logarithm from 100 on."""
    return {round(step) for step in np.geomspace(min(100, steps), steps, count).tolist()}


def curve(panel: Panel, way: str, seed: int, judged: int) -> dict[str, Any]:
    """The judge's mean on train and test images, with its standard error, at growing numbers of samples."""
    rate, steps = best_rate(panel, way, seed), panel.samples // BATCH
    model, training = new_run(panel, way, rate, steps, seed)
    parts = {"train": seen(panel, panel.train, judged), "test": seen(panel, panel.test, judged)}
    look, points = moments(steps, 8), []
    for step in training:
        if step in look:
            values = {name: mean_and_error(panel.judge(model, x)) for name, x in parts.items()}
            points.append({"samples": step * BATCH, **values})
    return {"rate": rate, "points": points}


def orderings(curves: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """By how much AEVB ends above wake-sleep on test images, and how far train ends above test."""
    found = {}
    for name, ways in curves.items():
        ends = {way: result["points"][-1] for way, result in ways.items()}
        (ours, error), (theirs, other) = ends["AEVB"]["test"], ends["wake-sleep"]["test"]
        found[name] = {
            "AEVB_above_wake_sleep": ours - theirs,
            "se": math.hypot(error, other),
            "AEVB_train_above_test": ends["AEVB"]["train"][0] - ours,
        }
    return found


def draw_figure(curves: dict[str, dict[str, Any]], path: Path) -> None:
    columns = 3
    figure = make_subplots(rows=-(-len(curves) // columns), cols=columns, subplot_titles=list(curves))
    colours, dashes = {"AEVB": "firebrick", "wake-sleep": "seagreen"}, {"train": "solid", "test": "dash"}
    for place, ways in enumerate(curves.values()):
        for way, part in ((way, part) for way in ways for part in dashes):
            points = ways[way]["points"]
            line = go.Scatter(
                x=[point["samples"] for point in points], y=[point[part][0] for point in points],
                name=f"{way}, {part}", line={"color": colours[way], "dash": dashes[part]}, showlegend=not place,
            )  # fmt: skip
            figure.add_trace(line, row=place // columns + 1, col=place % columns + 1)
    figure.update_xaxes(type="log", title="training samples").update_yaxes(title="nats per image")
    figure.update_layout(height=320 * -(-len(curves) // columns))
    path.parent.mkdir(exist_ok=True)
    figure.write_html(path)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=200_000, help="training samples a curve (the paper: 10^8)")
    parser.add_argument("--latent", type=int, nargs="*", default=[3, 5, 10, 20, 200], help="N_z for MNIST")
    parser.add_argument("--frey", type=int, nargs="*", default=[2, 5, 10, 20], help="N_z for Frey faces")
    parser.add_argument("--marginal", type=int, nargs="*", default=[1_000, 50_000], help="N_train of figure 3")
    parser.add_argument("--judged", type=int, default=2_000, help="images that a point is the mean of")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    given, clock = arguments(), Clock()
    torch.set_num_threads(1)
    panels = [
        *(mnist_panels(given.latent, given.samples) if given.latent else []),
        *(frey_panels(given.frey, given.samples) if given.frey else []),
        *(marginal_panels(given.marginal, given.samples) if given.marginal else []),
    ]
    curves: dict[str, dict[str, Any]] = {}
    for panel in panels:
        curves[panel.name] = {}
        for way in WAYS:
            result = curves[panel.name][way] = curve(panel, way, given.seed, given.judged)
            end = result["points"][-1]
            clock.say(f"{panel.name}, {way}: {end['train'][0]:.1f} train, {end['test'][0]:.1f} test")
        draw_figure(curves, RESULTS / "reproduce_aevb.html")
        (RESULTS / "reproduce_aevb.json").write_text(json.dumps(rounded(curves)), encoding="utf-8")
    show(
        {"settings": vars(given), "curves": curves, "orderings": orderings(curves), "seconds": clock.seconds}, digits=5
    )


if __name__ == "__main__":
    main()
