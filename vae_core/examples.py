"""What models are trained on and judged by: examples, one a row, and what is known of a whole data set of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, Real, UInt8
from torch import Tensor

from vae_core.networks import Shape

Part = Literal["train", "validation", "test"]
Kind = Literal["image", "profile"]


class Sizes(NamedTuple):
    train: int
    validation: int
    test: int


Stream = Callable[..., torch.Generator]
"""Gives a generator for each tuple of words (whole numbers); another tuple, another stream."""


@runtime_checkable
class Order(Protocol):
    """An order of examples: a slice of its places gives their numbers."""

    def __getitem__(self, places: slice, /) -> Tensor: ...


@runtime_checkable
class Examples(Protocol):
    """What a model is trained on, batch by batch."""

    def __len__(self) -> int: ...
    def to(self, device: torch.device) -> "Examples": ...
    def order(self, stream: Stream) -> Order: ...
    def batch(self, numbers: Int[Tensor, "B"]) -> Real[Tensor, "B D"]: ...


@dataclass(frozen=True)
class Split:
    """N examples, one a row: grey levels 0…255 as uint8, or values in [0, 1] as float32; and their class numbers."""

    x: Real[Tensor, "N D"]
    y: UInt8[Tensor, "N"]

    def __len__(self) -> int:
        return len(self.x)

    def head(self, n: int) -> "Split":
        return Split(self.x[:n], self.y[:n])

    def to(self, device: torch.device) -> "Split":
        return Split(self.x.to(device), self.y.to(device))

    def order(self, stream: Stream) -> Tensor:
        """All examples in a random order."""
        return torch.randperm(len(self), generator=stream()).to(self.x.device)

    def batch(self, numbers: Int[Tensor, "B"]) -> Real[Tensor, "B D"]:
        return self.x.index_select(0, numbers)


@dataclass(frozen=True)
class Spec:
    """What is known of a data set before it is read.

    A profile has the shape (1, 1, D), what 0 and 1 stand for (`low` and `high`, one number a value, in the units of the
    source) and, if it is the row of a table, the names of its columns.
    """

    label: str
    shape: Shape
    classes: tuple[str, ...]
    sizes: Sizes
    source: str
    licence: str
    read: Callable[[Part], Split]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    features: tuple[str, ...] = ()
    mapped: Callable[[], Examples] | None = None
    """The whole training part, if it may be larger than memory: `read` then gives some of it."""

    @property
    def kind(self) -> Kind:
        return "profile" if self.shape[1] == 1 else "image"

    def in_units(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """Values of a profile in the units of the source."""
        low, high = x.new_tensor(self.low), x.new_tensor(self.high)
        return low + x * (high - low)

    def in_shares(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """The inverse: values of a profile as shares of their ranges, outside [0, 1] where they lie beyond an end."""
        low, high = x.new_tensor(self.low), x.new_tensor(self.high)
        return (x - low) / (high - low)


class DataUnavailable(RuntimeError):
    """The files are not there and could not be downloaded; the message names the folder and the files."""
