"""Named data sets as flat uint8 tensors with fixed train / validation / test parts.

MNIST and Fashion-MNIST lie under the folder named by ELBO_ROOM_DATA (default: the user's cache folder), in
torchvision's layout, and are downloaded there when absent. The digits come inside scikit-learn.
The test part is for evaluation only.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from vae_core.networks import Shape

DATA_VARIABLE = "ELBO_ROOM_DATA"
Part = Literal["train", "validation", "test"]


class Sizes(NamedTuple):
    train: int
    validation: int
    test: int


@dataclass(frozen=True)
class Split:
    """N examples: grey levels 0…255, one row an image, and their class numbers."""

    x: UInt8[Tensor, "N D"]
    y: UInt8[Tensor, "N"]

    def __len__(self) -> int:
        return len(self.x)

    def head(self, n: int) -> "Split":
        return Split(self.x[:n], self.y[:n])

    def to(self, device: torch.device) -> "Split":
        return Split(self.x.to(device), self.y.to(device))


@dataclass(frozen=True)
class Spec:
    """What is known of a data set before it is read."""

    label: str
    shape: Shape
    classes: tuple[str, ...]
    sizes: Sizes
    source: str
    licence: str
    read: Callable[[Part], Split]


class DataUnavailable(RuntimeError):
    """The files are not there and could not be downloaded; the message names the folder and the files."""


def data_root() -> Path:
    """The folder of ELBO_ROOM_DATA, else `elbo-room/data` in the user's cache folder."""
    named = os.environ.get(DATA_VARIABLE)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named).expanduser() if named else cache / "elbo-room" / "data"


VALIDATION_TAIL = 5_000
IDX_FILES = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))


def missing_files(folder_name: str) -> list[Path]:
    """Which of the four files of MNIST or FashionMNIST are absent."""
    raw = data_root() / folder_name / "raw"
    return [raw / name for name in IDX_FILES if not (raw / name).is_file()]


def _read_torchvision(folder_name: str, part: Part) -> Split:
    from torchvision import datasets

    kind = getattr(datasets, folder_name)
    absent = missing_files(folder_name)
    try:
        whole = kind(data_root(), train=part != "test", download=bool(absent))
    except (OSError, RuntimeError, ValueError, AssertionError, KeyError) as error:  # all from its parser of files
        names = ", ".join(path.name for path in absent or missing_files(folder_name)) or "none missing, one unreadable"
        raise DataUnavailable(
            f"{folder_name} could not be read or downloaded ({error}). Put the uncompressed files into "
            f"{data_root() / folder_name / 'raw'} ({names}), or set {DATA_VARIABLE} to a folder that holds "
            f"{folder_name}/raw."
        ) from error
    split = Split(whole.data.flatten(1), whole.targets.to(torch.uint8))
    cut = len(split) - VALIDATION_TAIL
    if part == "train":
        return split.head(cut)
    return Split(split.x[cut:], split.y[cut:]) if part == "validation" else split


def _read_digits(part: Part) -> Split:
    """Every seventh image is validation, every seventh test: fixed, and every writer is in every part."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(np.round(pixels * (255 / 16)).astype(np.uint8))
    y = torch.from_numpy(labels.astype(np.uint8))
    place = torch.arange(len(x)) % 7
    kept = {"train": place < 5, "validation": place == 5, "test": place == 6}[part]
    return Split(x[kept], y[kept])


DIGIT_NAMES = tuple("0123456789")
FASHION_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

DATASETS = {
    "digits": Spec(
        "Digits 8×8",
        (1, 8, 8),
        DIGIT_NAMES,
        Sizes(1285, 256, 256),
        "E. Alpaydin, C. Kaynak, Optical recognition of handwritten digits, UCI repository, as shipped by scikit-learn",
        "CC BY 4.0",
        _read_digits,
    ),
    "mnist": Spec(
        "MNIST",
        (1, 28, 28),
        DIGIT_NAMES,
        Sizes(55_000, VALIDATION_TAIL, 10_000),
        "Y. LeCun, C. Cortes, C. J. C. Burges, The MNIST database of handwritten digits",
        "CC BY-SA 3.0",
        lambda part: _read_torchvision("MNIST", part),
    ),
    "fashion": Spec(
        "Fashion-MNIST",
        (1, 28, 28),
        FASHION_NAMES,
        Sizes(55_000, VALIDATION_TAIL, 10_000),
        "H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST, Zalando Research 2017",
        "MIT",
        lambda part: _read_torchvision("FashionMNIST", part),
    ),
}


def load(name: str, part: Part) -> Split:
    """One part of a named data set. Raises DataUnavailable where files are absent and cannot be downloaded."""
    return DATASETS[name].read(part)
