"""Updates across modules: who receives gradients, what the target reads, and the fast version against the plain one."""

import copy

import pytest
import torch

from mage_edu.actor import Actor
from mage_edu.config import make_config
from mage_edu.critic import Critic
from mage_edu.dynamics import Dynamics
from mage_edu.engine.plain import plain_actor_loss, plain_critic_loss
from mage_edu.envs import ActionScale, inverted_pendulum_reward, inverted_pendulum_termination
from mage_edu.networks import apply_gradients
from mage_edu.replay import Transitions
from mage_edu.targets import (
    TargetNoise,
    World,
    actor_objective,
    actor_weights,
    bootstrapped_target,
    draw_actor_noise,
    draw_noise,
    horizon_weights,
    target_and_action_gradient,
)
from mage_edu.updates import actor_gradients, actor_loss, critic_gradients, critic_loss, critic_target, polyak_update

OBS_DIM, ACT_DIM, BATCH, MEMBERS = 4, 2, 24, 3
ARGUMENTS = ("world", "actor", "target_actor", "target_critic")


def tilted_reward(obs, action, next_obs):
    """InvertedPendulum's reward plus smooth terms, so that the reward itself has an action-gradient."""
    return inverted_pendulum_reward(obs, action, next_obs) + torch.sin(next_obs).sum(-1) - 0.1 * action.square().sum(-1)


def make_pieces(steep=1.0, seed=0, layer_norm=False, model=(), activation="swish"):
    """Random networks in float64, target networks that differ from the online ones, and a stored batch."""
    init = torch.Generator().manual_seed(seed)
    dynamics = Dynamics(OBS_DIM, ACT_DIM, MEMBERS, 2, 16, -5.0, -1.0, init, *model)
    dynamics.delta_std.fill_(0.1)
    dynamics.delta_mean.fill_(0.02)
    actor = Actor(OBS_DIM, ACT_DIM, 2, 16, init, activation)
    critic = Critic(OBS_DIM, ACT_DIM, 2, 16, init, layer_norm=layer_norm, activation=activation)
    with torch.no_grad():
        for weight in (*dynamics.weights, *critic.weights):
            weight.mul_(2.5)
    for network in (dynamics, actor, critic):
        network.double()
    target_actor, target_critic = (copy.deepcopy(n).requires_grad_(False) for n in (actor, critic))
    with torch.no_grad():
        for parameter in (*target_actor.parameters(), *target_critic.parameters()):
            parameter.mul_(1.1)
        critic.weights[-1].mul_(steep)
    uniform = lambda dim, size: size * (2.0 * torch.rand(BATCH, dim, generator=init) - 1.0).double()
    batch = Transitions(
        uniform(OBS_DIM, 0.25),
        uniform(ACT_DIM, 1.0),
        uniform(1, 1.0)[:, 0],
        uniform(OBS_DIM, 0.2),
        (torch.arange(BATCH) % 5 == 0).double(),
    )
    scale = ActionScale(torch.full((ACT_DIM,), -3.0), torch.full((ACT_DIM,), 3.0))
    world = World(dynamics, tilted_reward, inverted_pendulum_termination, scale)
    return dict(
        world=world, actor=actor, target_actor=target_actor, target_critic=target_critic, critic=critic, batch=batch
    )


def make_noise(config, seed=1):
    draws = draw_noise(config, BATCH, OBS_DIM, ACT_DIM, torch.Generator().manual_seed(seed))
    return TargetNoise(*(x.double() for x in draws))


def target_of(config, pieces, noise=None):
    noise = make_noise(config) if noise is None else noise
    return critic_target(config, *(pieces[name] for name in ARGUMENTS), pieces["batch"], noise)


def plain_of(config, pieces):
    return plain_critic_loss(
        config, *(pieces[name] for name in ARGUMENTS), pieces["critic"], pieces["batch"], make_noise(config)
    )


def make_actor_noise(config, seed=2):
    return draw_actor_noise(config, BATCH, OBS_DIM, torch.Generator().manual_seed(seed)).double()


def actor_arguments(config, pieces):
    """What every version of the actor's loss is called with."""
    return config, pieces["world"], pieces["actor"], pieces["critic"], pieces["batch"].obs, make_actor_noise(config)


