"""What the Runs page computes before it draws: thinned curves, figures, names, filters, addresses."""

import json
import urllib.parse
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ui.runs.address import LINK_LIMIT, LONGEST, ORIGINS, STATES, TOOLS, Library, read
from ui.runs.catalogue import Entry, matching
from ui.runs.curves import Drawn, overlay, settled_range
from ui.runs.differing import differing, distinguished
from ui.runs.look import look
from ui.runs.plane import Point, levels, rate_distortion_figure
from ui.runs.reports import reports
from ui.runs.thinning import MOST, thinned
from ui.words import short
from vae_core.datasets import DATASETS
from vae_core.defaults import recipe
from vae_core.marks import Marks
from vae_core.overview import Overview
from vae_core.runs import DamagedRun, Status

PLAIN = recipe("digits")
FULL = Library(("a", "20261121-a.b_c"), "β = 4", "mnist", "damaged", "shipped", "good one", "best")


def again(state: Library) -> tuple[Library, list[str]]:
    """Written into a query string as a browser holds it, and read from there."""
    return read(dict(urllib.parse.parse_qsl(urllib.parse.urlencode(state.params()))))


@pytest.mark.parametrize(
    "state",
    [Library(), FULL]
    + [Library(**{name: getattr(FULL, name)}) for name in (field.name for field in fields(Library))]
    + [Library(tool=tool) for tool in TOOLS]
    + [Library(state=state) for state in STATES]
    + [Library(origin=origin) for origin in ORIGINS]
    + [Library(data=name) for name in DATASETS],
    ids=str,
)
def test_an_address_is_read_as_it_was_written(state: Library) -> None:
    assert again(state) == (state, [])


def test_a_link_names_no_more_runs_than_an_address_can_hold() -> None:
    many = tuple(f"run{k}" for k in range(LINK_LIMIT + 5))
    state, notices = again(Library(many, tool="best"))
    assert state == Library(many[:LINK_LIMIT], tool="best")
    assert notices == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("runs", "../../etc/passwd"),
        ("runs", ""),
        ("runs", "a~b/c"),
        ("runs", "~".join(f"r{k}" for k in range(LINK_LIMIT + 1))),
        ("runs", "x" * 101),
        ("text", "y" * (LONGEST + 1)),
        ("text", "a\x00b"),
        ("tag", "a\u202eb"),
        ("data", "imagenet"),
        ("state", "happy"),
        ("origin", "stolen"),
        ("tool", "rm"),
    ],
)
def test_nonsense_in_a_link_costs_that_part_alone(name: str, text: str) -> None:
    state, notices = read({**Library(data="mnist", text="word").params(), name: text})
    assert state == replace(Library(data="mnist", text="word"), **{name: getattr(Library(), name)})
    assert len(notices) == 1
    assert notices[0].startswith(f"The link's “{name}” was left out: ")


def entry(run_id: str = "20261121-140443-digits-2d-8552da5ec912538a", **parts: Any) -> Entry:
    plain: dict[str, Any] = {"config": PLAIN, "status": Status("finished"), "numbers": None, "marks": Marks()}
    given = {**plain, **{name: value for name, value in parts.items() if name != "origin"}}
    return Entry(Overview(run_id, created=0.0, disk=0, **given), Path(run_id), parts.get("origin", "own"))


ENTRIES = [
    entry("one", marks=Marks(("good", "old"), "a Note on β")),
    entry("two", config=recipe("mnist"), status=Status("running")),
    entry("three", config=None, status=None, damaged="config.json cannot be read"),
    entry("mnist-2d", config=recipe("mnist", 7), origin="shipped"),
]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Library(), ["one", "two", "three", "mnist-2d"]),
        (Library(text="note"), ["one"]),
        (Library(text="  NOTE   good "), ["one"]),
        (Library(text="note mnist"), []),
        (Library(text="cannot be read"), ["three"]),
        (Library(text="MNIST"), ["two", "mnist-2d"]),
        (Library(data="mnist"), ["two", "mnist-2d"]),
        (Library(data="mnist", origin="shipped"), ["mnist-2d"]),
        (Library(state="running"), ["two"]),
        (Library(state="damaged"), ["three"]),
        (Library(tag="old"), ["one"]),
        (Library(tag="ol"), []),
    ],
    ids=str,
)
def test_the_filter_lets_pass_what_fits_in_every_part(wanted: Library, expected: list[str]) -> None:
    assert [found.id for found in matching(ENTRIES, wanted)] == expected


def test_a_short_name_keeps_what_tells_runs_apart() -> None:
    assert short("20261121-140443-digits-2d-8552da5ec912538a") == "digits-2d-8552da"
    assert short("mnist-2d") == "mnist-2d"


def test_no_two_of_hundreds_of_runs_look_alike() -> None:
    assert len({look(number) for number in range(630)}) == 630


