import hashlib
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from torchvision.datasets import mnist

from vae_core import datasets, profiles
from vae_core.datasets import BUILT_IN, DATA_VARIABLE, DATASETS, DataUnavailable, Part, Split, data_root

PARTS: tuple[Part, ...] = ("train", "validation", "test")
IDX_FOLDERS = {"mnist": "MNIST", "fashion": "FashionMNIST"}
Load = Callable[[str, Part], Split]


@pytest.mark.parametrize("name", BUILT_IN)
def test_parts_are_what_the_spec_says(name: str, load: Load) -> None:
    spec = DATASETS[name]
    for part in PARTS:
        split = load(name, part)
        assert len(split) == len(split.y) == getattr(spec.sizes, part)
        assert split.x.shape == (len(split), spec.shape[0] * spec.shape[1] * spec.shape[2])
        assert split.y.dtype == torch.uint8
        assert split.x.dtype == {"image": torch.uint8, "profile": torch.float32}[spec.kind]
        assert split.x.min() >= 0
        assert split.x.max() > 0.9 * {"image": 255, "profile": 1}[spec.kind]
        assert split.y.unique().tolist() == list(range(len(spec.classes)))


@pytest.mark.parametrize("name", BUILT_IN)
def test_labels_and_terms_are_stated(name: str) -> None:
    spec = DATASETS[name]
    assert spec.label
    assert spec.source
    assert spec.licence
    assert len(set(spec.classes)) == len(spec.classes)


@pytest.mark.parametrize("name", BUILT_IN)
def test_profiles_say_what_their_values_are(name: str) -> None:
    spec = DATASETS[name]
    values = spec.shape[2] if spec.kind == "profile" else 0
    assert (spec.kind == "profile") is (spec.shape[:2] == (1, 1))
    assert len(spec.low) == len(spec.high) == values
    assert len(set(spec.features)) in (0, values)
    assert all(low < high for low, high in zip(spec.low, spec.high, strict=True))


def part_of(values: np.ndarray, part: Part) -> np.ndarray:
    """Row by row: five to train, one to validate, one to test."""
    wanted = {"train": (0, 1, 2, 3, 4), "validation": (5,), "test": (6,)}[part]
    return np.array([value for place, value in enumerate(values) if place % 7 in wanted])


SOURCES = {"cells": profiles.cells, "signals": profiles.signals}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("part", PARTS)
def test_profiles_are_the_source_in_its_units_but_for_what_is_clipped(name: str, part: Part) -> None:
    spec, split = DATASETS[name], datasets.load(name, part)
    values, labels = SOURCES[name]()
    found, expected = spec.in_units(split.x.double()).numpy(), part_of(values, part)
    clipped = np.minimum(np.maximum(expected, spec.low), spec.high)
    span = np.array(spec.high) - spec.low
    assert (np.abs(found - clipped) / span).max() < 1e-7
    assert split.y.tolist() == part_of(labels, part).tolist()
    assert (clipped != expected).mean() < 0.006


def test_the_ends_of_a_table_are_those_of_its_training_part() -> None:
    spec = DATASETS["cells"]
    train = part_of(load_breast_cancer().data, "train")
    assert spec.features == tuple(load_breast_cancer().feature_names)
    assert spec.low == tuple(train.min(0))
    assert spec.high == tuple(train.max(0))
    assert [name.lower() for name in spec.classes] == load_breast_cancer().target_names.tolist()


def test_digits_are_split_by_place() -> None:
    """Every seventh is validation, the one after it test: together all, none twice, at every machine the same."""
    pixels, labels = load_digits(return_X_y=True)
    grey = np.floor(pixels * 255 / 16 + 0.5)
    places = {"validation": range(5, 1797, 7), "test": range(6, 1797, 7)}
    places["train"] = sorted(set(range(1797)) - set(places["validation"]) - set(places["test"]))
    for part in PARTS:
        split = datasets.load("digits", part)
        assert np.array_equal(split.x.numpy(), grey[places[part]])
        assert split.y.tolist() == labels[places[part]].tolist()


def raw_file(name: str, file: str) -> bytes:
    return (data_root() / IDX_FOLDERS[name] / "raw" / file).read_bytes()


