"""`make screenshots`: the pictures of the README, and every page in both themes and at phone width.

Starts the app, trains digits, and takes pictures with a real browser into docs/screenshots.
"""

import argparse
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from scripts.serving import BROWSER_ARGUMENTS, PROJECT, chromium, serve

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
TALL = 1500


def settle(page: Page) -> None:
    page.wait_for_load_state("networkidle")
    time.sleep(1.5)


def explore(page: Page, url: str, model: str, places: list[tuple[float, float]]) -> None:
    page.goto(f"{url}/explore?model={model}")
    page.locator(".plane[data-url]").wait_for()
    settle(page)
    box = page.locator("canvas.marks").bounding_box()
    assert box is not None
    for across, down in places:
        page.mouse.click(box["x"] + across * box["width"], box["y"] + down * box["height"])
        settle(page)
    page.mouse.move(2, 2)
    settle(page)


def train(page: Page, url: str) -> None:
    page.goto(f"{url}/train")
    page.get_by_role("button", name="Train").click()
    page.get_by_text("Finished at").wait_for(timeout=180_000)
    settle(page)


def tour(browser: Browser, url: str, folder: Path, size: str, scheme: str, run_page: str | None) -> str:
    """Every page once; returns the address of the run, trained if none is given."""
    width, height = SIZES[size]
    page = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme).new_page()  # type: ignore[arg-type]
    shot = lambda name: page.screenshot(path=str(folder / f"{name}-{size}-{scheme}.png"))  # noqa: E731
    page.goto(url)
    page.locator("h1").wait_for()
    settle(page)
    shot("home")
    page.goto(f"{url}/train")
    page.get_by_role("button", name="Train").wait_for()
    settle(page)
    shot("form")
    explore(page, url, "mnist-2d", [(0.85, 0.2), (0.42, 0.55)])
    page.set_viewport_size({"width": width, "height": height if size == "desktop" else TALL})
    settle(page)
    shot("explore")
    if run_page is None:
        train(page, url)
    else:
        page.goto(run_page)
        page.locator(".plane[data-url]").wait_for()
    page.set_viewport_size({"width": width, "height": 1060 if size == "desktop" else TALL})
    settle(page)
    shot("run")
    return page.url


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=PROJECT / "docs" / "screenshots")
    folder = parser.parse_args().folder
    path = chromium()
    if path is None:
        raise SystemExit("no Chromium on this machine: install the system's package chromium")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as runs, serve(Path(runs)) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=BROWSER_ARGUMENTS)
        run_page = None
        for size in SIZES:
            for scheme in ("light", "dark"):
                run_page = tour(browser, url, folder, size, scheme, run_page)
        browser.close()


if __name__ == "__main__":
    main()
