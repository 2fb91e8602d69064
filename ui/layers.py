"""What can lie under the points besides decoded examples: holes, a ratio of densities, the magnification."""

from collections.abc import Callable

import torch
from torch import Tensor

from ui.payload import pack
from ui.planes import Drawn
from ui.resources import Explored
from ui.theme import DIVERGING, SEQUENTIAL
from ui.words import signed
from vae_core.aggregate import contours, density_grid, mass_levels
from vae_core.geometry import lattice
from vae_core.holes import KINDS, Landscape
from vae_core.magnification import log_magnification
from vae_core.planes import Plane

SIDE = 48
FINE_SIDE = 96
MASSES = {0.5: 1.6, 0.9: 1.0, 0.99: 0.6}
"""Shares of the aggregate posterior that contours enclose, and how thick they are drawn."""
RATIO_LIMIT = 10.0
KIND_COLOURS = ("#00000000", "#8884", "#888b")


def layer_message(name: str, thing: Explored, drawn: Drawn, plane: Plane, landscape: Landscape) -> bytes:
    """One layer of a plane. Raises ValueError where the model has none of that name."""
    return LAYER_MAKERS[name](thing, drawn, plane, landscape)


def _holes(thing: Explored, drawn: Drawn, plane: Plane, landscape: Landscape) -> bytes:
    kinds = landscape.kinds(plane.latents(lattice(SIDE, drawn.extent)))
    grid = density_grid(landscape.aggregate, plane, FINE_SIDE, drawn.extent)
    levels = mass_levels(grid, list(MASSES))
    lines = [
        {"lines": [line.tolist() for line in contours(grid, drawn.extent, level)], "width": width}
        for level, width in zip(levels, MASSES.values(), strict=True)
    ]
    header = {
        "side": SIDE,
        "extent": drawn.extent,
        "kinds": [kind.label for kind in KINDS],
        "stops": KIND_COLOURS,
        "contours": lines if thing.means.shape[1] > 1 else [],
    }
    return pack(header, {"grid": kinds.to(torch.uint8).numpy().tobytes()})


def _heat(label: str, values: Tensor, low: float, high: float, stops: tuple[str, ...]) -> bytes:
    share = ((values - low) / max(high - low, 1e-9)).clamp(0, 1)
    header = {"side": SIDE, "label": label, "low": signed(low, 1), "high": signed(high, 1), "stops": stops}
    return pack(header, {"grid": (255 * share).round().to(torch.uint8).numpy().tobytes()})


def _ratio(thing: Explored, drawn: Drawn, plane: Plane, landscape: Landscape) -> bytes:
    values = landscape.log_ratio(plane.latents(lattice(SIDE, drawn.extent)))
    if values is None:
        raise ValueError("The prior of this model has no density over single codes that q(z) could be compared with")
    label = "log q(z) − log p(z), nats (below 0: the prior promises more than the data gave)"
    return _heat(label, values, -RATIO_LIMIT, RATIO_LIMIT, DIVERGING)


def _magnification(thing: Explored, drawn: Drawn, plane: Plane, landscape: Landscape) -> bytes:
    values = log_magnification(thing.expected, plane, lattice(SIDE, drawn.extent))
    finite = values[values.isfinite()]
    low, high = finite.quantile(torch.tensor([0.01, 0.99])).tolist() if len(finite) else (0.0, 1.0)
    label = "log √det(JᵀJ): how fast the decoded example changes"
    return _heat(label, values.nan_to_num(low, neginf=low), low, high, SEQUENTIAL)


LAYER_MAKERS: dict[str, Callable[[Explored, Drawn, Plane, Landscape], bytes]] = {
    "holes": _holes,
    "ratio": _ratio,
    "magnification": _magnification,
}
