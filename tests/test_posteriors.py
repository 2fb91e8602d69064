import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch import distributions as td
from torch.utils._pytree import tree_leaves

from tests.small import seeded
from vae_core.distributions import Density
from vae_core.families import Family
from vae_core.flows import CouplingFlow
from vae_core.networks import initialise
from vae_core.posteriors import POSTERIORS, FlowFamily, tril_from

SIZES = [(name, size) for name in POSTERIORS for size in (1, 2, 6) if (name, size) != ("flow", 1)]
"""A coupling flow bends one value by another: the rules ask for two."""


def soft_exp(raw: Tensor) -> Tensor:
    return (7 * (raw / 7).tanh()).exp()


def full(raw: Tensor, size: int) -> td.Distribution:
    """Means, log-diagonals, then the rows below the diagonal one after the other."""
    tril = torch.diag_embed(soft_exp(raw[..., size : 2 * size]))
    place = 2 * size
    for row in range(size):
        for column in range(row):
            tril[..., row, column] = raw[..., place]
            place += 1
    return td.MultivariateNormal(raw[..., :size], scale_tril=tril)


EXPECTED: dict[str, Callable[[Tensor, int], td.Distribution]] = {
    "diagonal_gaussian": lambda raw, d: td.Independent(td.Normal(raw[..., :d], soft_exp(raw[..., d:])), 1),
    "full_gaussian": full,
    "bernoulli": lambda raw, d: td.Independent(td.Bernoulli(logits=raw), 1),
}
ELSEWHERE = {"flow", "deterministic"}
"""Checked below, and in test_flows and test_autoencoder."""
INPUTS: dict[str, Callable[[int], int]] = {
    "diagonal_gaussian": lambda d: 2 * d,
    "full_gaussian": lambda d: 2 * d + d * (d - 1) // 2,
    "flow": lambda d: 2 * d + 8,
    "bernoulli": lambda d: d,
    "deterministic": lambda d: d,
}


def built(name: str, size: int) -> Family:
    family = POSTERIORS[name].build(size)
    initialise(family, generator=seeded(1))
    return family.double()


def test_every_posterior_has_an_oracle() -> None:
    assert set(EXPECTED) | ELSEWHERE == set(POSTERIORS)


@pytest.mark.parametrize(("name", "size"), [pair for pair in SIZES if pair[0] not in ELSEWHERE])
def test_posterior_is_the_named_density(name: str, size: int) -> None:
    family = built(name, size)
    raw = torch.randn(4, family.inputs, generator=seeded(1), dtype=torch.float64, requires_grad=True)
    h = family(raw).sample(3, generator=seeded(2)).detach()
    expected = EXPECTED[name](raw, size)
    values = family(raw).log_prob(h), expected.log_prob(h)
    torch.testing.assert_close(*values)
    torch.testing.assert_close(family(raw).mean, expected.mean)
    ours, theirs = (torch.autograd.grad(value.sum(), raw, retain_graph=True)[0] for value in values)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_entry_keeps_its_word(name: str, size: int) -> None:
    entry, family = POSTERIORS[name], built(name, size)
    assert family.inputs == INPUTS[name](size)
    density = family(torch.randn(4, family.inputs, generator=seeded(1), dtype=torch.float64))
    assert type(density) is entry.density
    assert isinstance(density, Density)
    draws = density.sample(5, generator=seeded(2))
    assert draws.shape == (5, 4, size)
    assert density.mean.shape == (4, size)
    assert density.log_prob(draws).shape == (5, 4)


@pytest.mark.parametrize(("name", "size"), SIZES)
@pytest.mark.parametrize("sign", [-1, 1])
def test_any_raw_numbers_give_a_density(name: str, size: int, sign: int) -> None:
    family = built(name, size).float()
    density = family(torch.full((4, family.inputs), sign * 1e6))
    assert all(parameter.isfinite().all() for parameter in tree_leaves(list(vars(density).values())))
    scales = {"diagonal_gaussian": lambda: density.scale, "flow": lambda: density.scale}
    scales |= {"full_gaussian": lambda: density.scale_tril.diagonal(dim1=-2, dim2=-1)}
    if name in scales:
        assert scales[name]().min() >= math.exp(-7) * (1 - 1e-6)
        assert scales[name]().max() <= math.exp(7) * (1 + 1e-6)
    assert density.sample(5, generator=seeded(1)).isfinite().all()


@pytest.mark.parametrize("size", [1, 2, 5])
def test_tril_from_fills_rows(size: int) -> None:
    count = size * (size - 1) // 2
    tril = tril_from(torch.zeros(3, size), torch.arange(1.0, count + 1).expand(3, count))
    assert torch.equal(tril.diagonal(dim1=-2, dim2=-1), torch.ones(3, size))
    assert torch.equal(tril.triu(1), torch.zeros(3, size, size))
    rows = [tril[0, row, :row] for row in range(size)]
    assert torch.equal(torch.cat(rows), torch.arange(1.0, count + 1))


@pytest.mark.parametrize("size", [2, 3, 6])
def test_flow_reads_its_raw_numbers_and_its_networks(size: int) -> None:
    family = built("flow", size)
    assert isinstance(family, FlowFamily)
    raw = torch.randn(4, family.inputs, generator=seeded(1), dtype=torch.float64)
    flow = family(raw)
    assert isinstance(flow, CouplingFlow)
    assert torch.equal(flow.loc, raw[:, :size])
    torch.testing.assert_close(flow.scale, soft_exp(raw[:, size : 2 * size]))
    assert torch.equal(flow.context, raw[:, 2 * size :])
    assert len(flow.layers) == len(family.first) == 4
    parameters = list(family.parameters())
    assert {id(weight) for weight in tree_leaves(flow.layers)} == {id(parameter) for parameter in parameters}
    slopes = torch.autograd.grad(flow.sample(3, generator=seeded(2)).square().sum(), parameters)
    assert all((slope != 0).any() for slope in slopes)
