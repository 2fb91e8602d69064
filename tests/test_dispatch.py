"""Who trains when: real folders, locks and processes; a stand-in trains only where it does not matter what."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.test_launch import PATIENCE, SMALL, assert_fully_trained, lasting, wait_for_state, wait_for_step, wait_until
from vae_core import dispatch, launch, runs
from vae_core.dispatch import CANCELLED, PUT_ASIDE, Dispatcher
from vae_core.launch import LocalLauncher
from vae_core.limits import MEGABYTE, LimitReached, Limits
from vae_core.runs import Run, Status
from vae_core.worker import train


class Bench:
    """A place where runs sit in training, locks held, until a test ends them."""

    kind = "local"

    def __init__(self, places: int, name: str = "bench") -> None:
        self._places, self.name = places, name
        self.begun: list[str] = []
        self.late: set[str] = set()
        """Runs that begin only when a test says so."""
        self.deadly: set[str] = set()
        """Runs at which workers die before they begin."""
        self._training: dict[str, ExitStack] = {}

    def places(self) -> int:
        return self._places

    def prepare(self) -> None: ...

    def start(self, run: Run) -> None:
        self.begun.append(run.id)
        if run.id not in self.late | self.deadly:
            self.begin(run)

    def begin(self, run: Run) -> None:
        held = self._training[run.id] = ExitStack()
        held.enter_context(run.lock())
        run.write_status(Status("running"))

    def end(self, run: Run, state: runs.State = "finished") -> None:
        run.write_status(Status(state))
        self._training.pop(run.id).close()

    def die(self, run: Run) -> None:
        self._training.pop(run.id).close()

    def pending(self, run: Run) -> bool:
        return run.id in self.late

    def close(self) -> None: ...


def tree(folder: Path) -> dict[str, bytes]:
    """What is on the disk, but for the files that are there to be locked."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path): path.read_bytes() for path in files}


def test_the_owner_with_the_fewest_in_training_is_next() -> None:
    bench = Bench(2)
    dispatcher = Dispatcher(bench)
    greedy = [dispatcher.create(SMALL, "greedy") for _ in range(5)]
    modest = [dispatcher.create(SMALL, "modest") for _ in range(2)]
    dispatcher.tick()
    assert bench.begun == [greedy[0].id, modest[0].id]
    assert [dispatcher.queue.turn(run.id) for run in (*greedy, *modest)] == [0, 1, 3, 4, 5, 0, 2]
    for ended, next_one in ((greedy[0], greedy[1]), (modest[0], modest[1]), (modest[1], greedy[2])):
        bench.end(ended)
        dispatcher.tick()
        assert bench.begun[-1] == next_one.id
    dispatcher.tick()
    assert len(bench.begun) == 5  # both places are taken
    assert [run.status().state for run in greedy] == ["finished", "running", "running", "queued", "queued"]


def test_beyond_the_running_limit_of_an_owner_runs_wait_and_others_do_not() -> None:
    bench = Bench(3)
    dispatcher = Dispatcher(bench, Limits(running=1))
    mine = [dispatcher.create(SMALL, "me") for _ in range(2)]
    dispatcher.tick()
    assert bench.begun == [mine[0].id]
    assert dispatcher.at_limit("me")
    assert not dispatcher.at_limit("you")
    yours = dispatcher.create(SMALL, "you")
    dispatcher.tick()
    assert bench.begun == [mine[0].id, yours.id]
    bench.end(mine[0])
    dispatcher.tick()
    assert bench.begun == [mine[0].id, yours.id, mine[1].id]


def test_beyond_a_limit_runs_are_refused_and_nothing_is_written(runs_folder: Path) -> None:
    dispatcher = Dispatcher(Bench(1), Limits(queued=2, disk=1))
    for _ in range(2):
        dispatcher.create(SMALL, "me")
    stopped = runs.create(SMALL, "me")
    stopped.request("pause")
    stopped.write_status(Status("stopped", step=7))
    before = tree(runs_folder)
    for refused in (
        lambda: dispatcher.create(SMALL, "me"),
        lambda: dispatcher.submit(stopped, {"epochs": 9}),
        lambda: dispatcher.admit("me"),
    ):
        with pytest.raises(LimitReached, match="2 of your runs wait in the queue, but at most 2 may wait"):
            refused()
    with pytest.raises(LimitReached, match="0 of your runs wait in the queue, and these are 3 more"):
        dispatcher.admit("you", 3)
    assert tree(runs_folder) == before
    other = dispatcher.create(SMALL, "you")
    (other.folder / "large").write_bytes(bytes(2 * MEGABYTE))
    dispatch.used_by("you")
    wait_until(lambda: dispatch.used_by("you") > 2 * MEGABYTE, 10)  # it is added up anew after a while
    before = tree(runs_folder)
    with pytest.raises(LimitReached, match=r"Your runs take 2 MB of disk, but may take at most 1 MB\."):
        dispatcher.create(SMALL, "you")
    assert tree(runs_folder) == before


