"""`python -m vae_core.training`: train a run from the command line, with a progress bar."""

import argparse
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from vae_core import runs
from vae_core.bounds import BOUNDS
from vae_core.config import Config
from vae_core.datasets import DATASETS
from vae_core.defaults import recipe
from vae_core.estimators import ESTIMATORS
from vae_core.likelihoods import LIKELIHOODS
from vae_core.networks import ACTIVATIONS
from vae_core.optimisers import OPTIMISERS, SCHEDULES
from vae_core.parallel import assembled, follow
from vae_core.posteriors import POSTERIORS
from vae_core.priors import PRIORS
from vae_core.runs import Row, Run, Status
from vae_core.team import ALONE, Team
from vae_core.worker import train

BAR = 24


def add_recipe(add: Callable[..., object]) -> None:
    """The options that make a recipe; those left out take the data set's defaults."""
    add("--dataset", choices=DATASETS, default="digits")
    add("--network", choices=("mlp", "conv"))
    add(
        "--widths", type=int, nargs="*", metavar="N", help="layer sizes (mlp) or channels (conv), from the data inwards"
    )
    add("--activation", choices=ACTIVATIONS)
    add("--latent", type=int, metavar="N", help="latent dimension, 1 to 64; of the top layer if there are several")
    add("--below", type=int, nargs="*", metavar="N", help="sizes of stochastic layers between data and top layer")
    add("--inner-widths", type=int, nargs="*", metavar="N", help="layer sizes of the networks between those layers")
    add("--likelihood", choices=LIKELIHOODS)
    add("--sigma", type=float, help="of the likelihood gaussian_fixed")
    add("--posterior", choices=POSTERIORS)
    add("--prior", choices=PRIORS)
    add("--components", type=int, metavar="N", help="of the priors mixture and vamp")
    add("--prior-mean", type=float, nargs="+", metavar="X", help="of the prior gaussian")
    add("--prior-covariance", type=float, nargs="+", metavar="X", help="of the prior gaussian, row by row")
    add("--bound", choices=BOUNDS)
    add("--estimator", choices=ESTIMATORS)
    add("--draws", type=int, metavar="K", help="draws of z per example")
    add("--alpha", type=float, help="order of the Rényi bound, 0 (IWAE) to 1 (ELBO)")
    add("--free-nats", type=float, metavar="N", help="nats of KL that cost nothing with free_bits")
    add("--beta", type=float, help="weight of the KL term; only 1 is the ELBO")
    add("--warmup-epochs", type=int, metavar="N", help="epochs over which β rises from 0")
    add("--optimiser", choices=OPTIMISERS)
    add("--learning-rate", type=float, metavar="R", help="peak of the schedule")
    add("--schedule", choices=SCHEDULES)
    add("--batch-size", type=int, metavar="N")
    add("--epochs", type=int, metavar="N")
    add("--seed", type=int)
    add("--device", help="auto, cpu, cuda or cuda:N")


def parser() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser(
        prog="python -m vae_core.training",
        description="Train a variational autoencoder and write a run folder that the app can open. Ctrl-C stops and "
        "keeps the partial model. Options left out take the data set's defaults.",
    )
    add = out.add_argument
    add_recipe(add)
    add("--resume", type=Path, metavar="FOLDER", help="go on with this run folder instead of making a new one")
    return out


def configured(arguments: argparse.Namespace) -> Config:
    """The data set's defaults with every option that was given put in its place."""
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    return adjusted(recipe(arguments.dataset, given.get("latent")), given)


def adjusted(config: Config, given: dict[str, Any]) -> Config:
    """The recipe with settings replaced by name, whichever part they belong to."""
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    if "widths" not in given and given.get("network", config.model.network) != config.model.network:
        given["widths"] = (32, 64)
    parts = {}
    for part in ("model", "objective", "schedule"):
        value = getattr(config, part)
        parts[part] = replace(value, **{f.name: given[f.name] for f in fields(value) if f.name in given})
    return replace(config, **parts, **{name: given[name] for name in ("seed", "device") if name in given})


def show(measure: str, status: Status, row: Row) -> None:
    """One line that rewrites itself: bar, steps, speed, time left, and the bound or whatever its measure is called."""
    bounds = [
        f"{label} {row[name]:.2f}{unit}"
        for label, name, unit in ((measure, "train_elbo", " nats"), ("held out", "held_out_elbo", ""))
        if name in row  # a run that is paused before its first step has trained on nothing
    ]
    line = (
        f"[{'#' * round(BAR * status.done):<{BAR}}] {status.done:4.0%}  {status.rate:,.0f} examples/s  "
        f"{status.left:.0f} s left  " + ", ".join(bounds)
    )
    print("\r" + line[: shutil.get_terminal_size().columns - 1].ljust(shutil.get_terminal_size().columns - 1), end="")
    sys.stdout.flush()


def train_with_bar(run: Run, team: Team = ALONE) -> Status:
    """Trains in this process; Ctrl-C asks the run to stop and keep what it has, and so does torchrun's SIGTERM."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        run.request("stop")

    heard = (signal.SIGINT, signal.SIGTERM) if team.joined else (signal.SIGINT,)
    previous = {number: signal.signal(number, interrupt) for number in heard}
    try:
        measure = "reconstruction" if run.config().model.plain else "ELBO"
        status = train(run, partial(show, measure), team=team)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    print()
    return status


def lead(arguments: argparse.Namespace, team: Team) -> int:
    """Trains what was asked for; the exit code."""
    try:
        config = Run(arguments.resume).config() if arguments.resume else configured(arguments)
        team.share(config.schedule.batch_size)
        team.device(config.device)
        run = Run(arguments.resume) if arguments.resume else runs.create(config)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if not run.locked():
        run.forget_requests()  # of a worker that was killed before it obeyed
    print(f"{config.dataset}: {run.folder}{f', {team.size} processes' if team.joined else ''}", flush=True)
    status = train_with_bar(run, team)
    print(f"{status.state}: {status.reason or run.folder}")
    return 1 if status.state == "failed" else 0


def main() -> int:
    arguments = parser().parse_args()
    with assembled() as team:
        return lead(arguments, team) if team.leads else follow(team)
