"""What can go wrong in a run, told from its reports: each rule says since when, how sure that is and what may help."""

import math
from dataclasses import replace
from statistics import median

from vae_core.config import Config
from vae_core.datasets import DATASETS
from vae_core.history import LOOKS, History, Note, listed, nats, sentence, since
from vae_core.rules import misfits
from vae_core.runs import Row

DEAD = 0.01
"""Nats below which a dimension carries nothing."""
RISING = 1.1
"""Times what it was `patience` epochs ago: a KL above it still rises."""
ERRORS = 2.0
"""Standard errors that a difference must exceed to be called one."""
MANY, JUMP = 10.0, 10.0
"""Steps are too large when the objective has lost so many standard errors (the least of the run: it grows when a model
breaks), and half of what it had gained; or so many as they are now, and gradients are so many times what they were."""
GRAIN = {"digits": 1 / 16}
"""Distance of neighbouring values in the data, where it is not one of 255 grey levels."""
SHARPENING = ("gaussian", "gaussian_per_pixel", "gaussian_low_rank", "laplace", "student_t")
"""Densities whose width is learned, so that it can shrink without end."""


def diverging(history: History) -> Note | None:
    """The objective falls, and more than it does by chance."""
    rows = history.steady
    if len(rows) < 2 * LOOKS:
        return None
    objective = [row["train_objective"] for row in rows]
    before, now = objective[:-LOOKS], median(objective[-LOOKS:])
    lost, gained = max(before) - now, max(before) - objective[0]
    errors = [look["held_out_elbo_se"] for look in history.looks]
    norms = [max(row.get("gradient_norms", {}).values(), default=0.0) for row in rows]
    jump = median(norms[-LOOKS:]) / max(median(norms[:-LOOKS]), 1e-12)
    halved, exploding = lost > gained / 2, jump > JUMP and lost > MANY * errors[-1]
    if lost <= MANY * min(errors) or not (halved or exploding):
        return None
    best = rows[before.index(max(before))]
    grown = f", and the gradients’ norm is {jump:,.0f} times what it was" if jump > JUMP else ""
    return Note(
        "diverging",
        "Training goes backwards",
        f"{sentence(since(best))} the training objective has lost {nats(lost)}{grown}. The steps are too large: "
        f"lower the learning rate (now {rows[-1]['learning_rate']:.2g}), by a factor of ten at first.",
        best["epoch"],
        serious=True,
    )


def _carried(history: History, look: Row) -> list[float]:
    """Nats of every dimension; where the KL has no terms by dimension, its mean over them stands for all."""
    return look.get("kl_by_dimension") or [look["held_out_kl"] / sum(history.config.model.layers)]


def _dead_looks(history: History) -> list[int]:
    """For every dimension at how many of the last looks, without a break, it carried nothing."""
    counts = [0 for _ in _carried(history, history.looks[-1])]
    dead = range(len(counts))
    for look in reversed(history.looks):
        carried = _carried(history, look)
        dead = [place for place in dead if len(carried) == len(counts) and carried[place] < DEAD]
        for place in dead:
            counts[place] += 1
    return counts


def _still_rising(history: History) -> bool:
    """Whether the KL grows, so that dimensions may be on their way."""
    earlier = [look for look in history.looks if look["epoch"] <= history.epoch - history.patience]
    return not earlier or history.looks[-1]["held_out_kl"] > RISING * earlier[-1]["held_out_kl"]


def collapsed(history: History) -> Note | None:
    """Dimensions carry nothing, and have for long: all of them, or some."""
    every = _dead_looks(history)
    # those that died too lately may be only on their way
    lasting = [n for n in every if n >= LOOKS and history.epoch - history.looks[-n]["epoch"] >= history.patience]
    if not lasting or history.config.model.plain or _still_rising(history):
        return None
    last = history.looks[-min(lasting)]
    beta, helps = history.config.objective.beta, f"hat may help: {listed(remedies(history.config))}."
    if len(lasting) == len(every):
        text = f"{_all_dead(history)} {since(last)}. q(z|x) is the prior whatever x is, and all reconstructions are "
        text += f"one average. W{helps}"
        return Note("collapse", "Posterior collapse", text, last["epoch"], serious=True)
    count = f"{len(lasting)} of {len(every)} dimensions carr{'ies' if len(lasting) == 1 else 'y'}"
    text = f"{count} less than {DEAD} nats each {since(last)}. "
    if beta > 1:
        text += f"β = {beta:g} makes every nat of code dear. W{helps}"
    else:
        text += f"They do no harm: the data may ask for no more. If reconstructions are too coarse, w{helps}"
    return Note("unused", "Unused dimensions", text, last["epoch"])


def _all_dead(history: History) -> str:
    size, last = sum(history.config.model.layers), history.looks[-1]
    if size == 1:
        return f"The only dimension carries less than {DEAD} nats"
    if last.get("kl_by_dimension"):
        return f"All {size} dimensions carry less than {DEAD} nats each"
    return f"All {size} dimensions together carry {nats(last['held_out_kl'])}, less than {DEAD} each,"


def remedies(config: Config) -> list[str]:
    """What makes a recipe use more of its code: only what is not in it yet and goes with the rest of it."""
    objective = config.objective
    found = [f"a lower β (now {objective.beta:g})"] if objective.beta > 1 else []
    if not objective.warmup_epochs and not misfits(config.model, replace(objective, warmup_epochs=1)):
        found.append("warm-up of β")
    if objective.bound == "elbo" and not misfits(config.model, replace(objective, bound="free_bits")):
        found.append("free bits")
    return found or ["more epochs", "another learning rate"]


def overfitting(history: History) -> Note | None:
    """New examples are explained worse and worse, while those trained on are explained better and better."""
    looks = history.looks
    best = max(looks, key=lambda look: look["held_out_elbo"])
    fallen = best["held_out_elbo"] - looks[-1]["held_out_elbo"]
    error = max(best["held_out_elbo_se"], looks[-1]["held_out_elbo_se"])
    risen = history.train_elbo(history.rows[-1]) - history.train_elbo(best)
    if fallen <= ERRORS * error or risen <= error:
        return None
    return Note(
        "overfitting",
        "Overfitting",
        f"{sentence(since(best))} the held-out ELBO has fallen by {nats(fallen)} (standard error {error:.2g}), "
        f"while the training ELBO rose by {nats(risen)}: examples are learned by heart. Stop earlier; more data, fewer "
        "or narrower layers may help.",
        best["epoch"],
        serious=True,
    )


def sharpening(history: History) -> Note | None:
    """A density becomes sharper than the data are."""
    config = history.config
    last, size = history.looks[-1], math.prod(DATASETS[config.dataset].shape)
    grain = GRAIN.get(config.dataset, 1 / 255)
    # of Gaussian noise with that mean log density, which is -log σ - (1 + log 2π) / 2
    log_sigma = -last["held_out_reconstruction"] / size - 0.5 * (1 + math.log(2 * math.pi))
    if config.model.likelihood not in SHARPENING or log_sigma >= math.log(grain):
        return None
    steps = (
        f", but the data come in steps of {grain:.2g}" if DATASETS[config.dataset].kind == "image" else " of its range"
    )
    return Note(
        "sharpening",
        "The density sharpens without end",
        f"On average a value is as certain as with Gaussian noise of σ = {math.exp(log_sigma):.2g}{steps}. "
        "Values that never change can make a log density as large as they like, so that a "
        "higher ELBO says little. A fixed σ or a discretised logistic has a limit.",
        serious=True,
    )
