import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vae_core import command, datasets, mapped, sharding, shards
from vae_core.config import Config, ModelConfig, ScheduleConfig
from vae_core.datasets import BUILT_IN, DATA_VARIABLE, DATASETS, DataUnavailable
from vae_core.defaults import METHODS, by_method, recipe
from vae_core.examples import Split
from vae_core.launch import PROJECT
from vae_core.mapped import Pools
from vae_core.rules import problems
from vae_core.sharding import write_shards
from vae_core.shards import About, read_index
from vae_core.team import Team
from vae_core.training import Trainer, fit

NAME = "shards-digits"
ABOUT = About("Digits in shards", (1, 8, 8), tuple("0123456789"), "scikit-learn", "CC BY 4.0")
CPU = torch.device("cpu")
CONFIG = Config(
    NAME, ModelConfig(widths=(8,)), schedule=ScheduleConfig(learning_rate=0.01, batch_size=64, epochs=2), device="cpu"
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "data"))
    return tmp_path / "data"


def in_chunks(split: Split, size: int) -> Iterator[shards.Chunk]:
    """Chunk after chunk in the same array, as a reader of a stream may give them."""
    x, y = np.empty((size, *split.x.shape[1:]), split.x.numpy().dtype), np.empty(size, np.int64)
    for start in range(0, len(split), size):
        n = min(size, len(split) - start)
        x[:n], y[:n] = split.x[start : start + n].numpy(), split.y[start : start + n].numpy()
        yield x[:n], y[:n]


@pytest.fixture
def digits(root: Path) -> Path:
    """The digits in shards of 100 examples, from chunks of other sizes."""
    parts = {part: in_chunks(datasets.load("digits", part), 77) for part in shards.PARTS}
    write_shards(root / NAME, ABOUT, parts, rows=100)
    return root / NAME


def test_what_was_written_is_read(digits: Path) -> None:
    spec = DATASETS[NAME]
    assert (spec.label, spec.shape, spec.kind, spec.sizes) == ("Digits in shards", (1, 8, 8), "image", (1285, 256, 256))
    assert len(list(digits.glob("train-*.npy"))) == 2 * 13
    for part in shards.PARTS:
        found, expected = datasets.load(NAME, part), datasets.load("digits", part)
        assert torch.equal(found.x, expected.x)
        assert torch.equal(found.y, expected.y)
    whole = datasets.training(NAME)
    places = torch.tensor([0, 99, 100, 1284, 640, 100])
    assert len(whole) == 1285
    assert torch.equal(whole.batch(places), datasets.load("digits", "train").x[places])


def test_sets_are_listed_while_they_are_there(root: Path, digits: Path) -> None:
    assert list(DATASETS) == [*BUILT_IN, NAME]
    assert len(DATASETS) == len(BUILT_IN) + 1
    digits.rename(root / "shards-other")
    assert list(DATASETS) == [*BUILT_IN, "shards-other"]
    assert NAME not in DATASETS
    (root / "shards-other" / "spec.json").write_text("{")
    assert list(DATASETS) == list(BUILT_IN)
    assert f"Data set is '{NAME}', but must be one of" in problems(CONFIG)[0]


@pytest.mark.parametrize("name", ["shards-../digits", "shards-", "shards-.", "../shards-digits", "shards-a/b", "a\0b"])
def test_a_name_is_no_path(name: str, digits: Path) -> None:
    assert name not in DATASETS
    assert list(DATASETS) == [*BUILT_IN, NAME]


@pytest.mark.parametrize("name", ["digits", "shards-", "shards-Digits", "shards-a b", "shards-" + 41 * "a"])
def test_a_set_is_written_under_a_name_that_is_found(name: str, root: Path) -> None:
    with pytest.raises(ValueError, match="must be called shards- and 1 to 40 of a-z, 0-9, _ and -"):
        write_shards(root / name, ABOUT, {part: [GOOD] for part in shards.PARTS})
    assert not root.exists()