def test_of_threads_that_queue_at_once_no_more_get_in_than_may() -> None:
    dispatcher, got_in = Dispatcher(Bench(1), Limits(queued=3)), []

    def ask() -> None:
        with suppress(LimitReached):
            got_in.append(dispatcher.create(SMALL, "me").id)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got_in) == 3
    assert sorted(run.id for run in runs.listed("me")) == sorted(got_in)


def test_a_run_is_in_the_queue_once_however_often_it_is_submitted() -> None:
    bench = Bench(1)
    dispatcher = Dispatcher(bench)
    run = runs.create(SMALL, "me")
    for _ in range(3):
        dispatcher.submit(run)
    assert [entry.run_id for entry in dispatcher.queue.waiting()] == [run.id]
    dispatcher.tick()
    dispatcher.submit(run)  # it trains
    dispatcher.tick()
    assert bench.begun == [run.id]
    run.write_status(Status("finished", step=30))
    dispatcher.submit(run, {"epochs": 4})  # its worker is about to go
    dispatcher.tick()
    assert bench.begun == [run.id]
    bench.die(run)
    assert run.status() == replace(run.recorded_status(), state="queued", step=30)
    dispatcher.tick()
    assert bench.begun == [run.id, run.id]
    assert [request.settings for request in run.requests()] == [{"epochs": 4}]


def test_a_run_that_waits_is_queued_for_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(1)
    dispatcher = Dispatcher(bench)
    first, second = (dispatcher.create(SMALL, "me") for _ in range(2))
    dispatcher.tick()
    lost = runs.create(SMALL, "me")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + runs.QUEUE_PATIENCE + 1)
    assert [run.status().state for run in (first, second, lost)] == ["running", "queued", "failed"]
    assert lost.status().reason == "No worker took the run."
    dispatcher.submit(lost)
    assert lost.status().state == "queued"


def test_a_run_that_waits_can_be_cancelled_and_started_after_all() -> None:
    bench = Bench(1)
    dispatcher = Dispatcher(bench)
    first, second = (dispatcher.create(SMALL, "me") for _ in range(2))
    dispatcher.tick()
    dispatcher.stop(second)
    assert (second.status().state, second.status().reason) == ("stopped", CANCELLED)
    assert dispatcher.queue.waiting() == []
    dispatcher.stop(first)
    assert first.requested("stop")
    bench.end(first)
    dispatcher.tick()
    assert bench.begun == [first.id]
    dispatcher.submit(second)
    assert second.status().reason == ""
    dispatcher.tick()
    assert bench.begun == [first.id, second.id]


def test_a_run_that_was_cancelled_on_its_way_to_a_worker_is_not_trained() -> None:
    bench = Bench(1)
    dispatcher = Dispatcher(bench)
    run = dispatcher.create(SMALL, "me")
    bench.late.add(run.id)
    dispatcher.tick()
    dispatcher.tick()
    assert run.status().state == "queued"
    dispatcher.stop(run)
    assert train(run, awaited=True).state == "stopped"
    assert (run.status().state, run.checkpoints()) == ("stopped", [])
    dispatcher.tick()
    assert dispatcher.queue.running() == []
    dispatcher.submit(run)
    assert train(run, awaited=True).state == "finished"
    assert_fully_trained(run)


def test_runs_that_outlive_the_app_keep_their_places() -> None:
    bench = Bench(2)
    dispatcher = Dispatcher(bench)
    first, second, third = (dispatcher.create(SMALL, "me") for _ in range(3))
    dispatcher.tick()
    restarted = Dispatcher(Bench(2))
    restarted.tick()
    assert restarted.launcher.begun == []
    assert [run.status().state for run in (first, second, third)] == ["running", "running", "queued"]
    bench.end(first)
    restarted.tick()
    assert restarted.launcher.begun == [third.id]
    elsewhere = Dispatcher(Bench(1, "another-host"))
    fourth = elsewhere.create(SMALL, "me")
    elsewhere.tick()
    assert elsewhere.launcher.begun == [fourth.id]


