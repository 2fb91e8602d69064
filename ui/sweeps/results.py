"""What a sweep has come to: the runs of its file as they stand on the disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from ui.runs.reports import reports
from ui.sweeps.form import LABELS
from ui.sweeps.multiples import Line, Panel
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


def rows(found: Sequence[Standing]) -> list[dict[str, Any]]:
    """One row a setting, best first: means over the seeds that have been trained to their end, nats per example."""
    table = []
    for setting, group in groupby(found, key=lambda standing: standing.member.setting):
        ended = [s.found.numbers for s in group if s.found and s.status.state == "finished"]
        numbers = [n for n in ended if n is not None]
        row: dict[str, Any] = {LABELS.get(name, name): value for name, value in setting.items()} | {
            "Runs": len(numbers)
        }
        if numbers:
            elbos = np.array([n.elbo for n in numbers])
            row |= {
                "ELBO": elbos.mean(),
                "± (standard error)": elbos.std(ddof=1) / len(elbos) ** 0.5 if len(elbos) > 1 else None,
                "Rate (KL)": np.mean([n.rate for n in numbers]),
                "Distortion": np.mean([n.distortion for n in numbers]),
                "Active units": np.mean([n.active_units for n in numbers]),
            }
        table.append(row)
    return sorted(table, key=lambda row: -row.get("ELBO", -np.inf))
