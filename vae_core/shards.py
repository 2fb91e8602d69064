"""Data sets larger than memory: folders of shards that are mapped into memory. `sharding` writes them.

shards-<name>/  spec.json                                   what is known of the data set, written last
                train-00000.npy, train-00001.npy, …         examples, one a row: uint8, or float32 for profiles
                train-00000-classes.npy, …                  their class numbers, uint8
                validation-00000.npy, … test-00000.npy, …   the same of the other parts
All shards of a part but its last hold the same number of rows. What is read of a map is the system's to keep and to
drop: a process that trains on it holds a batch, and the order of a pool of examples.
"""

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from vae_core.config import parsed
from vae_core.examples import DataUnavailable, Part, Sizes, Spec, Split
from vae_core.mapped import Mapped, spread

FORMAT = 1
PREFIX = "shards-"
NAME = re.compile(PREFIX + r"[a-z0-9][a-z0-9_-]{0,39}")
PARTS = ("train", "validation", "test")
SPEC_BYTES = 10_000_000
SIDE_LIMIT, PROFILE_LIMIT, CLASS_LIMIT, LABEL_LIMIT = 512, 100_000, 256, 60
MOST_EXAMPLES, MOST_BYTES = 10_000, 128_000_000
"""What is held of a part in memory: for held-out numbers, and to look at."""

Chunk = tuple[np.ndarray, np.ndarray]
"""Some examples [n, …] and their class numbers [n]."""


@dataclass(frozen=True)
class About:
    """What is known of a data set: images of one channel as uint8, of shape (1, H, W), or profiles of D float32 values
    in [0, 1], of shape (1, 1, D), for which `low` and `high` say what 0 and 1 stand for and `features` name columns."""

    label: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    source: str
    licence: str
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    features: tuple[str, ...] = ()

    @property
    def values(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Of one example."""
        return self.values * self.dtype.itemsize

    @property
    def profile(self) -> bool:
        return self.shape[1] == 1

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float32 if self.profile else np.uint8)


@dataclass(frozen=True)
class Index:
    """What spec.json says: what is known, examples of each part, and most rows of a shard."""

    about: About
    train: int
    validation: int
    test: int
    rows: int

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT} | asdict(self), indent=2) + "\n"

    def count(self, part: str) -> int:
        return {"train": self.train, "validation": self.validation, "test": self.test}[part]

    def shards(self, part: str) -> Iterator[tuple[str, int]]:
        """Name and number of rows of every shard of a part."""
        for number, start in enumerate(range(0, self.count(part), self.rows)):
            yield f"{part}-{number:05d}", min(self.rows, self.count(part) - start)


def require(holds: bool, sentence: str) -> None:
    if not holds:
        raise ValueError(sentence)


def check(about: About) -> None:
    """Raises ValueError."""
    require(1 <= len(about.label) <= LABEL_LIMIT, f"label must be 1 to {LABEL_LIMIT} characters")
    shape, values = about.shape, about.values
    require(
        len(shape) == 3
        and shape[0] == 1
        and (2 <= min(shape[1:]) <= max(shape[1:]) <= SIDE_LIMIT or (shape[1] == 1 and 1 <= shape[2] <= PROFILE_LIMIT)),
        f"shape is {list(shape)}, but must be [1, H, W] with 2 to {SIDE_LIMIT} pixels a side, "
        f"or [1, 1, D] with up to {PROFILE_LIMIT:,} values",
    )
    require(
        1 <= len(about.classes) == len(set(about.classes)) <= CLASS_LIMIT,
        f"classes must be 1 to {CLASS_LIMIT} different names",
    )
    accepted = (0, values) if about.profile else (0,)
    require(
        len(about.low) == len(about.high)
        and {len(about.low), len(about.features)} <= {*accepted}
        and all(-math.inf < low < high < math.inf for low, high in zip(about.low, about.high, strict=True)),
        "low, high and features must be empty, or for a profile have one entry a value, with low below high",
    )


def read_index(folder: Path) -> Index:
    """What is known of the data set of a folder. Raises OSError, or ValueError with what is wrong in spec.json."""
    path = folder / "spec.json"
    require(path.stat().st_size <= SPEC_BYTES, f"{path} is larger than {SPEC_BYTES // 10**6} MB")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        form = value.pop("format", None) if isinstance(value, dict) else None
        require(form == FORMAT, f"format is {form!r}, but this version reads {FORMAT}")
        index: Index = parsed(Index, value, "spec.json")
        check(index.about)
        require(min(index.train, index.validation, index.test, index.rows) >= 1, "every part needs examples")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error
    return index


def _mapped(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    require(
        found.dtype == dtype and found.shape == shape,
        f"{path} holds {found.dtype} {list(found.shape)}, but spec.json says {dtype} {list(shape)}",
    )
    return np.asarray(found)  # rows of a plain array are had in half the time


def examples(folder: Path, index: Index, part: str) -> Mapped:
    """Those of a part, mapped. Raises ValueError for shards that are missing, damaged or not what spec.json says."""
    about = index.about
    return Mapped(
        tuple(_mapped(folder / f"{name}.npy", about.dtype, (n, about.values)) for name, n in index.shards(part))
    )


def classes(folder: Path, index: Index, part: str) -> Mapped:
    """The class numbers of a part, mapped. Raises ValueError as `examples` does."""
    byte = np.dtype(np.uint8)
    return Mapped(tuple(_mapped(folder / f"{name}-classes.npy", byte, (n,)) for name, n in index.shards(part)))


def spec(folder: Path) -> Spec:
    """The data set of a folder, as the app and the trainer know it. Raises OSError and ValueError as `read_index`."""
    stat = (folder / "spec.json").stat()
    return _spec(folder, (stat.st_mtime_ns, stat.st_size, stat.st_ino))


@lru_cache(maxsize=64)  # lists of runs ask for it again and again
def _spec(folder: Path, stamp: tuple[int, ...]) -> Spec:
    index = read_index(folder)
    about, most = index.about, min(MOST_EXAMPLES, MOST_BYTES // index.about.bytes)
    ends = {"low": about.low or (0.0,) * about.values, "high": about.high or (1.0,) * about.values}

    def read(part: Part) -> Split:
        places = spread(index.count(part), most)
        maps = _opened(examples, folder, index, part), _opened(classes, folder, index, part)
        return Split(*(each.batch(places) for each in maps))

    return Spec(
        about.label,
        about.shape,
        about.classes,
        Sizes(index.train, min(index.validation, most), min(index.test, most)),
        about.source,
        about.licence,
        read,
        **(ends if about.profile else {}),
        features=about.features,
        mapped=lambda: _opened(examples, folder, index, "train"),
    )


def _opened(kind: Callable[..., Mapped], folder: Path, index: Index, part: Part) -> Mapped:
    try:
        return kind(folder, index, part)
    except ValueError as error:
        raise DataUnavailable(f"A shard of {folder.name} is damaged or missing. {error}") from error