def test_a_worker_that_died_gives_its_place_back() -> None:
    bench = Bench(1)
    dispatcher = Dispatcher(bench)
    first, second = (dispatcher.create(SMALL, "me") for _ in range(2))
    dispatcher.tick()
    bench.die(first)
    dispatcher.tick()
    assert bench.begun == [first.id, second.id]
    assert first.status().reason.startswith("The worker died.")


def test_a_run_that_no_worker_lives_to_begin_is_tried_three_times() -> None:
    bench = Bench(1)
    dispatcher = Dispatcher(bench)
    run = dispatcher.create(SMALL, "me")
    (run.folder / "worker.log").write_text("Illegal instruction\n")
    bench.deadly.add(run.id)
    for _ in range(3):
        assert run.status().state == "queued"
        dispatcher.tick()
    dispatcher.tick()
    assert bench.begun == 3 * [run.id]
    assert run.status().state == "failed"
    assert run.status().reason == "3 workers died before they could begin. End of its log: Illegal instruction"
    assert dispatcher.queue.find(run.id) is None


def test_a_launcher_that_cannot_start_a_run_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(1)

    def unable(run: Run) -> None:
        raise OSError("the cluster does not answer.")

    monkeypatch.setattr(bench, "start", unable)
    dispatcher = Dispatcher(bench)
    run = dispatcher.create(SMALL, "me")
    dispatcher.tick()
    assert (run.status().state, run.status().reason) == ("failed", "Nobody can train it: the cluster does not answer.")
    assert dispatcher.queue.find(run.id) is None


def test_runs_go_to_launchers_of_their_kind_only() -> None:
    local, cluster = Bench(1), Bench(1)
    cluster.kind = "ray"
    here, there = Dispatcher(local), Dispatcher(cluster)
    near, far = here.create(SMALL, "me"), there.create(SMALL, "me")
    for _ in range(2):
        here.tick()
        there.tick()
    assert (local.begun, cluster.begun) == ([near.id], [far.id])


def test_entries_of_runs_that_are_gone_or_broken_are_dropped() -> None:
    bench = Bench(1)
    dispatcher = Dispatcher(bench)
    made = [dispatcher.create(SMALL, "me") for _ in range(3)]
    for path in made[0].folder.iterdir():
        path.unlink()
    made[0].folder.rmdir()
    (made[1].folder / "status.json").write_text("{")
    dispatcher.tick()
    assert bench.begun == [made[2].id]
    assert dispatcher.queue.waiting() == []


def test_a_paused_run_makes_room_in_the_end_if_others_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    dispatcher = Dispatcher(LocalLauncher(1))
    run = runs.create(lasting(1000), "me")
    worker = threading.Thread(target=train, args=(run,))
    worker.start()
    wait_for_step(run, 1)
    run.request("pause")
    wait_for_state(run, "paused")
    with dispatcher.queue.lock():
        dispatcher.queue.add(run.id, "me", "local")
        dispatcher.queue.claim(dispatcher.queue.waiting()[0], dispatcher.launcher.name, dispatcher._claimer)
    monkeypatch.setattr(dispatch, "PAUSE_PATIENCE", 0.0)
    dispatcher.tick()
    assert not run.requested("stop")  # nobody waits
    dispatcher.create(SMALL, "you")
    monkeypatch.setattr(dispatch, "PAUSE_PATIENCE", 60.0)
    dispatcher.tick()
    assert not run.requested("stop")
    monkeypatch.setattr(dispatch, "PAUSE_PATIENCE", 0.0)
    dispatcher.tick()
    worker.join(PATIENCE)
    assert (run.status().state, run.status().reason) == ("stopped", PUT_ASIDE)
    assert run.checkpoints()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dispatcher]:
    """One with a thread that looks at the queue by itself only once a minute."""
    monkeypatch.setattr(dispatch, "TICK", 60.0)
    dispatcher = Dispatcher(Bench(2))
    dispatcher.open()
    wait_until(lambda: dispatcher.queue.lives(dispatcher._claimer), 10)
    yield dispatcher
    dispatcher.close()
    assert not dispatcher.queue.lives(dispatcher._claimer)


