"""The rules that settings obey: the same sentences in the form, on the command line and in code."""

import math
from typing import Any

from vae_core.bounds import BOUNDS
from vae_core.config import Config
from vae_core.datasets import DATASETS
from vae_core.estimators import ESTIMATORS
from vae_core.families import LIKELIHOODS, POSTERIORS, PRIORS
from vae_core.networks import ACTIVATIONS
from vae_core.optimisers import OPTIMISERS, SCHEDULES

LATENT_LIMIT = 64
WIDTH_LIMIT = 4096
DEPTH_LIMIT = 8
EPOCH_LIMIT = 10_000


def problems(config: Config) -> list[str]:
    """What is wrong with the settings: one sentence each, naming the setting, the value and what is accepted."""
    model, objective, schedule = config.model, config.objective, config.schedule
    found: list[str] = []

    def require(holds: bool, name: str, value: object, accepted: str) -> None:
        if not holds:
            found.append(f"{name} is {value}, but must be {accepted}.")

    def one_of(name: str, value: str, table: Any) -> None:
        require(value in table, name, repr(value), f"one of {', '.join(sorted(table))}")

    one_of("Data set", config.dataset, DATASETS)
    one_of("Network", model.network, ("mlp", "conv"))
    one_of("Activation", model.activation, ACTIVATIONS)
    one_of("Likelihood", model.likelihood, LIKELIHOODS)
    one_of("Posterior", model.posterior, POSTERIORS)
    one_of("Prior", model.prior, PRIORS)
    one_of("Bound", objective.bound, BOUNDS)
    one_of("Estimator", objective.estimator, ESTIMATORS)
    one_of("Optimiser", schedule.optimiser, OPTIMISERS)
    one_of("Learning-rate schedule", schedule.schedule, SCHEDULES)
    require(1 <= model.latent <= LATENT_LIMIT, "Latent dimension", model.latent, f"from 1 to {LATENT_LIMIT}")
    require(
        1 <= len(model.widths) <= DEPTH_LIMIT and all(1 <= w <= WIDTH_LIMIT for w in model.widths),
        "Layer widths",
        list(model.widths),
        f"1 to {DEPTH_LIMIT} whole numbers from 1 to {WIDTH_LIMIT}",
    )
    require(1 <= objective.draws <= 100, "Draws", objective.draws, "from 1 to 100")
    require(math.isfinite(objective.beta) and 0 <= objective.beta <= 100, "β", objective.beta, "a number from 0 to 100")
    rate = schedule.learning_rate
    require(math.isfinite(rate) and 0 < rate <= 1, "Learning rate", rate, "above 0 and at most 1")
    require(1 <= schedule.epochs <= EPOCH_LIMIT, "Epochs", schedule.epochs, f"from 1 to {EPOCH_LIMIT:,}")
    require(
        0 <= objective.warmup_epochs <= max(schedule.epochs, 0),
        "β warm-up",
        f"{objective.warmup_epochs} epochs",
        f"from 0 to the number of epochs ({schedule.epochs})",
    )
    if config.dataset in DATASETS:
        size = DATASETS[config.dataset].sizes.train
        require(
            1 <= schedule.batch_size <= size,
            "Batch size",
            schedule.batch_size,
            f"from 1 to the {size:,} training examples of {DATASETS[config.dataset].label}",
        )
    require(0 <= config.seed < 2**63, "Seed", config.seed, "a whole number from 0 to 2^63 - 1")
    device = config.device.removeprefix("cuda:")
    require(
        config.device in ("auto", "cpu", "cuda") or (device != config.device and device.isdecimal()),
        "Device",
        repr(config.device),
        "auto, cpu, cuda or cuda:N",
    )
    if objective.bound in BOUNDS and objective.estimator in ESTIMATORS:
        require(
            BOUNDS[objective.bound].linear or not ESTIMATORS[objective.estimator].analytic_kl,
            "Estimator",
            repr(objective.estimator),
            f"one without the analytic KL (such as pathwise) for the bound {objective.bound!r}",
        )
    return found


def check(config: Config) -> None:
    """Raises ValueError with every problem of the settings."""
    found = problems(config)
    if found:
        raise ValueError(" ".join(found))
