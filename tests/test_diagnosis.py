"""What the app says of a run: every rule on both sides of its threshold, and real runs that go well and badly."""

import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from vae_core import runs
from vae_core.config import Config, ModelConfig, ScheduleConfig
from vae_core.defaults import METHODS, by_method, recipe
from vae_core.diagnosis import diagnose
from vae_core.history import Note
from vae_core.likelihoods import BINARY_BOUND, LIKELIHOODS
from vae_core.rules import problems
from vae_core.runs import Row, Run
from vae_core.steering import steered
from vae_core.troubles import remedies

PLAIN = Config(
    model=ModelConfig(latent=4), schedule=ScheduleConfig(schedule="constant", learning_rate=1e-3, epochs=100)
)


def with_model(config: Config = PLAIN, **settings: Any) -> Config:
    return replace(config, model=replace(config.model, **settings))


def with_objective(config: Config = PLAIN, **settings: Any) -> Config:
    return replace(config, objective=replace(config.objective, **settings))


def with_schedule(config: Config, **settings: Any) -> Config:
    return replace(config, schedule=replace(config.schedule, **settings))


def report(epoch: float, **parts: Any) -> Row:
    """One report with held-out numbers, of a model that learns slowly and well but for what is given."""
    elbo = parts.pop("elbo", -30 + 0.2 * epoch)
    kl = parts.pop("kl", [1.0, 1.0, 0.5, 0.5])
    row = {
        "step": round(10 * epoch), "epoch": epoch, "seconds": epoch, "learning_rate": 1e-3, "beta": 1.0,
        "train_objective": elbo, "train_elbo": elbo, "train_reconstruction": elbo + sum(kl), "train_kl": sum(kl),
        "gradient_norms": {"encoder": 1.0, "decoder": 2.0}, "held_out_elbo": elbo, "held_out_elbo_se": 0.2,
        "held_out_reconstruction": elbo + sum(kl), "held_out_kl": sum(kl), "active_units": 4, "kl_by_dimension": kl,
    }  # fmt: skip
    return row | parts


def reports(epochs: int = 40, **parts: Callable[[float], Any]) -> list[Row]:
    """One report an epoch; `parts` are functions of the epoch."""
    moments = map(float, range(1, epochs + 1))
    return [report(epoch, **{name: part(epoch) for name, part in parts.items()}) for epoch in moments]


def found(rows: list[Row], config: Config = PLAIN) -> dict[str, Note]:
    """What is said besides what holds of every run."""
    return {note.kind: note for note in diagnose(rows, config) if note.kind != "comparable"}


def said(kind: str, rows: list[Row], config: Config = PLAIN) -> str:
    return next(note.text for note in diagnose(rows, config) if note.kind == kind)


def test_nothing_is_said_without_held_out_numbers() -> None:
    assert diagnose([], PLAIN) == []
    training = {name: value for name, value in report(1).items() if not name.startswith("held_out")}
    assert diagnose([training], PLAIN) == []


def test_a_run_that_learns_well_is_told_only_what_its_elbo_is() -> None:
    assert [note.kind for note in diagnose(reports(), PLAIN)] == ["comparable"]


@pytest.mark.parametrize(("nats", "kinds"), [(0.0099, {"collapse"}), (0.0101, set())])
def test_collapse_begins_below_a_hundredth_of_a_nat(nats: float, kinds: set[str]) -> None:
    assert found(reports(kl=lambda epoch: [nats] * 4)).keys() == kinds


def test_collapse_says_since_when_and_is_serious() -> None:
    note = found(reports(kl=lambda epoch: [0.5 if epoch < 13 else 0.001] * 4))["collapse"]
    assert (note.since_epoch, note.serious) == (13, True)
    assert note.text.startswith("All 4 dimensions carry less than 0.01 nats each since epoch 13.")


@pytest.mark.parametrize(("epochs", "kinds"), [(11, set()), (12, {"collapse"})])
def test_a_collapse_is_believed_after_a_tenth_of_the_run(epochs: int, kinds: set[str]) -> None:
    """Two of three looks must see it last for 10 epochs of 100."""
    assert found(reports(epochs, kl=lambda epoch: [0.001] * 4)).keys() == kinds