def spikes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """A rising curve with two needles."""
    x = np.arange(count, dtype=float)
    y = -100 / (1 + x / 50)
    y[count // 3], y[count // 2] = 80.0, -300.0
    return x, y


@pytest.mark.parametrize("count", [1, 2, 3, MOST - 1, MOST])
def test_a_short_curve_is_drawn_as_it_is(count: int) -> None:
    x, y = np.arange(count, dtype=float), np.ones(count)
    assert thinned(x, y).tolist() == list(range(count))


@pytest.mark.parametrize("most", [3, 4, 50, MOST])
@pytest.mark.parametrize("count", [MOST + 1, 2 * MOST + 1, 20_011])
def test_a_long_curve_keeps_its_ends_and_order(count: int, most: int) -> None:
    kept = thinned(*spikes(count), most)
    assert len(kept) == most
    assert (np.diff(kept) > 0).all()
    assert kept[0] == 0
    assert kept[-1] == count - 1


def test_a_thinned_curve_keeps_its_needles_and_its_shape() -> None:
    x, y = spikes(20_000)
    kept = thinned(x, y)
    assert y[kept].max() == y.max()
    assert y[kept].min() == y.min()
    smooth = np.delete(y, [20_000 // 3, 10_000])
    between = np.interp(np.delete(x, [20_000 // 3, 10_000]), x[kept], y[kept])
    assert np.quantile(np.abs(between - smooth), 0.95) < 0.5


def test_an_axis_leaves_out_the_steep_start_of_a_curve() -> None:
    y = np.concatenate([np.linspace(-1000, -50, 5), np.linspace(-50, -20, 95)])
    found = settled_range([y])
    assert found is not None
    assert -60 < found[0] < -50
    assert -20 < found[1] < -10
    assert settled_range([y[:3]]) is None
    assert settled_range([]) is None


def written(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


ROWS = [
    {"step": 1, "epoch": 0.5, "seconds": 1.0, "train_elbo": -30.0, "train_reconstruction": -30.0, "train_kl": 0.0},
    {"step": 2, "epoch": 1.0, "seconds": 3.0, "train_elbo": -25.0, "train_reconstruction": -24.0, "train_kl": 1.0,
     "held_out_elbo": -26.0, "held_out_reconstruction": -24.5, "held_out_kl": 1.5},
]  # fmt: skip


def test_reports_are_read_by_part_and_again_when_they_have_grown(tmp_path: Path) -> None:
    folder = written(tmp_path / "run", ROWS)
    first = reports(folder)
    assert [part.tolist() for part in first.curve("epoch", "train", "kl")] == [[0.5, 1.0], [0.0, 1.0]]
    assert [part.tolist() for part in first.curve("seconds", "held_out", "elbo")] == [[3.0], [-26.0]]
    assert reports(folder) is first
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({**ROWS[1], "epoch": 2.0, "held_out_elbo": -20.0}) + "\n")
    assert reports(folder).curve("epoch", "held_out", "elbo")[1].tolist() == [-26.0, -20.0]
    assert len(reports(tmp_path / "none").columns["epoch"]) == 0


@pytest.mark.parametrize("text", ["{", '{"epoch": "soon"}'])
def test_reports_that_make_no_sense_are_damage(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(text + "\n")
    with pytest.raises(DamagedRun, match=r"metrics\.jsonl"):
        reports(tmp_path)


def test_curves_of_runs_lie_on_one_chart_a_measure(tmp_path: Path) -> None:
    runs = [Drawn(name, look(k), reports(written(tmp_path / name, ROWS))) for k, name in enumerate(("one", "two"))]
    figure = overlay(runs, ["elbo", "kl"], ["held_out", "train"], "seconds")
    drawn: Any = figure.data
    assert len(drawn) == 2 * 2 * 2
    held = [trace for trace in drawn if trace.yaxis == "y2" and "markers" in trace.mode]
    assert [(trace.name, list(trace.x), list(trace.y)) for trace in held] == [("one", [3], [1.5]), ("two", [3], [1.5])]
    assert len({(trace.line.color, trace.line.dash, trace.marker.symbol) for trace in held}) == 2
    assert [trace.name for trace in drawn if trace.showlegend] == ["one", "two"]


@pytest.mark.parametrize(("low", "high"), [(-27.3, -23.1), (-1.0, 1.0), (1000.0, 4000.0), (-0.004, -0.001)])
def test_levels_are_round_and_lie_between(low: float, high: float) -> None:
    found = levels(low, high)
    assert 3 <= len(found) <= 9
    assert low <= found[0]
    assert found[-1] <= high
    step = found[1] - found[0]
    assert round(step / 10 ** np.floor(np.log10(step) + 1e-9)) in (1, 2, 5)


def test_on_a_line_of_the_plane_the_elbo_is_what_it_says() -> None:
    points = [Point("a", "A", look(0), 2.0, 22.5), Point("b", "B", look(1), 8.0, 18.0)]
    drawn: Any = rate_distortion_figure(points).data
    lines = [trace for trace in drawn if "lines" in trace.mode]
    assert len(lines) >= 3
    for line in lines:
        if not line.text[0]:
            continue
        said = float(line.text[0].removeprefix("ELBO ").replace("−", "-"))
        assert [-x - y for x, y in zip(line.x, line.y, strict=True)] == pytest.approx([said, said])
    marks = [trace for trace in drawn if "markers" in trace.mode]
    assert [(mark.x[0], mark.y[0], mark.text[0]) for mark in marks] == [(2.0, 22.5, "a"), (8.0, 18.0, "b")]


def test_one_point_alone_has_a_plane_too() -> None:
    assert len(rate_distortion_figure([Point("a", "A", look(0), 0.0, 27.0)]).data) > 2


def with_beta(beta: float, seed: int = 0) -> Any:
    return replace(PLAIN, seed=seed, objective=replace(PLAIN.objective, beta=beta))


def test_recipes_are_named_by_what_differs_between_them() -> None:
    wide = replace(PLAIN, model=replace(PLAIN.model, widths=(64,)))
    assert differing([PLAIN, with_beta(4.0), wide]) == {
        "objective.beta": [1.0, 4.0, 1.0],
        "model.widths": [PLAIN.model.widths, PLAIN.model.widths, (64,)],
    }
    assert distinguished([PLAIN, with_beta(4.0)]) == ["β 1", "β 4"]
    assert distinguished([PLAIN, wide]) == ["widths 256-128", "widths 64"]
    assert distinguished([PLAIN]) == [""]
