"""The curves that a run has written, as arrays: read once, and again when the file has grown."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float

from vae_core.runs import DamagedRun, Run

MEASURES = {"elbo": "ELBO", "reconstruction": "Reconstruction", "kl": "KL (rate)"}
PARTS = {"held_out": "Held out", "train": "Train"}
AXES = {"epoch": "Epochs", "seconds": "Seconds of training"}
COLUMNS = (*AXES, *(f"{part}_{measure}" for part in PARTS for measure in MEASURES))
NOWHERE = float("nan")


@dataclass(frozen=True)
class Reports:
    """Every report of a run in order, nats per example; NaN where a report says nothing."""

    columns: dict[str, Float[np.ndarray, "N"]]

    def curve(self, axis: str, part: str, measure: str) -> tuple[Float[np.ndarray, "M"], Float[np.ndarray, "M"]]:
        """What was measured of a part of the data, over `axis`."""
        x, y = self.columns[axis], self.columns[f"{part}_{measure}"]
        known = np.isfinite(x) & np.isfinite(y)
        return x[known], y[known]


def reports(folder: Path) -> Reports:
    """Of a run; none of a published model, which has no curves. Raises DamagedRun."""
    try:
        stat = (folder / "metrics.jsonl").stat()
    except FileNotFoundError:
        return Reports({name: np.empty(0) for name in COLUMNS})
    return _reports(folder, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=512)
def _reports(folder: Path, size: int, modified: int) -> Reports:
    rows = Run(folder).rows()
    try:
        table = [[row.get(name, NOWHERE) for name in COLUMNS] for row in rows]
        values = np.array(table, dtype=float).reshape(len(rows), len(COLUMNS))
    except (AttributeError, TypeError, ValueError) as error:
        raise DamagedRun(f"metrics.jsonl: {error}") from error
    return Reports(dict(zip(COLUMNS, values.T, strict=True)))
