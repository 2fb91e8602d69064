"""Training on a data set four times as large as the memory that the process may have.

The limit is RLIMIT_DATA, on all private writable memory: what a process allocates. `ulimit -v` would count the address
space instead, of which PyTorch takes 3 GB by itself and a mapped file its whole length, whether it is read or not; a
cgroup would count pages of the data only for the process that happened to read them first. Under the limit the data set
cannot be loaded, which is tried.

Images per second from shards, with a warm page cache, over those of a process that holds all of it in memory, in turns;
own memory before and after an epoch is read; and, with a cold page cache, the order of the shards beside a full
permutation.
"""

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.loop import show
from benchmarks.training_speed import CONFIG
from vae_core import datasets
from vae_core.datasets import DATA_VARIABLE
from vae_core.examples import Examples, Split, Stream
from vae_core.mapped import Mapped
from vae_core.sharding import write_shards
from vae_core.shards import PARTS, About, Chunk, Index
from vae_core.training import CPU, Trainer
from vae_core.worker import few_collections

LIMIT = 950_000_000
TIMES = 4
NAME = "shards-large"
CHUNK, HELD_OUT = 50_000, 2_000
BLOCKS, SECONDS, COLD_SECONDS = 9, 4.0, 10.0
ABOUT = About(
    "MNIST, shifted", (1, 28, 28), tuple("0123456789"), "MNIST, each image moved by up to 3 pixels", "CC BY-SA"
)


def shifted(split: Split, count: int) -> Iterator[Chunk]:
    """That many images drawn with replacement, every chunk of them moved by a step of its own."""
    rng = np.random.default_rng(1)
    images, labels = split.x.numpy().reshape(-1, 28, 28), split.y.numpy()
    for start in range(0, count, CHUNK):
        chosen = rng.integers(len(images), size=min(CHUNK, count - start))
        yield np.roll(images[chosen], rng.integers(-3, 4, size=2), axis=(1, 2)), labels[chosen]


def write(root: Path) -> Index:
    split = datasets.load("mnist", "train")
    sizes = dict(zip(PARTS, (TIMES * LIMIT // 784, HELD_OUT, HELD_OUT), strict=True))
    return write_shards(root / NAME, ABOUT, {part: shifted(split, size) for part, size in sizes.items()})


def own_memory() -> dict[str, int]:
    """Megabytes: resident private memory, what RLIMIT_DATA counts, and resident pages of files."""
    names = {"RssAnon:": "private", "VmData:": "counted", "RssFile:": "of files"}
    lines = map(str.split, Path("/proc/self/status").read_text().splitlines())
    return {names[line[0]]: round(int(line[1]) * 1024 / 1e6) for line in lines if line[0] in names}


@dataclass(frozen=True)
class Permuted(Mapped):
    """Shards in the order that a data set in memory has."""

    def to(self, device: torch.device) -> "Permuted":
        return self

    def order(self, stream: Stream) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return torch.randperm(len(self), generator=stream())


def whole(maps: tuple[np.ndarray, ...]) -> Split:
    x = torch.from_numpy(np.concatenate(maps))
    return Split(x, torch.zeros(len(x), dtype=torch.uint8))


def source(kind: str) -> Examples:
    mapped = datasets.training(NAME)
    assert isinstance(mapped, Mapped)
    return {"memory": lambda: whole(mapped.maps), "permuted": lambda: Permuted(mapped.maps)}.get(kind, lambda: mapped)()


def read_epoch(trainer: Trainer) -> dict[str, Any]:
    """Every batch of an epoch, without a step."""
    order, size = (
        trainer.train.order(lambda *words: torch.Generator().manual_seed(sum(words))),
        CONFIG.schedule.batch_size,
    )
    for start in range(0, len(trainer.train), size):
        trainer.train.batch(order[start : start + size])
    return own_memory()


def too_large() -> bool:
    """Whether the data set cannot be loaded under the limit."""
    try:
        source("memory")
    except MemoryError:
        return True
    return False


def child(kind: str) -> None:
    """Answers lines of standard input: seconds to train, "epoch", "memory" or "load"."""
    torch.set_num_threads(1)
    if kind != "memory":
        resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    trainer = Trainer(replace(CONFIG, dataset=NAME, device="cpu"), source(kind), CPU)
    answers = {"epoch": lambda: read_epoch(trainer), "memory": own_memory, "load": too_large}
    with few_collections():
        for line in map(str.strip, sys.stdin):
            answer = answers[line]() if line in answers else speed(trainer, float(line))
            print(json.dumps(answer), flush=True)


def speed(trainer: Trainer, seconds: float) -> float:
    """Images per second."""
    begin, steps = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        trainer.advance()
        steps += 1
    return steps * CONFIG.schedule.batch_size / (time.perf_counter() - begin)


class Contestant:
    def __init__(self, kind: str) -> None:
        command = [sys.executable, "-m", "benchmarks.larger_than_memory", "--child", kind]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, what: object) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(what, file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())


@contextmanager
def contestant(kind: str) -> Iterator[Contestant]:
    running = Contestant(kind)
    try:
        yield running
    finally:
        running.process.communicate()


def forget(folder: Path) -> None:
    """Drops the files from the page cache, if nobody maps them."""
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def warm() -> dict[str, Any]:
    with contestant("shards") as shards, contestant("memory") as memory:
        refused, begin = shards.ask("load"), shards.ask("memory")
        after_an_epoch = shards.ask("epoch")
        speeds = [(shards.ask(SECONDS), memory.ask(SECONDS)) for _ in range(BLOCKS + 1)][1:]  # the first warms up
        ours, theirs = (statistics.median(values) for values in zip(*speeds, strict=True))
        return {
            "cannot be loaded under the limit": refused,
            "images per second": {"shards": ours, "memory": theirs, "ratio": ours / theirs},
            "megabytes": {
                "at first": begin, "after an epoch": after_an_epoch, "at last": shards.ask("memory"),
                "of the process that holds all": memory.ask("memory"),
            },
        }  # fmt: skip


def cold(folder: Path) -> dict[str, Any]:
    found = {}
    for kind in ("shards", "permuted"):
        with contestant(kind) as running:
            running.ask("memory")  # it is there, and has read nothing but the heads of files
            forget(folder)
            found[kind] = running.ask(COLD_SECONDS)
    return found | {"ratio": found["shards"] / found["permuted"]}


def main() -> None:
    with tempfile.TemporaryDirectory() as root:
        if shutil.disk_usage(root).free < 2 * TIMES * LIMIT:
            raise SystemExit(f"{root} has less than {2 * TIMES * LIMIT / 1e9:.0f} GB free; name another by TMPDIR")
        begin = time.perf_counter()
        index = write(Path(root))
        size = sum(path.stat().st_size for path in Path(root, NAME).iterdir())
        result = {
            "gigabytes": size / 1e9, "limit": LIMIT / 1e9, "examples": index.train,
            "seconds to write": time.perf_counter() - begin, "megabytes of the writer": own_memory(),
        }  # fmt: skip
        os.environ[DATA_VARIABLE] = root
        show(result | {"warm": warm(), "cold": cold(Path(root, NAME)), "load": os.getloadavg()[0]})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2])
    else:
        main()
