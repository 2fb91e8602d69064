"""Two apps on one folder of runs, as behind a load balancer."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from scripts.serving import serve
from tests.app.conftest import App
from tests.app.driving import eventually, ready, turn
from tests.app.test_browser import curve, start_digits


@pytest.fixture(scope="module")
def replica(app: App) -> Iterator[App]:
    """Another server for the runs of the first."""
    with serve(app.runs) as url:
        yield App(url, app.runs)


def test_what_one_app_starts_the_other_shows_and_stops(page: Page, app: App, replica: App) -> None:
    start_digits(page, app, epochs=3000)
    run = app.run_of(page)
    other = page.context.new_page()
    other.set_default_timeout(30_000)
    ready(other, page.url.replace(app.url, replica.url))
    other.get_by_role("button", name="Pause").click()
    page.bring_to_front()
    page.get_by_text("Paused at").wait_for()
    page.get_by_role("button", name="Resume").click()
    other.bring_to_front()
    other.get_by_role("button", name="Pause").wait_for()
    drawn = len(curve(other))
    eventually(lambda: len(curve(other)) > drawn)
    other.get_by_role("button", name="Stop").click()
    page.bring_to_front()
    page.get_by_text("Stopped at").wait_for()
    other.bring_to_front()
    turn(other, "/runs")
    other.locator("[data-testid=stDataFrame] canvas").first.wait_for()
    assert run.recorded_status().state == "stopped"


def test_what_one_app_trains_the_other_explores(page: Page, app: App, replica: App) -> None:
    start_digits(page, replica, epochs=20)
    run = replica.run_of(page)
    eventually(lambda: run.recorded_status().state == "finished", 60)
    ready(page, f"{app.url}/explore?model={run.id}")
    page.locator(".plane.pickable[data-url]").wait_for()
