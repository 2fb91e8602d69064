import pytest
import torch
from torch import Tensor
from torch import distributions as td

from tests import exact
from tests.small import seeded
from tests.test_distributions import example, leaves
from vae_core.distributions import Bernoulli, Density, Normal
from vae_core.gaussians import (
    KL_TABLE,
    FullNormal,
    LowRankNormal,
    MixtureOfNormals,
    as_full,
    gaussian_kl,
    has_closed_form_kl,
    kl,
)

GAUSSIANS = [(q, p) for q in (Normal, FullNormal) for p in (Normal, FullNormal)]
RAGGED = [((3, 4), (3, 4)), ((3, 4), (4,)), ((2, 3, 4), (3, 4)), ((5, 1), (1,))]


def full(density: Density) -> td.MultivariateNormal:
    """A Gaussian in torch.distributions with its covariance written out."""
    reference = exact.reference(density)
    if isinstance(density, FullNormal):
        return reference
    return td.MultivariateNormal(density.loc, covariance_matrix=torch.diag_embed(density.scale.square()))


def oracle(q: Density, p: Density) -> Tensor:
    """KL(q || p) from torch.distributions."""
    theirs = [full(d) if (type(q), type(p)) in GAUSSIANS else exact.reference(d) for d in (q, p)]
    return td.kl_divergence(theirs[0], theirs[1].expand(theirs[0].batch_shape))


def slopes(value: Tensor, parameters: list[Tensor], weights: Tensor) -> list[Tensor]:
    """Gradients, without those above the diagonal of a Cholesky factor: no parameters stand there."""
    found = torch.autograd.grad(value, parameters, weights, retain_graph=True)
    return [grad.tril() if grad.dim() > 1 and grad.shape[-1] == grad.shape[-2] else grad for grad in found]


@pytest.mark.parametrize(("q_kind", "p_kind"), KL_TABLE)
@pytest.mark.parametrize(("q_shape", "p_shape"), RAGGED, ids=str)
def test_closed_form_kl_and_its_gradients(
    q_kind: type[Density], p_kind: type[Density], q_shape: tuple[int, ...], p_shape: tuple[int, ...]
) -> None:
    q, p = example(q_kind, q_shape, 1), example(p_kind, p_shape, 2)
    parameters = [*leaves(q), *leaves(p)]
    value, expected = kl(q, p), oracle(q, p)
    assert value.shape == q_shape[:-1]
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10)
    weights = torch.randn(value.shape, generator=seeded(3), dtype=torch.float64)
    torch.testing.assert_close(
        slopes(value, parameters, weights), slopes(expected, parameters, weights), rtol=1e-8, atol=1e-8
    )


def test_closed_forms_are_the_pairs_that_are_tested() -> None:
    assert set(KL_TABLE) == {*GAUSSIANS, (Bernoulli, Bernoulli)}


@pytest.mark.parametrize(("q_kind", "p_kind"), GAUSSIANS)
def test_the_gaussian_kl_is_the_formula(q_kind: type[Density], p_kind: type[Density]) -> None:
    """1/2 [tr(Sp^-1 Sq) + (mp - mq)^T Sp^-1 (mp - mq) - l + ln det Sp / det Sq]"""
    q, p = example(q_kind, (3, 4), 1), example(p_kind, (3, 4), 2)
    parameters = [*leaves(q), *leaves(p)]
    s_q, s_p = full(q).covariance_matrix, full(p).covariance_matrix
    inverse, shift = torch.linalg.inv(s_p), p.mean - q.mean
    trace = torch.einsum("bij,bji->b", inverse, s_q)
    distance = torch.einsum("bi,bij,bj->b", shift, inverse, shift)
    formula = 0.5 * (trace + distance - 4 + torch.logdet(s_p) - torch.logdet(s_q))
    for value in (kl(q, p), gaussian_kl(q, p)):
        torch.testing.assert_close(value, formula, rtol=1e-10, atol=1e-10)
        weights = torch.ones_like(value)
        torch.testing.assert_close(
            slopes(value, parameters, weights), slopes(formula, parameters, weights), rtol=1e-8, atol=1e-8
        )


