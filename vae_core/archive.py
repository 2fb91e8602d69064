"""A run as one zip: in the layout of model hubs, with its curves, and with all that trains it again elsewhere.

config.json, model.safetensors, README.md    what hubs read: recipe, weights of the newest checkpoint, model card
metrics.jsonl, changes.jsonl                 the reports until that checkpoint, and the settings changed until then
trainer.safetensors                          if asked for: optimiser and generator, to train on from there
train_again.py, requirements.txt, vae_core/  a script that repeats the training, what it needs, and the code itself
"""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from io import BufferedIOBase
from pathlib import Path

from vae_core import again, cards
from vae_core.config import Config
from vae_core.forking import origin
from vae_core.overview import numbers
from vae_core.runs import Row, Run, public, weights_file
from vae_core.steering import Change

SOURCES = Path(__file__).parent
NEEDED = ("torch", "torchvision", "numpy", "scikit-learn", "safetensors", "jaxtyping")
"""What training imports."""
AGAIN = """To train it again, bit for bit with the same versions on the same kind of machine:

```
python -m pip install -r requirements.txt
python train_again.py
```"""


def export(run: Run, file: BufferedIOBase, *, resumable: bool = False) -> None:
    """Writes the zip. A run that still trains is exported as of its newest checkpoint.

    Raises DamagedRun where the run has no weights yet, or a file of it cannot be read.
    """
    weights = weights_file(run.folder)
    config, step = run.config(), int(weights.parent.name) if weights.parent.name.isdecimal() else None
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        # first, while a worker may not yet have replaced them; and unpacked, since weights hardly get smaller
        out.write(weights, "model.safetensors", zipfile.ZIP_STORED)
        if resumable and step is not None:
            out.write(weights.with_name("trainer.safetensors"), "trainer.safetensors", zipfile.ZIP_STORED)
        out.writestr("config.json", config.to_json())
        rows = [_public(row) for row in run.rows() if step is not None and row["step"] <= step]
        changes = [change for change in run.changes() if step is not None and change.step <= step]
        if rows:
            out.writestr("metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        if changes:
            out.writestr("changes.jsonl", "".join(change.to_json() + "\n" for change in changes))
        out.writestr("README.md", card(run, config, changes))
        out.writestr("requirements.txt", "".join(f"{name}=={_version(name)}\n" for name in NEEDED))
        out.write(Path(again.__file__), "train_again.py")
        for source in (*sorted(SOURCES.glob("*.py")), *SOURCES.parent.glob("LICENSE")):
            out.write(source, f"vae_core/{source.name}")


def _public(row: Row) -> Row:
    return {**row, "forked": {**row["forked"], "run": public(row["forked"]["run"])}} if "forked" in row else row


def _version(name: str) -> str:
    return version(name).partition("+")[0]  # what stands behind says how it was built, which package indexes lack


def card(run: Run, config: Config, changes: Sequence[Change]) -> str:
    """The model card of a run: recipe, its last numbers, changes on the way, and how to train it again."""
    measured, left = numbers(run), origin(run)
    rows = {
        f"from step {change.step:,} on": ", ".join(f"{name} = {value}" for name, value in change.settings.items())
        for change in changes
    }
    if left:
        rows["forked from"] = f"{public(left.run)}, after {left.step:,} steps"
    if measured:
        rows |= cards.result_rows(config, measured.part, asdict(measured), f"on data that are {measured.part}")
    return cards.card(
        public(run.id),
        config,
        rows,
        f"{cards.data_line(config)}\n\n{AGAIN}",
    )
