"""`python -m vae_core.sweep`: a grid of settings with several seeds, resumable, with a table and a plot at the end."""

import argparse
import csv
import html
import itertools
import json
import math
import sys
from pathlib import Path
from typing import Any

from vae_core.command import add_recipe, configured, train_with_bar
from vae_core.comparing import mean_and_error
from vae_core.grid import TWICE, Point, axis, combinations
from vae_core.runs import DamagedRun, Run, create_at

MEASURES = {
    "held_out_elbo": "held-out ELBO",
    "held_out_reconstruction": "held-out reconstruction",
    "held_out_kl": "held-out KL",
    "active_units": "active units",
}
OF_BOUNDS = ("held_out_elbo", "held_out_kl")
"""Measures that a plain autoencoder has not."""


def points(arguments: argparse.Namespace) -> list[Point]:
    """What the command line asks for. Raises ValueError for unknown names and impossible settings."""
    found = combinations(configured(arguments), dict(arguments.grid), arguments.seeds)
    if len(dict(arguments.grid)) < len(arguments.grid):
        raise ValueError(TWICE)
    return found


def run_of(folder: Path, point: Point) -> Run:
    """The point's run: the one that is there, if it is of the same recipe, or a new one. Raises ValueError."""
    place = folder / point.name
    if not place.is_dir():
        return create_at(place, point.config)
    run = Run(place)
    if run.config() != point.config:
        raise ValueError(f"{place} holds another recipe than this sweep's: choose another folder with --out")
    return run


def finished(run: Run) -> bool:
    return run.recorded_status().state == "finished"


def last_numbers(run: Run) -> dict[str, float]:
    """The numbers of the last report that looked at the held-out data; NaN for what a plain autoencoder has not."""
    rows = [row for row in run.rows() if "held_out_elbo" in row]
    if not rows:
        raise DamagedRun(f"{run.folder} has no held-out numbers")
    lacking = OF_BOUNDS if run.config().model.plain else ()
    return {name: math.nan if name in lacking else float(rows[-1][name]) for name in MEASURES}


def table(done: list[tuple[Point, dict[str, float]]]) -> list[dict[str, Any]]:
    """One row a setting: mean over seeds and its standard error (NaN for one seed)."""
    rows = []
    for setting, group in itertools.groupby(done, key=lambda item: item[0].setting):
        found = [numbers for _, numbers in group]
        row: dict[str, Any] = {**setting, "seeds": len(found)}
        for name in MEASURES:
            row[name], row[f"{name}_se"] = mean_and_error([numbers[name] for numbers in found])
        rows.append(row)
    return rows


def label(row: dict[str, Any]) -> str:
    known = {"seeds", *MEASURES, *(f"{name}_se" for name in MEASURES)}
    return ", ".join(f"{key} = {value}" for key, value in row.items() if key not in known) or "the recipe"


def compared(rows: list[dict[str, Any]]) -> str:
    """The measure by which settings are compared: the ELBO if all have one."""
    lacking = any(math.isnan(row["held_out_elbo"]) for row in rows)
    return "held_out_reconstruction" if lacking else "held_out_elbo"


def plot(rows: list[dict[str, Any]]) -> str:
    """An SVG: one line a setting, a dot at the mean over seeds and a bar of one standard error either way."""
    measure = compared(rows)
    spans = [(row[measure], 0.0 if math.isnan(row[f"{measure}_se"]) else row[f"{measure}_se"]) for row in rows]
    low, high = min(v - e for v, e in spans), max(v + e for v, e in spans)
    room = (high - low) or 1.0
    left, width, line = 320, 400, 28

    def x(value: float) -> float:
        return left + width * (value - low) / room

    marks = []
    for place, (row, (value, error)) in enumerate(zip(rows, spans, strict=True)):
        y = line * (place + 1)
        marks.append(
            f'<text x="{left - 16}" y="{y + 4}" text-anchor="end">{html.escape(label(row))}</text>'
            f'<line x1="{x(value - error):.1f}" x2="{x(value + error):.1f}" y1="{y}" y2="{y}" stroke="#0072B2"/>'
            f'<circle cx="{x(value):.1f}" cy="{y}" r="4" fill="#0072B2"/>'
            f'<text x="{left + width + 16}" y="{y + 4}">{value:.2f}</text>'
        )
    height = line * (len(rows) + 2)
    title = f"{MEASURES[measure]}, nats per example: mean over seeds ± one standard error"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 100}" height="{height}" '
        'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="white"/>'
        f'{"".join(marks)}<text x="{left}" y="{height - 12}">{title}</text></svg>\n'
    )


def report(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Prints the table and writes table.csv, table.json and plot.svg."""
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    clean = [{key: None if value != value else value for key, value in row.items()} for row in rows]
    (folder / "table.json").write_text(json.dumps(clean, indent=2) + "\n", encoding="utf-8")
    (folder / "plot.svg").write_text(plot(rows), encoding="utf-8")
    measure = compared(rows)
    for row in sorted(rows, key=lambda row: -row[measure]):
        error = row[f"{measure}_se"]
        spread = "" if math.isnan(error) else f" ± {error:.2f}"
        print(f"{label(row):50} {MEASURES[measure]} {row[measure]:.2f}{spread} nats, {row['seeds']} seeds")
    print(f"table.csv, table.json and plot.svg are in {folder}")


def parser() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser(
        prog="python -m vae_core.sweep",
        description="Train every combination of a grid of settings with several seeds. Ctrl-C stops; the same command "
        "goes on where it stopped.",
    )
    add_recipe(out.add_argument)
    add = out.add_argument
    add("--grid", type=axis, action="append", default=[], metavar="NAME=A,B,…", help="a setting and its values; again "
        "for another")  # fmt: skip
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="S")
    add("--out", type=Path, required=True, metavar="FOLDER", help="where the runs and the table go")
    return out


def main() -> int:
    arguments = parser().parse_args()
    done = []
    try:
        grid = points(arguments)
        for place, point in enumerate(grid, start=1):
            run = run_of(arguments.out, point)
            if not finished(run):
                print(f"{place} of {len(grid)}: {point.name}")
                status = train_with_bar(run)
                if status.state != "finished":
                    print(f"{status.state}: {status.reason or 'the same command goes on from here'}", file=sys.stderr)
                    return 1
            done.append((point, last_numbers(run)))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    report(arguments.out, table(done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
