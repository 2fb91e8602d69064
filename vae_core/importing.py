"""Taking in a run that somebody exported: a stranger's zip. Nothing of it is executed, and only what is known is kept.

The run appears whole, or not at all.
"""

import json
import re
import struct
from io import BufferedIOBase

import torch
from torch import Tensor, nn

from vae_core import durable
from vae_core.config import Config
from vae_core.forking import steps_per_epoch
from vae_core.marks import Marks, mark
from vae_core.model import HelmholtzMachine
from vae_core.optimisers import OPTIMISERS
from vae_core.reports import checked_changes, checked_rows
from vae_core.rules import check
from vae_core.runs import Row, Run, Status, appearing, load_tensors, new_folder, save_tensors
from vae_core.training import new_model
from vae_core.zipped import Zipped

IMPORTED = "imported"
"""The tag of runs that were."""
CONFIG_BYTES = 64_000
LINES_BYTES = 20_000_000
WEIGHTS_BYTES = 400_000_000
TRAINER_BYTES = 2 * WEIGHTS_BYTES
HEADER_BYTES = 1_000_000
TYPES = (torch.float32, torch.int64, torch.uint8)
"""Of numbers that the app stores."""
CUDA_STATE = 16
"""Bytes of the state of a CUDA generator."""
ACCEPTED = "Accepted is the zip that this app exports of a run, or one with its config.json and model.safetensors."


def import_archive(file: BufferedIOBase, owner: str = "") -> Run:
    """A new run of that owner, finished or stopped as it was exported, tagged as imported; with trainer.safetensors in
    the zip it can be trained on.

    Raises ValueError with a sentence on what is wrong, and then leaves nothing behind.
    """
    zipped = Zipped(file)
    inside = _folder(zipped)
    config = _config(zipped.read(f"{inside}config.json", CONFIG_BYTES))
    changes, steered = checked_changes(_optional(zipped, f"{inside}changes.jsonl"), config)
    rows = checked_rows(_optional(zipped, f"{inside}metrics.jsonl"))
    status = _status(steered, rows)
    target = new_folder(config)
    try:
        with appearing(target, config, owner) as draft:
            _write_lines(draft, "metrics.jsonl", [json.dumps(row) for row in rows])
            _write_lines(draft, "changes.jsonl", [change.to_json() for change in changes])
            _checkpoint(zipped, inside, draft, steered, status.step)
            draft.write_status(status)
            mark(draft, Marks(tags=(IMPORTED,)))
    except OSError as error:
        raise ValueError(f"The run could not be stored. {durable.explained(error)}") from error
    return Run(target)


def _folder(zipped: Zipped) -> str:
    """Where in the zip the run lies: at its top, or in a folder, as those zip it who unpacked it."""
    found = sorted((name for name in zipped if re.fullmatch("(.*/)?config.json", name)), key=len)
    inside = found[0].removesuffix("config.json") if found else ""
    if not found or f"{inside}model.safetensors" not in zipped:
        raise ValueError(f"The zip file holds no config.json with a model.safetensors beside it. {ACCEPTED}")
    return inside


def _optional(zipped: Zipped, name: str) -> bytes:
    return zipped.read(name, LINES_BYTES) if name in zipped else b""


def _config(data: bytes) -> Config:
    try:
        text = data.decode()
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"config.json is no JSON. {ACCEPTED}") from error
    if not isinstance(value, dict) or not {"dataset", "model", "objective", "schedule"} <= value.keys():
        raise ValueError(f"config.json is that of another project: it describes no run of this app. {ACCEPTED}")
    try:
        config = Config.from_json(text)
        check(config)
    except ValueError as error:
        raise ValueError(f"config.json cannot be used: {str(error)[:500]}") from error
    return config


def _status(config: Config, rows: list[Row]) -> Status:
    """That of a run which did as many steps as its last report says, or all of them where there are no reports."""
    total = config.schedule.epochs * steps_per_epoch(config)
    step, seconds = (rows[-1]["step"], float(rows[-1]["seconds"])) if rows else (total, 0.0)
    return Status("finished" if step >= total else "stopped", step=step, total_steps=total, seconds=seconds)


def _write_lines(draft: Run, name: str, lines: list[str]) -> None:
    if lines:
        durable.write(draft.folder / name, ("\n".join(lines) + "\n").encode())


