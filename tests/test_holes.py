import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch import distributions as td

from tests.small import (
    belief_net,
    conditioned,
    linear_machine,
    linear_vae,
    raw_scale,
    seeded,
    small_images,
    small_machine,
)
from vae_core import holes
from vae_core.aggregate import Aggregate, aggregate
from vae_core.distributions import Density, Normal
from vae_core.gaussians import FullNormal
from vae_core.holes import (
    BETWEEN,
    DATA,
    EXTRAPOLATION,
    KINDS,
    Landscape,
    landscape,
    log_prior,
    mahalanobis,
    round_trip,
    widened_to_predict,
)
from vae_core.model import HelmholtzMachine
from vae_core.posteriors import POSTERIORS

CENTRES = torch.tensor([[-3.0, 0.0], [3.0, 0.0]], dtype=torch.float64)
SPREAD, WIDTH = 0.4, 0.05


def echo(shift: float = 0.0) -> HelmholtzMachine:
    """Two dimensions that are decoded as they are and encoded as they are but for a shift, with deviation WIDTH."""
    model = linear_vae(2, 2)
    with torch.no_grad():
        for trunk in (model.encoder.trunk, model.decoder.trunk):
            trunk[0].weight.zero_()
            trunk[0].bias.zero_()
            trunk[0].weight[:2] = torch.eye(2)
        model.encoder.trunk[0].bias.copy_(torch.tensor([shift, 0, raw_scale(WIDTH), raw_scale(WIDTH)]))
    return model


def clusters(count: int, seed: int) -> Tensor:
    """Codes around two centres that are far apart."""
    noise = torch.randn(count, 2, generator=seeded(seed), dtype=torch.float64)
    return CENTRES[torch.arange(count) % 2] + SPREAD * noise


def codes(means: Tensor) -> Density:
    return Normal(means, torch.full_like(means, WIDTH))


@pytest.fixture(scope="module")
def found() -> Landscape:
    return landscape(echo(), codes(clusters(400, 1)), generator=seeded(2))


def test_mahalanobis_is_that_of_the_precision() -> None:
    tril = torch.tensor([[1.0, 0.0], [0.6, 0.5]], dtype=torch.float64)
    z, loc = clusters(5, 3), torch.tensor([0.3, -0.2], dtype=torch.float64)
    shift = z - loc
    expected = torch.einsum("ni,ij,nj->n", shift, torch.linalg.inv(tril @ tril.mT), shift).sqrt()
    torch.testing.assert_close(mahalanobis(z, FullNormal(loc, tril)), expected)
    scale = torch.tensor([0.5, 2.0], dtype=torch.float64)
    torch.testing.assert_close(mahalanobis(z, Normal(loc, scale)), mahalanobis(z, FullNormal(loc, scale.diag())))


def test_the_round_trip_of_a_linear_model_is_known() -> None:
    model = linear_machine(2)
    z = torch.randn(700, 2, generator=seeded(4), dtype=torch.float64)
    with torch.no_grad():
        posterior = conditioned(model, model.decode(z).mean)[1]
        shift = z - posterior.mean
        expected = torch.einsum("ni,nij,nj->n", shift, posterior.precision_matrix, shift).sqrt()
    torch.testing.assert_close(round_trip(model, z), expected)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_every_posterior_has_a_round_trip_and_kinds(posterior: str) -> None:
    prior = {"bernoulli": "bernoulli", "deterministic": "none"}.get(posterior, "standard_normal")
    model = small_machine(posterior=posterior, prior=prior)
    with torch.no_grad():
        q = model.encode(small_images(40))
    kinds = landscape(model, q, generator=seeded(1)).kinds(q.mean)
    assert kinds.shape == (40,)
    assert (kinds == DATA).sum() > 30


def test_two_clusters_the_middle_and_the_corner(found: Landscape) -> None:
    z = torch.cat([CENTRES, torch.tensor([[0.0, 0.0], [0.0, 0.5], [9.0, 9.0], [-20.0, 0.0]], dtype=torch.float64)])
    assert found.kinds(z).tolist() == [DATA, DATA, BETWEEN, BETWEEN, EXTRAPOLATION, EXTRAPOLATION]


def test_codes_of_further_examples_are_data_too(found: Landscape) -> None:
    """A region set by the sample's own posteriors would hold next to none of them, which are narrow peaks."""
    fresh = codes(clusters(2_000, 5)).sample(1, generator=seeded(6)).squeeze(0)
    share = (found.aggregate.log_prob(fresh) >= found.least_log_q).double().mean().item()
    deviation = math.sqrt(0.05 * 0.95 * (1 / 400 + 1 / 2_000))
    assert abs(share - 0.95) < 4.5 * deviation
    assert (found.kinds(fresh) == DATA).double().mean().item() > 0.9


