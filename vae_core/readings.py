"""How to read the curves of a run: why they bend as they do, and with what its ELBO can be compared."""

import math
from statistics import median

from vae_core.bounds import BOUNDS
from vae_core.config import Config
from vae_core.datasets import DATASETS
from vae_core.estimators import ESTIMATORS
from vae_core.history import LOOKS, History, Note, nats, sentence, since
from vae_core.likelihoods import BINARY_BOUND, LIKELIHOODS
from vae_core.runs import Row
from vae_core.troubles import ERRORS, overfitting

RISE = 0.5
"""Nats that the KL must have risen for it to be explained."""
PEAK = 1.5
"""Times its value by which the KL must have been higher."""
WINDOW, FLAT = 1 / 3, 0.5
"""A curve is flat if over this share of the epochs, from half to half, it moves by less than this part of its standard
error."""
CYCLE_END = 0.05
"""Share of its peak under which a learning rate that falls is at its end."""


def warming_up(history: History) -> Note | None:
    """The weight of the KL still grows."""
    objective, now, last = history.config.objective, history.rows[-1], history.looks[-1]
    if not history.warming:
        return None
    peak = max(history.looks, key=lambda look: look["held_out_kl"])
    fell = ""
    if peak["held_out_kl"] > PEAK * last["held_out_kl"]:
        fell = f" The KL was {nats(peak['held_out_kl'])} while it cost little, and falls."
    return Note(
        "warm-up",
        "Warm-up",
        f"Until epoch {objective.warmup_epochs} the KL does not count in full: its weight is {now['beta']:.2f} on its "
        f"way to {objective.beta:g}.{fell} The ELBO counts it in full, so it can still be poor.",
    )


def rising(history: History) -> Note | None:
    """The KL rises first, because that pays."""
    low = min(reversed(history.looks), key=lambda look: look["held_out_kl"])
    last = history.looks[-1]
    cost = last["held_out_kl"] - low["held_out_kl"]
    gain = last["held_out_reconstruction"] - low["held_out_reconstruction"]
    if cost < RISE or gain <= history.rows[-1]["beta"] * cost:
        return None
    return Note(
        "rising",
        "Why the KL rises",
        f"Codes leave the prior to say something about x. {sentence(since(low))} that has cost {nats(cost)} of KL, "
        f"and reconstruction has gained {nats(gain)} (in part by what the decoder learns without any code). The KL "
        "rises for as long as that pays.",
        low["epoch"],
    )


def cycle_end(history: History) -> Note | None:
    """The learning rate has come down."""
    rates, peak = [row["learning_rate"] for row in history.rows[-20:]], history.config.schedule.learning_rate
    if rates[-1] < min(CYCLE_END * peak, max(rates)):
        return Note(
            "cycle",
            "End of the learning-rate cycle",
            f"The learning rate has come down to less than {CYCLE_END:.0%} of its peak. Steps are small, and for that "
            "reason alone every curve is flat; training on begins another cycle.",
        )


def settled(history: History) -> Note | None:
    """The held-out ELBO hardly moves, although steps are not small."""
    start = (1 - WINDOW) * history.epoch
    recent = [look for look in history.looks if look["epoch"] >= start]
    half, rates = len(recent) // 2, [look["learning_rate"] for look in recent]
    if half < LOOKS or history.warming or history.epoch < history.patience or cycle_end(history):
        return None
    values, error = [look["held_out_elbo"] for look in recent], recent[-1]["held_out_elbo_se"]
    moved = abs(median(values[-half:]) - median(values[:half]))
    if moved < FLAT * error and rates[-1] <= rates[0]:
        return Note(
            "settled",
            "Hardly anything changes",
            f"In the last {history.epoch - start:.0f} epochs the held-out ELBO has moved by less than half its "
            f"standard error of {error:.2g} nats. At this learning rate more epochs will bring little; a smaller one "
            "still may.",
        )


