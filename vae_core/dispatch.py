"""Who trains when: runs wait in one queue beside the run folders and begin in the places of a launcher, fairly.

Any number of dispatchers, of any number of apps, serve one queue: all they agree on lies there (`vae_core.waiting`).
"""

import logging
import secrets
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from vae_core import elsewhere, runs
from vae_core.config import Config
from vae_core.housekeeping import keep_house, used_by
from vae_core.launch import Launcher
from vae_core.limits import Limits
from vae_core.runs import DamagedRun, Run, Status, runs_root
from vae_core.steering import Settings
from vae_core.waiting import Entry, Queue, fair, initials

TICK = 0.25
GRACE = 30.0
"""Seconds after which a run that a dead app had taken up, but that no worker has begun, waits again."""
TRIES = 3
PAUSE_PATIENCE = 600.0
"""Seconds that a paused run keeps its place while others wait for it."""

CANCELLED = "Cancelled while it waited."
PUT_ASIDE = "It was paused for long while others waited for a place."

log = logging.getLogger(__name__)


class Dispatcher:
    """Gives the places of one launcher to the runs that wait: the owner with the fewest in training is next."""

    def __init__(self, launcher: Launcher, limits: Limits | None = None, grace: float = GRACE) -> None:
        self.launcher, self.limits, self.grace = launcher, limits or Limits(), grace
        self.root = runs_root()
        self.queue = Queue(self.root)
        self._claimer = secrets.token_hex(4)
        self._wake, self._closed = threading.Event(), threading.Event()
        self._trouble = ""
        self._thread = threading.Thread(target=self._attend, name="queue", daemon=True)

    def open(self) -> None:
        """From now on runs that wait are taken up, and the house is kept."""
        self.launcher.prepare()
        self._thread.start()
        threading.Thread(target=keep_house, args=(self.limits, self._closed), name="house", daemon=True).start()

    def close(self) -> None:
        """Runs that train go on; runs that wait are left to other apps, or to the next start of this one."""
        self._closed.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self.launcher.close()

    def admit(self, owner: str, new: int = 1) -> None:
        """For whoever prepares runs: raises LimitReached if the owner may not queue so many more."""
        self._admit(owner, used_by(owner), new)

    def _admit(self, owner: str, disk: int, new: int = 1) -> None:
        waiting = sum(entry.owner == initials(owner) for entry in self.queue.waiting())
        self.limits.admit(new, waiting, disk)

    def at_limit(self, owner: str) -> bool:
        """Whether as many of the owner's runs train as may."""
        return sum(entry.owner == initials(owner) for entry in self.queue.running()) >= self.limits.running

    def create(self, config: Config, owner: str) -> Run:
        """A new run that waits for its turn. Raises LimitReached, ValueError for impossible settings, OSError."""
        disk = used_by(owner)
        with self.queue.lock():
            self._admit(owner, disk)
            run = runs.create(config, owner)
            try:
                self.queue.add(run.id, owner, self.launcher.kind)
            except OSError:
                shutil.rmtree(run.folder)
                raise
        self._wake.set()
        return run

    def submit(self, run: Run, change: Settings | None = None) -> None:
        """Has a run wait for its turn, and change settings before it goes on; one that waits or trains is left alone.

        Raises LimitReached, DamagedRun, OSError.
        """
        disk = used_by(run.owner)
        with self.queue.lock():
            status, entry = run.recorded_status(), self.queue.find(run.id)
            if status.active and (run.locked() or (entry and status.state == "queued")):
                return
            self._admit(run.owner, disk)
            self.queue.forget(run.id)
            elsewhere.take_back(run.folder)
            run.forget_requests()
            if change:
                run.request("change", **change)
            self.queue.add(run.id, run.owner, self.launcher.kind)
            try:
                run.write_status(replace(status, state="queued", reason=""))
            except OSError:
                self.queue.forget(run.id)
                raise
        self._wake.set()

    def stop(self, run: Run) -> None:
        """A run that waits is never begun; one that trains stops after its next step. Raises DamagedRun, OSError."""
        with self.queue.lock():
            if not self._cancelled(run) and run.recorded_status().active:
                run.request("stop")

    def _cancelled(self, run: Run) -> bool:
        status, entry = run.recorded_status(), self.queue.find(run.id)
        if entry is None or status.state != "queued" or run.locked():
            return False
        try:
            with run.lock():  # a worker that is on its way finds the run stopped
                run.write_status(replace(status, state="stopped", reason=CANCELLED))
                elsewhere.take_back(run.folder)
        except BlockingIOError:
            return False
        self.queue.remove(entry)
        return True

    def _attend(self) -> None:
        while not self._closed.is_set():
            with self._undaunted(), self.queue.attended(self._claimer):
                while not self._closed.is_set():
                    with self._undaunted():
                        self.tick()
                        self._trouble = ""
                    self._pause()
            self._pause()

    @contextmanager
    def _undaunted(self) -> Iterator[None]:
        """Whatever goes wrong goes into the log, once: a queue that stands still helps nobody."""
        try:
            yield
        except BlockingIOError:
            pass  # others are busy with the queue: next time
        except Exception as error:
            if self._trouble != str(error):
                log.exception("The queue could not be served; it is tried again and again.")
            self._trouble = str(error)

    def _pause(self) -> None:
        if not self._closed.is_set():
            self._wake.wait(TICK)
            self._wake.clear()

    def tick(self) -> None:
        """One look at the queue: places are given back and taken."""
        pending = {entry.run_id for entry in self._mine() if self.launcher.pending(self._run(entry))}
        with self.queue.lock():
            for entry in self._mine():
                self._settle(entry, entry.run_id in pending)
            taken = [self.queue.claim(entry, self.launcher.name, self._claimer) for entry in self._next()]
        for entry in taken:
            if entry:
                self._start(entry)

    def _mine(self) -> list[Entry]:
        return [entry for entry in self.queue.running() if entry.kind == self.launcher.kind]

    def _run(self, entry: Entry) -> Run:
        return Run(self.root / entry.run_id)

    def _settle(self, entry: Entry, pending: bool) -> None:
        """Gives the place of a run back that has ended, or that nobody will begin."""
        if entry.claimer != self._claimer and self.queue.lives(entry.claimer):
            return
        run = self._run(entry)
        status = _recorded(run)
        if status is None or not status.active:
            self.queue.remove(entry)
        elif pending or run.locked():
            return
        elif status.state != "queued":
            self.queue.remove(entry)
        elif entry.claimer == self._claimer or self.queue.age(entry) > self.grace:
            self._again(entry, run)

    def _again(self, entry: Entry, run: Run) -> None:
        if entry.tries + 1 < TRIES:
            self.queue.put_back(entry)
        else:
            self._give_up(entry, f"{TRIES} workers died before they could begin. {run.log_tail()}")

    def _give_up(self, entry: Entry, reason: str) -> None:
        """A run that nobody can begin has failed; without a status on the disk it is found so a while later."""
        run = self._run(entry)
        self.queue.remove(entry)
        status = _recorded(run)
        if status and status.state == "queued":
            with suppress(OSError):
                run.write_status(replace(status, state="failed", reason=reason.strip()))

    def _next(self) -> Iterator[Entry]:
        """The runs that can begin now."""
        running = self.queue.running()
        here = [entry for entry in self._mine() if entry.place == self.launcher.name]
        waiting = [e for e in self.queue.waiting() if e.kind == self.launcher.kind]
        free = self.launcher.places() - len(here)
        if waiting and free <= 0:
            self._put_aside(here)
        busy = Counter(entry.owner for entry in running)
        for entry in fair(waiting, running):
            if free <= 0:
                return
            if busy[entry.owner] < self.limits.running and self._ready(entry):
                free -= 1
                busy[entry.owner] += 1
                yield entry

    def _ready(self, entry: Entry) -> bool:
        """Whether a run can be taken up. One that is still locked cannot yet; one that does not wait has no entry."""
        run = self._run(entry)
        if run.locked():
            return False
        status = _recorded(run)
        if status and status.state == "queued":
            return True
        self.queue.remove(entry)
        return False

    def _put_aside(self, here: list[Entry]) -> None:
        """Stops runs that are paused for long: others wait for their places."""
        for run in map(self._run, here):
            status = _recorded(run)
            long = status and status.state == "paused" and time.time() - status.updated > PAUSE_PATIENCE
            if long and not run.requested("stop"):
                with suppress(OSError):
                    run.request("stop", reason=PUT_ASIDE)

    def _start(self, entry: Entry) -> None:
        try:
            self.launcher.start(self._run(entry))
        except OSError as error:
            self._give_up(entry, f"Nobody can train it: {error}")


def _recorded(run: Run) -> Status | None:
    """None where the run is gone or damaged."""
    try:
        return run.recorded_status()
    except DamagedRun:
        return None
