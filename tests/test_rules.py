import math
from dataclasses import replace
from typing import Any

import pytest

from pretrained import build
from vae_core.bounds import BOUNDS
from vae_core.config import Config
from vae_core.datasets import DATASETS
from vae_core.defaults import RECIPES
from vae_core.estimators import ESTIMATORS
from vae_core.families import LIKELIHOODS, POSTERIORS, PRIORS
from vae_core.networks import ACTIVATIONS
from vae_core.optimisers import OPTIMISERS, SCHEDULES
from vae_core.rules import check, problems

DIGITS = RECIPES["digits"]
TABLES = {
    "model.activation": ("Activation", ACTIVATIONS),
    "model.network": ("Network", ("mlp", "conv")),
    "model.likelihood": ("Likelihood", LIKELIHOODS),
    "model.posterior": ("Posterior", POSTERIORS),
    "model.prior": ("Prior", PRIORS),
    "objective.bound": ("Bound", BOUNDS),
    "objective.estimator": ("Estimator", ESTIMATORS),
    "schedule.optimiser": ("Optimiser", OPTIMISERS),
    "schedule.schedule": ("Learning-rate schedule", SCHEDULES),
    "dataset": ("Data set", DATASETS),
}
RANGES = {
    "model.latent": ("Latent dimension", [1, 64], [0, 65, -3], "from 1 to 64"),
    "model.widths": (
        "Layer widths",
        [(1,), (4096,), (9,) * 8],
        [(), (0,), (8, -1), (4097,), (9,) * 9],
        "1 to 8 whole numbers from 1 to 4096",
    ),
    "objective.draws": ("Draws", [1, 100], [0, 101], "from 1 to 100"),
    "objective.beta": ("β", [0.0, 100.0], [-0.1, 100.5, math.nan, math.inf], "a number from 0 to 100"),
    "objective.warmup_epochs": ("β warm-up", [0, 200], [-1, 201], "from 0 to the number of epochs (200)"),
    "schedule.learning_rate": (
        "Learning rate",
        [1e-12, 1.0],
        [0.0, -1e-3, 1.1, math.nan, math.inf, -math.inf],
        "above 0 and at most 1",
    ),
    "schedule.batch_size": (
        "Batch size",
        [1, 1285],
        [0, -1, 1286],
        "from 1 to the 1,285 training examples of Digits 8×8",
    ),
    "schedule.epochs": ("Epochs", [1, 10_000], [0, -1, 10_001], "from 1 to 10,000"),
    "seed": ("Seed", [0, 2**63 - 1], [-1, 2**63], "a whole number from 0 to 2^63 - 1"),
    "device": (
        "Device",
        ["auto", "cpu", "cuda", "cuda:0", "cuda:11"],
        ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "cuda:0:1", "CPU"],
        "auto, cpu, cuda or cuda:N",
    ),
}


def changed(path: str, value: Any) -> Config:
    *section, name = path.split(".")
    if not section:
        return replace(DIGITS, **{name: value})
    return replace(DIGITS, **{section[0]: replace(getattr(DIGITS, section[0]), **{name: value})})


@pytest.mark.parametrize(("path", "value"), [(path, value) for path in RANGES for value in RANGES[path][2]], ids=str)
def test_the_impossible_is_refused_with_one_sentence(path: str, value: object) -> None:
    name, _, _, accepted = RANGES[path]
    (sentence,) = problems(changed(path, value))
    shown = {"model.widths": list, "device": repr, "objective.warmup_epochs": "{} epochs".format}.get(path, str)(value)
    assert sentence == f"{name} is {shown}, but must be {accepted}."


@pytest.mark.parametrize(("path", "value"), [(path, value) for path in RANGES for value in RANGES[path][1]], ids=str)
def test_the_ends_of_the_ranges_are_accepted(path: str, value: object) -> None:
    assert problems(replace(changed(path, value))) == []


@pytest.mark.parametrize("path", TABLES)
@pytest.mark.parametrize("unknown", ["", "nothing", "ELBO"])
def test_a_name_of_no_table_is_refused(path: str, unknown: str) -> None:
    name, table = TABLES[path]
    (sentence,) = problems(changed(path, unknown))
    assert sentence == f"{name} is {unknown!r}, but must be one of {', '.join(sorted(table))}."


@pytest.mark.parametrize(("path", "value"), [(path, value) for path in TABLES for value in TABLES[path][1]])
def test_every_entry_of_every_table_is_accepted(path: str, value: str) -> None:
    assert problems(changed(path, value)) == []


@pytest.mark.parametrize("name", DATASETS)
def test_batches_may_be_as_large_as_the_training_part(name: str) -> None:
    def with_batch(size: int) -> Config:
        return replace(DIGITS, dataset=name, schedule=replace(DIGITS.schedule, batch_size=size))

    size = DATASETS[name].sizes.train
    assert problems(with_batch(size)) == []
    assert [p.startswith(f"Batch size is {size + 1}, ") for p in problems(with_batch(size + 1))] == [True]


def test_every_problem_is_told() -> None:
    config = changed("model.latent", 0)
    config = replace(config, seed=-1, device="tpu", dataset="cats")
    found = problems(config)
    assert [sentence.split(" is ")[0] for sentence in found] == ["Data set", "Latent dimension", "Seed", "Device"]
    with pytest.raises(ValueError, match=r"Data set is 'cats'.* Latent dimension is 0.* Seed is -1.* Device is 'tpu'"):
        check(config)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("linear", [True, False])
def test_only_linear_bounds_take_the_analytic_kl(estimator: str, linear: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BOUNDS, "tried", replace(BOUNDS["elbo"], linear=linear))
    config = replace(DIGITS, objective=replace(DIGITS.objective, bound="tried", estimator=estimator))
    sentence = (
        f"Estimator is {estimator!r}, but must be one without the analytic KL (such as pathwise) for the bound 'tried'."
    )
    assert problems(config) == ([sentence] if ESTIMATORS[estimator].analytic_kl and not linear else [])


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_has_a_default_recipe_without_problems(name: str) -> None:
    assert problems(RECIPES[name]) == []
    check(RECIPES[name])


@pytest.mark.parametrize("name", build.RECIPES)
def test_the_recipes_of_the_shipped_models_have_no_problems(name: str) -> None:
    assert problems(build.RECIPES[name]) == []