def test_a_collapse_is_not_believed_while_the_kl_still_rises() -> None:
    assert not found(reports(kl=lambda epoch: [0.0001 * epoch] * 4))
    assert found(reports(kl=lambda epoch: [0.0001 * min(epoch, 20)] * 4)).keys() == {"collapse"}


def test_some_unused_dimensions_are_no_collapse() -> None:
    note = found(reports(kl=lambda epoch: [2.0, 1.0, 0.001, 0.5 if epoch < 3 else 0.002]))["unused"]
    assert note.text.startswith("2 of 4 dimensions carry less than 0.01 nats each since epoch 3. They do no harm")
    assert (note.since_epoch, note.serious) == (3, False)
    assert "1 of 4 dimensions carries" in said("unused", reports(kl=lambda epoch: [2.0, 1.0, 0.5, 0.002]))


def test_one_dimension_that_is_dead_for_one_look_is_not_news() -> None:
    assert not found(reports(kl=lambda epoch: [2.0, 1.0, 1.0, 0.001 if epoch in (20, 40) else 0.3]))


@pytest.mark.parametrize(("total", "kinds"), [(0.079, {"collapse"}), (0.081, set())])
def test_where_the_kl_has_no_terms_by_dimension_its_mean_counts(total: float, kinds: set[str]) -> None:
    layers = with_objective(with_model(below=(4,)), estimator="pathwise")
    rows = reports(kl=lambda epoch: [total], kl_by_dimension=lambda epoch: [])
    assert found(rows, layers).keys() == kinds
    if kinds:
        assert "All 8 dimensions together carry 0.08 nats" in said("collapse", rows, layers)


def test_an_autoencoder_has_no_kl_that_could_collapse() -> None:
    rows = reports(kl=lambda epoch: [0.0], kl_by_dimension=lambda epoch: [])
    assert not found(rows, by_method(recipe("digits"), "autoencoder"))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"beta": 20.0}, ["a lower β (now 20)", "warm-up of β", "free bits"]),
        ({"beta": 1.0}, ["warm-up of β", "free bits"]),
        ({"beta": 0.5, "warmup_epochs": 10}, ["free bits"]),
        ({"beta": 4.0, "warmup_epochs": 10, "bound": "free_bits"}, ["a lower β (now 4)"]),
        ({"bound": "iwae", "estimator": "pathwise", "draws": 5}, ["more epochs", "another learning rate"]),
        ({"estimator": "doubly_reparameterised"}, ["warm-up of β"]),
    ],
)
def test_remedies_fit_the_recipe(settings: dict[str, Any], expected: list[str]) -> None:
    config = with_objective(**settings)
    assert problems(config) == []
    assert remedies(config) == expected
    trials = {"a lower β": {"beta": 1.0}, "warm-up of β": {"warmup_epochs": 5}, "free bits": {"bound": "free_bits"}}
    for name, change in trials.items():
        if any(remedy.startswith(name) for remedy in expected):
            assert problems(with_objective(config, **change)) == []


def falling(per_epoch: float, train: float = 0.1) -> list[Row]:
    """Held out rises by 0.2 an epoch until 20, then falls; train goes its own way."""
    return reports(
        held_out_elbo=lambda epoch: -30 + 0.2 * min(epoch, 20) - per_epoch * max(epoch - 20, 0),
        train_elbo=lambda epoch: -30 + train * epoch,
    )


def test_overfitting_needs_two_standard_errors() -> None:
    """0.4 nats, at epoch 39 at the latest, so that two of the last three looks see it."""
    assert "overfitting" not in found(falling(0.0209))
    note = found(falling(0.0212))["overfitting"]
    assert (note.since_epoch, note.serious) == (20, True)
    assert "Since epoch 20 the held-out ELBO has fallen by 0.42 nats (standard error 0.2)" in note.text
    assert "training ELBO rose by 2.00 nats" in note.text


def test_a_bound_that_falls_for_train_and_held_out_alike_is_no_overfitting() -> None:
    """Train must rise by a standard error, here of the median of five reports: between epochs 18 and 38."""
    assert "overfitting" in found(falling(0.1, train=0.011))
    assert "overfitting" not in found(falling(0.1, train=0.009))
    assert "overfitting" not in found(falling(0.1, train=-0.1))


