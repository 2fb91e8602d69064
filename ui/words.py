"""Values to words, the same on every page."""

from functools import lru_cache

from vae_core.bounds import BOUNDS
from vae_core.config import Config, ObjectiveConfig
from vae_core.datasets import DATASETS
from vae_core.estimators import ESTIMATORS
from vae_core.likelihoods import LIKELIHOODS
from vae_core.limits import MEGABYTE
from vae_core.posteriors import POSTERIORS
from vae_core.priors import PRIORS
from vae_core.runs import Status


def clock(seconds: float) -> str:
    """A duration as people say it: 8 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th, 21st …"""
    ending = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"


def queue_line(turn: int, at_limit: bool) -> str:
    """What a run waits for."""
    place = "Next" if turn == 1 else ordinal(turn)
    if at_limit:
        return f"{place} in the queue: as many of your runs train as may at once. It begins when one of them ends."
    return f"{place} in the queue: it begins when there is a place for it."


def disk_line(used: int, most: int) -> str:
    """Bytes that an owner's runs take, and the megabytes that they may."""
    return f"They take {used / MEGABYTE:,.0f} MB of disk; {most:,} MB is the most."


@lru_cache(maxsize=16_384)
def recipe_line(config: Config) -> str:
    """A recipe in one line."""
    model, schedule, objective = config.model, config.schedule, config.objective
    beta = "" if objective.beta == 1 else f" · β = {objective.beta:g}"
    warmup = f" · warm-up {objective.warmup_epochs} epochs" if objective.warmup_epochs else ""
    return (
        f"{LIKELIHOODS[model.likelihood].label} · "
        f"{model.network} {'-'.join(map(str, model.widths)) or 'linear'} {model.activation} · {_inference(config)}"
        f"{schedule.optimiser} {schedule.learning_rate:g} · batch {schedule.batch_size} · {schedule.epochs} epochs"
        f"{beta}{warmup} · seed {config.seed}"
    )


def short(run_id: str) -> str:
    """A run's data, size and the first signs of what makes its name unique: digits-2d-a1b2c3."""
    parts = run_id.split("-")
    return "-".join([*parts[2:-1], parts[-1][:6]]) if len(parts) > 4 else run_id[:40]


def describe(config: Config, status: Status) -> str:
    """A run in one line of Markdown."""
    done = f", {status.done:.0%}" if status.total_steps else ""
    layers = "-".join(map(str, config.model.layers))
    return f"**{DATASETS[config.dataset].label}, {layers}-D** · {status.state}{done} · {recipe_line(config)}"


def _inference(config: Config) -> str:
    """What of a recipe's inference differs from the plain VAE, each with a dot behind it."""
    model, objective, plain = config.model, config.objective, Config()
    parts = [
        f"layers {'-'.join(map(str, model.layers))}" if model.below else "",
        f"q: {POSTERIORS[model.posterior].label}" if model.posterior != plain.model.posterior else "",
        f"prior: {PRIORS[model.prior].label}" if model.prior != plain.model.prior else "",
        _bound_name(objective) if objective.bound != plain.objective.bound else "",
        ESTIMATORS[objective.estimator].label if objective.estimator != plain.objective.estimator else "",
        f"{objective.draws} draws" if objective.draws != 1 else "",
    ]
    return "".join(f"{part} · " for part in parts if part)


def _bound_name(objective: ObjectiveConfig) -> str:
    """The bound with its numbers."""
    names = {
        "iwae": f"IWAE-{objective.draws}",
        "renyi": f"Rényi bound, α = {objective.alpha:g}",
        "free_bits": f"ELBO with {objective.free_nats:g} free nats",
    }
    return names.get(objective.bound, BOUNDS[objective.bound].label)


def bound_note(config: Config) -> str:
    """What kind of number the ELBO on the page is."""
    if config.model.plain:
        return "A plain autoencoder has neither noise nor KL: its “ELBO” is the reconstruction alone, no bound at all."
    return f"The ELBO is a {LIKELIHOODS[config.model.likelihood].bounds}."


def prior_note(config: Config) -> str:
    """What the dashed ellipses of a plane are."""
    if config.model.below or config.model.prior in ("bernoulli", "none"):
        return ""
    if config.model.prior in ("mixture", "vamp"):
        return "Dashed: 1σ of the prior's components."
    return "Dashed: 1σ and 2σ of the prior."


def objective_note(config: Config) -> str:
    """What must be said where the objective is not the ELBO."""
    objective = config.objective
    if not ESTIMATORS[objective.estimator].unbiased:
        return f"{ESTIMATORS[objective.estimator].label} follows no single objective; the curves show the ELBO."
    if objective.bound not in ("elbo", "free_bits"):
        return (
            f"This run maximises the {_bound_name(objective)}; the curves show the ELBO, so that runs can be compared."
        )
    plain = objective.beta == 1 and not objective.warmup_epochs
    if plain and objective.bound == "elbo":
        return ""
    kl = "KL" if objective.bound == "elbo" else f"max(KL, {objective.free_nats:g} nats)"
    if plain:
        return f"This run maximises reconstruction − {kl}; the curves show the ELBO, so that runs can be compared."
    return (
        f"This run maximises reconstruction − β·{kl} with β = {objective.beta:g}"
        + (f" after {objective.warmup_epochs} epochs of warm-up" if objective.warmup_epochs else "")
        + "; the curves show the ELBO itself (β = 1), so that runs can be compared."
    )


def signed(value: float, digits: int = 2) -> str:
    """A number with a true minus sign."""
    return f"{value:.{digits}f}".replace("-", "−")


def nats(value: float) -> str:
    """A number of nats."""
    return f"{signed(value)} nats"
