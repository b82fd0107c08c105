"""The written-out action-gradient against autograd, first and second derivatives, over depths, widths and dtypes."""

import copy

import pytest
import torch

from mage_edu.critic import Critic, value_and_input_gradient
from mage_edu.networks import StackedMLP, mlp


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inputs(obs_dim: int, act_dim: int, dtype: torch.dtype, batch: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    obs = torch.randn(batch, obs_dim, dtype=dtype, generator=seeded(1))
    return obs, torch.rand(batch, act_dim, dtype=dtype, generator=seeded(2)) * 2 - 1


def by_autograd(critic: Critic, obs, action, create_graph=False):
    own = critic.stack(action).clone().requires_grad_()
    value = mlp(torch.cat([critic.stack(obs), own], -1), critic.layers(), critic.layer_norm, critic.activation).squeeze(
        -1
    )
    return value, torch.autograd.grad(value.sum(), own, create_graph=create_graph)[0]


def relative_error(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.mark.parametrize("layers, width", [(1, 1), (1, 64), (2, 32), (2, 384), (3, 64), (5, 16)])
@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("dtype, bound", [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("activation", ["swish", "relu"])
def test_value_and_action_gradient_equal_autograd(layers, width, members, dtype, bound, layer_norm, activation):
    if layer_norm and width == 1:
        pytest.skip("one unit, normalized over itself, is always 0: there is no gradient to compare")
    critic = Critic(11, 3, layers, width, seeded(0), members, layer_norm, activation).to(dtype)
    obs, action = inputs(11, 3, dtype)
    value, gradient = critic.value_and_action_gradient(obs, action)
    auto_value, auto_gradient = by_autograd(critic, obs, action)
    assert value.shape == (members, 32) and gradient.shape == (members, 32, 3)
    assert value.dtype == gradient.dtype == dtype
    assert relative_error(value, auto_value) < bound
    assert relative_error(gradient, auto_gradient) < bound


def test_action_gradient_equals_central_differences():
    critic = Critic(4, 2, 2, 16, seeded(0)).double()
    obs, action = inputs(4, 2, torch.float64)
    gradient = critic.value_and_action_gradient(obs, action)[1]
    for column in range(2):
        step = torch.zeros_like(action)
        step[:, column] = 1e-6
        central = (critic(obs, action + step) - critic(obs, action - step)) / 2e-6
        assert torch.allclose(gradient[..., column], central, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("layers", [1, 2, 4])
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("activation", ["swish", "relu"])
def test_one_backward_pass_equals_double_backward(layers, layer_norm, activation):
    critic = Critic(5, 2, layers, 24, seeded(0), layer_norm=layer_norm, activation=activation).double()
    obs, action = inputs(5, 2, torch.float64)
    target = torch.randn(32, 2, dtype=torch.float64, generator=seeded(3))
    gradients = []
    for value, action_gradient in (
        critic.value_and_action_gradient(obs, action),
        by_autograd(critic, obs, action, create_graph=True),
    ):
        critic.zero_grad(set_to_none=True)
        (value.square().mean() + torch.linalg.vector_norm(target - action_gradient, dim=-1).mean()).backward()
        gradients.append([p.grad for p in critic.parameters()])
    for one, two in zip(*gradients):
        assert one.any() and relative_error(one, two) < 1e-10


def test_gradient_of_the_other_columns():
    """All columns, then the observation's: the slice decides which are returned."""
    net = StackedMLP(2, [6, 16, 16, 1], seeded(0)).double()
    x = torch.randn(2, 8, 6, dtype=torch.float64, generator=seeded(1)).requires_grad_()
    (auto,) = torch.autograd.grad(net(x).sum(), x)
    for columns in (slice(0, 6), slice(0, 4), slice(4, 6)):
        gradient = value_and_input_gradient(x, net.layers(), columns)[1]
        assert torch.allclose(gradient, auto[..., columns], rtol=1e-10, atol=1e-14)


def test_gradient_loss_alone_leaves_the_last_bias_untouched():
    critic = Critic(5, 2, 2, 24, seeded(0))
    critic.value_and_action_gradient(*inputs(5, 2, torch.float32))[1].square().sum().backward()
    assert critic.biases[-1].grad is None
    assert all(p.grad.any() for p in critic.parameters() if p is not critic.biases[-1])


def test_minimum_passes_gradients_to_the_action_of_the_lower_twin_only():
    critic = Critic(5, 2, 2, 24, seeded(0)).double()
    obs, action = inputs(5, 2, torch.float64)
    action.requires_grad_()
    with torch.no_grad():  # level the twins, so that each is the lower one somewhere
        difference = critic(obs, action).diff(dim=0)
        critic.biases[-1][0] += difference.mean()  # not the median: a tie would share its gradient
    smallest = critic.minimum(obs, action)
    values, gradients = critic.value_and_action_gradient(obs, action.detach())
    lower = values.argmin(0)
    assert 0 < lower.sum() < len(lower)
    assert torch.allclose(smallest, values.min(0).values)
    smallest.sum().backward()
    assert torch.allclose(action.grad, gradients[lower, torch.arange(len(lower))])
    assert all(p.grad is None for p in critic.parameters())


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("layer_norm, activation", [(False, "relu"), (True, "swish")])
def test_first_is_the_first_twin_and_leaves_the_parameters_alone(members, layer_norm, activation):
    critic = Critic(5, 2, 2, 24, seeded(0), members, layer_norm, activation).double()
    obs, action = inputs(5, 2, torch.float64)
    action.requires_grad_()
    first = critic.first(obs, action)
    values, gradients = critic.value_and_action_gradient(obs, action.detach())
    assert torch.allclose(first, values[0], rtol=1e-12)
    first.sum().backward()
    assert torch.allclose(action.grad, gradients[0], rtol=1e-10)
    assert all(p.grad is None for p in critic.parameters())


def test_the_activation_is_the_one_that_was_asked_for():
    by_name = {name: Critic(5, 2, 2, 24, seeded(0), activation=name) for name in ("swish", "relu")}
    x = torch.cat(inputs(5, 2, torch.float32), -1)
    for name, module in (("swish", torch.nn.functional.silu), ("relu", torch.nn.functional.relu)):
        hidden = x.expand(2, *x.shape)
        layers = by_name[name].layers()
        for weight, bias in layers[:-1]:
            hidden = module(hidden @ weight + bias)
        weight, bias = layers[-1]
        assert torch.allclose(by_name[name](*inputs(5, 2, torch.float32)), (hidden @ weight + bias)[..., 0], atol=1e-5)


def test_twins_differ_and_do_not_mix():
    critic = Critic(5, 2, 2, 24, seeded(0))
    obs, action = inputs(5, 2, torch.float32)
    value, gradient = critic.value_and_action_gradient(obs, action)
    assert not torch.allclose(value[0], value[1])
    (value[0].sum() + gradient[0].sum()).backward()
    for parameter in critic.parameters():
        assert parameter.grad[0].any() and not parameter.grad[1].any()


def test_copies_converted_to_float64_keep_their_columns():
    critic = Critic(5, 2, 2, 24, seeded(0))
    converted = copy.deepcopy(critic).double()
    obs, action = inputs(5, 2, torch.float64)
    assert converted.action_columns == slice(5, 7)
    gradient = critic.value_and_action_gradient(obs.float(), action.float())[1]
    assert relative_error(gradient.double(), converted.value_and_action_gradient(obs, action)[1]) < 1e-5


def test_no_hidden_layer_is_refused():
    critic = Critic(5, 2, 0, 24, seeded(0))
    with pytest.raises(ValueError, match="at least one hidden layer"):
        critic.value_and_action_gradient(*inputs(5, 2, torch.float32))