def test_a_gap_needs_two_standard_errors() -> None:
    ahead = {nats: reports(train_elbo=lambda epoch, nats=nats: -30 + 0.2 * epoch + nats) for nats in (0.79, 0.81)}
    assert not found(ahead[0.79])  # the median of the last five training reports is 0.4 behind
    assert "0.41 nats higher" in found(ahead[0.81])["gap"].text


def lost(share: float) -> list[Row]:
    """The objective gains 8 nats until epoch 20 and loses a share of them until 40."""

    def level(epoch: float) -> float:
        return -30 + 0.4 * min(epoch, 20) - 0.4 * share * max(epoch - 20, 0)

    return reports(train_objective=level, elbo=level)


def test_losing_half_of_what_was_gained_is_going_backwards() -> None:
    assert "diverging" not in found(lost(0.45))
    note = found(lost(0.7))["diverging"]
    assert (note.since_epoch, note.serious) == (20, True)
    assert "lower the learning rate (now 0.001)" in note.text


def test_exploding_gradients_make_a_smaller_loss_a_sign() -> None:
    for factor, kinds in ((9.0, set()), (11.0, {"diverging"})):
        rows = lost(0.45)
        for row in rows[-6:]:
            row["gradient_norms"] = {"encoder": 2 * factor, "decoder": 1.0}
        assert found(rows).keys() & {"diverging"} == kinds
    assert "norm is 11 times what it was" in found(rows)["diverging"].text


@pytest.mark.parametrize(("fall", "kinds"), [(1.9, set()), (2.1, {"diverging"})])
def test_less_than_ten_standard_errors_is_not_going_backwards(fall: float, kinds: set[str]) -> None:
    rows = reports(train_objective=lambda epoch: -30.0 - fall * (epoch > 20))
    assert found(rows).keys() & {"diverging"} == kinds


def test_another_objective_is_not_going_backwards() -> None:
    """With a larger β, by warm-up or by hand, the objective falls, and that is no divergence."""

    def level(epoch: float) -> float:
        return -30 + 0.4 * epoch if epoch < 30 else -50 + 0.01 * epoch

    assert "diverging" in found(reports(train_objective=level))
    assert "diverging" not in found(reports(train_objective=level, beta=lambda epoch: 1.0 if epoch < 30 else 4.0))


def test_while_going_backwards_nothing_else_is_read_from_the_curves() -> None:
    rows = lost(0.7)
    for row in rows:
        row["train_elbo"] += 10
    assert found(rows).keys() == {"diverging"}


def log_density(sigma: float) -> float:
    """The mean log density of 64 values under Gaussian noise that has just that σ."""
    return -64 * (math.log(sigma) + 0.5 * (1 + math.log(2 * math.pi)))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize(("sigma", "sharp"), [(0.061, True), (0.064, False)])
def test_a_learned_width_below_the_grain_of_the_data(likelihood: str, sigma: float, sharp: bool) -> None:
    """Digits come in steps of 1/16."""
    learned = likelihood in ("gaussian", "gaussian_per_pixel", "gaussian_low_rank", "laplace", "student_t")
    rows = reports(held_out_reconstruction=lambda epoch: log_density(sigma))
    assert ("sharpening" in found(rows, with_model(likelihood=likelihood))) == (sharp and learned)
    if sharp and learned:
        assert "σ = 0.061" in said("sharpening", rows, with_model(likelihood=likelihood))


def test_warm_up() -> None:
    config = with_objective(warmup_epochs=20)
    rows = reports(beta=lambda epoch: min(1.0, epoch / 20), kl=lambda epoch: [max(1.0, 4 - 0.2 * epoch)] * 4)
    text = said("warm-up", rows[:10], config)
    assert text.startswith("Until epoch 20 the KL does not count in full: its weight is 0.50 on its way to 1.")
    assert "The KL was 15.2 nats while it cost little" in text
    assert "warm-up" in found(rows[:19], config)
    assert "warm-up" not in found(rows[:22], config)


