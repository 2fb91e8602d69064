"""A decoder that travels, run by a program of our own, is the decoder."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special

from tests.small import SIZE, seeded, small_machine
from vae_core import portable as module
from vae_core.config import ModelConfig
from vae_core.datasets import DATASETS
from vae_core.likelihoods import LIKELIHOODS
from vae_core.model import HelmholtzMachine
from vae_core.networks import ACTIVATIONS
from vae_core.portable import LINKS, PortableDecoder, portable
from vae_core.runs import load_model

PRETRAINED = Path(__file__).parents[1] / "pretrained"
BENDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda v: np.maximum(v, 0),
    "silu": lambda v: v * special.expit(v),
    "tanh": np.tanh,
    "softplus": lambda v: np.logaddexp(v, 0),
    "gelu": lambda v: v * special.ndtr(v),
}


def continuous_bernoulli_mean(logits: np.ndarray) -> np.ndarray:
    """∫ x e^{ax} dx / ∫ e^{ax} dx over [0, 1], by Gauss-Legendre quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    x = (nodes + 1) / 2
    density = np.exp(logits[..., None] * x - np.maximum(logits, 0)[..., None]) * weights
    return (density * x).sum(-1) / density.sum(-1)


LINKED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": lambda v: v,
    "sigmoid": special.expit,
    "continuous_bernoulli": continuous_bernoulli_mean,
}


def run(decoder: PortableDecoder, z: np.ndarray) -> np.ndarray:
    """The layers in float64: what another program does with them."""
    for number, (weight, bias) in enumerate(zip(decoder.weights, decoder.biases, strict=True)):
        z = (BENDS[decoder.activation](z) if number else z) @ weight.double().numpy().T + bias.double().numpy()
    return LINKED[decoder.link](z)


def made(**settings: Any) -> tuple[HelmholtzMachine, PortableDecoder | None]:
    """A small machine and its decoder as it travels."""
    given = {"widths": (5, 4), "activation": "tanh", "latent": 2, **settings}
    model = small_machine(gain=3.0, **given)
    return model, portable(model, ModelConfig(**given), SIZE)


def assert_same(model: HelmholtzMachine, decoder: PortableDecoder | None, latent: int) -> None:
    assert decoder is not None
    z = 2 * torch.randn(50, latent, generator=seeded(1), dtype=torch.float64)
    with torch.no_grad():
        expected = model.decode(z).mean.numpy()
    assert expected.std() > 0.01
    np.testing.assert_allclose(run(decoder, z.numpy()), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("likelihood", LINKS)
def test_the_layers_give_the_mean(likelihood: str, activation: str) -> None:
    assert_same(*made(likelihood=likelihood, activation=activation), latent=2)


@pytest.mark.parametrize("widths", [(), (3,), (7, 5, 3)])
@pytest.mark.parametrize("latent", [1, 2, 9])
def test_decoders_of_any_depth_travel(widths: tuple[int, ...], latent: int) -> None:
    model, decoder = made(widths=widths, latent=latent)
    assert_same(model, decoder, latent)
    assert decoder is not None
    sizes = [latent, *reversed(widths), SIZE]
    assert [tuple(w.shape) for w in decoder.weights] == list(zip(sizes[1:], sizes, strict=False))
    assert [len(b) for b in decoder.biases] == sizes[1:]


def test_of_several_layers_the_lowest_decoder_travels() -> None:
    assert_same(*made(below=(3,), inner_widths=(4,)), latent=3)


@pytest.mark.parametrize("likelihood", sorted(set(LIKELIHOODS) - set(LINKS)))
def test_other_likelihoods_stay(likelihood: str) -> None:
    assert made(likelihood=likelihood)[1] is None


def test_every_likelihood_named_exists() -> None:
    assert set(LINKS) < set(LIKELIHOODS)
    assert set(LINKS.values()) == set(LINKED)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_convolutional_decoders_stay(likelihood: str) -> None:
    config = ModelConfig(network="conv", widths=(4,), likelihood=likelihood)
    model = small_machine(shape=(1, 4, 4), network="conv", widths=(4,), likelihood=likelihood)
    assert portable(model, config, 16) is None


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian_low_rank"])
def test_the_limit_counts_the_numbers_that_would_travel(likelihood: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the last layer only the outputs that make the mean."""
    numbers = 2 * 4 + 4 + 4 * 5 + 5 + 5 * SIZE + SIZE
    monkeypatch.setattr(module, "WEIGHT_LIMIT", numbers)
    assert made(likelihood=likelihood)[1] is not None
    monkeypatch.setattr(module, "WEIGHT_LIMIT", numbers - 1)
    assert made(likelihood=likelihood)[1] is None


def test_two_million_numbers_are_the_limit() -> None:
    assert module.WEIGHT_LIMIT == 2_000_000


@pytest.mark.parametrize("name", ["digits-2d", "mnist-20d"])
def test_published_weights_are_exact_in_half_precision(name: str) -> None:
    config, model = load_model(PRETRAINED / name)
    decoder = portable(model, config.model, math.prod(DATASETS[config.dataset].shape))
    assert decoder is not None
    assert decoder.halves


def test_fresh_weights_are_not_and_one_number_is_enough() -> None:
    _, decoder = made()
    assert decoder is not None
    assert not decoder.halves
    weights, biases = (tuple(t.half().float() for t in tensors) for tensors in (decoder.weights, decoder.biases))
    halved = replace(decoder, weights=weights, biases=biases)
    assert halved.halves
    halved.biases[-1][-1] = 1 / 3
    assert not halved.halves
