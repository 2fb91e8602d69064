"""Forks, trained by the worker itself, beside what a trainer without any folder gives."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.test_helm import Killed, at_step, trained
from tests.test_worker import SMALL, assert_same_parameters, queued, strict_rows
from vae_core import worker
from vae_core.forking import Origin, fork, origin
from vae_core.runs import Row, Run, Status, load_tensors, runs_root
from vae_core.steering import Change
from vae_core.worker import Clock, train

AT, END = 17, 40
BETA = {"beta": 0.5, "learning_rate": 5e-4}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with a checkpoint in the middle, one at its end, and a report of every step."""
    run = queued(tmp_path_factory.mktemp("runs") / "parent", SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Clock, "passed", lambda clock, now: clock.interval == worker.REPORT_SECONDS)
        train(run, at_step(AT, lambda: run.request("stop")))
        train(run)
    assert [int(path.name) for path in run.checkpoints()] == [AT, END]
    return run


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report after every step, and no checkpoint but those asked for."""
    monkeypatch.setattr(Clock, "passed", lambda clock, now: clock.interval == worker.REPORT_SECONDS)


def without_times(rows: list[Row]) -> list[Row]:
    return [{name: value for name, value in row.items() if name not in ("seconds", "forked")} for row in rows]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_fork_without_changes_ends_as_its_parent_bit_for_bit(finished: Run) -> None:
    before = contents(finished.folder)
    child = fork(finished, AT, {"beta": SMALL.objective.beta, "seed": SMALL.seed}, "somebody")
    assert (child.owner, child.status().state, child.config()) == ("somebody", "queued", SMALL)
    assert child.changes() == []
    assert train(child).state == "finished"
    assert_same_parameters(child, trained())
    pairs = (load_tensors(run.checkpoints()[-1] / "model.safetensors") for run in (finished, child))
    assert all(torch.equal(*pair) for pair in zip(*(tensors.values() for tensors in pairs), strict=True))
    own = [row for row in strict_rows(finished) if "held_out_elbo" not in row or row["step"] == END]
    assert without_times(strict_rows(child))[-len(own[AT:]) :] == without_times(own)[AT:]
    assert contents(finished.folder) == before


def test_a_fork_begins_with_the_reports_and_snapshots_until_its_step(finished: Run) -> None:
    child = fork(finished, AT, BETA)
    inherited = [row for row in strict_rows(finished) if row["step"] <= AT]
    assert child.rows()[:-1] == inherited[:-1]
    assert child.rows()[-1] == inherited[-1] | {"forked": {"run": finished.id, "step": AT}, "changed": BETA}
    assert child.snapshots() == [step for step in finished.snapshots() if step <= AT] == [AT]
    assert child.snapshot_path(AT).read_bytes() == finished.snapshot_path(AT).read_bytes()
    assert origin(child) == Origin(finished.id, AT)
    assert origin(finished) is None


def test_other_settings_hold_from_the_fork_on(finished: Run) -> None:
    child = fork(finished, AT, BETA)
    assert child.changes() == [Change(AT, BETA)]
    assert child.present_config().objective.beta == 0.5
    assert train(child).step == END
    assert_same_parameters(child, trained(Change(AT, BETA)))
    marked = [row["step"] for row in strict_rows(child) if "forked" in row or "changed" in row]
    assert marked == [AT]


def test_changes_of_the_parent_are_inherited_until_the_fork(tmp_path: Path) -> None:
    parent = queued(tmp_path / "parent", SMALL)

    def act(status: Status, row: Row) -> None:
        if status.step == 5:
            parent.request("change", beta=2.0)
        if status.step == AT:
            parent.request("stop")

    train(parent, act)
    train(parent, at_step(30, lambda: parent.request("change", beta=9.0)))
    child = fork(parent, AT, {"learning_rate": 1e-4})
    expected = [Change(5, {"beta": 2.0}), Change(AT, {"learning_rate": 1e-4})]
    assert child.changes() == expected
    train(child)
    assert_same_parameters(child, trained(*expected))


def test_a_finished_run_is_forked_with_more_epochs(finished: Run) -> None:
    child = fork(finished, END, {"epochs": 6, "beta": 4.0})
    assert train(child).step == 60
    assert_same_parameters(child, trained(Change(END, {"epochs": 6, "beta": 4.0})))


def test_a_fork_with_another_seed_goes_another_way_and_the_same_every_time(finished: Run) -> None:
    def dying(status: Status, row: Row) -> None:
        if status.step == 30:
            raise Killed

    children = [fork(finished, AT, {"seed": 5}) for _ in range(2)]
    assert children[0].config() == replace(SMALL, seed=5)
    assert children[0].rows()[-1]["changed"] == {"seed": 5}
    with pytest.raises(Killed):
        train(children[1], dying)
    ends = []
    for child in children:
        assert train(child).step == END
        ends.append(load_tensors(child.checkpoints()[-1] / "model.safetensors"))
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    parent = load_tensors(finished.checkpoints()[-1] / "model.safetensors")
    assert not any(torch.equal(ends[0][name], parent[name]) for name in parent)


def test_a_fork_of_a_fork_shows_both(finished: Run) -> None:
    child = fork(finished, AT, BETA)
    train(child, at_step(25, lambda: child.request("stop")))
    grandchild = fork(child, 25, {})
    marks = [row["forked"] for row in strict_rows(grandchild) if "forked" in row]
    assert marks == [{"run": finished.id, "step": AT}, {"run": child.id, "step": 25}]
    train(grandchild)
    assert_same_parameters(grandchild, trained(Change(AT, BETA)))


@pytest.mark.parametrize(
    ("step", "settings", "sentence"),
    [
        (AT, {"latent": 3, "widths": [4]}, "latent, widths cannot change in a fork, whose weights"),
        (AT, {"batch_size": 3}, "these can: beta, draws, epochs, estimator, learning_rate, seed"),
        (AT, {"beta": -1.0}, "β is -1.0"),
        (AT, {"seed": -1}, "Seed is -1"),
        (AT, {"epochs": 1}, "1 epochs end at step 10, but this fork begins at step 17: choose more epochs"),
        (END, {}, "4 epochs end at step 40, but this fork begins at step 40"),
        (18, {}, "no checkpoint of step 18; choose one of these steps: 17, 40"),
    ],
)
def test_what_cannot_be_forked_is_refused(finished: Run, step: int, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        fork(finished, step, settings)
    assert not runs_root().exists()


def test_a_fork_appears_whole_or_not_at_all(finished: Run, tmp_path: Path) -> None:
    broken = Run(tmp_path / "broken")
    shutil.copytree(finished.folder, broken.folder)
    broken.snapshot_path(AT).unlink()
    broken.snapshot_path(AT).mkdir()
    with pytest.raises(IsADirectoryError):
        fork(broken, AT, BETA)
    assert list(runs_root().iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", '{"run": 1}', "\0"])
def test_an_origin_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "parent.json").write_text(text)
    assert origin(Run(tmp_path)) is None
