"""How long does one wait on the pages about training? First point, pause and stop, a thousand runs, a hundred watching.

The server is started as `make run` starts it, with a real Chromium before it. `--only` measures some parts: first_point
(with pause and stop), library, watching.
"""

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.latency import within
from benchmarks.loop import Clock, show
from scripts.serving import BROWSER_ARGUMENTS, PROJECT, chromium, serve
from ui.owner import COOKIE
from vae_core import runs
from vae_core.datasets import DATASETS
from vae_core.defaults import recipe
from vae_core.dispatch import Dispatcher
from vae_core.launch import LocalLauncher
from vae_core.runs import Run
from vae_core.worker import train

FIRST_POINT, HONOURED, OPEN = {"digits": 1000.0, "mnist": 2000.0}, 500.0, 1500.0
"""Targets in milliseconds."""
WINDOW = {"width": 1280, "height": 1000}
PATIENCE = 60_000
WARM = 3.0
"""Seconds after a run until the next spare worker is sure to be ready."""
SETTLED = 20.0
LONG, BRIEF = 5_000, 8
"""Epochs of a run that is stopped, and of one that ends."""
DRAWN = """() => new Promise((done) => {
  const drawn = (part) => part.shadowRoot?.querySelector(".curves[data-rows]");
  const look = () => [...document.querySelectorAll("div")].some(drawn) ? done() : setTimeout(look, 20);
  look();
})"""
"""Playwright's own way to wait searches the page anew at every frame, and takes up to half of what is measured here."""
TABLE = """() => new Promise((there) => {
  const look = () => document.querySelector("[data-testid=stDataFrame] canvas") ? there() : setTimeout(look, 20);
  look();
})"""
"""The same for the canvas of a table."""
PAINTED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


@dataclass(frozen=True)
class Stage:
    """A running server with its runs, a browser, and what was asked for."""

    url: str
    runs: Path
    browser: Browser
    given: argparse.Namespace

    @contextmanager
    def page(self, owner: str) -> Iterator[Page]:
        context = self.browser.new_context(viewport=WINDOW, color_scheme="light")  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE)
        context.add_cookies([{"name": COOKIE, "value": owner, "url": self.url}])
        yield context.new_page()
        context.close()


def since(begin: float) -> float:
    return 1e3 * (time.perf_counter() - begin)


def first_point(stage: Stage) -> dict[str, Any]:
    """From the click on Train to the first point of the curve; then from clicks on Pause and Stop until the worker has
    obeyed. The first run of all only warms the server."""
    found: dict[str, Any] = {}
    with stage.page(secrets.token_hex(16)) as page:
        _one_run(stage, page, "digits")
        for dataset, target in FIRST_POINT.items():
            times = [_one_run(stage, page, dataset) for _ in range(stage.given.repeats)]
            first, paused, stopped = zip(*times, strict=True)
            found[dataset] = {
                "first_point": within(first, target),
                "pause": within(paused, HONOURED),
                "stop": within(stopped, HONOURED),
            }
    return found


def _one_run(stage: Stage, page: Page, dataset: str) -> tuple[float, float, float]:
    time.sleep(WARM)
    page.goto(f"{stage.url}/train")
    page.get_by_role("radio", name=DATASETS[dataset].label, exact=True).click()
    time.sleep(1)  # the form is drawn anew
    epochs = page.get_by_label("Epochs", exact=True)
    epochs.fill(str(LONG))
    epochs.press("Enter")
    time.sleep(1)
    begin = time.perf_counter()
    page.get_by_role("button", name="Train", exact=True).click()
    page.evaluate(DRAWN)
    first = since(begin)
    run = Run(stage.runs / page.url.split("run=")[1].split("&")[0])
    time.sleep(2)
    return first, _press(page, "Pause", run, "paused"), _press(page, "Stop", run, "stopped")


