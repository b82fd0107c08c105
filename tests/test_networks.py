"""Stacked networks against ordinary modules, and what frozen layers do inside a real chain of networks."""

import copy

import pytest
import torch
from torch import nn

from mage_edu.actor import Actor
from mage_edu.critic import Critic
from mage_edu.dynamics import Dynamics
from mage_edu.networks import StackedMLP, init_layers, mlp


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def as_sequential(net: StackedMLP, member: int) -> nn.Sequential:
    modules = []
    for weight, bias in net.layers():
        layer = nn.Linear(*weight.shape[1:]).to(weight.dtype)
        layer.load_state_dict({"weight": weight[member].detach().T, "bias": bias[member, 0].detach()})
        modules += [layer, nn.SiLU()]
    return nn.Sequential(*modules[:-1])


@pytest.mark.parametrize("members, sizes", [(1, [3, 1]), (2, [5, 16, 1]), (8, [7, 32, 16, 4])])
def test_a_stack_equals_its_members_called_one_by_one(members, sizes):
    net = StackedMLP(members, sizes, seeded(0)).double()
    x = torch.randn(members, 10, sizes[0], dtype=torch.float64, generator=seeded(1))
    one_by_one = torch.stack([as_sequential(net, m)(x[m]) for m in range(members)])
    assert torch.allclose(net(x), one_by_one, rtol=1e-12, atol=1e-14)


def test_the_initialisation_is_that_of_linear():
    for weight, bias in init_layers(4, [50, 200, 100], seeded(0)):
        bound = weight.shape[1] ** -0.5
        for values in (weight, bias):
            assert values.abs().max() <= bound
            assert values.abs().max() > 0.95 * bound
        assert abs(weight.std().item() - bound / 3**0.5) < 0.02 * bound


def test_equal_seeds_give_equal_networks_and_others_do_not():
    for make in (
        lambda g: Actor(4, 2, 2, 16, g),
        lambda g: Critic(4, 2, 2, 16, g),
        lambda g: Dynamics(4, 2, 3, 2, 16, -5.0, -1.0, g),
    ):
        one, two, other = (make(seeded(seed)).state_dict() for seed in (0, 0, 1))
        assert all(torch.equal(one[name], two[name]) for name in one)
        assert not torch.equal(one["weights.0"], other["weights.0"])


def test_frozen_layers_pass_the_gradient_on_and_keep_none():
    """The actor's objective through a model step and the critic: only the actor may receive gradients."""
    actor, critic = Actor(4, 2, 2, 16, seeded(0)), Critic(4, 2, 2, 16, seeded(1))
    dynamics = Dynamics(4, 2, 2, 2, 16, -5.0, -1.0, seeded(2))
    obs = torch.randn(8, 4, generator=seeded(3))
    next_obs = dynamics.sample(obs, actor(obs), torch.randn(8, 4, generator=seeded(4)))
    critic.minimum(next_obs, actor(next_obs, actor.frozen_layers())).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in actor.parameters())
    assert all(p.grad is None for p in (*critic.parameters(), *dynamics.parameters()))


def test_frozen_layers_follow_the_parameters():
    net = StackedMLP(2, [3, 8, 1], seeded(0))
    frozen, x = net.frozen_layers(), torch.randn(2, 4, 3, generator=seeded(1))
    before = mlp(x, frozen)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(2.0)
    assert not torch.allclose(mlp(x, frozen), before)
    assert torch.equal(mlp(x, frozen), net(x))


def test_a_copy_is_independent():
    actor = Actor(3, 1, 1, 8, seeded(0))
    target = copy.deepcopy(actor).requires_grad_(False)
    with torch.no_grad():
        actor.weights[0].add_(1.0)
    assert not torch.equal(actor.weights[0], target.weights[0])
    assert not any(p.requires_grad for p in target.parameters())


def test_impossible_sizes_are_refused():
    for members, sizes in ((0, [3, 1]), (2, [3]), (2, [3, 0, 1])):
        with pytest.raises(ValueError, match="at least one member and at least two sizes"):
            init_layers(members, sizes, seeded(0))
