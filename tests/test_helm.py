"""Runs that are steered while they train: pause, single steps, changes; all as repeatable as runs left alone."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.test_worker import SMALL, assert_same_parameters, queued, strict_rows
from vae_core import worker
from vae_core.runs import Row, Run, Status
from vae_core.steering import Change
from vae_core.training import StepInfo, Trainer, fit, load_trainer
from vae_core.worker import Clock, train

Progress = Callable[[Status, Row], None]
CHANGED = {"learning_rate": 5e-4, "beta": 0.5}


class Killed(BaseException):
    """A process that ends without a word."""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return queued(tmp_path / "run", SMALL)


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report after every step, no checkpoint but those asked for, and no waiting."""
    monkeypatch.setattr(Clock, "passed", lambda clock, now: clock.interval == worker.REPORT_SECONDS)
    monkeypatch.setattr(worker, "PAUSE_SECONDS", 0.001)


def at_step(step: int, act: Callable[[], None]) -> Progress:
    """Acts once, at the report of that step."""
    done = threading.Event()

    def progress(status: Status, row: Row) -> None:
        if status.step == step and not done.is_set():
            done.set()
            act()

    return progress


def trained(*changes: Change) -> Trainer:
    """The same without a worker, and with changes that are known beforehand."""
    trainer = load_trainer(SMALL)
    trainer.steer(*changes)
    for _ in fit(trainer):
        pass
    return trainer


def test_a_paused_run_waits_with_a_checkpoint_and_goes_on_as_if_nothing_had_been(run: Run) -> None:
    seen: list[tuple[str, int, list[str]]] = []

    def look_and_go_on() -> None:
        while run.recorded_status().state != "paused" or not run.checkpoints():
            pass
        seen.append((run.status().state, run.status().step, [path.name for path in run.checkpoints()]))
        run.request("resume")

    watcher = threading.Thread(target=look_and_go_on)
    watcher.start()
    assert train(run, at_step(10, lambda: run.request("pause"))).state == "finished"
    watcher.join()
    assert seen == [("paused", 10, ["000000010"])]
    assert_same_parameters(run, trained())


def test_what_a_pause_has_looked_at_is_not_looked_at_again_when_the_run_is_stopped(run: Run) -> None:
    def stop() -> None:
        while run.recorded_status().state != "paused" or not run.checkpoints():
            pass
        run.request("stop")

    watcher = threading.Thread(target=stop)
    watcher.start()
    assert train(run, at_step(10, lambda: run.request("pause"))).state == "stopped"
    watcher.join()
    looks = [row["step"] for row in strict_rows(run) if "held_out_elbo" in row]
    assert looks.count(10) == 1
    assert looks[-1] == 10
    assert [path.name for path in run.checkpoints()] == ["000000010"]


def test_the_clock_counts_training_and_no_pause(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    now, advance = [0.0], Trainer.advance

    def one_second(trainer: Trainer, *arguments: Any) -> StepInfo:
        now[0] += 1
        return advance(trainer, *arguments)

    def wait(seconds: float) -> None:
        now[0] += 100
        run.request("resume")

    monkeypatch.setattr(Trainer, "advance", one_second)
    monkeypatch.setattr(Clock, "passed", lambda clock, now: False)
    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=wait))
    run.request("step")
    assert train(run).seconds == 40
    assert {row["step"]: row["seconds"] for row in strict_rows(run)} == {1: 1, 40: 40}


def test_single_steps_say_every_number_and_change_none(run: Run) -> None:
    steps: list[int] = []
    kept: list[str] = []

    def step_and_go_on() -> None:
        while run.recorded_status().state != "paused":  # both at once would be one request for a single step
            pass
        for expected in (11, 12, 13):
            run.request("step")
            while (run.trace() or {}).get("step") != expected or run.recorded_status().state != "paused":
                pass
            steps.append(run.status().step)
        kept.extend(path.name for path in run.checkpoints())
        run.request("resume")

    watcher = threading.Thread(target=step_and_go_on)
    assert train(run, at_step(10, lambda: (run.request("pause"), watcher.start()))).state == "finished"
    watcher.join()
    assert steps == [11, 12, 13]
    assert kept == ["000000010"]  # a checkpoint a pause, not a step
    trace = run.trace()
    assert trace is not None
    mean, scale, noise, z = (torch.tensor(trace[name]) for name in ("mean", "scale", "noise", "z"))
    torch.testing.assert_close(mean + scale * noise, z)
    log_q = torch.distributions.Normal(mean, scale).log_prob(z).sum().item()
    log_prior = torch.distributions.Normal(0, 1).log_prob(z).sum().item()
    log_lik = torch.distributions.Bernoulli(torch.tensor(trace["decoded"])).log_prob(torch.tensor(trace["x"])).sum()
    assert [trace[name] for name in ("log_q", "log_prior", "log_lik")] == pytest.approx(
        [log_q, log_prior, log_lik.item()], rel=1e-4
    )
    assert set(trace["gradients"]) == {"encoder", "decoder"}
    assert min(trace["gradients"].values()) > 0
    assert_same_parameters(run, trained())


