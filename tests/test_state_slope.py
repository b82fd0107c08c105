"""The third term: the slope in the state of the on-policy TD error, checked against autograd, differences and the truth of the LQR."""

import pytest
import torch
from test_family import FEW, same, weights_after
from test_updates import (
    ACT_DIM,
    BATCH,
    MEMBERS,
    OBS_DIM,
    assert_close,
    make_noise,
    make_pieces,
    plain_of,
    target_of,
)

from mage_edu import MAGEAgent
from mage_edu.actor import add_noise
from mage_edu.config import make_config
from mage_edu.lqr import action_value_matrix, quadratic, random_lqr
from mage_edu.targets import TargetNoise, World, bootstrapped_target
from mage_edu.updates import critic_gradients, critic_loss, target_and_slopes


def settings(algorithm="mage-sobolev", **knobs):
    return make_config(algorithm, "tiny", **dict(members=MEMBERS, batch_size=BATCH, imagined_noise=0.2) | knobs)


def with_spread(pieces):
    """Observations of different spreads, the same for all networks."""
    spread = torch.linspace(0.5, 2.0, OBS_DIM).double()
    for name in ("actor", "target_actor", "critic", "target_critic"):
        pieces[name].obs_scale.std.copy_(spread)
    return pieces


@pytest.mark.parametrize("model", [(), ("deterministic",), ("probabilistic", "moments")])
@pytest.mark.parametrize(
    "knobs",
    [
        {},
        dict(horizon=3, horizon_mix=0.5),
        dict(terminal_gradient=True),
        dict(critic_loss="squared", state_slope_weight=0.3),
        dict(gradient_weight=0.0),
        dict(gradient_weight=0.0, value_weight=0.0),
        dict(real_share=0.5, gradient_on="both"),
        dict(real_share=0.5, gradient_on="stored"),
        dict(real_share=0.25, gradient_on="imagined"),
    ],
)
def test_it_agrees_with_the_plain_version(knobs, model):
    """The plain one differentiates the whole TD error, the action inside it."""
    config = settings(**knobs, **dict(zip(("dynamics", "dynamics_sampling"), model)))
    fast, slow = (with_spread(make_pieces(model=model)) for _ in range(2))
    loss, gradients = critic_gradients(config, fast["critic"], target_of(config, fast))
    reference = plain_of(config, slow)
    expected = torch.autograd.grad(reference.total, list(slow["critic"].parameters()), allow_unused=True)
    for ours, theirs in zip(loss, reference):
        assert_close(ours, theirs.detach())
    for ours, theirs in zip(gradients, expected, strict=True):
        assert_close(ours, torch.zeros_like(ours) if theirs is None else theirs)
    without = critic_loss(config, fast["critic"], target_of(config, fast)._replace(state=None))
    assert abs(loss.total - without.total) > 1e-4


@pytest.mark.parametrize("layer_norm", [False, True])
def test_its_parts_are_central_differences(layer_norm):
    config, pieces = settings(), with_spread(make_pieces(layer_norm=layer_norm))
    noise, obs, spread = make_noise(config), pieces["batch"].obs, pieces["actor"].obs_scale.std
    networks = (pieces["target_actor"], pieces["target_critic"])
    act = lambda s: add_noise(pieces["actor"](s), noise.action, config.imagined_noise)
    target, of_action, state = target_and_slopes(config, pieces["world"], pieces["actor"], *networks, obs, noise)
    value = lambda s: bootstrapped_target(config, pieces["world"], *networks, s, act(s), noise).value
    on_policy = lambda s: pieces["critic"](s, act(s))
    critic_value, of_state, of_action = pieces["critic"].value_and_gradients(obs, act(obs))
    total = of_state + torch.einsum("bao,mba->mbo", state.policy, of_action)
    assert state.policy.shape == (BATCH, ACT_DIM, OBS_DIM) and state.policy.abs().max() > 1e-3
    with torch.no_grad():
        for i in range(OBS_DIM):
            step = torch.zeros(OBS_DIM).double()
            step[i] = 1e-6 * spread[i]
            difference = lambda f: (f(obs + step) - f(obs - step)) / 2e-6
            smooth = target.ended == 0  # a reward of InvertedPendulum jumps at its edge
            assert (state.gradient[:, i] - difference(value))[smooth].abs().max() < 1e-6
            assert (state.policy[..., i] - difference(act)).abs().max() < 1e-6
            assert (total[..., i] - difference(on_policy)).abs().max() < 1e-6


def test_at_weight_zero_nothing_is_asked_and_nothing_moves():
    config = settings("mage-sobolev", state_slope_weight=0.0)
    target = target_of(config, make_pieces())
    mage = target_of(settings("mage"), make_pieces())
    assert target.state is None and all(torch.equal(a, b) for a, b in zip(target[:5], mage[:5]))
    assert same(weights_after("mage-sobolev", state_slope_weight=0.0), weights_after("mage"))
    assert not same(weights_after("mage-sobolev"), weights_after("mage"))


