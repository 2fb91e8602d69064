import errno
import io
import json
import re
import resource
import shutil
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from tests.test_archive import exported
from tests.test_worker import assert_same_parameters, queued
from vae_core import durable
from vae_core.config import Config, ModelConfig, ObjectiveConfig, ScheduleConfig
from vae_core.importing import import_archive
from vae_core.likelihoods import LIKELIHOODS
from vae_core.marks import Marks, mark, marks
from vae_core.posteriors import POSTERIORS
from vae_core.priors import PRIORS
from vae_core.rules import problems
from vae_core.runs import Run, listed, load_model, load_tensors, weights_file
from vae_core.steering import Change
from vae_core.training import load_trainer, new_model
from vae_core.worker import train

SMALL = Config(model=ModelConfig(widths=(32,), latent=3), schedule=ScheduleConfig(epochs=2), device="cpu", seed=9)
PRETRAINED = Path(__file__).parents[1] / "pretrained"
Edit = Callable[[dict[str, bytes]], object]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = queued(tmp_path_factory.mktemp("runs") / "run", SMALL)
    run.log_change(Change(5, {"beta": 3.0}))
    mark(run, Marks(("mine",), "private", pinned=True, shared=True))
    assert train(run).state == "finished"
    return run


@pytest.fixture(scope="module")
def whole(run: Run) -> dict[str, bytes]:
    """The entries of its zip, the state of the trainer included."""
    with zipfile.ZipFile(exported(run, resumable=True)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(entries: dict[str, bytes]) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        for name, data in entries.items():
            out.writestr(name, data)
    return file


def files(run: Run) -> set[str]:
    return {str(path.relative_to(run.folder)) for path in run.folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("inside", ["", "my run/", "a/b/"])
def test_a_run_comes_back_as_it_was_exported(run: Run, whole: dict[str, bytes], inside: str) -> None:
    entries = {f"{inside}{name}": data for name, data in whole.items() if name != "trainer.safetensors"}
    found = import_archive(zipped(entries), "me")
    assert [other.id for other in listed("me")] == [found.id]
    assert found.id != run.id
    assert (found.config(), found.changes(), found.rows()) == (run.config(), run.changes(), run.rows())
    status = found.status()
    assert (status.state, status.step, status.total_steps) == ("finished", 20, 20)
    assert status.seconds == run.rows()[-1]["seconds"]
    assert marks(found) == Marks(("imported",))
    theirs = load_tensors(weights_file(run.folder))
    assert all(torch.equal(value, theirs[name]) for name, value in load_model(found.folder)[1].state_dict().items())


def test_code_and_all_else_in_the_zip_stay_there(whole: dict[str, bytes]) -> None:
    entries = {**whole, "evil.py": b"1/0", "status.json": b"{}", "owner": b"somebody", "marks.json": b"{}", "lock": b""}
    found = import_archive(zipped(entries), "me")
    assert files(found) == {
        "config.json",
        "owner",
        "status.json",
        "marks.json",
        "metrics.jsonl",
        "changes.jsonl",
        "checkpoints/000000020/model.safetensors",
        "checkpoints/000000020/trainer.safetensors",
    }
    assert found.owner == "me"


def test_with_the_state_of_the_trainer_it_is_trained_on_bit_for_bit(run: Run, whole: dict[str, bytes]) -> None:
    found = import_archive(zipped(whole))
    found.log_change(Change(20, {"epochs": 3}))
    assert train(found).state == "finished"
    trainer = load_trainer(run.config())
    trainer.steer(*run.changes(), Change(20, {"epochs": 3}))
    while trainer.step < 30:
        trainer.advance()
    assert_same_parameters(found, trainer)


def test_a_run_that_was_stopped_comes_back_stopped(whole: dict[str, bytes]) -> None:
    rows = [row for row in map(json.loads, whole["metrics.jsonl"].splitlines()) if row["step"] < 20]
    entries = {name: data for name, data in whole.items() if name != "trainer.safetensors"}
    entries["metrics.jsonl"] = "".join(json.dumps(row) + "\n" for row in rows).encode()
    found = import_archive(zipped(entries))
    assert (found.status().state, found.status().step) == ("stopped", rows[-1]["step"])
    assert found.checkpoints()[0].name == f"{rows[-1]['step']:09d}"


def test_a_folder_in_the_layout_of_hubs_is_enough() -> None:
    """Of a pretrained model, whose weights are of half precision."""
    folder = PRETRAINED / "digits-2d"
    names = ("config.json", "model.safetensors", "README.md", "sample.npz")
    found = import_archive(zipped({f"digits-2d/{name}": (folder / name).read_bytes() for name in names}))
    ours, theirs = load_model(found.folder)[1].state_dict(), load_model(folder)[1].state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert {value.dtype for value in load_tensors(weights_file(found.folder)).values()} == {torch.float32}
    assert (found.status().state, found.rows(), found.changes()) == ("finished", [], [])


def drop(name: str) -> Edit:
    return lambda entries: entries.pop(name)


def put(name: str, data: bytes) -> Edit:
    return lambda entries: entries.update({name: data})


def in_config(**values: object) -> Edit:
    return lambda entries: entries.update(
        {"config.json": json.dumps(json.loads(entries["config.json"]) | values).encode()}
    )


def in_tensors(name: str, edit: Callable[[dict[str, Tensor]], object]) -> Edit:
    def change(entries: dict[str, bytes]) -> None:
        tensors = load(entries[name])
        edit(tensors)
        entries[name] = save(tensors)

    return change


MOMENT = "optimiser.0.exp_avg"
MODEL, TRAINER, FIRST = "model.safetensors", "trainer.safetensors", "generative.0.trunk.0.weight"
BERT = b'{"architectures": ["BertModel"], "model_type": "bert", "hidden_size": 768}'
HOSTILE: list[tuple[str, Edit, str]] = [
    ("no config", drop("config.json"), "The zip file holds no config.json with a model.safetensors beside it."),
    ("no weights", drop(MODEL), "The zip file holds no config.json with a model.safetensors beside it."),
    ("another project", put("config.json", BERT), "config.json is that of another project: it describes no run of"),
    ("a list", put("config.json", b"[]"), "config.json is that of another project"),
    ("no JSON", put("config.json", b"{"), "config.json is no JSON. Accepted is the zip that this app exports of a run"),
    ("no text", put("config.json", b"\xff\xfe"), "config.json is no JSON."),
    ("deep", put("config.json", b"[" * 50_000), "config.json is no JSON."),
    ("long", put("config.json", b" " * 70_000), "config.json is larger than the 64,000 bytes that are accepted of it."),
    (
        "newer",
        in_config(format=2, colour="red"),
        "config.json cannot be used: config was written by a newer",
    ),
    ("unknown setting", in_config(colour="red"), "config.json cannot be used: config has unknown keys ['colour']"),
    ("unknown data", in_config(dataset="../x"), "config.json cannot be used: Data set is '../x', but must be one of"),
    ("report", put("metrics.jsonl", b'{"step": NaN}\n'), "Line 1 of metrics.jsonl lacks epoch"),
    ("change", put("changes.jsonl", b"[]\n"), "Line 1 of changes.jsonl is no JSON object."),
    ("no safetensors", put(MODEL, b"\x80\x04K*."), "model.safetensors is no safetensors file, or"),
    (
        "long header",
        put(MODEL, b"\xff" * 7 + b"\0" + b"{}" * 100),
        "model.safetensors is no safetensors file,",
    ),
    ("half a file", put(MODEL, save({"a": torch.ones(100)})[:-7]), "model.safetensors is no safetensors file, or a"),
    (
        "missing",
        in_tensors(MODEL, lambda t: t.pop(FIRST)),
        f"model.safetensors does not fit config.json: it lacks {FIRST}",
    ),
    (
        "more",
        in_tensors(MODEL, lambda t: t.update(x=torch.ones(1))),
        "model.safetensors does not fit config.json: it has",
    ),
    (
        "shape",
        in_tensors(MODEL, lambda t: t.update({FIRST: torch.ones(3, 32)})),
        f"model.safetensors does not fit config.json: {FIRST} has the shape [3, 32], but the model needs [32, 3].",
    ),
    (
        "whole numbers",
        in_tensors(MODEL, lambda t: t.update({FIRST: torch.ones(32, 3, dtype=torch.int64)})),
        f"model.safetensors does not fit config.json: {FIRST} holds no fractions.",
    ),
    (
        "NaN",
        in_tensors(MODEL, lambda t: t[FIRST].fill_(torch.nan)),
        "model.safetensors holds a number that is not finite",
    ),
    (
        "too large for single precision",
        in_tensors(MODEL, lambda t: t.update({FIRST: torch.full((32, 3), 1e300, dtype=torch.float64)})),
        f"model.safetensors holds a number that is not finite, in {FIRST}.",
    ),
    (
        "another step",
        in_tensors(TRAINER, lambda t: t.update(step=torch.tensor(19))),
        "trainer.safetensors is of another step than the last report, which is of step 20.",
    ),
    (
        "a float step",
        in_tensors(TRAINER, lambda t: t.update(step=torch.tensor(20.0))),
        "trainer.safetensors is of another",
    ),
    ("generator", in_tensors(TRAINER, lambda t: t["generator"].fill_(255)), "trainer.safetensors holds no state of a"),
    (
        "short generator",
        in_tensors(TRAINER, lambda t: t.update(generator=torch.ones(3, dtype=torch.uint8))),
        "trainer.safetensors holds no state of a generator",
    ),
    (
        "moment missing",
        in_tensors(TRAINER, lambda t: t.pop("optimiser.0.exp_avg")),
        "trainer.safetensors does not fit config.json: it lacks optimiser.0.exp_avg.",
    ),
    (
        "moment too many",
        in_tensors(TRAINER, lambda t: t.update({"optimiser.99.exp_avg": torch.ones(1)})),
        "trainer.safetensors does not fit config.json: it has an unknown optimiser.99.exp_avg.",
    ),
    (
        "moment of another shape",
        in_tensors(TRAINER, lambda t: t.update({"optimiser.0.exp_avg": torch.ones(2)})),
        "trainer.safetensors does not fit config.json: optimiser.0.exp_avg has the shape [2], but the model needs",
    ),
    (
        "infinite moment",
        in_tensors(TRAINER, lambda t: t["optimiser.0.exp_avg"].fill_(torch.inf)),
        "trainer.safetensors holds a number that is not finite, in optimiser.0.exp_avg.",
    ),
    (
        "moment of eight bits",
        in_tensors(TRAINER, lambda t: t.update({MOMENT: t[MOMENT].to(torch.float8_e5m2)})),
        f"trainer.safetensors does not fit config.json: {MOMENT} holds numbers of the type torch.float8_e5m2.",
    ),
]


@pytest.mark.parametrize(("edit", "sentence"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
def test_what_cannot_be_is_refused_and_leaves_nothing(
    whole: dict[str, bytes], runs_folder: Path, edit: Edit, sentence: str
) -> None:
    entries = dict(whole)
    edit(entries)
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        import_archive(zipped(entries))
    assert not runs_folder.exists() or list(runs_folder.iterdir()) == []


def test_a_recipe_of_a_gigabyte_takes_no_memory(whole: dict[str, bytes]) -> None:
    """Its weights are not there, only its config says so."""
    huge = replace(SMALL, model=ModelConfig(widths=(4096,) * 8, latent=64))
    assert sum(p.numel() for p in skeleton(huge).parameters()) > 230_000_000
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(ValueError, match=r"model\.safetensors does not fit config\.json"):
        import_archive(zipped({**whole, "config.json": huge.to_json().encode()}))
    assert time.monotonic() - begin < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


def skeleton(config: Config) -> torch.nn.Module:
    with torch.device("meta"):
        return new_model(config)


VARIANTS: list[dict[str, object]] = [
    *({"likelihood": name} for name in LIKELIHOODS),
    *({"posterior": name} for name in POSTERIORS if name not in ("bernoulli", "deterministic")),
    *({"prior": name, "components": 3} for name in PRIORS if name not in ("bernoulli", "none")),
    {"posterior": "bernoulli", "prior": "bernoulli"},
    {"posterior": "deterministic", "prior": "none"},
    {"prior": "gaussian", "prior_mean": (1.0, 2.0, 3.0)},
    {"network": "conv", "widths": (3, 5)},
    {"below": (4, 3), "inner_widths": (5,)},
]


@pytest.mark.parametrize("settings", VARIANTS, ids=str)
def test_a_model_without_memory_has_the_names_and_shapes_of_the_real_one(settings: dict[str, object]) -> None:
    binary = settings.get("prior") == "bernoulli"
    objective = ObjectiveConfig(estimator="score_function_loo" if binary else "pathwise", draws=2)
    config = replace(SMALL, model=replace(SMALL.model, **settings), objective=objective)
    assert problems(config) == []
    real = {name: value.shape for name, value in new_model(config).state_dict().items()}
    assert {name: value.shape for name, value in skeleton(config).state_dict().items()} == real
    assert list(real) == list(skeleton(config).state_dict())


def test_a_full_disk_is_told_and_leaves_nothing(
    whole: dict[str, bytes], runs_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = durable.write

    def full(path: Path, data: bytes) -> None:
        if path.name == "model.safetensors":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, data)

    monkeypatch.setattr(durable, "write", full)
    with pytest.raises(ValueError, match=r"^The run could not be stored\. The disk is full\."):
        import_archive(zipped(whole))
    assert list(runs_folder.iterdir()) == []


def test_all_that_a_worker_reports_survives(run: Run, whole: dict[str, bytes], tmp_path: Path) -> None:
    """A new name in the reports is to be entered in `reports`."""
    shutil.copytree(run.folder, tmp_path / "copy")
    assert import_archive(zipped(whole)).rows() == Run(tmp_path / "copy").rows()
    assert any("changed" in row for row in run.rows())
