"""Sweeps in the queue: what is made and remembered, what is refused, and how long all of it will take."""

from pathlib import Path

import pytest

from tests.test_worker import SMALL
from vae_core import runs, sweeps
from vae_core.config import Config
from vae_core.grid import Point, combinations
from vae_core.marks import marks
from vae_core.runs import Run, Status
from vae_core.sweeps import MOST, Sweep, find, listed, remaining, start

GRID = {"latent": ["2", "3"], "beta": ["0.5", "1", "4"]}
OWNER = "a" * 32


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(runs.RUNS_VARIABLE, str(tmp_path))
    return tmp_path


def made(count: int = 12) -> Sweep:
    points = combinations(SMALL, GRID, [0, 1])[:count]
    return start(points, OWNER, 100.0, runs.create)


def test_a_sweep_is_every_combination_with_every_seed_and_is_found_again() -> None:
    sweep = made()
    assert find(sweep.id) == sweep
    assert sweep.axes == GRID
    assert sweep.columns == 3
    assert [member.seed for member in sweep.members] == [0, 1] * 6
    for member in sweep.members:
        run = runs.find(member.run)
        assert run is not None
        config = run.config()
        assert (str(config.model.latent), f"{config.objective.beta:g}") == tuple(member.setting.values())
        assert config.seed == member.seed
        assert run.owner == OWNER
        assert marks(run).tags == (sweep.tag,)


def test_only_its_owner_has_it_listed_and_the_key_is_not_written_down(root: Path) -> None:
    older, newer = made(2), made(2)
    assert {sweep.id for sweep in listed(OWNER)} == {older.id, newer.id}
    assert listed("b" * 32) == []
    assert older.of(OWNER)
    assert not older.of("b" * 32)
    assert all(OWNER not in path.read_text() for path in (root / sweeps.FOLDER).iterdir())


def test_what_was_queued_before_a_refusal_stays_and_is_found() -> None:
    def create(config: Config, owner: str) -> Run:
        if len(list(runs.listed(OWNER))) == 3:
            raise OSError("The disk is full.")
        return runs.create(config, owner)

    with pytest.raises(OSError, match="The disk is full"):
        start(combinations(SMALL, GRID, [0]), OWNER, 1.0, create)
    (sweep,) = listed(OWNER)
    assert (len(sweep.members), sweep.wanted) == (3, 6)


def test_too_many_runs_are_refused_before_the_first_is_made(root: Path) -> None:
    points = [Point({}, seed, SMALL) for seed in range(MOST + 1)]
    with pytest.raises(ValueError, match=f"these are {MOST + 1} runs, but a sweep has at most {MOST}"):
        start(points, OWNER, 1.0, runs.create)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("name", ["", "..", "../../etc/passwd", "0" * 15, "0" * 16, "G" * 16, "0" * 10_000])
def test_what_is_no_sweep_is_not_found(name: str) -> None:
    assert find(name) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": 3}', '{"members": [{"run": 1}]}'])
def test_a_damaged_file_is_no_sweep_and_harms_no_other(text: str, root: Path) -> None:
    sweep = made(1)
    (root / sweeps.FOLDER / f"{'0' * 16}.json").write_text(text)
    assert find("0" * 16) is None
    assert listed(OWNER) == [sweep]


def at(state: str, step: int = 0, seconds: float = 0.0) -> Status:
    return Status(state, step=step, total_steps=100, seconds=seconds)  # type: ignore[arg-type]


def test_the_time_left_follows_each_run_s_pace_then_its_setting_s_then_all() -> None:
    small, large = {"latent": "2"}, {"latent": "20"}
    found = [
        (small, at("finished", 100, 10.0)),
        (small, at("running", 50, 10.0)),  # twice as slow as the first: 10 s left
        (small, at("queued")),  # as its setting: 15 s
        (large, at("running", 25, 10.0)),  # 30 s left
        (large, at("queued")),  # 40 s
        ({"latent": "64"}, at("queued")),  # as all that are known: (10 + 20 + 40) / 3
    ]
    total = 10 + 15 + 30 + 40 + 70 / 3
    assert remaining(found, 1) == pytest.approx(total)
    assert remaining(found, 2) == pytest.approx(total / 2)
    assert remaining(found, 100) == pytest.approx(40)  # never less than the longest takes


def test_nothing_is_said_before_anything_is_known_and_nothing_is_left_at_the_end() -> None:
    assert remaining([({}, at("queued")), ({}, at("preparing"))], 2) is None
    assert remaining([({}, at("finished", 100, 5.0)), ({}, at("failed", 10, 1.0))], 2) == 0