@pytest.mark.parametrize(("risen", "kinds"), [(0.49, set()), (0.51, {"rising"})])
def test_the_kl_rises_because_it_pays(risen: float, kinds: set[str]) -> None:
    rows = reports(kl=lambda epoch: [1.0 if epoch < 30 else 1.0 + risen])
    assert found(rows).keys() == kinds


def test_a_kl_that_buys_nothing_is_not_explained_by_what_it_buys() -> None:
    rows = reports(kl=lambda epoch: [0.1 * epoch], elbo=lambda epoch: -30 - 0.1 * epoch)
    assert "rising" not in found(rows)
    rows = reports(kl=lambda epoch: [0.1 * epoch])
    text = said("rising", rows)
    assert "Since epoch 1 that has cost 3.90 nats of KL, and reconstruction has gained 11.7 nats" in text


@pytest.mark.parametrize(("share", "kinds"), [(0.049, {"cycle"}), (0.051, set())])
def test_the_end_of_the_learning_rate_cycle(share: float, kinds: set[str]) -> None:
    rows = reports(learning_rate=lambda epoch: 1e-3 * (1 if epoch < 35 else share))
    assert found(rows).keys() == kinds
    again = reports(learning_rate=lambda epoch: 1e-3 * share * (0.5 + 0.01 * epoch))
    assert not found(again)  # it rises


@pytest.mark.parametrize(("moved", "kinds"), [(0.09, {"settled"}), (0.11, set())])
def test_little_is_less_than_half_a_standard_error(moved: float, kinds: set[str]) -> None:
    """From the first half to the second of the last third."""
    rows = reports(60, elbo=lambda epoch: -30.0 if epoch < 51 else -30 + moved)
    assert found(rows).keys() == kinds


def test_a_plateau_needs_looks_and_time() -> None:
    flat = reports(60, elbo=lambda epoch: -30.0)
    assert "settled" in found(flat)
    assert "settled" not in found(flat[:9])
    assert "settled" not in found(flat[::12])
    assert "settled" not in found(reports(60, elbo=lambda epoch: -30.0, learning_rate=lambda epoch: 1e-5 * epoch))


def test_settings_that_changed_on_the_way() -> None:
    rows = reports()
    rows[11]["changed"] = {"beta": 4.0, "learning_rate": 0.0005}
    rows[19]["changed"] = {"estimator": "pathwise"}
    rows[29]["changed"] = {"epochs": 200}
    config = steered(PLAIN, {"beta": 4.0, "estimator": "pathwise", "epochs": 200})
    note = found(rows, config)["changed"]
    assert note.text.startswith(
        "β 4, learning rate 0.0005 since epoch 12; estimator Pathwise, Monte Carlo KL (SGVB-A) since epoch 20."
    )
    assert note.since_epoch == 20
    del rows[11]["changed"], rows[19]["changed"]
    assert "changed" not in found(rows, config)  # more epochs change no curve's meaning


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_with_what_an_elbo_can_be_compared(likelihood: str) -> None:
    entry = LIKELIHOODS[likelihood]
    text = said("comparable", reports(), with_model(likelihood=likelihood))
    assert ("log densities" in text) == entry.continuous
    assert ("binarised anew" in text) == (entry.bounds == BINARY_BOUND)
    assert ("0.50 bits a value" in text) == (not entry.continuous and entry.bounds != BINARY_BOUND)  # 22 / 64 / ln 2


def test_what_a_changed_objective_does_to_the_elbo() -> None:
    assert "Training with β = 4 does not maximise the ELBO" in said("comparable", reports(), with_objective(beta=4.0))
    rows = reports(train_objective=lambda epoch: -29.25 + 0.2 * epoch)
    iwae = by_method(PLAIN, "iwae")
    assert "Never with the IWAE-K of another run: that bound is tighter, here by 0.75 nats with K = 5." in said(
        "comparable", rows, iwae
    )
    assert "may fall for a while" in said("comparable", reports(), by_method(PLAIN, "wake_sleep"))
    assert "autoencoder pays no KL" in said("comparable", reports(), by_method(PLAIN, "autoencoder"))