def _press(page: Page, name: str, run: Run, state: str) -> float:
    button = page.get_by_role("button", name=name, exact=True)
    button.wait_for()
    begin = time.perf_counter()
    button.click()
    while run.recorded_status().state != state:
        if since(begin) > PATIENCE:
            raise TimeoutError(f"{name} was not obeyed: {run.recorded_status()}")
        time.sleep(0.002)
    return since(begin)


def library(stage: Stage) -> dict[str, Any]:
    """From the request of the Runs page to its painted table of a thousand runs: by a server that has not seen them,
    and again."""
    owner = secrets.token_hex(16)
    _copies(stage.runs, owner, stage.given.runs)
    with stage.page(owner) as page:
        times = [_table(stage, page) for _ in range(stage.given.loads + 1)]
    return {"runs": stage.given.runs, "first": times[0], "again": within(times[1:], OPEN)}


def _copies(folder: Path, owner: str, count: int) -> None:
    """Finished runs, of one that was trained."""
    base = recipe("digits")
    trained = runs.create(replace(base, schedule=replace(base.schedule, epochs=BRIEF)), owner)
    assert train(trained).state == "finished"
    for number in range(count - 1):
        copy = folder / f"{trained.id.rsplit('-', 1)[0]}-{secrets.token_hex(8)}"
        shutil.copytree(trained.folder, copy, copy_function=os.link)
        (copy / "config.json").unlink()  # of its own: what is linked is one file
        (copy / "config.json").write_text(replace(trained.config(), seed=number + 1).to_json(), encoding="utf-8")


def _table(stage: Stage, page: Page) -> float:
    begin = time.perf_counter()
    page.goto(f"{stage.url}/runs", wait_until="commit")
    page.evaluate(TABLE)
    page.evaluate(PAINTED)
    taken = since(begin)
    time.sleep(1)
    return taken


def watching(stage: Stage) -> dict[str, Any]:
    """A hundred who watch long runs, and click; from a process that loads no torch."""
    base, queue = recipe("mnist"), Dispatcher(LocalLauncher())
    config = replace(base, schedule=replace(base.schedule, epochs=LONG))
    watched = [queue.create(config, "") for _ in range(stage.given.watched)]
    time.sleep(SETTLED)
    options = [f"--{name}={getattr(stage.given, name)}" for name in ("clients", "seconds")]
    command = [sys.executable, "-m", "benchmarks.watching_clients", stage.url, *(run.id for run in watched), *options]
    try:
        steps = [run.recorded_status().step for run in watched]
        found = json.loads(subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE).stdout)
        return {**found, "steps": [run.recorded_status().step - at for run, at in zip(watched, steps, strict=True)]}
    finally:
        for run in watched:
            run.request("stop")
        while any(run.status().active for run in watched):
            time.sleep(0.2)


PARTS: dict[str, Callable[[Stage], dict[str, Any]]] = {
    "first_point": first_point,
    "library": library,
    "watching": watching,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--repeats", type=int, default=10, help="runs of each data set")
    parser.add_argument("--loads", type=int, default=12, help="of the Runs page, after the first")
    parser.add_argument("--runs", type=int, default=1000, help="on the Runs page")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--watched", type=int, default=1, help="runs that the clients watch")
    parser.add_argument("--seconds", type=float, default=30.0, help="that the clients watch")
    given = parser.parse_args()
    path = chromium()
    if path is None:
        raise SystemExit("no Chromium on this machine: install the system's package chromium")
    before, clock, found = os.getloadavg(), Clock(), dict[str, Any]()
    with tempfile.TemporaryDirectory() as scratch, serve(Path(scratch)) as url, sync_playwright() as playwright:
        os.environ[runs.RUNS_VARIABLE] = scratch
        browser = playwright.chromium.launch(executable_path=path, args=BROWSER_ARGUMENTS)
        for name in given.only:
            found[name] = PARTS[name](Stage(url, Path(scratch), browser, given))
            clock.say(name)
        browser.close()
    show({"load_before": before, "load_after": os.getloadavg(), **found})


if __name__ == "__main__":
    main()
