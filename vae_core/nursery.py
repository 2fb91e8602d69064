"""The process whose children are workers: it has imported all that they need, and forks one in a tenth of a second.

`python -m vae_core.nursery` reads the folders of runs from standard input, a line each, and answers with a line each:
the process that trains it. It computes nothing itself, so that no thread and no CUDA context is there to be forked. One
worker always waits, warmed up, for the next folder. With the end of the input it ends; workers that train go on.
"""

import gc
import os
import signal
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from select import select

from vae_core import worker

FORKS = sys.platform == "linux"
"""Elsewhere system libraries do not survive a fork: there a worker is a program of its own and imports for itself."""
NICENESS = 10
SPARE_DELAY = 2.0
"""Seconds before the next worker warms up, unless it is needed before: it must not compete with the first points of the
last one's run, and with the browser that draws them."""


@dataclass
class Spare:
    """A worker that waits for its run."""

    process: int
    pipe: int

    @classmethod
    def born(cls) -> "Spare":
        reading, writing = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(writing)
            _live(reading)
        os.close(reading)
        return cls(process, writing)

    def take(self, folder: bytes) -> bool:
        """Whether it was still there to be told."""
        try:
            os.write(self.pipe, folder)
            return True
        except BrokenPipeError:
            return False
        finally:
            os.close(self.pipe)


def _live(orders: int) -> None:
    """The life of a worker. What it prints is not among the nursery's answers."""
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(orders, 0)
        os.close(orders)
        os.dup2(2, 1)
        if not FORKS:
            os.execv(sys.executable, [sys.executable, "-m", "vae_core.worker"])
        with open(0, encoding="utf-8") as sys.stdin:
            worker.main()
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def preload() -> None:
    """Imports what workers use, and spares them the walk of the garbage collector through all of it."""
    for name in worker.IMPORTED_LATE:
        import_module(name)
    gc.collect()
    gc.freeze()


def main() -> None:
    os.nice(NICENESS)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # workers are not waited for
    if FORKS:
        preload()
    with open(0, "rb", buffering=0) as orders:  # what lies in a buffer would be forked too
        spare = Spare.born()
        while folder := orders.readline():
            while not spare.take(folder):
                spare = Spare.born()
            with suppress(BrokenPipeError):  # an app that is gone already
                os.write(1, b"%d\n" % spare.process)
            select([orders], [], [], SPARE_DELAY)
            spare = Spare.born()
    os._exit(0)  # the libraries' own ends take seconds


if __name__ == "__main__":
    main()
