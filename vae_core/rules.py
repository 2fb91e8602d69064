"""The rules that settings obey: the same sentences in the form, on the command line and in code."""

import math
from typing import Any

from vae_core.bounds import BOUNDS
from vae_core.config import Config, ModelConfig, ObjectiveConfig
from vae_core.datasets import DATASETS
from vae_core.estimators import ESTIMATORS
from vae_core.gaussians import KL_TABLE
from vae_core.likelihoods import LIKELIHOODS
from vae_core.networks import ACTIVATIONS
from vae_core.optimisers import OPTIMISERS, SCHEDULES
from vae_core.posteriors import POSTERIORS
from vae_core.priors import PRIORS, given_gaussian

LATENT_LIMIT = 64
WIDTH_LIMIT = 4096
DEPTH_LIMIT = 8
BELOW_LIMIT = 512
LAYER_LIMIT = 4
WEIGHT_LIMIT = 20_000_000
"""Most weights of the decoder's last layer: 80 MB, and three times that with the optimiser's state."""
EPOCH_LIMIT = 10_000


def problems(config: Config) -> list[str]:
    """What is wrong with the settings: one sentence each, naming the setting, the value and what is accepted."""
    model, objective, schedule = config.model, config.objective, config.schedule
    found: list[str] = []

    def require(holds: bool, name: str, value: object, accepted: str) -> None:
        if not holds:
            found.append(f"{name} is {value}, but must be {accepted}.")

    def one_of(name: str, value: str, table: Any) -> None:
        if value not in table:  # only then are the names gathered: those of data sets lie on the disk
            require(False, name, repr(value), f"one of {', '.join(sorted(table))}")

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
    least = 1 if model.network == "conv" else 0
    for name, widths, fewest in (
        ("Layer widths", model.widths, least),
        ("Widths between stochastic layers", model.inner_widths, 0),
    ):
        require(
            fewest <= len(widths) <= DEPTH_LIMIT and all(1 <= w <= WIDTH_LIMIT for w in widths),
            name,
            list(widths),
            f"{fewest} to {DEPTH_LIMIT} whole numbers from 1 to {WIDTH_LIMIT}",
        )
    require(
        len(model.below) < LAYER_LIMIT and all(1 <= size <= BELOW_LIMIT for size in model.below),
        "Stochastic layers below the top",
        list(model.below),
        f"at most {LAYER_LIMIT - 1} whole numbers from 1 to {BELOW_LIMIT}",
    )
    require(math.isfinite(model.sigma) and 1e-3 <= model.sigma <= 10, "σ", model.sigma, "a number from 0.001 to 10")
    require(1 <= model.components <= 500, "Components", model.components, "from 1 to 500")
    require(1 <= objective.draws <= 100, "Draws", objective.draws, "from 1 to 100")
    require(math.isfinite(objective.alpha) and 0 <= objective.alpha <= 1, "α", objective.alpha, "a number from 0 to 1")
    free = objective.free_nats
    require(math.isfinite(free) and 0 <= free <= 100, "Free bits", free, "from 0 to 100 nats")
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
    return found or misfits(model, objective) + unsuited(config) + oversized(config)


def unsuited(config: Config) -> list[str]:
    """What serves images only, if the data set is none: one sentence each, saying what to choose instead."""
    spec, model = DATASETS[config.dataset], config.model
    likelihood, found = LIKELIHOODS[model.likelihood], []
    if spec.kind == "profile" and not likelihood.continuous:
        serving = "; ".join(entry.label for entry in LIKELIHOODS.values() if entry.continuous)
        found.append(
            f"The likelihood {likelihood.label} is of 8-bit images, but {spec.label} has real values; these serve: "
            f"{serving}."
        )
    if spec.kind == "profile" and model.network == "conv":
        found.append(
            f"A convolutional network reads images, but {spec.label} has none; choose a fully connected one (mlp)."
        )
    return found


def oversized(config: Config) -> list[str]:
    """A sentence if the decoder's last layer would be too large to train and to save."""
    model, pixels = config.model, math.prod(DATASETS[config.dataset].shape)
    if model.network == "conv":
        return []
    outputs = LIKELIHOODS[model.likelihood].build(pixels, model).inputs
    before = model.widths[0] if model.widths else model.layers[0]
    if outputs * before <= WEIGHT_LIMIT:
        return []
    return [
        f"The likelihood {LIKELIHOODS[model.likelihood].label} needs {outputs:,} outputs for {pixels:,} pixels, but a "
        f"layer of {before} before them takes at most {WEIGHT_LIMIT // before:,}; choose a first width of at most "
        f"{WEIGHT_LIMIT // outputs} or the likelihood {LIKELIHOODS['discretised_logistic'].label}."
    ]


