"""The notes under the curves, and what unfolds there, in a real browser."""

import json

from playwright.sync_api import Page, expect

from tests.app.conftest import App
from tests.app.driving import ready
from tests.test_diagnosis import PLAIN, reports
from vae_core import runs
from vae_core.runs import Status


def test_a_collapsed_run_is_explained_and_shown_dimension_by_dimension(page: Page, app: App) -> None:
    run = runs.create_at(app.runs / "collapsed", PLAIN)
    rows = reports(kl=lambda epoch: [0.5 if epoch < 13 else 0.001 * place for place in (1, 4, 2, 3)])
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run.write_status(Status("finished", step=400, total_steps=400, seconds=40.0))
    page.set_viewport_size({"width": 390, "height": 844})
    ready(page, f"{app.url}/train?run={run.id}")
    expect(page.get_by_text("All 4 dimensions carry less than 0.01 nats each since epoch 13.")).to_be_visible()
    expect(page.locator(".said[role=status]")).to_have_text(
        "Notes on the curves: Posterior collapse; What this ELBO can be compared with."
    )
    page.locator(".curves[data-rows='40']").wait_for()
    for title in ("KL by latent dimension", "Gradient norms"):
        page.get_by_text(title, exact=True).click()
    chart = page.locator(".chart[data-name=dimensions]")
    expect(chart).to_have_attribute("aria-label", "KL of 4 latent dimensions at epoch 40: 4 of them below 0.01 nats.")
    drawn = chart.evaluate("chart => [chart.data[0].customdata.map(row => row.at(-1)), chart.data[1].customdata]")
    assert drawn == [[0.004, 0.003, 0.002, 0.001], ["z₂", "z₄", "z₃", "z₁"]]
    norms = page.locator(".chart[data-name=gradients]").evaluate("c => c.data.map(line => [line.name, line.y.at(-1)])")
    assert norms == [["encoder", 1], ["decoder", 2]]
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 390
