"""Where a run trains: in a worker process of this machine, niced, in a session of its own.

Who trains when is decided by `vae_core.dispatch`, which asks nothing of a launcher but what `Launcher` says.
"""

import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Protocol, runtime_checkable

from vae_core.limits import CORES
from vae_core.runs import Run

SPARE_DELAY = 4.0
PROJECT = Path(__file__).parent.parent

# Threads that wait must soon sleep: with the default, two runs on two cores are 15 times slower than one. A run that
# has the machine to itself pays 10 to 20 % for it (benchmarks/README.md).
ENVIRONMENT = {"GOMP_SPINCOUNT": "1000"}


def in_worker_environment() -> None:
    """Starts this process again with the settings that a worker gets, which must be there before torch is loaded."""
    if any(os.environ.get(name) is None for name in ENVIRONMENT):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**ENVIRONMENT, **os.environ})


@runtime_checkable
class Launcher(Protocol):
    """A place where runs train. It starts what it is given, at once; it neither queues nor chooses."""

    @property
    def kind(self) -> str:
        """What runs ask for, as "local": a launcher gets runs of its kind only. Lower-case letters."""
        ...

    @property
    def name(self) -> str:
        """Which place it is: launchers of one name share its places. At most 40 letters, digits, dots, hyphens."""
        ...

    def places(self) -> int:
        """How many runs may train here at once, paused ones included."""
        ...

    def prepare(self) -> None:
        """Gets ready, so that the next run begins at once. Called again and again."""
        ...

    def start(self, run: Run) -> None:
        """Has the run, which is queued, trained by a process that outlives this one. Returns at once, without waiting
        for that process. Raises OSError, with a sentence, if nobody can train it.
        """
        ...

    def pending(self, run: Run) -> bool:
        """Whether a run that was started here may still come to life, or back to it, though nobody holds its lock.

        Asked several times a second: to be answered from memory.
        """
        ...

    def close(self) -> None:
        """Lets go of what `prepare` made ready; runs that train go on."""
        ...


class LocalLauncher:
    """Starts workers. One spare, with torch already imported, always waits for the next run."""

    kind = "local"

    def __init__(self, places: int | None = None) -> None:
        """Without `places`, one for every core."""
        self._places = places or CORES
        self._lock = threading.Lock()
        self._closed = False
        self._spare: subprocess.Popen[bytes] | None = None
        self._workers: list[tuple[Run, subprocess.Popen[bytes]]] = []

    @property
    def name(self) -> str:
        return re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:40]

    def places(self) -> int:
        return self._places

    def _spawn(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "vae_core.worker"],
            cwd=PROJECT,
            env={**ENVIRONMENT, **os.environ},
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def prepare(self) -> None:
        """Makes sure that a spare worker waits; reaps the dead."""
        with self._lock:
            if not self._closed:
                self._prepare()

    def _prepare(self) -> subprocess.Popen[bytes]:
        self._workers = [(run, worker) for run, worker in self._workers if worker.poll() is None]
        if self._spare is None or self._spare.poll() is not None:
            self._spare = self._spawn()
        return self._spare

    def start(self, run: Run) -> None:
        """Hands the run to the spare worker and warms up the next one. The worker outlives this process."""
        with self._lock:
            worker = self._hand_over(run)  # which may replace the list
            self._workers.append((run, worker))
        # the next spare must not compete with the first seconds of this run
        later = threading.Timer(SPARE_DELAY, self.prepare)
        later.daemon = True
        later.start()

    def _hand_over(self, run: Run) -> subprocess.Popen[bytes]:
        """To the spare; to another worker if that one dies at this very moment."""
        for _ in range(2):
            worker, self._spare = self._prepare(), None
            assert worker.stdin is not None
            try:
                with worker.stdin as pipe:
                    pipe.write(f"{run.folder.resolve()}\n".encode())
                return worker
            except BrokenPipeError:
                worker.wait()
        raise OSError("two workers died before they could be told which run it is.")

    def pending(self, run: Run) -> bool:
        with self._lock:
            return any(worker.poll() is None for given, worker in self._workers if given.folder == run.folder)

    def close(self) -> None:
        """Ends the spare, which may be warming up and would not hear a word for long; workers that train go on."""
        with self._lock:
            self._closed = True
            if self._spare is not None and self._spare.stdin is not None:
                self._spare.kill()
                self._spare.stdin.close()
                self._spare.wait()
                self._spare = None
