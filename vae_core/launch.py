"""Where a run trains: in a worker process of this machine, niced, in a session of its own.

Who trains when is decided by `vae_core.dispatch`, which asks nothing of a launcher but what `Launcher` says.
"""

import os
import re
import socket
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Protocol, runtime_checkable

from vae_core.limits import CORES
from vae_core.runs import Run

NURSERY = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "vae_core.nursery"]
"""Newer Pythons warn of a fork where there are threads; those there are belong to OpenBLAS, which is made for it."""
SAID_AT_ONCE = 65536
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


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
        return True
    except ProcessLookupError:
        return False


class LocalLauncher:
    """Has workers born in a nursery, where one always waits, warmed up, for the next run."""

    kind = "local"

    def __init__(self, places: int | None = None) -> None:
        """Without `places`, one for every core."""
        self._places = places or CORES
        self._lock = threading.Lock()
        self._closed = False
        self._nursery: subprocess.Popen[bytes] | None = None
        self._handed_over: deque[Path] = deque()
        """Folders of runs of which the nursery has not said yet who trains them."""
        self._workers: dict[Path, int] = {}
        """The living processes, by the folders of their runs."""
        self._said = b""

    @property
    def name(self) -> str:
        return re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:40]

    def places(self) -> int:
        return self._places

    def prepare(self) -> None:
        """Makes sure that there is a nursery."""
        with self._lock:
            if not self._closed:
                self._living()

    def _living(self) -> subprocess.Popen[bytes]:
        """The nursery; a new one if it has died."""
        self._listen()
        if self._nursery is None:
            self._nursery = subprocess.Popen(
                NURSERY,
                cwd=PROJECT,
                env={**ENVIRONMENT, **os.environ},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
            assert self._nursery.stdout is not None
            os.set_blocking(self._nursery.stdout.fileno(), False)
        return self._nursery

    def _listen(self) -> None:
        """Who trains what by now. What a nursery had not begun when it died, nobody will."""
        if self._nursery is None or self._nursery.poll() is not None:
            self._forget()
            return
        assert self._nursery.stdout is not None
        *processes, self._said = (self._said + (self._nursery.stdout.read(SAID_AT_ONCE) or b"")).split(b"\n")
        for process in processes:
            self._workers[self._handed_over.popleft()] = int(process)
        self._workers = {folder: process for folder, process in self._workers.items() if alive(process)}

    def _forget(self) -> None:
        if self._nursery is not None:
            self._nursery.communicate()  # closes its pipes
        self._nursery, self._said, self._workers = None, b"", {}
        self._handed_over.clear()

    def start(self, run: Run) -> None:
        """Hands the run to the worker that waits. It outlives this process."""
        with self._lock:
            for _ in range(2):
                nursery = self._living()
                assert nursery.stdin is not None
                try:
                    nursery.stdin.write(f"{run.folder.resolve()}\n".encode())
                    self._handed_over.append(run.folder)
                    return
                except BrokenPipeError:  # it dies at this very moment
                    nursery.wait()
        raise OSError("two nurseries of workers died before they could be told which run it is.")

    def pending(self, run: Run) -> bool:
        with self._lock:
            self._listen()
            return run.folder in self._handed_over or run.folder in self._workers

    def close(self) -> None:
        """Ends the nursery, and with it the worker that waits; workers that train go on, and what was handed over
        is begun."""
        with self._lock:
            self._closed = True
            self._listen()
            if self._nursery and self._handed_over:  # with the end of its input it ends, and nobody waits for that
                threading.Thread(target=self._nursery.communicate, daemon=True).start()
                self._nursery = None
            elif self._nursery:
                self._nursery.kill()
                self._forget()
