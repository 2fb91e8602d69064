import math
import re
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch

from pretrained import build
from tests.small import seeded
from vae_core import datasets
from vae_core.bounds import BOUNDS, Objective
from vae_core.config import Config, ModelConfig, ObjectiveConfig, ScheduleConfig
from vae_core.datasets import DATASETS, Split
from vae_core.defaults import METHODS, RECIPES, by_method
from vae_core.estimators import ESTIMATORS
from vae_core.gaussians import KL_TABLE
from vae_core.likelihoods import LIKELIHOODS
from vae_core.model import machine
from vae_core.networks import ACTIVATIONS
from vae_core.optimisers import OPTIMISERS, SCHEDULES
from vae_core.posteriors import POSTERIORS
from vae_core.priors import PRIORS
from vae_core.rules import check, misfits, problems
from vae_core.training import Trainer

DIGITS = RECIPES["digits"]
TABLES = {
    "model.activation": ("Activation", ACTIVATIONS),
    "model.network": ("Network", ("mlp", "conv")),
    "model.likelihood": ("Likelihood", LIKELIHOODS),
    "model.posterior": ("Posterior", POSTERIORS),
    "model.prior": ("Prior", PRIORS),
    "objective.bound": ("Bound", BOUNDS),
    "objective.estimator": ("Estimator", ESTIMATORS),
    "schedule.optimiser": ("Optimiser", OPTIMISERS),
    "schedule.schedule": ("Learning-rate schedule", SCHEDULES),
    "dataset": ("Data set", DATASETS),
}
RANGES = {
    "model.latent": ("Latent dimension", [1, 64], [0, 65, -3], "from 1 to 64"),
    "model.widths": (
        "Layer widths",
        [(), (1,), (4096,), (9,) * 8],
        [(0,), (8, -1), (4097,), (9,) * 9],
        "0 to 8 whole numbers from 1 to 4096",
    ),
    "model.inner_widths": (
        "Widths between stochastic layers",
        [(), (4096,), (9,) * 8],
        [(0,), (4097,), (9,) * 9],
        "0 to 8 whole numbers from 1 to 4096",
    ),
    "model.below": (
        "Stochastic layers below the top",
        [(), (1,), (512, 1, 7)],
        [(0,), (513,), (2, 2, 2, 2), (3, -1)],
        "at most 3 whole numbers from 1 to 512",
    ),
    "model.sigma": ("σ", [0.001, 10.0], [0.0, 0.0009, 10.1, -0.1, math.nan, math.inf], "a number from 0.001 to 10"),
    "model.components": ("Components", [1, 500], [0, -1, 501], "from 1 to 500"),
    "objective.alpha": ("α", [0.0, 1.0], [-0.1, 2.0, math.nan, math.inf], "a number from 0 to 1"),
    "objective.free_nats": ("Free bits", [0.0, 100.0], [-1.0, 101.0, math.nan, math.inf], "from 0 to 100 nats"),
    "objective.draws": ("Draws", [1, 100], [0, 101], "from 1 to 100"),
    "objective.beta": ("β", [0.0, 100.0], [-0.1, 100.5, math.nan, math.inf], "a number from 0 to 100"),
    "objective.warmup_epochs": ("β warm-up", [0, 200], [-1, 201], "from 0 to the number of epochs (200)"),
    "schedule.learning_rate": (
        "Learning rate",
        [1e-12, 1.0],
        [0.0, -1e-3, 1.1, math.nan, math.inf, -math.inf],
        "above 0 and at most 1",
    ),
    "schedule.batch_size": (
        "Batch size",
        [1, 1285],
        [0, -1, 1286],
        "from 1 to the 1,285 training examples of Digits 8×8",
    ),
    "schedule.epochs": ("Epochs", [1, 10_000], [0, -1, 10_001], "from 1 to 10,000"),
    "seed": ("Seed", [0, 2**63 - 1], [-1, 2**63], "a whole number from 0 to 2^63 - 1"),
    "device": (
        "Device",
        ["auto", "cpu", "cuda", "cuda:0", "cuda:11"],
        ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "cuda:0:1", "CPU"],
        "auto, cpu, cuda or cuda:N",
    ),
}