def test_the_thresholds_are_quantiles_of_the_codes() -> None:
    means = clusters(400, 1)
    found = landscape(echo(0.1), codes(means), generator=seeded(2))
    drawn = codes(means).sample(1, generator=seeded(2)).squeeze(0)
    assert found.greatest_round_trip == pytest.approx(0.1 / WIDTH)  # the same everywhere
    own = aggregate(codes(means))
    moments = own.moments()
    assert (mahalanobis(drawn, moments) <= found.greatest_distance).sum() == 398
    torch.testing.assert_close(found.codes.scale_tril, moments.scale_tril)
    assert (found.aggregate.left_out(drawn) >= found.least_log_q).sum() == 380


def test_where_the_round_trip_leads_elsewhere_is_no_data(found: Landscape) -> None:
    lost = replace(found, model=echo(10 * WIDTH), greatest_round_trip=9.0)
    assert lost.kinds(CENTRES).tolist() == [BETWEEN, BETWEEN]
    assert replace(lost, greatest_round_trip=11.0).kinds(CENTRES).tolist() == [DATA, DATA]


def test_a_place_says_what_kinds_decides_by(found: Landscape) -> None:
    z = torch.tensor([0.4, -0.3], dtype=torch.float64)
    place = found.place(z, found.model.decode(z[None]).mean[0])
    assert place.kind == found.kinds(z[None]).item() == BETWEEN
    assert KINDS[place.kind].label == "between data"
    assert place.log_q == pytest.approx(found.aggregate.log_prob(z[None]).item())
    assert place.log_p == pytest.approx(td.Normal(0.0, 1.0).log_prob(z).sum().item())
    assert place.round_trip == pytest.approx(0, abs=1e-9)
    assert place.distance == pytest.approx(mahalanobis(z, found.codes).item())
    ratio = found.log_ratio(z[None])
    assert ratio is not None
    assert ratio.item() == pytest.approx(place.log_q - place.log_p)


@pytest.mark.parametrize(
    "model",
    [
        belief_net(),
        small_machine(below=(3,)),
        small_machine(posterior="bernoulli", prior="bernoulli"),
        small_machine(posterior="deterministic", prior="none"),
    ],
    ids=["belief net", "two layers", "binary code", "autoencoder"],
)
def test_where_there_is_no_density_of_the_prior_there_is_no_ratio(model: HelmholtzMachine) -> None:
    with torch.no_grad():
        q = model.encode(small_images(30))
    found = landscape(model, q, generator=seeded(1))
    assert log_prior(model, q.mean) is None
    assert found.log_ratio(q.mean) is None
    assert found.place(q.mean[0], model.decode(q.mean[:1]).mean[0]).log_p is None


def test_only_gaps_are_filled() -> None:
    """Where posteriors overlap already, widening would only blur them."""
    broad = Normal(torch.zeros(100, 2, dtype=torch.float64), torch.ones(100, 2, dtype=torch.float64))
    drawn = broad.sample(1, generator=seeded(1)).squeeze(0)
    drawn = drawn / drawn.square().mean(0).sqrt()  # exactly of the width that the mixture has
    kept = widened_to_predict(Aggregate(broad), drawn)
    torch.testing.assert_close(kept.log_prob(drawn), broad.log_prob(drawn.unsqueeze(1)).logsumexp(1) - math.log(100))
    narrow = Aggregate(Normal(clusters(100, 1), torch.full((100, 2), 1e-3, dtype=torch.float64)))
    fresh = clusters(100, 7)
    wide = widened_to_predict(narrow, clusters(100, 1))
    assert wide.log_prob(fresh).mean() > narrow.log_prob(fresh).mean() + 100


def test_too_few_examples_are_refused() -> None:
    with pytest.raises(ValueError, match="20 examples at least; got 19"):
        landscape(echo(), codes(clusters(19, 1)), generator=seeded(1))


def test_codes_of_a_diverged_model_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        landscape(echo(), codes(torch.full((30, 2), math.nan)), generator=seeded(1))


def test_kinds_make_a_round_trip_only_where_q_is_high_enough(found: Landscape, monkeypatch: pytest.MonkeyPatch) -> None:
    z = 8 * torch.rand(300, 2, dtype=torch.float64, generator=seeded(7)) - 4
    each = [found.place(code, found.model.decode(code[None]).mean[0]).kind for code in z]
    dense = found.aggregate.log_prob(z) >= found.least_log_q
    tried = []
    monkeypatch.setattr(holes, "round_trip", lambda model, codes: tried.append(codes) or round_trip(model, codes))
    assert found.kinds(z).tolist() == each
    assert set(each) == {DATA, BETWEEN, EXTRAPOLATION}
    assert torch.equal(torch.cat(tried), z[dense])
    assert found.kinds(torch.full((3, 2), 50.0, dtype=torch.float64)).tolist() == [EXTRAPOLATION] * 3
