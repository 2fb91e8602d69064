"""The form of a sweep: which settings vary, over which values, with which seeds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from vae_core.bounds import BOUNDS
from vae_core.config import Config
from vae_core.estimators import ESTIMATORS
from vae_core.grid import Point, combinations
from vae_core.likelihoods import LIKELIHOODS
from vae_core.networks import ACTIVATIONS
from vae_core.optimisers import OPTIMISERS, SCHEDULES
from vae_core.posteriors import POSTERIORS
from vae_core.priors import PRIORS
from vae_core.sweeps import require_few

TABLES: dict[str, Mapping[str, Any]] = {
    "likelihood": LIKELIHOODS,
    "posterior": POSTERIORS,
    "prior": PRIORS,
    "bound": BOUNDS,
    "estimator": ESTIMATORS,
    "activation": ACTIVATIONS,
    "optimiser": OPTIMISERS,
    "schedule": SCHEDULES,
}
"""Settings that are entries of a table."""
TYPED = {
    "latent": ("Latent dimensions", "2, 8, 20"),
    "beta": ("β", "0.5, 1, 4"),
    "learning_rate": ("Learning rate (peak)", "0.0005, 0.002"),
    "widths": ("Layer sizes", "512 256, 64"),
    "draws": ("Draws K", "1, 5"),
    "warmup_epochs": ("Warm-up, epochs", "0, 10"),
    "free_nats": ("Free nats", "0.5, 2"),
    "alpha": ("α of the Rényi bound", "0, 0.5"),
    "batch_size": ("Batch size", "64, 128"),
    "components": ("Components of the prior", "10, 50"),
}
"""Settings whose values are typed: their names on screen, and what stands there at first."""
LABELS = {name: label for name, (label, _) in TYPED.items()} | {name: name.capitalize() for name in TABLES}
FIRST = ["latent", "beta"]
LONGEST = 400


@dataclass(frozen=True)
class Wanted:
    """What the form says: the runs, or sentences on what cannot be."""

    points: list[Point]
    problems: list[str]


def sweep_form(base: Config) -> Wanted:
    """The recipe `base` with every combination of the values that are chosen."""
    names = st.multiselect("What varies", list(LABELS), default=FIRST, format_func=LABELS.__getitem__, max_selections=4)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        grid = {name: _values(name) for name in names}
        seeds = st.text_input("Seeds", "0, 1", max_chars=LONGEST, help="Every setting is trained once with each.")
    try:
        _require_values(grid)
        numbers = _whole(seeds)
        require_few(len(numbers) * math.prod(map(len, grid.values())))
        return Wanted(combinations(base, grid, numbers), [])
    except ValueError as error:
        return Wanted([], [f"{str(error)[:1].upper()}{str(error)[1:]}."])


def _values(name: str) -> list[str]:
    label = LABELS[name]
    if name in TABLES:
        table = TABLES[name]
        return st.multiselect(
            label, list(table), key=f"values {name}", format_func=lambda key: getattr(table[key], "label", key)
        )
    help_text = "Values with commas between them" + ("; several sizes of one network with spaces." * (name == "widths"))
    typed = st.text_input(label, TYPED[name][1], max_chars=LONGEST, help=help_text, key=f"values {name}")
    return [value.strip() for value in typed.split(",") if value.strip()]


def _require_values(grid: dict[str, list[str]]) -> None:
    """Raises ValueError for a setting without a value."""
    for name, values in grid.items():
        if not values:
            raise ValueError(f"{LABELS[name]} has no value: give at least one, or let it not vary")


def _whole(text: str) -> list[int]:
    words = text.replace(",", " ").split()
    try:
        return [int(word) for word in words] or [0]
    except ValueError:
        raise ValueError(f"seeds are “{text[:40]}”, but must be whole numbers, as in 0, 1, 2") from None
