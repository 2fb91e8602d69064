"""The Sweep page: its form, what it refuses, its charts, and in a real browser a sweep from the form to its end."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from streamlit.testing.v1 import AppTest

from scripts.serving import PROJECT
from tests.app.conftest import App
from ui.sweeps.multiples import HEIGHT, LEFT, TOP, WIDTH, Line, Panel, multiples, standing


def line(run: str, values: list[float], **parts: object) -> Line:
    given = {"seed": 0, "state": "running", "done": 0.25, **parts}
    epochs = np.arange(1, len(values) + 1, dtype=float)
    return Line(run, curve=(epochs, np.array(values)), **given)  # type: ignore[arg-type]


def drawn(*panels: Panel) -> ET.Element:
    return ET.fromstring(multiples(panels))


def test_every_curve_is_drawn_on_the_same_axes() -> None:
    root = drawn(
        Panel("β 1", (line("a", [-40, -30]), line("b", [-35, -20], seed=1))),
        Panel("β 4", (line("c", [-50, -45, -44]),)),
    )
    paths = [
        [tuple(map(float, p.split(","))) for p in path.get("points", "").split()] for path in root.iter("polyline")
    ]
    assert [len(path) for path in paths] == [2, 2, 3]
    # the last epoch of all is at the right edge, and heights are one linear function of nats
    assert paths[2][-1][0] == pytest.approx(WIDTH - 6, abs=0.1)
    heights = [y for path in paths for _, y in path]
    slope, offset = np.polyfit([-40, -30, -35, -20, -50, -45, -44], heights, 1)
    assert slope < 0
    np.testing.assert_allclose(slope * np.array([-40, -30, -35, -20, -50, -45, -44]) + offset, heights, atol=0.1)
    assert min(heights) >= TOP
    assert max(heights) <= HEIGHT
    assert min(x for path in paths for x, _ in path) >= LEFT


def test_charts_say_in_words_what_they_show_and_names_are_escaped() -> None:
    root = drawn(Panel("<prior> & co", (line("run-1", [-40, -30.5]), line("run-2", [], seed=1, state="queued"))))
    (picture,) = root.iter("svg")
    assert picture.get("aria-label") == "<prior> & co: seed 0 25%, held-out ELBO −30.50 nats; seed 1 waits"
    assert [a.get("href") for a in root.iter("a")] == ["/train?run=run-1", "/train?run=run-2"]


def test_nothing_trained_yet_is_drawn_as_empty_charts() -> None:
    root = drawn(Panel("β 1", (line("a", [], state="queued"),)))
    assert list(root.iter("polyline")) == []
    assert standing(line("a", [], state="failed")) == "failed"


@pytest.fixture
def form(monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.chdir(PROJECT)
    monkeypatch.setattr("ui.owner.owner", lambda: "a" * 32)  # there is no browser to send a cookie
    at = AppTest.from_file(str(PROJECT / "app.py"), default_timeout=60).run()
    return at.switch_page("pages/train/sweep.py").run()


def train_button(at: AppTest) -> str:
    return next(button.label for button in at.button if button.label.startswith("Train"))


def test_the_form_counts_the_runs(form: AppTest) -> None:
    assert not form.exception
    assert train_button(form) == "Train 18 runs"
    form.text_input(key="values beta").set_value("1").run()
    assert train_button(form) == "Train 6 runs"


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("values latent", "2, x", "argument --latent: invalid int value: 'x'"),
        ("values latent", "2, 0", "Latent dimension is 0, but must be from 1 to 64."),
        ("values latent", "", "has no value"),
        ("values beta", "1, 1", "give every setting, value and seed once"),
        ("values beta", "nan", "β"),
        ("values beta", ", ".join(map(str, range(101))), "a sweep has at most 200 runs"),
    ],
)
def test_what_cannot_be_is_refused_in_the_form(form: AppTest, key: str, value: str, sentence: str) -> None:
    form.text_input(key=key).set_value(value).run()
    assert not form.exception
    assert any(sentence in error.value for error in form.error), [error.value for error in form.error]
    assert next(button for button in form.button if button.label.startswith("Train")).disabled


def test_a_link_to_no_sweep_says_so(form: AppTest) -> None:
    form.query_params["sweep"] = "../../etc"
    form.run()
    assert any("There is no sweep" in warning.value for warning in form.warning)


def test_a_sweep_from_the_form_to_its_end(page: Page, app: App) -> None:
    page.goto(f"{app.url}/sweep")
    page.get_by_label("Epochs of each run").fill("1")
    page.get_by_role("textbox", name="Latent dimensions").fill("2")
    page.get_by_role("textbox", name="Seeds").fill("0")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Train 3 runs").click()
    expect(page.get_by_text(re.compile("3 of 3 runs ended: 3 finished"))).to_be_visible(timeout=90_000)
    assert re.search(r"sweep=[0-9a-f]{16}$", page.url)
    said = re.compile(r"Latent dimensions 2, β .*: seed 0 done, held-out ELBO −[\d.]+ nats")
    pictures = page.get_by_role("img", name=said)
    expect(pictures).to_have_count(3)
    page.get_by_role("button", name="Compare these runs").click()
    page.wait_for_url(re.compile("/runs.*tag=sweep"))