def test_value_and_action_gradient_of_the_target_are_mages():
    ours, mage = (target_of(settings(name), make_pieces()) for name in ("mage-sobolev", "mage"))
    assert all(torch.equal(getattr(ours, name), getattr(mage, name)) for name in ("obs", "action", "value"))
    assert_close(ours.gradient, mage.gradient, 1e-12)
    assert torch.equal(ours.state.mask, mage.gradient_mask) and not any(x.requires_grad for x in ours.state)


def test_stored_transitions_are_not_asked():
    config, pieces = settings(real_share=0.5, gradient_on="both"), make_pieces()
    target, half = target_of(config, pieces), BATCH // 2
    assert target.state.mask[:half].abs().max() == 0.0 and target.state.mask[half:].max() == 1.0
    other = target._replace(
        state=target.state._replace(
            gradient=torch.cat([target.state.gradient[:half] + 5.0, target.state.gradient[half:]])
        )
    )
    assert torch.equal(
        critic_loss(config, pieces["critic"], target).total, critic_loss(config, pieces["critic"], other).total
    )


def test_where_the_critic_is_exact_the_term_is_zero_and_it_sees_what_the_other_two_do_not(monkeypatch):
    """On the LQR with Q = Q^pi all three errors vanish; a wave in s alone of height epsilon is all but invisible to value and action-slope."""
    monkeypatch.setattr("mage_edu.updates.add_noise", lambda action, *rest: action)
    monkeypatch.setattr("mage_edu.targets.add_noise", lambda action, *rest: action)
    lqr, K = random_lqr(torch.Generator().manual_seed(3), n=3, m=2)
    M = action_value_matrix(lqr, K)

    class Linear:
        def sample(self, obs, action, noise):
            return obs @ lqr.A.T + action @ lqr.B.T

    class Policy:
        obs_scale = type("Scale", (), {"std": torch.ones(3).double()})()

        def frozen_layers(self):
            return None

        def __call__(self, obs, layers=None):
            return obs @ K.T

    class Unit:
        def to_env(self, action):
            return action

    world = World(
        Linear(),
        lambda obs, action, next_obs: quadratic(lqr.C, obs, action),
        lambda obs, action, next_obs: torch.zeros_like(obs[:, 0]),
        Unit(),
    )
    obs = torch.randn(32, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    noise = TargetNoise(*(torch.zeros(*shape).double() for shape in ((32, 2), (1, 32, 3), (1, 32, 2))))
    config = make_config("mage-sobolev", "tiny", discount=lqr.discount, target_noise=0.0)

    def errors(epsilon, omega):
        wave = lambda s: epsilon * torch.sin(omega * s[:, 0])
        critic = lambda s, a: (quadratic(M, s, a) + wave(s))[None]
        target, of_action, state = target_and_slopes(config, world, Policy(), Policy(), critic, obs, noise)
        s = obs.clone().requires_grad_()
        (on_policy,) = torch.autograd.grad(critic(s, s @ K.T).sum(), s)
        a = (obs @ K.T).requires_grad_()
        (in_action,) = torch.autograd.grad(critic(obs, a).sum(), a)
        value = target.value - critic(obs, obs @ K.T)[0]
        return [x.detach().abs().max().item() for x in (value, of_action - in_action, state.gradient - on_policy)]

    assert max(errors(0.0, 1.0)) < 1e-10
    value, of_action, state = errors(1e-3, 300.0)
    assert value < 3e-3 and state > 0.1  # the value is right to a thousandth, its slope is not


@pytest.mark.parametrize(
    "algorithm, knobs, says",
    [
        ("td3", dict(state_slope_weight=1.0), "a stored action is not the actor's"),
        ("mage-sobolev", dict(real_share=1.0, gradient_on="stored"), "real_share below 1"),
        ("mage-sobolev", dict(model="simulator"), "no derivative in the observation"),
        ("mage", dict(state_slope_weight=-1.0), "expected a value of at least 0"),
    ],
)
def test_where_it_is_not_defined_it_is_refused(algorithm, knobs, says):
    with pytest.raises(ValueError, match=says):
        make_config(algorithm, "tiny", **knobs)


@pytest.mark.parametrize("knobs", [{}, dict(real_share=0.5, gradient_on="both"), dict(reward="learned")])
def test_it_trains_in_bf16_and_float32(knobs):
    for precision in ("float32", "bf16"):
        agent = MAGEAgent("Pendulum-v1", "mage-sobolev", precision=precision, **FEW, **knobs).learn(45)
        assert all(torch.isfinite(p).all() for p in agent.learner.critic.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("knobs", [{}, dict(real_share=0.5, gradient_on="both")])
def test_compiled_it_is_the_same(knobs):
    eager, quick = (
        MAGEAgent("Pendulum-v1", "mage-sobolev", compile=compile, **FEW, **knobs).learn(45).learner
        for compile in (False, True)
    )
    assert quick.graphs is not None
    for a, b in zip(eager.critic.parameters(), quick.critic.parameters()):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)
