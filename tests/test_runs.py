import errno
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vae_core import runs
from vae_core.config import Config, ModelConfig
from vae_core.runs import (
    ACTIVE,
    DamagedRun,
    Run,
    State,
    Status,
    create,
    create_at,
    find,
    listed,
    load_model,
    write_atomically,
)
from vae_core.training import new_model

SMALL = Config(model=ModelConfig(widths=(8,)))


@pytest.fixture
def run() -> Run:
    return create(SMALL)


def test_a_new_run_is_queued_and_knows_its_recipe(runs_folder: Path) -> None:
    before = time.time()
    run = create(SMALL, owner="somebody")
    assert run.folder.parent == runs_folder
    assert run.config() == SMALL
    assert run.owner == "somebody"
    status = run.status()
    assert status == Status("queued", updated=status.updated)
    assert before <= status.updated <= time.time()
    assert sorted(path.name for path in run.folder.iterdir()) == ["config.json", "owner", "status.json"]


def test_names_of_runs_say_what_and_cannot_be_guessed() -> None:
    names = [create(SMALL).id for _ in range(3)]
    assert all(re.fullmatch(r"\d{8}-\d{6}-digits-2d-[0-9a-f]{16}", name) for name in names)
    assert len({name[-16:] for name in names}) == 3


def test_impossible_settings_make_no_folder(runs_folder: Path) -> None:
    with pytest.raises(ValueError, match="Latent dimension is 0"):
        create(replace(SMALL, model=ModelConfig(latent=0)))
    assert not runs_folder.exists()


def test_a_run_in_a_folder_of_choice(tmp_path: Path, runs_folder: Path) -> None:
    folder = tmp_path / "sweep" / "beta=4,seed=0"
    run = create_at(folder, SMALL, owner="me")
    assert run.folder == folder
    assert (run.config(), run.owner, run.status().state) == (SMALL, "me", "queued")
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    with pytest.raises(ValueError, match="Latent dimension is 0"):
        create_at(tmp_path / "none", replace(SMALL, model=ModelConfig(latent=0)))
    assert not (tmp_path / "none").exists()
    assert not runs_folder.exists()


def test_a_half_made_run_is_made_anew(tmp_path: Path) -> None:
    """What a killed process left is no obstacle."""
    (tmp_path / ".here.draft").mkdir()
    (tmp_path / ".here.draft" / "owner").write_text("somebody else")
    run = create_at(tmp_path / "here", SMALL)
    assert run.owner == ""
    assert sorted(path.name for path in run.folder.iterdir()) == ["config.json", "owner", "status.json"]


def test_find(run: Run) -> None:
    found = find(run.id)
    assert found is not None
    assert found.folder == run.folder
    assert find("20200101-000000-nothing") is None


@pytest.mark.parametrize(
    "text", ["", ".", "..", "/", "../runs", "a/b", "/etc", ".hidden", "-x", "a\0b", "a\n", "a" * 101]
)
def test_what_is_no_name_is_not_found(text: str, run: Run) -> None:
    """Even where such a folder exists."""
    (run.folder.parent / ".hidden").mkdir()
    (run.folder.parent / "-x").mkdir()
    (run.folder.parent / "a" / "b").mkdir(parents=True)
    assert find(text) is None


def test_a_file_is_no_run(run: Run) -> None:
    (run.folder.parent / "notes").write_text("")
    assert find("notes") is None
    assert [found.id for found in listed()] == [run.id]


def test_listed_are_the_owner_s_newest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert listed("me") == []
    ids = []
    for second, owner in enumerate(["me", "you", "me", ""]):
        monkeypatch.setattr(time, "strftime", lambda form, second=second: f"20250101-00000{second}")
        ids.append(create(SMALL, owner).id)
    assert [run.id for run in listed("me")] == [ids[2], ids[0]]
    assert [run.id for run in listed("you")] == [ids[1]]
    assert [run.id for run in listed()] == [ids[3]]


