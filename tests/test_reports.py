import json
import re
from dataclasses import replace
from typing import Any

import pytest

from vae_core import reports
from vae_core.config import Config, ObjectiveConfig
from vae_core.reports import LONGEST_LINE, checked_changes, checked_rows
from vae_core.steering import Change

ROW: dict[str, Any] = {
    "step": 3,
    "epoch": 0.5,
    "seconds": 1.5,
    "learning_rate": 0.001,
    "beta": 1,
    "train_objective": -100.5,
    "train_elbo": -100.5,
    "train_reconstruction": -90.25,
    "train_kl": 10.25,
}
LOOK = ROW | {
    "gradient_norms": {"encoder": 1.5, "decoder": 2.5, "prior": 0.0},
    "held_out_elbo": -99.0,
    "held_out_elbo_se": 0.5,
    "held_out_reconstruction": -88.0,
    "held_out_kl": 11.0,
    "active_units": 3,
    "kl_by_dimension": [1.5, 0, 3e-5],
    "changed": {"beta": 4.0, "estimator": "pathwise", "seed": 3},
    "forked": {"run": "20260101-000000-digits-2d-0123", "step": 2},
}


def lines(*values: object) -> bytes:
    return "".join(json.dumps(value) + "\n" for value in values).encode()


def test_good_reports_are_kept_as_they_are() -> None:
    rows = [ROW, LOOK, ROW, {**LOOK, "step": 4}]
    assert checked_rows(lines(*rows)) == rows
    assert [list(row) for row in checked_rows(lines(*rows))] == [list(row) for row in rows]
    assert checked_rows(b"") == []


def test_what_is_not_known_is_dropped() -> None:
    strange = {**LOOK, "colour": "<script>", "__proto__": {}, "held_out": [1, [2]]}
    assert checked_rows(lines(strange)) == [LOOK]


NUMBERS = [name for name in LOOK if isinstance(LOOK[name], (int, float))]
HOSTILE = ["1", None, True, [1], {}, float("nan"), float("inf"), -float("inf"), 10**400, -(10**400)]


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: repr(value)[:10])
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_must_be_finite_numbers(name: str, value: object) -> None:
    with pytest.raises(
        ValueError, match=rf"^Line 2 of metrics\.jsonl has a {name} that cannot be: a report has finite"
    ):
        checked_rows(lines(LOOK, {**LOOK, name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step", 1.5),
        ("step", -1),
        ("step", 10**9),
        ("active_units", -1),
        ("kl_by_dimension", 3),
        ("kl_by_dimension", ["1"]),
        ("kl_by_dimension", [[1.0]]),
        ("kl_by_dimension", [float("nan")]),
        ("gradient_norms", [1.0]),
        ("gradient_norms", {"<b>": 1.0}),
        ("gradient_norms", {"encoder": "1"}),
        ("changed", []),
        ("changed", {"colour": 1}),
        ("changed", {"beta": {"a": 1}}),
        ("changed", {"estimator": "x" * 100}),
        ("changed", {"estimator": "nope"}),
        ("changed", {"estimator": ["pathwise"]}),
        ("changed", {"beta": "x"}),
        ("changed", {"draws": 1.5}),
        ("changed", {"seed": "<b>"}),
        ("forked", "run"),
        ("forked", {"run": "../x", "step": 1}),
        ("forked", {"run": 7, "step": 1}),
        ("forked", {"run": "a", "step": "1"}),
        ("forked", {"run": "a"}),
    ],
)
def test_values_that_cannot_be(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^Line 1 of metrics\.jsonl has a {name} that cannot be"):
        checked_rows(lines({**LOOK, name: value}))


@pytest.mark.parametrize("name", [*ROW, "held_out_kl", "active_units"])
def test_what_every_report_has(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^Line 1 of metrics\.jsonl lacks {name}"):
        checked_rows(lines({key: value for key, value in LOOK.items() if key != name}))


@pytest.mark.parametrize("line", [b"", b"{", b"\xff", b"{" * 40_000, b"[" * 40_000, b'{"step":' * 5_000, b"1" * 5_000])
def test_lines_that_are_no_json(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"^Line 2 of metrics\.jsonl is no JSON\.$"):
        checked_rows(lines(ROW) + line + b"\n" + lines(ROW))


@pytest.mark.parametrize("value", [[], 1, None, "x", [ROW]])
def test_lines_that_are_no_objects(value: object) -> None:
    with pytest.raises(ValueError, match=r"^Line 1 of metrics\.jsonl is no JSON object\.$"):
        checked_rows(lines(value))


def test_lines_are_of_bounded_number_and_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "MOST_LINES", 100)
    assert len(checked_rows(lines(ROW) * 100)) == 100
    with pytest.raises(ValueError, match=r"^metrics\.jsonl has 101 lines, but at most 100 are accepted"):
        checked_rows(lines(ROW) * 101)
    with pytest.raises(ValueError, match=r"^Line 1 of metrics\.jsonl has 50,001 bytes, but at most 50,000 are"):
        checked_rows(b" " * (LONGEST_LINE + 1))


def test_steps_go_up() -> None:
    with pytest.raises(ValueError, match=r"^Line 3 of metrics\.jsonl is of an earlier step than the line before"):
        checked_rows(lines(ROW, {**ROW, "step": 5}, {**ROW, "step": 4}))


def test_good_changes_make_a_recipe() -> None:
    changes = [
        Change(3, {"beta": 4, "learning_rate": 0.01}),
        Change(3, {"epochs": 50}),
        Change(9, {"draws": 2, "estimator": "pathwise"}),
    ]
    found, config = checked_changes("".join(change.to_json() + "\n" for change in changes).encode(), Config())
    assert found == changes
    assert (config.objective.beta, config.schedule.learning_rate, config.schedule.epochs) == (4.0, 0.01, 50)
    assert replace(config.objective, beta=1.0) == ObjectiveConfig(estimator="pathwise", draws=2)
    assert checked_changes(b"", Config()) == ([], Config())


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"step": 1}, "must have a step and settings that can change"),
        ({"step": "1", "settings": {}}, "must have a step and settings that can change"),
        ({"step": 1, "settings": {"latent": 3}}, "must have a step and settings that can change"),
        ({"step": 1, "settings": {"beta": [1]}}, "must have a step and settings that can change"),
        ({"step": 1, "settings": {"beta": float("nan")}}, "must have a step and settings that can change"),
        ({"step": 1, "settings": {"seed": 3}}, "must have a step and settings that can change"),
        ({"step": 1, "settings": {"beta": -1}}, ": β is -1.0, but must be a number from 0 to 100"),
        ({"step": 1, "settings": {"beta": "1"}}, ": config.objective.beta must be of type float; got '1'"),
        ({"step": 1, "settings": {"epochs": 2.5}}, ": config.schedule.epochs must be of type int; got 2.5"),
        ({"step": 1, "settings": {"estimator": "magic"}}, ": Estimator is 'magic', but must be one of"),
        ({"step": 1, "settings": {"estimator": 3}}, ": config.objective.estimator must be of type str; got 3"),
    ],
)
def test_changes_that_cannot_be(value: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=rf"^Line 1 of changes\.jsonl ?{re.escape(sentence)}"):
        checked_changes(lines(value), Config())


def test_changes_come_in_order() -> None:
    data = lines({"step": 5, "settings": {"beta": 2.0}}, {"step": 4, "settings": {"beta": 3.0}})
    with pytest.raises(ValueError, match=r"^Line 2 of changes\.jsonl is of an earlier step than the line before"):
        checked_changes(data, Config())
