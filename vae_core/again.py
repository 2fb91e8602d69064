"""Trains an exported run again, from its first step to its last, with the settings that were changed on the way.

    python -m pip install -r requirements.txt
    python train_again.py

With the versions of requirements.txt, on the same kind of machine and device, the parameters are the same bit for bit.
The result lies in `again/model.safetensors`; nothing else is written, and nothing is sent anywhere.
"""

import argparse
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vae_core.runs import Run
from vae_core.training import Trainer, load_trainer
from vae_core.worker import THREADS, useful_threads

HERE = Path(__file__).parent


def repeat(run: Run, threads: int) -> Trainer:
    """A trainer that has done all the steps of the run. Raises DamagedRun."""
    rows = run.rows()
    if any("seed" in row.get("changed", {}) for row in rows):
        print("The run is a fork with a seed of its own: trained from the first step, it comes out differently.")
    trainer = load_trainer(run.config())
    trainer.steer(*run.changes())
    if trainer.device.type == "cpu":
        torch.set_num_threads(useful_threads(trainer, threads))
    steps, told = rows[-1]["step"] if rows else trainer.total_steps, time.monotonic()
    while trainer.step < steps:
        info = trainer.advance()
        if trainer.step == steps or time.monotonic() - told > 1:
            told, (objective, _, _) = time.monotonic(), info.stats.tolist()
            print(
                f"step {info.step:,} of {steps:,}, epoch {info.epoch:.2f}, objective {objective:.2f} nats", flush=True
            )
    return trainer


def difference(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """The largest between two values of a parameter."""
    return max((ours[name].double() - theirs[name].double()).abs().max().item() for name in ours)


def main() -> int:
    out = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    threads = max(1, THREADS - 1)
    out.add_argument("--threads", type=int, default=threads, help="of a large model on the CPU (default: %(default)s)")
    trainer = repeat(Run(HERE), out.parse_args().threads)
    ours = {name: value.cpu().contiguous() for name, value in trainer.model.state_dict().items()}
    (HERE / "again").mkdir(exist_ok=True)
    save_file(ours, HERE / "again" / "model.safetensors")
    largest = difference(ours, load_file(HERE / "model.safetensors"))
    print(
        f"The parameters differ from the exported ones by {largest:.2g} at most: other versions, machine, device or "
        "number of threads."
        if largest
        else "The parameters are the exported ones, bit for bit."
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
