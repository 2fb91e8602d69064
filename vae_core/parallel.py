"""`torchrun -m vae_core.training`: several processes, of one machine or of several, train one model together."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
import torch.distributed as dist
from safetensors.torch import load

from vae_core import datasets
from vae_core.config import Config
from vae_core.steering import Change
from vae_core.team import ALONE, Team, Word
from vae_core.training import Trainer, choose_device
from vae_core.worker import THREADS, few_collections, useful_threads


@contextmanager
def assembled() -> Iterator[Team]:
    """The team that torchrun's variables of the environment describe, ALONE without them. Waits for all of it."""
    if not dist.is_torchelastic_launched():
        yield ALONE
        return
    place, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if place < gpus:
        torch.cuda.set_device(place)
    store, rank, size = next(dist.rendezvous("env://"))  # pyright: ignore[reportPrivateImportUsage]
    # processes that torchrun has started again would else find the addresses of the dead
    store = dist.PrefixStore(os.environ["TORCHELASTIC_RESTART_COUNT"], store)  # pyright: ignore[reportPrivateImportUsage]
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", store=store, rank=rank, world_size=size)
    team = Team(rank, size, place, joined=True)
    try:
        yield team
    finally:
        with suppress(RuntimeError):  # there may be nobody left to tell
            team.tell("end")
        dist.destroy_process_group()


def follow(team: Team) -> int:
    """Does as the first process does, until it ends; the exit code. What the user wants, the first process hears."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        with few_collections():
            _follow(team)
    except (RuntimeError, ValueError, OSError) as error:
        print(f"Process {team.rank}: {team.explained(error)}", file=sys.stderr, flush=True)
        return 1
    return 0


def _follow(team: Team) -> None:
    word, data = team.hear()
    while word == "begin":
        trainer = _trainer(Config.from_json(data[0].decode()), team)
        word, data = team.hear()
        while word not in ("begin", "end"):
            _obey(trainer, word, data)
            word, data = team.hear()


def _obey(trainer: Trainer, word: Word, data: list[bytes]) -> None:
    if word == "advance":
        trainer.advance()
    elif word == "steer":
        trainer.steer(*map(Change.from_json, data[0].decode().splitlines()))
    elif word == "restore":
        trainer.restore(load(data[0]), load(data[1]))


def _trainer(config: Config, team: Team) -> Trainer:
    device = choose_device(team.device(config.device))
    trainer = Trainer(config, datasets.training(config.dataset), device, team)
    if device.type == "cpu":
        torch.set_num_threads(useful_threads(trainer, THREADS))
    return trainer