def changed(path: str, value: Any) -> Config:
    *section, name = path.split(".")
    if not section:
        return replace(DIGITS, **{name: value})
    return replace(DIGITS, **{section[0]: replace(getattr(DIGITS, section[0]), **{name: value})})


@pytest.mark.parametrize(("path", "value"), [(path, value) for path in RANGES for value in RANGES[path][2]], ids=str)
def test_the_impossible_is_refused_with_one_sentence(path: str, value: object) -> None:
    name, _, _, accepted = RANGES[path]
    (sentence,) = problems(changed(path, value))
    show = {"device": repr, "objective.warmup_epochs": "{} epochs".format}.get(path, str)
    shown = list(value) if isinstance(value, tuple) else show(value)
    assert sentence == f"{name} is {shown}, but must be {accepted}."


@pytest.mark.parametrize(("path", "value"), [(path, value) for path in RANGES for value in RANGES[path][1]], ids=str)
def test_the_ends_of_the_ranges_are_accepted(path: str, value: object) -> None:
    config = changed(path, value)
    assert problems(replace(config, objective=replace(config.objective, estimator="pathwise"))) == []


def test_convolutions_need_at_least_one_width() -> None:
    (sentence,) = problems(replace(DIGITS, model=ModelConfig("conv", ())))
    assert sentence == "Layer widths is [], but must be 1 to 8 whole numbers from 1 to 4096."
    assert problems(replace(DIGITS, model=ModelConfig("conv", (4,)))) == []


@pytest.mark.parametrize("path", TABLES)
@pytest.mark.parametrize("unknown", ["", "nothing", "ELBO"])
def test_a_name_of_no_table_is_refused(path: str, unknown: str) -> None:
    name, table = TABLES[path]
    (sentence,) = problems(changed(path, unknown))
    assert sentence == f"{name} is {unknown!r}, but must be one of {', '.join(sorted(table))}."


PARTNERS = {
    "flow": {"estimator": "pathwise"},
    "deterministic": {"estimator": "pathwise", "prior": "none"},
    "none": {"estimator": "pathwise", "posterior": "deterministic"},
    "bernoulli": {"estimator": "score_function", "posterior": "bernoulli", "prior": "bernoulli"},
    "mixture": {"estimator": "pathwise"},
    "vamp": {"estimator": "pathwise"},
    "iwae": {"estimator": "pathwise"},
    "renyi": {"estimator": "pathwise"},
    "score_function_loo": {"draws": 2},
    "reweighted_wake_sleep": {"draws": 2, "bound": "iwae"},
    "cells": {"likelihood": "gaussian"},
    "signals": {"likelihood": "gaussian"},
}
"""What entries that do not go with the defaults need beside them."""


@pytest.mark.parametrize(("path", "value"), [(path, value) for path in TABLES for value in TABLES[path][1]])
def test_every_entry_of_every_table_is_accepted(path: str, value: str) -> None:
    config = changed(path, value)
    partners = {} if path == "model.likelihood" else PARTNERS.get(value, {})
    parts = {
        part: replace(given, **{name: partners[name] for name in partners if hasattr(given, name)})
        for part, given in (("model", config.model), ("objective", config.objective))
    }
    assert problems(replace(config, **parts)) == []


@pytest.mark.parametrize("name", DATASETS)
def test_batches_may_be_as_large_as_the_training_part(name: str) -> None:
    def with_batch(size: int) -> Config:
        return replace(RECIPES[name], schedule=replace(DIGITS.schedule, batch_size=size))

    size = DATASETS[name].sizes.train
    assert problems(with_batch(size)) == []
    assert [p.startswith(f"Batch size is {size + 1}, ") for p in problems(with_batch(size + 1))] == [True]


