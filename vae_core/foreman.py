"""The one job that a Ray cluster runs for Elbo Room: it gives every run that was handed over to a node that has room.

`vae_core.launch_ray` starts it through Ray's interface for jobs. Of several foremen over one folder of runs all but the
first go home. Every node must find this code and the same runs (ELBO_ROOM_RUNS).
"""

import socket
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import ray
from ray.exceptions import RayError

from vae_core import elsewhere, runs
from vae_core.launch_ray import settle, tidy
from vae_core.locks import holding
from vae_core.runs import DamagedRun, Run
from vae_core.worker import train

ROUND_SECONDS = 0.5
RETRIES = 20
"""How many lost nodes a run survives."""

LOCK_PATIENCE = 120.0
"""Seconds until the lock of a lost node's worker is free at the latest: storage gives it 90."""


@contextmanager
def logged(run: Run) -> Iterator[None]:
    """What is printed goes to the run's log."""
    with (
        (run.folder / "worker.log").open("a", encoding="utf-8", buffering=1) as log,
        redirect_stdout(log),
        redirect_stderr(log),
    ):
        yield


def wanted(run: Run) -> bool:
    """Whether it was handed over and not been stopped or finished since."""
    return elsewhere.handed_over(run.folder) and run.recorded_status().active


def train_here(name: str) -> None:
    """Trains a run on this node, from its newest checkpoint on, unless it was taken back in the meantime."""
    run = Run(runs.runs_root() / name)
    deadline = time.monotonic() + LOCK_PATIENCE
    with logged(run):
        while wanted(run):
            print(
                f"{time.strftime('%F %T')} {socket.gethostname()}, Ray node {ray.get_runtime_context().get_node_id()}"
            )
            try:
                train(run, awaited=True)
                return
            except BlockingIOError:  # a node that was lost may live for a little longer
                if time.monotonic() > deadline:
                    raise
            time.sleep(1.0)


remote_train = ray.remote(train_here)


@dataclass
class Foreman:
    """Keeps what Ray does in step with the files of `vae_core.elsewhere`."""

    root: Path
    tasks: dict[str, ray.ObjectRef] = field(default_factory=dict)
    gpus: dict[str, int] = field(default_factory=dict)

    def round(self) -> None:
        self._count_places()
        for name in elsewhere.names(self.root):
            tidy(Run(self.root / name))
        names = elsewhere.names(self.root)
        for name in self.tasks.keys() - set(names):
            self._drop(name)
        for name in self._ended():
            self._conclude(name)
        for name in names:
            if name not in self.tasks:
                self._submit(Run(self.root / name))
        for name in self.tasks:
            self._explain(self.root / name, self.gpus[name])

    def _count_places(self) -> None:
        places = max(1, int(ray.cluster_resources().get("CPU", 0)))
        if places != elsewhere.places(self.root):
            elsewhere.write_places(self.root, places)

    def _drop(self, name: str) -> None:
        """A run that was taken back leaves Ray's queue; a worker that still trains it is about to end."""
        task = self.tasks.pop(name)
        if not Run(self.root / name).locked():
            ray.cancel(task)

    def _submit(self, run: Run) -> None:
        try:
            gpus = 1 if run.config().device == "cuda" else 0
        except DamagedRun as error:
            return settle(run, "failed", str(error))
        options = {"name": f"train {run.id}", "num_cpus": 1, "num_gpus": gpus, "max_retries": RETRIES}
        self.tasks[run.id], self.gpus[run.id] = remote_train.options(**options).remote(run.id), gpus

    def _explain(self, folder: Path, gpus: int) -> None:
        """What a run waits for, in case it waits."""
        sentence = f"Waiting for a free {'GPU' if gpus else 'processor'} of the Ray cluster."
        if gpus and not ray.cluster_resources().get("GPU"):
            sentence = "Waiting for a GPU: no node of the Ray cluster has one at present."
        if elsewhere.waits_for(folder) not in ("", sentence):
            elsewhere.hand_over(folder, sentence)

    def _ended(self) -> list[str]:
        if not self.tasks:
            return []
        done, _ = ray.wait(list(self.tasks.values()), num_returns=len(self.tasks), timeout=0)
        return [name for name, task in self.tasks.items() if task in done]

    def _conclude(self, name: str) -> None:
        """A run whose task has failed is not tried again."""
        try:
            ray.get(self.tasks.pop(name))
        except RayError as error:
            settle(Run(self.root / name), "failed", f"The Ray cluster gave it up: {last_line(error)}")


def last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]


def main() -> None:
    root = runs.runs_root()
    lock = elsewhere.foreman_lock(root)
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with holding(lock):
            work(root)
    except BlockingIOError:
        print("Another foreman is at work.")


def work(root: Path) -> None:
    """Until it is killed."""
    ray.init(log_to_driver=False)
    foreman = Foreman(root)
    while True:
        try:
            foreman.round()
        except (OSError, DamagedRun):  # storage that stumbles must not end what trains
            traceback.print_exc()
        time.sleep(ROUND_SECONDS)
