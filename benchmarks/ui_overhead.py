"""What does watching cost? Training speed of a worker with its page open in browsers, over the same without.

One long MNIST run; none, one and three pages are open in turn, and the steps done in each interval are counted.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from playwright.sync_api import sync_playwright

from benchmarks.loop import show
from scripts.serving import BROWSER_ARGUMENTS, chromium, serve
from vae_core import runs
from vae_core.defaults import recipe
from vae_core.launch import LocalLauncher
from vae_core.runs import Run

PAGES = (0, 1, 3)
INTERVAL, ROUNDS, SETTLE, START_UP = 15.0, 4, 4.0, 20.0


def steps_per_second(status_file: Path) -> float:
    """Steps done during one interval, by the run's own account."""
    first = json.loads(status_file.read_text())
    time.sleep(INTERVAL)
    last = json.loads(status_file.read_text())
    return (last["step"] - first["step"]) / (last["seconds"] - first["seconds"])


@contextmanager
def long_run(scratch: Path) -> Iterator[Run]:
    """A run of the MNIST defaults that goes on until it is no longer needed."""
    os.environ[runs.RUNS_VARIABLE] = str(scratch)
    config, launcher = recipe("mnist"), LocalLauncher()
    run = runs.create(replace(config, schedule=replace(config.schedule, epochs=1000)))
    launcher.start(run)
    try:
        time.sleep(START_UP)
        yield run
    finally:
        run.request("stop")
        while run.status().active:
            time.sleep(0.2)
        launcher.close()


def main() -> None:
    path = chromium()
    if path is None:
        raise SystemExit("no Chromium on this machine: install the system's package chromium")
    speeds: dict[int, list[float]] = {pages: [] for pages in PAGES}
    with (
        tempfile.TemporaryDirectory() as scratch,
        serve(Path(scratch)) as url,
        sync_playwright() as playwright,
        long_run(Path(scratch)) as run,
    ):
        for _ in range(ROUNDS):
            for pages in PAGES:
                browsers = [
                    playwright.chromium.launch(executable_path=path, args=BROWSER_ARGUMENTS) for _ in range(pages)
                ]
                for browser in browsers:
                    page = browser.new_page()
                    page.goto(f"{url}/train?run={run.id}")
                    page.locator(".plane[data-url]").wait_for()
                time.sleep(SETTLE)
                speeds[pages].append(steps_per_second(run.folder / "status.json"))
                for browser in browsers:
                    browser.close()
    typical = {pages: statistics.median(values) for pages, values in speeds.items()}
    show({"steps_per_second": typical, "over_none": {n: typical[n] / typical[0] for n in PAGES}})


if __name__ == "__main__":
    main()
