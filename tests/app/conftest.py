"""A real server and a real browser, shared by the tests of the app."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from vae_core.runs import Run

PROJECT = Path(__file__).parents[2]
QUIET = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@dataclass(frozen=True)
class App:
    """A running server and the folder in which it keeps its runs."""

    url: str
    runs: Path

    def run_of(self, page: Page) -> Run:
        """The run that a page shows, by the `run` in its address."""
        return Run(self.runs / page.url.split("run=")[1].split("&")[0])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_until_healthy(url: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert server.poll() is None, "the server ended while starting"
        try:
            urllib.request.urlopen(f"{url}/_stcore/health", timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server did not become healthy in 30 s")


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """`streamlit run app.py` as `make run` starts it, on a free port."""
    port, runs = _free_port(), tmp_path_factory.mktemp("runs")
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    server = subprocess.Popen(command, cwd=PROJECT, env={**os.environ, "ELBO_ROOM_RUNS": str(runs)})
    try:
        _wait_until_healthy(f"http://127.0.0.1:{port}", server)
        yield App(f"http://127.0.0.1:{port}", runs)
    finally:
        for run in runs.glob("2*"):
            Run(run).request_stop()
        server.terminate()
        server.wait(20)


def _chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = _chromium()
    if path is None:
        message = "no Chromium on this machine: install the system's package chromium"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield chromium
        chromium.close()


HARMLESS = ("inline script", "404 (Not Found)")
"""Streamlit's own: an inline script that our policy refuses, and its search for the server's base path."""


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser of its own: no cookie yet. An error on the console of any page fails the test."""
    errors: list[str] = []
    fresh = browser.new_context(viewport={"width": 1280, "height": 1000}, color_scheme="light")
    fresh.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    fresh.on("weberror", lambda error: errors.append(str(error.error)))
    yield fresh
    fresh.close()
    assert [text for text in errors if not any(part in text for part in HARMLESS)] == []


@pytest.fixture
def page(context: BrowserContext) -> Page:
    opened = context.new_page()
    opened.set_default_timeout(30_000)
    return opened
