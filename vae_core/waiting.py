"""The queue: which runs wait for a place to train, and which have one. It is names in folders beside the runs.

.queue/waiting/<entry>     since, tries, kind of place, owner, run
.queue/running/<entry>     the same, and in which place, taken up by whom
.queue/alive/<claimer>     locked for as long as whoever takes runs up there lives
.queue/lock                held by whoever changes the queue, for a moment

All that there is to know of an entry is its name, so that nobody reads half of one. Taking a run up is one renaming, at
which one process succeeds, also where several apps share a disk on which locks reach no further than one machine.
"""

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from vae_core import durable, locks

PATIENCE = 5.0
SEPARATOR = "~"


@dataclass(frozen=True)
class Entry:
    """A run in the queue `since` so many nanoseconds after 1970, of an `owner` by `initials`, taken up `tries` times in
    vain. `place` and `claimer` are empty while it waits.
    """

    since: int
    tries: int
    kind: str
    owner: str
    run_id: str
    place: str = ""
    claimer: str = ""

    @property
    def name(self) -> str:
        since, tries, *words = astuple(self)
        return SEPARATOR.join((f"{since:020d}", str(tries), *filter(None, words)))


def _entry(name: str) -> Entry | None:
    """What a name says; None for what is no entry."""
    since, *rest = name.split(SEPARATOR)
    if not since.isdecimal() or len(rest) not in (4, 6) or not all(rest) or not rest[0].isdecimal():
        return None
    return Entry(int(since), int(rest[0]), *rest[1:])


def initials(owner: str) -> str:
    """What the queue calls an owner: the key itself is a secret."""
    return hashlib.blake2s(owner.encode(), digest_size=8).hexdigest()


def fair(waiting: Iterable[Entry], running: Iterable[Entry]) -> list[Entry]:
    """In turn: the oldest run of the owner with the fewest running, and so on, as if each were then taken up."""
    before = Counter(entry.owner for entry in running)
    turns = []
    for entry in sorted(waiting, key=lambda entry: entry.since):
        turns.append((before[entry.owner], entry.since, entry))
        before[entry.owner] += 1
    return [entry for _, _, entry in sorted(turns, key=lambda turn: turn[:2])]


class Queue:
    """The queue of the runs in one folder. Everything is read from the disk at every call; nothing is remembered."""

    def __init__(self, root: Path) -> None:
        self._folder = root / ".queue"
        self._waiting = self._folder / "waiting"
        self._running = self._folder / "running"
        self._alive = self._folder / "alive"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """For whoever looks at the queue in order to change it. Raises BlockingIOError if another hangs in it."""
        for folder in (self._waiting, self._running, self._alive):
            durable.make_folder(folder)
        with ExitStack() as held:
            try:
                held.enter_context(locks.holding(self._folder / "lock", PATIENCE))
            except BlockingIOError:
                raise BlockingIOError(f"Another app has kept the queue for {PATIENCE:.0f} s. Try again.") from None
            yield

    def waiting(self) -> list[Entry]:
        """Oldest first."""
        return _entries(self._waiting)

    def running(self) -> list[Entry]:
        """Taken up: in training, or on the way there."""
        return _entries(self._running)

    def find(self, run_id: str) -> Entry | None:
        return next((entry for entry in (*self.waiting(), *self.running()) if entry.run_id == run_id), None)

    def turn(self, run_id: str) -> int:
        """1 for the run that is next among those that wait for its kind of place; 0 for one that does not wait."""
        waiting = self.waiting()
        kind = next((entry.kind for entry in waiting if entry.run_id == run_id), None)
        turns = fair((entry for entry in waiting if entry.kind == kind), self.running())
        return next((turn for turn, entry in enumerate(turns, 1) if entry.run_id == run_id), 0)

    def add(self, run_id: str, owner: str, kind: str) -> None:
        """Has a run wait. After a power cut too."""
        entry = Entry(time.time_ns(), 0, kind, initials(owner), run_id)
        (self._waiting / entry.name).touch()
        durable.sync(self._waiting)

    def claim(self, entry: Entry, place: str, claimer: str) -> Entry | None:
        """Takes a waiting run up; None if another has, or it waits no longer."""
        taken = replace(entry, place=place, claimer=claimer)
        try:
            os.utime(self._waiting / entry.name)  # `age` counts from now
            (self._waiting / entry.name).rename(self._running / taken.name)
        except FileNotFoundError:
            return None
        return taken

    def age(self, entry: Entry) -> float:
        """Seconds since a run was taken up."""
        try:
            return time.time() - (self._running / entry.name).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def put_back(self, entry: Entry) -> None:
        """A run that was taken up in vain waits again, in its old place."""
        again = replace(entry, tries=entry.tries + 1, place="", claimer="")
        (self._running / entry.name).rename(self._waiting / again.name)

    def forget(self, run_id: str) -> None:
        """A run is in the queue no longer, if it was."""
        while entry := self.find(run_id):
            self.remove(entry)

    def remove(self, entry: Entry) -> None:
        folder = self._running if entry.claimer else self._waiting
        (folder / entry.name).unlink(missing_ok=True)

    @contextmanager
    def attended(self, claimer: str) -> Iterator[None]:
        """While it lasts, all others see that `claimer` lives. Those that died are forgotten."""
        with ExitStack() as presence:
            with self.lock():
                for path in self._alive.iterdir():
                    if not locks.held(path):
                        path.unlink()
                presence.enter_context(locks.holding(self._alive / claimer))
            yield
            (self._alive / claimer).unlink(missing_ok=True)

    def lives(self, claimer: str) -> bool:
        return locks.held(self._alive / claimer)


def _entries(folder: Path) -> list[Entry]:
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    return [entry for entry in map(_entry, names) if entry]
