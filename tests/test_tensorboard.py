import importlib.util
import io
import zipfile
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.test_reports import LOOK, ROW
from vae_core.config import Config
from vae_core.runs import Run, create
from vae_core.tensorboard import TensorBoardMissing, export_events, scalars, write_events


@pytest.fixture
def run() -> Run:
    run = create(Config())
    for row in (ROW, {**LOOK, "step": 7, "seconds": 2.25}, {**ROW, "step": 9, "seconds": 3.0, "train_elbo": -80.125}):
        run.log_row(row)
    return run


def test_tensorboard_reads_every_number_by_step_and_time(run: Run, tmp_path: Path) -> None:
    file = write_events(run, tmp_path / "events")
    assert [path.name for path in (tmp_path / "events").iterdir()] == [file.name]
    events = EventAccumulator(str(file)).Reload()
    made = (run.folder / "config.json").stat().st_mtime
    seen = {
        tag: [(e.step, e.value, e.wall_time - made) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }
    assert seen["train/elbo"] == [
        (3, -100.5, pytest.approx(1.5, abs=1e-3)),
        (7, -100.5, pytest.approx(2.25, abs=1e-3)),
        (9, -80.125, pytest.approx(3.0, abs=1e-3)),
    ]
    assert [(step, value) for step, value, _ in seen["held_out/elbo"]] == [(7, -99.0)]
    assert [(step, value) for step, value, _ in seen["kl_by_dimension/0"]] == [(7, 1.5)]
    assert [(step, value) for step, value, _ in seen["gradient_norms/decoder"]] == [(7, 2.5)]
    assert {
        len(values) for tag, values in seen.items() if tag.startswith(("train/", "run/")) and "units" not in tag
    } == {3}
    texts = {tag: events.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in events.Tags()["tensors"]}
    assert run.config().to_json() in texts["recipe/text_summary"]
    assert "'beta': 4.0" in texts["changed/text_summary"]


def test_runs_go_into_one_zip_each_in_a_folder_of_its_own(run: Run, tmp_path: Path) -> None:
    other, file = create(Config()), io.BytesIO()
    other.log_row({**ROW, "step": 4, "train_elbo": -2.0})
    export_events([run, other], file)
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path)
        assert not any(run.id in name or other.id in name for name in archive.namelist())
    folders = sorted(tmp_path.glob("0*"))
    read = [EventAccumulator(str(folder)).Reload().Scalars("train/elbo") for folder in folders]
    assert [[event.value for event in events] for events in read] == [[-100.5, -100.5, -80.125], [-2.0]]


def test_names_are_grouped() -> None:
    assert scalars(LOOK) == {
        "run/epoch": 0.5,
        "run/seconds": 1.5,
        "run/learning_rate": 0.001,
        "run/beta": 1,
        "train/objective": -100.5,
        "train/elbo": -100.5,
        "train/reconstruction": -90.25,
        "train/kl": 10.25,
        "gradient_norms/encoder": 1.5,
        "gradient_norms/decoder": 2.5,
        "gradient_norms/prior": 0.0,
        "held_out/elbo": -99.0,
        "held_out/elbo_se": 0.5,
        "held_out/reconstruction": -88.0,
        "held_out/kl": 11.0,
        "run/active_units": 3,
        "kl_by_dimension/0": 1.5,
        "kl_by_dimension/1": 0,
        "kl_by_dimension/2": 3e-5,
    }


def test_without_tensorboard_it_says_how_to_get_it(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("vae_core.tensorboard.find_spec", lambda name: None if name == "tensorboard" else find(name))
    with pytest.raises(TensorBoardMissing, match=r"^TensorBoard is not installed here. Install it with `python -m pip"):
        write_events(run, tmp_path / "events")
    assert not (tmp_path / "events").exists()