def assert_close(fast, plain, tolerance=1e-9):
    """Relative agreement, 0 against 0 allowed."""
    assert (fast - plain).norm() <= tolerance * plain.norm()


def networks_of(pieces):
    return {name: pieces[name] for name in ("actor", "critic", "target_actor", "target_critic")} | {
        "dynamics": pieces["world"].dynamics
    }


def with_gradients(pieces):
    """Names of the networks that hold any gradient, and of those that hold all."""
    grads = {name: [p.grad is not None for p in n.parameters()] for name, n in networks_of(pieces).items()}
    return {name for name, g in grads.items() if any(g)}, {name for name, g in grads.items() if all(g)}


def snapshot(pieces):
    return {name: [p.detach().clone() for p in n.parameters()] for name, n in networks_of(pieces).items()}


def moved(pieces, before):
    """Names of the networks of which any parameter differs from the snapshot."""
    return {
        name
        for name, n in networks_of(pieces).items()
        if any(not torch.equal(p, q) for p, q in zip(n.parameters(), before[name]))
    }


ALGORITHM_KNOBS = [
    ("mage", {}),
    ("mage", dict(horizon=3, horizon_mix=0.5)),
    ("dyna-td3", dict(horizon=2)),
    ("td3", {}),
    ("td3", dict(horizon=2)),
]


@pytest.mark.parametrize("algorithm, knobs", ALGORITHM_KNOBS)
def test_critic_update_touches_the_online_critic_only(algorithm, knobs):
    config, pieces = make_config(algorithm, "tiny", members=MEMBERS, batch_size=BATCH, **knobs), make_pieces()
    before = snapshot(pieces)
    target = target_of(config, pieces)
    assert with_gradients(pieces)[0] == set()
    assert not any(x.requires_grad for x in target if x is not None)
    optimizer = torch.optim.RAdam(pieces["critic"].parameters(), lr=1e-3)
    apply_gradients(critic_gradients(config, pieces["critic"], target)[1], optimizer, config.grad_clip)
    assert with_gradients(pieces)[0] == {"critic"}
    assert moved(pieces, before) == {"critic"}
    hidden = [p.grad for p in pieces["critic"].weights]
    assert all(g is not None and g.abs().sum() > 0 for g in hidden)


@pytest.mark.parametrize("algorithm", ["mage", "maac", "ivg"])
def test_actor_update_touches_the_actor_only(algorithm):
    pieces = make_pieces()
    before = snapshot(pieces)
    optimizer = torch.optim.RAdam(pieces["actor"].parameters(), lr=1e-3)
    config = make_config(algorithm, "tiny", members=MEMBERS, batch_size=BATCH)
    apply_gradients(actor_gradients(*actor_arguments(config, pieces))[1], optimizer, 5.0)
    assert with_gradients(pieces) == ({"actor"}, {"actor"})
    assert moved(pieces, before) == {"actor"}


def test_targets_move_by_polyak_only():
    pieces = make_pieces()
    before = snapshot(pieces)
    polyak_update(pieces["target_critic"], pieces["critic"], 0.25)
    assert moved(pieces, before) == {"target_critic"}
    for new, old, online in zip(pieces["target_critic"].parameters(), before["target_critic"], before["critic"]):
        torch.testing.assert_close(new, 0.75 * old + 0.25 * online, rtol=1e-12, atol=1e-15)
    assert with_gradients(pieces)[0] == set() and not any(p.requires_grad for p in pieces["target_critic"].parameters())


@pytest.mark.parametrize("algorithm, knobs", ALGORITHM_KNOBS)
def test_online_critic_never_enters_its_own_target(algorithm, knobs):
    config, pieces = make_config(algorithm, "tiny", members=MEMBERS, batch_size=BATCH, **knobs), make_pieces()
    before = target_of(config, pieces)

    def after_perturbing(name):
        changed = dict(pieces, **{name: copy.deepcopy(pieces[name])})
        with torch.no_grad():
            for parameter in changed[name].parameters():
                parameter.add_(0.05)
        return target_of(config, changed)

    with torch.no_grad():  # in place, on the very object the loss will use
        for parameter in pieces["critic"].parameters():
            parameter.add_(0.05)
    same, other = target_of(config, pieces), after_perturbing("target_critic")
    assert torch.equal(before.value, same.value) and not torch.equal(before.value, other.value)
    if before.gradient is not None:
        assert torch.equal(before.gradient, same.gradient) and not torch.equal(before.gradient, other.gradient)


