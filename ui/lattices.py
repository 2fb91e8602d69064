"""What a plane decodes to everywhere, and what a model makes up by itself, as pictures; and why not, if not."""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ui.address import Vector
from ui.exports import lattice_png
from ui.latent_plane import Place
from ui.planes import Drawn, Opened, flat
from ui.resources import CPU, Explored, explored
from ui.tiles import decoded_tiles
from ui.words import signed
from vae_core.generation import can_warm, equal_probability_codes, even_codes, is_standard_normal, prior_codes
from vae_core.planes import Plane
from vae_core.priors import PRIORS
from vae_core.training import generator_for

SHARP = 960
"""Pixels that a picture is wide at least."""
SPACING = 8
"""The space between profiles is an eighth of their width."""
SAMPLE_SEED = 11


@dataclass(frozen=True)
class Grid:
    """Which places of a plane are decoded: `side` x `side`, evenly over a square of half side `half` around `centre`,
    or in cells of equal prior probability."""

    side: int
    equal: bool
    centre: Place
    half: float


@lru_cache(maxsize=8)
def lattice_picture(folder: Path, token: str, origin: Vector, basis: tuple[Vector, ...], grid: Grid) -> bytes:
    """PNG of a decoded lattice; `token` is the model's `version`."""
    plane = Plane(torch.tensor(origin), torch.tensor(basis))
    codes = (
        equal_probability_codes(plane, grid.side)
        if grid.equal
        else even_codes(plane, grid.side, grid.centre, grid.half)
    )
    return _sheet(explored(folder), codes, grid.side)


@lru_cache(maxsize=8)
def samples_picture(folder: Path, token: str, side: int, temperature: float, seed: int) -> bytes:
    """PNG of what side x side draws of the prior decode to; `token` is the model's `version`."""
    thing = explored(folder)
    codes = prior_codes(thing.model, side * side, temperature, generator=generator_for(CPU, SAMPLE_SEED, seed))
    return _sheet(thing, codes, side)


def _sheet(thing: Explored, codes: Float[Tensor, "N H"], columns: int) -> bytes:
    """PNG of decoded codes row by row; profiles, which fill their tiles to the edge, with space between them."""
    made = decoded_tiles(thing, codes, SHARP // columns)
    space = made.shape[2] // SPACING if thing.spec.kind == "profile" else 0
    return lattice_png(nn.functional.pad(made, (0, space, space, 0)), columns)


def why_not_equal(thing: Explored) -> str:
    """Why a plane has no cells of equal prior probability; empty where it has them."""
    if is_standard_normal(thing.model):
        return ""
    prior, layers = PRIORS[thing.config.model.prior].label, len(thing.model.generative)
    own = f"the prior “{prior}”" + (f" under {layers} layers" if layers > 1 else "")
    return f"Cells of equal probability need the prior N(0, I) of one layer; this model has {own}. Choose even steps."


def why_one_temperature(thing: Explored) -> str:
    """Why samples cannot be drawn colder or warmer; empty where they can."""
    if can_warm(thing.model):
        return ""
    if len(thing.model.generative) > 1:
        return "Machines of several layers are drawn from layer by layer, at temperature 1 only."
    return "Binary codes are drawn at temperature 1 only: there is nothing between 0 and 1."


def decodable(opened: Opened) -> tuple[Drawn, Plane]:
    """The plane shown, or the two leading axes where an embedding is shown."""
    drawn = opened.drawn
    if drawn.plane is None:
        drawn = flat(opened.thing, replace(opened.address, kind="axes", axes=(), base=()))
    assert drawn.plane is not None
    return drawn, drawn.plane


def lattice_words(drawn: Drawn, grid: Grid) -> str:
    """What a decoded lattice shows."""
    across, up = drawn.names
    count = f"{grid.side}×{grid.side} means of p(x|z)"
    if grid.equal:
        way = f"{across} grows to the right, {up} upwards" if up else f"{across} grows from left to right, row by row"
        return f"{count}, each in the middle of a cell that holds 1/{grid.side**2:,} of the prior’s probability; {way}."
    (x, y), half = grid.centre, grid.half
    first = f"{across} from {signed(x - half)} to {signed(x + half)}"
    if not up:
        return f"{count}, {first}, row by row."
    return f"{count}, {first} to the right, {up} from {signed(y - half)} to {signed(y + half)} upwards."
