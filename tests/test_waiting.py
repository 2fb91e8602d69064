"""The queue as names in folders: turns, claims by many processes at once, and what a crash leaves."""

import itertools
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from vae_core import locks, waiting
from vae_core.waiting import Entry, Queue, fair, initials

PROJECT = Path(__file__).parents[1]


def entry(since: int, owner: str, run_id: str = "", kind: str = "local") -> Entry:
    return Entry(since, 0, kind, initials(owner), run_id or f"{owner}{since}")


def one_by_one(waiting: Sequence[Entry], running: Sequence[Entry]) -> list[Entry]:
    """What `fair` says in one go: each time the oldest of the owner with the fewest running."""
    left, busy, order = list(waiting), Counter(e.owner for e in running), []
    while left:
        first = min(left, key=lambda e: (busy[e.owner], e.since))
        left.remove(first)
        busy[first.owner] += 1
        order.append(first)
    return order


def test_turns_are_those_of_choosing_one_by_one() -> None:
    draw = random.Random(1)
    for _ in range(200):
        owners = "abcd"[: draw.randint(1, 4)]
        times = draw.sample(range(1_000), draw.randint(0, 20))
        waits = [entry(since, draw.choice(owners)) for since in times]
        runs = [entry(0, draw.choice(owners)) for _ in range(draw.randint(0, 5))]
        assert fair(waits, runs) == one_by_one(waits, runs)


def test_whoever_asked_for_one_run_is_not_behind_forty_of_somebody_else(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    with queue.lock():
        for number in range(40):
            queue.add(f"many{number}", "greedy", "local")
        queue.add("one", "modest", "local")
        queue.add("elsewhere", "modest", "ray")
    assert [queue.turn(name) for name in ("many0", "one", "many1", "many39", "elsewhere")] == [1, 2, 3, 41, 1]
    with queue.lock():
        assert queue.claim(queue.waiting()[0], "here", "somebody")
    assert [queue.turn(name) for name in ("many0", "one", "many1")] == [0, 1, 2]
    assert queue.turn("nobody") == 0


def test_an_entry_says_all_in_its_name_and_keeps_the_owner_secret(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    with queue.lock():
        queue.add("20260101-000000-digits-2d-0123", "the key of a browser", "local")
    (waits,) = queue.waiting()
    assert (waits.run_id, waits.kind, waits.tries) == ("20260101-000000-digits-2d-0123", "local", 0)
    taken = queue.claim(waits, "a.host-1", "c0ffee")
    assert queue.running() == [taken]
    assert queue.waiting() == []
    assert taken is not None
    assert (taken.place, taken.claimer) == ("a.host-1", "c0ffee")
    assert 0 <= queue.age(taken) < 60
    assert not any("key" in str(path) for path in tmp_path.rglob("*"))
    queue.put_back(taken)
    (again,) = queue.waiting()
    assert (again.since, again.tries, again.place, again.claimer) == (waits.since, 1, "", "")
    queue.remove(again)
    queue.remove(again)
    assert queue.find(waits.run_id) is None


def test_what_is_no_entry_is_passed_over(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    assert (queue.waiting(), queue.find("a"), queue.turn("a")) == ([], None, 0)
    with queue.lock():
        for name in ("", "x", "1~2~local~me~run~place", "now~0~local~me~run", "1~x~local~me~run", ".draft"):
            (tmp_path / ".queue" / "waiting" / f"{name}.").touch()
            (tmp_path / ".queue" / "waiting" / f"{name}~").touch()
        queue.add("good", "me", "local")
    assert [found.run_id for found in queue.waiting()] == ["good"]


CLAIMING = """
import sys
from pathlib import Path
from vae_core.waiting import Queue

queue = Queue(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for entry in queue.waiting():
    if queue.claim(entry, "here", sys.argv[2]):
        print(entry.run_id, flush=True)
"""


def process(code: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_of_processes_that_claim_at_once_each_run_has_one_even_without_the_lock(tmp_path: Path) -> None:
    queue, names = Queue(tmp_path), [f"run{number:02d}" for number in range(50)]
    with queue.lock():
        for name in names:
            queue.add(name, "me", "local")
    racers = [process(CLAIMING, str(tmp_path), f"racer{number}") for number in range(4)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    won = [racer.communicate()[0].split() for racer in racers]
    assert sorted(itertools.chain(*won)) == names
    assert {taken.run_id: taken.claimer for taken in queue.running()} == {
        name: f"racer{number}" for number, mine in enumerate(won) for name in mine
    }


ATTENDING = """
import sys, time
from pathlib import Path
from vae_core.waiting import Queue

with Queue(Path(sys.argv[1])).attended("somebody"):
    print("ready", flush=True)
    sys.stdin.readline()
"""


def test_others_see_whether_a_claimer_lives_however_it_dies(tmp_path: Path) -> None:
    queue, alive = Queue(tmp_path), tmp_path / ".queue" / "alive"
    somebody = process(ATTENDING, str(tmp_path))
    assert somebody.stdout is not None
    assert somebody.stdout.readline() == "ready\n"
    assert queue.lives("somebody")
    with queue.attended("another"):
        assert {path.name for path in alive.iterdir()} == {"somebody", "another"}
    somebody.send_signal(signal.SIGKILL)
    somebody.communicate()
    assert not queue.lives("somebody")
    assert not queue.lives("nobody")
    assert {path.name for path in alive.iterdir()} == {"somebody"}
    with queue.attended("another"):
        assert {path.name for path in alive.iterdir()} == {"another"}


def test_a_queue_that_another_keeps_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PATIENCE", 0.05)
    queue = Queue(tmp_path)
    with queue.lock(), pytest.raises(BlockingIOError, match="Another app has kept the queue"), queue.lock():
        pass
    with queue.lock():
        pass


def test_a_lock_is_waited_for_and_looking_at_it_disturbs_nobody(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not locks.held(path)
    begun, free = threading.Event(), threading.Event()

    def keep() -> None:
        with locks.holding(path):
            begun.set()
            free.wait(10)

    keeper = threading.Thread(target=keep)
    keeper.start()
    assert begun.wait(10)
    assert locks.held(path)
    with pytest.raises(BlockingIOError), locks.holding(path, patience=0.0):
        pass
    threading.Timer(0.05, free.set).start()
    with locks.holding(path, patience=10.0):
        keeper.join()
    assert not locks.held(path)
