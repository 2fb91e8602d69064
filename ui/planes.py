"""Which plane of a model's latent space is drawn, and where its points lie on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ui.address import KINDS, Address, Bounds, Pin, rounded
from ui.embeddings import embedding
from ui.resources import Explored, explored, landscape_of, version
from vae_core.embedding import EMBEDDINGS
from vae_core.geometry import inside, leading_axes
from vae_core.holes import Landscape
from vae_core.moments import Ellipse, plane_extent, prior_ellipses
from vae_core.planes import Plane, axis_plane, plane_through, principal_plane

SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
EMBEDDED_EXTENT = 3.5


@dataclass(frozen=True)
class Drawn:
    """A plane with all that is on it. `plane` is None where the view is an embedding that nothing can be decoded from.
    `points` [N, 2] are the posterior means, `extent` half the side of the square that shows them."""

    names: tuple[str, str]
    plane: Plane | None
    points: Float[Tensor, "N 2"]
    extent: float
    prior: list[Ellipse]

    def pin(self, at: Sequence[float], index: int | None = None) -> Pin:
        """The pin of a place on the plane, or of a data point."""
        if index is not None:
            return Pin(index=index)
        assert self.plane is not None
        return Pin(rounded(self.plane.latents(torch.tensor([list(at)]))[0].tolist()))


def axis_name(axis: int) -> str:
    """z₁, z₂ … as on screen, counted from one."""
    return f"z{axis + 1}".translate(SUBSCRIPTS)


def axis_names(axes: tuple[int, int]) -> tuple[str, str]:
    """A one-dimensional space has no second axis."""
    return axis_name(axes[0]), "" if axes[0] == axes[1] else axis_name(axes[1])


def limits(thing: Explored) -> Bounds:
    """What an address of this model may name."""
    return Bounds(thing.means.shape[1], len(thing.data), len(thing.spec.classes))


def on_plane(plane: Plane, latents: Float[Tensor, "N H"]) -> Float[Tensor, "N 2"]:
    """Coordinates on a plane; points of a one-dimensional space are spread upwards so that each can be seen."""
    points = plane.coordinates(latents.float())
    if latents.shape[1] == 1:
        points[:, 1] = torch.linspace(-1, 1, len(points)).roll(len(points) // 3)
    return points


def chosen_axes(thing: Explored, address: Address) -> tuple[int, int]:
    """The axes that an address names, else the two that carry most."""
    if len(address.axes) == 2:
        return (address.axes[0], address.axes[1])
    return leading_axes(thing.weights)


def base_of(thing: Explored, address: Address) -> Float[Tensor, "H"]:
    """Where the coordinates lie that a plane along two axes leaves out."""
    return torch.tensor(address.base) if address.base else thing.model.centre()


def _plane(thing: Explored, address: Address) -> tuple[Plane, tuple[str, str]]:
    if address.kind == "principal":
        second = "PC 2" if thing.means.shape[1] > 1 else ""
        return principal_plane(thing.means), ("PC 1", second)
    if address.kind == "points":
        a, b, c = (torch.tensor(anchor) for anchor in address.anchors)
        return plane_through(a, b, c), ("towards B", "towards C")
    axes = chosen_axes(thing, address)
    return axis_plane(axes, base_of(thing, address)), axis_names(axes)


def flat(thing: Explored, address: Address) -> Drawn:
    """The plane of an address along axes, principal components or three points. Raises ValueError where the points
    span no plane."""
    plane, names = _plane(thing, address)
    points = on_plane(plane, thing.means)
    return Drawn(names, plane, points, plane_extent(thing.model, points), prior_ellipses(thing.model, plane))


def view_of(folder: Path, address: Address) -> Drawn:
    """What an address shows of a model. Raises ValueError where it cannot be shown, and as `explored`."""
    if address.kind not in EMBEDDINGS:
        return _flat(folder, version(folder), address.plane)
    if address.data != "sample":
        raise ValueError(f"{KINDS[address.kind]} is computed of the held-out sample only: choose that to see it")
    label, points = KINDS[address.kind], embedding(folder, address.kind)
    if points is None:
        raise ValueError(f"the {label} map of this model has not been made yet: open it on the Explore page")
    return Drawn((f"{label} 1", f"{label} 2"), None, points, EMBEDDED_EXTENT, [])


@lru_cache(maxsize=16)
def _flat(folder: Path, version: str, address: Address) -> Drawn:
    return flat(explored(folder, address.data), address)


def vector_of(thing: Explored, pin: Pin) -> Float[Tensor, "H"]:
    """The latent vector of a pin; of a data point the mean of q(z|x)."""
    return thing.means[pin.index] if pin.index is not None else torch.tensor(pin.z)


@dataclass(frozen=True)
class Opened:
    """All that the Explore page shows at one moment: a model, its examples, a plane, and the address that says so."""

    folder: Path
    thing: Explored
    drawn: Drawn
    address: Address

    @cached_property
    def token(self) -> str:
        """Changes whenever the weights do."""
        return version(self.folder)

    @property
    def landscape(self) -> Landscape | None:
        """Where the model has data; None while that is being measured, or where it cannot be."""
        measured = landscape_of(self.folder)
        return measured.result() if measured.done() and not measured.exception() else None

    def vector(self, pin: Pin) -> Float[Tensor, "H"]:
        return vector_of(self.thing, pin)

    def inside(self) -> Bool[Tensor, "N"] | None:
        """Which points the selected region holds, of those whose labels are shown; None without a region."""
        if not self.address.lasso:
            return None
        held = inside(self.drawn.points, torch.tensor(self.address.lasso))
        return held & ~torch.isin(self.thing.data.y, torch.tensor(self.address.hidden, dtype=torch.uint8))
