import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vae_core import datasets, worker
from vae_core.config import Config, ModelConfig, ScheduleConfig
from vae_core.datasets import DATA_VARIABLE, DATASETS, Part, Split
from vae_core.defaults import RECIPES
from vae_core.evaluation import evaluate
from vae_core.likelihoods import LIKELIHOODS
from vae_core.runs import Row, Run, Status, load_model, load_tensors
from vae_core.snapshots import STEADY, steady_axes
from vae_core.training import StepInfo, Trainer, fit, generator_for, load_trainer, new_model
from vae_core.worker import Clock, snapshot, train, useful_threads

CPU = torch.device("cpu")
Load = Callable[[str, Part], Split]
SMALL = Config(model=ModelConfig(widths=(32,), latent=3), schedule=ScheduleConfig(epochs=4), device="cpu")
DIVERGING = replace(
    SMALL, schedule=ScheduleConfig("sgd", learning_rate=1.0, schedule="constant", epochs=5), device="cpu"
)


def queued(folder: Path, config: Config) -> Run:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(config.to_json(), encoding="utf-8")
    run = Run(folder)
    run.write_status(Status("queued"))
    return run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return queued(tmp_path / "run", SMALL)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = queued(tmp_path_factory.mktemp("runs") / "run", SMALL)
    assert train(run).state == "finished"
    return run


