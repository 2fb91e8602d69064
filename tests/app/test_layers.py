"""What can lie under the points of a plane, against densities and Jacobians taken at its places."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch import distributions as td
from torch.func import jacrev, vmap

from tests.app.messages import Message, opened, run_of, unpacked
from tests.small import seeded
from ui.address import Address
from ui.layers import LAYER_MAKERS, MASSES, RATIO_LIMIT, SIDE, layer_message
from ui.planes import Drawn, view_of
from ui.resources import Explored, landscape_of
from vae_core import runs
from vae_core.gaussians import as_full
from vae_core.holes import DATA, EXTRAPOLATION, KINDS, Landscape


def layer(name: str, model: str, **parts: Any) -> tuple[Explored, Drawn, Message]:
    folder, thing = opened(model)
    drawn = view_of(folder, Address(model, **parts))
    assert drawn.plane is not None
    message = layer_message(name, thing, drawn, drawn.plane, landscape_of(folder).result())
    return thing, drawn, unpacked(message)


def places(extent: float) -> Tensor:
    """Centres of the cells, row by row from the top left."""
    axis = (np.arange(SIDE) + 0.5) / SIDE * 2 * extent - extent
    u, v = np.meshgrid(axis, axis[::-1])
    return torch.from_numpy(np.stack([u.ravel(), v.ravel()], 1)).float()


def latents(drawn: Drawn) -> Tensor:
    assert drawn.plane is not None
    return drawn.plane.latents(places(drawn.extent))


def heat(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values as bytes of a scale."""
    return np.round(255 * np.clip((values - low) / (high - low), 0, 1))


def cell(drawn: Drawn, point: Tensor) -> int:
    """Which cell a point of the plane lies in."""
    column, row = ((point * torch.tensor([1, -1]) / drawn.extent + 1) / 2 * SIDE).long().clamp(0, SIDE - 1).tolist()
    return row * SIDE + column


@pytest.mark.parametrize("name", LAYER_MAKERS)
@pytest.mark.parametrize("parts", [{}, {"kind": "principal"}, {"axes": (4, 2)}], ids=["axes", "principal", "others"])
def test_every_layer_is_a_grid_of_bytes(name: str, parts: dict[str, Any]) -> None:
    _, _, message = layer(name, "fashion-20d", **parts)
    assert set(message.blobs) == {"grid"}
    assert message.blobs["grid"].shape == (SIDE**2,)
    assert message.header["side"] == SIDE
    assert message.header["stops"]


def test_holes_are_where_no_data_lie() -> None:
    """Most points lie in cells of data; the corners of the plane of a model of images do not."""
    _, drawn, message = layer("holes", "mnist-2d")
    grid = message.blobs["grid"]
    assert set(grid) == set(range(len(KINDS)))
    assert np.mean([grid[cell(drawn, point)] == DATA for point in drawn.points]) > 0.85
    assert EXTRAPOLATION in grid[[0, SIDE - 1, -SIDE, -1]]
    assert message.header["kinds"] == [kind.label for kind in KINDS]


def log_q(landscape: Landscape, z: Tensor) -> Tensor:
    """The density of the codes, by PyTorch's own mixture."""
    q = as_full(landscape.aggregate.components)
    return td.MixtureSameFamily(
        td.Categorical(torch.ones(len(q.loc))), td.MultivariateNormal(q.loc, scale_tril=q.scale_tril)
    ).log_prob(z)


def test_contours_enclose_their_shares_of_the_codes() -> None:
    """Of draws of the density on the plane that share is denser than the line's places, which are equally dense."""
    _, drawn, message = layer("holes", "digits-2d")
    landscape = landscape_of(opened("digits-2d")[0]).result()
    z = landscape.aggregate.sample(10_000, generator=seeded(1))
    draws = log_q(landscape, z[z.abs().amax(1) < drawn.extent])
    for share, contour in zip(MASSES, message.header["contours"], strict=True):
        line = torch.tensor([point for points in contour["lines"] for point in points])
        assert line.abs().max() <= drawn.extent
        level = log_q(landscape, line)
        assert level.std() < 0.1
        assert (draws > level.mean()).float().mean().item() == pytest.approx(share, abs=0.02)
        assert contour["width"] == MASSES[share]


@pytest.mark.parametrize("name", ["digits-2d", "a run"])
def test_the_ratio_compares_the_codes_with_the_prior(name: str) -> None:
    name = run_of(latent=3, posterior="full_gaussian").id if name == "a run" else name
    _, drawn, message = layer("ratio", name)
    z = latents(drawn)
    exact = log_q(landscape_of(opened(name)[0]).result(), z) - td.Normal(0.0, 1.0).log_prob(z).sum(1)
    expected = heat(exact.numpy(), -RATIO_LIMIT, RATIO_LIMIT)
    assert np.ptp(expected) > 50
    assert np.abs(message.blobs["grid"] - expected).max() <= 1
    assert (message.header["low"], message.header["high"]) == ("−10.0", "10.0")
    assert "nats" in message.header["label"]


@pytest.mark.parametrize("settings", [{"posterior": "deterministic", "prior": "none"}, {"below": (4,)}])
def test_a_model_without_a_density_of_codes_has_no_ratio(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="The prior of this model has no density over single codes"):
        layer("ratio", run_of(**settings).id)


@pytest.mark.parametrize("settings", [{"latent": 1}, {"latent": 2}, {"latent": 4, "likelihood": "gaussian"}], ids=str)
def test_magnification_is_the_volume_of_the_jacobian(settings: dict[str, Any]) -> None:
    """By forward differentiation of the whole latent vector and a determinant, on the scale of its own quantiles."""
    thing, drawn, message = layer("magnification", run_of(**settings).id)
    assert drawn.plane is not None
    directions = drawn.plane.basis[drawn.plane.basis.any(1)]
    jacobian = vmap(jacrev(lambda z: thing.expected(z[None])[0]))(latents(drawn)) @ directions.mT
    exact = 0.5 * torch.logdet((jacobian.mT @ jacobian).double()).numpy()
    low, high = np.quantile(exact, [0.01, 0.99])
    assert high - low > 0.5
    assert np.abs(message.blobs["grid"] - heat(exact, low, high)).max() <= 1
    assert [float(message.header[end].replace("−", "-")) for end in ("low", "high")] == pytest.approx(
        [low, high], abs=0.051
    )


def test_a_decoder_that_gives_one_picture_everywhere_has_a_flat_magnification() -> None:
    run = run_of()
    weights = runs.load_tensors(runs.weights_file(run.folder))
    dead = {name: t.zero_() if name.startswith("generative.0.trunk.0") else t for name, t in weights.items()}
    run.write_checkpoint(2, dead, {})
    assert len(set(layer("magnification", run.id)[2].blobs["grid"])) == 1


def test_a_space_of_one_dimension_has_bands_and_no_contours() -> None:
    name = run_of(latent=1).id
    _, _, message = layer("holes", name)
    assert message.header["contours"] == []
    for kind in LAYER_MAKERS:
        grid = layer(kind, name)[2].blobs["grid"].reshape(SIDE, SIDE)
        assert (grid == grid[:1]).all(), kind
