"""Home and Train through Streamlit's own test harness."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from vae_core import runs
from vae_core.bounds import BOUNDS
from vae_core.datasets import DATASETS
from vae_core.defaults import METHODS, by_method, recipe
from vae_core.estimators import ESTIMATORS
from vae_core.likelihoods import LIKELIHOODS
from vae_core.optimisers import OPTIMISERS, SCHEDULES
from vae_core.posteriors import POSTERIORS
from vae_core.priors import PRIORS
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
    elements: Any = test.get(kind)
    return [element.value for element in elements]


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


@pytest.mark.parametrize("text", ["a, b", "512, -3", "1.5", "0"])
def test_the_form_refuses_widths_that_are_no_numbers(app_test: AppTest, text: str) -> None:
    app_test.switch_page("pages/train/train.py").run()
    next(field for field in app_test.text_input if field.label == "Layer widths").set_value(text).run()
    assert any("Layer widths" in error for error in texts(app_test, "error"))
    assert app_test.button[0].disabled


def choose(test: AppTest, label: str, value: str) -> None:
    next(box for box in test.selectbox if box.label == label).set_value(value).run()


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_to_start_from_can_be_trained(app_test: AppTest, dataset: str, method: str) -> None:
    app_test.switch_page("pages/train/train.py").run()
    app_test.segmented_control[0].set_value(dataset).run()
    choose(app_test, "Start from", method)
    assert not app_test.exception
    assert texts(app_test, "error") == []
    shown = {box.label: box.value for box in app_test.selectbox}
    expected = by_method(recipe(dataset), method)
    assert shown["Posterior q(z|x)"] == expected.model.posterior
    assert shown["Gradient estimator"] == expected.objective.estimator
    assert not app_test.button[0].disabled


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_form_shows_examples(app_test: AppTest, dataset: str) -> None:
    """A table in its own units, or else a strip of pictures."""
    spec = DATASETS[dataset]
    app_test.switch_page("pages/train/train.py").run()
    app_test.segmented_control[0].set_value(dataset).run()
    assert not app_test.exception
    assert any(f"{spec.sizes.train:,} training" in caption for caption in texts(app_test, "caption"))
    tables = [table.value for table in app_test.dataframe]
    assert [list(table.columns) for table in tables] == ([["class", *spec.features]] if spec.features else [])
    assert len(app_test.get("image")) == 1 - len(tables)
    for table in tables:
        assert set(table["class"]) <= set(spec.classes)
        shown, slack = table[list(spec.features)].astype(float).to_numpy(), 1e-3 * np.array(spec.high)
        assert (shown >= spec.low - slack).all()
        assert (shown <= spec.high + slack).all()


@pytest.mark.parametrize(
    ("label", "value", "sentence"),
    [
        ("Likelihood p(x|z)", "bernoulli", "The likelihood Bernoulli, dynamically binarised is of 8-bit images, but"),
        ("Network", "conv", "A convolutional network reads images, but"),
    ],
)
def test_the_form_says_what_is_for_images_only(app_test: AppTest, label: str, value: str, sentence: str) -> None:
    app_test.switch_page("pages/train/train.py").run()
    app_test.segmented_control[0].set_value("signals").run()
    choose(app_test, label, value)
    assert any(text.startswith(sentence) for text in texts(app_test, "error"))
    assert app_test.button[0].disabled


def test_the_form_offers_the_whole_of_every_table(app_test: AppTest) -> None:
    app_test.switch_page("pages/train/train.py").run()
    offered = {box.label: len(box.options) for box in app_test.selectbox}
    tables = {
        "Likelihood p(x|z)": LIKELIHOODS,
        "Posterior q(z|x)": POSTERIORS,
        "Prior p(z)": PRIORS,
        "Bound": BOUNDS,
        "Gradient estimator": ESTIMATORS,
        "Optimiser": OPTIMISERS,
        "Schedule": SCHEDULES,
    }
    assert {label: len(table) for label, table in tables.items()}.items() <= offered.items()


@pytest.mark.parametrize(
    ("label", "value", "sentence"),
    [
        ("Posterior q(z|x)", "bernoulli", "A binary code needs a Bernoulli posterior and a Bernoulli prior"),
        ("Posterior q(z|x)", "flow", "There is no closed-form KL from the posterior “Normalising flow”"),
        ("Prior p(z)", "mixture", "There is no closed-form KL"),
        ("Bound", "iwae", "The estimator Pathwise, analytic KL (SGVB-B) does not serve the bound IWAE-K; these do:"),
        ("Gradient estimator", "score_function_loo", "Draws is 1, but the estimator"),
    ],
)
def test_the_form_says_why_parts_do_not_fit(app_test: AppTest, label: str, value: str, sentence: str) -> None:
    app_test.switch_page("pages/train/train.py").run()
    choose(app_test, label, value)
    assert any(text.startswith(sentence) for text in texts(app_test, "error"))
    assert app_test.button[0].disabled


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1, 2, 2, 1", "Prior covariance must be positive definite"),
        ("1, 0, 0.5, 1", "Prior covariance must be symmetric"),
        ("1, 2", "Prior covariance must have 4 numbers"),
        ("one", "Prior covariance is “one”, but must be numbers with commas"),
    ],
)
def test_the_form_refuses_what_is_no_covariance(app_test: AppTest, text: str, sentence: str) -> None:
    app_test.switch_page("pages/train/train.py").run()
    choose(app_test, "Prior p(z)", "gaussian")
    assert texts(app_test, "error") == []
    next(field for field in app_test.text_input if field.label == "Prior covariance").set_value(text).run()
    assert any(error.startswith(sentence) for error in texts(app_test, "error"))


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