@pytest.fixture(scope="module")
def uninterrupted() -> Trainer:
    trainer = load_trainer(SMALL)
    assert len(list(fit(trainer))) == trainer.total_steps
    return trainer


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report after every step, and a look at the held-out data at the end only."""
    monkeypatch.setattr(Clock, "passed", lambda clock, now: clock.interval == worker.REPORT_SECONDS)


def assert_same_parameters(run: Run, trainer: Trainer) -> None:
    newest = run.checkpoints()[-1]
    expected = trainer.model.state_dict()
    for name, value in load_tensors(newest / "model.safetensors").items():
        assert torch.equal(value, expected[name])
    saved = load_tensors(newest / "trainer.safetensors")
    assert all(torch.equal(value, saved[name]) for name, value in trainer.state().items())


def strict_rows(run: Run) -> list[Row]:
    """The reports as a browser reads them: NaN and Infinity are no JSON."""

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in run.metrics()[0].splitlines()]


def test_a_finished_run_has_all_its_files(finished: Run) -> None:
    names = {str(path.relative_to(finished.folder)) for path in finished.folder.rglob("*") if path.is_file()}
    assert {"config.json", "status.json", "metrics.jsonl", "lock"} < names
    assert {"checkpoints/000000040/model.safetensors", "checkpoints/000000040/trainer.safetensors"} < names
    assert "snapshots/000000040.safetensors" in names
    assert not [name for name in names if "draft" in name]


def test_a_finished_run_says_so(finished: Run) -> None:
    status = finished.status()
    assert (status.state, status.reason, status.step, status.total_steps) == ("finished", "", 40, 40)
    assert status.seconds > 0
    assert status.rate > 0
    assert not finished.locked()


def test_reports(finished: Run) -> None:
    rows = strict_rows(finished)
    steps = [row["step"] for row in rows]
    assert steps == sorted(steps)
    assert steps[-1] == 40
    assert rows[-1]["epoch"] == 4
    for row in rows:
        assert row["train_elbo"] == pytest.approx(row["train_reconstruction"] - row["train_kl"])
        assert row["train_objective"] == pytest.approx(row["train_elbo"], rel=1e-5)
        assert row["epoch"] == row["step"] / 10
        assert row["beta"] == 1
    assert [row["seconds"] for row in rows] == sorted(row["seconds"] for row in rows)
    assert "held_out_elbo" in rows[0]


def test_reports_hold_the_means_over_the_steps_since_the_last(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "REPORT_SECONDS", 1e9)
    train(run)
    first, last = strict_rows(run)
    infos = list(fit(load_trainer(SMALL)))
    means = torch.stack([info.stats for info in infos[1:]]).mean(0).tolist()
    assert [first["train_objective"], last["train_objective"]] == pytest.approx([infos[0].stats[0].item(), means[0]])
    assert [last["train_reconstruction"], last["train_kl"]] == pytest.approx(means[1:])
    assert last["learning_rate"] == infos[-1].learning_rate


def test_the_last_report_is_of_the_whole_validation_part(finished: Run) -> None:
    _, model = load_model(finished.folder)
    held_out = datasets.load("digits", "validation")
    observe = LIKELIHOODS["bernoulli"].observe
    expected = evaluate(model, observe, held_out.x, generator=generator_for(CPU, 0, 4))
    last = strict_rows(finished)[-1]
    assert last["held_out_elbo"] == pytest.approx(expected.elbo, rel=1e-6)
    assert last["held_out_elbo_se"] == pytest.approx(expected.elbo_se, rel=1e-6)
    assert last["held_out_reconstruction"] == pytest.approx(-expected.distortion, rel=1e-6)
    assert last["held_out_kl"] == pytest.approx(expected.rate, rel=1e-6)
    assert last["active_units"] == expected.active_units


def test_a_run_is_what_fit_gives(finished: Run, uninterrupted: Trainer) -> None:
    assert_same_parameters(finished, uninterrupted)


def test_the_snapshot_is_of_the_final_model(finished: Run) -> None:
    _, model = load_model(finished.folder)
    held_out = datasets.load("digits", "validation")
    seen = load_tensors(finished.snapshot_path(finished.snapshots()[-1]))
    x = LIKELIHOODS["bernoulli"].observe(held_out.x, generator=generator_for(CPU, 0, 3))
    q = model.encode(x)
    torch.testing.assert_close(seen["means"].float(), q.mean, rtol=1e-3, atol=1e-3)
    assert torch.equal(seen["labels"], held_out.y)
    assert torch.equal(seen["originals"], held_out.x[:10])
    rates = (q.scale.square() + q.mean.square() - 1 - 2 * q.scale.log()).mean(0)
    assert rates[seen["axes"].long()].sum() >= STEADY * rates.topk(2).values.sum()
    z = torch.zeros(256, 3)
    half = seen["extent"] / 16
    centres = torch.linspace(-seen["extent"] + half, seen["extent"] - half, 16)
    z[:, seen["axes"][0]] = centres.repeat(16)
    z[:, seen["axes"][1]] = centres.flip(0).repeat_interleave(16)
    assert_bytes_close(seen["lattice"], model.decode(z).mean)
    assert_bytes_close(seen["reconstructions"], model.decode(q.mean[:10]).mean)


def assert_bytes_close(found: Tensor, pixels: Tensor) -> None:
    assert found.dtype == torch.uint8
    assert (found.int() - (255 * pixels).round().int()).abs().max() <= 1


def test_a_view_stays_while_its_axes_carry_nearly_as_much_as_others() -> None:
    weights = torch.tensor([1.0, 0.9, 0.2, 1.1])
    assert steady_axes(weights, None) == (0, 3)
    assert steady_axes(weights, (0, 1)) == (0, 1)
    assert steady_axes(weights, (1, 2)) == (0, 3)
    assert steady_axes(torch.tensor([2.0]), (0, 0)) == (0, 0)


def test_snapshot_of_one_latent_dimension() -> None:
    trainer = load_trainer(replace(SMALL, model=ModelConfig(widths=(8,), latent=1)))
    seen = snapshot(trainer.config, trainer.model, datasets.load("digits", "validation"))
    assert seen["axes"].tolist() == [0, 0]
    assert seen["lattice"].shape == (256, 64)
    rows = seen["lattice"].reshape(16, 16, 64)
    assert torch.equal(rows[0], rows[15])  # one coordinate: all rows are the same


@pytest.mark.parametrize("name", DATASETS)
def test_snapshots_show_every_kind_of_data_as_bytes(name: str, load: Load) -> None:
    held_out, config = load(name, "validation"), replace(RECIPES[name], device="cpu")
    seen = snapshot(config, new_model(config), held_out)
    assert {seen[part].dtype for part in ("originals", "reconstructions", "lattice")} == {torch.uint8}
    assert seen["originals"].shape == seen["reconstructions"].shape == (10, held_out.x.shape[1])
    exact = held_out.x[:10] if held_out.x.dtype == torch.uint8 else (255 * held_out.x[:10]).round()
    assert torch.equal(seen["originals"].float(), exact.float())


@pytest.mark.usefixtures("every_step")
def test_stopped_and_resumed_is_as_if_never_stopped(run: Run, uninterrupted: Trainer) -> None:
    stopped = train(run, lambda status, row: run.request("stop") if status.step == 17 else None)
    assert (stopped.state, run.status().state, stopped.step) == ("stopped", "stopped", 17)
    assert not run.requested("stop")
    assert [path.name for path in run.checkpoints()] == ["000000017"]
    assert load_model(run.folder)[0] == SMALL
    resumed = train(run)
    assert (resumed.state, resumed.step) == ("finished", 40)
    assert resumed.seconds > stopped.seconds
    assert_same_parameters(run, uninterrupted)
    steps = [row["step"] for row in strict_rows(run)]
    assert set(steps) == set(range(1, 41))
    assert steps == sorted(steps)


@pytest.mark.usefixtures("every_step")
def test_reports_after_the_checkpoint_are_dropped_on_resuming(run: Run, uninterrupted: Trainer) -> None:
    """A process that dies at step 30 with its last checkpoint of step 17."""
    train(run, lambda status, row: run.request("stop") if status.step == 17 else None)

    class Killed(BaseException):
        pass

    def die(status: Status, row: Row) -> None:
        if status.step == 30:
            raise Killed

    with pytest.raises(Killed):
        train(run, die)
    assert run.status().state == "failed"
    assert strict_rows(run)[-1]["step"] == 30
    assert train(run).state == "finished"
    steps = [row["step"] for row in strict_rows(run)]
    assert steps == sorted(steps)
    assert set(steps) == set(range(1, 41))
    assert_same_parameters(run, uninterrupted)


def test_without_a_checkpoint_a_run_begins_anew(run: Run, uninterrupted: Trainer) -> None:
    (run.folder / "metrics.jsonl").write_text('{"step": 3, "seconds": 1.0}\n')
    train(run)
    assert strict_rows(run)[0]["step"] == 1
    assert_same_parameters(run, uninterrupted)


def test_a_finished_run_may_be_resumed_in_vain(run: Run, uninterrupted: Trainer) -> None:
    train(run)
    before = strict_rows(run)[-1]
    seen: list[Row] = []
    status = train(run, lambda status, row: seen.append(row))
    assert (status.state, status.step) == ("finished", 40)
    assert all(row["train_elbo"] == before["train_elbo"] for row in seen)
    after = strict_rows(run)[-1]
    assert after.pop("gradient_norms") == before.pop("gradient_norms")
    assert after.pop("kl_by_dimension") == pytest.approx(before.pop("kl_by_dimension"))
    assert after == pytest.approx(before)
    assert_same_parameters(run, uninterrupted)


def test_divergence_is_told_with_step_and_advice(tmp_path: Path) -> None:
    run = queued(tmp_path / "run", DIVERGING)
    status = train(run)
    assert status.state == run.status().state == "failed"
    assert status.reason == (
        "The objective became nan at step 7 (epoch 0.70): the updates were too large. Try a smaller learning rate than "
        "1 (a tenth of it), or a larger batch. The last good checkpoint, if there is one yet, is kept."
    )
    assert not run.locked()
    assert strict_rows(run)[-1]["step"] < 7


@pytest.fixture
def break_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the update of that step a bad one, which the objective shows a step later only."""
    advance = Trainer.advance

    def broken_after(step: int) -> None:
        def bad(trainer: Trainer) -> StepInfo:
            info = advance(trainer)
            if info.step == step:
                next(trainer.model.parameters()).detach().fill_(torch.nan)
            return info

        monkeypatch.setattr(Trainer, "advance", bad)

    return broken_after