def test_every_pause_has_a_checkpoint(run: Run) -> None:
    """A single step from full speed is a pause too; so is one after a resume."""
    kept: list[list[str]] = []

    def drive() -> None:
        for step in (11, 16):
            while run.recorded_status().state != "paused" or f"{step:09d}" not in {p.name for p in run.checkpoints()}:
                pass
            kept.append([path.name for path in run.checkpoints()])
            run.request("resume")

    def at_every(status: Status, row: Row) -> None:
        if status.state == "running" and status.step in (10, 15):
            run.request("step")

    watcher = threading.Thread(target=drive)
    watcher.start()
    assert train(run, at_every).state == "finished"
    watcher.join()
    assert kept == [["000000011"], ["000000011", "000000016"]]


def test_a_slow_run_writes_every_step_down(run: Run) -> None:
    run.request("pace", seconds=0.001)
    assert train(run).state == "finished"
    trace = run.trace()
    assert trace is not None
    assert trace["step"] == 40
    assert run.recorded_status().pace == 0.001
    assert_same_parameters(run, trained())


def test_settings_change_at_a_step_that_is_remembered(run: Run) -> None:
    train(run, at_step(10, lambda: run.request("change", **CHANGED)))
    assert run.changes() == [Change(10, CHANGED)]
    marked = [row for row in strict_rows(run) if "changed" in row]
    assert [(row["step"], row["changed"]) for row in marked] == [(11, CHANGED)]
    assert marked[0]["beta"] == 0.5
    assert_same_parameters(run, trained(Change(10, CHANGED)))
    assert run.requests() == []


def test_killed_after_a_change_and_resumed_equals_uninterrupted(run: Run) -> None:
    def killing(status: Status, row: Row) -> None:
        if status.step == 5:
            run.request("stop")
        if status.step == 20:
            run.request("change", **CHANGED)
        if status.step == 30:
            raise Killed

    assert train(run, killing).state == "stopped"
    with pytest.raises(Killed):
        train(run, killing)
    assert run.changes() == [Change(20, CHANGED)]
    assert train(run).state == "finished"
    assert run.changes() == [Change(20, CHANGED)]
    assert_same_parameters(run, trained(Change(20, CHANGED)))


def test_changes_are_made_once_though_a_worker_died_before_it_could_drop_the_requests(run: Run) -> None:
    for beta in (0.5, 2.0):
        run.request("change", beta=beta)
    made = [Change(0, request.settings, request.path.name) for request in run.requests()]
    for change in made:
        run.log_change(change)
    assert train(run).state == "finished"
    assert run.changes() == made
    assert run.requests() == []
    assert_same_parameters(run, trained(*made))


def test_a_finished_run_goes_on_for_more_epochs(run: Run) -> None:
    assert train(run).step == 40
    run.request("change", epochs=6)
    status = train(run)
    assert (status.state, status.step, status.total_steps) == ("finished", 60, 60)
    rates = [row["learning_rate"] for row in strict_rows(run) if row["step"] > 40]
    assert max(rates) == pytest.approx(SMALL.schedule.learning_rate, rel=0.01)  # a learning-rate cycle of its own
    assert_same_parameters(run, trained(Change(40, {"epochs": 6})))


def test_a_change_that_does_not_fit_is_left_alone(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run.request("change", beta=-1.0)
    run.request("change", seed=3)
    assert train(run).state == "finished"
    assert run.changes() == []
    assert capsys.readouterr().out.count("refused to change") == 2
    assert_same_parameters(run, trained())


def test_requests_are_taken_in_their_order_and_nonsense_is_dropped(run: Run) -> None:
    run.request("pause")
    (run.folder / "requests" / "00000000000000000001-x.json").write_text("{")
    run.request("change", beta=2.0)
    run.request("resume")
    assert [request.kind for request in run.requests()] == ["pause", "change", "resume"]
    run.forget_requests()
    assert [request.kind for request in run.requests()] == ["change"]
