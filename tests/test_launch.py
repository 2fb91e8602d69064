"""Real worker processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vae_core import launch, runs
from vae_core.config import Config, ModelConfig, ScheduleConfig
from vae_core.launch import LocalLauncher
from vae_core.runs import Run, load_model, load_tensors
from vae_core.training import fit, load_trainer
from vae_core.worker import NICENESS

SMALL = Config(model=ModelConfig(widths=(32,)), schedule=ScheduleConfig(epochs=3), device="cpu")
PATIENCE = 120


def lasting(epochs: int) -> Config:
    return replace(SMALL, schedule=ScheduleConfig(epochs=epochs))


def wait_until(holds: Callable[[], bool], seconds: float) -> float:
    """How long it took."""
    begin = time.monotonic()
    while not holds():
        assert time.monotonic() - begin < seconds, "waited in vain"
        time.sleep(0.01)
    return time.monotonic() - begin


def wait_for_state(run: Run, state: str, seconds: float = PATIENCE) -> float:
    def reached() -> bool:
        status = run.status()
        assert status.active or status.state == state, status
        return status.state == state

    return wait_until(reached, seconds)


def wait_for_step(run: Run, step: int) -> None:
    def reached() -> bool:
        status = run.status()
        assert status.active, status
        return status.state == "running" and status.step >= step

    wait_until(reached, PATIENCE)


def assert_fully_trained(run: Run) -> None:
    """Bit for bit what an uninterrupted run gives in this process."""
    trainer = load_trainer(run.config())
    for _ in fit(trainer):
        pass
    saved = load_tensors(run.checkpoints()[-1] / "model.safetensors")
    assert saved.keys() == trainer.model.state_dict().keys()
    assert all(torch.equal(saved[name], value) for name, value in trainer.model.state_dict().items())


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that nobody queued is given up when a worker on a busy machine may still be warming up."""
    monkeypatch.setattr(runs, "QUEUE_PATIENCE", PATIENCE)


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalLauncher]:
    monkeypatch.setattr(launch, "SPARE_DELAY", 3600.0)
    launcher = LocalLauncher()
    yield launcher
    launcher.close()
    for _, worker in launcher._workers:
        worker.kill()
        worker.wait()


def test_a_run_outlives_the_process_that_started_it_and_leaves_all_its_files() -> None:
    """As it does a restarted app."""
    run = runs.create(SMALL)
    code = (
        "import sys; from pathlib import Path; from vae_core import launch, runs;"
        "launch.LocalLauncher().start(runs.Run(Path(sys.argv[1]))); print('started')"
    )
    command = [sys.executable, "-c", code, str(run.folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True, cwd=launch.PROJECT)
    assert (done.stdout, done.stderr) == ("started\n", "")
    wait_for_state(run, "finished")
    rows = run.rows()
    steps = [row["step"] for row in rows]
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (1, 30)
    assert "held_out_elbo" in rows[-1]
    names = {str(path.relative_to(run.folder)) for path in run.folder.rglob("*") if path.is_file()}
    assert {
        "config.json",
        "owner",
        "status.json",
        "metrics.jsonl",
        "lock",
        "worker.log",
        "checkpoints/000000030/model.safetensors",
        "checkpoints/000000030/trainer.safetensors",
        "snapshots/000000030.safetensors",
    } <= names
    assert (run.folder / "worker.log").read_text() == ""
    assert_fully_trained(run)


def test_stopped_killed_and_resumed_is_as_if_left_alone(launcher: LocalLauncher) -> None:
    run = runs.create(lasting(150))
    launcher.start(run)
    wait_for_step(run, 1)
    run.request("stop")
    assert wait_for_state(run, "stopped") < 1.0
    stopped_at = run.status().step
    assert 0 < stopped_at < 1500
    assert [int(path.name) for path in run.checkpoints()] == [stopped_at]
    config, model = load_model(run.folder)
    assert config == run.config()
    assert all(value.isfinite().all() for value in model.state_dict().values())

    wait_until(lambda: not run.locked(), 5)
    run.write_status(replace(run.status(), state="queued"))
    launcher.start(run)
    wait_until(lambda: run.recorded_status().state == "running", PATIENCE)
    wait_for_step(run, stopped_at + 1)
    os.kill(launcher._workers[-1][1].pid, signal.SIGKILL)
    assert wait_until(lambda: run.status().state == "failed", 10) < 3.0
    assert run.status().reason.startswith("The worker died.")
    assert [int(path.name) for path in run.checkpoints()] == [stopped_at]

    launcher.start(run)
    wait_until(run.locked, PATIENCE)
    wait_for_state(run, "finished")
    steps = [row["step"] for row in run.rows()]
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (1, 1500)
    assert_fully_trained(run)


def test_a_worker_that_fails_says_why_and_the_next_one_waits(
    launcher: LocalLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "SPARE_DELAY", 0.01)
    run = runs.create(replace(SMALL, schedule=ScheduleConfig("sgd", 1.0, "constant", epochs=3)))
    launcher.start(run)
    wait_until(lambda: launcher._spare is not None, 10)
    wait_for_state(run, "failed")
    assert run.status().reason.startswith("The objective became nan at step 7 (epoch 0.70)")
    assert "Diverged" in (run.folder / "worker.log").read_text()
    wait_until(lambda: launcher._workers[0][1].poll() is not None, PATIENCE)
    assert launcher._workers[0][1].returncode == 1


def environment_of(pid: int) -> dict[str, str]:
    settings = Path(f"/proc/{pid}/environ").read_text().rstrip("\0").split("\0")
    return dict(setting.split("=", 1) for setting in settings)


def test_the_spare_is_replaced_waits_apart_and_goes_home(
    launcher: LocalLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "77")
    launcher.prepare()
    dead = launcher._spare
    assert dead is not None
    dead.kill()
    dead.communicate()
    launcher.prepare()
    spare = launcher._spare
    assert spare is not None
    assert spare.pid != dead.pid
    launcher.prepare()
    assert launcher._spare is spare
    assert os.getsid(spare.pid) == spare.pid != os.getsid(0)
    nicer = min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
    wait_until(lambda: os.getpriority(os.PRIO_PROCESS, spare.pid) == nicer, PATIENCE)
    assert spare.poll() is None
    settings = environment_of(spare.pid)
    assert set(launch.ENVIRONMENT) <= set(settings)
    assert settings["GOMP_SPINCOUNT"] == "77"  # what the user sets wins
    launcher.close()
    assert spare.poll() is not None
