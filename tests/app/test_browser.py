"""What only a real browser can show: the whole way from the form to a decoded point."""

import os
import signal

from playwright.sync_api import Browser, Page, expect

from tests.app.conftest import App
from tests.app.driving import eventually, listen, ready, shared_places, turn
from vae_core.defaults import METHODS

PAGES = {
    "/train": "Train your own",
    "/sweep": "Sweep",
    "/runs": "Runs",
    "/explore?model=mnist-2d": "Latent plane",
    "/": "Walk through what a network imagines",
}
"""The title of every page."""


def fill(page: Page, label: str, value: str) -> None:
    field = page.get_by_label(label, exact=True)
    field.fill(value)
    field.press("Enter")


def start_digits(page: Page, app: App, epochs: int) -> None:
    """Trains from the form and waits for the first points of the curves."""
    ready(page, f"{app.url}/train")
    fill(page, "Epochs", str(epochs))
    page.get_by_role("button", name="Train").click()
    page.locator(".curves[data-rows]").wait_for()


def curve(page: Page, name: str = "elbo") -> list[float]:
    """The held-out values of a curve as they are plotted."""
    chart = page.locator(f".chart[data-name={name}]")
    return chart.evaluate("chart => chart.data ? Array.from(chart.data[1].y) : []")


def test_train_digits_to_the_end_and_explore_them(page: Page, app: App) -> None:
    heard = listen(page)
    start_digits(page, app, epochs=60)
    page.get_by_text("Finished at 100%").wait_for()
    run = app.run_of(page)
    eventually(lambda: len(curve(page)) == sum("held_out_elbo" in row for row in run.rows()))
    values = curve(page)
    assert values[-1] > values[0] + 10
    assert page.locator(".pictures.strip canvas").count() == 2
    page.get_by_role("button", name="Explore it").click()
    page.locator(".plane.pickable[data-url]").wait_for()
    assert run.id in page.url
    for path, mark in (("/runs", "[data-testid=stDataFrame] canvas"), ("/sweep", "h1")):
        turn(page, path)
        page.locator(mark).first.wait_for()
    assert len({message.delta.fragment_id for message in heard}) > 6  # four parts of a run, of Explore, and of Runs
    assert shared_places(heard) == []


def test_train_a_helmholtz_machine_by_wake_sleep(page: Page, app: App) -> None:
    ready(page, f"{app.url}/train")
    page.get_by_text("Inference: posterior").click()
    page.get_by_role("combobox", name="Start from").click()
    page.get_by_role("option", name=METHODS["wake_sleep"].label).click()
    expect(page.get_by_role("textbox", name="Stochastic layers below the top")).to_have_value("32")
    fill(page, "Epochs", "20")
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_text("Finished at 100%")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("Wake-sleep follows no single objective")).to_be_visible()
    run = app.run_of(page)
    rows = run.rows()
    assert rows[-1]["held_out_elbo"] > rows[0]["held_out_elbo"] + 5
    answers = [page.request.get(f"{app.url}/api/models/{run.id}/plane?axes=0_{axis}").status for axis in (31, 32)]
    assert answers == [200, 422]  # the first layer has 32 units, the top one 16
    page.get_by_role("button", name="Explore it").click()
    expect(page.get_by_text("Dots are posterior means")).to_be_visible()


def test_reload_and_another_tab_show_the_same_run_going_on(page: Page, app: App) -> None:
    start_digits(page, app, epochs=3000)
    before = len(curve(page))
    page.reload()
    other = page.context.new_page()
    other.goto(page.url)
    for tab in (other, page):
        tab.bring_to_front()
        tab.get_by_role("button", name="Stop").wait_for()
        eventually(lambda tab=tab: len(curve(tab)) > before)
    page.get_by_role("button", name="Stop").click()
    other.bring_to_front()
    other.get_by_text("Stopped at").wait_for()
    assert app.run_of(page).status().state == "stopped"


def test_stop_keeps_the_partial_model(page: Page, app: App) -> None:
    start_digits(page, app, epochs=3000)
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("Stopped at").wait_for(timeout=5_000)
    run = app.run_of(page)
    assert run.checkpoints()[-1].name == f"{run.recorded_status().step:09}"
    page.get_by_role("button", name="Explore it").click()
    page.locator(".plane.pickable[data-url]").wait_for()


def test_a_killed_worker_is_shown_as_failed(page: Page, app: App) -> None:
    start_digits(page, app, epochs=3000)
    run = app.run_of(page)
    holders = [int(p) for p in os.listdir("/proc") if p.isdecimal() and _holds(p, str(run.folder / "lock"))]
    assert len(holders) == 1
    os.kill(holders[0], signal.SIGKILL)
    page.get_by_text("The worker died").wait_for(timeout=5_000)


def _holds(process: str, path: str) -> bool:
    try:
        return any(os.readlink(f"/proc/{process}/fd/{fd}") == path for fd in os.listdir(f"/proc/{process}/fd"))
    except OSError:
        return False


def test_another_browser_sees_a_shared_run_but_cannot_stop_it(page: Page, browser: Browser, app: App) -> None:
    start_digits(page, app, epochs=3000)
    stranger = browser.new_context()
    tab = stranger.new_page()
    ready(tab, page.url)
    tab.locator(".curves[data-rows]").wait_for()
    expect(tab.get_by_role("button", name="Stop")).to_have_count(0)
    turn(tab, "/train")
    tab.get_by_role("button", name="Train", exact=True).wait_for()
    expect(tab.get_by_text("Your runs")).to_have_count(0)
    stranger.close()
    page.bring_to_front()
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("Stopped at").wait_for()


def test_impossible_settings_are_refused_before_a_run_starts(page: Page, app: App) -> None:
    ready(page, f"{app.url}/train")
    fill(page, "Latent dimension", "0")
    page.get_by_text("Latent dimension is 0, but must be from 1 to 64.").wait_for()
    expect(page.get_by_role("button", name="Train")).to_be_disabled()
    fill(page, "Latent dimension", "3")
    expect(page.get_by_role("button", name="Train")).to_be_enabled()


BACKGROUNDS = {"light": "rgb(251, 250, 246)", "dark": "rgb(20, 23, 26)"}


def test_phone_width_has_no_sideways_scrolling(page: Page, app: App) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    ready(page, app.url)
    for path, title in PAGES.items():
        turn(page, path)
        expect(page.locator("h1")).to_have_text(title)
        page.wait_for_load_state("networkidle")
        for scheme, colour in BACKGROUNDS.items():
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            expect(page.locator(".stApp")).to_have_css("background-color", colour)
            widest = page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
            assert widest <= 390, path