CASES = [
    dict(horizon=1),
    dict(horizon=1, terminal_gradient=True),
    dict(horizon=3),
    dict(horizon=3, terminal_gradient=True),
    dict(horizon=3, horizon_mix=0.5),
    dict(horizon=3, horizon_mix=0.5, terminal_gradient=True),
    dict(horizon=3, horizon_mix=0.0),
    dict(horizon=1, imagined_noise=0.3),
    dict(horizon=1, value_weight=0.0),
    dict(horizon=3, gradient_weight=0.0),
    dict(critic_loss="squared"),
    dict(critic_loss="squared", activation="relu"),
    dict(activation="relu"),
]


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("steep", [1.0, 30.0])  # 30: errors in the linear part of Huber's loss
@pytest.mark.parametrize("knobs", CASES)
def test_fast_critic_loss_agrees_with_plain(knobs, steep, layer_norm):
    config = make_config("mage", "tiny", members=MEMBERS, batch_size=BATCH, **knobs)
    pieces = make_pieces(steep, layer_norm=layer_norm, activation=config.activation)
    target = target_of(config, pieces)
    if config.gradient_weight > 0 and not config.terminal_gradient:
        assert 0 < target.gradient_mask.sum() < BATCH  # samples that end and samples that do not
    fast, plain = critic_loss(config, pieces["critic"], target), plain_of(config, pieces)
    for a, b in zip(fast, plain):
        assert_close(a.detach(), b.detach())
    assert plain.value > 0 and (plain.gradient > 0) == (config.gradient_weight > 0)
    parameters = list(pieces["critic"].parameters())
    fast_gradients, plain_gradients = (
        torch.autograd.grad(x.total, parameters, allow_unused=True) for x in (fast, plain)
    )
    for a, b in zip(fast_gradients, plain_gradients):
        zero = torch.zeros(1, dtype=torch.float64)  # the last bias is unused when only gradients are matched
        assert_close(zero if a is None else a, zero if b is None else b)
    assert sum(g is not None and g.norm() > 0 for g in fast_gradients) >= len(parameters) - 1


@pytest.mark.parametrize("horizon, loss", [(1, "huber"), (3, "huber"), (1, "squared")])
def test_fast_critic_loss_agrees_with_plain_from_replay(horizon, loss):
    config = make_config("td3", "tiny", horizon=horizon, members=MEMBERS, batch_size=BATCH, critic_loss=loss)
    pieces = make_pieces(steep=30.0)
    fast, plain = critic_loss(config, pieces["critic"], target_of(config, pieces)), plain_of(config, pieces)
    parameters = list(pieces["critic"].parameters())
    assert_close(fast.total.detach(), plain.total.detach())
    for a, b in zip(torch.autograd.grad(fast.total, parameters), torch.autograd.grad(plain.total, parameters)):
        assert_close(a, b)


@pytest.mark.parametrize(
    "model", [("deterministic", "member"), ("probabilistic", "moments"), ("deterministic", "moments")]
)
def test_updates_with_another_model_agree_with_plain(model):
    config = make_config(
        "mage",
        "tiny",
        members=MEMBERS,
        batch_size=BATCH,
        horizon=2,
        actor_horizon=2,
        dynamics=model[0],
        dynamics_sampling=model[1],
    )
    pieces = make_pieces(model=model)
    fast, plain = critic_loss(config, pieces["critic"], target_of(config, pieces)), plain_of(config, pieces)
    pairs = [(fast.total, plain.total, "critic")]
    pairs.append((*(loss(*actor_arguments(config, pieces)) for loss in (actor_loss, plain_actor_loss)), "actor"))
    for one, other, name in pairs:
        assert_close(one.detach(), other.detach())
        parameters = list(pieces[name].parameters())
        for a, b in zip(torch.autograd.grad(one, parameters), torch.autograd.grad(other, parameters)):
            assert_close(a, b, 1e-8)


ACTOR_HORIZONS = [
    dict(actor_horizon=0),
    dict(actor_horizon=1),
    dict(actor_horizon=3),
    dict(actor_horizon=3, actor_horizon_mean=True),
]


