"""Every combination of some settings with every seed."""

import argparse
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vae_core.command import add_recipe, adjusted
from vae_core.config import Config
from vae_core.rules import problems

INSTEAD = {"seed": "the seeds", "dataset": "a sweep for each"}
"""What is no setting of a grid, and what to use for it."""
TWICE = "the grid or the seeds name something twice: give every setting, value and seed once"

Grid = Mapping[str, Sequence[str]]
"""Settings by name, each with its values as one writes them on a command line."""


@dataclass(frozen=True)
class Point:
    """One setting of the grid with one seed, and its recipe."""

    setting: dict[str, str]
    seed: int
    config: Config

    @property
    def name(self) -> str:
        """A folder name: setting=value, joined by commas."""
        parts = [f"{key}={value}" for key, value in {**self.setting, "seed": self.seed}.items()]
        return ",".join(parts).replace(" ", "-").replace("/", "-")


def axis(text: str) -> tuple[str, list[str]]:
    """`name=value,value,…`; a value of several numbers is written with spaces, as in widths='512 256,64'."""
    name, found, values = text.partition("=")
    if not found or not name or not all(values.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} must look like beta=0.5,1,4")
    return name.replace("-", "_"), values.split(",")


def combinations(base: Config, grid: Grid, seeds: Sequence[int]) -> list[Point]:
    """The recipe with every combination of the grid's settings and every seed, seed by seed within a setting.

    Raises ValueError for unknown names, impossible settings, and what is there twice.
    """
    for name in INSTEAD:
        if name in grid:
            raise ValueError(f"{name} is no axis of the grid: use {INSTEAD[name]}")
    options = argparse.ArgumentParser(prog="--grid", add_help=False, exit_on_error=False, allow_abbrev=False)
    add_recipe(options.add_argument)
    settings = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    read = [(setting, _read(options, setting)) for setting in settings]
    out = [_point(base, setting, given, seed) for setting, given in read for seed in seeds]
    if len({point.name for point in out}) < len(out):
        raise ValueError(TWICE)
    return out


def _point(base: Config, setting: dict[str, str], given: dict[str, Any], seed: int) -> Point:
    config = adjusted(base, {**given, "seed": seed})
    point, wrong = Point(setting, seed, config), problems(config)
    if wrong:
        raise ValueError(f"{point.name}: {' '.join(wrong)}")
    return point


def _read(options: argparse.ArgumentParser, setting: dict[str, str]) -> dict[str, Any]:
    """The values as the command line reads them. Raises ValueError."""
    strange = [value for value in setting.values() if "--" in value]
    if strange:
        raise ValueError(f"the grid has {strange[0]!r} where a value belongs")
    words = [word for key, value in setting.items() for word in (f"--{key.replace('_', '-')}", *value.split())]
    try:
        chosen, unknown = options.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise ValueError(f"the grid's {setting} cannot be read: {error}") from error
    if unknown:
        raise ValueError(f"the grid names settings that do not exist: {unknown[0].lstrip('-')}")
    return {name: value for name, value in vars(chosen).items() if name in setting}
