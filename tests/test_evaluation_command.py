"""The program as people run it, on a shipped model and on small runs."""

import json
import math
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pretrained import build
from tests.test_worker import SMALL, queued
from vae_core import datasets, evaluation_command
from vae_core.config import Config, ModelConfig, ObjectiveConfig, ScheduleConfig
from vae_core.datasets import Part, Split
from vae_core.evaluation import evaluate, mean_and_error
from vae_core.evaluation_command import Number, Wanted, numbers
from vae_core.likelihoods import LIKELIHOODS
from vae_core.runs import load_model
from vae_core.sampling import Annealing
from vae_core.training import generator_for, new_model
from vae_core.worker import train

DIGITS = build.HERE / "digits-2d"
ALWAYS = ["ELBO", "rate", "distortion", "active units", "mutual information", "KL(q(z) || p(z))"]
Captured = pytest.CaptureFixture[str]


def exit_code(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["evaluation", *arguments])
    return evaluation_command.main()


def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_command, "Annealing", lambda: Annealing(temperatures=10, leapfrog=3, chains=4))


def test_everything_about_a_shipped_model(monkeypatch: pytest.MonkeyPatch, capsys: Captured, tmp_path: Path) -> None:
    """Every line has a value, an error, a note and a number of examples; they agree with each other and the JSON."""
    quickly(monkeypatch)
    out = tmp_path / "numbers.json"
    assert exit_code(
        monkeypatch, str(DIGITS), "--split", "validation", "--examples", "60", "--draws", "20", "--seed", "3",
        "--importance-draws", "200", "--importance-examples", "40", "--exact", "30", "--gaps", "10", "--annealed", "5",
        "--device", "cpu", "--out", str(out),
    ) == 0  # fmt: skip
    printed = capsys.readouterr()
    assert printed.err == ""
    found = {row["name"]: row for row in json.loads(out.read_text())}
    assert list(found) == [*ALWAYS, "IWAE-200", "AIS", "log p(x)", "approximation gap", "amortisation gap"]
    examples = dict.fromkeys(ALWAYS, 60) | {
        "IWAE-200": 40, "AIS": 5, "log p(x)": 30, "approximation gap": 10, "amortisation gap": 10,
    }  # fmt: skip
    lines = printed.out.splitlines()
    assert len(lines) == len(found)
    for line, (name, row) in zip(lines, found.items(), strict=True):
        assert row["examples"] == examples[name]
        match = re.fullmatch(r"(.{20}) +(-?[\d.]+) ± ([\d.]+) +(.+) \(([\d,]+)\)", line)
        assert match
        assert match[1].strip() == name
        assert float(match[2]) == pytest.approx(row["value"], abs=1e-4)
        assert float(match[3]) == pytest.approx(row["error"], abs=1e-4)
        assert (match[4], int(match[5])) == (row["note"], row["examples"])
    value = {name: row["value"] for name, row in found.items()}
    assert value["ELBO"] == pytest.approx(-value["distortion"] - value["rate"], abs=1e-3)
    assert found["ELBO"]["note"] == LIKELIHOODS["bernoulli"].bounds
    assert value["active units"] == 2
    assert 0 < value["mutual information"] <= math.log(60)
    assert value["approximation gap"] > 0
    assert value["amortisation gap"] > 0


def test_the_numbers_are_those_of_evaluate() -> None:
    config, model = load_model(DIGITS)
    x = datasets.load("digits", "test").x[:100]
    cpu = torch.device("cpu")
    found = {n.name: n for n in numbers(config, model, x, Wanted(draws=3), generator_for(cpu, 1))}
    expected = evaluate(model, LIKELIHOODS["bernoulli"].observe, x, generator=generator_for(cpu, 1), draws=3)
    assert (found["ELBO"].value, found["ELBO"].error) == (expected.elbo, expected.elbo_se)
    assert (found["rate"].value, found["rate"].error) == (expected.rate, expected.rate_se)
    assert (found["distortion"].value, found["distortion"].error) == (expected.distortion, expected.distortion_se)
    assert found["active units"].value == expected.active_units
    assert list(found) == ALWAYS


