"""Widgets to values: the training form and the choices that several pages show."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import streamlit as st

from vae_core.bounds import BOUNDS
from vae_core.config import Config, ModelConfig, ObjectiveConfig, ScheduleConfig
from vae_core.datasets import DATASETS, data_root, missing_files
from vae_core.defaults import METHODS, by_method, recipe
from vae_core.estimators import ESTIMATORS
from vae_core.likelihoods import LIKELIHOODS
from vae_core.networks import ACTIVATIONS
from vae_core.optimisers import OPTIMISERS, SCHEDULES
from vae_core.posteriors import POSTERIORS
from vae_core.priors import PRIORS

NETWORKS = {"mlp": "Fully connected (MLP)", "conv": "Convolutional"}
CONV_WIDTHS = (32, 64)
FOLDERS = {"mnist": "MNIST", "fashion": "FashionMNIST"}
OPTIMISER_LABELS = {"adam": "Adam", "adamw": "AdamW", "adagrad": "Adagrad (AEVB's)", "sgd": "SGD"}
SCHEDULE_LABELS = {"one_cycle": "One cycle: up, then down to 0", "cosine": "Cosine down to 0", "constant": "Constant"}


def dataset_choice() -> str:
    name = st.segmented_control(
        "Data set", list(DATASETS), format_func=lambda key: DATASETS[key].label, default="digits", required=True
    )
    return name or "digits"


def download_note(dataset: str) -> str:
    """A sentence if the data set has to be downloaded first, else nothing."""
    folder = FOLDERS.get(dataset)
    if folder is None or not missing_files(folder):
        return ""
    return f"{DATASETS[dataset].label} is not on this computer yet: the run first downloads it to `{data_root()}`."


def _started(key: str, value: Any) -> str:
    """The key of a widget that starts with a value, which a callback may set anew (a default in its call may not)."""
    st.session_state.setdefault(key, value)
    return key


def _whole(label: str, value: int, key: str, help: str | None = None) -> int:
    return int(st.number_input(label, step=1, format="%d", key=_started(key, value), help=help))


def _number(label: str, value: float, key: str, step: float, help: str | None = None) -> float:
    return float(st.number_input(label, step=step, key=_started(key, value), help=help))


def _from_table(label: str, table: dict[str, Any], value: str, key: str, help: str = "") -> str:
    """A select box over a table; what the chosen entry is stands below it, unless there is one `help` for all."""
    names = {name: entry.label for name, entry in table.items()}
    chosen = st.selectbox(
        label, list(table), format_func=names.__getitem__, key=_started(key, value), help=help or None
    )
    if not help:
        st.caption(table[chosen].help)
    return chosen


class Unreadable(list[str]):
    """Sentences for what was typed and is no list of numbers."""

    def numbers(self, label: str, text: str, kind: Callable[[str], Any], example: str) -> tuple[Any, ...]:
        try:
            return tuple(kind(word) for word in text.replace(",", " ").replace(";", " ").split())
        except ValueError:
            self.append(f"{label} is “{text}”, but must be {example}.")
            return ()


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _model(dataset: str, default: ModelConfig) -> ModelConfig:
    key = f"{dataset}-model"
    latent = _whole("Latent dimension", default.latent, key=f"{key}-latent", help="1 to 64. With 2 you see all of it.")
    likelihood = _from_table(
        "Likelihood p(x|z)",
        LIKELIHOODS,
        default.likelihood,
        f"{key}-likelihood",
        "What kind of data a decoded example describes. ELBOs of different likelihoods cannot be compared.",
    )
    model = replace(default, latent=latent, likelihood=likelihood)
    if likelihood != "gaussian_fixed":
        return model
    return replace(model, sigma=_number("σ of a value", default.sigma, f"{key}-sigma", 0.05, "0.001 to 10."))


def _network(dataset: str, model: ModelConfig, unreadable: Unreadable) -> ModelConfig:
    network = st.selectbox("Network", list(NETWORKS), format_func=NETWORKS.__getitem__, key=f"{dataset}-network")
    default = CONV_WIDTHS if network == "conv" else model.widths
    label = "Layer widths" if network == "mlp" else "Channels"
    text = st.text_input(
        label,
        key=_started(f"{dataset}-{network}-widths", _listed(default)),
        help="From the data inwards; the decoder mirrors them. Fully connected and empty: a linear model.",
    )
    activation = st.selectbox("Activation", list(ACTIVATIONS), key=f"{dataset}-activation")
    widths = unreadable.numbers(label, text, int, "whole numbers with commas, such as 512, 256")
    return replace(model, network=network, widths=widths, activation=activation)


def _beta(dataset: str, default: ObjectiveConfig) -> ObjectiveConfig:
    beta = _number("β", default.beta, f"{dataset}-beta", 0.5, "Weight of the KL term. Only β = 1 is the ELBO.")
    warmup = _whole(
        "β warm-up (epochs)", default.warmup_epochs, key=f"{dataset}-warmup", help="β rises from 0 over so many epochs."
    )
    return replace(default, beta=beta, warmup_epochs=warmup)


def _method(dataset: str) -> None:
    """Sets the widgets below it to what makes a method; each can be changed after."""

    def choose() -> None:
        config = by_method(recipe(dataset), st.session_state[f"{dataset}-method"])
        model, objective = config.model, config.objective
        values = {
            "model-latent": model.latent,
            "mlp-widths": _listed(model.widths),
            "posterior": model.posterior,
            "prior": model.prior,
            "components": model.components,
            "below": _listed(model.below),
            "bound": objective.bound,
            "estimator": objective.estimator,
            "draws": objective.draws,
            "beta": objective.beta,
            "warmup": objective.warmup_epochs,
        }
        for name, value in values.items():
            st.session_state[f"{dataset}-{name}"] = value

    st.selectbox(
        "Start from",
        list(METHODS),
        format_func=lambda name: METHODS[name].label,
        key=f"{dataset}-method",
        on_change=choose,
        help="Sets everything in this section; change any of it after.",
    )


def _code(dataset: str, model: ModelConfig, unreadable: Unreadable) -> ModelConfig:
    """Posterior, prior and the stochastic layers."""
    posterior = _from_table("Posterior q(z|x)", POSTERIORS, model.posterior, f"{dataset}-posterior")
    prior = _from_table("Prior p(z)", PRIORS, model.prior, f"{dataset}-prior")
    model = replace(model, posterior=posterior, prior=prior)
    if prior in ("mixture", "vamp"):
        model = replace(model, components=_whole("Components", model.components, key=f"{dataset}-components"))
    if prior == "gaussian":
        example = "numbers with commas, such as 1, 0.5, 0.5, 1"
        mean = st.text_input("Prior mean", key=f"{dataset}-prior-mean", help="One number a dimension; empty: 0.")
        rows = st.text_input("Prior covariance", key=f"{dataset}-prior-covariance", help="Row by row; empty: identity.")
        model = replace(
            model,
            prior_mean=unreadable.numbers("Prior mean", mean, float, example),
            prior_covariance=unreadable.numbers("Prior covariance", rows, float, example),
        )
    below = st.text_input(
        "Stochastic layers below the top",
        key=_started(f"{dataset}-below", _listed(model.below)),
        help="Sizes, from the data inwards; the latent dimension is the top layer's. Empty: one layer, a VAE.",
    )
    sizes = unreadable.numbers(
        "Stochastic layers below the top", below, int, "whole numbers with commas, such as 64, 32"
    )
    if not sizes:
        return model
    inner = st.text_input("Widths between stochastic layers", key=f"{dataset}-inner", help="Empty: linear.")
    widths = unreadable.numbers("Widths between stochastic layers", inner, int, "whole numbers with commas, such as 64")
    return replace(model, below=sizes, inner_widths=widths)


def _learning(dataset: str, objective: ObjectiveConfig) -> ObjectiveConfig:
    """Bound, estimator and draws."""
    bound = _from_table("Bound", BOUNDS, objective.bound, f"{dataset}-bound")
    if bound == "renyi":
        alpha = _number("α", objective.alpha, f"{dataset}-alpha", 0.1, "0 (IWAE) to 1 (ELBO).")
        objective = replace(objective, alpha=alpha)
    if bound == "free_bits":
        free = _number("Free nats of KL", objective.free_nats, f"{dataset}-free-nats", 0.5)
        objective = replace(objective, free_nats=free)
    estimator = _from_table("Gradient estimator", ESTIMATORS, objective.estimator, f"{dataset}-estimator")
    draws = _whole("Draws of z per example", objective.draws, key=f"{dataset}-draws", help="K, or L in AEVB. 1 to 100.")
    return replace(objective, bound=bound, estimator=estimator, draws=draws)


def _schedule(dataset: str, default: ScheduleConfig, epochs: int) -> ScheduleConfig:
    optimiser = st.selectbox(
        "Optimiser",
        list(OPTIMISERS),
        index=list(OPTIMISERS).index(default.optimiser),
        format_func=OPTIMISER_LABELS.__getitem__,
        key=f"{dataset}-optimiser",
    )
    rate = st.number_input(
        "Learning rate", value=default.learning_rate, step=5e-4, format="%.5f", key=f"{dataset}-rate",
        help="The peak of the schedule; above 0, at most 1.",
    )  # fmt: skip
    schedule = st.selectbox(
        "Schedule", list(SCHEDULES), format_func=SCHEDULE_LABELS.__getitem__, key=f"{dataset}-schedule"
    )
    batch = _whole("Batch size", default.batch_size, key=f"{dataset}-batch")
    return replace(
        default, optimiser=optimiser, learning_rate=float(rate), schedule=schedule, batch_size=batch, epochs=epochs
    )


def training_form(dataset: str) -> tuple[Config, list[str]]:
    """The settings for a data set, and sentences for what could not be read."""
    default, unreadable = recipe(dataset), Unreadable()
    columns = st.columns(3)
    with columns[0]:
        model = _model(dataset, default.model)
    with columns[1]:
        epochs = _whole("Epochs", default.schedule.epochs, key=f"{dataset}-epochs", help="Passes over the data.")
        seed = _whole("Seed", default.seed, key=f"{dataset}-seed", help="The same seed gives the same run.")
    with columns[2]:
        objective = _beta(dataset, default.objective)
    with st.expander("Inference: posterior, prior, bound, estimator"):
        _method(dataset)
        left, right = st.columns(2)
        with left:
            model = _code(dataset, model, unreadable)
        with right:
            objective = _learning(dataset, objective)
    with st.expander("Network and optimiser"):
        left, right = st.columns(2)
        with left:
            model = _network(dataset, model, unreadable)
        with right:
            schedule = _schedule(dataset, default.schedule, epochs)
            device = st.selectbox(
                "Device", ["auto", "cpu", "cuda"], key=f"{dataset}-device", help="auto takes a GPU where there is one."
            )
    config = replace(default, model=model, objective=objective, schedule=schedule, seed=seed, device=device)
    return config, unreadable
