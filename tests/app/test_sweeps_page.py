"""The Sweep page: its form, what it refuses, its charts, and in a real browser a sweep from the form to its end."""

import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.testing.v1 import AppTest

from scripts.serving import PROJECT
from tests.app.conftest import App
from tests.app.test_runs_page import texts, written
from ui.owner import NO_COOKIES
from ui.sweeps.multiples import HEIGHT, LEFT, TOP, WIDTH, Line, Panel, multiples, standing
from vae_core import sweeps
from vae_core.config import Config
from vae_core.defaults import by_method, recipe
from vae_core.dispatch import Dispatcher
from vae_core.grid import combinations
from vae_core.runs import Run

OWNER = "a" * 32


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
    monkeypatch.setattr("ui.owner.owner", lambda: OWNER)  # there is no browser to send a cookie
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
        ("values latent", "2 -h", "settings that do not exist: h"),
        ("values latent", "2, 0", "Latent dimension is 0, but must be from 1 to 64."),
        ("values latent", "", "has no value"),
        ("values beta", "1, 1", "give every setting, value and seed once"),
        ("values beta", "nan", "β"),
        ("values beta", ", ".join(map(str, range(34))), "These are 204 runs, but a sweep has at most 200: take fewer"),
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


def press_train(at: AppTest) -> AppTest:
    return next(button for button in at.button if button.label.startswith("Train")).click().run()


def meanwhile(monkeypatch: pytest.MonkeyPatch, after: int, happens: Callable[[], Any]) -> None:
    """Lets something happen once so many runs have been queued."""
    create, made = Dispatcher.create, []

    def creating(self: Dispatcher, config: Config, owner: str) -> Run:
        if len(made) == after:
            happens()
        made.append(create(self, config, owner))
        return made[-1]

    monkeypatch.setattr(Dispatcher, "create", creating)


def clicked() -> None:
    """What any click does to a script that runs: it ends where it draws next."""
    context: Any = get_script_run_ctx()
    context.script_requests.request_stop()


def full_disk() -> None:
    raise OSError("The disk is full.")


def test_all_runs_are_queued_whatever_is_clicked_meanwhile(form: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    meanwhile(monkeypatch, 3, clicked)
    press_train(form)
    (sweep,) = sweeps.listed(OWNER)
    assert len(sweep.members) == 18


def test_a_sweep_of_which_some_could_not_be_queued_says_so(form: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    meanwhile(monkeypatch, 3, full_disk)
    press_train(form)
    assert [error.value for error in form.error] == ["The disk is full."]
    assert any("· 3 of 18 runs ·" in text for text in texts(form, "markdown"))
    (sweep,) = sweeps.listed(OWNER)
    form.button(key=f"open {sweep.id}").click().run()
    assert any(text.startswith("3 of 18 runs were queued: ") for text in texts(form, "warning"))


def test_who_keeps_no_cookies_is_told_so(form: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ui.owner.owner", lambda: "")
    press_train(form)
    assert [error.value for error in form.error] == [NO_COOKIES]


def swept(base: Config, grid: dict[str, list[str]], elbos: list[float], state: str = "finished") -> str:
    """A sweep of runs as workers leave them, and its id; in the order of its members they have come to `elbos`."""
    left = iter(elbos)

    def create(config: Config, owner: str) -> Run:
        return written(next(left), owner, config, state)

    return sweeps.start(combinations(base, grid, [0, 1]), OWNER, 1.0, create).id


def opened(form: AppTest, sweep: str) -> AppTest:
    form.query_params["sweep"] = sweep
    form.run()
    assert not form.exception
    return form


def test_only_what_can_be_compared_is_ranked_together(form: AppTest) -> None:
    grid = {"likelihood": ["bernoulli", "gaussian", "laplace"]}
    test = opened(form, swept(recipe("digits"), grid, [-24.0, -26.0, 20.0, 22.0, 30.0, 32.0]))
    bits, densities = (frame.value for frame in test.dataframe)
    assert list(bits["Likelihood"]) == ["bernoulli"]
    assert (bits["ELBO"][0], bits["± (standard error)"][0]) == pytest.approx((-25.0, 1.0), abs=1e-4)
    assert list(densities["Likelihood"]) == ["laplace", "gaussian"]
    assert list(densities["Runs"]) == [2, 2]
    captions = texts(test, "caption")
    assert any("on the same axes. These runs bound different things" in text for text in captions)
    assert [text for text in captions if text.startswith("Of the runs that finished")] == [
        f"Of the runs that finished, held out, nats per example. The ELBO is a {bounds}."
        for bounds in (
            "lower bound on log p of the binarised image",
            "lower bound on the log density of the values, scaled to [0, 1] (a density may exceed 1, so it can be "
            "positive)",
        )
    ]


def test_plain_autoencoders_are_ranked_by_distortion_and_have_no_elbo(form: AppTest) -> None:
    base = by_method(recipe("digits"), "autoencoder")
    (frame,) = opened(form, swept(base, {"latent": ["2", "8"]}, [-27.0, -27.0, -24.0, -24.0])).dataframe
    assert list(frame.value["Latent dimensions"]) == ["8", "2"]
    assert list(frame.value["Distortion"]) == pytest.approx([21.0, 24.0], abs=1e-4)
    assert not {"ELBO", "Rate (KL)"} & {*frame.value.columns}


def test_runs_that_were_stopped_are_not_ranked(form: AppTest) -> None:
    test = opened(form, swept(recipe("digits"), {"beta": ["1"]}, [-24.0, -25.0], "stopped"))
    assert len(test.dataframe) == 0


def test_a_sweep_of_a_data_set_that_is_gone_is_shown(form: AppTest, mine: Path) -> None:
    sweep = swept(replace(recipe("digits"), dataset=mine.name), {"beta": ["1"]}, [-24.0, -25.0])
    assert any("**Mine**" in text for text in texts(form.run(), "markdown"))
    assert opened(form, sweep).title[0].value == "Sweep of Mine"
    shutil.rmtree(mine)
    assert opened(form, sweep).title[0].value == "Sweep of shards-mine"
    next(button for button in form.button if button.label == "New sweep").click().run()
    assert any("**shards-mine**" in text for text in texts(form, "markdown"))


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
