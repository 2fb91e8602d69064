"""A run's reports as event files of TensorBoard, where that is installed."""

import zipfile
from collections.abc import Sequence
from importlib.util import find_spec
from io import BufferedIOBase
from pathlib import Path
from tempfile import TemporaryDirectory

from vae_core.overview import overview
from vae_core.runs import Row, Run, public

FAMILIES = ("train", "held_out")
"""First words of reported names, which group the curves."""


MISSING = "TensorBoard is not installed here. Install it with `python -m pip install tensorboard`, then try again."


class TensorBoardMissing(RuntimeError):
    """The package is not installed; the message says how to install it."""


def write_events(run: Run, folder: Path) -> Path:
    """Writes one event file into the folder and returns its path: every number of every report by step, and the recipe
    and its changes as text. The times are those of training, counted from when the run was made.

    Raises TensorBoardMissing; DamagedRun.
    """
    if not available():
        raise TensorBoardMissing(MISSING)
    from torch.utils.tensorboard import SummaryWriter

    rows, config, begun = run.rows(), run.config(), overview(run).created
    with SummaryWriter(str(folder)) as writer:
        writer.add_text("recipe", f"```\n{config.to_json()}```", walltime=begun)
        for row in rows:
            when = begun + row["seconds"]
            for tag, value in scalars(row).items():
                writer.add_scalar(tag, value, row["step"], walltime=when)
            if "changed" in row:
                writer.add_text("changed", f"`{row['changed']}`", row["step"], walltime=when)
    return max(folder.glob("events.out.*"))  # its name begins with the time


def available() -> bool:
    return find_spec("tensorboard") is not None


def export_events(runs: Sequence[Run], file: BufferedIOBase) -> None:
    """A zip for `tensorboard --logdir`: a folder with its event file for every run.

    Raises TensorBoardMissing; DamagedRun.
    """
    with TemporaryDirectory() as scratch, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for number, run in enumerate(runs, 1):
            name = f"{number:02d}-{public(run.id)}"
            written = write_events(run, Path(scratch, name))
            out.write(written, f"{name}/{written.name}")


def scalars(row: Row) -> dict[str, float]:
    """The numbers of a report under TensorBoard's names, where what stands before a stroke groups the curves."""
    found: dict[str, float] = {}
    for name, value in row.items():
        if isinstance(value, list):
            found |= {f"{name}/{place}": part for place, part in enumerate(value)}
        elif name == "gradient_norms":
            found |= {f"{name}/{part}": norm for part, norm in value.items()}
        elif isinstance(value, (int, float)) and name != "step":
            found[_grouped(name)] = value
    return found


def _grouped(name: str) -> str:
    family = next((family for family in FAMILIES if name.startswith(f"{family}_")), "")
    return f"{family}/{name.removeprefix(f'{family}_')}" if family else f"run/{name}"