def gap(history: History) -> Note | None:
    """Examples trained on are explained better than new ones."""
    looks = history.looks[-LOOKS:]
    ahead = [history.train_elbo(look) - look["held_out_elbo"] for look in looks]
    error = looks[-1]["held_out_elbo_se"]
    if len(looks) < LOOKS or median(ahead) <= ERRORS * error or overfitting(history):
        return None
    return Note(
        "gap",
        "Train is ahead of held out",
        f"The ELBO of training examples is {nats(median(ahead))} higher than that of held-out ones (standard error "
        f"{error:.2g}): part of what is learned is the examples themselves. No harm while the held-out curve rises.",
    )


NAMES = {"learning_rate": "learning rate", "beta": "β", "draws": "K", "estimator": "estimator"}
"""Settings whose change changes what the curves are of; more epochs do not."""


def _change(row: Row) -> str:
    said = [
        f"{NAMES[name]} {ESTIMATORS[value].label if name == 'estimator' else f'{value:g}'}"
        for name, value in row["changed"].items()
        if name in NAMES
    ]
    return f"{', '.join(said)} {since(row)}"


def changed(history: History) -> Note | None:
    """Settings changed on the way."""
    found = [row for row in history.rows if NAMES.keys() & row.get("changed", {}).keys()]
    if not found:
        return None
    return Note(
        "changed",
        "Settings changed on the way",
        f"{'; '.join(map(_change, found[-3:]))}. The ELBO means the same before and after, but this run is no longer "
        "an example of any one recipe; compare it with care.",
        found[-1]["epoch"],
    )


def comparable(history: History) -> Note | None:
    """With what this run's ELBO can be compared, and with what it cannot."""
    config, last = history.config, history.looks[-1]
    if config.model.plain:
        text = "An autoencoder pays no KL. Its reconstruction is usually above that of a VAE, and is no ELBO."
    else:
        text = " ".join(filter(None, [_kind_of_bound(config, last), _objective(history)]))
    return Note("comparable", "What this ELBO can be compared with", text)


def _kind_of_bound(config: Config, last: Row) -> str:
    entry, spec = LIKELIHOODS[config.model.likelihood], DATASETS[config.dataset]
    size = math.prod(spec.shape)
    if entry.continuous:
        return (
            f"Only with log densities of the same values of {spec.label}, scaled to [0, 1]: in other units, or as the "
            "probability of bits or grey levels, it is another number. It can be positive."
        )
    if entry.bounds == BINARY_BOUND:
        return (
            f"Only with {spec.label} binarised anew at every visit: a fixed binarisation, or grey levels, give other "
            "numbers."
        )
    bits = -last["held_out_elbo"] / size / math.log(2)
    return f"With any model of the 8-bit values of {spec.label}: it is {bits:.2f} bits a value."


def _objective(history: History) -> str:
    config, rows = history.config, history.rows
    objective = config.objective
    if objective.beta != 1:
        return (
            f"Training with β = {objective.beta:g} does not maximise the ELBO, which may be lower than this model "
            "could reach: compare KL and reconstruction, one by one."
        )
    if not BOUNDS[objective.bound].weighted:
        ahead = rows[-1]["train_objective"] - rows[-1]["train_elbo"]
        return (
            f"Never with the {BOUNDS[objective.bound].label} of another run: that bound is tighter, here by "
            f"{nats(max(ahead, 0))} with K = {objective.draws}."
        )
    return "" if ESTIMATORS[objective.estimator].unbiased else "It may fall for a while though nothing is wrong."


def binary(history: History) -> Note | None:
    """What the KL of a binary code is."""
    model, rate = history.config.model, history.looks[-1]["held_out_kl"]
    if model.posterior == "bernoulli":
        return Note(
            "binary",
            "A code of bits",
            f"{' and '.join(map(str, model.layers))} binary units carry {rate / math.log(2):.1f} bits ({nats(rate)}) "
            "beyond the prior. A unit is active if its probability differs from example to example.",
        )
