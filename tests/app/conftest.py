"""A real server and a real browser, shared by the tests of the app."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, WebError, sync_playwright
from streamlit.testing.v1 import AppTest

from scripts.serving import BROWSER_ARGUMENTS, PROJECT, chromium, serve
from ui.address import Address
from ui.planes import Opened, flat
from ui.resources import explored, locate
from vae_core import runs
from vae_core.defaults import by_method, recipe
from vae_core.runs import Run
from vae_core.worker import train

OWNER = "tester"


@dataclass(frozen=True)
class App:
    """A running server and the folder in which it keeps its runs."""

    url: str
    runs: Path

    def run_of(self, page: Page) -> Run:
        """The run that a page shows, by the `run` in its address."""
        return Run(self.runs / page.url.split("run=")[1].split("&")[0])


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """`streamlit run app.py` as `make run` starts it, on a free port."""
    runs = tmp_path_factory.mktemp("runs")
    with serve(runs) as url:
        yield App(url, runs)
        for run in runs.glob("2*"):
            Run(run).request("stop")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = chromium()
    if path is None:
        message = "no Chromium on this machine: install the system's package chromium"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=BROWSER_ARGUMENTS)
        yield launched
        launched.close()


HARMLESS = ("inline script", "404 (Not Found)")
"""Streamlit's own: an inline script that our policy refuses, and its search for the server's base path."""


@pytest.fixture(scope="session")
def cached(browser: Browser) -> BrowserContext:
    """A browser that keeps the scripts of the app, as every visitor's does after the first visit."""
    return browser.new_context(viewport={"width": 1280, "height": 1000}, color_scheme="light")


@pytest.fixture
def context(cached: BrowserContext) -> Iterator[BrowserContext]:
    """A browser that knows nothing but scripts: no cookie yet. An error on the console of any page fails the test."""
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(message.text)

    def note_error(error: WebError) -> None:
        errors.append(str(error.error))

    cached.on("console", note)
    cached.on("weberror", note_error)
    yield cached
    cached.clear_cookies()
    for page in cached.pages:
        everything = {"origin": page.evaluate("location.origin"), "storageTypes": "local_storage,indexeddb"}
        cached.new_cdp_session(page).send("Storage.clearDataForOrigin", everything)
        page.close()
    cached.remove_listener("console", note)
    cached.remove_listener("weberror", note_error)
    assert [text for text in errors if not any(part in text for part in HARMLESS)] == []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever opens a page drives a real browser."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)


@pytest.fixture
def page(context: BrowserContext) -> Page:
    opened = context.new_page()
    opened.set_default_timeout(30_000)
    return opened


@pytest.fixture
def explore(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    """Opens the Explore page with what an address says, through Streamlit's own harness."""
    monkeypatch.chdir(PROJECT)
    monkeypatch.setattr("ui.owner.owner", lambda: OWNER)  # there is no browser to send a cookie

    def open_page(**params: str) -> AppTest:
        test = AppTest.from_file(str(PROJECT / "app.py"), default_timeout=60).run()
        test.switch_page("pages/explore/plane.py")
        for name, value in params.items():
            test.query_params[name] = value
        test.run()
        assert not test.exception
        return test

    return open_page


@pytest.fixture
def trained() -> Callable[..., str]:
    """Trains a model briefly, with a method's settings and others of the model; gives the name of its run."""

    def make(dataset: str, method: str = "vae", **settings: Any) -> str:
        config = by_method(recipe(dataset), method)
        model = replace(config.model, **{"widths": (16,), **settings})
        run = runs.create(replace(config, model=model, schedule=replace(config.schedule, epochs=1)), OWNER)
        assert train(run).state == "finished"
        return run.id

    return make


def opened(model: str, **parts: Any) -> Opened:
    """What the Explore page shows at an address."""
    folder, address = locate(model), Address(model, **parts)
    assert folder is not None
    thing = explored(folder, address.data)
    return Opened(folder, thing, flat(thing, address), address)