@pytest.mark.parametrize(("q_kind", "p_kind"), KL_TABLE)
def test_kl_against_draws(q_kind: type[Density], p_kind: type[Density]) -> None:
    q, p = example(q_kind, (3, 2), 1), example(p_kind, (3, 2), 2)
    draws = q.sample(50_000, generator=seeded(4))
    assert exact.z_scores(q.log_prob(draws) - p.log_prob(draws), kl(q, p)).abs().max() < 4.5


@pytest.mark.parametrize(("q_kind", "p_kind"), KL_TABLE)
def test_kl_in_single_precision(q_kind: type[Density], p_kind: type[Density]) -> None:
    q, p = example(q_kind, (20, 8), 1), example(p_kind, (20, 8), 2)
    single = [type(d)(*(parameter.float() for parameter in vars(d).values())) for d in (q, p)]
    torch.testing.assert_close(kl(single[0], single[1]).double(), kl(q, p), rtol=2e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [q for q, p in KL_TABLE if q is p])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_kl_to_itself_is_nothing(kind: type[Density], dtype: torch.dtype) -> None:
    q = example(kind, (20, 8))
    q = kind(*(parameter.to(dtype) for parameter in vars(q).values()))
    torch.testing.assert_close(kl(q, q), torch.zeros(20, dtype=dtype), rtol=0, atol=100 * torch.finfo(dtype).eps)


def test_bernoulli_kl_at_certain_values() -> None:
    q = Bernoulli(torch.tensor([[100.0], [-100.0], [100.0], [0.0]], requires_grad=True))
    p = Bernoulli(torch.tensor([[100.0], [100.0], [-100.0], [100.0]]))
    value = kl(q, p)
    torch.testing.assert_close(value.detach(), torch.tensor([0.0, 100.0, 100.0, 50 - 0.6931472]))
    assert torch.autograd.grad(value.sum(), q.logits)[0].isfinite().all()


def test_no_closed_form_says_what_serves() -> None:
    q, p = example(Bernoulli, (2, 3)), example(Normal, (2, 3))
    assert not has_closed_form_kl(q, p)
    with pytest.raises(ValueError, match=r"from Bernoulli to Normal; use the estimator 'pathwise' \(Monte Carlo KL\)"):
        kl(q, p)


def test_as_full() -> None:
    x = exact.REFERENCES[Normal].values((7, 3, 4), seeded(2))
    wide = Normal(torch.zeros(3, 4, dtype=torch.float64), torch.tensor([0.7], dtype=torch.float64))
    for density in (example(Normal, (3, 4)), example(FullNormal, (3, 4)), wide):
        torch.testing.assert_close(as_full(density).log_prob(x), density.log_prob(x))


@pytest.mark.parametrize("kind", [FullNormal, LowRankNormal])
def test_covariance_of_draws(kind: type[Density]) -> None:
    density = example(kind, (2, 3))
    centred = density.sample(100_000, generator=seeded(5)) - density.mean
    products = centred.unsqueeze(-1) * centred.unsqueeze(-2)
    assert exact.z_scores(products, exact.reference(density).covariance_matrix).abs().max() < 4.5


def test_push_of_a_full_normal_is_affine() -> None:
    density = example(FullNormal, (2, 3))
    noise = torch.randn(5, 2, 3, generator=seeded(6), dtype=torch.float64)
    expected = density.loc + torch.einsum("bij,nbj->nbi", density.scale_tril, noise)
    torch.testing.assert_close(density.push(noise), expected)


def test_mixture_draws_have_its_correlations() -> None:
    """Components are chosen for all values together: E z z^T, not only the margins."""
    density = example(MixtureOfNormals, (3,))
    weights = density.logits.softmax(-1)
    second = torch.einsum("c,ci,cj->ij", weights, density.loc, density.loc)
    second = second + torch.diag(weights @ density.scale.square())
    draws = density.sample(100_000, generator=seeded(7))
    assert exact.z_scores(draws.unsqueeze(-1) * draws.unsqueeze(-2), second).abs().max() < 4.5


