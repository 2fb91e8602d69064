"""Runs that are killed, and whose disk fails, again and again, while somebody watches them all the time."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.faulty_worker import Order
from vae_core.config import Config, ModelConfig, ObjectiveConfig, ScheduleConfig
from vae_core.durable import TROUBLES
from vae_core.launch import PROJECT
from vae_core.runs import DamagedRun, Row, Run, create_at, load_tensors

SEED = 20261121
LANES = 2
POWER_CUTS, KILLS, FULL, SHORT, READ_ONLY = 120, 50, 25, 15, 15
KILL_WITHIN = 0.3
"""Seconds after the begin of an attempt."""
PATIENCE = 120

TINY = Config(
    model=ModelConfig(widths=(8,)), schedule=ScheduleConfig(batch_size=64, epochs=3), device="cpu"
)  # 60 steps
RECIPES = (
    TINY,
    replace(TINY, model=ModelConfig(widths=(8,), latent=4, likelihood="gaussian"), seed=5),
    replace(
        TINY,
        objective=ObjectiveConfig(bound="iwae", draws=3, estimator="doubly_reparameterised"),
        schedule=replace(TINY.schedule, optimiser="sgd"),
    ),
)


class Server:
    """Attempts at training, each in a process of its own."""

    def __init__(self, address: str) -> None:
        self.address = address

    def attempt(self, order: Order, kill_after: float | None = None) -> dict[str, Any] | None:
        """What the process told at its end; None if it was killed or lost its power before."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(self.address)
            file = connection.makefile("rw")
            print(json.dumps(asdict(order)), file=file, flush=True)
            process = int(file.readline())
            if kill_after is not None:
                time.sleep(kill_after)
                os.kill(process, signal.SIGKILL)
            text = file.readline()
            return json.loads(text) if text else None


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        address = f"{folder}/server"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, "-m", "tests.faulty_worker", address]
        with subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield Server(address)
            process.kill()


@dataclass
class Plan:
    """Faults that are still to happen; one that came too late in a run waits for another run."""

    left: list[tuple[str, int]]
    happened: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> tuple[str, int]:
        with self.lock:
            return self.left.pop() if self.left else ("none", 0)

    def settle(self, fault: tuple[str, int], struck: bool) -> None:
        with self.lock:
            if struck:
                self.happened[fault[0]] += 1
            elif fault[0] != "none":
                self.left.insert(0, fault)


def planned(chance: random.Random) -> Plan:
    """Power cuts at every one of the first calls that write, and others at calls by chance."""
    faults = [("power", call) for call in range(1, POWER_CUTS + 1)] + KILLS * [("kill", 0)]
    for kind, count in (("full", FULL), ("once full", SHORT), ("read-only", READ_ONLY)):
        faults += [(kind, chance.randint(1, POWER_CUTS)) for _ in range(count)]
    chance.shuffle(faults)
    return Plan(faults)


