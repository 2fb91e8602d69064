"""Every test has a scratch folder for its runs and one thread, so that sums are taken in one order everywhere."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from vae_core import datasets
from vae_core.datasets import DATA_VARIABLE, DataUnavailable, Part, Split
from vae_core.runs import RUNS_VARIABLE
from vae_core.sharding import write_shards
from vae_core.shards import PARTS, About

os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def runs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "runs"
    monkeypatch.setenv(RUNS_VARIABLE, str(folder))
    return folder


@pytest.fixture(scope="session")
def load() -> Callable[[str, Part], Split]:
    """Reads real data, each part once. Where files cannot be had the test is skipped, but never in CI."""
    parts: dict[tuple[str, Part], Split] = {}

    def read(name: str, part: Part) -> Split:
        try:
            return parts.setdefault((name, part), parts.get((name, part)) or datasets.load(name, part))
        except DataUnavailable as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"set {DATA_VARIABLE} to a folder with the data: {error}")

    return read


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a small data set, black images that are called “Mine”; its name is that of the data set."""
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "data"))
    folder, chunk = tmp_path / "data" / "shards-mine", (np.zeros((200, 8, 8), np.uint8), np.zeros(200, np.int64))
    write_shards(folder, About("Mine", (1, 8, 8), ("a",), "nowhere", "none"), {part: iter([chunk]) for part in PARTS})
    return folder


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)
