"""What one place of a latent plane, or one data point on it, decodes to: the component's side panel."""

import base64
from collections.abc import Sequence

import torch
from torch import Tensor

from ui.latent_plane import Picture, Selection
from ui.payload import axis_names, on_plane
from ui.resources import Explored
from ui.theme import TERMS
from ui.words import nats, signed
from vae_core.datasets import DATASETS
from vae_core.distributions import Normal
from vae_core.evaluation import ExampleTerms, example_terms
from vae_core.gaps import gaps
from vae_core.gaussians import FullNormal
from vae_core.geometry import on_axes, to_bytes
from vae_core.moments import covariance, ellipse
from vae_core.training import generator_for

DRAWS = 100
CLOUD = 250


def picture(title: str, pixels: Tensor) -> Picture:
    """`pixels` are bytes, or values in [0, 1]."""
    grey = pixels if pixels.dtype == torch.uint8 else to_bytes(pixels)
    return Picture(title, base64.b64encode(grey.contiguous().numpy().tobytes()).decode())


def coordinates(axes: tuple[int, int], at: Sequence[float]) -> str:
    return ",  ".join(f"{name} = {signed(value)}" for name, value in zip(axis_names(axes), at, strict=True) if name)


def truth(thing: Explored, index: int) -> list[tuple[str, str, str]]:
    """log p(x) of a held-out example, and why its ELBO falls short, in words; takes a second or two.

    Raises ValueError where no exact way serves.
    """
    found = gaps(thing.model, thing.seen[index : index + 1])
    if not found.error.isfinite():
        raise ValueError(
            "The posterior of this example is too narrow for the finest grid: log p(x) could not be resolved."
        )
    return [
        ("log p(x)", nats(found.log_p.item()), f"Exact to {found.error.item():.0e} nats: no bound."),
        ("ELBO", nats(found.elbo.item()), "Of the encoder's q(z|x), by quadrature; a lower bound on log p(x)."),
        (
            "Approximation gap",
            nats(found.approximation.item()),
            "log p(x) − ELBO of the best posterior of this family for this x: what the family cannot express.",
        ),
        (
            "Amortisation gap",
            nats(found.amortisation.item()),
            "ELBO of that best posterior − the encoder's ELBO: what the encoder misses.",
        ),
    ]


def at_place(thing: Explored, axes: tuple[int, int], at: Sequence[float]) -> Selection:
    """The exact decoding of a point of the plane, all other coordinates at the centre."""
    z = on_axes(torch.tensor([list(at)]), axes, thing.model.centre())
    with torch.no_grad():
        decoded = thing.model.decode(z).mean[0]
    title = "Decoded here: the mean of p(x|z)"
    return Selection((at[0], at[1]), coordinates(axes, at), (picture(title, decoded),))


def at_data_point(thing: Explored, axes: tuple[int, int], index: int) -> Selection:
    """A held-out example: as it is, as the model saw it, and rebuilt; its ELBO's terms; q(z|x) on the two axes."""
    config = thing.config
    mean = thing.means[index]
    generator = generator_for(torch.device("cpu"), index)
    seen = thing.seen[index : index + 1]
    with torch.no_grad():
        rebuilt = thing.model.decode(mean[None]).mean[0]
        q = thing.model.encode(seen)
        spread = covariance(q, generator=generator)[0]
        draws = on_plane(q.sample(CLOUD, generator=generator)[:, 0], axes)
    terms = example_terms(thing.model, seen, DRAWS, generator=generator)
    pictures = [picture("Original", thing.sample.x[index])]
    if config.model.likelihood == "bernoulli":
        pictures.append(picture("As the model saw it: one binarised draw", seen[0]))
    pictures.append(picture("Reconstruction from the mean of q(z|x)", rebuilt))
    label = DATASETS[config.dataset].classes[int(thing.sample.y[index])]
    first, second = on_plane(thing.means, axes)[index].tolist()
    flat, gaussian = axes[0] == axes[1], isinstance(q, (Normal, FullNormal))
    _, _, long, short, angle = ellipse(mean, spread, axes)
    return Selection(
        (first, second),
        f"Held-out example {index}, “{label}”, at {coordinates(axes, (first, second))}",
        tuple(pictures),
        _numbers(config.model.posterior, terms),
        (first, second, long, 0.0 if flat else short, angle),
        () if flat or gaussian else tuple((x, y) for x, y in draws.tolist()),
    )


def _numbers(posterior: str, terms: ExampleTerms) -> tuple[tuple[str, str, str], ...]:
    reconstruction = ("Reconstruction", nats(terms.reconstruction.item()), TERMS["reconstruction"])
    if posterior == "deterministic":
        return (reconstruction,)
    return (
        ("ELBO", nats(terms.elbo.item()), TERMS["elbo"]),
        reconstruction,
        ("KL", nats(terms.rate.item()), TERMS["kl"]),
    )
