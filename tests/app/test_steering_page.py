"""A run steered in a real browser from its first pause to its stop, replayed, and forked by somebody else."""

import time

from playwright.sync_api import Browser, Page, expect

from tests.app.conftest import App
from tests.app.driving import Instrument, eventually, ready
from tests.app.test_browser import curve, fill, start_digits
from vae_core.forking import Origin, origin
from vae_core.runs import Run

PROMPT = 3.0
"""Seconds within which a worker has obeyed on a busy machine; a tenth of that where it has a core to itself."""
STARTED = 60.0
"""Seconds within which a worker that is just warming up has begun."""
MOMENT = "root => root.querySelector('[data-name=elbo]').nextElementSibling?.style.left ?? ''"


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def honoured(run: Run, state: str, seconds: float = PROMPT) -> None:
    eventually(lambda: run.recorded_status().state == state, seconds)


def marks(page: Page) -> str:
    """What is written at the vertical lines of the curves."""
    said = "chart => (chart.layout?.annotations ?? []).map(({ text }) => text).join()"
    return page.locator(".chart[data-name=elbo]").evaluate(said)


def choose_pace(page: Page, name: str) -> None:
    page.get_by_role("combobox", name="Pace").click()
    page.get_by_role("option", name=name).click()


def test_a_run_is_steered_replayed_and_forked_by_another(page: Page, browser: Browser, app: App) -> None:
    start_digits(page, app, epochs=3000)
    run = app.run_of(page)
    pause_out_of_sight(page, run)
    at = run.recorded_status().step
    press(page, "One step")
    page.get_by_text(f"Step {at + 1:,}, number by number").wait_for()
    page.get_by_text("ELBO of this draw").wait_for()
    press(page, "Change settings")
    fill(page, "β", "-1")
    press(page, "Apply from the next step on")
    expect(page.get_by_text("β is -1")).to_have_count(1)  # said where it was asked for, and there only
    fill(page, "β", "4")
    press(page, "Apply from the next step on")
    eventually(lambda: run.present_config().objective.beta == 4.0)
    page.keyboard.press("Escape")
    choose_pace(page, "1 step a second")
    press(page, "Resume")
    eventually(lambda: run.recorded_status().step > at + 2)
    began, before = time.monotonic(), run.recorded_status().step
    time.sleep(2)
    assert run.recorded_status().step - before <= time.monotonic() - began + 1
    ready(page, page.url)
    pace = page.get_by_role("combobox", name="Pace")
    expect(pace).to_have_value("1 step a second")  # who comes back finds the pace that is kept to
    choose_pace(page, "Full speed")
    eventually(lambda: run.recorded_status().step > before + 50)
    eventually(lambda: page.get_by_text("number by number").count() == 0)
    eventually(lambda: "beta 4" in marks(page))
    eventually(lambda: len(run.snapshots()) > 3)
    press(page, "Stop")
    honoured(run, "stopped")
    scrub(page, run)
    press(page, "Go on")
    honoured(run, "running", STARTED)
    press(page, "Stop")
    honoured(run, "stopped")
    fork_as_stranger(page.url, browser, run, app)


def pause_out_of_sight(page: Page, run: Run) -> None:
    """A curve that nobody sees is left behind while the run trains, and complete for who scrolls to it later."""
    page.set_viewport_size({"width": 1280, "height": 400})
    eventually(lambda: len(curve(page)) > len(curve(page, "kl")) > 0)
    press(page, "Pause")
    honoured(run, "paused")
    eventually(lambda: len(curve(page)) == sum("held_out_elbo" in row for row in run.rows()))
    assert len(curve(page, "kl")) < len(curve(page))
    page.locator(".chart[data-name=kl]").scroll_into_view_if_needed()
    eventually(lambda: len(curve(page, "kl")) == len(curve(page)))
    page.set_viewport_size({"width": 1280, "height": 1000})


def scrub(page: Page, run: Run) -> None:
    """The slider moves plane and curves together, by keyboard and by playing."""
    slider, plane = page.get_by_role("slider", name="Moment of the training"), Instrument(page)
    slider.wait_for()
    page.locator(".plane[data-url]").wait_for()
    last, seen = len(run.snapshots()), plane.ask("Array.from(plane.points.u)")
    slider.focus()
    page.keyboard.press("Home")
    page.locator(".replay output", has_text=f" 1 of {last}").wait_for()
    eventually(lambda: plane.ask("Array.from(plane.points.u)") != seen)
    first = page.locator(".curves").evaluate(MOMENT)
    assert first
    press(page, "Play")
    page.locator(".replay output", has_text=f" {last} of {last}").wait_for()
    assert plane.ask("Array.from(plane.points.u)") == seen
    assert float(page.locator(".curves").evaluate(MOMENT)[:-2]) > float(first[:-2]) + 20


def fork_as_stranger(url: str, browser: Browser, run: Run, app: App) -> None:
    """Who is sent a link can neither go on with the run nor change it, but fork it, and train the fork on."""
    stranger = browser.new_context()
    tab = stranger.new_page()
    ready(tab, url)
    press(tab, "Fork")
    expect(tab.get_by_role("button", name="Go on")).to_have_count(0)
    epochs = int(run.rows()[-1]["epoch"]) + 2
    fill(tab, "β", "1")
    fill(tab, "Epochs in all", str(epochs))
    press(tab, "Fork and train")
    tab.get_by_text("Finished at 100%").wait_for(timeout=1000 * STARTED)
    child = app.run_of(tab)
    assert origin(child) == Origin(run.id, run.recorded_status().step)
    assert child.owner not in ("", run.owner)
    tab.get_by_role("button", name="Train on").click()
    fill(tab, "More epochs", "1")
    tab.get_by_test_id("stPopoverBody").get_by_role("button", name="Train on").click()
    eventually(lambda: child.recorded_status().step == (epochs + 1) * 20, STARTED)
    eventually(lambda: f"forked at step {run.recorded_status().step}" in marks(tab))
    stranger.close()
