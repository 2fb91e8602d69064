"""A grid of small runs, made by the program itself, once; then what it wrote, and what it does when called again."""

import csv
import json
import math
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import pytest

from vae_core import grid, sweep
from vae_core.command import configured
from vae_core.defaults import RECIPES
from vae_core.grid import Point, axis
from vae_core.runs import Run, Status
from vae_core.sweep import MEASURES, label, plot, points, table

QUICK = ["--epochs", "1", "--widths", "8", "--device", "cpu"]
GRID = ["--grid", "beta=0.5,4", "--grid", "widths=8 8,16", "--seeds", "0", "1"]
Captured = pytest.CaptureFixture[str]


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


def call(monkeypatch: pytest.MonkeyPatch, capsys: Captured, *arguments: str) -> Outcome:
    monkeypatch.setattr(sys, "argv", ["sweep", *QUICK, *arguments])
    code = sweep.main()
    printed = capsys.readouterr()
    return Outcome(code, printed.out, printed.err)


def parsed(*arguments: str) -> list[Point]:
    return points(sweep.parser().parse_args([*QUICK, "--out", "unused", *arguments]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep") / "here"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["sweep", *QUICK, *GRID, "--out", str(folder)])
        assert sweep.main() == 0
    return folder


def no_training(run: Run) -> Status:
    raise AssertionError(f"{run.folder} is trained again")


def test_every_combination_with_every_seed_is_run(folder: Path) -> None:
    runs = {path.name: Run(path) for path in folder.iterdir() if path.is_dir()}
    settings = ("beta=0.5,widths=8-8", "beta=0.5,widths=16", "beta=4,widths=8-8", "beta=4,widths=16")
    assert set(runs) == {f"{setting},seed={seed}" for setting in settings for seed in (0, 1)}
    for name, run in runs.items():
        config = run.config()
        assert run.status().state == "finished"
        assert config.objective.beta == (0.5 if name.startswith("beta=0.5") else 4)
        assert config.model.widths == ((8, 8) if "8-8" in name else (16,))
        assert config.seed == int(name[-1])
        assert (config.schedule.epochs, config.device) == (1, "cpu")


def test_the_table_holds_means_and_errors_over_seeds(folder: Path) -> None:
    rows = json.loads((folder / "table.json").read_text())
    assert [(row["beta"], row["widths"], row["seeds"]) for row in rows] == [
        ("0.5", "8 8", 2), ("0.5", "16", 2), ("4", "8 8", 2), ("4", "16", 2),
    ]  # fmt: skip
    for row in rows:
        name = f"beta={row['beta']},widths={row['widths'].replace(' ', '-')}"
        last = [
            [line for line in Run(folder / f"{name},seed={seed}").rows() if "held_out_elbo" in line][-1]
            for seed in (0, 1)
        ]
        for measure in MEASURES:
            first, second = (line[measure] for line in last)
            assert row[measure] == pytest.approx((first + second) / 2)
            # of two: half the distance
            assert row[f"{measure}_se"] == pytest.approx(abs(first - second) / 2)
    with (folder / "table.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert [{key: str(value) for key, value in row.items()} for row in rows] == written


def test_the_plot_shows_every_setting(folder: Path) -> None:
    rows = json.loads((folder / "table.json").read_text())
    picture = ET.fromstring((folder / "plot.svg").read_text())
    space = "{http://www.w3.org/2000/svg}"
    dots = [float(dot.attrib["cx"]) for dot in picture.iter(f"{space}circle")]
    bars = [(float(bar.attrib["x1"]), float(bar.attrib["x2"])) for bar in picture.iter(f"{space}line")]
    texts = [text.text for text in picture.iter(f"{space}text")]
    assert len(dots) == len(bars) == 4
    assert all(label(row) in texts and f"{row['held_out_elbo']:.2f}" in texts for row in rows)
    assert texts[-1] == "held-out ELBO, nats per example: mean over seeds ± one standard error"
    # pixels are a linear function of nats, dots and ends of bars alike
    low, high = min(bar[0] for bar in bars), max(bar[1] for bar in bars)
    assert (low, high) == (320, 720)
    ends = [
        (row["held_out_elbo"] - row["held_out_elbo_se"], row["held_out_elbo"] + row["held_out_elbo_se"]) for row in rows
    ]
    least, most = min(end[0] for end in ends), max(end[1] for end in ends)
    for dot, bar, row, end in zip(dots, bars, rows, ends, strict=True):
        for pixel, value in ((dot, row["held_out_elbo"]), (bar[0], end[0]), (bar[1], end[1])):
            assert pixel == pytest.approx(320 + 400 * (value - least) / (most - least), abs=0.11)


def test_a_second_call_trains_nothing_and_writes_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    before = {name: (folder / name).read_bytes() for name in ("table.csv", "table.json", "plot.svg")}
    monkeypatch.setattr(sweep, "train_with_bar", no_training)
    outcome = call(monkeypatch, capsys, *GRID, "--out", str(folder))
    assert (outcome.code, outcome.err) == (0, "")
    assert {name: (folder / name).read_bytes() for name in before} == before
    lines = outcome.out.splitlines()
    assert lines[-1] == f"table.csv, table.json and plot.svg are in {folder}"
    values = [float(line.split("held-out ELBO ")[1].split(" ±")[0]) for line in lines[:-1]]
    assert len(values) == 4
    assert values == sorted(values, reverse=True)
    assert all(line.endswith(" nats, 2 seeds") for line in lines[:-1])


def test_another_recipe_in_the_folder_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(sweep, "train_with_bar", no_training)
    outcome = call(monkeypatch, capsys, *GRID, "--batch-size", "32", "--out", str(folder))
    assert outcome.code == 2
    assert "holds another recipe than this sweep's: choose another folder with --out" in outcome.err


def test_a_sweep_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch, capsys: Captured, tmp_path: Path) -> None:
    trained: list[str] = []
    original = sweep.train_with_bar

    def stopping(run: Run) -> Status:
        """The second run is stopped before it begins, as by Ctrl-C."""
        trained.append(run.folder.name)
        if len(trained) == 2:
            run.request("stop")
        return original(run)

    monkeypatch.setattr(sweep, "train_with_bar", stopping)
    arguments = ["--grid", "latent=2,3", "--seeds", "0", "--out", str(tmp_path / "here")]
    outcome = call(monkeypatch, capsys, *arguments)
    assert outcome.code == 1
    assert outcome.err == "stopped: the same command goes on from here\n"
    assert not (tmp_path / "here" / "table.csv").exists()
    outcome = call(monkeypatch, capsys, *arguments)
    assert outcome.code == 0
    assert trained == ["latent=2,seed=0", "latent=3,seed=0", "latent=3,seed=0"]
    rows = json.loads((tmp_path / "here" / "table.json").read_text())
    assert [row["latent"] for row in rows] == ["2", "3"]
    assert all(row["held_out_elbo_se"] is None for row in rows)  # one seed has no spread
    assert "±" not in outcome.out.splitlines()[-2]


def test_a_failed_run_ends_the_sweep(monkeypatch: pytest.MonkeyPatch, capsys: Captured, tmp_path: Path) -> None:
    monkeypatch.setattr(sweep, "train_with_bar", lambda run: Status("failed", reason="The objective became NaN."))
    outcome = call(monkeypatch, capsys, "--seeds", "0", "--out", str(tmp_path / "here"))
    assert (outcome.code, outcome.err) == (1, "failed: The objective became NaN.\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--grid", "colour=1,2"], "the grid names settings that do not exist: colour"),
        (["--grid", "lat=2,3"], "the grid names settings that do not exist: lat"),
        (["--grid", "latent=2 -h"], "the grid names settings that do not exist: h"),
        (["--grid", "latent=2 --help"], "the grid has '2 --help' where a value belongs"),
        (["--grid", "latent=2,0"], "latent=0,seed=0: Latent dimension is 0, but must be from 1 to 64."),
        (["--grid", "latent=2,two"], "the grid's {'latent': 'two'} cannot be read: argument --latent"),
        (["--grid", "prior=standard_normal,bernoulli"], "A binary code needs"),
        (["--grid", "seed=1,2"], "seed is no axis of the grid: use the seeds"),
        (["--grid", "dataset=digits,mnist"], "dataset is no axis of the grid: use a sweep for each"),
        (["--grid", "latent=2 --seed 5"], "the grid has '2 --seed 5' where a value belongs"),
        (["--grid", "beta=1,1"], "give every setting, value and seed once"),
        (["--grid", "beta=1", "--grid", "beta=2"], "give every setting, value and seed once"),
        (["--seeds", "0", "0"], "give every setting, value and seed once"),
    ],
    ids=str,
)
def test_impossible_grids_are_refused_before_anything_is_written(
    arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured, tmp_path: Path
) -> None:
    outcome = call(monkeypatch, capsys, "--seeds", "0", *arguments, "--out", str(tmp_path / "here"))
    assert outcome.code == 2
    assert sentence in outcome.err
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize("text", ["beta", "=1", "beta=", "beta=1,,2"])
def test_an_axis_that_is_none_is_refused_by_the_parser(text: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        sweep.parser().parse_args(["--out", "x", "--grid", text])
    assert f"{text!r} must look like beta=0.5,1,4" in capsys.readouterr().err


def test_axes_and_points() -> None:
    assert axis("free-nats=1,2") == ("free_nats", ["1", "2"])
    assert axis("widths=512 256,64") == ("widths", ["512 256", "64"])
    found = parsed("--grid", "prior-mean=0 1,-1 2.5", "--prior", "gaussian", "--seeds", "7")
    assert [point.config.model.prior_mean for point in found] == [(0.0, 1.0), (-1.0, 2.5)]
    assert [point.name for point in found] == ["prior_mean=0-1,seed=7", "prior_mean=-1-2.5,seed=7"]
    (alone,) = parsed("--seeds", "3")
    assert alone.name == "seed=3"
    assert alone.config == configured(sweep.parser().parse_args([*QUICK, "--out", "x", "--seed", "3"]))
    assert RECIPES["digits"].model.prior_mean == ()


def test_the_reader_of_values_is_made_once_for_all_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks for data sets on the disk."""
    made, original = [], grid.add_recipe
    monkeypatch.setattr(grid, "add_recipe", lambda add: [made.append(add), original(add)])
    assert len(parsed("--grid", "beta=1,2,3", "--grid", "latent=2,3")) == 18
    assert len(made) == 1


def test_the_table_by_hand() -> None:
    (first, second) = parsed("--grid", "beta=1,2", "--seeds", "0")
    numbers = [dict.fromkeys(MEASURES, value) for value in (1.0, 2.0, 6.0, 5.0)]
    rows = table([(first, numbers[0]), (first, numbers[1]), (first, numbers[2]), (second, numbers[3])])
    assert [row["held_out_elbo"] for row in rows] == [3.0, 5.0]
    assert rows[0]["held_out_elbo_se"] == pytest.approx((7 / 3) ** 0.5)
    assert math.isnan(rows[1]["held_out_elbo_se"])
    assert [row["seeds"] for row in rows] == [3, 1]
    assert [label(row) for row in rows] == ["beta = 1", "beta = 2"]
    assert label({"seeds": 3, **numbers[0]}) == "the recipe"


def test_the_plot_of_one_value_and_of_odd_names() -> None:
    """No division by a span of zero; names are escaped."""
    row = {"prior": "<&>", "seeds": 1, "held_out_elbo": -3.0, "held_out_elbo_se": math.nan}
    picture = ET.fromstring(plot([row]))
    assert "prior = <&>" in [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]


def test_settings_with_a_plain_autoencoder_are_compared_by_reconstruction(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured, tmp_path: Path
) -> None:
    plain = ["--posterior", "deterministic", "--prior", "none", "--estimator", "pathwise"]
    arguments = [*plain, "--grid", "latent=2,3", "--seeds", "0", "1", "--out", str(tmp_path / "here")]
    outcome = call(monkeypatch, capsys, *arguments)
    assert outcome.code == 0
    rows = json.loads((tmp_path / "here" / "table.json").read_text())
    assert all(row[f"held_out_{name}"] is None for row in rows for name in ("elbo", "elbo_se", "kl", "kl_se"))
    best = max(row["held_out_reconstruction"] for row in rows)
    assert f"held-out reconstruction {best:.2f} ± " in outcome.out.splitlines()[-3]
    assert "ELBO" not in outcome.out + (tmp_path / "here" / "plot.svg").read_text()
