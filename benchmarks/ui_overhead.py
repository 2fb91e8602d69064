"""What does watching cost? Training speed of a worker with the Train page open in a browser, over the same without.

One long MNIST run; the page is opened and closed in turn, and the steps done in each interval are counted.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from playwright.sync_api import sync_playwright

PORT, INTERVAL, ROUNDS, SETTLE = 8765, 15.0, 4, 4.0
URL = f"http://127.0.0.1:{PORT}"


def steps_per_second(status_file: Path) -> float:
    """Steps done during one interval, by the run's own account."""
    first = json.loads(status_file.read_text())
    time.sleep(INTERVAL)
    last = json.loads(status_file.read_text())
    return (last["step"] - first["step"]) / (last["seconds"] - first["seconds"])


def main() -> None:
    from vae_core import runs
    from vae_core.defaults import recipe
    from vae_core.launch import LocalLauncher

    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("no Chromium on this machine: install the system's package chromium")
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["ELBO_ROOM_RUNS"] = scratch
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(PORT)]
        server = subprocess.Popen(command, cwd=Path(__file__).parent.parent, stdout=subprocess.DEVNULL)
        launcher = LocalLauncher()
        config = recipe("mnist")
        run = runs.create(replace(config, schedule=replace(config.schedule, epochs=1000)))
        launcher.start(run)
        speeds: dict[str, list[float]] = {"alone": [], "watched": []}
        try:
            time.sleep(20)
            with sync_playwright() as playwright:
                for _ in range(ROUNDS):
                    speeds["alone"].append(steps_per_second(run.folder / "status.json"))
                    browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
                    page = browser.new_page()
                    page.goto(f"{URL}/train?run={run.id}")
                    page.locator(".plane[data-url]").wait_for()
                    time.sleep(SETTLE)
                    speeds["watched"].append(steps_per_second(run.folder / "status.json"))
                    browser.close()
                    time.sleep(SETTLE)
        finally:
            run.request_stop()
            while run.status().active:
                time.sleep(0.2)
            launcher.close()
            server.terminate()
            server.wait()
    typical = {name: statistics.median(values) for name, values in speeds.items()}
    result = {name: round(value, 1) for name, value in typical.items()}
    print(
        json.dumps({"steps_per_second": result, "watched_over_alone": round(typical["watched"] / typical["alone"], 3)})
    )


if __name__ == "__main__":
    main()