def test_a_binary_code_is_counted_in_bits() -> None:
    rows = reports(kl=lambda epoch: [8 * math.log(2)], kl_by_dimension=lambda epoch: [])
    assert "32 and 16 binary units carry 8.0 bits (5.55 nats)" in said("binary", rows, by_method(PLAIN, "wake_sleep"))


def test_reports_without_norms_and_terms_by_dimension_can_be_read() -> None:
    """As they were written before there were any."""
    rows = reports(kl=lambda epoch: [0.001] * 4)
    for row in rows:
        del row["gradient_norms"], row["kl_by_dimension"]
    assert found(rows).keys() == {"collapse"}


PROGRAM = """
import itertools, sys
from pathlib import Path
from vae_core import datasets, worker
from vae_core.runs import Run
whole = datasets.training
for name in sys.argv[2:]:
    reports, few = itertools.count(), 64 if name == "few" else None
    datasets.training = lambda data: whole(data).head(few) if few else whole(data)
    # a report and a look every 40 steps, whatever the clock says
    due = {worker.SNAPSHOT_SECONDS: lambda: True, worker.REPORT_SECONDS: lambda: next(reports) % 40 == 0}
    worker.Clock.passed = lambda clock, now: due.get(clock.interval, bool)()
    assert worker.train(Run(Path(sys.argv[1]) / name), threads=1).state == "finished", name
"""
DIGITS = Config(
    model=ModelConfig(widths=(64,), latent=8), schedule=ScheduleConfig(batch_size=64, epochs=24), device="cpu"
)
REAL = {
    "plain": DIGITS,
    "beta": with_objective(DIGITS, beta=20.0),
    "few": with_schedule(with_model(DIGITS, likelihood="gaussian"), schedule="constant", epochs=800),
    "fast": with_schedule(DIGITS, schedule="constant", learning_rate=1.0, epochs=20),
    **{name: with_schedule(by_method(recipe("digits"), name), epochs=2) for name in METHODS},
}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """Runs of the real worker on real digits, in a process of their own."""
    root = tmp_path_factory.mktemp("runs")
    for name, config in REAL.items():
        runs.create_at(root / name, config)
    subprocess.run([sys.executable, "-c", PROGRAM, str(root), *REAL], check=True, timeout=300)
    return lambda name: Run(root / name)


def test_a_large_beta_collapses_the_posterior_of_real_digits(real: Callable[[str], Run]) -> None:
    run = real("beta")
    notes = found(run.rows(), run.config())
    assert "All 8 dimensions carry less than 0.01 nats" in notes["collapse"].text
    assert "a lower β (now 20)" in notes["collapse"].text
    assert run.rows()[-1]["active_units"] == 0


def test_an_ordinary_run_of_real_digits_has_no_trouble(real: Callable[[str], Run]) -> None:
    run = real("plain")
    notes = found(run.rows(), run.config())
    assert "rising" in notes
    assert not [note for note in notes.values() if note.serious]


def test_few_real_digits_are_learned_by_heart(real: Callable[[str], Run]) -> None:
    """64 of them, seen 800 times: the best epoch is found, and the bound has fallen since."""
    run = real("few")
    rows = run.rows()
    note = found(rows, run.config())["overfitting"]
    best = max(rows, key=lambda row: row["held_out_elbo"])
    assert note.since_epoch == best["epoch"] < 400
    assert best["held_out_elbo"] - rows[-1]["held_out_elbo"] > 2 * rows[-1]["held_out_elbo_se"]
    assert rows[-1]["train_elbo"] > best["train_elbo"]


def test_steps_that_are_too_large_are_seen_on_real_digits(real: Callable[[str], Run]) -> None:
    run = real("fast")
    assert found(run.rows(), run.config()).keys() == {"diverging"}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_read(method: str, real: Callable[[str], Run]) -> None:
    """Titles change with what is found only, so that a screen reader is not told of every number."""
    run = real(method)
    notes = diagnose(run.rows(), run.config())
    assert notes[-1].kind == "comparable"
    for note in notes:
        assert not re.search(r"\d", note.title)
        assert re.fullmatch(r"[A-Z0-9].*\.", note.text)
        assert not re.search(r"-\d|\s{2}|nan|inf\b", note.text)