PROFILES = [name for name, spec in DATASETS.items() if spec.kind == "profile"]
REAL = (
    "Continuous Bernoulli; Gaussian, learned σ; Gaussian, fixed σ; Gaussian, σ(z) for every value; Gaussian, low-rank "
    "covariance; Laplace, learned scale; Student-t, learned scale and tails"
)


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_profiles_take_likelihoods_of_real_values(name: str, likelihood: str) -> None:
    recipe, entry = RECIPES[name], LIKELIHOODS[likelihood]
    found = problems(replace(recipe, model=replace(recipe.model, likelihood=likelihood)))
    refused = (
        f"The likelihood {entry.label} is of 8-bit images, but {DATASETS[name].label} has real values; these serve: "
        f"{REAL}."
    )
    assert found == ([] if entry.label in REAL.split("; ") else [refused])


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_are_not_for_convolutions(name: str) -> None:
    config = replace(RECIPES[name], model=replace(RECIPES[name].model, network="conv"))
    (sentence,) = problems(config)
    assert sentence == (
        f"A convolutional network reads images, but {DATASETS[name].label} has none; choose a fully connected one "
        "(mlp)."
    )


def test_every_problem_is_told() -> None:
    config = changed("model.latent", 0)
    config = replace(config, seed=-1, device="tpu", dataset="cats")
    found = problems(config)
    assert [sentence.split(" is ")[0] for sentence in found] == ["Data set", "Latent dimension", "Seed", "Device"]
    with pytest.raises(ValueError, match=r"Data set is 'cats'.* Latent dimension is 0.* Seed is -1.* Device is 'tpu'"):
        check(config)


# What does not go together

PLAIN = {"posterior": "deterministic", "prior": "none"}
BINARY = {"posterior": "bernoulli", "prior": "bernoulli"}
BOTH_BINARY = (
    "A binary code needs a Bernoulli posterior and a Bernoulli prior; choose Bernoulli for both or for neither."
)
BOTH_PLAIN = "A plain autoencoder has neither noise nor prior; choose None for both posterior and prior or for neither."
PLAIN_IS = (
    "A plain autoencoder is one layer trained on its reconstruction; choose the bound ELBO, the estimator Pathwise "
    "with Monte Carlo KL (its KL is 0 here) and no further stochastic layers."
)
FLOW = (
    "A coupling flow bends one coordinate by another and needs at least 2 latent dimensions in every layer; choose a "
    "Gaussian posterior for 1."
)
VAMP = (
    "The VampPrior is made of diagonal Gaussian posteriors of one layer; choose the posterior Gaussian with diagonal "
    "covariance and no further stochastic layers, or the prior Mixture of Gaussians."
)
MISFITS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"posterior": "bernoulli"}, {"estimator": "score_function"}, BOTH_BINARY),
    ({"prior": "bernoulli"}, {"estimator": "pathwise"}, BOTH_BINARY),
    ({"posterior": "deterministic"}, {"estimator": "pathwise"}, BOTH_PLAIN),
    ({"prior": "none"}, {"estimator": "pathwise"}, BOTH_PLAIN),
    (PLAIN, {}, PLAIN_IS),
    (PLAIN, {"estimator": "score_function"}, PLAIN_IS),
    (PLAIN, {"estimator": "pathwise", "bound": "iwae"}, PLAIN_IS),
    (PLAIN | {"below": (3,)}, {"estimator": "pathwise"}, PLAIN_IS),
    ({"posterior": "flow", "latent": 1}, {"estimator": "pathwise"}, FLOW),
    ({"posterior": "flow", "below": (1,)}, {"estimator": "pathwise"}, FLOW),
    ({"posterior": "flow", "prior": "vamp"}, {"estimator": "pathwise"}, VAMP),
    ({"posterior": "full_gaussian", "prior": "vamp"}, {"estimator": "pathwise"}, VAMP),
    ({"prior": "vamp", "below": (2,)}, {"estimator": "pathwise"}, VAMP),
    (
        {"prior": "vamp"},
        {"estimator": "wake_sleep"},
        "The VampPrior shares the encoder, which Wake-sleep trains apart; choose the prior Mixture of Gaussians or "
        "another estimator.",
    ),
    *(
        (
            BINARY,
            {"estimator": name},
            f"Gradients of the estimator {entry.label} cannot pass binary units; choose Score function, Wake-sleep or "
            "Reweighted wake-sleep.",
        )
        for name, entry in ESTIMATORS.items()
        if entry.reparameterised
    ),
    (
        {"below": (3,)},
        {},
        "The KL of several stochastic layers has no closed form; choose the estimator Pathwise with Monte Carlo KL.",
    ),
    (
        {"posterior": "flow"},
        {},
        "There is no closed-form KL from the posterior “Normalising flow” to the prior “Standard normal”; choose the "
        "estimator Pathwise with Monte Carlo KL.",
    ),
    (
        {"prior": "mixture"},
        {},
        "There is no closed-form KL from the posterior “Gaussian, diagonal covariance” to the prior “Mixture of "
        "Gaussians”; choose the estimator Pathwise with Monte Carlo KL.",
    ),
    (
        {},
        {"bound": "renyi", "estimator": "wake_sleep"},
        "The estimator Wake-sleep does not serve the bound Rényi-α; these do: Pathwise, Monte Carlo KL (SGVB-A), "
        "Doubly reparameterised (STL, DReG), Score function (black-box VI), Score function, leave-one-out (VIMCO).",
    ),
    (
        {},
        {"estimator": "score_function_loo"},
        "Draws is 1, but the estimator Score function, leave-one-out (VIMCO) compares draws and needs at least 2.",
    ),
    (
        {},
        {"estimator": "reweighted_wake_sleep", "bound": "iwae"},
        "Draws is 1, but the estimator Reweighted wake-sleep compares draws and needs at least 2.",
    ),
    (
        {},
        {"bound": "iwae", "estimator": "pathwise", "beta": 2.0},
        "β = 2 weights the KL term of an ELBO, but IWAE-K has no such term; choose β = 1 without warm-up, or the bound "
        "ELBO.",
    ),
    (
        {},
        {"bound": "renyi", "estimator": "pathwise", "warmup_epochs": 3},
        "β = 1 with warm-up weights the KL term of an ELBO, but Rényi-α has no such term; choose β = 1 without "
        "warm-up, or the bound ELBO.",
    ),
    (
        {},
        {"estimator": "wake_sleep", "beta": 0.5},
        "Wake-sleep follows no single objective that β could weight; choose β = 1 without warm-up.",
    ),
    *(
        ({"prior": "gaussian"} | given, {}, sentence)
        for given, sentence in [
            ({"prior_mean": (1.0,)}, "Prior mean must have 2 numbers, one a latent dimension; got 1."),
            ({"prior_covariance": (1.0,)}, "Prior covariance must have 4 numbers, 2 rows of 2; got 1."),
            (
                {"prior_covariance": (1.0, 2.0, 2.0, 1.0)},
                "Prior covariance must be positive definite; got smallest eigenvalue -1.",
            ),
            (
                {"prior_covariance": (1.0, 0.2, 0.3, 1.0)},
                "Prior covariance must be symmetric; got entries that differ by 0.1 from their mirror.",
            ),
            ({"prior_mean": (math.nan, 0.0)}, "Prior mean and covariance must be finite numbers."),
        ]
    ),
]


