import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.test_worker import queued
from vae_core import again, archive
from vae_core.again import difference, repeat
from vae_core.archive import export
from vae_core.config import Config, ModelConfig, ScheduleConfig
from vae_core.datasets import DATA_VARIABLE
from vae_core.forking import fork
from vae_core.overview import numbers
from vae_core.runs import DamagedRun, Run, load_tensors, weights_file
from vae_core.steering import Change
from vae_core.worker import train
from vae_core.zipped import MOST_ENTRIES

SMALL = Config(
    model=ModelConfig(widths=(32,), latent=3), schedule=ScheduleConfig(epochs=4, batch_size=64), device="cpu", seed=9
)
CHANGES = [Change(5, {"beta": 3.0}), Change(33, {"learning_rate": 0.01, "estimator": "pathwise"})]
SECRET = "0123456789abcdef"
PRETRAINED = Path(__file__).parents[1] / "pretrained"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of 80 steps that was steered twice."""
    run = queued(tmp_path_factory.mktemp("runs") / f"20260101-000000-digits-3d-{SECRET}", SMALL)
    for change in CHANGES:
        run.log_change(change)
    assert train(run).state == "finished"
    return run


@pytest.fixture(scope="module")
def unpacked(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(exported(run), tmp_path_factory.mktemp("unpacked"))


def exported(run: Run, *, resumable: bool = False) -> io.BytesIO:
    file = io.BytesIO()
    export(run, file, resumable=resumable)
    return file


def unpack(file: io.BytesIO, folder: Path) -> Path:
    with zipfile.ZipFile(file) as archive:
        archive.extractall(folder)
    return folder


def test_the_zip_has_the_layout_of_hubs_and_the_code(unpacked: Path) -> None:
    names = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    code = {name for name in names if name.startswith("vae_core/")}
    assert names - code == {
        "config.json",
        "model.safetensors",
        "README.md",
        "metrics.jsonl",
        "changes.jsonl",
        "train_again.py",
        "requirements.txt",
    }
    assert code == {f"vae_core/{path.name}" for path in archive.SOURCES.glob("*.py")} | {"vae_core/LICENSE"}


def test_recipe_weights_and_curves_are_those_of_the_run(run: Run, unpacked: Path) -> None:
    copy = Run(unpacked)
    assert copy.config() == run.config()
    assert copy.changes() == CHANGES
    assert copy.rows() == run.rows()
    theirs = load_tensors(weights_file(run.folder))
    assert all(torch.equal(value, theirs[name]) for name, value in load_file(unpacked / "model.safetensors").items())


def test_the_card_says_what_it_is(run: Run, unpacked: Path) -> None:
    card, measured = (unpacked / "README.md").read_text(), numbers(run)
    assert measured
    assert card.startswith("---\ntags: [variational-autoencoder]\n---\n# 20260101-000000-digits-3d\n")
    assert "4 epochs of 1,285 images, batch 64" in card
    assert "| from step 5 on | beta = 3.0 |\n| from step 33 on | learning_rate = 0.01, estimator = pathwise |" in card
    assert f"| held out ELBO | **{measured.elbo:.2f} ± {measured.elbo_se:.2f} nats per image**" in card
    assert "python train_again.py" in card
    assert "Licence of the data: CC BY 4.0." in card
    assert "Licence of the weights" not in card


def test_the_name_that_lets_others_look_at_the_run_stays_at_home(run: Run) -> None:
    assert SECRET in run.id
    with zipfile.ZipFile(exported(run)) as archive:
        assert not [name for name in archive.namelist() if SECRET.encode() in archive.read(name)]


def test_requirements_are_those_that_trained_it(unpacked: Path) -> None:
    lines = (unpacked / "requirements.txt").read_text().splitlines()
    assert f"torch=={torch.__version__.partition('+')[0]}" in lines
    assert f"numpy=={__import__('numpy').__version__}" in lines


def test_the_script_alone_trains_it_again_bit_for_bit(unpacked: Path, tmp_path: Path) -> None:
    """In a process that finds no other code of this project."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", DATA_VARIABLE) if name in os.environ}
    elsewhere = [sys.executable, "-c", "import vae_core"]
    assert subprocess.run(elsewhere, cwd=tmp_path, env=kept, capture_output=True).returncode == 1
    command = [sys.executable, str(unpacked / "train_again.py"), "--threads", "1"]
    done = subprocess.run(command, cwd=tmp_path, env=kept, capture_output=True, text=True, check=True)
    assert "step 80 of 80, epoch 4.00" in done.stdout
    assert done.stdout.endswith("The parameters are the exported ones, bit for bit.\n")
    ours = load_file(unpacked / "again" / "model.safetensors")
    theirs = load_file(unpacked / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert list(tmp_path.iterdir()) == []


def test_without_its_changes_it_would_be_another_run(run: Run, unpacked: Path, tmp_path: Path) -> None:
    copy = unpack(exported(run), tmp_path / "copy")
    (copy / "changes.jsonl").unlink()
    trainer = repeat(Run(copy), 1)
    assert trainer.step == 80
    assert difference(trainer.model.state_dict(), load_file(copy / "model.safetensors")) > 1e-3


def test_a_run_that_was_stopped_is_repeated_up_to_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = queued(tmp_path / "run", SMALL)
    run.log_change(Change(1, {"beta": 2.0}))
    run.request("stop")
    status = train(run)
    assert status.state == "stopped"
    run.log_change(Change(status.step + 5, {"beta": 5.0}))
    copy = Run(unpack(exported(run), tmp_path / "copy"))
    assert copy.changes() == [Change(1, {"beta": 2.0})]
    trainer = repeat(copy, 1)
    assert trainer.step == status.step < 80
    assert difference(trainer.model.state_dict(), load_file(copy.folder / "model.safetensors")) == 0
    assert f"step {status.step} of {status.step}" in capsys.readouterr().out


def test_a_run_is_exported_as_of_its_newest_checkpoint(run: Run, tmp_path: Path) -> None:
    """What a run that still trains has reported since is left out."""
    other = Run(tmp_path / "run")
    shutil.copytree(run.folder, other.folder)
    step, rows = int(run.checkpoints()[-1].name), run.rows()
    other.log_row({**rows[-1], "step": step + 1})
    other.log_change(Change(step + 1, {"beta": 9.0}))
    copy = Run(unpack(exported(other), tmp_path / "copy"))
    assert copy.rows() == rows
    assert copy.changes() == CHANGES
    assert "beta = 9" not in (copy.folder / "README.md").read_text()


def test_the_state_of_the_trainer_comes_if_asked_for(run: Run, tmp_path: Path) -> None:
    copy = unpack(exported(run, resumable=True), tmp_path)
    theirs = load_tensors(run.checkpoints()[-1] / "trainer.safetensors")
    ours = load_file(copy / "trainer.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_a_fork_of_the_same_seed_is_repeated_and_one_of_another_says_that_it_is_not(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    step = int(run.checkpoints()[0].name)
    parent = Run(run.folder)
    same = fork(parent, step, {"epochs": 5})
    assert train(same).state == "finished"
    copy = Run(unpack(exported(same), tmp_path / "same"))
    assert difference(repeat(copy, 1).model.state_dict(), load_file(copy.folder / "model.safetensors")) == 0
    assert "fork" not in capsys.readouterr().out
    assert f"| forked from | 20260101-000000-digits-3d, after {step} steps |" in (copy.folder / "README.md").read_text()
    assert [row["forked"] for row in copy.rows() if "forked" in row] == [
        {"run": "20260101-000000-digits-3d", "step": step}
    ]
    other = fork(parent, step, {"epochs": 5, "seed": 10})
    assert train(other).state == "finished"
    copy = Run(unpack(exported(other), tmp_path / "other"))
    assert difference(repeat(copy, 1).model.state_dict(), load_file(copy.folder / "model.safetensors")) > 0
    assert "The run is a fork with a seed of its own" in capsys.readouterr().out


def test_a_pretrained_model_is_exported_too(tmp_path: Path) -> None:
    copy = unpack(exported(Run(PRETRAINED / "digits-2d")), tmp_path)
    assert (copy / "model.safetensors").read_bytes() == (PRETRAINED / "digits-2d" / "model.safetensors").read_bytes()
    assert not (copy / "metrics.jsonl").exists()
    card = json.loads((PRETRAINED / "digits-2d" / "metrics.json").read_text())
    assert f"| test ELBO | **{card['test_elbo']:.2f} ± " in (copy / "README.md").read_text()


def test_a_run_without_weights_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(DamagedRun, match=r"^no model\.safetensors"):
        exported(queued(tmp_path / "run", SMALL))


def test_the_script_tells_how_far_it_is_off(run: Run) -> None:
    ours = load_tensors(weights_file(run.folder))
    theirs = {name: value.clone() for name, value in ours.items()}
    name = next(iter(theirs))
    theirs[name].view(-1)[0] += 0.25
    assert difference(ours, ours) == 0
    assert difference(ours, theirs) == pytest.approx(0.25)


def test_the_code_is_small_enough_to_travel_with_every_run() -> None:
    code = list(archive.SOURCES.glob("*.py"))
    assert Path(again.__file__) in code
    assert len(code) < MOST_ENTRIES / 2
    assert sum(path.stat().st_size for path in code) < 2_000_000
