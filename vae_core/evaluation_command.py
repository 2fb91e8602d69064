"""`python -m vae_core.evaluation`: what a trained model is worth on held-out data, each number with its error."""

import argparse
import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from vae_core import datasets
from vae_core.config import Config
from vae_core.evaluation import active_units, code_means, evaluate, mean_and_error, use_of_code
from vae_core.gaps import exact_log_evidence, gaps
from vae_core.likelihoods import LIKELIHOODS
from vae_core.model import HelmholtzMachine
from vae_core.runs import load_model
from vae_core.sampling import Annealing, annealed_log_likelihood, importance_log_likelihood
from vae_core.training import choose_device, generator_for

CODES = 2_000
"""Examples for the mutual information, whose cost grows with their square."""


@dataclass(frozen=True)
class Number:
    """One line of the report; `error` is the standard error over the examples, `note` says what the number is."""

    name: str
    value: float
    error: float
    examples: int
    note: str


@dataclass(frozen=True)
class Wanted:
    """How much of each: draws of the bound, draws of IWAE-K, and examples for what takes long (0: leave it out)."""

    draws: int = 10
    importance_draws: int = 0
    importance_examples: int = 1_000
    exact: int = 0
    gaps: int = 0
    annealed: int = 0


def numbers(
    config: Config, model: HelmholtzMachine, x: Tensor, wanted: Wanted, generator: torch.Generator
) -> Iterator[Number]:
    """Every number that was asked for, as soon as it is known; the quick ones first. `x` [N, D] are as stored."""
    likelihood = LIKELIHOODS[config.model.likelihood]
    found = evaluate(model, likelihood.observe, x, generator=generator, draws=wanted.draws)
    plain = config.model.plain
    count = len(x)
    if not plain:
        yield Number("ELBO", found.elbo, found.elbo_se, count, likelihood.bounds)
        yield Number("rate", found.rate, found.rate_se, count, "KL term")
    yield Number("distortion", found.distortion, found.distortion_se, count, "−E log p(x|z)" + ", no bound" * plain)
    seen = likelihood.observe(x, generator=generator)
    means = code_means(model, seen)
    units, units_se = active_units(means, generator=generator)
    note = f"of {means.shape[1]}: variance of posterior means over 0.01"
    yield Number("active units", float(units), units_se, count, note)
    if plain:
        return
    few = seen[:CODES]
    use = use_of_code(model, few, generator=generator)
    yield Number(
        "mutual information",
        use.information,
        use.information_se,
        len(few),
        f"of x and z for these examples, at most log N = {math.log(len(few)):.2f}",
    )
    if len(model.recognition) == 1:
        yield Number("KL(q(z) || p(z))", use.distance, use.distance_se, len(few), "aggregate posterior to prior")
    yield from _likelihoods(model, seen, wanted, generator)


def _likelihoods(model: HelmholtzMachine, seen: Tensor, wanted: Wanted, generator: torch.Generator) -> Iterator[Number]:
    """log p(x) in as many ways as were asked for."""
    if wanted.importance_draws:
        some = seen[: wanted.importance_examples]
        log_p = importance_log_likelihood(model, some, wanted.importance_draws, generator=generator).log_p
        label = f"IWAE-{wanted.importance_draws}"
        yield Number(label, *mean_and_error(log_p), len(some), "lower bound on log p(x), tighter than the ELBO")
    if wanted.annealed:
        some = seen[: wanted.annealed]
        log_p = annealed_log_likelihood(model, some, Annealing(), generator=generator).log_p
        yield Number("AIS", *mean_and_error(log_p), len(some), "lower bound on log p(x) in expectation")
    if wanted.exact:
        some = seen[: wanted.exact]
        evidence = exact_log_evidence(model, some)
        note = f"exact to {evidence.error.max().item():.1g} nats"
        yield Number("log p(x)", *mean_and_error(evidence.log_p), len(some), note)
    if wanted.gaps:
        some = seen[: wanted.gaps]
        found = gaps(model, some)
        for name, values in (("approximation gap", found.approximation), ("amortisation gap", found.amortisation)):
            yield Number(name, *mean_and_error(values), len(some), "part of log p(x) − ELBO")


def at_least(least: int) -> Callable[[str], int]:
    """A type of argument: a whole number that is not too small."""

    def whole(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least {least}")
        return int(text)

    return whole


def device_name(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} must be auto, cpu, cuda or cuda:N")
    return text


def parser() -> argparse.ArgumentParser:
    default = Wanted()
    out = argparse.ArgumentParser(
        prog="python -m vae_core.evaluation",
        description="Evaluate a run folder or a pretrained model on held-out data. All in nats per example, with the "
        "standard error over the examples.",
    )
    add = out.add_argument
    add("folder", type=Path, help="a run folder, or pretrained/NAME")
    add("--split", choices=("validation", "test"), default="test")
    add("--examples", type=at_least(2), metavar="N", help="only the first N")
    add("--draws", type=at_least(1), default=default.draws, metavar="L", help="draws of z for the ELBO")
    add("--importance-draws", type=at_least(0), default=0, metavar="K", help="log-likelihood by IWAE-K, such as 5000")
    add("--importance-examples", type=at_least(2), default=default.importance_examples, metavar="N")
    add(
        "--exact",
        type=at_least(0),
        default=0,
        metavar="N",
        help="exact log p(x) of N examples, where the model allows it",
    )
    add("--gaps", type=at_least(0), default=0, metavar="N", help="approximation and amortisation gap of N examples")
    add("--annealed", type=at_least(0), default=0, metavar="N", help="annealed importance sampling of N examples")
    add("--seed", type=int, default=0)
    add("--device", type=device_name, default="auto", help="auto, cpu, cuda or cuda:N")
    add("--out", type=Path, metavar="FILE", help="write the numbers as JSON, too")
    return out


def main() -> int:
    arguments = parser().parse_args()
    try:
        device = choose_device(arguments.device)
        config, model = load_model(arguments.folder)
        x = datasets.load(config.dataset, arguments.split).to(device).x[: arguments.examples]
        wanted = Wanted(**{name: getattr(arguments, name) for name in asdict(Wanted())})
        found = []
        for number in numbers(config, model.to(device), x, wanted, generator_for(device, arguments.seed, 5)):
            found.append(number)
            print(f"{number.name:20} {number.value:12.4f} ± {number.error:<9.4f} {number.note} ({number.examples:,})")
            sys.stdout.flush()
        if arguments.out:
            text = json.dumps([asdict(number) for number in found], indent=2)
            arguments.out.write_text(text + "\n", encoding="utf-8")
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0