def test_values_of_profiles_have_units(root: Path) -> None:
    x, y = np.linspace(0, 1, 12, dtype=np.float32).reshape(4, 3), np.array([0, 1, 0, 1])
    about = About("Rows", (1, 1, 3), ("a", "b"), "here", "none", (0.0, 0.0, -1.0), (1.0, 2.0, 1.0), ("p", "q", "r"))
    for name, known in (
        ("shards-units", about),
        ("shards-plain", About("Rows", (1, 1, 3), ("a", "b"), "here", "none")),
    ):
        write_shards(root / name, known, {part: [(x, y)] for part in shards.PARTS})
    assert torch.equal(
        DATASETS["shards-units"].in_units(datasets.load("shards-units", "test").x)[3, 1], torch.tensor(20 / 11)
    )
    plain = DATASETS["shards-plain"]
    assert torch.equal(plain.in_units(torch.from_numpy(x)), torch.from_numpy(x))
    assert (plain.kind, plain.features) == ("profile", ())


GOOD = (np.zeros((4, 64), np.uint8), np.zeros(4, np.int64))
ROWS = About("Rows", (1, 1, 3), ("a",), "here", "none")


@pytest.mark.parametrize(
    ("about", "chunk", "sentence"),
    [
        (ABOUT, (GOOD[0].astype(np.float32), GOOD[1]), r"examples are float32 \[4, 64\], but must be uint8 \[n, 64\]"),
        (ABOUT, (GOOD[0][:, :63], GOOD[1]), r"but must be uint8 \[n, 64\]"),
        (ABOUT, (GOOD[0], GOOD[1] + 10), "classes must be one whole number from 0 to 9 for each example"),
        (ABOUT, (GOOD[0], GOOD[1] - 1), "classes must be"),
        (ABOUT, (GOOD[0], GOOD[1][:3]), "classes must be"),
        (ABOUT, (GOOD[0][:0], GOOD[1][:0]), "the part train has no examples"),
        (ROWS, (np.full((4, 3), np.nan, np.float32), GOOD[1]), "values of profiles must be numbers from 0 to 1"),
        (ROWS, (np.full((4, 3), 1.5, np.float32), GOOD[1]), "values of profiles must be numbers from 0 to 1"),
        (replace(ABOUT, shape=(3, 8, 8)), GOOD, r"shape is \[3, 8, 8\], but must be \[1, H, W\]"),
        (replace(ABOUT, shape=(1, 8, 513)), GOOD, "with 2 to 512 pixels a side"),
        (replace(ABOUT, classes=("a", "a")), GOOD, "1 to 256 different names"),
        (replace(ABOUT, label=""), GOOD, "label must be 1 to 60 characters"),
        (replace(ABOUT, low=(0.0,), high=(1.0,)), GOOD, "low, high and features"),
        (replace(ROWS, low=(0.0, 0.0, 0.0), high=(1.0, 1.0, np.inf)), GOOD, "low, high and features"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(
    about: About, chunk: shards.Chunk, sentence: str, root: Path
) -> None:
    with pytest.raises(ValueError, match=sentence):
        write_shards(root / NAME, about, {part: [chunk] for part in shards.PARTS})
    assert not root.exists() or not list(root.iterdir())


def test_a_source_that_breaks_leaves_nothing_and_another_set_is_not_replaced(digits: Path) -> None:
    def breaking() -> Iterator[shards.Chunk]:
        yield GOOD
        raise OSError("the network is gone")

    before = {path.name: path.stat().st_mtime_ns for path in digits.iterdir()}
    with pytest.raises(OSError, match="the network is gone"):
        write_shards(digits.parent / "shards-new", ABOUT, {part: breaking() for part in shards.PARTS})
    with pytest.raises(FileExistsError, match="is there already"):
        write_shards(digits, ABOUT, {part: [GOOD] for part in shards.PARTS})
    assert [path.name for path in digits.parent.iterdir()] == [NAME]
    assert {path.name: path.stat().st_mtime_ns for path in digits.iterdir()} == before


def spoil_spec(**changes: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        value = json.loads((folder / "spec.json").read_text()) | changes
        (folder / "spec.json").write_text(json.dumps(value))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda folder: (folder / "train-00005.npy").unlink(), "train-00005.npy cannot be read"),
        (lambda folder: os.truncate(folder / "train-00005.npy", 200), "train-00005.npy cannot be read"),
        (lambda folder: (folder / "train-00005.npy").write_bytes(b""), "train-00005.npy cannot be read"),
        (lambda folder: np.save(folder / "train-00005.npy", np.zeros((100, 63), np.uint8)), r"uint8 \[100, 63\], but"),
        (lambda folder: np.save(folder / "train-00005.npy", np.zeros((100, 64))), r"float64 \[100, 64\], but spec"),
        (lambda folder: np.save(folder / "train-00005.npy", np.array([{}])), "train-00005.npy cannot be read"),
        (spoil_spec(train=1286), r"uint8 \[85, 64\], but spec.json says uint8 \[86, 64\]"),
    ],
)
def test_a_damaged_shard_is_told(spoil: Callable[[Path], None], sentence: str, digits: Path) -> None:
    spoil(digits)
    with pytest.raises(DataUnavailable, match=f"A shard of {NAME} is damaged or missing.*{sentence}"):
        datasets.training(NAME)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (spoil_spec(format=2), "format is 2, but this version reads 1"),
        (spoil_spec(train=0), "every part needs examples"),
        (spoil_spec(train=1.5), "spec.json.train must be of type int; got 1.5"),
        (spoil_spec(path="/etc"), "has unknown keys"),
        (lambda folder: (folder / "spec.json").write_text("[" * 100_000), "spec.json"),
        (lambda folder: (folder / "spec.json").write_bytes(b"\xff\xfe"), "spec.json"),
        (lambda folder: os.truncate(folder / "spec.json", 20_000_000), "is larger than 10 MB"),
    ],
)
def test_a_damaged_spec_is_told_and_not_listed(spoil: Callable[[Path], None], sentence: str, digits: Path) -> None:
    spoil(digits)
    with pytest.raises(ValueError, match=sentence):
        read_index(digits)
    assert NAME not in DATASETS
    assert list(DATASETS) == list(BUILT_IN)


