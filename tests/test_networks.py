from collections.abc import Callable

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from tests.small import seeded
from vae_core.networks import ACTIVATIONS, Shape, Upsampling, conv_decoder, conv_encoder, initialise, mlp

SHAPES: list[Shape] = [(1, 8, 8), (1, 28, 28), (1, 28, 20), (1, 7, 5), (3, 6, 4)]
EXPECTED_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": lambda x: x / (1 + (-x).exp()),
    "relu": lambda x: x.clamp_min(0),
    "gelu": lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5)),
    "tanh": lambda x: (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()),
    "softplus": lambda x: (1 + x.exp()).log(),
}


def conv_pair(shape: Shape, widths: tuple[int, ...] = (4, 6, 5)) -> tuple[nn.Module, nn.Module]:
    size = shape[0] * shape[1] * shape[2]
    networks = conv_encoder(shape, widths, 7, "silu"), conv_decoder(3, widths, shape, size, "silu")
    for network in networks:
        initialise(network, generator=seeded(1))
    return networks


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_is_the_named_function(name: str) -> None:
    x = torch.linspace(-4, 4, 33, dtype=torch.float64)
    torch.testing.assert_close(ACTIVATIONS[name]()(x), EXPECTED_ACTIVATIONS[name](x))


def test_mlp_is_activated_between_its_layers_only() -> None:
    network = mlp([4, 3, 2, 5], "tanh")
    initialise(network, generator=seeded(1))
    x = torch.randn(6, 4, generator=seeded(2))
    first, second, last = (part for part in network if isinstance(part, nn.Linear))
    torch.testing.assert_close(network(x), last(second(first(x).tanh()).tanh()))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("leading", [(), (2,), (3, 2), (2, 1, 3)], ids=str)
def test_conv_shapes_with_any_leading_axes(shape: Shape, leading: tuple[int, ...]) -> None:
    encoder, decoder = conv_pair(shape)
    size = shape[0] * shape[1] * shape[2]
    assert encoder(torch.zeros(*leading, size)).shape == (*leading, 7)
    assert decoder(torch.zeros(*leading, 3)).shape == (*leading, size)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_conv_treats_every_image_alone(shape: Shape) -> None:
    encoder, decoder = conv_pair(shape)
    x = torch.randn(2, 3, shape[0] * shape[1] * shape[2], generator=seeded(2))
    z = torch.randn(2, 3, 3, generator=seeded(3))
    torch.testing.assert_close(encoder(x)[1, 2], encoder(x[1, 2]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(decoder(z)[1, 2], decoder(z[1, 2]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_conv_reaches_every_pixel(shape: Shape) -> None:
    encoder, decoder = conv_pair(shape)
    x = torch.randn(2, shape[0] * shape[1] * shape[2], generator=seeded(2), requires_grad=True)
    (slope,) = torch.autograd.grad(encoder(x).square().sum(), x)
    assert (slope != 0).all()
    z = torch.randn(1, 3, generator=seeded(3))
    jacobian = torch.autograd.functional.jacobian(decoder, z).flatten(0, 1).flatten(1)
    assert (jacobian != 0).any(dim=1).all()


@pytest.mark.parametrize(
    ("shape", "strides"), [((1, 28, 28), [2, 2, 1]), ((1, 28, 20), [2, 2, 1]), ((1, 7, 5), [1] * 3)]
)
def test_conv_halves_while_the_image_is_even(shape: Shape, strides: list[int]) -> None:
    encoder, decoder = conv_pair(shape)
    assert [part.stride[0] for part in encoder.modules() if isinstance(part, nn.Conv2d)] == strides
    assert [part.stride[0] for part in decoder.modules() if isinstance(part, nn.ConvTranspose2d)] == strides[::-1]


def test_conv_keeps_channels_in_the_order_of_the_flat_image() -> None:
    """A flat image is C x H x W, row by row: what a convolution of one pixel sees proves it."""
    encoder, _ = conv_pair((2, 3, 3), widths=(4,))
    seen: list[Tensor] = []
    conv = next(part for part in encoder.modules() if isinstance(part, nn.Conv2d))
    conv.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    encoder(torch.arange(18.0))
    assert torch.equal(seen[0], torch.arange(18.0).reshape(1, 2, 3, 3))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [1, 2])
def test_upsampling_is_a_transposed_convolution_also_in_its_gradients(channels: int, stride: int) -> None:
    layer = Upsampling(5, channels, stride).double()
    x = torch.randn(3, 5, 6, 4, generator=seeded(4), dtype=torch.double, requires_grad=True)
    own, reference = layer(x), nn.functional.conv_transpose2d(x, layer.weight, layer.bias, stride, padding=1)
    assert own.shape == (3, channels, 6 * stride, 4 * stride)
    torch.testing.assert_close(own, reference)
    weights, inputs = torch.randn(own.shape, generator=seeded(5), dtype=torch.double), (x, *layer.parameters())
    slopes = (torch.autograd.grad((weights * image).sum(), inputs) for image in (own, reference))
    torch.testing.assert_close(*slopes)


def everything() -> nn.Sequential:
    return nn.Sequential(mlp([300, 200], "relu"), *conv_pair((1, 8, 8), widths=(32, 32)))


def test_initialise_draws_uniformly_within_the_limits_of_pytorch() -> None:
    network = everything()
    initialise(network, generator=seeded(1))
    layers = [part for part in network.modules() if isinstance(part, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d))]
    assert len(layers) == 7
    for part in layers:
        fan_in, _ = nn.init._calculate_fan_in_and_fan_out(part.weight)
        for parameter in (part.weight, part.bias):
            scaled = (parameter.detach() * fan_in**0.5).flatten().numpy()
            assert abs(scaled).max() <= 1
            assert stats.kstest(scaled, stats.uniform(-1, 2).cdf).pvalue > 1e-3


def test_initialise_depends_on_the_generator_only() -> None:
    def drawn(seed: int, global_seed: int) -> Tensor:
        torch.manual_seed(global_seed)
        network = everything()
        state = torch.get_rng_state()
        initialise(network, generator=seeded(seed))
        assert torch.equal(torch.get_rng_state(), state)
        return torch.cat([parameter.flatten() for parameter in network.parameters()])

    assert torch.equal(drawn(1, 2), drawn(1, 3))
    assert not torch.equal(drawn(1, 2), drawn(2, 2))
