"""Sensible recipes: what the form and the command line start from for each data set."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

from vae_core.config import Config, ModelConfig, ScheduleConfig
from vae_core.datasets import DATASETS

RECIPES = {
    "digits": Config(
        "digits",
        ModelConfig(widths=(256, 128)),
        schedule=ScheduleConfig(epochs=200, batch_size=64),
    ),
    "mnist": Config(
        "mnist",
        ModelConfig(widths=(512, 256, 128)),
        schedule=ScheduleConfig(epochs=20),
    ),
    "fashion": Config(
        "fashion",
        ModelConfig(widths=(512, 256, 128), likelihood="continuous_bernoulli"),
        schedule=ScheduleConfig(epochs=20),
    ),
    "cells": Config(
        "cells",
        ModelConfig(widths=(64, 32), likelihood="gaussian"),
        schedule=ScheduleConfig(batch_size=32, epochs=200),
    ),
    "signals": Config(
        "signals",
        ModelConfig(widths=(256, 128, 64), likelihood="gaussian"),
        schedule=ScheduleConfig(learning_rate=4e-3, batch_size=64, epochs=150),
    ),
}


STEPS, LARGE = 20_000, 4_096
"""How long a data set without a recipe of its own is trained, and of how many values its examples are large."""


def by_size(dataset: str) -> Config:
    """A recipe by what is known of a data set: values in [0, 1], convolutions for large images, about STEPS steps."""
    spec, schedule = DATASETS[dataset], ScheduleConfig()
    large = spec.kind == "image" and math.prod(spec.shape) >= LARGE
    model = ModelConfig("conv", (32, 64)) if large else ModelConfig(widths=(512, 256, 128))
    epochs = max(1, min(100, STEPS * schedule.batch_size // spec.sizes.train))
    batch_size = min(schedule.batch_size, spec.sizes.train)
    return Config(
        dataset,
        replace(model, likelihood="continuous_bernoulli" if spec.kind == "image" else "gaussian"),
        schedule=replace(schedule, batch_size=batch_size, epochs=epochs),
    )


def recipe(dataset: str, latent: int | None = None) -> Config:
    """The default recipe of a data set, for another latent dimension if one is given."""
    config = RECIPES.get(dataset) or by_size(dataset)
    return config if latent is None else replace(config, model=replace(config.model, latent=latent))


@dataclass(frozen=True)
class Method:
    """A way to learn, as the settings of model and objective that make it, by name; all others are the plain VAE's."""

    label: str
    model: dict[str, Any] = field(default_factory=dict)
    objective: dict[str, Any] = field(default_factory=dict)


BINARY = {"posterior": "bernoulli", "prior": "bernoulli", "widths": (), "below": (32,), "latent": 16}

METHODS = {
    "vae": Method("Variational autoencoder (AEVB)"),
    "iwae": Method(
        "Importance-weighted autoencoder", {}, {"bound": "iwae", "estimator": "doubly_reparameterised", "draws": 5}
    ),
    "flow": Method("VAE with a flow posterior", {"posterior": "flow"}, {"estimator": "pathwise"}),
    "vamp": Method("VAE with a VampPrior", {"prior": "vamp", "components": 50}, {"estimator": "pathwise"}),
    "layers": Method("Two Gaussian layers", {"below": (16,)}, {"estimator": "pathwise"}),
    "wake_sleep": Method("Helmholtz machine: binary, wake-sleep", BINARY, {"estimator": "wake_sleep"}),
    "reweighted": Method(
        "Helmholtz machine: binary, reweighted wake-sleep",
        BINARY,
        {"bound": "iwae", "estimator": "reweighted_wake_sleep", "draws": 5},
    ),
    "score": Method(
        "Helmholtz machine: binary, score function (VIMCO)",
        BINARY,
        {"bound": "iwae", "estimator": "score_function_loo", "draws": 5},
    ),
    "autoencoder": Method(
        "Plain autoencoder", {"posterior": "deterministic", "prior": "none"}, {"estimator": "pathwise"}
    ),
}
"""What the form offers to start from."""


def by_method(config: Config, name: str) -> Config:
    """A recipe with a method's settings, and the plain VAE's where it has none."""
    method, plain = METHODS[name], recipe(config.dataset)
    model = replace(plain.model, **method.model)
    return replace(config, model=model, objective=replace(plain.objective, **method.objective))
