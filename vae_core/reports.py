"""Reports and changes of settings that strangers wrote: checked line by line, and only what is known is kept."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from vae_core.config import Config
from vae_core.estimators import ESTIMATORS
from vae_core.rules import check
from vae_core.runs import RUN_ID, Row
from vae_core.steering import STEERABLE, Change

MOST_LINES = 20_000
LONGEST_LINE = 50_000
LAST_STEP = 999_999_999
LARGEST = 1e300
PARTS = ("encoder", "decoder", "prior")

Check = Callable[[Any], bool]


def _number(value: Any) -> bool:
    return type(value) in (int, float) and -LARGEST <= value <= LARGEST


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LAST_STEP


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(_number, value))


def _norms(value: Any) -> bool:
    return isinstance(value, dict) and set(value) <= set(PARTS) and all(map(_number, value.values()))


def _settings(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) <= {*STEERABLE, "seed"}
        and all(_number(part) or (isinstance(part, str) and len(part) < 100) for part in value.values())
    )


def _changed(value: Any) -> bool:
    return isinstance(value, dict) and all(name in CHANGED and CHANGED[name](part) for name, part in value.items())


def _origin(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"run", "step"}
        and isinstance(value["run"], str)
        and RUN_ID.fullmatch(value["run"]) is not None
        and _count(value["step"])
    )


CHANGED: dict[str, Check] = {
    "learning_rate": _number,
    "beta": _number,
    "epochs": _count,
    "draws": _count,
    "estimator": lambda value: isinstance(value, str) and value in ESTIMATORS,
    "seed": _count,
}
"""The settings that a report says have changed: those that a run may change, and with a fork its seed."""
TRAINED: dict[str, Check] = {"step": _count} | dict.fromkeys(
    ("epoch", "seconds", "learning_rate", "beta", "train_objective", "train_elbo", "train_reconstruction", "train_kl"),
    _number,
)
LOOKED: dict[str, Check] = dict.fromkeys(
    ("held_out_elbo", "held_out_elbo_se", "held_out_reconstruction", "held_out_kl"), _number
) | {"active_units": _count}
EXTRA: dict[str, Check] = {
    "kl_by_dimension": _numbers,
    "gradient_norms": _norms,
    "changed": _changed,
    "forked": _origin,
}
"""What a report has always, has all of or nothing of, and may have. Anything else in it is dropped."""
KNOWN = TRAINED | LOOKED | EXTRA


def checked_rows(data: bytes) -> list[Row]:
    """The reports of a metrics.jsonl. Raises ValueError with the line and what is wrong with it."""
    rows: list[Row] = []
    for where, value in _lines(data, "metrics.jsonl"):
        row = {name: part for name, part in value.items() if name in KNOWN}
        needed = TRAINED | LOOKED if row.keys() & LOOKED.keys() else TRAINED
        missing = [name for name in needed if name not in row]
        wrong = [name for name, part in row.items() if not KNOWN[name](part)]
        if missing or wrong:
            what = f"lacks {missing[0]}" if missing else f"has a {wrong[0]} that cannot be"
            raise ValueError(f"{where} {what}: a report has finite numbers under the names that this app writes.")
        if rows and row["step"] < rows[-1]["step"]:
            raise ValueError(f"{where} is of an earlier step than the line before.")
        rows.append(row)
    return rows


def checked_changes(data: bytes, config: Config) -> tuple[list[Change], Config]:
    """The changes of a changes.jsonl, and the recipe after all of them. Raises ValueError."""
    changes: list[Change] = []
    for where, value in _lines(data, "changes.jsonl"):
        step, settings = value.get("step", -1), value.get("settings", [])
        if not (_count(step) and _settings(settings) and settings.keys() <= STEERABLE.keys()):
            raise ValueError(f"{where} must have a step and settings that can change, which are numbers or names.")
        change = Change(step, settings)
        if changes and change.step < changes[-1].step:
            raise ValueError(f"{where} is of an earlier step than the line before.")
        try:
            config = _steered(config, change)
        except ValueError as error:
            raise ValueError(f"{where}: {str(error)[:300]}") from error
        changes.append(change)
    return changes, config


def _steered(config: Config, change: Change) -> Config:
    """The recipe after the change, whose settings were read as those of a recipe are: each of its type."""
    whole = json.loads(config.to_json())
    for name, value in change.settings.items():
        whole[STEERABLE[name]][name] = value
    config = Config.from_json(json.dumps(whole))
    check(config)
    return config


def _lines(data: bytes, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every line as the object that it must be, with its place for a message."""
    lines = data.splitlines()
    if len(lines) > MOST_LINES:
        raise ValueError(f"{name} has {len(lines):,} lines, but at most {MOST_LINES:,} are accepted.")
    for number, line in enumerate(lines, start=1):
        where = f"Line {number:,} of {name}"
        if len(line) > LONGEST_LINE:
            raise ValueError(f"{where} has {len(line):,} bytes, but at most {LONGEST_LINE:,} are accepted.")
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where} is no JSON.") from error
        if not isinstance(value, dict):
            raise ValueError(f"{where} is no JSON object.")
        yield where, value
