"""What is on a plane, as rows of a table: pins, data points, and how many of each label a region holds."""

from string import ascii_uppercase

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ui.address import Pin
from ui.exports import Cell, csv_table
from ui.inspection import label_of
from ui.planes import Opened

DECIMALS = 6

Row = tuple[Cell, ...]


def _numbers(values: Float[Tensor, "N C"]) -> list[list[float]]:
    return values.double().numpy().round(DECIMALS).tolist()


def _plane_names(opened: Opened) -> list[str]:
    """A latent space of one dimension is drawn along one axis."""
    return ["plane_x", "plane_y"][: 2 if opened.drawn.names[1] else 1]


def _latent_names(opened: Opened) -> list[str]:
    return [f"z{axis + 1}" for axis in range(opened.thing.means.shape[1])]


def pins_csv(opened: Opened) -> str:
    """Letter, kind, number and label of a data point, latent and plane coordinates of every pin; empty where a pin has
    none: a place is no example, and an embedding holds no places."""
    names = ["pin", "kind", "index", "label", *_latent_names(opened), *_plane_names(opened)]
    rows = [(letter, *_pin_row(opened, pin)) for letter, pin in zip(ascii_uppercase, opened.address.pins, strict=False)]
    return csv_table(names, rows)


def _pin_row(opened: Opened, pin: Pin) -> Row:
    z = opened.vector(pin)
    who: Row = ("place", "", "") if pin.index is None else ("example", pin.index, label_of(opened.thing, pin.index))
    return (*who, *_numbers(z[None])[0], *_on_plane(opened, pin, z))


def _on_plane(opened: Opened, pin: Pin, z: Float[Tensor, "H"]) -> Row:
    drawn, axes = opened.drawn, len(_plane_names(opened))
    if drawn.plane is not None:
        return tuple(_numbers(drawn.plane.coordinates(z[None]))[0][:axes])
    return ("",) * axes if pin.index is None else tuple(_numbers(drawn.points[pin.index][None])[0])


def points_csv(opened: Opened, chosen: Bool[Tensor, "N"]) -> str:
    """Number, label, latent coordinates (the mean of q(z|x)) and plane coordinates of the chosen data points."""
    index = chosen.nonzero().flatten()
    axes = _plane_names(opened)
    numbers = _numbers(torch.cat([opened.thing.means[index], opened.drawn.points[index, : len(axes)]], dim=1))
    labels = [opened.thing.spec.classes[label] for label in opened.thing.data.y[index].tolist()]
    rows = [(number, label, *row) for number, label, row in zip(index.tolist(), labels, numbers, strict=True)]
    return csv_table(["index", "label", *_latent_names(opened), *axes], rows)


def cells_of_points(opened: Opened, count: int) -> int:
    """How many cells `points_csv` writes for so many points."""
    return (count + 1) * (2 + opened.thing.means.shape[1] + len(_plane_names(opened)))


def counts(opened: Opened, chosen: Bool[Tensor, "N"]) -> dict[str, list[str] | list[int] | list[float]]:
    """By label: how many of the chosen points have it, the share of them, and the share of all that have it."""
    classes, y = opened.thing.spec.classes, opened.thing.data.y.long()
    held, all_of = (torch.bincount(labels, minlength=len(classes)) for labels in (y[chosen], y))
    return {
        "label": list(classes),
        "points": held.tolist(),
        "share of the region": (held / held.sum().clamp_min(1)).tolist(),
        "share of the label": (held / all_of.clamp_min(1)).tolist(),
    }
