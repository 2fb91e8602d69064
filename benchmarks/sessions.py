"""What breaks first when many come? Up to 500 websocket sessions on Explore, clicking, beside a run that trains.

For each number of sessions: how long a click takes, what the server takes of a core, of memory, files and threads, and
how fast the run trains meanwhile. The figures are those of docs/deploy.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.loop import Clock, show
from scripts.serving import PROJECT, serve
from vae_core import runs
from vae_core.defaults import recipe
from vae_core.dispatch import Dispatcher
from vae_core.launch import LocalLauncher
from vae_core.runs import Run

SETTLED, ALONE = 20.0, 20.0
"""Seconds until the run has its pace, and for which that is measured without sessions."""
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Taken:
    """What a process has taken up by now: seconds of a processor, bytes of memory, files and threads."""

    processor: float
    memory: int
    files: int
    threads: int


def taken(process: int) -> Taken:
    folder = Path(f"/proc/{process}")
    stat = (folder / "stat").read_text().rsplit(") ", 1)[1].split()
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    return Taken(
        (int(stat[11]) + int(stat[12])) / TICKS,
        1024 * int(status["VmRSS"].split()[0]),
        len(os.listdir(folder / "fd")),
        int(status["Threads"]),
    )


def own_child() -> int:
    """The server that was started last."""
    return int(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()[-1])


def pace(run: Run, since: tuple[float, int]) -> float:
    """Steps a second."""
    return (run.recorded_status().step - since[1]) / (time.monotonic() - since[0])


def now(run: Run) -> tuple[float, int]:
    return time.monotonic(), run.recorded_status().step


def visited(url: str, server: int, run: Run, clients: int, given: argparse.Namespace) -> dict[str, Any]:
    options = [
        f"--clients={clients}",
        *(f"--{name}={getattr(given, name)}" for name in ("seconds", "every", "arrivals")),
    ]
    command = [sys.executable, "-m", "benchmarks.interaction_clients", url, *options]
    begin, before, most = now(run), taken(server), taken(server)
    share = 0.0
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE) as process:
        while process.poll() is None:
            first = taken(server)
            time.sleep(2.0)
            at = taken(server)
            share = max(share, (at.processor - first.processor) / 2.0)
            most = Taken(at.processor, *(max(getattr(most, n), getattr(at, n)) for n in ("memory", "files", "threads")))
        assert process.stdout is not None
        found = json.loads(process.stdout.read())
    return {
        **{name: found[name] for name in ("opened_ms", "click_ms", "errors", "first_errors")},
        "processor_share": (most.processor - before.processor) / (time.monotonic() - begin[0]),
        "processor_share_most": share,
        "memory_gb": most.memory / 1e9,
        "memory_before_gb": before.memory / 1e9,
        "files": most.files,
        "threads": most.threads,
        "steps_a_second": pace(run, begin),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, nargs="+", default=[30, 100, 200, 500])
    parser.add_argument("--seconds", type=float, default=40.0, help="that they click")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two clicks of a session")
    parser.add_argument("--arrivals", type=float, default=5.0, help="sessions that open the page a second")
    given = parser.parse_args()
    before, clock, found = os.getloadavg(), Clock(), dict[str, Any]()
    config = recipe("mnist")
    with tempfile.TemporaryDirectory() as scratch, serve(Path(scratch)) as url:
        os.environ[runs.RUNS_VARIABLE] = scratch
        server = own_child()
        run = Dispatcher(LocalLauncher()).create(replace(config, schedule=replace(config.schedule, epochs=5_000)), "")
        time.sleep(SETTLED)
        begin = now(run)
        time.sleep(ALONE)
        found["alone"] = {"steps_a_second": pace(run, begin)}
        for clients in given.sessions:
            found[str(clients)] = visited(url, server, run, clients, given)
            clock.say(f"{clients} sessions")
        run.request("stop")
        while run.status().active:
            time.sleep(0.2)
    show({"load_before": before, "every": given.every, **found})


if __name__ == "__main__":
    main()
