"""Widgets to values: the training form and the choices that several pages show."""

from dataclasses import replace

import streamlit as st

from vae_core.config import Config, ModelConfig, ObjectiveConfig, ScheduleConfig
from vae_core.datasets import DATASETS, data_root, missing_files
from vae_core.defaults import recipe
from vae_core.likelihoods import LIKELIHOODS
from vae_core.networks import ACTIVATIONS
from vae_core.optimisers import SCHEDULES

NETWORKS = {"mlp": "Fully connected (MLP)", "conv": "Convolutional"}
CONV_WIDTHS = (32, 64)
FOLDERS = {"mnist": "MNIST", "fashion": "FashionMNIST"}
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


def _whole(label: str, value: int, **more: str | int) -> int:
    return int(st.number_input(label, value=value, step=1, format="%d", **more))  # type: ignore[arg-type]


def _model(dataset: str, default: ModelConfig) -> ModelConfig:
    key = f"{dataset}-model"
    latent = _whole("Latent dimension", default.latent, key=f"{key}-latent", help="1 to 64. With 2 you see all of it.")
    likelihood = st.selectbox(
        "Likelihood p(x|z)",
        list(LIKELIHOODS),
        index=list(LIKELIHOODS).index(default.likelihood),
        format_func=lambda name: LIKELIHOODS[name].label,
        key=f"{key}-likelihood",
        help="What kind of data a decoded image describes. ELBOs of different likelihoods cannot be compared.",
    )
    return replace(default, latent=latent, likelihood=likelihood)


def _network(dataset: str, model: ModelConfig) -> tuple[ModelConfig, str]:
    """The network's part, and a sentence if the widths are no numbers."""
    network = st.selectbox("Network", list(NETWORKS), format_func=NETWORKS.__getitem__, key=f"{dataset}-network")
    default = CONV_WIDTHS if network == "conv" else model.widths
    text = st.text_input(
        "Layer widths" if network == "mlp" else "Channels",
        ", ".join(map(str, default)),
        key=f"{dataset}-{network}-widths",
        help="From the data inwards; the decoder mirrors them.",
    )
    activation = st.selectbox("Activation", list(ACTIVATIONS), key=f"{dataset}-activation")
    words = text.replace(",", " ").split()
    if not all(word.isdecimal() for word in words):
        return model, f"Layer widths are “{text}”, but must be whole numbers with commas, such as 512, 256."
    return replace(model, network=network, widths=tuple(map(int, words)), activation=activation), ""


def _objective(dataset: str, default: ObjectiveConfig) -> ObjectiveConfig:
    beta = st.number_input(
        "β", value=default.beta, step=0.5, key=f"{dataset}-beta", help="Weight of the KL term. Only β = 1 is the ELBO."
    )
    warmup = _whole(
        "β warm-up (epochs)", default.warmup_epochs, key=f"{dataset}-warmup", help="β rises from 0 over so many epochs."
    )
    return replace(default, beta=float(beta), warmup_epochs=warmup)


def _schedule(dataset: str, default: ScheduleConfig, epochs: int) -> ScheduleConfig:
    rate = st.number_input(
        "Learning rate", value=default.learning_rate, step=5e-4, format="%.5f", key=f"{dataset}-rate",
        help="The peak of the schedule; above 0, at most 1.",
    )  # fmt: skip
    schedule = st.selectbox(
        "Schedule", list(SCHEDULES), format_func=SCHEDULE_LABELS.__getitem__, key=f"{dataset}-schedule"
    )
    batch = _whole("Batch size", default.batch_size, key=f"{dataset}-batch")
    return replace(default, learning_rate=float(rate), schedule=schedule, batch_size=batch, epochs=epochs)


def training_form(dataset: str) -> tuple[Config, list[str]]:
    """The settings for a data set, and sentences for what could not be read."""
    default = recipe(dataset)
    columns = st.columns(3)
    with columns[0]:
        model = _model(dataset, default.model)
    with columns[1]:
        epochs = _whole("Epochs", default.schedule.epochs, key=f"{dataset}-epochs", help="Passes over the data.")
        seed = _whole("Seed", default.seed, key=f"{dataset}-seed", help="The same seed gives the same run.")
    with columns[2]:
        objective = _objective(dataset, default.objective)
    with st.expander("Network and optimiser"):
        left, right = st.columns(2)
        with left:
            model, unreadable = _network(dataset, model)
        with right:
            schedule = _schedule(dataset, default.schedule, epochs)
            device = st.selectbox(
                "Device", ["auto", "cpu", "cuda"], key=f"{dataset}-device", help="auto takes a GPU where there is one."
            )
    config = replace(default, model=model, objective=objective, schedule=schedule, seed=seed, device=device)
    return config, [unreadable] if unreadable else []
