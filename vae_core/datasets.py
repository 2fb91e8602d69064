"""Named data sets as flat tensors with fixed train / validation / test parts.

Images are bytes. A profile, a row of a table or a signal, is real values in [0, 1]: each value is scaled by fixed ends
(for a table, its feature's least and largest value in the training part) and clipped where it lies outside them.

MNIST and Fashion-MNIST lie under the folder named by ELBO_ROOM_DATA (default: the user's cache folder), in
torchvision's layout, and are downloaded there when absent. The digits and the table of cells come inside scikit-learn;
the signals are computed. Data sets larger than memory are found in the same folder (`shards`). The test part is for
evaluation only.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from vae_core import profiles, shards
from vae_core.examples import DataUnavailable, Examples, Part, Sizes, Spec, Split

DATA_VARIABLE = "ELBO_ROOM_DATA"


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
        why = str(error).partition("\n")[0].rstrip(":")  # below: every mirror that was tried
        names = ", ".join(path.name for path in absent or missing_files(folder_name)) or "none missing, one unreadable"
        raise DataUnavailable(
            f"{folder_name} could not be read or downloaded ({why}). Put the uncompressed files into "
            f"{data_root() / folder_name / 'raw'} ({names}), or set {DATA_VARIABLE} to a folder that holds "
            f"{folder_name}/raw."
        ) from error
    split = Split(whole.data.flatten(1), whole.targets.to(torch.uint8))
    cut = len(split) - VALIDATION_TAIL
    if part == "train":
        return split.head(cut)
    return Split(split.x[cut:], split.y[cut:]) if part == "validation" else split


def _every_seventh(x: np.ndarray, labels: np.ndarray, part: Part) -> Split:
    """Every seventh example is validation, every seventh test: fixed, and all of a sorted source is in every part."""
    place = np.arange(len(x)) % 7
    kept = {"train": place < 5, "validation": place == 5, "test": place == 6}[part]
    return Split(torch.from_numpy(x[kept]), torch.from_numpy(labels[kept].astype(np.uint8)))


def _read_digits(part: Part) -> Split:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return _every_seventh(np.round(pixels * (255 / 16)).astype(np.uint8), np.asarray(labels), part)


def _read_profiles(name: str, source: Callable[[], tuple[np.ndarray, np.ndarray]], part: Part) -> Split:
    values, labels = source()
    shares = BUILT_IN[name].in_shares(torch.from_numpy(values)).clamp(0, 1)
    return _every_seventh(shares.float().numpy(), labels, part)


DIGIT_NAMES = tuple("0123456789")
FASHION_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

BUILT_IN = {
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
    "cells": Spec(
        "Breast cancer cells",
        (1, 1, len(profiles.CELL_FEATURES)),
        ("Malignant", "Benign"),
        Sizes(407, 81, 81),
        "W. H. Wolberg, W. N. Street, O. L. Mangasarian, Breast Cancer Wisconsin (Diagnostic), UCI repository, as "
        "shipped by scikit-learn: 30 measures of the nuclei in images of cells",
        "CC BY 4.0",
        lambda part: _read_profiles("cells", profiles.cells, part),
        profiles.CELL_LOW,
        profiles.CELL_HIGH,
        profiles.CELL_FEATURES,
    ),
    "signals": Spec(
        "Cylinder, bell, funnel",
        (1, 1, profiles.TIMES),
        ("Cylinder", "Bell", "Funnel"),
        Sizes(1430, 285, 285),
        "Computed here by the formula of N. Saito, Local feature extraction and its applications, Yale 1994",
        "none needed",
        lambda part: _read_profiles("signals", profiles.signals, part),
        profiles.SIGNAL_LOW,
        profiles.SIGNAL_HIGH,
    ),
}


class Library(Mapping[str, Spec]):
    """The data sets that come with the app, and those in folders of shards, which may come and go."""

    def __getitem__(self, name: str) -> Spec:
        if name in BUILT_IN:
            return BUILT_IN[name]
        if not shards.NAME.fullmatch(name):
            raise KeyError(name)
        try:
            return shards.spec(data_root() / name)
        except (OSError, ValueError) as error:
            raise KeyError(f"{name}: {error}") from error

    def __iter__(self) -> Iterator[str]:
        found = sorted(path.parent.name for path in data_root().glob(f"{shards.PREFIX}*/spec.json"))
        return chain(BUILT_IN, (name for name in found if name in self))

    def __len__(self) -> int:
        return len(list(iter(self)))


DATASETS = Library()


def label(name: str) -> str:
    """What a data set is called on screen; of one that is gone the bare name."""
    return DATASETS[name].label if name in DATASETS else name


def load(name: str, part: Part) -> Split:
    """One part of a named data set; of a very large one, examples spread over the part.

    Raises DataUnavailable where files are absent and cannot be downloaded, or damaged.
    """
    return DATASETS[name].read(part)


def training(name: str) -> Examples:
    """The whole training part of a named data set. Raises DataUnavailable as `load` does."""
    spec = DATASETS[name]
    return spec.mapped() if spec.mapped else spec.read("train")
