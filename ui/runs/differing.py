"""In what settings recipes differ, in words."""

from collections.abc import Sequence
from typing import Any

from vae_core.comparing import config_differences
from vae_core.config import Config

NAMES = {
    "dataset": "data set",
    "model.latent": "latent",
    "model.below": "layers below",
    "objective.beta": "β",
    "objective.alpha": "α",
    "objective.warmup_epochs": "warm-up, epochs",
}


def setting(key: str) -> str:
    """The name of a setting on screen."""
    return NAMES.get(key) or key.rpartition(".")[2].replace("_", " ")


def value_text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.10g}"
    return "-".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def differing(configs: Sequence[Config]) -> dict[str, list[Any]]:
    """By key, the values of every setting in which any recipe differs from the first."""
    found: dict[str, list[Any]] = {}
    for number, config in enumerate(configs):
        for key, first, value in config_differences(configs[0], config):
            found.setdefault(key, [first] * len(configs))[number] = value
    return found


def distinguished(configs: Sequence[Config]) -> list[str]:
    """A name for each recipe that says only in what they differ."""
    found = differing(configs)
    return [
        ", ".join(f"{setting(key)} {value_text(values[number])}" for key, values in found.items()) or ""
        for number in range(len(configs))
    ]
