"""`make weights`: trains the shipped models on the real data and writes their folders.

`python -m pretrained.build NAME …` makes only the named ones.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from vae_core.command import train_with_bar
from vae_core.config import Config, ModelConfig, ScheduleConfig
from vae_core.publish import publish
from vae_core.runs import Run, Status

HERE = Path(__file__).parent
PLANE = ModelConfig(widths=(512, 256, 128), latent=2)
WIDE = ModelConfig(widths=(1024, 512), latent=20)
GREY = "continuous_bernoulli"

RECIPES = {
    "digits-2d": Config(
        "digits", replace(PLANE, widths=(256, 128)), schedule=ScheduleConfig(epochs=300, batch_size=64)
    ),
    "mnist-2d": Config(
        "mnist",
        replace(PLANE, widths=(1024, 512, 256, 128)),
        schedule=ScheduleConfig(optimiser="adamw", learning_rate=1.5e-3, epochs=50),
    ),
    "mnist-20d": Config("mnist", WIDE, schedule=ScheduleConfig(optimiser="adamw", learning_rate=1.5e-3, epochs=60)),
    "fashion-2d": Config("fashion", replace(PLANE, likelihood=GREY), schedule=ScheduleConfig(epochs=30)),
    "fashion-20d": Config(
        "fashion",
        replace(WIDE, widths=(512, 256), likelihood=GREY),
        schedule=ScheduleConfig(learning_rate=1e-3, epochs=30),
    ),
}


def build(name: str, folder: Path) -> None:
    """Trains one recipe in a scratch run folder and publishes it."""
    run = Run(folder)
    run.folder.mkdir()
    (run.folder / "config.json").write_text(RECIPES[name].to_json(), encoding="utf-8")
    run.write_status(Status("queued"))
    status = train_with_bar(run)
    if status.state != "finished":
        raise SystemExit(f"{name}: {status.state}. {status.reason}")
    publish(run, HERE / name)


def main() -> None:
    names = sys.argv[1:] or list(RECIPES)
    unknown = set(names) - set(RECIPES)
    if unknown:
        raise SystemExit(f"no recipe for {sorted(unknown)}; there are {sorted(RECIPES)}")
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            print(name)
            build(name, Path(scratch) / name)


if __name__ == "__main__":
    main()
