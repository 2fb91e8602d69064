"""What do two processes bring that train one model together (`torchrun`), and is it the same training?

Images per second on MNIST at the same joint batch: two processes of one thread each, over one process with one thread
and over one with two, which is what a worker does with two cores. They take turns in blocks, so that a busy machine
slows all alike. Then digits, with the same seeds: how far the held-out ELBOs end apart. Starts itself by torchrun.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.distributed as dist

from benchmarks.loop import mean_and_se, show
from vae_core import datasets, runs
from vae_core.config import Config, ModelConfig, ScheduleConfig
from vae_core.defaults import recipe
from vae_core.parallel import assembled, follow
from vae_core.team import ALONE, Team
from vae_core.training import CPU, Trainer
from vae_core.worker import few_collections, train

BLOCKS = 7
SECONDS = 3.0
"""How long a contestant's turn takes."""
SEEDS = range(4)

MNIST = Config("mnist", schedule=ScheduleConfig(schedule="constant", learning_rate=1e-3, epochs=1_000), device="cpu")
MODELS = {
    "MLP 784-400-20": ModelConfig(widths=(400,), activation="relu", latent=20),
    "MLP 784-512-256-128-2, the app's default": recipe("mnist").model,
    "convolutions 32, 64": ModelConfig("conv", (32, 64), latent=20),
    "convolutions 64, 128, 128": ModelConfig("conv", (64, 128, 128), latent=20),
}


def images_per_second(trainer: Trainer, threads: int) -> float:
    torch.set_num_threads(threads)
    begin, steps = time.perf_counter(), 0
    while time.perf_counter() - begin < SECONDS:
        trainer.advance()
        steps += 1
    return steps * trainer.config.schedule.batch_size / (time.perf_counter() - begin)


def speeds(model: ModelConfig, team: Team) -> dict[str, float]:
    """Medians over the blocks."""
    config, split = replace(MNIST, model=model), datasets.training("mnist")
    alone, together = Trainer(config, split, CPU), Trainer(config, split, CPU, team)
    contestants: dict[str, Callable[[], float]] = {
        "one process, one thread": lambda: images_per_second(alone, 1),
        "one process, two threads": lambda: images_per_second(alone, 2),
        "two processes": lambda: images_per_second(together, 1),
    }
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for block in range(BLOCKS + 1):
        for name, measure in contestants.items():
            speed = measure()
            if block:  # the first block warms up
                found[name].append(speed)
    one, two, both = (statistics.median(values) for values in found.values())
    ratios = {"over one thread": both / one, "over two threads": both / two}
    return dict(zip(found, (one, two, both), strict=True)) | ratios


def ends(team: Team) -> dict[str, object]:
    """Held-out ELBOs of digits, nats, at the end of runs that differ in nothing but the processes."""
    torch.set_num_threads(1)
    plain = recipe("digits")
    pairs = []
    for seed in SEEDS:
        config = replace(plain, schedule=replace(plain.schedule, epochs=50), seed=seed, device="cpu")
        pair = [runs.create(config) for _ in range(2)]
        for run, each in zip(pair, (ALONE, team), strict=True):
            train(run, team=each)
        pairs.append([run.rows()[-1]["held_out_elbo"] for run in pair])
    differences = [both - one for one, both in pairs]
    return {
        "one process": mean_and_se([one for one, _ in pairs]),
        "two processes": mean_and_se([both for _, both in pairs]),
        "largest difference": max(map(abs, differences)),
    }


def lead(team: Team) -> None:
    with tempfile.TemporaryDirectory() as folder, few_collections():
        os.environ[runs.RUNS_VARIABLE] = folder
        result: dict[str, object] = {name: speeds(model, team) for name, model in MODELS.items()}
        show({"images_per_second": result, "held_out_elbo": ends(team), "load": os.getloadavg()[0]})


def main() -> int:
    if not dist.is_torchelastic_launched():
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        return subprocess.run([*launcher, "-m", "benchmarks.parallel_scaling"]).returncode
    with assembled() as team:
        if not team.leads:
            return follow(team)
        lead(team)
        return 0


if __name__ == "__main__":
    sys.exit(main())