@pytest.mark.parametrize(("model", "objective", "sentence"), MISFITS)
def test_what_does_not_go_together_is_refused_with_one_sentence(
    model: dict[str, Any], objective: dict[str, Any], sentence: str
) -> None:
    config = replace(DIGITS, model=ModelConfig(**model), objective=ObjectiveConfig(**objective))
    assert problems(config) == [sentence]
    with pytest.raises(ValueError, match="^" + re.escape(sentence) + "$"):
        check(config)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("bound", BOUNDS)
def test_an_estimator_takes_its_bounds_only(estimator: str, bound: str) -> None:
    config = replace(DIGITS, model=ModelConfig(), objective=ObjectiveConfig(bound, estimator, draws=2))
    found = problems(config)
    assert [sentence.split(";")[0] for sentence in found] == (
        []
        if bound in ESTIMATORS[estimator].bounds
        else [f"The estimator {ESTIMATORS[estimator].label} does not serve the bound {BOUNDS[bound].label}"]
    )


@pytest.fixture(scope="module")
def split() -> Split:
    return datasets.load("digits", "train").head(8)


def tiny(likelihood: str, posterior: str, prior: str, below: tuple[int, ...], bound: str, estimator: str) -> Config:
    model = ModelConfig("mlp", (4,), "silu", 2, likelihood, posterior, prior, below, components=3)
    objective = ObjectiveConfig(bound, estimator, draws=2)
    schedule = ScheduleConfig(batch_size=8, epochs=1)
    return Config("digits", model, objective, schedule, device="cpu")