@pytest.mark.parametrize("knobs", ACTOR_HORIZONS)
@pytest.mark.parametrize("weight", [0.0, 0.03])  # of what enters the actor's tanh
@pytest.mark.parametrize("climbs, activation", [("minimum", "swish"), ("first", "swish"), ("first", "relu")])
def test_fast_actor_loss_agrees_with_plain(weight, climbs, activation, knobs):
    config = make_config(
        "mage", "tiny", preactivation_weight=weight, actor_climbs=climbs, members=MEMBERS, batch_size=BATCH, **knobs
    )
    pieces = make_pieces(activation=activation)
    actor, critic, obs = pieces["actor"], pieces["critic"], pieces["batch"].obs
    fast, plain = (loss(*actor_arguments(config, pieces)) for loss in (actor_loss, plain_actor_loss))
    assert_close(fast.detach(), plain.detach())
    parameters = list(actor.parameters())
    for a, b in zip(torch.autograd.grad(fast, parameters), torch.autograd.grad(plain, parameters)):
        assert_close(a, b)
        assert b.norm() > 0
    q = critic(obs, actor(obs))
    assert 0 < (q[0] < q[1]).sum() < BATCH  # each twin is the smaller one somewhere
    assert torch.equal(actor_gradients(*actor_arguments(config, pieces))[0], fast.detach())


def test_squared_and_huber_part_where_errors_are_large():
    small, large = make_pieces(), make_pieces(steep=30.0)
    losses = {}
    for name in ("huber", "squared"):
        config = make_config("mage", "tiny", members=MEMBERS, batch_size=BATCH, critic_loss=name)
        losses[name] = [critic_loss(config, pieces["critic"], target_of(config, pieces)) for pieces in (small, large)]
    td_error = target_of(config, large).value - large["critic"](*target_of(config, large)[:2])
    assert (td_error.abs() > 1.0).any()
    assert losses["squared"][1].value.item() == pytest.approx(0.5 * td_error.square().mean().item(), rel=1e-12)
    assert (
        losses["squared"][1].value > losses["huber"][1].value
        and losses["squared"][1].gradient > losses["huber"][1].gradient
    )


@pytest.mark.parametrize("knobs", ACTOR_HORIZONS)
def test_actor_gradient_agrees_with_finite_differences(knobs, h=1e-6):
    """Along random directions in the space of all the actor's parameters, with rollouts that terminate on the way."""
    config, pieces = make_config("maac", "tiny", members=MEMBERS, batch_size=BATCH, **knobs), make_pieces()
    arguments, parameters = actor_arguments(config, pieces), list(pieces["actor"].parameters())
    exact = actor_gradients(*arguments)[1]
    generator = torch.Generator().manual_seed(9)
    for _ in range(3):
        direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
        values = []
        with torch.no_grad():
            for sign in (1.0, -2.0):  # from 0 to +h, from there to -h
                torch._foreach_add_(parameters, direction, alpha=sign * h)
                values.append(actor_loss(*arguments).item())
            torch._foreach_add_(parameters, direction, alpha=h)
        along = sum((g * d).sum().item() for g, d in zip(exact, direction))
        assert along == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-6)


def test_the_actor_is_differentiated_at_every_step():
    """J_2 with the actor cut off after its first action has another gradient: the later actions carry some of it."""
    config, pieces = make_config("maac", "tiny", actor_horizon=2, members=MEMBERS, batch_size=BATCH), make_pieces()
    _, world, actor, critic, obs, noise = actor_arguments(config, pieces)
    whole = actor_objective(config, world, actor, critic, obs, actor(obs), noise)
    cut = actor_objective(config, world, lambda s: actor(s, actor.frozen_layers()), critic, obs, actor(obs), noise)
    assert_close(cut, whole, 1e-14)
    a, b = (torch.autograd.grad(x.mean(), actor.weights[0])[0] for x in (whole, cut))
    assert (a - b).norm() > 1e-2 * a.norm()


def test_without_a_horizon_the_actor_draws_nothing():
    """Runs of algorithms that do not imagine for the actor have the random numbers they always had."""
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert draw_actor_noise(make_config("mage", "tiny"), 64, 3, generator).shape == (0, 64, 3)
    assert torch.equal(before, generator.get_state())
    assert draw_actor_noise(make_config("maac", "tiny", actor_horizon=2), 64, 3, generator).shape == (2, 64, 3)
    assert not torch.equal(before, generator.get_state())


