"""Planes through latent space and lattices on them: pure functions of tensors. z2 points up: row 0 is the top row."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vae_core.networks import Shape

MINIMUM_EXTENT = 3.0
CHART_HEIGHT = 48


def lattice(side: int, extent: float) -> Float[Tensor, "{side*side} 2"]:
    """Centres of side x side square tiles that fill [-extent, extent]^2, row by row from the top left."""
    half = extent / side
    return _product(torch.linspace(-extent + half, extent - half, side))


def probability_lattice(side: int) -> Float[Tensor, "{side*side} 2"]:
    """Points in the order of `lattice`, at the inverse normal CDF of (i + ½) / side along each axis: the medians of
    cells that are equally probable under the standard normal (Kingma & Welling 2014, figure 4)."""
    probabilities = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    return _product(torch.special.ndtri(probabilities).float())


def _product(axis: Float[Tensor, "side"]) -> Float[Tensor, "side*side 2"]:
    z2, z1 = torch.meshgrid(axis.flip(0), axis, indexing="ij")
    return torch.stack([z1.flatten(), z2.flatten()], dim=-1)


def nodes(count: int, extent: float) -> Float[Tensor, "{count*count} 2"]:
    """Crossings of count x count lines that reach from -extent to extent, row by row from the top left."""
    return _product(torch.linspace(-extent, extent, count))


def inside(points: Float[Tensor, "N 2"], corners: Float[Tensor, "C 2"]) -> Bool[Tensor, "N"]:
    """Which points lie inside a polygon, by the even-odd rule."""
    after = corners.roll(-1, 0)
    x, y = points[:, :1], points[:, 1:]
    crosses = (corners[:, 1] > y) != (after[:, 1] > y)
    run = (after[:, 0] - corners[:, 0]) / (after[:, 1] - corners[:, 1])  # infinite only where nothing crosses
    left = x < corners[:, 0] + (y - corners[:, 1]) * run
    return (crosses & left).sum(1) % 2 == 1


def on_axes(points: Float[Tensor, "N 2"], axes: tuple[int, int], base: Float[Tensor, "H"]) -> Float[Tensor, "N H"]:
    """Latent vectors with the two named coordinates from `points` and all others from `base`.

    For a latent space of one dimension both axes are 0 and the second coordinate of `points` is ignored.
    """
    z = base.expand(len(points), -1).clone()
    z[:, axes[1]] = points[:, 1]
    z[:, axes[0]] = points[:, 0]
    return z


def leading_axes(rates: Float[Tensor, "H"]) -> tuple[int, int]:
    """The two dimensions with the largest KL, in their own order; the same one twice if there is only one."""
    leading = sorted(rates.argsort(descending=True, stable=True)[:2].tolist())
    return (leading[0], leading[-1])


def extent_of(points: Float[Tensor, "N 2"], least: float = MINIMUM_EXTENT) -> float:
    """Half the side of a square around the origin that holds 99.5 % of the points, at least three prior sigmas."""
    reach = points.abs().amax(dim=1).quantile(0.995).item()
    return max(least, round(1.05 * reach, 2))


def pictures(values: Float[Tensor, "N D"], shape: Shape) -> Float[Tensor, "N C H W"]:
    """Examples in [0, 1] as images; a profile, of shape (1, 1, D), becomes D columns as high as its values."""
    if shape[1] > 1:
        return values.reshape(-1, *shape)
    below = torch.arange(CHART_HEIGHT, device=values.device).flip(0)
    return (values[:, None, None] * CHART_HEIGHT - below[:, None]).clamp(0, 1)


def mosaic(images: Float[Tensor, "N C H W"], columns: int) -> Float[Tensor, "height width C"]:
    """N images in rows of `columns`, as one image, channels last."""
    n, c, h, w = images.shape
    rows = n // columns
    return images.reshape(rows, columns, c, h, w).permute(0, 3, 1, 4, 2).reshape(rows * h, columns * w, c)


def to_bytes(pixels: Tensor) -> Tensor:
    """Values in [0, 1] as grey levels 0…255."""
    return (pixels.clamp(0, 1) * 255).round().to(torch.uint8)