def misfits(model: ModelConfig, objective: ObjectiveConfig) -> list[str]:
    """Why parts that are each known cannot work together: one sentence each, saying what serves instead."""
    posterior, prior = POSTERIORS[model.posterior], PRIORS[model.prior]
    bound, estimator = BOUNDS[objective.bound], ESTIMATORS[objective.estimator]
    sizes = model.layers
    found: list[str] = []

    def refuse(wrong: bool, sentence: str) -> None:
        if wrong:
            found.append(sentence)

    refuse(
        (model.posterior == "bernoulli") != (model.prior == "bernoulli"),
        "A binary code needs a Bernoulli posterior and a Bernoulli prior; choose Bernoulli for both or for neither.",
    )
    refuse(
        model.plain != (model.prior == "none"),
        "A plain autoencoder has neither noise nor prior; choose None for both posterior and prior or for neither.",
    )
    refuse(
        model.plain and (objective.estimator != "pathwise" or objective.bound != "elbo" or len(sizes) > 1),
        "A plain autoencoder is one layer trained on its reconstruction; choose the bound ELBO, "
        "the estimator Pathwise with Monte Carlo KL (its KL is 0 here) and no further stochastic layers.",
    )
    refuse(
        model.posterior == "flow" and min(sizes) < 2,
        "A coupling flow bends one coordinate by another and needs at least 2 latent dimensions in every layer; choose "
        "a Gaussian posterior for 1.",
    )
    refuse(
        model.prior == "vamp" and (model.posterior != "diagonal_gaussian" or len(sizes) > 1),
        "The VampPrior is made of diagonal Gaussian posteriors of one layer; choose the posterior Gaussian with "
        "diagonal covariance and no further stochastic layers, or the prior Mixture of Gaussians.",
    )
    refuse(
        model.prior == "vamp" and not estimator.unbiased,
        f"The VampPrior shares the encoder, which {estimator.label} trains apart; choose the prior Mixture of "
        "Gaussians or another estimator.",
    )
    refuse(
        estimator.reparameterised and not posterior.density.reparameterised,
        f"Gradients of the estimator {estimator.label} cannot pass binary units; choose Score function, Wake-sleep or "
        "Reweighted wake-sleep.",
    )
    refuse(
        estimator.analytic_kl and len(sizes) > 1,
        "The KL of several stochastic layers has no closed form; choose the estimator Pathwise with Monte Carlo KL.",
    )
    refuse(
        estimator.analytic_kl
        and posterior.density.reparameterised
        and len(sizes) == 1
        and not model.plain
        and (posterior.density, prior.density) not in KL_TABLE,
        f"There is no closed-form KL from the posterior “{posterior.label}” to the prior “{prior.label}”; choose the "
        "estimator Pathwise with Monte Carlo KL.",
    )
    serving = ", ".join(entry.label for entry in ESTIMATORS.values() if objective.bound in entry.bounds)
    refuse(
        objective.bound not in estimator.bounds,
        f"The estimator {estimator.label} does not serve the bound {bound.label}; these do: {serving}.",
    )
    refuse(
        objective.draws < estimator.draws,
        f"Draws is {objective.draws}, but the estimator {estimator.label} compares draws and needs at least "
        f"{estimator.draws}.",
    )
    weighted = objective.beta != 1 or objective.warmup_epochs > 0
    refuse(
        weighted and not bound.weighted,
        f"β = {objective.beta:g}{' with warm-up' if objective.warmup_epochs else ''} weights the KL term of an ELBO, "
        f"but {bound.label} has no such term; choose β = 1 without warm-up, or the bound ELBO.",
    )
    refuse(
        weighted and not estimator.unbiased,
        f"{estimator.label} follows no single objective that β could weight; choose β = 1 without warm-up.",
    )
    if model.prior == "gaussian":
        try:
            given_gaussian(model.latent, model.prior_mean, model.prior_covariance)
        except ValueError as error:
            found.append(f"{str(error)[0].upper()}{str(error)[1:]}.")
    return found


def check(config: Config) -> None:
    """Raises ValueError with every problem of the settings."""
    found = problems(config)
    if found:
        raise ValueError(" ".join(found))