class Watcher(threading.Thread):
    """Reads all there is of all runs, all the time, as pages do, and keeps what nobody should have seen."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.runs: list[Run] = []
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            for run in self.runs[-2 * LANES :]:
                try:
                    self._look(run)
                except Exception as error:  # whatever it is, a page would show it
                    self.wrong.append(f"{run.id}: {error!r}")
            time.sleep(0.005)

    def _look(self, run: Run) -> None:
        self.seen["status"] += bool(run.status().state)
        steps = [row["step"] for row in run.rows()]
        assert steps == sorted(steps), steps
        self.seen["rows"] += len(steps)
        self.seen["changes"] += len(run.changes())
        for checkpoint in run.checkpoints()[-2:]:
            self._tensors(checkpoint / "model.safetensors")
            state = self._tensors(checkpoint / "trainer.safetensors")
            assert not state or int(state["step"]) == int(checkpoint.name)
        for step in run.snapshots()[-2:]:
            self._tensors(run.snapshot_path(step))

    def _tensors(self, path: Path) -> dict[str, torch.Tensor]:
        """Nothing if the file is gone by now."""
        try:
            tensors = load_tensors(path)
        except DamagedRun:
            assert not path.exists(), path
            return {}
        self.seen[path.name.removesuffix(".safetensors").lstrip("0123456789") or "snapshot"] += 1
        return tensors


@dataclass
class Lane:
    """Trains one run after the other through all faults, until there is none left."""

    server: Server
    plan: Plan
    watcher: Watcher
    folder: Path
    chance: random.Random

    def drive(self, number: int) -> None:
        for count in range(1000):
            if not self.plan.left:
                return
            config = RECIPES[(count + number) % len(RECIPES)]
            run = create_at(self.folder / f"{number}-{count}", config)
            self.watcher.runs.append(run)
            begin = time.monotonic()
            asked = self.interrupted(run)
            assert [change.settings for change in run.changes()] == asked
            self.compare(run, self.reference(run, config), time.monotonic() - begin)

    def interrupted(self, run: Run) -> list[dict[str, Any]]:
        """Attempts until the run is finished; returns the changes of settings that were asked for."""
        asked: list[dict[str, Any]] = []
        rate = run.config().schedule.learning_rate
        while run.recorded_status().state != "finished":
            if self.chance.random() < 0.15:
                asked.append({"learning_rate": rate * 0.9 ** (len(asked) + 1)})
                run.request("change", **asked[-1])
            kind, at = fault = self.plan.take()
            order = Order(str(run.folder), "none" if kind == "kill" else kind, at, self.chance.randrange(2**32))
            kill_after = self.chance.uniform(0, KILL_WITHIN) if kind == "kill" else None
            told = self.server.attempt(order, kill_after)
            self.plan.settle(fault, told is None or told["struck"])
            assert_explained(run, kind)
        return asked

    def reference(self, run: Run, config: Config) -> Run:
        """The same left alone, with the same changes at the same steps."""
        left_alone = create_at(self.folder / f"{run.id}-alone", config)
        for change in run.changes():
            left_alone.log_change(change)
        assert self.server.attempt(Order(str(left_alone.folder), "none", 0, 0)) is not None
        assert left_alone.status().state == "finished", left_alone.status()
        return left_alone

    @staticmethod
    def compare(run: Run, left_alone: Run, seconds: float) -> None:
        last, same = run.checkpoints()[-1], left_alone.checkpoints()[-1]
        assert last.name == same.name
        for name in ("model.safetensors", "trainer.safetensors"):
            assert_equal(load_tensors(last / name), load_tensors(same / name))
        assert run.snapshots() == left_alone.snapshots()
        for step in run.snapshots():
            assert_equal(load_tensors(run.snapshot_path(step)), load_tensors(left_alone.snapshot_path(step)))
        rows = run.rows()
        steps = [row["step"] for row in rows]
        assert steps == sorted(steps)
        assert len(steps) - len(set(steps)) == steps.count(steps[-1]) - 1 <= 1
        found, expected = timeless(rows), timeless(left_alone.rows())
        assert found.keys() == expected.keys()
        assert [(step, found[step], expected[step]) for step in found if found[step] != expected[step]] == []
        clock = [row["seconds"] for row in rows]
        assert clock[0] > 0
        assert clock == sorted(clock)
        assert clock[-1] < seconds
        assert not list(run.folder.glob("*s/*.draft"))


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


def timeless(rows: list[Row]) -> dict[int, Row]:
    """What the reports of each step say together, but for the time it took."""
    merged: dict[int, Row] = {}
    for row in rows:
        merged[row["step"]] = merged.get(row["step"], {}) | {name: row[name] for name in row if name != "seconds"}
    return merged


def assert_explained(run: Run, kind: str) -> None:
    """What a reader is told of a run whose worker is gone."""
    begin = time.monotonic()
    while run.locked():
        assert time.monotonic() - begin < PATIENCE
    status = run.status()
    assert status.state in ("queued", "failed", "finished")
    if status.state == "failed":
        assert status.reason.startswith(("The worker died.", *TROUBLES.values())), status.reason
    if kind == "read-only" and status.state == "failed":
        assert "died" in status.reason or "read-only" in status.reason


@pytest.mark.timeout(1200)
def test_runs_survive_every_fault_and_end_as_if_left_alone(server: Server, tmp_path: Path) -> None:
    print(f"seed {SEED}")
    plan, watcher = planned(random.Random(SEED)), Watcher()
    total = len(plan.left)
    watcher.start()
    lanes = [Lane(server, plan, watcher, tmp_path, random.Random(SEED + lane)) for lane in range(LANES)]
    try:
        with ThreadPoolExecutor(LANES) as pool:
            list(pool.map(Lane.drive, lanes, range(LANES)))
    finally:
        watcher.over.set()
        watcher.join()
    print(plan.happened, watcher.seen)
    assert watcher.wrong == []
    assert plan.happened.total() == total >= 200
    assert min(watcher.seen[thing] for thing in ("status", "rows", "changes", "model", "trainer", "snapshot")) > 20


@pytest.mark.parametrize("seed", range(3))
def test_a_run_that_is_made_when_the_power_goes_is_whole_or_not_there(
    server: Server, tmp_path: Path, seed: int
) -> None:
    """And so is what is asked of it; at every call that writes."""
    for call in range(1, 1000):
        folder = tmp_path / f"run-{call}"
        told = server.attempt(Order(str(folder), "power", call, seed, recipe=TINY.to_json()))
        run = Run(folder)
        if folder.exists():
            assert (run.config(), run.owner, run.recorded_status().state) == (TINY, "", "queued")
            assert [request.settings for request in run.requests()] in ([], [{"beta": 2.0}])
        if told is not None:
            break
    assert [request.settings for request in run.requests()] == [{"beta": 2.0}]
    assert told == {"struck": False, "calls": call - 1}
    assert call > 20
