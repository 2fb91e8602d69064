"""Real worker processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vae_core import launch, runs
from vae_core.config import Config, ModelConfig, ScheduleConfig
from vae_core.launch import LocalLauncher, alive
from vae_core.nursery import NICENESS
from vae_core.runs import Run, load_model, load_tensors
from vae_core.training import fit, load_trainer

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
def launcher() -> Iterator[LocalLauncher]:
    launcher = LocalLauncher()
    yield launcher
    workers = launcher._workers.values()
    launcher.close()
    for worker in workers:
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)


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
    assert launcher.pending(run)
    os.kill(launcher._workers[run.folder], signal.SIGKILL)
    assert wait_until(lambda: run.status().state == "failed", 10) < 3.0
    assert run.status().reason.startswith("The worker died.")
    wait_until(lambda: not launcher.pending(run), 10)
    assert [int(path.name) for path in run.checkpoints()] == [stopped_at]

    launcher.start(run)
    wait_until(run.locked, PATIENCE)
    wait_for_state(run, "finished")
    steps = [row["step"] for row in run.rows()]
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (1, 1500)
    assert_fully_trained(run)


def test_a_worker_that_fails_says_why_and_the_next_one_waits(launcher: LocalLauncher) -> None:
    run = runs.create(replace(SMALL, schedule=ScheduleConfig("sgd", 1.0, "constant", epochs=3)))
    launcher.start(run)
    assert launcher.pending(run)
    wait_for_state(run, "failed")
    assert run.status().reason.startswith("The objective became nan at step 7 (epoch 0.70)")
    wait_until(lambda: not launcher.pending(run), PATIENCE)
    assert "Diverged" in (run.folder / "worker.log").read_text()
    wait_until(lambda: len(children(launcher)) == 1, PATIENCE)


def test_what_was_handed_over_is_begun_though_the_app_ends_in_an_orderly_way() -> None:
    launcher, run = LocalLauncher(), runs.create(SMALL)
    launcher.start(run)  # a nursery that still imports
    launcher.close()
    wait_for_state(run, "finished")
    assert_fully_trained(run)


def leads_a_session(process: int) -> bool:
    with suppress(ProcessLookupError):
        return os.getsid(process) == process
    return False


def children(launcher: LocalLauncher) -> list[int]:
    """Of its nursery: workers that wait or train. Imports may start other processes for a moment."""
    assert launcher._nursery is not None
    nursery = launcher._nursery.pid
    born = Path(f"/proc/{nursery}/task/{nursery}/children").read_text().split()
    return [process for process in map(int, born) if leads_a_session(process)]


def test_workers_are_born_with_all_they_import() -> None:
    code = (
        "import sys; from vae_core import nursery, worker; nursery.preload(); known = set(sys.modules);"
        "worker.warm_up(); print(*set(sys.modules) - known)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE)
    scraps = ("importlib.", "sklearn.datasets.")  # folders of data, and how they are read
    assert [name for name in done.stdout.split() if not name.startswith(scraps)] == []


@pytest.mark.parametrize("forks", [True, False], ids=["forked", "programs of their own"])
def test_one_nursery_brings_up_many_workers_and_outlives_them(
    forks: bool, launcher: LocalLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a fork is not safe."""
    code = f"from vae_core import nursery; nursery.FORKS = {forks}; nursery.main()"
    monkeypatch.setattr(launch, "NURSERY", [sys.executable, "-c", code])
    launcher.prepare()
    wait_until(lambda: len(children(launcher)) == 1, PATIENCE)
    [spare] = children(launcher)
    os.kill(spare, signal.SIGKILL)
    wait_until(lambda: not alive(spare), PATIENCE)  # another takes its place
    several = [runs.create(replace(SMALL, seed=seed)) for seed in range(3)]
    for run in several:
        launcher.start(run)
    nursery = launcher._nursery
    for run in several:
        wait_for_state(run, "finished")
        assert_fully_trained(run)
    assert launcher._nursery is nursery
    wait_until(lambda: not any(map(launcher.pending, several)), PATIENCE)
    assert {(run.folder / "worker.log").read_text() for run in several} == {""}


def environment_of(pid: int) -> dict[str, str]:
    settings = Path(f"/proc/{pid}/environ").read_text().rstrip("\0").split("\0")
    return dict(setting.split("=", 1) for setting in settings)


def test_the_nursery_is_replaced_stands_apart_and_goes_home(
    launcher: LocalLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "77")
    launcher.prepare()
    dead, run = launcher._nursery, runs.create(SMALL)
    assert dead is not None
    launcher.start(run)
    dead.kill()
    dead.wait()
    assert not launcher.pending(run)  # it was not begun
    launcher.prepare()
    nursery = launcher._nursery
    assert nursery is not None
    assert nursery.pid != dead.pid
    launcher.prepare()
    assert launcher._nursery is nursery
    wait_until(lambda: len(children(launcher)) == 1, PATIENCE)
    [spare] = children(launcher)
    assert os.getsid(nursery.pid) == nursery.pid != os.getsid(0)
    nicer = min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
    assert os.getpriority(os.PRIO_PROCESS, spare) == nicer
    settings = environment_of(spare)
    assert set(launch.ENVIRONMENT) <= set(settings)
    assert settings["GOMP_SPINCOUNT"] == "77"  # what the user sets wins
    launcher.close()
    assert nursery.poll() is not None
    wait_until(lambda: not alive(spare), PATIENCE)
    launcher.prepare()
    assert launcher._nursery is None
