import json
import os
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.test_launch import wait_until
from tests.test_worker import queued
from vae_core import overview as overview_module
from vae_core.config import Config, ModelConfig, ObjectiveConfig, ScheduleConfig
from vae_core.marks import Marks, mark
from vae_core.overview import Numbers, disk_use, numbers, overview, overviews
from vae_core.runs import Row, Run, Status, create
from vae_core.steering import Change
from vae_core.worker import train

SMALL = Config(model=ModelConfig(widths=(8,), latent=3), schedule=ScheduleConfig(epochs=2), device="cpu")
PRETRAINED = Path(__file__).parents[1] / "pretrained"


def look(elbo: float) -> Row:
    return {
        "step": 1,
        "held_out_elbo": elbo,
        "held_out_elbo_se": 0.5,
        "held_out_reconstruction": elbo + 3,
        "held_out_kl": 3.0,
        "active_units": 2,
    }


def lines(*rows: Row) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture
def run() -> Run:
    run = create(SMALL, "me")
    run.write_status(Status("finished", step=20, total_steps=20, seconds=4.0))
    return run


def test_a_trained_run_in_brief(runs_folder: Path) -> None:
    run = queued(runs_folder / "run", SMALL)
    before = time.time()
    assert train(run).state == "finished"
    mark(run, Marks(("good",), "note", pinned=True))
    (found,) = overviews()
    last = [row for row in run.rows() if "held_out_elbo" in row][-1]
    assert found.numbers == Numbers(
        last["held_out_elbo"],
        last["held_out_elbo_se"],
        last["held_out_kl"],
        -last["held_out_reconstruction"],
        last["active_units"],
        "held out",
    )
    assert last["held_out_elbo"] == pytest.approx(last["held_out_reconstruction"] - last["held_out_kl"], rel=1e-5)
    assert (found.id, found.config, found.status, found.damaged) == ("run", SMALL, run.status(), "")
    assert found.marks == Marks(("good",), "note", pinned=True)
    assert before - 10 < found.created < time.time()
    assert found.disk == pytest.approx(sum(p.stat().st_size for p in run.folder.rglob("*") if p.is_file()), rel=1e-3)


@pytest.mark.parametrize("name", sorted(path.parent.name for path in PRETRAINED.glob("*/metrics.json")))
def test_a_pretrained_model_in_brief(name: str) -> None:
    found = overview(Run(PRETRAINED / name))
    card = json.loads((PRETRAINED / name / "metrics.json").read_text())
    assert found.numbers == Numbers(
        card["test_elbo"],
        card["test_elbo_se"],
        card["test_rate"],
        card["test_distortion"],
        card["test_active_units"],
        "test",
    )
    assert found.status == Status("finished", seconds=card["train_seconds"])
    assert found.config
    assert (found.config.dataset, found.config.model.latent) == (card["dataset"], card["latent_dim"])
    assert (found.id, found.damaged, found.marks) == (name, "", Marks())


def test_a_run_that_has_not_begun_has_no_numbers() -> None:
    run = create(SMALL)
    found = overview(run)
    assert found.numbers is None
    assert found.status == run.status()
    assert found.damaged == ""


def test_the_owners_runs_newest_first_without_those_of_others(run: Run) -> None:
    create(SMALL, "somebody else")
    folder = run.folder.with_name(f"a{run.id}")
    shutil.copytree(run.folder, folder)
    assert [found.id for found in overviews("me")] == [folder.name, run.id]
    assert overviews() == []


def test_settings_changed_while_it_trained_are_in_its_recipe(run: Run) -> None:
    run.log_change(Change(10, {"beta": 4.0}))
    assert overview(run).config == replace(SMALL, objective=replace(SMALL.objective, beta=4.0))


@pytest.mark.parametrize("before", [0, 1, 10, 200, 2_000])
def test_the_last_look_is_found_however_long_ago(run: Run, before: int) -> None:
    """Also where the end that is read begins inside its line, and with half a line at the end of the file."""
    other = {"step": 2, "train_elbo": -1.0, "filler": "x" * 100}
    (run.folder / "metrics.jsonl").write_bytes(
        lines(look(-9.0), look(-8.0), *[other] * before) + b'{"held_out_elbo": 1'
    )
    found = numbers(run)
    assert found
    assert (found.elbo, found.distortion) == (-8.0, 5.0)


