"""Forks: runs that begin with a checkpoint of another run and go on from there with other settings."""

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from vae_core.config import Config
from vae_core.datasets import DATASETS
from vae_core.runs import Run, appearing, load_tensors, new_folder, save_tensors, write_atomically
from vae_core.steering import STEERABLE, Change, Settings, differences, steered

SEED = "seed"
"""What a fork may change beside the steerable settings."""


@dataclass(frozen=True)
class Origin:
    """The run that a fork left, and after how many steps."""

    run: str
    step: int


def origin(run: Run) -> Origin | None:
    """Where a run was forked from; None for a run that began by itself."""
    try:
        return Origin(**json.loads((run.folder / "parent.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def steps_per_epoch(config: Config) -> int:
    return DATASETS[config.dataset].sizes.train // config.schedule.batch_size


def config_at(run: Run, step: int) -> Config:
    """The recipe that held when a run had done that many steps. Raises DamagedRun."""
    config = run.config()
    for change in run.changes():
        if change.step <= step:
            config = steered(config, change.settings)
    return config


def fork(parent: Run, step: int, settings: Settings, owner: str = "") -> Run:
    """A new run in state queued that goes on from the parent's checkpoint of that step: with its weights and optimiser,
    its reports and snapshots until then, and the recipe that held then, but for `settings`.

    With no other settings it goes on as the parent did, bit for bit. With a seed of its own it draws other noise and
    takes the examples in another order from there on.

    Raises ValueError for settings that a fork cannot have and steps of no checkpoint; DamagedRun.
    """
    begun, asked = parent.config(), dict(settings)
    seed = asked.pop(SEED, begun.seed)
    news = _news(config_at(parent, step), step, asked)
    checkpoint = _checkpoint(parent, step)
    target = new_folder(begun)
    with appearing(target, replace(begun, seed=seed), owner) as draft:
        shutil.copytree(checkpoint, draft.folder / "checkpoints" / checkpoint.name)
        _copy_history(parent, draft, step)
        if news:
            draft.log_change(Change(step, news))
        if seed != begun.seed:
            _forget_noise(draft)
            news = {**news, SEED: seed}
        _remember(draft, Origin(parent.id, step), news)
    return Run(target)


def _news(before: Config, step: int, settings: Settings) -> Settings:
    """Those settings that differ from what held. Raises ValueError for what a fork cannot have."""
    unknown = sorted(settings.keys() - STEERABLE.keys())
    if unknown:
        raise ValueError(
            f"{', '.join(unknown)} cannot change in a fork, whose weights and optimiser are those of the checkpoint; "
            f"these can: {', '.join(sorted({*STEERABLE, SEED}))}. Train anew for anything else"
        )
    after = steered(before, settings)
    last = after.schedule.epochs * steps_per_epoch(after)
    if last <= step:
        raise ValueError(
            f"{after.schedule.epochs} epochs end at step {last:,}, but this fork begins at step {step:,}: "
            "choose more epochs, or an earlier checkpoint"
        )
    return differences(before, after)


def _checkpoint(parent: Run, step: int) -> Path:
    found = {int(path.name): path for path in parent.resumable()}
    if step not in found:
        there = ", ".join(map(str, found)) or "none yet"
        raise ValueError(f"there is no checkpoint of step {step}; choose one of these steps: {there}")
    return found[step]


def _copy_history(parent: Run, draft: Run, step: int) -> None:
    """What the parent did until that step: reports, changes of settings and snapshots."""
    (draft.folder / "metrics.jsonl").write_bytes(parent.metrics()[0])
    draft.keep_rows_until(step)
    for change in parent.changes():
        if change.step <= step:
            draft.log_change(change)
    (draft.folder / "snapshots").mkdir()
    for past in parent.snapshots():
        if past <= step:
            shutil.copyfile(parent.snapshot_path(past), draft.snapshot_path(past))


def _forget_noise(draft: Run) -> None:
    """Without the parent's generator the trainer begins with one of the fork's own seed."""
    path = draft.checkpoints()[0] / "trainer.safetensors"
    state = load_tensors(path)
    save_tensors(path, {name: value for name, value in state.items() if name != "generator"})


def _remember(draft: Run, left: Origin, news: Settings) -> None:
    """The origin in a file of its own, and on the last report of the parent, where the curves show it."""
    write_atomically(draft.folder / "parent.json", json.dumps(asdict(left)).encode())
    rows = draft.rows()
    if not rows:
        return
    last = rows[-1]
    last["forked"] = asdict(left)
    if news:
        last["changed"] = last.get("changed", {}) | news
    text = "".join(json.dumps(row) + "\n" for row in rows)
    write_atomically(draft.folder / "metrics.jsonl", text.encode())
