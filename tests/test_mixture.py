"""Real and imagined transitions in one batch: values from what happened, slopes from the model, checked where the truth is known."""

import pytest
import torch
from test_family import FEW, same, weights_after
from test_updates import ARGUMENTS, BATCH, MEMBERS, assert_close, make_noise, make_pieces, plain_of, target_of

from mage_edu import MAGEAgent
from mage_edu.config import make_config
from mage_edu.engine.simulator import action_jacobian
from mage_edu.envs import ActionScale, never
from mage_edu.lqr import action_value_matrix, quadratic, quadratic_gradients, random_lqr
from mage_edu.replay import Transitions
from mage_edu.targets import (
    Step,
    TargetNoise,
    World,
    bootstrapped_target,
    draw_noise,
    stored_step,
    target_and_action_gradient,
)
from mage_edu.updates import critic_gradients, critic_target

DOUBLE = dict(dtype=torch.float64)


@pytest.mark.parametrize("model", [(), ("deterministic",), ("probabilistic", "moments")])
@pytest.mark.parametrize(
    "settings",
    [
        dict(real_share=share, gradient_on=on)
        for share in (0.25, 0.5, 1.0)
        for on in ("imagined", "stored", "both")
        if (share, on) != (1.0, "imagined")
    ]
    + [
        dict(real_share=0.5, gradient_on="both", horizon=3, horizon_mix=0.5),
        dict(real_share=0.5, gradient_on="both", terminal_gradient=True),
        dict(real_share=0.5, gradient_on="both", stored_noise="inferred"),
        dict(real_share=1.0, gradient_on="stored", stored_noise="inferred", horizon=2),
    ],
)
def test_every_mixture_agrees_with_the_plain_version(settings, model):
    kinds = dict(zip(("dynamics", "dynamics_sampling"), model))
    config = make_config("mage", "tiny", members=MEMBERS, batch_size=BATCH, imagined_noise=0.2, **settings, **kinds)
    fast, plain = make_pieces(model=model), make_pieces(model=model)
    loss, gradients = critic_gradients(config, fast["critic"], target_of(config, fast))
    reference = plain_of(config, plain)
    expected = torch.autograd.grad(reference.total, list(plain["critic"].parameters()))
    for ours, theirs in zip(loss, reference):
        assert_close(ours, theirs.detach())
    assert loss.gradient > 0.0
    for ours, theirs in zip(gradients, expected, strict=True):
        assert_close(ours, theirs)


def test_the_parts_of_a_mixture_are_the_pure_targets_of_their_rows():
    pieces, settings = make_pieces(), dict(size="tiny", members=MEMBERS, batch_size=BATCH)
    half, noise = BATCH // 2, make_noise(make_config("mage", **settings))
    mixed = target_of(make_config("mage", real_share=0.5, gradient_on="both", **settings), pieces, noise)
    for rows, pure in (
        (slice(None, half), make_config("td3-slope", **settings)),
        (slice(half, None), make_config("mage", **settings)),
    ):
        part = Transitions(*(column[rows] for column in pieces["batch"]))
        part_noise = TargetNoise(noise.action[rows], noise.dynamics[:, rows], noise.smoothing[:, rows])
        alone = critic_target(pure, *(pieces[name] for name in ARGUMENTS), part, part_noise)
        for ours, theirs in zip(mixed[:-1], alone[:-1]):
            assert torch.equal(ours[rows], theirs)
        assert mixed.state is None and alone.state is None


