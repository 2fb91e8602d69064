"""Writes data sets larger than memory, as folders of shards, and checks those that are there.

`python -m vae_core.sharding FOLDER` looks at every value of one.
"""

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from vae_core import durable
from vae_core.shards import NAME, PARTS, About, Chunk, Index, check, classes, examples, read_index, require

SHARD_BYTES = 64_000_000
"""What is held of a shard before it is written."""


def write_shards(folder: Path, about: About, parts: Mapping[str, Iterable[Chunk]], rows: int | None = None) -> Index:
    """Writes a data set that appears whole or not at all, holding one shard of it at a time.

    `folder` is shards-<name> in the data root; `parts` gives the examples of train, validation and test in the order in
    which they are to lie, best a random one; a shard gets `rows` of them, or 64 MB.

    Raises ValueError for a name, a description or examples that do not fit, FileExistsError, and OSError.
    """
    require(
        NAME.fullmatch(folder.name) is not None,
        f"the folder is called {folder.name[:60]!r}, but must be called shards- and 1 to 40 of a-z, 0-9, _ and -",
    )
    require(set(parts) == set(PARTS), f"parts are {sorted(parts)}, but must be {', '.join(PARTS)}")
    check(about)
    if folder.exists():
        raise FileExistsError(f"{folder} is there already; remove it, or choose another name")
    rows = rows or max(1, SHARD_BYTES // about.bytes)
    with durable.appearing(folder) as draft:
        counts = {part: _write_part(draft, part, parts[part], about, rows) for part in PARTS}
        index = Index(about, **counts, rows=rows)
        durable.write(draft / "spec.json", index.to_json().encode())
    return index


def _write_part(folder: Path, part: str, chunks: Iterable[Chunk], about: About, rows: int) -> int:
    """The number of examples written."""
    count = 0
    for number, (x, y) in enumerate(_regrouped(map(_checked(about), chunks), rows, about)):
        np.save(folder / f"{part}-{number:05d}.npy", x)
        np.save(folder / f"{part}-{number:05d}-classes.npy", y)
        count += len(x)
    require(count > 0, f"the part {part} has no examples, but needs some")
    return count


def _regrouped(chunks: Iterable[Chunk], rows: int, about: About) -> Iterator[Chunk]:
    """The same examples, `rows` at a time, in arrays that are used again."""
    held, xs, ys = 0, np.empty((rows, about.values), about.dtype), np.empty(rows, np.uint8)
    for x, y in chunks:
        while len(x):
            n = min(rows - held, len(x))
            xs[held : held + n], ys[held : held + n] = x[:n], y[:n]
            held, x, y = held + n, x[n:], y[n:]
            if held == rows:
                yield xs, ys
                held = 0
    if held:
        yield xs[:held], ys[:held]


def _checked(about: About) -> Callable[[Chunk], Chunk]:
    """Makes flat rows of examples. Raises ValueError for what is not as `about` says."""

    def check(chunk: Chunk) -> Chunk:
        x, y = chunk
        require(
            x.dtype == about.dtype and x.ndim > 1 and math.prod(x.shape[1:]) == about.values,
            f"examples are {x.dtype} {list(x.shape)}, but must be {about.dtype} [n, {about.values:,}]",
        )
        require(
            not about.profile or bool(((x >= 0) & (x <= 1)).all()), "values of profiles must be numbers from 0 to 1"
        )
        require(
            y.shape == x.shape[:1] and y.dtype.kind in "iu" and bool(((y >= 0) & (y < len(about.classes))).all()),
            f"classes must be one whole number from 0 to {len(about.classes) - 1} for each example",
        )
        return x.reshape(len(x), about.values), y.astype(np.uint8)

    return check


def verify(folder: Path) -> Index:
    """Reads all of a data set. Raises OSError, or ValueError with what is wrong and where."""
    index = read_index(folder)
    whole = _checked(index.about)
    for part in PARTS:
        maps = zip(examples(folder, index, part).maps, classes(folder, index, part).maps, strict=True)
        for number, chunk in enumerate(maps):
            try:
                whole(chunk)
            except ValueError as error:
                raise ValueError(f"{part}-{number:05d}: {error}") from error
    return index


def main() -> int:
    if len(sys.argv) < 2:
        print("usage: python -m vae_core.sharding FOLDER...", file=sys.stderr)
        return 2
    wrong = 0
    for folder in map(Path, sys.argv[1:]):
        try:
            index = verify(folder)
            print(
                f"{folder}: whole; {index.train:,} training, {index.validation:,} and {index.test:,} held-out examples"
            )
        except (OSError, ValueError) as error:
            print(error)
            wrong += 1
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
