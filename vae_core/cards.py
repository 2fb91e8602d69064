"""Model cards: Markdown with the front matter that hubs read."""

from collections.abc import Mapping
from typing import Any

from vae_core.bounds import BOUNDS
from vae_core.config import Config
from vae_core.datasets import DATASETS
from vae_core.estimators import ESTIMATORS
from vae_core.likelihoods import LIKELIHOODS
from vae_core.posteriors import POSTERIORS
from vae_core.priors import PRIORS


def noun(config: Config) -> str:
    return "image" if DATASETS[config.dataset].kind == "image" else "example"


def card(name: str, config: Config, rows: Mapping[str, str], ending: str, front: str = "") -> str:
    """What the model is and how it was trained, then further rows of the table, by their label, and what else there is
    to say; `front` are lines of front matter."""
    table = "\n".join(f"| {label} | {text} |" for label, text in {**recipe_rows(config), **rows}.items())
    article, kind = ("An", "autoencoder") if config.model.plain else ("A", "variational autoencoder")
    return f"""---
{front}tags: [{kind.replace(" ", "-")}]
---
# {name}

{article} {kind} of {DATASETS[config.dataset].label} with {_sizes(config)} latent dimensions.

| | |
|---|---|
{table}

{ending}
"""


def _sizes(config: Config) -> str:
    return " and ".join(map(str, config.model.layers))


def recipe_rows(config: Config) -> dict[str, str]:
    """The recipe in words, by label."""
    model, objective, schedule = config.model, config.objective, config.schedule
    weight = f", β = {objective.beta:g}" if objective.beta != 1 else ""
    bound = "none, the reconstruction alone" if config.model.plain else f"{BOUNDS[objective.bound].label}{weight}"
    return {
        "network": f"{model.network}, widths {'-'.join(map(str, model.widths)) or 'none'}, {model.activation}; the "
        "decoder mirrors the encoder",
        "likelihood": LIKELIHOODS[model.likelihood].label,
        "posterior; prior": f"{POSTERIORS[model.posterior].label}; {PRIORS[model.prior].label}",
        "bound; gradients": f"{bound}; {ESTIMATORS[objective.estimator].label}",
        "training": f"{schedule.epochs} epochs of {DATASETS[config.dataset].sizes.train:,} {noun(config)}s, batch "
        f"{schedule.batch_size}, {schedule.optimiser} with the {schedule.schedule} schedule, peak "
        f"{schedule.learning_rate:g}, seed {config.seed}",
    }


def result_rows(config: Config, part: str, numbers: Mapping[str, Any], how: str) -> dict[str, str]:
    """Numbers measured on a part of the data, in nats, by label: `elbo`, `elbo_se`, `rate`, `distortion` and
    `active_units`; of a plain autoencoder the last two."""
    active = f"{numbers['active_units']} of {config.model.layers[0]} (variance of posterior means above 0.01)"
    if config.model.plain:
        return {
            f"{part} reconstruction": f"**{-numbers['distortion']:.2f} nats per {noun(config)}** (E log p(x|z), no "
            f"bound; {how})",
            "active units": active,
        }
    return {
        f"{part} ELBO": f"**{numbers['elbo']:.2f} ± {numbers['elbo_se']:.2f} nats per {noun(config)}** "
        f"({LIKELIHOODS[config.model.likelihood].bounds}; {how})",
        "rate (KL)": f"{numbers['rate']:.2f} nats",
        "distortion": f"{numbers['distortion']:.2f} nats",
        "active units": active,
    }


def data_line(config: Config) -> str:
    """Where the data come from, and their licence."""
    spec = DATASETS[config.dataset]
    return f"Data: {spec.source}. Licence of the data: {spec.licence}."