def test_drafts_are_not_listed_but_damaged_runs_are(run: Run, runs_folder: Path) -> None:
    (runs_folder / ".half.draft").mkdir()
    (run.folder / "config.json").unlink()
    assert [found.id for found in listed()] == [run.id]


def test_the_folder_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(runs.RUNS_VARIABLE, "~/somewhere")
    assert runs.runs_root() == Path.home() / "somewhere"
    monkeypatch.delenv(runs.RUNS_VARIABLE)
    assert runs.runs_root() == Path(runs.__file__).parents[1] / "runs"


READERS: dict[str, Callable[[Run], object]] = {
    "config.json": Run.config,
    "status.json": Run.status,
    "metrics.jsonl": Run.rows,
}
BROKEN = [
    ("config.json", b"{"),
    ("config.json", b"\xff\xfe"),
    ("config.json", b"[]"),
    ("config.json", SMALL.to_json().replace('"latent": 2', '"latent": 0').encode()),
    ("status.json", b"{"),
    ("status.json", b""),
    ("status.json", b"[1]"),
    ("status.json", b'{"state": "running", "colour": "red"}'),
    ("status.json", b'{"step": 1}'),
    ("metrics.jsonl", b'{"step": 1}\n{"step"\n'),
]


@pytest.mark.parametrize(("name", "content"), BROKEN, ids=str)
def test_broken_files_are_named(run: Run, name: str, content: bytes) -> None:
    (run.folder / name).write_bytes(content)
    with pytest.raises(DamagedRun, match=rf"^{re.escape(name)}"):
        READERS[name](run)


@pytest.mark.parametrize("name", ["config.json", "status.json"])
def test_missing_files_are_named(run: Run, name: str) -> None:
    (run.folder / name).unlink()
    with pytest.raises(DamagedRun, match=rf"^{re.escape(name)} cannot be read"):
        READERS[name](run)


@pytest.fixture
def trained(run: Run) -> Run:
    """A run with a checkpoint of its initial parameters."""
    run.write_checkpoint(7, new_model(SMALL).state_dict(), {"step": torch.tensor(7)})
    return run


def test_a_model_is_loaded_as_it_was_saved(trained: Run) -> None:
    config, model = load_model(trained.folder)
    assert config == SMALL
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    expected = new_model(SMALL).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_the_newest_checkpoint_is_loaded(trained: Run) -> None:
    newer = {name: value + 1 for name, value in new_model(SMALL).state_dict().items()}
    trained.write_checkpoint(10, newer, {})
    _, model = load_model(trained.folder)
    assert all(torch.equal(value, newer[name]) for name, value in model.state_dict().items())


def test_a_model_before_its_first_checkpoint(run: Run) -> None:
    with pytest.raises(DamagedRun, match=r"no model\.safetensors: the run has not written a checkpoint yet"):
        load_model(run.folder)


def weights_path(trained: Run) -> Path:
    return trained.checkpoints()[-1] / "model.safetensors"


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_cut_weights_are_told(trained: Run, kept: int) -> None:
    path = weights_path(trained)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DamagedRun, match=r"^model\.safetensors cannot be read"):
        load_model(trained.folder)


def test_weights_of_another_shape_are_told(trained: Run) -> None:
    other = new_model(replace(SMALL, model=ModelConfig(widths=(9,)))).state_dict()
    runs.save_tensors(weights_path(trained), other)
    with pytest.raises(DamagedRun, match=r"(?s)^model\.safetensors does not fit config\.json.*size mismatch"):
        load_model(trained.folder)


def test_weights_that_are_too_few_are_told(trained: Run) -> None:
    parameters = new_model(SMALL).state_dict()
    parameters.popitem()
    runs.save_tensors(weights_path(trained), parameters)
    with pytest.raises(DamagedRun, match=r"(?s)does not fit config\.json.*Missing key"):
        load_model(trained.folder)


