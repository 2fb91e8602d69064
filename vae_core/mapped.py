"""Examples that stay on the disk: arrays of files that are mapped into memory, and an order that suits a disk."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np
import torch
from jaxtyping import Int, Real, Shaped
from torch import Tensor

from vae_core.examples import Stream

CPU = torch.device("cpu")
BLOCK_BYTES, POOL = 262_144, 256
"""How local an epoch's order is: examples of so many bytes lie side by side on the disk in so many places at a time. A
full permutation reads a cold disk half as fast or far slower; a warm one takes both alike (benchmarks/README.md)."""


class Pools:
    """An order of `count` examples in which those of a stretch of time lie in few places of the disk: blocks of
    neighbours in random order, and of POOL blocks at a time all examples shuffled. It holds pools, not an epoch."""

    def __init__(self, count: int, block: int, stream: Stream) -> None:
        self.count, self.block, self.stream = count, block, stream
        self.blocks = torch.randperm(-(-count // block), generator=stream())
        sizes = (count - self.blocks * block).clamp_max(block)  # the last block of the data set may be a short one
        self.ends = list(accumulate(int(part.sum()) for part in sizes.split(POOL)))
        self.pool = lru_cache(maxsize=2)(self._pool)  # a batch may begin in one pool and end in the next

    def _pool(self, number: int) -> Int[Tensor, "_"]:
        blocks = self.blocks[number * POOL : (number + 1) * POOL]
        rows = (blocks[:, None] * self.block + torch.arange(self.block)).flatten()
        rows = rows[rows < self.count]
        return rows[torch.randperm(len(rows), generator=self.stream(number + 1))]

    def __getitem__(self, places: slice) -> Int[Tensor, "_"]:
        start, stop, _ = places.indices(self.count)
        parts = [self.blocks[:0]]
        for number in range(bisect_right(self.ends, start), bisect_left(self.ends, stop) + 1):
            before = self.ends[number - 1] if number else 0
            parts.append(self.pool(number)[max(start - before, 0) : stop - before])
        return torch.cat(parts)


@dataclass(frozen=True)
class Mapped:
    """The rows of a part, wherever its shards have them."""

    maps: tuple[Shaped[np.ndarray, "_ *D"], ...]
    device: torch.device = CPU

    def __len__(self) -> int:
        return sum(map(len, self.maps))

    def to(self, device: torch.device) -> "Mapped":
        """Batches go to the device; what is mapped stays."""
        return Mapped(self.maps, device)

    def order(self, stream: Stream) -> "Pools":
        return Pools(len(self), max(1, BLOCK_BYTES // self.maps[0][0].nbytes), stream)

    def batch(self, numbers: Int[Tensor, "B"]) -> Real[Tensor, "B *D"]:
        rows = len(self.maps[0])
        out = np.empty((len(numbers), *self.maps[0].shape[1:]), self.maps[0].dtype)
        for place, number in enumerate(numbers.tolist()):
            shard, row = divmod(number, rows)
            out[place] = self.maps[shard][row]
        return torch.from_numpy(out).to(self.device)


def spread(count: int, most: int) -> Int[Tensor, "_"]:
    """At most that many numbers of `count` examples, evenly spread over them."""
    return torch.arange(min(count, most)) * count // min(count, most)