def test_mixture_chooses_each_component_as_often_as_it_weighs() -> None:
    weights = torch.tensor([0.0, 0.05, 0.0, 0.7, 0.25, 0.0])
    density = MixtureOfNormals(weights.log(), torch.arange(6.0).unsqueeze(-1), torch.full((6, 1), 1e-3))
    chosen = density.sample(50_000, generator=seeded(8)).round().long().squeeze(-1)
    counts = torch.bincount(chosen, minlength=6)
    assert (counts[weights == 0] == 0).all()
    onehot = torch.nn.functional.one_hot(chosen, 6).double()[:, weights > 0]
    assert exact.z_scores(onehot, weights[weights > 0].double()).abs().max() < 4.5


def test_a_mixture_far_away_is_finite() -> None:
    density = MixtureOfNormals(torch.zeros(2), torch.tensor([[-1.0], [1.0]]), torch.full((2, 1), 9e-4))
    x = torch.tensor([[1e3]], requires_grad=True)
    value = density.log_prob(x)
    expected = td.Normal(1.0, 9e-4).log_prob(torch.tensor(1e3, dtype=torch.float64)) - 0.6931472
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.autograd.grad(value, x)[0].item() == pytest.approx(-999 / 9e-4**2, rel=1e-5)


LOW_RANK = {
    "noise rules": (1e3, 1e-3, 1.0),
    "ordinary": (0.1, 0.5, 1.0),
    "tiny noise": (9.2e-4, 1.0, 1.0),
    "tiny noise, columns nearly alike": (9.2e-4, 1.0, 1e-2),
    "tiny noise, equal columns": (9.2e-4, 1.0, 0.0),
}


@pytest.mark.parametrize(("noise", "size", "apart"), LOW_RANK.values(), ids=LOW_RANK)
def test_low_rank_in_single_precision(noise: float, size: float, apart: float) -> None:
    """x lies along F, so that nearly all of its distance is explained: the difference must not be lost."""
    columns = size * torch.randn(3, 100, 4, generator=seeded(1))
    factor = columns[..., :1] + apart * (columns - columns[..., :1])
    loc, scale = torch.rand(3, 100, generator=seeded(2)), torch.full((3, 100), noise)
    along = (factor @ torch.randn(3, 4, 1, generator=seeded(3))).squeeze(-1)
    x = loc + along + scale * torch.randn(3, 100, generator=seeded(4))
    value = LowRankNormal(loc, factor, scale).log_prob(x)
    precise = factor.double()
    covariance = precise @ precise.mT + torch.diag_embed(scale.double().square())
    expected = td.MultivariateNormal(loc.double(), covariance).log_prob(x.double())
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, 1e12])
def test_low_rank_of_diverged_parameters_is_no_number(wrong: float) -> None:
    """Not an error of the Cholesky factorisation: the trainer looks for numbers that are none."""
    factor = torch.full((2, 5, 3), wrong)
    value = LowRankNormal(torch.zeros(2, 5), factor, torch.full((2, 5), 1e-3)).log_prob(torch.ones(2, 5))
    assert not value.isfinite().any()


@pytest.mark.parametrize("noise", [9.2e-4, 1.0, 1e3])
def test_full_normal_in_single_precision(noise: float) -> None:
    tril = noise * (torch.eye(8) + 0.3 * torch.randn(5, 8, 8, generator=seeded(1)).tril(-1))
    loc, z = torch.randn(5, 8, generator=seeded(2)), torch.randn(5, 8, generator=seeded(3))
    x = FullNormal(loc, tril).push(z)
    expected = td.MultivariateNormal(loc.double(), scale_tril=tril.double()).log_prob(x.double())
    torch.testing.assert_close(FullNormal(loc, tril).log_prob(x).double(), expected, rtol=1e-5, atol=2e-3)