def test_metrics_from_an_offset(run: Run) -> None:
    assert run.metrics() == (b"", 0)
    assert run.rows() == []
    path = run.folder / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2}\n')
    data, offset = run.metrics()
    assert (data, offset) == (b'{"step": 1}\n{"step": 2}\n', 24)
    assert run.metrics(offset) == (b"", 24)
    with path.open("ab") as file:
        file.write(b'{"step": 3}\n')
    assert run.metrics(offset) == (b'{"step": 3}\n', 36)
    assert run.rows() == [{"step": 1}, {"step": 2}, {"step": 3}]


def test_a_half_written_line_waits(run: Run) -> None:
    path = run.folder / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"ste')
    data, offset = run.metrics()
    assert (data, offset) == (b'{"step": 1}\n', 12)
    assert run.metrics(offset) == (b"", 12)
    assert run.rows() == [{"step": 1}]
    with path.open("ab") as file:
        file.write(b'p": 2}\n')
    assert run.metrics(offset) == (b'{"step": 2}\n', 24)


def test_a_file_that_got_shorter_is_read_anew(run: Run) -> None:
    (run.folder / "metrics.jsonl").write_bytes(b'{"step": 1}\n')
    assert run.metrics(500) == (b"", 0)


def test_a_file_written_anew_is_never_read_from_the_middle_of_a_line(run: Run) -> None:
    (run.folder / "metrics.jsonl").write_bytes(b'{"step": 1}\n{"step": 20}\n')
    assert run.metrics(11) == (b"", 0)
    assert run.metrics(12) == (b'{"step": 20}\n', 25)


def test_rows_of_steps_to_be_repeated_are_dropped(run: Run) -> None:
    (run.folder / "metrics.jsonl").write_bytes(b'{"step": 1}\n{"step": 5}\n{"step": 6}\n{"st')
    run.keep_rows_until(5)
    assert (run.folder / "metrics.jsonl").read_bytes() == b'{"step": 1}\n{"step": 5}\n'


def test_write_atomically_keeps_the_old_bytes_if_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    monkeypatch.undo()
    write_atomically(path, b"newer")
    assert path.read_bytes() == b"newer"


def test_readers_never_see_half_a_status(run: Run) -> None:
    """One thread writes, another reads: every text is whole."""
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            run.write_status(Status("running", reason="x" * 20_000))

    run.write_status(Status("running"))
    writer = threading.Thread(target=write)
    writer.start()
    try:
        states = {run.recorded_status().state for _ in range(300)}
    finally:
        stop.set()
        writer.join()
    assert states == {"running"}


def test_checkpoints_are_listed_oldest_first_and_hold_what_was_given(run: Run) -> None:
    for step in (3, 20, 100):
        run.write_checkpoint(step, {"w": torch.tensor(step)}, {"s": torch.tensor(-step)})
    assert [path.name for path in run.checkpoints()] == ["000000003", "000000020", "000000100"]
    newest = run.checkpoints()[-1]
    assert runs.load_tensors(newest / "model.safetensors")["w"] == 100
    assert runs.load_tensors(newest / "trainer.safetensors")["s"] == -100