@pytest.mark.parametrize("name", IDX_FOLDERS)
def test_idx_parts_are_the_files_cut_at_55000(name: str, load: Load) -> None:
    """Disjoint by place: the training file's first 55,000, its last 5,000, and the test file."""
    parts = [load(name, part) for part in PARTS]
    for file, splits in (("train", parts[:2]), ("t10k", parts[2:])):
        pixels = np.frombuffer(raw_file(name, f"{file}-images-idx3-ubyte"), np.uint8, offset=16).reshape(-1, 784)
        labels = np.frombuffer(raw_file(name, f"{file}-labels-idx1-ubyte"), np.uint8, offset=8)
        assert np.array_equal(torch.cat([split.x for split in splits]).numpy(), pixels)
        assert np.array_equal(torch.cat([split.y for split in splits]).numpy(), labels)


def test_mnist_is_the_one_everybody_means(load: Load) -> None:
    train, test = load("mnist", "train"), load("mnist", "test")
    assert train.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test.y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    digests = [
        hashlib.md5(raw_file("mnist", f"{part}-images-idx3-ubyte"), usedforsecurity=False).hexdigest()
        for part in ("train", "t10k")
    ]
    assert digests == ["6bbc9ace898e44ae57da46a324031adb", "2646ac647ad5339dbf082846283269ea"]


def test_fashion_mnist_is_the_one_everybody_means(load: Load) -> None:
    """The first ten labels as zalandoresearch/fashion-mnist has them."""
    assert load("fashion", "train").y[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert load("fashion", "test").y[:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, and downloads that fail as they do without a network."""
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "data"))

    def refuse(url: str, **kwargs: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(mnist, "download_and_extract_archive", refuse)
    return tmp_path / "data"


@pytest.mark.parametrize("name", IDX_FOLDERS)
@pytest.mark.parametrize("part", PARTS)
def test_absent_files_are_named_with_their_folder(name: str, part: Part, offline: Path) -> None:
    with pytest.raises(DataUnavailable) as caught:
        datasets.load(name, part)
    message = str(caught.value)
    folder = offline / IDX_FOLDERS[name] / "raw"
    for expected in (str(folder), DATA_VARIABLE, "train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        assert expected in message
    assert "t10k-images-idx3-ubyte" in message
    assert "t10k-labels-idx1-ubyte" in message


def test_only_absent_files_are_named(offline: Path) -> None:
    raw = offline / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "t10k-labels-idx1-ubyte").write_bytes(b"")
    with pytest.raises(DataUnavailable, match=r"\(train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images"):
        datasets.load("mnist", "train")
    assert len(datasets.missing_files("MNIST")) == 3


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>Please log in</html>", b"\0\0\x08\x03\0\0\xea\x60", bytes(2000)],
    ids=["empty", "html", "cut", "zeros"],
)
def test_unreadable_files_are_told(offline: Path, content: bytes) -> None:
    raw = offline / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in datasets.IDX_FILES:
        (raw / file).write_bytes(content)
    with pytest.raises(DataUnavailable, match="none missing, one unreadable"):
        datasets.load("mnist", "train")


def test_a_file_that_can_be_downloaded_is(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request for each file, into the folder of the variable."""
    asked: list[tuple[str, str]] = []

    def pretend(url: str, download_root: str, filename: str, md5: str) -> None:
        asked.append((download_root, filename))
        count, start = (60_000 if filename.startswith("train") else 10_000), 16 if "idx3" in filename else 8
        sizes = [count, 28, 28] if "idx3" in filename else [count]
        header = bytes([0, 0, 8, len(sizes)]) + b"".join(size.to_bytes(4, "big") for size in sizes)
        assert len(header) == start
        target = Path(download_root) / filename.removesuffix(".gz")
        target.write_bytes(header + bytes(count * (784 if start == 16 else 1)))

    monkeypatch.setattr(mnist, "download_and_extract_archive", pretend)
    assert len(datasets.load("mnist", "validation")) == 5_000
    assert [root for root, _ in asked] == [str(offline / "MNIST" / "raw")] * 4
    assert datasets.missing_files("MNIST") == []


def test_where_data_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_VARIABLE, "/somewhere/else")
    assert data_root() == Path("/somewhere/else")
    monkeypatch.setenv(DATA_VARIABLE, "~/mine")
    assert data_root() == Path.home() / "mine"
    monkeypatch.delenv(DATA_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert data_root() == Path("/cache/elbo-room/data")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data_root() == Path.home() / ".cache/elbo-room/data"


def test_head_and_to_keep_images_with_their_labels() -> None:
    split = datasets.load("digits", "test")
    head = split.head(3)
    assert torch.equal(head.x, split.x[:3])
    assert torch.equal(head.y, split.y[:3])
    moved = split.to(torch.device("cpu"))
    assert torch.equal(moved.x, split.x)
    assert torch.equal(moved.y, split.y)
