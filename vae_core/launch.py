"""Where a run trains: in a worker process of this machine, niced, in a session of its own."""

import os
import subprocess
import sys
import threading
from pathlib import Path

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


class LocalLauncher:
    """Starts workers. One spare, with torch already imported, always waits for the next run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed = False
        self._spare: subprocess.Popen[bytes] | None = None
        self._workers: list[subprocess.Popen[bytes]] = []

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
        self._workers = [worker for worker in self._workers if worker.poll() is None]
        if self._spare is None or self._spare.poll() is not None:
            self._spare = self._spawn()
        return self._spare

    def start(self, run: Run) -> None:
        """Hands the run to the spare worker and warms up the next one. The worker outlives this process."""
        with self._lock:
            worker = self._prepare()
            self._spare = None
            assert worker.stdin is not None
            worker.stdin.write(f"{run.folder.resolve()}\n".encode())
            worker.stdin.close()
            self._workers.append(worker)
        # the next spare must not compete with the first seconds of this run
        later = threading.Timer(SPARE_DELAY, self.prepare)
        later.daemon = True
        later.start()

    def close(self) -> None:
        """Sends the spare home; workers that train go on."""
        with self._lock:
            self._closed = True
            if self._spare is not None and self._spare.stdin is not None:
                self._spare.stdin.close()
                self._spare.wait()
                self._spare = None