def test_exact_numbers_of_a_binary_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enumerated; IWAE comes near from below."""
    config = Config(
        model=ModelConfig(widths=(8,), latent=4, below=(5,), posterior="bernoulli", prior="bernoulli"),
        objective=ObjectiveConfig(estimator="score_function", draws=2),
    )
    x = datasets.load("digits", "validation").x[:20]
    wanted = Wanted(importance_draws=300, exact=20)
    found = {n.name: n for n in numbers(config, new_model(config), x, wanted, generator_for(torch.device("cpu"), 1))}
    assert list(found) == ["ELBO", "rate", "distortion", "active units", "mutual information", "IWAE-300", "log p(x)"]
    assert found["log p(x)"].note.startswith("exact to 0 nats")
    assert found["ELBO"].value < found["log p(x)"].value
    assert found["IWAE-300"].value == pytest.approx(found["log p(x)"].value, abs=0.3)


def test_a_plain_autoencoder_claims_no_bound() -> None:
    config = Config(
        model=ModelConfig(widths=(8,), posterior="deterministic", prior="none"),
        objective=ObjectiveConfig(estimator="pathwise"),
    )
    x = datasets.load("digits", "validation").x[:20]
    every = Wanted(importance_draws=5, exact=5, gaps=5, annealed=5)
    found = list(numbers(config, new_model(config), x, every, generator_for(torch.device("cpu"), 1)))
    assert [number.name for number in found] == ["distortion", "active units"]
    assert found[0].note.endswith(", no bound")


def test_a_run_folder_serves_too(monkeypatch: pytest.MonkeyPatch, capsys: Captured, tmp_path: Path) -> None:
    run = queued(tmp_path / "run", replace(SMALL, schedule=ScheduleConfig(epochs=1)))
    train(run)
    assert exit_code(monkeypatch, str(run.folder), "--examples", "50", "--exact", "5") == 2
    printed = capsys.readouterr()
    assert printed.out.startswith("ELBO ")  # what is quick is told first
    assert printed.err == "quadrature needs 1 or 2 latent dimensions; got 3: use importance or annealed sampling\n"


def test_exact_is_refused_for_twenty_dimensions(
    load: Callable[[str, Part], Split], monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    load("mnist", "test")  # skips where the data cannot be had
    folder = str(build.HERE / "mnist-20d")
    assert exit_code(monkeypatch, folder, "--examples", "10", "--draws", "1", "--gaps", "2") == 2
    assert "quadrature needs 1 or 2 latent dimensions; got 20" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["/nowhere"], "config.json cannot be read"),
        ([str(DIGITS), "--out", "/nowhere/numbers.json", "--examples", "5"], "/nowhere/numbers.json"),
        ([str(DIGITS), "--device", "cuda:99"], "CUDA devices are here; use 'cpu'"),
    ],
    ids=["folder", "out", "device"],
)
def test_bad_input_is_told_in_a_sentence(
    arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    assert exit_code(monkeypatch, *arguments) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--draws", "0"], "'0' must be a whole number of at least 1"),
        (["--examples", "-3"], "expected one argument|'-3' must be a whole number of at least 2"),
        (["--exact", "few"], "'few' must be a whole number of at least 0"),
        (["--device", "tpu"], "'tpu' must be auto, cpu, cuda or cuda:N"),
        (["--split", "train"], "invalid choice: 'train'"),
    ],
    ids=str,
)
def test_bad_options_are_refused_by_the_parser(
    arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    with pytest.raises(SystemExit) as caught:
        exit_code(monkeypatch, str(DIGITS), *arguments)
    assert caught.value.code == 2
    assert re.search(sentence, capsys.readouterr().err)


def test_importance_and_annealing_are_means_over_their_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed is the mean of what the functions give, with its standard error."""
    quickly(monkeypatch)
    given: dict[str, torch.Tensor] = {}
    for name in ("importance_log_likelihood", "annealed_log_likelihood", "exact_log_evidence"):
        original = getattr(evaluation_command, name)

        def recorded(*arguments: object, name: str = name, original: object = original, **more: object) -> object:
            result = original(*arguments, **more)
            given[name] = result.log_p
            return result

        monkeypatch.setattr(evaluation_command, name, recorded)
    config, model = load_model(DIGITS)
    x = datasets.load("digits", "test").x[:20]
    wanted = Wanted(importance_draws=10, importance_examples=15, annealed=3, exact=10)
    found: dict[str, Number] = {
        n.name: n for n in numbers(config, model, x, wanted, generator_for(torch.device("cpu"), 1))
    }
    for label, name, count in (
        ("IWAE-10", "importance_log_likelihood", 15),
        ("AIS", "annealed_log_likelihood", 3),
        ("log p(x)", "exact_log_evidence", 10),
    ):
        assert len(given[name]) == found[label].examples == count
        assert (found[label].value, found[label].error) == mean_and_error(given[name])
