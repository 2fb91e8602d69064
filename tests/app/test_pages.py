"""Every page through Streamlit's own test harness."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from vae_core import runs
from vae_core.defaults import recipe
from vae_core.runs import Status

PROJECT = Path(__file__).parents[2]
TIMEOUT = 60
OWNER = "tester"


@pytest.fixture
def app_test(monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.chdir(PROJECT)
    monkeypatch.setattr("ui.owner.owner", lambda: OWNER)  # there is no browser to send a cookie
    test = AppTest.from_file(str(PROJECT / "app.py"), default_timeout=TIMEOUT)
    test.run()
    return test


def texts(test: AppTest, kind: str) -> list[str]:
    return [element.value for element in test.get(kind)]


def test_home_shows_every_pretrained_model(app_test: AppTest) -> None:
    assert not app_test.exception
    captions = texts(app_test, "caption")
    assert sum("Test ELBO" in caption for caption in captions) == 5


def test_train_offers_the_form(app_test: AppTest) -> None:
    app_test.switch_page("pages/train/train.py").run()
    assert not app_test.exception
    assert app_test.button[0].label == "Train"
    assert not app_test.button[0].disabled


@pytest.mark.parametrize(
    ("label", "value", "sentence"),
    [
        ("Latent dimension", 0, "Latent dimension is 0, but must be from 1 to 64."),
        ("Latent dimension", 65, "Latent dimension is 65"),
        ("Epochs", 0, "Epochs is 0"),
        ("Batch size", 2000, "Batch size is 2000, but must be from 1 to the 1,285 training examples"),
        ("Learning rate", 0.0, "Learning rate is 0.0, but must be above 0"),
        ("Learning rate", -1.0, "Learning rate is -1.0"),
        ("Seed", -1, "Seed is -1"),
        ("β", -1.0, "β is -1.0"),
        ("β warm-up (epochs)", 500, "β warm-up is 500 epochs"),
    ],
)
def test_the_form_refuses_impossible_settings(app_test: AppTest, label: str, value: float, sentence: str) -> None:
    app_test.switch_page("pages/train/train.py").run()
    next(field for field in app_test.number_input if field.label == label).set_value(value).run()
    assert any(text.startswith(sentence) for text in texts(app_test, "error"))
    assert app_test.button[0].disabled
    assert runs.listed(OWNER) == []


@pytest.mark.parametrize("text", ["", "a, b", "512, -3", "1.5"])
def test_the_form_refuses_widths_that_are_no_numbers(app_test: AppTest, text: str) -> None:
    app_test.switch_page("pages/train/train.py").run()
    next(field for field in app_test.text_input if field.label == "Layer widths").set_value(text).run()
    assert any("Layer widths" in error for error in texts(app_test, "error"))
    assert app_test.button[0].disabled


def test_a_damaged_run_is_listed_and_the_others_work(app_test: AppTest) -> None:
    whole, broken = runs.create(recipe("digits"), OWNER), runs.create(recipe("digits"), OWNER)
    whole.write_status(Status("stopped", step=1, total_steps=2))
    (broken.folder / "config.json").write_text("{")
    app_test.switch_page("pages/train/train.py").run()
    assert not app_test.exception
    lines = texts(app_test, "markdown")
    assert any("damaged" in line and broken.id in line for line in lines)
    assert any("stopped, 50%" in line for line in lines)


def test_a_damaged_run_opened_by_address_says_so(app_test: AppTest) -> None:
    run = runs.create(recipe("digits"), OWNER)
    (run.folder / "status.json").unlink()
    app_test.switch_page("pages/train/train.py")
    app_test.query_params["run"] = run.id
    app_test.run()
    assert not app_test.exception
    assert any("status.json" in error for error in texts(app_test, "error"))


def test_explore_opens_every_pretrained_model(app_test: AppTest) -> None:
    app_test.switch_page("pages/explore/plane.py").run()
    for name in app_test.selectbox[0].options:
        app_test.selectbox[0].select(name).run()
        assert not app_test.exception
        assert app_test.query_params["model"] == name
        assert len(app_test.get("bidi_component")) == 1


def test_explore_says_when_there_is_no_such_model(app_test: AppTest) -> None:
    app_test.switch_page("pages/explore/plane.py")
    app_test.query_params["model"] = "../secret"
    app_test.run()
    assert not app_test.exception
    assert "There is no model" in texts(app_test, "warning")[0]