def _checkpoint(zipped: Zipped, inside: str, draft: Run, config: Config, step: int) -> None:
    with torch.device("meta"):
        skeleton = new_model(config)  # names and shapes, and no memory, however large the numbers in the recipe
    folder = draft.folder / "checkpoints" / f"{step:09d}"
    folder.mkdir(parents=True)
    stored = _unpacked(zipped, f"{inside}model.safetensors", draft, WEIGHTS_BYTES)
    save_tensors(folder / "model.safetensors", _weights(stored, skeleton))
    if f"{inside}trainer.safetensors" in zipped:
        state = _unpacked(zipped, f"{inside}trainer.safetensors", draft, TRAINER_BYTES)
        _check_trainer(state, skeleton, config, step)
        save_tensors(folder / "trainer.safetensors", state)


def _unpacked(zipped: Zipped, name: str, draft: Run, most: int) -> dict[str, Tensor]:
    path = draft.folder / "unpacked.safetensors"
    with path.open("wb") as file:
        for chunk in zipped.chunks(name, most):
            file.write(chunk)
    with path.open("rb") as file:
        head = file.read(8)
    if len(head) < 8 or struct.unpack("<Q", head)[0] > HEADER_BYTES:
        raise ValueError(f"{name} is no safetensors file, or lists more than a model has.")
    try:
        return load_tensors(path)
    except ValueError as error:
        raise ValueError(f"{name} is no safetensors file, or a damaged one.") from error
    finally:
        path.unlink()  # what was loaded stays readable


def _weights(stored: dict[str, Tensor], skeleton: HelmholtzMachine) -> dict[str, Tensor]:
    """In single precision. Raises ValueError unless they are those of such a model, and finite."""
    if wrong := [name for name, value in stored.items() if not value.is_floating_point()]:
        raise ValueError(f"model.safetensors does not fit config.json: {wrong[0][:100]} holds no fractions.")
    weights = {name: value.float() for name, value in stored.items()}
    _check_tensors("model.safetensors", weights, {name: value.shape for name, value in skeleton.state_dict().items()})
    return weights


def _check_trainer(state: dict[str, Tensor], skeleton: HelmholtzMachine, config: Config, step: int) -> None:
    """Raises ValueError unless a trainer of such a model can go on from this state, after that step."""
    probe = nn.Parameter(torch.zeros(2))
    probe.grad = torch.zeros(2)
    optimiser = OPTIMISERS[config.schedule.optimiser]([probe], lr=0.1)
    optimiser.step()
    moments = {name: value.shape == probe.shape for name, value in optimiser.state[probe].items()}
    expected = {"step": torch.Size()} | {name: state[name].shape for name in ("generator",) if name in state}
    for index, parameter in enumerate(skeleton.parameters()):
        if any(name.startswith(f"optimiser.{index}.") for name in state):  # what got no gradient has none
            for name, like_it in moments.items():
                expected[f"optimiser.{index}.{name}"] = parameter.shape if like_it else torch.Size()
    _check_tensors("trainer.safetensors", state, expected)
    if state["step"].dtype != torch.int64 or state["step"].item() != step:
        raise ValueError(f"trainer.safetensors is of another step than the last report, which is of step {step:,}.")
    if "generator" in state:
        _check_generator(state["generator"])


def _check_generator(state: Tensor) -> None:
    """Of a GPU it cannot be tried without one."""
    try:
        if len(state) != CUDA_STATE:
            torch.Generator().set_state(state)
    except (RuntimeError, TypeError) as error:
        raise ValueError("trainer.safetensors holds no state of a generator of random numbers.") from error


def _check_tensors(name: str, tensors: dict[str, Tensor], expected: dict[str, torch.Size]) -> None:
    odd = sorted(expected.keys() ^ tensors.keys())
    if odd:
        what = "lacks" if odd[0] in expected else "has an unknown"
        raise ValueError(f"{name} does not fit config.json: it {what} {odd[0][:100]}.")
    for key, value in tensors.items():
        if value.shape != expected[key]:
            raise ValueError(
                f"{name} does not fit config.json: {key} has the shape {list(value.shape)}, but the model needs "
                f"{list(expected[key])}."
            )
        if value.dtype not in TYPES:
            raise ValueError(f"{name} does not fit config.json: {key} holds numbers of the type {value.dtype}.")
        if not value.isfinite().all():
            raise ValueError(f"{name} holds a number that is not finite, in {key}.")
