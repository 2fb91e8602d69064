"""One update as it happens: what goes in, what is drawn, each term of the bound and each gradient, for one example."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vae_core.distributions import Normal
from vae_core.training import StepInfo, Trainer

EXAMPLE = 0
"""Which example of the batch is shown."""


@dataclass(frozen=True)
class Trace:
    """The computation of one step, for the first example of its batch and the first draw. Terms in nats; norms of the
    gradient of the loss (the batch's mean) by part of the model. `scale` and `noise` are empty where q(z|x) is no
    diagonal Gaussian; of several layers the first is shown, and the terms are those of all."""

    step: int
    learning_rate: float
    beta: float
    batch: int
    x: list[float]
    mean: list[float]
    scale: list[float]
    noise: list[float]
    z: list[float]
    decoded: list[float]
    log_lik: float
    log_prior: float
    log_q: float
    gradients: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def _norm(module: nn.Module) -> float:
    gradients = [p.grad.norm() for p in module.parameters() if p.grad is not None]
    return torch.stack(gradients).norm().item() if gradients else 0.0


def gradient_norms(trainer: Trainer) -> dict[str, float]:
    """Euclidean norms of the last step's gradients, by part of the model."""
    model = trainer.model
    parts = {"encoder": model.recognition, "decoder": model.generative, "prior": model.prior}
    return {name: _norm(part) for name, part in parts.items() if list(part.parameters())}


def traced(trainer: Trainer) -> tuple[StepInfo, Trace]:
    """Does one step as `Trainer.advance` does, bit for bit, and says what happened in it."""
    seen: dict[str, Any] = {}

    @torch.no_grad()
    def look(x: Tensor, again: torch.Generator) -> None:
        model = trainer.model
        inference = model.infer(x, trainer.config.objective.draws, generator=again)
        q, z = inference.q[0], inference.h[0][0, EXAMPLE]
        terms = model.terms(x, inference)
        seen.update(x=x[EXAMPLE].tolist(), mean=q.mean[EXAMPLE].tolist(), z=z.tolist(), scale=[], noise=[])
        if isinstance(q, Normal):
            seen.update(scale=q.scale[EXAMPLE].tolist(), noise=((z - q.loc[EXAMPLE]) / q.scale[EXAMPLE]).tolist())
        seen["decoded"] = model.decode(z[None]).mean[0].tolist()
        for name in ("log_lik", "log_prior", "log_q"):
            seen[name] = getattr(terms, name)[0, EXAMPLE].item()
        seen["gradients"] = gradient_norms(trainer)

    info = trainer.advance(look)
    size = trainer.config.schedule.batch_size
    return info, Trace(step=info.step, learning_rate=info.learning_rate, beta=info.beta, batch=size, **seen)