def test_the_end_that_is_read_may_begin_anywhere(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    data = lines(look(-9.0), look(-8.0), {"step": 3})
    (run.folder / "metrics.jsonl").write_bytes(data)
    for tail in range(1, len(data) + 10):
        monkeypatch.setattr(overview_module, "TAIL", tail)
        found = numbers(run)
        assert found
        assert found.elbo == -8.0


def test_not_the_whole_of_a_long_file_is_read(run: Run) -> None:
    with (run.folder / "metrics.jsonl").open("wb") as file:
        file.write(lines(look(-9.0)))
        file.truncate(2**33)
        file.seek(2**33)
        file.write(b"\n" + lines({"step": 3}))
    begin = time.monotonic()
    assert numbers(run) is None
    assert time.monotonic() - begin < 1


@pytest.mark.parametrize(
    ("name", "content", "missing"),
    [
        ("config.json", b"{", "config"),
        ("status.json", b"[]", "status"),
        ("metrics.jsonl", b'{"held_out_elbo": 1}\n', "numbers"),
        ("metrics.jsonl", b'{"held_out_elbo" 1}\n', "numbers"),
        ("metrics.jsonl", b'["held_out_elbo"]\n', "numbers"),
        ("metrics.json", b"{}", "status"),
    ],
)
def test_damage_is_told(run: Run, name: str, content: bytes, missing: str) -> None:
    (run.folder / name).write_bytes(content)
    (found,) = overviews("me")
    assert getattr(found, missing) is None
    assert found.damaged.startswith("its metrics" if missing == "numbers" else name)


def test_a_run_whose_data_set_is_gone_is_damaged_until_it_is_back(mine: Path) -> None:
    run = create(replace(SMALL, dataset=mine.name), "me")
    whole = overview(run)
    assert (whole.config, whole.damaged) == (run.config(), "")
    away = mine.rename(mine.with_name("elsewhere"))
    gone = overview(run)
    assert gone.config is None
    assert gone.damaged == "its data set shards-mine is gone: put its folder back among the data"
    away.rename(mine)
    assert overview(run) == whole


def test_a_plain_autoencoder_has_no_elbo(run: Run) -> None:
    run.log_row(look(-7.0))
    model = replace(SMALL.model, posterior="deterministic", prior="none")
    config = replace(SMALL, model=model, objective=ObjectiveConfig(estimator="pathwise"))
    (run.folder / "config.json").write_text(config.to_json())
    assert overview(run).numbers == Numbers(None, None, None, 4.0, 2, "held out")


def test_every_change_is_seen_and_nothing_is_read_twice(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    overview(run)
    reads = []
    read = Run.present_config
    monkeypatch.setattr(Run, "present_config", lambda run: [reads.append(run.id), read(run)][1])
    assert overview(run) == overview(run)
    assert reads == []
    mark(run, Marks(note="new"))
    assert overview(run).marks.note == "new"
    run.log_row(look(-7.0))
    seen = overview(run).numbers
    assert seen
    assert seen.elbo == -7.0
    run.write_status(Status("stopped"))
    assert (overview(run).status or Status("failed")).state == "stopped"
    run.log_change(Change(10, {"beta": 4.0}))
    assert (overview(run).config or SMALL).objective.beta == 4.0
    (run.folder / "checkpoints" / "000000001").mkdir(parents=True)
    size = overview(run).disk
    (run.folder / "checkpoints" / "000000001").rename(run.folder / "checkpoints" / "000000002")
    (run.folder / "checkpoints" / "000000003").write_bytes(b"x" * 100)
    assert overview(run).disk == size + 100
    assert len(reads) == 6


def test_a_worker_that_dies_is_seen_although_it_writes_nothing(run: Run) -> None:
    run.write_status(Status("running"))
    with run.lock():
        assert (overview(run).status or Status("failed")).state == "running"
    found = overview(run).status
    assert found
    assert found.state == "failed"
    assert found.reason.startswith("The worker died.")


def test_disk_use(run: Run) -> None:
    (run.folder / "checkpoints" / "1").mkdir(parents=True)
    (run.folder / "checkpoints" / "1" / "model.safetensors").write_bytes(b"x" * 1000)
    (run.folder / "snapshots").mkdir()
    base = disk_use(str(run.folder))
    for step in range(3):
        (run.folder / "snapshots" / f"{step:09d}.safetensors").write_bytes(b"x" * 50)
    os.symlink("/", run.folder / "link")
    assert disk_use(str(run.folder)) == base + 150 + os.lstat(run.folder / "link").st_size
    assert base == sum(p.stat().st_size for p in run.folder.rglob("*") if p.is_file() and "snap" not in str(p))


def test_files_may_go_while_a_run_is_looked_at(run: Run) -> None:
    """A worker thins checkpoints and snapshots, and drafts come and go."""
    busy, checkpoint = threading.Event(), run.folder / "checkpoints" / "000000001"

    def work() -> None:
        while not busy.is_set():
            for folder in (checkpoint, run.folder / "snapshots"):
                folder.mkdir(parents=True)
                for name in range(20):
                    (folder / str(name)).write_bytes(b"x")
                shutil.rmtree(folder)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        size = disk_use(str(run.folder))
        wait_until(lambda: disk_use(str(run.folder)) != size, 60.0)
        for _ in range(100):
            disk_use(str(run.folder))
        found = [overview(run) for _ in range(30)]
    finally:
        busy.set()
        worker.join()
    assert {one.damaged for one in found} == {""}
    assert disk_use(f"{run.folder}/nowhere") == 0