def test_a_checkpoint_that_was_cut_short_is_none(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.write_checkpoint(3, {"w": torch.tensor(3)}, {})
    save = runs.save_tensors

    def half(path: Path, tensors: dict[str, torch.Tensor]) -> None:
        if path.name == "trainer.safetensors":
            raise OSError("killed")
        save(path, tensors)

    monkeypatch.setattr(runs, "save_tensors", half)
    with pytest.raises(OSError, match="killed"):
        run.write_checkpoint(5, {"w": torch.tensor(5)}, {})
    assert [path.name for path in run.checkpoints()] == ["000000003"]
    monkeypatch.setattr(runs, "save_tensors", save)
    run.write_checkpoint(5, {"w": torch.tensor(5)}, {})
    assert [path.name for path in run.checkpoints()] == ["000000003", "000000005"]


def test_a_step_has_one_checkpoint(run: Run) -> None:
    run.write_checkpoint(3, {"w": torch.tensor(1)}, {})
    run.write_checkpoint(3, {"w": torch.tensor(2)}, {})
    assert runs.load_tensors(run.checkpoints()[0] / "model.safetensors")["w"] == 1


def test_snapshots_are_listed_in_order(run: Run) -> None:
    assert run.snapshots() == []
    for step in (1000, 20, 3):
        run.write_snapshot(step, {"means": torch.full((2,), float(step))})
    (run.folder / "snapshots" / "000000500.draft").write_bytes(b"half")
    assert run.snapshots() == [3, 20, 1000]
    assert runs.load_tensors(run.snapshot_path(20))["means"].tolist() == [20.0, 20.0]


def test_requests_to_stop(run: Run) -> None:
    assert not run.requested("stop")
    run.request("stop")
    assert run.requested("stop")
    run.forget_requests()
    run.forget_requests()
    assert not run.requested("stop")


@pytest.mark.parametrize("state", State.__args__)
def test_the_status_of_a_run_that_nobody_trains(run: Run, state: State) -> None:
    run.write_status(Status(state, reason="because", step=5))
    status = run.status()
    if state in ACTIVE and state != "queued":
        assert (status.state, status.reason, status.step) == ("failed", "The worker died.", 5)
    else:
        assert (status.state, status.reason) == (state, "because")
    assert Status(state).active is (state in ("queued", "preparing", "running", "paused"))


def test_the_log_of_a_dead_worker_is_shown(run: Run) -> None:
    run.write_status(Status("running"))
    (run.folder / "worker.log").write_bytes(b"1\n2\n3\n4\nout of \xff memory\n6\n\n")
    assert run.status().reason == "The worker died. End of its log: 2\n3\n4\nout of � memory\n6"


def test_a_run_that_no_worker_takes_has_failed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run.status().state == "queued"
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + runs.QUEUE_PATIENCE + 1)
    assert (run.status().state, run.status().reason) == ("failed", "No worker took the run.")


def test_the_lock_is_for_one(run: Run) -> None:
    run.write_status(Status("running"))
    assert not run.locked()
    with run.lock():
        assert run.locked()
        assert run.status().state == "running"
        with pytest.raises(BlockingIOError), run.lock():
            pass
        assert run.locked()
    assert not run.locked()
    assert run.status().state == "failed"
    with run.lock():
        pass


@contextmanager
def process_with_lock(run: Run) -> Iterator[subprocess.Popen[str]]:
    code = "import sys; from pathlib import Path; from vae_core.runs import Run\n"
    code += "with Run(Path(sys.argv[1])).lock(): print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(run.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_killed_process_gives_its_lock_back(run: Run) -> None:
    run.write_status(Status("running"))
    with process_with_lock(run) as process:
        assert run.locked()
        assert run.status().state == "running"
        with pytest.raises(BlockingIOError), run.lock():
            pass
        process.kill()
        process.wait()
        assert not run.locked()
        assert run.status().state == "failed"


def test_looking_does_not_keep_the_worker_from_its_lock(run: Run) -> None:
    """The app asks for the status all the time; a worker that begins just then must still get the lock."""
    with run.lock():
        pass
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            run.locked()

    lookers = [threading.Thread(target=look) for _ in range(4)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(200):
            with run.lock():
                pass
    finally:
        stop.set()
        for looker in lookers:
            looker.join()


def test_tensors_that_go_while_they_are_opened_are_damaged_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots are thinned while somebody looks at them: safetensors opens a file twice, the second time in torch."""
    path, opened = tmp_path / "some.safetensors", torch.UntypedStorage.from_file
    runs.save_tensors(path, {"w": torch.ones(3)})

    def late(*arguments: object, **settings: object) -> torch.UntypedStorage:
        path.unlink()
        return opened(*arguments, **settings)

    monkeypatch.setattr(torch.UntypedStorage, "from_file", late)
    with pytest.raises(runs.DamagedRun, match=r"some\.safetensors cannot be read"):
        runs.load_tensors(path)
    assert not path.exists()
