"""A process that trains runs as a worker does, each in a fork of itself and with a disk that fails.

`python -m tests.faulty_worker SOCKET` warms up once, so that an attempt takes a fraction of a second. An attempt is a
connection: it is sent an `Order` as a line of JSON, tells its process id in a line, and at its end a line with what
came of it, if it lives to tell.
"""

import functools
import json
import os
import signal
import socket
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tests.failing_disk import FailingDisk, Fault, Kind
from vae_core import datasets, runs, worker
from vae_core.config import Config
from vae_core.runs import Run
from vae_core.training import StepInfo, Trainer
from vae_core.worker import Clock

REPORT, LOOK, CHECKPOINT = 2, 4, 6
"""After so many steps each: by the number of steps, so that a run is the same however often it is interrupted."""


@dataclass(frozen=True)
class Order:
    """A folder in which to train a run, or, with a recipe, to make one; and how the disk fails meanwhile."""

    folder: str
    kind: Kind
    at: int
    seed: int
    recipe: str = ""


def by_steps() -> None:
    advance, steps = Trainer.advance, [0]
    every = {
        worker.REPORT_SECONDS: REPORT,
        worker.SNAPSHOT_SECONDS: LOOK,
        worker.CHECKPOINT_SECONDS: CHECKPOINT,
    }

    def counted(trainer: Trainer, *arguments: Any) -> StepInfo:
        info = advance(trainer, *arguments)
        steps[0] = info.step
        return info

    Trainer.advance = counted
    Clock.passed = lambda clock, now: steps[0] % every[clock.interval] == 0


def obey(order: Order) -> dict[str, Any]:
    folder = Path(order.folder)
    spare = folder.parent / ".spare"
    spare.mkdir(exist_ok=True)
    disk = FailingDisk(Fault(order.kind, order.at, order.seed), str(spare))
    if order.recipe:
        disk.install()
        runs.create_at(folder, Config.from_json(order.recipe))
        Run(folder).request("change", beta=2.0)
    else:
        worker.write_log(Run(folder))
        disk.install()
        worker.train(Run(folder), threads=1)
    return {"struck": disk.struck, "calls": disk.calls}


def attempt(connection: socket.socket) -> None:
    with connection.makefile("rw") as file:
        order = Order(**json.loads(file.readline()))
        print(os.getpid(), file=file, flush=True)
        try:
            told = obey(order)
        except OSError:
            traceback.print_exc()
            told = {"struck": True, "calls": 0}
        print(json.dumps(told), file=file, flush=True)
        file.readline()  # until whoever asked hangs up: a process that may be killed must still be this one


def main() -> None:
    torch.set_num_threads(1)
    datasets.load = functools.lru_cache(datasets.load)
    worker.warm_up()
    datasets.load("digits", "train")
    by_steps()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the attempts
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(sys.argv[1])
        server.listen()
        print("ready", flush=True)
        while True:
            connection, _ = server.accept()
            if os.fork() == 0:
                try:
                    attempt(connection)
                finally:
                    os._exit(0)
            connection.close()


if __name__ == "__main__":
    main()