def test_the_mask_leaves_out_the_part_that_is_not_asked():
    pieces, settings = (
        make_pieces(),
        dict(size="tiny", members=MEMBERS, batch_size=BATCH, real_share=0.5, terminal_gradient=True),
    )
    for on, asked in (
        ("imagined", slice(BATCH // 2, None)),
        ("stored", slice(None, BATCH // 2)),
        ("both", slice(None)),
    ):
        mask = target_of(make_config("mage", gradient_on=on, **settings), pieces).gradient_mask
        expected = torch.zeros(BATCH, **DOUBLE)
        expected[asked] = 1.0
        assert torch.equal(mask, expected)


def test_values_of_stored_transitions_are_td3s_to_the_bit():
    pieces = make_pieces()
    for model in ("zero", "inferred"):
        with_slope = target_of(
            make_config("td3-slope", "tiny", members=MEMBERS, batch_size=BATCH, stored_noise=model), pieces
        )
        without = target_of(make_config("td3", "tiny", members=MEMBERS, batch_size=BATCH), pieces)
        assert (
            torch.equal(with_slope.value, without.value)
            and without.gradient is None
            and with_slope.gradient.abs().max() > 0.0
        )


@pytest.mark.parametrize(
    "one, other, settings",
    [
        ("td3-slope", "td3", dict(gradient_weight=0.0)),
        ("mage-half", "mage", dict(real_share=0.0)),
        ("mage-even", "mage-half", dict(gradient_weight=5.0)),
        ("mage-half", "dyna-half", dict(gradient_weight=0.0)),
        ("mage-half", "td3-slope", dict(real_share=1.0)),
        ("dyna-half", "dyna-td3", dict(real_share=0.0)),
        ("dyna-half", "td3", dict(real_share=1.0)),
        ("mad-td3", "dyna-half", dict(real_share=0.5)),
        ("mbpo-td3", "dyna-half", dict(real_share=0.5)),
    ],
)
def test_the_ends_of_the_scale_are_the_former_rows_bit_for_bit(one, other, settings):
    assert same(weights_after(one, **settings), weights_after(other))
    assert not same(weights_after(one), weights_after(other))


def test_the_realised_share_is_logged(tmp_path):
    MAGEAgent("Pendulum-v1", "mad-td3", out=tmp_path / "run", **(FEW | dict(log_interval=20))).learn(60)
    header, *_, last = (tmp_path / "run" / "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert float(dict(zip(header.split(","), last.split(",")))["real_share"]) == 60 / 64


# ---- on the linear-quadratic world, where the action-gradient is known


class LinearModel:
    """The dynamics of an LQR as a model: exact, with another constant, or with another derivative."""

    def __init__(self, lqr, shift=0.0, slope=1.0):
        self.A, self.B, self.shift = lqr.A, slope * lqr.B, shift

    def sample(self, obs, action, noise):
        return obs @ self.A.T + action @ self.B.T + self.shift


def linear_world(noisy=False):
    """An LQR under a linear policy, transitions that happened in it, and the networks' stand-ins: (oracle's slope, settings of a target)."""
    lqr, K = random_lqr(torch.Generator().manual_seed(3), n=3, m=2)
    generator = torch.Generator().manual_seed(4)
    M = action_value_matrix(lqr, K)
    obs, action = torch.randn(32, 3, generator=generator, **DOUBLE), torch.randn(32, 2, generator=generator, **DOUBLE)
    happened = (
        obs @ lqr.A.T + action @ lqr.B.T + (0.3 * torch.randn(32, 3, generator=generator, **DOUBLE) if noisy else 0.0)
    )
    reward = lambda obs, action, next_obs: quadratic(lqr.C, obs, action)
    batch = Transitions(obs, action, reward(obs, action, None), happened, torch.zeros(32, **DOUBLE))
    world = lambda **change: World(
        LinearModel(lqr, **change), reward, never, ActionScale(-torch.ones(2, **DOUBLE), torch.ones(2, **DOUBLE))
    )
    policy, critic = lambda obs: obs @ K.T, lambda obs, action: quadratic(M, obs, action)[None]
    return lqr, K, M, batch, world, policy, critic


def stored_target_in(world, config, batch, policy, critic):
    """Value and slope of stored transitions at horizon 1, without smoothing noise."""
    noise = TargetNoise(*(torch.zeros(1, len(batch.reward), dim, **DOUBLE) for dim in (2, 3, 2)))
    first = lambda action: stored_step(config, world, batch, action)
    return target_and_action_gradient(
        config, world, policy, critic, batch.obs, batch.action, noise._replace(action=noise.action[0]), first=first
    )


def wide(monkeypatch):
    """Bounds that a linear policy does not keep to are left out."""
    monkeypatch.setattr("mage_edu.targets.add_noise", lambda action, *rest: action)


def test_with_the_exact_model_the_stored_slope_is_the_oracles(monkeypatch):
    wide(monkeypatch)
    lqr, K, M, batch, world, policy, critic = linear_world()
    config = make_config("td3-slope", "tiny", discount=lqr.discount)
    value, slope = stored_target_in(world(), config, batch, policy, critic)
    assert_close(slope, quadratic_gradients(M, batch.obs, batch.action)[1], 1e-12)
    assert_close(value.value, quadratic(M, batch.obs, batch.action), 1e-12)


def test_a_models_wrong_value_moves_nothing_and_its_wrong_derivative_only_the_slope(monkeypatch):
    wide(monkeypatch)
    lqr, K, M, batch, world, policy, critic = linear_world(noisy=True)
    config = make_config("td3-slope", "tiny", discount=lqr.discount)
    right, wrong_value, wrong_slope = (
        stored_target_in(world(**change), config, batch, policy, critic)
        for change in ({}, {"shift": 0.7}, {"slope": 1.3})
    )
    assert torch.equal(right[0].value, wrong_value[0].value) and torch.equal(right[1], wrong_value[1])
    assert torch.equal(right[0].value, wrong_slope[0].value) and not torch.allclose(right[1], wrong_slope[1], rtol=1e-3)
    mage, noise = (
        make_config("mage", "tiny", discount=lqr.discount),
        TargetNoise(*(torch.zeros(1, 32, dim, **DOUBLE) for dim in (2, 3, 2))),
    )
    imagined = [
        target_and_action_gradient(mage, world(**change), policy, critic, batch.obs, batch.action, noise)
        for change in ({}, {"shift": 0.7})
    ]
    assert not torch.allclose(imagined[0][0].value, imagined[1][0].value, rtol=1e-3) and not torch.allclose(
        imagined[0][1], imagined[1][1], rtol=1e-3
    )


@pytest.mark.parametrize("name", ["InvertedPendulum-v5", "Hopper-v5", "Pendulum-v1"])
def test_the_stored_slope_agrees_with_differences_of_the_simulator(name):
    settings = dict(
        size="tiny", warmup_steps=40, batch_size=16, target_noise=0.0, log_interval=1000, eval_interval=1000
    )
    learner = MAGEAgent(name, "td3-slope", model="simulator", **settings).learn(45).learner
    config, batch = learner.config, learner.replay.sample(6)
    batch = batch._replace(**{column: getattr(batch, column).double() for column in Transitions._fields})
    networks = [network.double() for network in (learner.target_actor, learner.target_critic)]
    noise = TargetNoise(
        *(
            x.double()
            for x in draw_noise(config, *batch.obs.shape, batch.action.shape[1], torch.Generator().manual_seed(0))
        )
    )
    world, arguments = lambda: learner.world.started_at(batch), (*networks, batch.obs)
    first = lambda action: stored_step(config, world(), batch, action)
    target, slope = target_and_action_gradient(config, world(), *arguments, batch.action, noise, first=first)
    moved = lambda states, action: bootstrapped_target(config, world(), *arguments, action, noise).value[:, None]
    differences = action_jacobian(moved, batch.obs, batch.action, 1e-5)[:, 0]
    inside = batch.action.abs().amax(-1) < 0.999  # differences at a bound go to one side
    assert inside.any() and torch.allclose(
        slope[inside], differences[inside], rtol=2e-3, atol=1e-3 * differences.norm()
    )
    paid = Step(batch.reward, batch.next_obs, batch.terminated)
    assert torch.equal(target.value, bootstrapped_target(config, None, *arguments, batch.action, noise, paid).value)


def test_a_learned_reward_lends_its_slope_to_the_stored_one():
    agent = MAGEAgent("Pendulum-v1", "td3-slope", reward="learned", **FEW).learn(45)
    batch, config = agent.learner.replay.sample(8), agent.config
    action = batch.action.clone().requires_grad_()
    step = stored_step(config, agent.learner.world, batch, action)
    assert torch.equal(step.reward, batch.reward) and torch.equal(step.next_obs, batch.next_obs)
    reward = lambda a: agent.learner.world.reward_fn(
        batch.obs, agent.learner.world.scale.to_env(a), stored_step(config, agent.learner.world, batch, a).next_obs
    )
    (ours,), (theirs,) = (torch.autograd.grad(number.sum(), action) for number in (step.reward, reward(action)))
    assert torch.allclose(ours, theirs) and ours.abs().max() > 0.0
