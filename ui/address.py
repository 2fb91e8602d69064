"""What an Explore address says, as a value: model, plane, view, layer, pins. Reading and writing are inverse.

Numbers have four decimals; `_` stands between numbers and `~` between vectors, which no browser escapes. Whoever opens
an address sees what its writer saw, for a pin *is* its rounded coordinates.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

from ui.links import Reader, one_of, read_parts

Vector = tuple[float, ...]

DECIMALS = 4
PIN_LIMIT = 12
LASSO_LIMIT = 60
"""Most corners of a selected region."""
LIMIT = 1e4
"""Largest coordinate that an address may name."""
KINDS = {
    "axes": "Two axes",
    "principal": "Principal components",
    "points": "Three points",
    "tsne": "t-SNE",
    "umap": "UMAP",
}
LAYERS = {
    "images": "Decoded",
    "holes": "Holes",
    "ratio": "q(z) / p(z)",
    "magnification": "Magnification",
    "none": "None",
}
TOOLS = {
    "example": "Find or draw",
    "compare": "Compare pins",
    "lattice": "Lattice and samples",
    "traversals": "Traversals",
    "paths": "Paths",
    "attributes": "Attribute vectors",
    "exports": "Export",
}
DATA = {"sample": "held-out sample", "test": "whole test part", "all": "all examples"}
NUMBER = re.compile(r"-?[0-9]{1,5}(\.[0-9]{1,4})?")


@dataclass(frozen=True)
class Pin:
    """A place that is kept: a latent vector, or the data point of that number."""

    z: Vector = ()
    index: int | None = None


@dataclass(frozen=True)
class View:
    """The part of a plane that is on screen: its centre, and half its width in latent units."""

    x: float
    y: float
    half: float


@dataclass(frozen=True)
class Address:
    """The state of the Explore page. `base` (empty: the centre of the prior) holds what a plane along axes leaves out;
    `anchors` are the three points of a plane through points; `chosen` is the number of the pin that is looked at;
    `hidden` the labels that are not drawn; `lasso` the corners of the selected region on the plane."""

    model: str
    kind: str = "axes"
    axes: tuple[int, ...] = ()
    base: Vector = ()
    anchors: tuple[Vector, ...] = ()
    data: str = "sample"
    layer: str = "images"
    view: View | None = None
    hidden: tuple[int, ...] = ()
    pins: tuple[Pin, ...] = ()
    chosen: int | None = None
    lasso: tuple[Vector, ...] = ()
    tool: str = ""

    @property
    def pin(self) -> Pin | None:
        """The pin that is looked at."""
        return self.pins[self.chosen] if self.chosen is not None else None

    @property
    def plane(self) -> "Address":
        """What decides which plane is drawn, and nothing else."""
        return Address(self.model, self.kind, self.axes, self.base, self.anchors, self.data)

    def with_pin(self, pin: Pin) -> "Address":
        """Kept and looked at; beyond the limit the oldest pin goes."""
        if pin in self.pins:
            return replace(self, chosen=self.pins.index(pin))
        kept = (*self.pins, pin)[-PIN_LIMIT:]
        return replace(self, pins=kept, chosen=len(kept) - 1)

    def without_pin(self, number: int) -> "Address":
        kept = self.pins[:number] + self.pins[number + 1 :]
        chosen = self.chosen
        if chosen is not None and chosen >= number:
            chosen = max(chosen - 1, 0) if chosen > number or kept else None
        return replace(self, pins=kept, chosen=chosen if kept else None)

    def params(self) -> dict[str, str]:
        """As query parameters; what is as it always is stays out."""
        plain = Address(self.model)
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: WRITERS[name](value)
            for name, value in said.items()
            if name == "model" or value != getattr(plain, name)
        }


def rounded(values: Vector | list[float]) -> Vector:
    """As an address holds them."""
    return tuple(round(value, DECIMALS) + 0.0 for value in values)


def write_number(value: float) -> str:
    """As `read_number` reads it."""
    return f"{value:.{DECIMALS}f}".rstrip("0").rstrip(".") or "0"


def _write_vector(vector: Vector) -> str:
    return "_".join(map(write_number, vector))


def _write_vectors(vectors: tuple[Vector, ...]) -> str:
    return "~".join(map(_write_vector, vectors))


def _write_pins(pins: tuple[Pin, ...]) -> str:
    return "~".join(_write_vector(pin.z) if pin.index is None else f"i{pin.index}" for pin in pins)


def _write_whole(numbers: tuple[int, ...]) -> str:
    return "_".join(map(str, numbers))


WRITERS: dict[str, Callable[..., str]] = {
    "axes": _write_whole,
    "hidden": _write_whole,
    "base": _write_vector,
    "anchors": _write_vectors,
    "lasso": _write_vectors,
    "pins": _write_pins,
    "view": lambda view: _write_vector((view.x, view.y, view.half)),
    **dict.fromkeys(("model", "kind", "data", "layer", "tool", "chosen"), str),
}


def read_number(text: str) -> float:
    """Raises ValueError unless it is a plain decimal number that an address may name."""
    if not NUMBER.fullmatch(text) or not math.fabs(float(text)) <= LIMIT:
        raise ValueError(f"“{text[:20]}” is no number from −{LIMIT:,.0f} to {LIMIT:,.0f} with at most four decimals")
    return float(text)


def _read_vector(text: str, length: int) -> Vector:
    numbers = tuple(map(read_number, text.split("_")))
    if len(numbers) != length:
        raise ValueError(f"{len(numbers)} numbers where {length} are needed")
    return numbers


def _read_whole(text: str, below: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) < below):
        raise ValueError(f"“{text[:20]}” is no whole number from 0 to {below - 1}")
    return int(text)


@dataclass(frozen=True)
class Bounds:
    """What an address may name: the size of the latent space, and how many examples and labels there are."""

    dimensions: int
    examples: int
    labels: int


def read(params: Mapping[str, str], model: str, bounds: Bounds) -> tuple[Address, list[str]]:
    """The address of a model that is known, and a sentence on each part that made no sense and was left out."""
    return _consistent(*read_parts(Address(model), params, _readers(bounds)))


def _consistent(address: Address, notices: list[str]) -> tuple[Address, list[str]]:
    if address.chosen is not None and address.chosen >= len(address.pins):
        address = replace(address, chosen=None)
        notices.append("The link's “chosen” was left out: there is no such pin.")
    if address.kind == "points" and not address.anchors:
        address = replace(address, kind="axes")
        notices.append("The link's plane through three points was left out: it names no three points.")
    return address, notices


def _readers(bounds: Bounds) -> dict[str, Reader]:
    size = bounds.dimensions

    def kind(text: str) -> str:
        if one_of(text, KINDS) != "axes" and size == 1:
            raise ValueError("a latent space of one dimension is shown along its axis only")
        return text

    def axes(text: str) -> tuple[int, ...]:
        pair = tuple(_read_whole(part, size) for part in text.split("_"))
        if len(pair) != 2 or (size > 1 and pair[0] == pair[1]):
            raise ValueError("two different axes are needed")
        return pair

    def hidden(text: str) -> tuple[int, ...]:
        found = tuple(_read_whole(part, bounds.labels) for part in text.split("_"))
        if len(set(found)) < len(found):
            raise ValueError("a label is named twice")
        return found

    def pin(text: str) -> Pin:
        if text.startswith("i"):
            return Pin(index=_read_whole(text[1:], bounds.examples))
        return Pin(_read_vector(text, size))

    def pins(text: str) -> tuple[Pin, ...]:
        found = tuple(map(pin, text.split("~")))
        if len(found) > PIN_LIMIT:
            raise ValueError(f"{len(found)} pins where at most {PIN_LIMIT} are kept")
        return found

    def view(text: str) -> View:
        x, y, half = _read_vector(text, 3)
        if half <= 0:
            raise ValueError("half the width must be above 0")
        return View(x, y, half)

    def anchors(text: str) -> tuple[Vector, ...]:
        found = tuple(_read_vector(part, size) for part in text.split("~"))
        if len(found) != 3:
            raise ValueError(f"{len(found)} points where three span a plane")
        return found

    def lasso(text: str) -> tuple[Vector, ...]:
        found = tuple(_read_vector(part, 2) for part in text.split("~"))
        if not 3 <= len(found) <= LASSO_LIMIT:
            raise ValueError(f"{len(found)} corners where 3 to {LASSO_LIMIT} make a region")
        return found

    return {
        "kind": kind,
        "axes": axes,
        "base": lambda text: _read_vector(text, size),
        "anchors": anchors,
        "data": lambda text: one_of(text, DATA),
        "layer": lambda text: one_of(text, LAYERS),
        "view": view,
        "hidden": hidden,
        "pins": pins,
        "chosen": lambda text: _read_whole(text, PIN_LIMIT),
        "lasso": lasso,
        "tool": lambda text: one_of(text, TOOLS),
    }
