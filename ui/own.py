"""A user's own example: converted to what a model's data are like, kept in the session, encoded when asked."""

import re
from dataclasses import dataclass

import torch
from jaxtyping import Float, Real, UInt8
from torch import Tensor

from ui.address import Pin, rounded
from ui.inspection import coded
from ui.latent_plane import Selection
from ui.planes import Opened
from ui.resources import CPU, Explored
from vae_core.datasets import Spec
from vae_core.intake import from_sketch, read_picture, read_row
from vae_core.likelihoods import LIKELIHOODS
from vae_core.training import generator_for

OWN_SEED = 12
MEGABYTES = 5
PICTURES = ("png", "jpg", "jpeg", "webp", "bmp", "gif")
TABLES = ("csv", "txt", "tsv")
WORD = re.compile(r"[^\W\d_eE]")
"""A letter that stands in no number."""
NAMED = 3
"""Features that a note names at most."""


@dataclass(frozen=True)
class Own:
    """An example like those of `dataset`: grey levels, or values in [0, 1]; what it is called; and how it was
    converted."""

    dataset: str
    heading: str
    values: Real[Tensor, "D"]
    notes: tuple[str, ...] = ()


def own_drawing(grey: UInt8[Tensor, "P"], dataset: str, spec: Spec) -> Own:
    """Raises ValueError where the drawing is empty."""
    made = from_sketch(grey, spec.shape, dataset)
    return Own(dataset, "Your drawing", made.pixels, made.notes)


def own_file(data: bytes, dataset: str, spec: Spec) -> Own:
    """A picture, or a table whose numbers are one example. Raises ValueError with what was wrong and is accepted."""
    if spec.kind == "profile":
        return own_row(data.decode("utf-8", "replace"), dataset, spec)
    made = read_picture(data, spec.shape, dataset)
    return Own(dataset, "Your picture", made.pixels, made.notes)


def own_row(text: str, dataset: str, spec: Spec) -> Own:
    """Numbers in the units of the source, with or without a line of column names. Raises ValueError as `read_row`."""
    numbers, notes = _without_header(text)
    values, more = scaled(spec, read_row(numbers, spec.shape[2]))
    return Own(dataset, "Your row", values, (*notes, *more))


def _without_header(text: str) -> tuple[str, tuple[str, ...]]:
    first, *rest = text.strip("\ufeff \t\r\n").splitlines() or [""]
    if rest and WORD.search(first):
        return "\n".join(rest), ("first line taken for column names",)
    return text, ()


def scaled(spec: Spec, row: Float[Tensor, "D"]) -> tuple[Float[Tensor, "D"], tuple[str, ...]]:
    """A row in the units of the source as values in [0, 1], as the data set has them, clipped where it lies outside."""
    share = spec.in_shares(row)
    outside = ((share < 0) | (share > 1)).nonzero().flatten().tolist()
    if not outside:
        return share, ()
    names = [spec.features[k] if spec.features else f"value {k + 1}" for k in outside]
    listed = ", ".join(names[:NAMED]) + (" …" if len(names) > NAMED else "")
    return share.clamp(0, 1), (f"{len(outside)} outside the range of the training data, cut to its end: {listed}",)


def row_text(spec: Spec, values: Float[Tensor, "D"]) -> str:
    """An example as a row in the units of the source, which `own_row` reads."""
    return ", ".join(f"{value:.4g}" for value in spec.in_units(values).tolist())


def seen(thing: Explored, own: Own) -> Float[Tensor, "1 D"]:
    """What the encoder sees of an own example; the same draw every time where there is one."""
    observe = LIKELIHOODS[thing.config.model.likelihood].observe
    return observe(own.values[None], generator=generator_for(CPU, OWN_SEED))


def own_selection(opened: Opened, own: Own) -> Selection:
    """The example encoded: on the plane and in the side panel."""
    return coded(opened, own.heading, own.values, seen(opened.thing, own))


@torch.no_grad()
def mean_pin(thing: Explored, own: Own) -> Pin:
    """The mean of q(z|x) of an own example, as a place to keep."""
    return Pin(rounded(thing.model.encode(seen(thing, own)).mean[0].tolist()))
