"""What one place of a latent plane, or one data point on it, decodes to: the component's side panel and tray."""

import base64
from functools import lru_cache
from pathlib import Path
from string import ascii_uppercase

import torch
from jaxtyping import Float
from torch import Tensor

from ui.address import Address, Pin
from ui.latent_plane import Picture, PinMark, Place, Selection
from ui.payload import shown
from ui.planes import Opened, axis_name, on_plane, vector_of, view_of
from ui.resources import Explored, explored
from ui.theme import TERMS
from ui.words import nats, signed
from vae_core.config import ModelConfig
from vae_core.distributions import Density, Normal
from vae_core.evaluation import ExampleTerms, example_terms
from vae_core.gaps import gaps
from vae_core.gaussians import FullNormal
from vae_core.holes import KINDS
from vae_core.moments import Ellipse, covariance, ellipse
from vae_core.training import generator_for

CPU = torch.device("cpu")
DRAWS = 100
CLOUD = 250
SHOWN_DRAWS = 4
NEIGHBOURS = 5
SPOKEN = 4
"""Coordinates that a heading names at most."""

Number = tuple[str, str, str]


def encoded(pixels: Tensor) -> str:
    """Bytes, or values in [0, 1], as the browser takes them."""
    return base64.b64encode(shown(pixels).contiguous().numpy().tobytes()).decode()


def picture(title: str, pixels: Tensor, small: bool = False) -> Picture:
    return Picture(title, encoded(pixels), small)


def place(opened: Opened, pin: Pin) -> Place:
    """Where a pin lies on the plane; what an embedding cannot place, it puts on its nearest data point."""
    drawn, index = opened.drawn, pin.index
    if index is None and drawn.plane is None:
        index = neighbours(opened.thing, opened.vector(pin), 1)[0]
    if index is not None:
        u, v = drawn.points[index].tolist()
    else:
        assert drawn.plane is not None
        u, v = drawn.plane.coordinates(opened.vector(pin)[None])[0].tolist()
    return (u, v)


def neighbours(thing: Explored, z: Float[Tensor, "H"], count: int) -> list[int]:
    """The data points nearest in latent space, the nearest first."""
    distances = (thing.means - z).square().sum(1)
    return distances.topk(min(count, len(distances)), largest=False).indices.tolist()


def label_of(thing: Explored, index: int) -> str:
    return thing.spec.classes[int(thing.data.y[index])]


def name_of(thing: Explored, pin: Pin) -> str:
    """A pin in a few words: its number and label, or its leading coordinates."""
    if pin.index is not None:
        return f"example {pin.index}, “{label_of(thing, pin.index)}”"
    said = ", ".join(f"{axis_name(axis)} = {signed(pin.z[axis])}" for axis in sorted(thing.order[:SPOKEN]))
    return said + (" …" if len(pin.z) > SPOKEN else "")


def pin_marks(opened: Opened) -> tuple[PinMark, ...]:
    """The tray: every pin decoded exactly by the server."""
    address, plane = opened.address, opened.address.plane
    return tuple(
        PinMark(letter, *_kept(opened.folder, opened.token, plane, pin), number == address.chosen)
        for number, (letter, pin) in enumerate(zip(ascii_uppercase, address.pins, strict=False))
    )


@lru_cache(maxsize=512)
def decoded(folder: Path, version: str, data: str, pin: Pin) -> Float[Tensor, "D"]:
    """What a pin decodes to, exactly."""
    thing = explored(folder, data)
    return thing.decode(vector_of(thing, pin)[None])[0]


@lru_cache(maxsize=8192)
def _kept(folder: Path, version: str, plane: Address, pin: Pin) -> tuple[str, Place, str]:
    """The title of a pin, where it lies on a plane, and its picture. A tray shows all its pins at every click, so
    those of hundreds of visitors stay."""
    thing = explored(folder, plane.data)
    opened = Opened(folder, thing, view_of(folder, plane), plane)
    return name_of(thing, pin), place(opened, pin), encoded(decoded(folder, version, plane.data, pin))


def selection(opened: Opened) -> Selection | None:
    """The pin that is looked at, closely."""
    pin = opened.address.pin
    if pin is None:
        return None
    return at_place(opened, pin) if pin.index is None else at_data_point(opened, pin.index)


def at_place(opened: Opened, pin: Pin) -> Selection:
    """A latent vector: decoded exactly, what kind of place it is, and the data points nearest to it."""
    thing, z = opened.thing, opened.vector(pin)
    near = [picture(f"near: “{label_of(thing, i)}”", thing.data.x[i], True) for i in neighbours(thing, z, NEIGHBOURS)]
    image = decoded(opened.folder, opened.token, opened.address.data, pin)
    pictures = (picture("The mean of p(x|z), exactly", image), *near)
    return Selection(place(opened, pin), name_of(thing, pin), pictures, _evidence(opened, z, image))