def test_broken_parameters_are_never_a_checkpoint(
    run: Run, break_at: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if one is due right after the bad update."""
    monkeypatch.setattr(Clock, "passed", lambda clock, now: clock.interval != worker.SNAPSHOT_SECONDS)
    break_at(20)
    assert train(run).state == "failed"
    assert run.status().reason.startswith("The parameters are no longer finite numbers at step 20 (epoch 2.00)")
    assert [checkpoint.name for checkpoint in run.checkpoints()][-2:] == ["000000018", "000000019"]
    assert all(value.isfinite().all() for value in load_model(run.folder)[1].state_dict().values())
    assert strict_rows(run)[-1]["step"] == 20


def test_a_bad_update_at_the_last_step_is_found(run: Run, break_at: Callable[[int], None]) -> None:
    break_at(40)
    assert train(run).state == "failed"
    assert run.status().reason.startswith("The held-out ELBO became nan at step 40 (epoch 4.00)")
    assert "held_out_elbo" not in strict_rows(run)[-1] or strict_rows(run)[-1]["step"] < 40
    assert run.checkpoints() == []


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (replace(SMALL, device="cuda:99"), "device is 'cuda:99'"),
        (replace(SMALL, model=ModelConfig(latent=0)), "config.json: Latent dimension is 0"),
        (
            replace(SMALL, dataset="mnist"),
            "MNIST could not be read or downloaded (Error downloading train-images-idx3-ubyte.gz). Put",
        ),
    ],
    ids=["device", "recipe", "data"],
)
def test_what_cannot_be_trained_fails_with_its_reason(
    config: Config, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import mnist

    def refuse(*given: object, **named: object) -> None:
        raise RuntimeError("no network")

    monkeypatch.setattr(mnist, "download_and_extract_archive", refuse)
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "nothing"))
    run = queued(tmp_path / "run", config)
    assert train(run).state == "failed"
    assert reason in run.status().reason


@pytest.mark.usefixtures("every_step")
def test_a_damaged_checkpoint_fails_with_its_name(run: Run) -> None:
    train(run, lambda status, row: run.request("stop") if status.step == 17 else None)
    (run.checkpoints()[-1] / "trainer.safetensors").write_bytes(b"half")
    assert train(run).state == "failed"
    assert run.status().reason.startswith("trainer.safetensors cannot be read")


def test_a_run_is_trained_by_one(run: Run) -> None:
    with run.lock(), pytest.raises(BlockingIOError):
        train(run)
    assert run.recorded_status().state == "queued"


def test_progress_is_told_at_every_report(run: Run) -> None:
    told: list[tuple[int, int]] = []
    train(run, lambda status, row: told.append((status.step, status.total_steps)))
    assert told == [(row["step"], 40) for row in strict_rows(run)]


def test_the_time_left_goes_by_the_last_reports(run: Run, monkeypatch: pytest.MonkeyPatch, every_step: None) -> None:
    """The first twenty of forty steps take a second each, the others a tenth."""
    now, told = [100.0], list[Status]()
    monkeypatch.setattr(worker.time, "monotonic", lambda: now[0])
    advance = Trainer.advance

    def slow_at_first(trainer: Trainer) -> StepInfo:
        now[0] += 1.0 if trainer.step < 20 else 0.1
        return advance(trainer)

    monkeypatch.setattr(Trainer, "advance", slow_at_first)
    train(run, lambda status, row: told.append(status))
    by_step = {status.step: status for status in told}
    assert by_step[20].left == pytest.approx(20.0)
    assert by_step[20].rate == pytest.approx(SMALL.schedule.batch_size)
    assert by_step[20 + worker.RECENT].left == pytest.approx(1.0)
    assert by_step[40].left == 0.0


def test_clock() -> None:
    clock = Clock(2.0, slices=10)
    assert clock.passed(0.0)
    clock.restart(100.0)
    assert not clock.passed(101.9)
    assert clock.passed(102.0)
    clock.restart(100.0, cost=0.5)
    assert clock.due == 100 + worker.OVERHEAD * 0.5
    clock.restart(100.0, cost=0.01, elapsed=50.0)
    assert clock.due == 105.0


def test_small_models_are_not_shared_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is one thread for ever: `make weights` trains small and large models in one process."""
    set_to: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    train(run, threads=7)
    assert set_to == [useful_threads(load_trainer(SMALL), 7)] == [1]
    assert useful_threads(load_trainer(replace(SMALL, model=ModelConfig(widths=(1024, 512)))), 7) == 7


def test_the_worker_never_loads_the_app() -> None:
    code = "import sys; from vae_core import worker; worker.warm_up(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "torch" in loaded
    assert not loaded & {"streamlit", "plotly", "ui", "pages", "app"}
