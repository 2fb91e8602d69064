"""Sensible recipes: what the form and the command line start from for each data set."""

from dataclasses import replace

from vae_core.config import Config, ModelConfig, ScheduleConfig

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
}


def recipe(dataset: str, latent: int | None = None) -> Config:
    """The default recipe of a data set, for another latent dimension if one is given."""
    config = RECIPES[dataset]
    return config if latent is None else replace(config, model=replace(config.model, latent=latent))
