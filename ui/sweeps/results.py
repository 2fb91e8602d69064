"""What a sweep has come to: the runs of its file as they stand on the disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean
from typing import Any

import numpy as np

from ui.runs.reports import reports
from ui.sweeps.form import LABELS
from ui.sweeps.multiples import Line, Panel
from ui.words import bound_note
from vae_core.comparing import mean_and_error
from vae_core.likelihoods import LIKELIHOODS
from vae_core.overview import Overview, overview
from vae_core.runs import DamagedRun, Status, find
from vae_core.sweeps import Member, Sweep

GONE = Status("failed", reason="It was deleted.")


@dataclass(frozen=True)
class Standing:
    """A run of a sweep as it stands; `found` is None for one that was deleted."""

    member: Member
    found: Overview | None

    @property
    def status(self) -> Status:
        return self.found.status or GONE if self.found else GONE


def standings(sweep: Sweep) -> list[Standing]:
    runs = [(member, find(member.run)) for member in sweep.members]
    return [Standing(member, overview(run) if run else None) for member, run in runs]


def titled(setting: dict[str, str]) -> str:
    """A setting in words."""
    return ", ".join(f"{LABELS.get(name, name)} {value}" for name, value in setting.items()) or "The recipe"


def panels(found: Sequence[Standing]) -> list[Panel]:
    groups = groupby(found, key=lambda standing: standing.member.setting)
    return [Panel(titled(setting), tuple(map(_line, group))) for setting, group in groups]


def _line(standing: Standing) -> Line:
    member, status = standing.member, standing.status
    done = status.step / max(status.total_steps, 1)
    return Line(member.run, member.seed, status.state, done, _curve(member.run))


def _curve(run_id: str) -> tuple[np.ndarray, np.ndarray]:
    run = find(run_id)
    try:
        return reports(run.folder).curve("epoch", "held_out", "elbo") if run else (np.empty(0), np.empty(0))
    except DamagedRun:
        return np.empty(0), np.empty(0)


def tables(found: Sequence[Standing]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """By what their numbers are, as only the same can be compared, and a note on that: one row a setting, best first.

    Means over the seeds that have been trained to their end, nats per example.
    """
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for setting, group in groupby(found, key=lambda standing: standing.member.setting):
        runs = [standing.found for standing in group if standing.found]
        config = next((run.config for run in runs if run.config), None)
        if config:
            kind = LIKELIHOODS[config.model.likelihood].bounds, bound_note(config)
            kinds.setdefault(kind, []).append(_row(setting, runs))
    best = {kind: sorted(rows, key=_badness) for kind, rows in kinds.items()}
    return {kind: rows for kind, rows in best.items() if rows[0]["Runs"]}


def _row(setting: dict[str, str], runs: Sequence[Overview]) -> dict[str, Any]:
    numbers = [run.numbers for run in runs if run.numbers and run.status and run.status.state == "finished"]
    row: dict[str, Any] = {LABELS.get(name, name): value for name, value in setting.items()} | {"Runs": len(numbers)}
    elbos = [n.elbo for n in numbers if n.elbo is not None]
    if elbos:
        row["ELBO"], row["± (standard error)"] = mean_and_error(elbos)
        row["Rate (KL)"] = fmean(n.rate for n in numbers if n.rate is not None)
    if numbers:
        row["Distortion"] = fmean(n.distortion for n in numbers)
        row["Active units"] = fmean(n.active_units for n in numbers)
    return row


def _badness(row: dict[str, Any]) -> float:
    """By the ELBO; a plain autoencoder has none."""
    return -row["ELBO"] if "ELBO" in row else row.get("Distortion", np.inf)
