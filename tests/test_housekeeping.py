"""Cleaning: what is thrown away, what never is, and how much an owner takes up."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.test_launch import SMALL, wait_until
from vae_core import housekeeping, runs
from vae_core.dispatch import Dispatcher
from vae_core.housekeeping import DAY, keep_house, retire, tidy, used_by
from vae_core.launch import LocalLauncher
from vae_core.limits import Limits
from vae_core.marks import Marks, mark
from vae_core.runs import Run, State, Status
from vae_core.trash import discarded, restore


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Makes runs that ended so many days ago."""

    def make(days: float, state: State = "finished", owner: str = "me", run: Run | None = None) -> Run:
        run, now = run or runs.create(SMALL, owner), time.time()
        with monkeypatch.context() as patched:
            patched.setattr(time, "time", lambda: now - days * DAY)
            run.write_status(Status(state))
            os.utime(run.folder, 2 * (time.time(),))
        return run

    return make


def listed() -> set[str]:
    return {run.id for run in runs.listed_all()}


def test_runs_that_ended_long_ago_go_to_the_trash_and_can_be_restored(ended: Callable[..., Run]) -> None:
    old = [ended(31, state, owner) for state, owner in (("finished", "me"), ("stopped", "you"), ("failed", "me"))]
    recent = ended(29)
    assert {run.id for run in retire(30)} == {run.id for run in old}
    assert listed() == {recent.id}
    assert {found.id for found in discarded("me")} == {old[0].id, old[2].id}
    assert restore(old[1].id).status().state == "stopped"
    assert retire(30) == []  # neither what is recent nor what was wanted back
    ended(31, run=old[1])
    mark(ended(31, run=recent), Marks(("looked at",)))
    assert [run.id for run in retire(30)] == [old[1].id]


def test_nothing_pinned_shared_in_training_queued_or_damaged_is_thrown_away(ended: Callable[..., Run]) -> None:
    pinned, shared, training, damaged = (ended(400) for _ in range(4))
    mark(pinned, Marks(pinned=True))
    mark(shared, Marks(shared=True))
    training.write_status(Status("running"))
    (damaged.folder / "status.json").write_text("{")
    queued = ended(400, "stopped")
    Dispatcher(LocalLauncher(1)).submit(queued)
    ended(400, "queued", run=queued)
    assert queued.status().state == "queued"
    with training.lock():
        assert retire(1) == []
    assert len(listed()) == 5


def test_without_a_retention_nothing_is_thrown_away(ended: Callable[..., Run]) -> None:
    run = ended(10_000)
    assert retire(0) == []
    tidy(Limits())
    assert listed() == {run.id}


def test_the_trash_is_emptied_after_a_week(ended: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    ended(31)
    limits, now = Limits(retention_days=30), time.time()
    tidy(limits)
    assert len(discarded("me")) == 1
    monkeypatch.setattr(time, "time", lambda: now + 6.9 * DAY)
    tidy(limits)
    assert len(discarded("me")) == 1
    monkeypatch.setattr(time, "time", lambda: now + 7.1 * DAY)
    tidy(limits)
    assert discarded("me") == []


def test_what_an_owner_takes_up_is_what_is_on_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "FRESH", 1e-9)
    assert used_by("me") == 0
    mine, other = runs.create(SMALL, "me"), runs.create(SMALL, "you")
    (other.folder / "large").write_bytes(bytes(5_000))
    checkpoint = mine.folder / "checkpoints" / "000000001"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(bytes(70_000))
    sizes = {
        run.id: sum(path.stat().st_size for path in run.folder.rglob("*") if path.is_file()) for run in (mine, other)
    }
    assert (used_by("me"), used_by("you")) == (sizes[mine.id], sizes[other.id])


def test_the_house_is_kept_while_the_app_runs_by_one_of_several(
    ended: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, runs_folder: Path
) -> None:
    monkeypatch.setattr(housekeeping, "FIRST", 0.001)
    monkeypatch.setattr(housekeeping, "INTERVAL", 0.001)
    runs_folder.mkdir()
    closed, calls, inside = threading.Event(), [], threading.Semaphore()

    def counted(limits: Limits) -> None:
        assert inside.acquire(blocking=False), "two at a time"
        calls.append(limits)
        time.sleep(0.01)
        inside.release()
        if len(calls) == 1:
            raise OSError("the disk is full")

    monkeypatch.setattr(housekeeping, "tidy", counted)
    keepers = [threading.Thread(target=keep_house, args=(Limits(), closed)) for _ in range(3)]
    for keeper in keepers:
        keeper.start()
    wait_until(lambda: len(calls) > 5, 30)
    closed.set()
    for keeper in keepers:
        keeper.join(10)
        assert not keeper.is_alive()
    assert "the disk is full" in caplog.text
    assert "two at a time" not in caplog.text


def test_a_long_run_keeps_its_oldest_checkpoint_a_spread_and_the_newest_two() -> None:
    run = runs.create(SMALL)
    for step in range(1, 40):
        run.write_checkpoint(step, {}, {})
    kept = [int(path.name) for path in run.checkpoints()]
    assert len(kept) == runs.KEPT_CHECKPOINTS
    assert (kept[0], kept[-2:]) == (1, [38, 39])


def test_of_hundreds_of_snapshots_a_spread_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "KEPT_SNAPSHOTS", 10)
    run = runs.create(SMALL)
    for step in range(25):
        run.write_snapshot(step, {})
    kept = run.snapshots()
    assert len(kept) == 10
    assert (kept[0], kept[-2:]) == (0, [23, 24])