def test_mage_without_gradient_weight_is_dyna_td3():
    pieces = make_pieces()
    results = []
    for config in (
        make_config("mage", "tiny", gradient_weight=0.0, members=MEMBERS, batch_size=BATCH),
        make_config("dyna-td3", "tiny", members=MEMBERS, batch_size=BATCH),
    ):
        loss = critic_loss(config, pieces["critic"], target_of(config, pieces))
        results.append((*loss, *torch.autograd.grad(loss.total, list(pieces["critic"].parameters()))))
    assert all(torch.equal(a, b) for a, b in zip(*results))
    mage = make_config("mage", "tiny", members=MEMBERS, batch_size=BATCH)  # the control: with the gradient it differs
    assert not torch.equal(critic_loss(mage, pieces["critic"], target_of(mage, pieces)).total, results[0][0])


def test_td3_on_a_stored_batch_is_the_hand_formula():
    config, pieces = make_config("td3", "tiny", discount=0.9), make_pieces()
    noise, batch = make_noise(config), pieces["batch"]
    target = critic_target(config, None, pieces["actor"], pieces["target_actor"], pieces["target_critic"], batch, noise)
    for n in range(BATCH):  # one sample at a time
        next_obs = batch.next_obs[n : n + 1]
        epsilon = (0.2 * noise.smoothing[0, n]).clamp(-0.5, 0.5)
        next_action = (pieces["target_actor"](next_obs)[0] + epsilon).clamp(-1.0, 1.0)
        q1, q2 = (q.item() for q in pieces["target_critic"](next_obs, next_action[None])[:, 0])
        expected = batch.reward[n].item() + (0.0 if batch.terminated[n] else 0.9 * min(q1, q2))
        assert target.value[n].item() == pytest.approx(expected, rel=1e-12)
    assert torch.equal(target.obs, batch.obs) and torch.equal(target.action, batch.action) and target.gradient is None


def test_terminated_masks_the_bootstrap_and_truncated_does_not():
    """The step that a time limit cut off is stored with terminated 0: its target is that of any other step."""
    from mage_edu.replay import ReplayBuffer

    replay, pieces = ReplayBuffer(3, OBS_DIM, ACT_DIM, seed=0), make_pieces()
    obs, action, next_obs = torch.full((OBS_DIM,), 0.1), torch.zeros(ACT_DIM), torch.full((OBS_DIM,), 0.05)
    for terminated, truncated in ((False, False), (False, True), (True, False)):
        replay.add(obs, action, 1.5, next_obs, terminated)  # there is no place for `truncated`
    batch = Transitions(*(x.double() for x in replay.data))
    config = make_config("td3", "tiny")
    noise = TargetNoise(*(x.double()[..., :1, :].expand(*x.shape[:-2], 3, x.shape[-1]) for x in make_noise(config)))
    ordinary, cut_off, ended = critic_target(
        config, None, pieces["actor"], pieces["target_actor"], pieces["target_critic"], batch, noise
    ).value.tolist()
    assert ordinary == cut_off != 1.5 and ended == 1.5


@pytest.mark.parametrize("mix", [1.0, 0.5])
def test_target_gradient_agrees_with_finite_differences(mix, h=1e-5):
    config, pieces = (
        make_config("mage", "tiny", horizon=3, horizon_mix=mix, members=MEMBERS, batch_size=BATCH),
        make_pieces(),
    )
    fixed = (config, pieces["world"], pieces["target_actor"], pieces["target_critic"], pieces["batch"].obs)
    action, noise = 0.5 * pieces["batch"].action, make_noise(config)
    target, exact = target_and_action_gradient(*fixed, action, noise)
    assert 0 < target.ended.sum() < BATCH
    value = lambda a: bootstrapped_target(*fixed, a, noise).value.detach()
    bumps = h * torch.eye(ACT_DIM, dtype=torch.float64)
    approximate = torch.stack([(value(action + bump) - value(action - bump)) / (2 * h) for bump in bumps], -1)
    assert_close(exact, approximate, 1e-7)
    assert exact.norm() > 1e-2
    with torch.no_grad():  # callable from a no_grad block as well
        assert torch.equal(target_and_action_gradient(*fixed, action, noise)[1], exact)


