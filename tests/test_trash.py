import subprocess
import sys
import time
from pathlib import Path

import pytest

from vae_core import trash
from vae_core.config import Config, ModelConfig
from vae_core.runs import ACTIVE, Run, State, Status, create, find, listed
from vae_core.trash import discard, discarded, empty, restore


@pytest.fixture
def run() -> Run:
    return ended("somebody")


def ended(owner: str, state: State = "finished") -> Run:
    run = create(Config(model=ModelConfig(widths=(8,))), owner)
    run.write_status(Status(state))
    return run


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("state", ["finished", "stopped", "failed"])
def test_a_run_that_was_thrown_away_comes_back_whole(state: State) -> None:
    run = ended("somebody", state)
    (run.folder / "checkpoints" / "000000001").mkdir(parents=True)
    (run.folder / "checkpoints" / "000000001" / "model.safetensors").write_bytes(b"weights")
    before = files(run.folder)
    discard(run)
    assert listed("somebody") == []
    assert find(run.id) is None
    assert [(found.id, found.run.owner) for found in discarded("somebody")] == [(run.id, "somebody")]
    assert abs(discarded("somebody")[0].at - time.time()) < 10
    back = restore(run.id)
    assert back.folder == run.folder
    assert files(back.folder) == before | {"lock": b""}
    assert discarded("somebody") == []
    assert [found.id for found in listed("somebody")] == [run.id]


@pytest.mark.parametrize("state", ACTIVE)
def test_what_trains_or_waits_is_not_thrown_away(state: State) -> None:
    run = ended("", state)
    with (
        run.lock(),
        pytest.raises(ValueError, match=f"^The run {run.id} is still training or queued; stop it before deleting it"),
    ):
        discard(run)
    assert run.folder.is_dir()
    assert discarded() == []


def test_a_run_that_a_worker_has_just_taken_is_not_thrown_away(run: Run) -> None:
    """It was finished and goes on: its status does not say so yet, its lock does."""
    code = "import sys, pathlib; from vae_core.locks import holding\n"
    code += "with holding(pathlib.Path(sys.argv[1], 'lock')): print(flush=True), input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, run.folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as worker:
        assert worker.stdout
        worker.stdout.readline()
        with pytest.raises(ValueError, match="is still training or queued"):
            discard(run)
        worker.communicate(b"\n")
    discard(run)
    assert not run.folder.exists()


def test_a_run_whose_worker_died_can_go(run: Run) -> None:
    run.write_status(Status("running"))
    discard(run)
    assert len(discarded("somebody")) == 1


def test_a_damaged_run_can_go(run: Run) -> None:
    (run.folder / "status.json").write_text("{")
    discard(run)
    assert len(discarded("somebody")) == 1


def test_each_sees_the_own_trash_only(run: Run) -> None:
    discard(run)
    assert discarded("somebody else") == []
    assert discarded() == []


def test_the_last_thrown_away_comes_first() -> None:
    runs = [ended("me") for _ in range(3)]
    for run in runs:
        discard(run)
    assert [found.id for found in discarded("me")] == [run.id for run in reversed(runs)]


def test_a_name_that_is_taken_again_is_not_overwritten(run: Run) -> None:
    discard(run)
    run.folder.mkdir()
    (run.folder / "config.json").write_text("other")
    with pytest.raises(ValueError, match=f"^There is a run {run.id} already; delete that one before"):
        restore(run.id)
    assert files(run.folder) == {"config.json": b"other"}
    (run.folder / "owner").write_text("somebody")
    discard(run)
    assert [found.id for found in discarded("somebody")] == [run.id, run.id]
    assert restore(run.id).folder.joinpath("config.json").read_text() == "other"
    assert len(discarded("somebody")) == 1


@pytest.mark.parametrize("name", ["", ".", "..", "../x", ".trash", "a/b", "x" * 10_000, "a\0b", "unknown"])
def test_what_is_not_there_is_not_restored(run: Run, name: str) -> None:
    discard(run)
    with pytest.raises(ValueError, match=r"^There is no run .* in the trash"):
        restore(name)


def test_emptying_deletes_what_is_old(run: Run, runs_folder: Path) -> None:
    discard(run)
    assert empty(older_than=3600.0) == 0
    assert len(discarded("somebody")) == 1
    assert empty(older_than=0.0) == 1
    assert discarded("somebody") == []
    assert list((runs_folder / trash.TRASH).iterdir()) == []


def test_what_was_half_deleted_is_not_offered_and_goes_next_time(
    run: Run, runs_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resist(folder: Path) -> None:
        (folder / "config.json").unlink(missing_ok=True)
        raise OSError("a file that resists")

    discard(run)
    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", resist)
        assert empty(older_than=0.0) == 1
    assert len(list((runs_folder / trash.TRASH).iterdir())) == 1
    assert discarded("somebody") == []
    with pytest.raises(ValueError, match="in the trash"):
        restore(run.id)
    assert empty(older_than=0.0) == 0
    assert list((runs_folder / trash.TRASH).iterdir()) == []


def test_foreign_files_in_the_trash_are_left_alone(run: Run, runs_folder: Path) -> None:
    discard(run)
    (runs_folder / trash.TRASH / "note.txt").write_text("mine")
    assert len(discarded("somebody")) == 1
    assert empty(older_than=0.0) == 1
    assert (runs_folder / trash.TRASH / "note.txt").read_text() == "mine"


def test_without_a_trash_there_is_nothing_in_it(runs_folder: Path) -> None:
    assert discarded() == []
    assert empty(older_than=0.0) == 0
    assert not runs_folder.exists()