def test_every_value_is_checked_on_request(
    digits: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["sharding", str(digits)])
    assert sharding.main() == 0
    assert capsys.readouterr().out == f"{digits}: whole; 1,285 training, 256 and 256 held-out examples\n"
    np.save(digits / "test-00002-classes.npy", np.full(56, 10, np.uint8))
    assert sharding.main() == 1
    assert capsys.readouterr().out == "test-00002: classes must be one whole number from 0 to 9 for each example\n"


def streams(seed: int) -> Callable[..., torch.Generator]:
    return lambda *words: torch.Generator().manual_seed(hash((seed, *words)) % 2**31)


@pytest.mark.parametrize("count", [1, 7, 12, 13, 100, 1003])
@pytest.mark.parametrize("block", [1, 4])
def test_an_order_by_pools_is_a_permutation(count: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "POOL", 3)
    order = Pools(count, block, streams(1))
    parts = [order[start : start + 5] for start in range(0, count, 5)]
    assert torch.cat(parts).sort().values.tolist() == list(range(count))
    assert torch.equal(order[2:9], Pools(count, block, streams(1))[:][2:9])
    if count > 12:
        assert not torch.equal(order[:], Pools(count, block, streams(2))[:])


def test_a_pool_comes_from_few_places_and_is_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "POOL", 8)
    order = Pools(100_000, 50, streams(3))
    pool = order[:400]
    assert len((pool // 50).unique()) == 8
    assert len((pool[:50] // 50).unique()) == 8  # a batch is from all of them
    assert (pool.diff() == 1).float().mean() < 0.05
    starts = (order[: 400 * 200 : 400] // 50).float()  # and the pools from everywhere
    assert abs(starts.mean() - 1000) < 4 * 577 / 200**0.5


def test_training_on_shards_is_that_on_their_examples_in_memory(digits: Path) -> None:
    """With the order of the shards: the same batches, so the same parameters."""

    class InMemory(Split):
        def to(self, device: torch.device) -> Split:
            return self

        def order(self, stream: Callable[..., torch.Generator]) -> Pools:
            return datasets.training(NAME).order(stream)

    split = datasets.load("digits", "train")
    trainers = [Trainer(CONFIG, train, CPU) for train in (datasets.training(NAME), InMemory(split.x, split.y))]
    for trainer in trainers:
        assert trainer.total_steps == len(list(fit(trainer))) == 2 * (1285 // 64)
    ours, theirs = (trainer.model.parameters() for trainer in trainers)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_run_on_shards_is_resumed_bit_for_bit(digits: Path) -> None:
    whole, begun, resumed = (Trainer(CONFIG, datasets.training(NAME), CPU) for _ in range(3))
    list(fit(whole))
    for _ in range(25):
        begun.advance()
    resumed.restore(begun.model.state_dict(), begun.state())
    list(fit(resumed))
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True))


def test_the_command_trains_on_shards(digits: Path) -> None:
    arguments = command.parser().parse_args(["--dataset", NAME, "--widths", "8", "--epochs", "2", "--device", "cpu"])
    assert command.lead(arguments, Team()) == 0


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_recipe_for_shards(method: str, root: Path) -> None:
    big = (np.zeros((2, 64 * 64), np.uint8), np.zeros(2, np.int64))
    row = (np.zeros((2, 3), np.float32), np.zeros(2, np.int64))
    for name, about, chunk in (("shards-big", replace(ABOUT, shape=(1, 64, 64)), big), ("shards-rows", ROWS, row)):
        write_shards(root / name, about, {part: [chunk] for part in shards.PARTS})
        assert problems(recipe(name)) == []
        if method != "wake_sleep" and method != "reweighted" and method != "score":
            assert problems(by_method(recipe(name), method)) == []


def test_held_out_parts_are_capped_and_spread(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MOST_EXAMPLES", 50)
    x = np.arange(200, dtype=np.uint8).repeat(64).reshape(200, 64)
    write_shards(root / NAME, ABOUT, {part: [(x, x[:, 0] % 10)] for part in shards.PARTS}, rows=30)
    assert DATASETS[NAME].sizes == (200, 50, 50)
    for part in shards.PARTS:
        split = datasets.load(NAME, part)
        assert split.x[:, 0].tolist() == list(range(0, 200, 4))
        assert split.y.tolist() == [value % 10 for value in range(0, 200, 4)]


def test_neither_writing_nor_reading_holds_the_whole(root: Path) -> None:
    """200 MB pass through, of which no more than a shard of 20 MB and a chunk is held at a time. In a process of its
    own: other tests' threads would be counted."""
    code = "from tests.test_shards import peak_of_passing_through; print(peak_of_passing_through())"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 60_000_000


def peak_of_passing_through() -> int:
    """Bytes that this process held at most, beyond those at first, while 40 chunks of 5 MB were written and read."""
    about, chunk = replace(ABOUT, shape=(1, 100, 100)), (np.full((500, 10_000), 7, np.uint8), np.zeros(500, np.int64))
    folder = datasets.data_root() / NAME
    before, seen = anonymous_memory(), []

    def chunks() -> Iterator[shards.Chunk]:
        for _ in range(40):
            seen.append(anonymous_memory())
            yield chunk

    write_shards(folder, about, {"train": chunks(), "validation": [chunk], "test": [chunk]}, rows=2_000)
    whole = datasets.training(NAME)
    order = whole.order(streams(1))
    for start in range(0, len(whole), 500):
        assert (whole.batch(order[start : start + 500]) == 7).all()
        seen.append(anonymous_memory())
    return max(seen) - before


def anonymous_memory() -> int:
    """Bytes of this process's own, beside what is mapped from files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
