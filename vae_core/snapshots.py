"""What a run looks like at one moment: small tensors that the app draws and a scrubber can replay."""

import torch
from torch import Tensor

from vae_core.config import Config
from vae_core.datasets import Split
from vae_core.evaluation import rate_splits, weight_of_dimensions
from vae_core.geometry import lattice, leading_axes, on_axes, to_bytes
from vae_core.likelihoods import LIKELIHOODS, grey
from vae_core.model import HelmholtzMachine
from vae_core.moments import plane_extent, prior_ellipses
from vae_core.planes import axis_plane
from vae_core.training import generator_for

SCATTER = 1_000
LATTICE_SIDE = 16
PAIRS = 10
STEADY = 0.8

Axes = tuple[int, int]


def steady_axes(weights: Tensor, before: Axes | None) -> Axes:
    """The axes of the snapshot before while they carry nearly as much as the two that carry most: dimensions that are
    much alike change places all the time, and a plane that changes with them cannot be followed."""
    leading = leading_axes(weights)
    if before and weights[list(before)].sum() >= STEADY * weights[list(leading)].sum():
        return before
    return leading


def snapshot(config: Config, model: HelmholtzMachine, held_out: Split, before: Axes | None = None) -> dict[str, Tensor]:
    """The latent means of the fixed held-out examples, the decoded lattice on the two axes of the snapshot `before`, or
    on the leading ones, and pairs.

    What is drawn, lattice, originals and reconstructions, is bytes: 255 times the values of images and profiles alike.
    """
    likelihood = LIKELIHOODS[config.model.likelihood]
    generator = generator_for(model.device, 0, 3)
    shown = held_out.head(SCATTER)
    with torch.no_grad():
        posterior = model.encode(likelihood.observe(shown.x, generator=generator))
        weights = weight_of_dimensions(model, posterior)
        axes = steady_axes(weights, before)
        points = posterior.mean[:, list(axes)].cpu()
        extent = plane_extent(model, points)
        base = model.centre()
        tiles = model.decode(on_axes(lattice(LATTICE_SIDE, extent).to(base), axes, base)).mean
        rebuilt = model.decode(posterior.mean[:PAIRS]).mean
    return {
        "means": posterior.mean.half(),
        "labels": shown.y,
        "weights": weights,
        "by_rate": torch.tensor(rate_splits(model, posterior)),
        "axes": torch.tensor(axes),
        "extent": torch.tensor(extent),
        "lattice": to_bytes(tiles),
        "prior": torch.tensor(prior_ellipses(model, axis_plane(axes, base))).reshape(-1, 5),
        "originals": to_bytes(grey(shown.x[:PAIRS], generator=generator)),
        "reconstructions": to_bytes(rebuilt),
    }
