import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace

import pytest

from vae_core import command, runs
from vae_core.config import Config, ModelConfig, ObjectiveConfig, ScheduleConfig
from vae_core.datasets import BUILT_IN
from vae_core.defaults import RECIPES, recipe
from vae_core.launch import PROJECT
from vae_core.rules import problems
from vae_core.runs import Run, Status, load_model
from vae_core.team import Team

PROGRAM = [sys.executable, "-m", "vae_core.training"]


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, timeout=120, cwd=PROJECT)


def configured(*arguments: str) -> Config:
    return command.configured(command.parser().parse_args(arguments))


def exit_code(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["training", *arguments])
    return command.main()


def test_help_names_every_option() -> None:
    done = program("--help")
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith("usage: python -m vae_core.training ")
    options = [
        "dataset", "network", "widths", "activation", "latent", "below", "inner-widths", "likelihood", "sigma",
        "posterior", "prior", "components", "prior-mean", "prior-covariance", "bound", "estimator", "draws", "alpha",
        "free-nats", "beta", "warmup-epochs", "optimiser", "learning-rate", "schedule", "batch-size", "epochs", "seed",
        "device", "resume",
    ]  # fmt: skip
    assert all(f"--{option} " in done.stdout for option in options)


def test_a_run_and_its_resumption(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options reach the recipe; the run is on the disk; resuming it when finished changes nothing."""
    done = program(
        "--dataset", "digits", "--epochs", "2", "--latent", "3", "--widths", "16", "--seed", "5", "--device", "cpu"
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    (run,) = runs.listed()
    base = recipe("digits", 3)
    assert run.config() == replace(
        base,
        model=replace(base.model, widths=(16,)),
        schedule=replace(base.schedule, epochs=2),
        seed=5,
        device="cpu",
    )
    assert (run.status().state, run.status().step) == ("finished", 40)
    lines = re.split("[\r\n]+", done.stdout.strip())
    assert lines[0] == f"digits: {run.folder}"
    assert all(
        re.match(r"\[#* *\] +\d+%  [\d,]+ examples/s  \d+ s left  ELBO -\d+\.\d\d nats", line) for line in lines[1:-1]
    )
    assert lines[-2].startswith(f"[{'#' * command.BAR}] 100%")
    assert lines[-1] == f"finished: {run.folder}"

    before = load_model(run.folder)[1].state_dict()
    assert exit_code(monkeypatch, "--resume", str(run.folder)) == 0
    assert all((value == before[name]).all() for name, value in load_model(run.folder)[1].state_dict().items())


def test_interrupt_stops_and_keeps_the_partial_model_and_resume_goes_on() -> None:
    arguments = ["--epochs", "60", "--widths", "16", "--device", "cpu"]
    with subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.PIPE, text=True, cwd=PROJECT) as process:
        deadline = time.monotonic() + 60
        while not (runs.listed() and runs.listed()[0].rows()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    (run,) = runs.listed()
    assert process.returncode == 0
    assert f"stopped: {run.folder}" in output
    stopped = run.status()
    assert stopped.state == "stopped"
    assert load_model(run.folder)[0] == run.config()
    run.request("stop")  # as it is left by a worker that is killed before it obeys
    assert program("--resume", str(run.folder)).returncode == 0
    assert (run.status().state, run.status().step) == ("finished", 1200)
    assert run.status().seconds > stopped.seconds


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--latent", "0"], "Latent dimension is 0, but must be from 1 to 64."),
        (["--learning-rate", "nan"], "Learning rate is nan, but must be above 0 and at most 1."),
        (
            ["--batch-size", "2000"],
            "Batch size is 2000, but must be from 1 to the 1,285 training examples of Digits 8×8.",
        ),
        (["--device", "tpu"], "Device is 'tpu', but must be auto, cpu, cuda or cuda:N."),
        (["--resume", "/nowhere"], "config.json cannot be read"),
    ],
    ids=str,
)
def test_bad_input_is_told_in_a_sentence(
    arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(monkeypatch, *arguments) == 2
    assert sentence in capsys.readouterr().err
    assert runs.listed() == []


@pytest.mark.parametrize(
    "arguments", [["--dataset", "cats"], ["--latent", "two"], ["--likelihood", "poisson"], ["--colour"]], ids=str
)
def test_unknown_options_are_refused_by_the_parser(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as caught:
        exit_code(monkeypatch, *arguments)
    assert caught.value.code == 2


def test_bad_input_from_the_shell() -> None:
    done = program("--epochs", "0")
    assert done.returncode == 2
    assert done.stderr == "Epochs is 0, but must be from 1 to 10,000.\n"


def test_a_failed_run_ends_with_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--optimiser", "sgd", "--learning-rate", "1", "--schedule", "constant", "--epochs", "3"]
    assert exit_code(monkeypatch, *arguments) == 1
    assert "failed: The objective became" in capsys.readouterr().out


@pytest.mark.parametrize("name", BUILT_IN)
def test_nothing_given_is_the_default_recipe(name: str) -> None:
    assert configured("--dataset", name) == RECIPES[name]


def test_every_option_finds_its_place() -> None:
    config = configured(
        "--network", "conv", "--widths", "4", "8", "--activation", "relu", "--latent", "9", "--likelihood", "gaussian",
        "--draws", "3", "--beta", "0.5", "--warmup-epochs", "2", "--optimiser", "sgd", "--learning-rate", "0.1",
        "--schedule", "cosine", "--batch-size", "7", "--epochs", "11", "--seed", "13", "--device", "cpu",
    )  # fmt: skip
    model, objective, schedule = config.model, config.objective, config.schedule
    assert (model.network, model.widths, model.activation) == ("conv", (4, 8), "relu")
    assert (model.latent, model.likelihood) == (9, "gaussian")
    assert (objective.draws, objective.beta, objective.warmup_epochs) == (3, 0.5, 2)
    assert (schedule.optimiser, schedule.learning_rate, schedule.schedule) == ("sgd", 0.1, "cosine")
    assert (schedule.batch_size, schedule.epochs, config.seed, config.device) == (7, 11, 13, "cpu")
    assert problems(config) == []


def test_every_option_of_the_tables_finds_its_place() -> None:
    config = configured(
        "--below", "20", "10", "--inner-widths", "30", "--likelihood", "gaussian_fixed", "--sigma", "0.2",
        "--posterior", "full_gaussian", "--prior", "gaussian", "--components", "7", "--prior-mean", "1", "-0.5",
        "--prior-covariance", "2", "0.5", "0.5", "1", "--bound", "renyi", "--estimator", "pathwise", "--draws", "4",
        "--alpha", "0.25", "--free-nats", "1.5",
    )  # fmt: skip
    model, objective = config.model, config.objective
    assert (model.below, model.inner_widths) == ((20, 10), (30,))
    assert (model.likelihood, model.sigma) == ("gaussian_fixed", 0.2)
    assert (model.posterior, model.prior, model.components) == ("full_gaussian", "gaussian", 7)
    assert (model.prior_mean, model.prior_covariance) == ((1.0, -0.5), (2.0, 0.5, 0.5, 1.0))
    assert (objective.bound, objective.estimator, objective.draws) == ("renyi", "pathwise", 4)
    assert (objective.alpha, objective.free_nats) == (0.25, 1.5)
    assert problems(config) == []
    assert configured("--widths", "--inner-widths").model.widths == ()


def test_every_setting_has_an_option() -> None:
    settings = [f.name for part in (ModelConfig, ObjectiveConfig, ScheduleConfig) for f in fields(part)]
    given = vars(command.parser().parse_args([]))
    assert {*settings, "dataset", "seed", "device", "resume"} == set(given)


def test_settings_are_replaced_by_name() -> None:
    base = RECIPES["digits"]
    assert command.adjusted(base, {}) == base
    assert command.adjusted(base, {"network": "mlp"}) == base
    assert command.adjusted(base, {"network": "conv"}).model.widths == (32, 64)
    assert command.adjusted(base, {"network": "conv", "widths": [4]}).model.widths == (4,)
    changed = command.adjusted(base, {"beta": 2.0, "epochs": 3, "seed": 5, "below": [9], "unrelated": 1})
    assert changed == replace(
        base,
        model=replace(base.model, below=(9,)),
        objective=replace(base.objective, beta=2.0),
        schedule=replace(base.schedule, epochs=3),
        seed=5,
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--posterior", "bernoulli"], "A binary code needs"),
        (["--bound", "iwae"], "does not serve the bound"),
        (
            ["--prior", "gaussian", "--prior-mean", "1"],
            "Prior mean must have 2 numbers",
        ),
    ],
    ids=str,
)
def test_parts_that_do_not_fit_are_told(
    arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(monkeypatch, *arguments) == 2
    assert sentence in capsys.readouterr().err
    assert runs.listed() == []


def test_another_network_gets_widths_of_its_own() -> None:
    assert configured("--network", "conv").model.widths == (32, 64)
    assert configured("--network", "mlp").model.widths == RECIPES["digits"].model.widths
    assert problems(configured("--network", "conv")) == []


def test_the_line_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    command.show("ELBO", Status("running", step=5, total_steps=10, seconds=2.0, rate=1234.5), {"train_elbo": -7.5})
    assert capsys.readouterr().out == "\r[############            ]  50%  1,234 "
    monkeypatch.setenv("COLUMNS", "200")
    row = {"train_elbo": -7.5, "held_out_elbo": -8.25}
    command.show("ELBO", Status("running", step=5, total_steps=10, seconds=2.0, rate=1234.5, left=2.0), row)
    line = "[############            ]  50%  1,234 examples/s  2 s left  ELBO -7.50 nats, held out -8.25"
    assert capsys.readouterr().out == "\r" + line.ljust(199)
    command.show("ELBO", Status("paused", total_steps=10), {"held_out_elbo": -8.25})  # before the first step
    assert capsys.readouterr().out.rstrip().endswith("s left  held out -8.25")


def test_the_interrupt_handler_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(run: Run, show: object, team: Team) -> Status:
        os.kill(os.getpid(), signal.SIGINT)
        return Status("stopped")

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(command, "train", interrupted)
    run = runs.create(RECIPES["digits"])
    assert command.train_with_bar(run).state == "stopped"
    assert run.requested("stop")
    assert signal.getsignal(signal.SIGINT) is before