def test_what_is_submitted_begins_at_once(opened: Dispatcher) -> None:
    run = opened.create(SMALL, "me")
    wait_until(lambda: run.status().state == "running", 10)


def test_what_goes_wrong_does_not_stop_the_queue(
    opened: Dispatcher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(run: Run) -> None:
        raise RuntimeError("a launcher with a mistake")

    with monkeypatch.context() as patched:
        patched.setattr(opened.launcher, "start", broken)
        run = opened.create(SMALL, "me")
        wait_until(lambda: "a launcher with a mistake" in caplog.text, 10)
    opened._wake.set()
    wait_until(lambda: run.status().state == "running", 10)


RACING = """
import os, signal, sys, time
from pathlib import Path
from vae_core import dispatch, runs
from vae_core.dispatch import Dispatcher
from vae_core.limits import Limits

class Quick:
    "Trains a run in no time, and notes it down; dies at the start number `last`."
    kind, name = "local", f"host-{os.getpid()}"
    def __init__(self, note, last):
        self.note, self.last, self.begun = note, last, 0
    def places(self): return 3
    def prepare(self): pass
    def pending(self, run): return False
    def close(self): pass
    def start(self, run):
        self.begun += 1
        if self.begun == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        with self.note.open("a") as note:
            note.write(f"{os.getpid()} {run.id}\\n")
        with run.lock():
            time.sleep(0.02)
            run.write_status(runs.Status("finished"))

dispatch.TICK = 0.01
dispatcher = Dispatcher(Quick(Path(sys.argv[1]), int(sys.argv[2])), Limits(), grace=0.5)
print("ready", flush=True)
sys.stdin.readline()
dispatcher.open()
sys.stdin.readline()
dispatcher.close()
"""


def racer(note: Path, last: int = 0) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", RACING, str(note), str(last)],
        cwd=launch.PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def go(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_apps_on_one_disk_begin_each_run_once_also_when_one_is_killed_between_claim_and_start(tmp_path: Path) -> None:
    """Two race over fifty runs; a third is killed with three runs that it had taken up and not begun."""
    note = tmp_path / "note"
    racers = [racer(note), racer(note), racer(note, last=1)]
    made = [Dispatcher(Bench(1)).create(SMALL, f"owner{number % 3}") for number in range(50)]
    for process in racers:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    go(racers[2])
    assert racers[2].wait(PATIENCE) == -signal.SIGKILL
    taken = Dispatcher(Bench(1)).queue.running()
    assert len(taken) == 3
    assert all(run.status().state == "queued" for run in made)
    go(racers[0])
    go(racers[1])
    wait_until(lambda: not any(run.recorded_status().active for run in made), PATIENCE)
    for process in racers:
        process.communicate("\n" if process.returncode is None else None)
    begun = [line.split() for line in note.read_text().splitlines()]
    assert Counter(run_id for _, run_id in begun) == Counter(run.id for run in made)
    assert {pid for pid, _ in begun} == {str(process.pid) for process in racers[:2]}
    assert {run.status().state for run in made} == {"finished"}


APP = """
import sys
from vae_core.dispatch import Dispatcher
from vae_core.launch import LocalLauncher

dispatcher = Dispatcher(LocalLauncher(1))
dispatcher.open()
print("ready", flush=True)
sys.stdin.readline()
"""


def test_a_killed_app_loses_no_run_and_its_successor_goes_on() -> None:
    """With real workers: one trains when the app dies, one waits."""
    app = subprocess.Popen([sys.executable, "-c", APP], cwd=launch.PROJECT, stdin=subprocess.PIPE)
    making = Dispatcher(Bench(1))
    first = making.create(lasting(150), "me")
    wait_for_step(first, 1)
    second = making.create(SMALL, "me")
    app.send_signal(signal.SIGKILL)
    app.communicate()
    launcher = LocalLauncher(1)
    successor = Dispatcher(launcher)
    successor.open()
    wait_until(lambda: second.status().state != "queued", PATIENCE)
    assert not first.status().active  # the second had to wait for it
    wait_for_state(second, "finished")
    wait_until(lambda: not successor.queue.running(), 10)
    successor.close()
    assert first.status().state == "finished"
    assert_fully_trained(first)


def test_names_of_hosts_are_names_of_places() -> None:
    assert re.fullmatch(r"[A-Za-z0-9.-]{1,40}", LocalLauncher().name)
    assert LocalLauncher().places() == len(os.sched_getaffinity(0))
    assert LocalLauncher(7).places() == 7
