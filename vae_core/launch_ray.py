"""The other place where a run trains: a Ray cluster that sees the same folder of runs.

The app asks the cluster for one thing only: to run the foreman (`vae_core.foreman`) as a job. All else goes by files
(`vae_core.elsewhere`), so that the app needs no Ray and its runs outlive it.
"""

import logging
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import replace

from vae_core import elsewhere, runs
from vae_core.dashboard import Dashboard, NoCluster
from vae_core.launch import ENVIRONMENT
from vae_core.locks import held
from vae_core.runs import RUNS_VARIABLE, DamagedRun, Run, State

ROUND_SECONDS = 5.0
LOOK_SECONDS = 0.2
SUBMIT_SECONDS = 30.0
START_SECONDS = 120.0

COMMAND = "python -c 'from vae_core.foreman import main; main()'"
"""Not `-m`: of a module that is the program, Ray would send the source along with every run."""

log = logging.getLogger(__name__)

INSTEAD = "Nothing is lost: train it on this machine, or there later."


def settle(run: Run, state: State, reason: str = "") -> None:
    """Ends the wait of a run; one that is being trained is left alone."""
    if run.locked():
        return
    with suppress(BlockingIOError), run.lock():
        status = run.recorded_status()
        if status.active:
            run.write_status(replace(status, state=state, reason=reason))
        elsewhere.take_back(run.folder)


def tidy(run: Run) -> None:
    """Obeys a request to stop, and notices the end of a run, where no worker does it."""
    try:
        if not run.recorded_status().active:
            elsewhere.take_back(run.folder)
        elif run.requested("stop"):
            settle(run, "stopped")
    except DamagedRun:
        elsewhere.take_back(run.folder)


class RayLauncher:
    """Hands runs over to the cluster. A thread of its own finds out whether somebody there takes them."""

    kind = "ray"
    name = "ray"

    def __init__(self, address: str) -> None:
        """`address` is that of the dashboard. Raises ValueError for what is none."""
        self.dashboard = Dashboard.at(address)
        self._lock = threading.Lock()
        self._fresh: list[Run] = []
        self._thread: threading.Thread | None = None
        self._call = threading.Event()
        self._closed = self._tried = False

    def places(self) -> int:
        return elsewhere.places(runs.runs_root())

    def prepare(self) -> None:
        """Makes sure that the thread looks after the runs."""
        with self._lock:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._work, name="ray", daemon=True)
                self._thread.start()

    def start(self, run: Run) -> None:
        """Returns at once. If the cluster does not answer, or refuses, the run has failed some seconds later."""
        elsewhere.hand_over(run.folder, f"Handing over to the Ray cluster at {self.dashboard.url}.")
        with self._lock:
            self._fresh.append(run)
        self.prepare()
        self._call.set()

    def pending(self, run: Run) -> bool:
        return elsewhere.handed_over(run.folder)

    def close(self) -> None:
        self._closed = True
        self._call.set()

    def _work(self) -> None:
        while not self._closed:
            self._call.clear()
            try:
                self._round()
            except Exception:  # whatever it is, the other runs must be looked after
                log.exception("The runs of the Ray cluster could not be looked after; it is tried again and again.")
            self._call.wait(ROUND_SECONDS)

    def _round(self) -> None:
        """Hires a foreman if there is none and a run waits; the first time in any case, so that one is there."""
        root = runs.runs_root()
        if self._tried and not elsewhere.names(root):
            return
        self._tried = True
        try:
            if not held(elsewhere.foreman_lock(root)):
                self._hire()
            self._take_fresh()
        except NoCluster as error:
            self._refuse(str(error))

    def _take_fresh(self) -> list[Run]:
        """The runs handed over since it was last known whether there is a foreman."""
        with self._lock:
            fresh, self._fresh = self._fresh, []
        return fresh

    def _refuse(self, sentence: str) -> None:
        """Nobody takes the new runs. Those which the cluster had taken wait for its return."""
        for run in self._take_fresh():
            with suppress(DamagedRun, OSError):
                settle(run, "failed", f"{sentence} {INSTEAD}")
        for name in elsewhere.names(runs.runs_root()):
            run = Run(runs.runs_root() / name)
            tidy(run)
            if elsewhere.handed_over(run.folder):
                elsewhere.hand_over(run.folder, f"{sentence} The run waits for it.")

    def _hire(self) -> None:
        """Has the cluster start a foreman and waits until one is at work. Raises NoCluster."""
        self.dashboard.check()
        job = self.dashboard.submit(f"elbo-room-{secrets.token_hex(4)}", COMMAND, ENVIRONMENT, SUBMIT_SECONDS)
        deadline = time.monotonic() + START_SECONDS
        while not held(elsewhere.foreman_lock(runs.runs_root())):
            self.dashboard.check_job(job)
            if time.monotonic() > deadline:
                raise NoCluster(
                    f"The Ray cluster at {self.dashboard.url} does not see the runs of this app: {RUNS_VARIABLE} must "
                    "name the same folder, on shared storage, on every node."
                )
            time.sleep(LOOK_SECONDS)