def _evidence(opened: Opened, z: Float[Tensor, "H"], image: Float[Tensor, "D"]) -> tuple[Number, ...]:
    """What kind of place a latent vector is, once the model's landscape has been measured."""
    if opened.landscape is None:
        return ()
    found = opened.landscape.place(z, image)
    kind = KINDS[found.kind]
    prior = () if found.log_p is None else (("log p(z)", nats(found.log_p), "Log density of the prior."),)
    return (
        ("Here", kind.label, kind.help),
        (
            "log q(z)",
            nats(found.log_q),
            "Log density of the codes: the mean of all q(z|x) of the sample, smoothed to predict unseen ones.",
        ),
        *prior,
        ("Round trip", f"{found.round_trip:.1f} σ", TERMS["round_trip"]),
    )


def truth(thing: Explored, index: int) -> list[Number]:
    """log p(x) of a held-out example, and why its ELBO falls short, in words; takes a second or two.

    Raises ValueError where no exact way serves.
    """
    found = gaps(thing.model, thing.seen(index))
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


def at_data_point(opened: Opened, index: int) -> Selection:
    """A held-out example, at its mean."""
    thing = opened.thing
    heading = f"Held-out example {index}, “{label_of(thing, index)}”"
    return coded(opened, heading, thing.data.x[index], thing.seen(index), own=index)


def coded(
    opened: Opened, heading: str, original: Tensor, seen: Float[Tensor, "1 D"], own: int | None = None
) -> Selection:
    """An example as it is, as the model saw it, and rebuilt; its ELBO's terms; q(z|x) on the plane; its neighbours.
    `own` is its number where it is one of the data points."""
    thing, model = opened.thing, opened.thing.config.model
    generator = generator_for(CPU, own or 0)
    with torch.no_grad():
        q = thing.model.encode(seen)
        draws = q.sample(CLOUD, generator=generator)[:, 0]
    mean = q.mean[0] if own is None else thing.means[own]
    pin = Pin(tuple(mean.tolist()), own)
    near = [i for i in neighbours(thing, mean, NEIGHBOURS + 1) if i != own][:NEIGHBOURS]
    pictures = [picture("Original", original)]
    if model.likelihood == "bernoulli":
        pictures.append(picture("As the model saw it: one binarised draw", seen[0]))
    pictures.append(picture("Reconstruction from the mean of q(z|x)", thing.decode(mean[None])[0]))
    if not model.plain:
        pictures += [picture("from a draw", image, small=True) for image in thing.decode(draws[:SHOWN_DRAWS])]
    pictures += [picture(f"near: “{label_of(thing, i)}”", thing.data.x[i], small=True) for i in near]
    terms, at = terms_of(thing, seen, own or 0), place(opened, pin)
    return Selection(at, heading, tuple(pictures), _terms(model, terms), *_posterior(opened, q, at, draws))


def terms_of(thing: Explored, seen: Float[Tensor, "1 D"], number: int) -> ExampleTerms:
    """The ELBO's terms of an example, the same wherever a page shows them."""
    return example_terms(thing.model, seen, DRAWS, generator=generator_for(CPU, number, 1))


def _posterior(
    opened: Opened, q: Density, at: Place, draws: Float[Tensor, "K H"]
) -> tuple[Ellipse | None, tuple[Place, ...]]:
    """q(z|x) on a plane: its ellipse around `at`, and draws where it is no Gaussian."""
    plane = opened.drawn.plane
    if plane is None:
        return None, ()
    spread = covariance(q, generator=generator_for(CPU, 1))[0]
    _, _, long, short, angle = ellipse(q.mean[0], spread, plane)
    one_dimensional = draws.shape[1] == 1
    shape = (*at, long, 0.0 if one_dimensional else short, angle)
    if one_dimensional or isinstance(q, (Normal, FullNormal)):
        return shape, ()
    return shape, tuple((x, y) for x, y in on_plane(plane, draws).tolist())


def _terms(model: ModelConfig, terms: ExampleTerms) -> tuple[Number, ...]:
    reconstruction = ("Reconstruction", nats(terms.reconstruction.item()), TERMS["reconstruction"])
    if model.plain:
        return (reconstruction,)
    return (
        ("ELBO", nats(terms.elbo.item()), TERMS["elbo"]),
        reconstruction,
        ("KL", nats(terms.rate.item()), TERMS["kl"]),
    )
