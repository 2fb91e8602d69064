"""One training step, and `fit`, which yields what each step was. Nothing here writes files or prints.

`python -m vae_core.training` is the command line; it lives in `vae_core.command`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from vae_core import datasets
from vae_core.bounds import Objective
from vae_core.config import Config
from vae_core.datasets import DATASETS
from vae_core.estimators import ESTIMATORS
from vae_core.examples import Examples, Order
from vae_core.likelihoods import LIKELIHOODS
from vae_core.model import HelmholtzMachine, machine
from vae_core.optimisers import OPTIMISERS, SCHEDULES
from vae_core.rules import check
from vae_core.steering import Change, steered
from vae_core.team import ALONE, Team

CPU = torch.device("cpu")
Look = Callable[[Tensor, torch.Generator], None]


def choose_device(wanted: str) -> torch.device:
    """ "auto" is CUDA where there is one, else the CPU. Raises ValueError for a device that is not there."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(wanted)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device is {wanted!r}, but {torch.cuda.device_count()} CUDA devices are here; use 'cpu'")
    return device


def generator_for(device: torch.device, *words: int) -> torch.Generator:
    """A generator whose stream depends on every word (a seed, an epoch, a purpose) but leading zeros."""
    seed = 0
    for word in words:
        # the mixing step of splitmix64: neighbouring words give unrelated streams
        seed = (seed ^ word) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        seed = (seed ^ seed >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        seed ^= seed >> 31
    return torch.Generator(device).manual_seed(seed & 0x7FFFFFFFFFFFFFFF)


@dataclass(frozen=True)
class StepInfo:
    """What one step was. `stats` = objective, reconstruction and KL of the batch, nats per example, still on device."""

    step: int
    epoch: float
    learning_rate: float
    beta: float
    stats: Float[Tensor, "3"]


class Trainer:
    """A model, its optimiser, its generator and the number of steps done; `advance` does one more.

    `epoch` and the order of its examples are functions of (seed, step), so that parameters, optimiser, generator
    and step are the whole state; `changes` of the recipe hold from their steps on, whenever those are reached.
    """

    def __init__(self, config: Config, train: Examples, device: torch.device, team: Team = ALONE) -> None:
        check(config)
        team.share(config.schedule.batch_size)
        team.tell("begin", config.to_json())
        self.config, self.device, self.team, self.step = config, device, team, 0
        self.changes: list[Change] = []
        self.cycle = 0
        self.train = train.to(device)
        self.model = new_model(config).to(device)
        self.averaging = team.averaging(self.model)
        schedule = config.schedule
        self.optimiser = OPTIMISERS[schedule.optimiser](self.model.parameters(), lr=schedule.learning_rate)
        self.generator = team.shared(generator_for(device, config.seed, 1))
        self.steps_per_epoch = len(train) // schedule.batch_size
        self._order: tuple[int, Order] | None = None

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.config.schedule.epochs

    def steer(self, *changes: Change) -> None:
        """Takes over changes of the recipe, in the order of their steps. Raises ValueError for what does not fit."""
        self.team.tell("steer", "\n".join(change.to_json() for change in changes))
        self.changes += changes
        self._obey()

    def _obey(self) -> None:
        while self.changes and self.changes[0].step <= self.step:
            change = self.changes.pop(0)
            if "epochs" in change.settings and change.step >= self.total_steps:
                self.cycle = change.step  # what was finished and goes on begins its learning-rate schedule anew
            self.config = steered(self.config, change.settings)

    def _batch(self) -> Tensor:
        epoch, place = divmod(self.step, self.steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, self.train.order(partial(generator_for, CPU, self.config.seed, 2, epoch)))
        size = self.config.schedule.batch_size
        return self.train.batch(self.team.own(self._order[1][place * size : (place + 1) * size]))

    def advance(self, look: Look | None = None) -> StepInfo:
        """One update of all parameters by one batch. `look` is called when gradients are there and parameters not yet
        updated, with what the model saw and a generator that draws what the estimator drew."""
        self.team.tell("advance")
        config, objective = self.config, self.config.objective
        warmup = objective.warmup_epochs * self.steps_per_epoch
        beta = objective.beta * min(1.0, (self.step + 1) / warmup) if warmup else objective.beta
        progress = (self.step - self.cycle) / (self.total_steps - self.cycle)
        rate = config.schedule.learning_rate * SCHEDULES[config.schedule.schedule](progress)
        for group in self.optimiser.param_groups:
            group["lr"] = rate

        x = LIKELIHOODS[config.model.likelihood].observe(self._batch(), generator=self.generator)
        again = self.generator.clone_state() if look else None
        estimate = self.averaging(
            ESTIMATORS[objective.estimator].estimate,
            x,
            Objective(objective).with_beta(beta),
            objective.draws,
            generator=self.generator,
        )
        self.optimiser.zero_grad(set_to_none=True)
        loss = -estimate.objective.mean()
        loss.backward()
        if look and again:
            look(x, again)
        self.optimiser.step()
        self.step += 1
        self._obey()
        with torch.no_grad():
            terms = estimate.terms
            stats = torch.stack([-loss.detach(), terms.log_lik.detach().mean(), terms.kl.detach().mean()])
            stats = self.team.mean(stats)
        return StepInfo(self.step, self.step / self.steps_per_epoch, rate, beta, stats)

    def state(self) -> dict[str, Tensor]:
        """Everything beside the parameters that the next step depends on, as named tensors."""
        tensors = {"step": torch.tensor(self.step), "generator": self.generator.get_state()}
        for index, values in self.optimiser.state_dict()["state"].items():
            for name, value in values.items():
                tensors[f"optimiser.{index}.{name}"] = torch.as_tensor(value)
        return tensors

    def restore(self, parameters: dict[str, Tensor], state: dict[str, Tensor]) -> None:
        """Goes on from where `state()` and the model's `state_dict()` were taken."""
        self.team.tell("restore", parameters, state)
        self.model.load_state_dict(parameters)
        saved = self.optimiser.state_dict()
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            if key.startswith("optimiser."):
                _, index, name = key.split(".")
                moments.setdefault(int(index), {})[name] = value
        self.optimiser.load_state_dict({"state": moments, "param_groups": saved["param_groups"]})
        if "generator" in state:  # a fork with a seed of its own has none: its noise begins anew
            self.generator.set_state(state["generator"].cpu())
        self.step = int(state["step"])
        self._obey()


def new_model(config: Config) -> HelmholtzMachine:
    """The model of a recipe, on the CPU, with the initial parameters of its seed."""
    return machine(config.model, DATASETS[config.dataset].shape, generator=generator_for(CPU, config.seed, 0))


def fit(trainer: Trainer) -> Iterator[StepInfo]:
    """Trains to the end of the recipe, yielding after every step; the caller may stop at any of them."""
    while trainer.step < trainer.total_steps:
        yield trainer.advance()


def load_trainer(config: Config) -> Trainer:
    """A trainer over the training part of the recipe's data set, on the recipe's device."""
    return Trainer(config, datasets.training(config.dataset), choose_device(config.device))


if __name__ == "__main__":
    from vae_core.command import main

    raise SystemExit(main())
