"""Values to words, the same on every page."""

from vae_core.config import Config
from vae_core.datasets import DATASETS
from vae_core.likelihoods import LIKELIHOODS
from vae_core.runs import Status


def clock(seconds: float) -> str:
    """A duration as people say it: 8 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def recipe_line(config: Config) -> str:
    """A recipe in one line."""
    model, schedule, objective = config.model, config.schedule, config.objective
    beta = "" if objective.beta == 1 else f" · β = {objective.beta:g}"
    warmup = f" · warm-up {objective.warmup_epochs} epochs" if objective.warmup_epochs else ""
    return (
        f"{LIKELIHOODS[model.likelihood].label} · "
        f"{model.network} {'-'.join(map(str, model.widths))} {model.activation} · "
        f"{schedule.optimiser} {schedule.learning_rate:g} · batch {schedule.batch_size} · {schedule.epochs} epochs"
        f"{beta}{warmup} · seed {config.seed}"
    )


def describe(config: Config, status: Status) -> str:
    """A run in one line of Markdown."""
    done = f", {status.step / status.total_steps:.0%}" if status.total_steps else ""
    return (
        f"**{DATASETS[config.dataset].label}, {config.model.latent}-D** · {status.state}{done} · {recipe_line(config)}"
    )


def objective_note(config: Config) -> str:
    """What must be said where the objective is not the ELBO."""
    objective = config.objective
    if objective.beta == 1 and not objective.warmup_epochs:
        return ""
    return (
        f"This run maximises reconstruction − β·KL with β = {objective.beta:g}"
        + (f" after {objective.warmup_epochs} epochs of warm-up" if objective.warmup_epochs else "")
        + "; the curves show the ELBO itself (β = 1), so that runs can be compared."
    )


def signed(value: float, digits: int = 2) -> str:
    """A number with a true minus sign."""
    return f"{value:.{digits}f}".replace("-", "−")


def nats(value: float) -> str:
    """A number of nats."""
    return f"{signed(value)} nats"
