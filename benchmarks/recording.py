"""What does a run's folder cost? The share of a run's time that goes into writing reports, checkpoints and snapshots.

Runs of the app's own recipes, in this process, as a worker trains them; every call that writes is timed.
"""

import argparse
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from benchmarks.loop import show
from vae_core import runs
from vae_core.defaults import recipe
from vae_core.runs import Run
from vae_core.worker import train

TARGET = 0.03
WRITES = ("log_row", "write_status", "write_checkpoint", "write_snapshot")


def timed(name: str, spent: Counter[str]) -> Callable[..., None]:
    write: Callable[..., None] = getattr(Run, name)

    def call(*given: Any, **named: Any) -> None:
        begin = time.perf_counter()
        write(*given, **named)
        spent[name] += time.perf_counter() - begin  # type: ignore[assignment]
        spent[f"{name} calls"] += 1

    return call


def measured(dataset: str, seconds: float, spent: Counter[str]) -> dict[str, Any]:
    spent.clear()
    config = recipe(dataset)
    run = runs.create(replace(config, schedule=replace(config.schedule, epochs=10_000)))
    threading.Timer(seconds, run.request, ("stop",)).start()
    status = train(run)
    assert status.state == "stopped", status
    share = sum(spent[name] for name in WRITES) / status.seconds
    parts = {name: {"ms": 1e3 * spent[name], "calls": spent[f"{name} calls"]} for name in WRITES}
    return {
        "seconds": status.seconds,
        "steps": status.step,
        "share": share,
        "target": TARGET,
        "met": share <= TARGET,
    } | parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="that each run trains")
    parser.add_argument("--datasets", nargs="+", default=["digits", "mnist"])
    given = parser.parse_args()
    before, spent = os.getloadavg(), Counter[str]()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ[runs.RUNS_VARIABLE] = scratch
        for name in WRITES:
            setattr(Run, name, timed(name, spent))
        found = {dataset: measured(dataset, given.seconds, spent) for dataset in given.datasets}
    show({"load_before": before, "load_after": os.getloadavg(), **found})


if __name__ == "__main__":
    main()
