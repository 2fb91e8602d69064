"""Everything needed to train a run again, as frozen values that travel as JSON. What they must obey: `rules`."""

import json
from dataclasses import asdict, dataclass, field, is_dataclass
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

FORMAT = 1
"""Of config.json: the number under "format", 1 where there is none. What adds or renames a setting raises it."""


@dataclass(frozen=True)
class ModelConfig:
    """What is trained. `widths` are layer sizes for "mlp" and channels for "conv", from the data inwards.

    `latent` is the size of the one stochastic layer, or of the top one: `below` holds the sizes of those between it and
    the data, from the data inwards, with networks of `inner_widths` from layer to layer. `sigma` serves the likelihood
    of fixed scale, `components` the mixture priors, `prior_mean` and `prior_covariance` (row by row; empty is 0 and I)
    the prior that is given.
    """

    network: str = "mlp"
    widths: tuple[int, ...] = (512, 256, 128)
    activation: str = "silu"
    latent: int = 2
    likelihood: str = "bernoulli"
    posterior: str = "diagonal_gaussian"
    prior: str = "standard_normal"
    below: tuple[int, ...] = ()
    inner_widths: tuple[int, ...] = ()
    sigma: float = 0.1
    components: int = 10
    prior_mean: tuple[float, ...] = ()
    prior_covariance: tuple[float, ...] = ()

    @property
    def layers(self) -> tuple[int, ...]:
        """Sizes of the stochastic layers h_1 … h_M, from the data inwards."""
        return (*self.below, self.latent)

    @property
    def plain(self) -> bool:
        """Whether it is a plain autoencoder, which has no ELBO."""
        return self.posterior == "deterministic"


@dataclass(frozen=True)
class ObjectiveConfig:
    """What is maximised, and how gradients flow. β rises linearly from 0 over `warmup_epochs`; `alpha` is the order of
    the Rényi bound; `free_nats` of the KL cost nothing with free bits."""

    bound: str = "elbo"
    estimator: str = "pathwise_analytic"
    draws: int = 1
    beta: float = 1.0
    warmup_epochs: int = 0
    alpha: float = 0.5
    free_nats: float = 2.0


@dataclass(frozen=True)
class ScheduleConfig:
    """How it is optimised. `learning_rate` is the peak of the schedule."""

    optimiser: str = "adam"
    learning_rate: float = 2e-3
    schedule: str = "one_cycle"
    batch_size: int = 128
    epochs: int = 40


@dataclass(frozen=True)
class Config:
    """A run's whole recipe. `device` is "auto", "cpu", "cuda" or "cuda:N"."""

    dataset: str = "digits"
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    seed: int = 0
    device: str = "auto"

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT} | asdict(self), indent=2) + "\n"

    @staticmethod
    def from_json(text: str) -> "Config":
        """Raises ValueError naming the key that is missing, unknown or of the wrong type, or the newer format."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"config is not JSON: {error}") from error
        if isinstance(value, dict) and parsed(int, value.pop("format", 1), "config.format") > FORMAT:
            raise ValueError("config was written by a newer version of this app; update the app to read it")
        return parsed(Config, value, "config")


@cache
def _settings(kind: Any) -> dict[str, Any]:
    """Names and types of a part of the recipe; empty for anything else."""
    return get_type_hints(kind) if is_dataclass(kind) else {}


def parsed(kind: Any, value: Any, where: str) -> Any:
    """What JSON gave as a value of a type: a frozen dataclass of such, a tuple, text, whole number or number.

    Raises ValueError naming the key, `where` it is, that is missing, unknown or of the wrong type.
    """
    if settings := _settings(kind):
        if not isinstance(value, dict):
            raise ValueError(f"{where} must be an object; got {value!r}")
        if settings.keys() != value.keys():
            unknown, missing = sorted(value.keys() - settings.keys()), sorted(settings.keys() - value.keys())
            raise ValueError(f"{where} has unknown keys {unknown} and lacks {missing}")
        plain = {name: part for name, part in value.items() if type(part) is settings[name]}  # most, and quick
        read = {name: parsed(settings[name], value[name], f"{where}.{name}") for name in value.keys() - plain.keys()}
        return kind(**plain, **read)
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where} must be a list; got {value!r}")
        return tuple(parsed(get_args(kind)[0], item, where) for item in value)
    accepted = (int, float) if kind is float else (kind,)
    if not isinstance(value, accepted) or isinstance(value, bool):
        raise ValueError(f"{where} must be of type {kind.__name__}; got {value!r}")
    return kind(value)