def assert_one_step_trains(config: Config, split: Split) -> None:
    """The step's numbers are finite, and every group of networks gets a finite gradient that is not zero."""
    trainer = Trainer(config, split, torch.device("cpu"))
    assert trainer.advance().stats.isfinite().all(), config
    for part in (trainer.model.recognition, trainer.model.generative):
        gradient = torch.cat([parameter.grad.flatten() for parameter in part.parameters()])
        assert gradient.isfinite().all(), config
        assert gradient.norm() > 0, config
    assert all(parameter.grad.isfinite().all() for parameter in trainer.model.parameters()), config


def raises_in_code(config: Config) -> bool:
    """What an estimator must not do silently, for models that can be built at all."""
    model, name = config.model, config.objective.estimator
    estimator, density = ESTIMATORS[name], POSTERIORS[model.posterior].density
    if model.prior == "vamp" and (model.posterior != "diagonal_gaussian" or model.below):
        return False
    return (
        (estimator.reparameterised and not density.reparameterised)
        or (estimator.analytic_kl and (bool(model.below) or (density, PRIORS[model.prior].density) not in KL_TABLE))
        or (name == "doubly_reparameterised" and BOUNDS[config.objective.bound].alpha is None)
    )


def assert_estimator_raises(config: Config) -> None:
    model = machine(config.model, DATASETS["digits"].shape, generator=seeded(1))
    with pytest.raises(ValueError, match=r"use (the estimator )?'"):
        ESTIMATORS[config.objective.estimator].estimate(
            model, torch.zeros(2, 64), Objective(config.objective), 2, generator=seeded(1)
        )


LAYERS = {"one layer": (), "two layers": (3,)}


@pytest.mark.parametrize(
    ("posterior", "prior", "layers", "estimator"), list(product(POSTERIORS, PRIORS, LAYERS, ESTIMATORS))
)
def test_every_combination_is_refused_or_trains(
    posterior: str, prior: str, layers: str, estimator: str, split: Split
) -> None:
    for bound in BOUNDS:
        config = tiny("bernoulli", posterior, prior, LAYERS[layers], bound, estimator)
        if not misfits(config.model, config.objective):
            assert not raises_in_code(config)
            assert_one_step_trains(config, split)
        elif raises_in_code(config):
            assert_estimator_raises(config)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize(("posterior", "prior"), list(product(POSTERIORS, PRIORS)))
def test_every_likelihood_trains_with_whatever_goes_together(
    likelihood: str, posterior: str, prior: str, split: Split
) -> None:
    """With gradients along draws where they pass, and with dreams, which show the encoder draws of the likelihood."""
    for below, estimator in product(LAYERS.values(), ("pathwise", "wake_sleep")):
        config = tiny(likelihood, posterior, prior, below, "elbo", estimator)
        if not misfits(config.model, config.objective):
            assert_one_step_trains(config, split)


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_on_profiles(name: str, method: str) -> None:
    config = by_method(RECIPES[name], method)
    assert problems(config) == []
    assert_one_step_trains(config, datasets.load(name, "train"))


# Recipes that are shipped


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_has_a_default_recipe_without_problems(name: str) -> None:
    assert problems(RECIPES[name]) == []
    check(RECIPES[name])


@pytest.mark.parametrize("name", build.RECIPES)
def test_the_recipes_of_the_shipped_models_have_no_problems(name: str) -> None:
    assert problems(build.RECIPES[name]) == []


def test_a_last_layer_too_large_to_save_is_refused() -> None:
    mnist = RECIPES["mnist"]
    wide = replace(mnist, model=replace(mnist.model, likelihood="categorical"))
    assert problems(wide) == [
        "The likelihood Categorical, 8-bit needs 200,704 outputs for 784 pixels, but a layer of 512 before them "
        "takes at most 39,062; choose a first width of at most 99 or the likelihood Discretised logistic, 8-bit."
    ]
    assert problems(replace(wide, model=replace(wide.model, widths=(99, 64)))) == []
    assert problems(replace(wide, model=replace(wide.model, widths=(100, 64)))) != []
    assert problems(replace(wide, model=replace(wide.model, network="conv", widths=(32, 64)))) == []