class Listed:
    """A critic whose values stand in a list; the second twin is the smaller one."""

    def __init__(self, critic):
        self.critic = critic

    def minimum(self, obs, action):
        return self.critic(obs, action).amin(0)


def test_rewards_before_and_at_the_termination_count():
    """Horizon 3 against the equation written for one trajectory, with every pattern of terminations; for the actor as for the critic."""
    discount, rewards, bootstraps = 0.5, (1.0, 2.0, 3.0), (8.0, 16.0, 24.0)
    tile = lambda values: lambda obs: torch.tensor(values)[obs[:, 0].long() - 1]

    class Corridor:
        def sample(self, obs, action, noise):
            return obs + torch.tensor([1.0, 0.0])

    world = World(
        Corridor(),
        lambda o, a, n: tile(rewards)(n),
        lambda o, a, n: n[:, 0] == n[:, 1],
        ActionScale(-torch.ones(1), torch.ones(1)),
    )
    actor = lambda obs: torch.zeros(len(obs), 1)
    critic = lambda obs, action: torch.stack([tile(bootstraps)(obs) + 100.0, tile(bootstraps)(obs)])
    ends = (9.0, 1.0, 2.0, 3.0)
    start = torch.tensor([[0.0, end] for end in ends])
    by_hand = {1: [5.0, 1.0, 5.0, 5.0], 2: [6.0, 1.0, 2.0, 6.0], 3: [5.75, 1.0, 2.0, 2.75]}
    for horizon, expected in by_hand.items():
        config = make_config("mage", "tiny", horizon=horizon, discount=discount)
        noise = draw_noise(config, 4, 2, 1, torch.Generator().manual_seed(0))
        target = bootstrapped_target(config, world, actor, critic, start, torch.zeros(4, 1), noise)
        assert target.value.tolist() == expected
        assert target.ended.tolist() == [float(end <= horizon) for end in ends]
        config = make_config("maac", "tiny", actor_horizon=horizon, discount=discount)
        objective = actor_objective(
            config, world, actor, Listed(critic), start, torch.zeros(4, 1), torch.zeros(horizon, 4, 2)
        )
        assert objective.tolist() == expected
    config = make_config("ivg", "tiny", actor_horizon=3, discount=discount)
    objective = actor_objective(config, world, actor, Listed(critic), start, torch.zeros(4, 1), torch.zeros(3, 4, 2))
    assert objective.tolist() == pytest.approx([16.75 / 3, 1.0, 3.0, 13.75 / 3])
    assert actor_weights(3, True) == [1 / 3] * 3 and actor_weights(3, False) == [0.0, 0.0, 1.0]


def test_horizon_mix_weights_the_targets():
    pieces = make_pieces()
    noise = make_noise(make_config("mage", "tiny", horizon=3))
    fixed = (
        pieces["world"],
        pieces["target_actor"],
        pieces["target_critic"],
        pieces["batch"].obs,
        pieces["batch"].action,
        noise,
    )
    value = lambda **knobs: (
        bootstrapped_target(make_config("mage", "tiny", members=MEMBERS, batch_size=BATCH, **knobs), *fixed).value
    )
    y = torch.stack([value(horizon=k) for k in (1, 2, 3)])
    torch.testing.assert_close(
        value(horizon=3, horizon_mix=0.5), 0.5 * y[0] + 0.25 * y[1] + 0.25 * y[2], rtol=1e-12, atol=1e-12
    )
    assert torch.equal(value(horizon=3, horizon_mix=0.0), y[0]) and torch.equal(value(horizon=3, horizon_mix=1.0), y[2])
    assert sum(horizon_weights(7, 0.3)) == pytest.approx(1.0, rel=1e-14)


def test_draws_come_in_a_fixed_order():
    """Same generator, same noise; the order action, dynamics, smoothing is part of a run's reproducibility."""
    config = make_config("mage", "tiny", horizon=2)
    noise = draw_noise(config, 3, 4, 2, torch.Generator().manual_seed(5))
    generator = torch.Generator().manual_seed(5)
    for drawn, shape in zip(noise, ((3, 2), (2, 3, 4), (2, 3, 2))):
        assert torch.equal(drawn, torch.randn(*shape, generator=generator))
