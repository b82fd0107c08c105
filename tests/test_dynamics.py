"""The ensemble on real transitions, its derivative, and what makes a run repeatable."""

import copy

import numpy as np
import pytest
import torch

from mage_edu.dynamics import (
    Dynamics,
    NormalizedMLP,
    dynamics_gradients,
    even_shares,
    gaussian_nll,
    train_dynamics,
    training_places,
)
from mage_edu.engine.build import check_dynamics
from mage_edu.engine.plain import plain_next_obs
from mage_edu.engine.rounds import held_out_losses, held_out_places
from mage_edu.envs import make_env
from mage_edu.replay import Normalizer, ReplayBuffer


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_transitions(env_id: str, steps: int, seed: int):
    """Random transitions as (obs, action, next_obs) rows; for environments whose bounds are -1 and 1."""
    env, rng, rows = make_env(env_id), np.random.default_rng(seed), []
    obs, _ = env.reset(seed=seed)
    for _ in range(steps):
        action = rng.uniform(-1.0, 1.0, env.action_space.shape)
        next_obs, _, terminated, truncated, _ = env.step(action.astype(np.float32))
        rows.append((obs, action, next_obs))
        obs = env.reset()[0] if terminated or truncated else next_obs
    env.close()
    return rows


def filled(rows, seed: int = 0) -> tuple[ReplayBuffer, Normalizer]:
    obs_dim, act_dim = len(rows[0][0]), len(rows[0][1])
    replay, normalizer = ReplayBuffer(len(rows), obs_dim, act_dim, seed), Normalizer(obs_dim, act_dim)
    for obs, action, next_obs in rows:
        replay.add(obs, action, 0.0, next_obs, False)
        normalizer.add(obs, action, next_obs)
    return replay, normalizer


def trained(rows, batches: int, width: int = 64, members: int = 4, seed: int = 0) -> tuple[Dynamics, torch.Tensor]:
    replay, normalizer = filled(rows, seed)
    dynamics = Dynamics(len(rows[0][0]), len(rows[0][1]), members, 2, width, -5.0, -1.0, seeded(seed))
    dynamics.set_normalizer(normalizer)
    optimizer = torch.optim.RAdam(
        dynamics.parameters(), lr=2e-3, weight_decay=1e-4, decoupled_weight_decay=True, foreach=True
    )
    return dynamics, train_dynamics(dynamics, optimizer, replay, batches, 128, 5.0)


@pytest.fixture(scope="module")
def cheetah_rows():
    return random_transitions("HalfCheetah-v5", 2000, seed=0)


def test_half_cheetah_is_predicted_better_than_by_the_mean(cheetah_rows):
    dynamics, _ = trained(cheetah_rows[:1500], batches=300)
    obs, action, next_obs = (torch.tensor(np.array(c), dtype=torch.float32) for c in zip(*cheetah_rows[1500:]))
    with torch.no_grad():
        mean, _ = dynamics.predict(dynamics.stack(obs), dynamics.stack(action))
    target = dynamics.normalized_delta(obs, next_obs)
    ours, trivial = (mean - target).square().mean((1, 2)), target.square().mean()
    assert (ours < 0.5 * trivial).all()  # every member leaves less than half of the squared error


def test_training_repeats_bit_for_bit_with_equal_generators(cheetah_rows):
    one, two, other = (trained(cheetah_rows[:200], 20, width=32, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one[1], two[1]) and not torch.equal(one[1], other[1])
    for name, value in one[0].state_dict().items():
        assert torch.equal(value, two[0].state_dict()[name])
    noise = torch.randn(8, 18, generator=seeded(5))
    obs, action = torch.zeros(8, 18), torch.zeros(8, 6)
    assert torch.equal(one[0].sample(obs, action, noise), two[0].sample(obs, action, noise))


def test_normalizer_statistics_are_saved_with_the_weights(cheetah_rows):
    dynamics, _ = trained(cheetah_rows[:200], 5, width=16)
    names = {f"{kind}_{stat}" for kind in ("obs", "action", "delta") for stat in ("mean", "std")}
    assert names <= set(dynamics.state_dict()) and not names & {name for name, _ in dynamics.named_parameters()}
    fresh = Dynamics(18, 6, 4, 2, 16, -5.0, -1.0, seeded(9))
    obs, action = torch.randn(8, 18, generator=seeded(1)), torch.randn(8, 6, generator=seeded(2))
    noise = torch.randn(8, 18, generator=seeded(3))
    assert not torch.allclose(fresh.sample(obs, action, noise), dynamics.sample(obs, action, noise))
    fresh.load_state_dict(dynamics.state_dict())
    assert torch.equal(fresh.sample(obs, action, noise), dynamics.sample(obs, action, noise))
    converted = copy.deepcopy(dynamics).double()
    assert all(buffer.dtype == torch.float64 for buffer in converted.buffers())


def test_each_share_is_predicted_by_its_member_alone():
    dynamics = Dynamics(3, 2, 4, 2, 16, -5.0, -1.0, seeded(0)).double()
    obs, action, noise = (torch.randn(12, d, dtype=torch.float64, generator=seeded(d)) for d in (3, 2, 3))
    next_obs = dynamics.sample(obs, action, noise)
    mean, log_var = dynamics.predict(dynamics.stack(obs), dynamics.stack(action))  # every member on every sample
    every = obs + mean + torch.exp(0.5 * log_var) * noise
    for i in range(12):
        assert torch.allclose(next_obs[i], every[i // 3, i], rtol=1e-12)


@pytest.mark.parametrize("layers", [1, 3])
def test_action_derivative_equals_central_differences(layers):
    dynamics = Dynamics(3, 2, 2, layers, 16, -5.0, -1.0, seeded(0)).double()
    dynamics.delta_std.fill_(0.3), dynamics.action_std.fill_(0.5), dynamics.obs_mean.fill_(0.2)
    obs, action, noise = (torch.randn(6, d, dtype=torch.float64, generator=seeded(d)) for d in (3, 2, 3))
    jacobian = torch.autograd.functional.jacobian(lambda a: dynamics.sample(obs, a, noise).sum(0), action)  # (3, 6, 2)
    for column in range(2):
        step = torch.zeros_like(action)
        step[:, column] = 1e-6
        central = (dynamics.sample(obs, action + step, noise) - dynamics.sample(obs, action - step, noise)) / 2e-6
        assert torch.allclose(jacobian[..., column].T, central, rtol=1e-6, atol=1e-9)


def test_sampling_trains_nothing_and_the_loss_trains_everything():
    dynamics = Dynamics(3, 2, 2, 2, 16, -5.0, -1.0, seeded(0))
    obs, action = torch.randn(6, 3, generator=seeded(1)), torch.randn(6, 2, generator=seeded(2), requires_grad=True)
    dynamics.sample(obs, action, torch.zeros(6, 3)).sum().backward()
    assert action.grad.any() and all(p.grad is None for p in dynamics.parameters())
    dynamics.loss(dynamics.stack(obs), dynamics.stack(action.detach()), dynamics.stack(obs + 1.0)).backward()
    assert all(p.grad.any() for p in dynamics.parameters())


def test_the_log_variance_stays_inside_its_bounds():
    dynamics = Dynamics(3, 2, 2, 1, 16, -5.0, -1.0, seeded(0))
    far = 1e6 * torch.randn(2, 50, 3, generator=seeded(1))
    log_var = dynamics.predict(far, torch.zeros(2, 50, 2))[1]
    assert -5.0 <= log_var.min() and log_var.max() <= -1.0


VARIANTS = [
    (kind, sampling, members)
    for kind in ("probabilistic", "deterministic")
    for sampling in ("member", "moments")
    for members in (1, 4, 16)
]


def variant(kind, sampling, members, width=16):
    dynamics = Dynamics(3, 2, members, 2, width, -5.0, -1.0, seeded(0), kind, sampling).double()
    dynamics.delta_std.fill_(0.3), dynamics.action_std.fill_(0.5), dynamics.obs_mean.fill_(0.2)
    return dynamics


@pytest.mark.parametrize("kind, sampling, members", VARIANTS)
def test_every_variant_agrees_with_plain_and_with_finite_differences(kind, sampling, members):
    dynamics = variant(kind, sampling, members)
    obs, action, noise = (torch.randn(16, d, dtype=torch.float64, generator=seeded(d)) for d in (3, 2, 3))
    gradients = []
    for function in (dynamics.sample, lambda *x: plain_next_obs(dynamics, *x)):
        if members == 1 and kind == "deterministic" and sampling == "moments" and gradients:
            break  # no variance at all: the root in the plain version has no slope
        a = action.clone().requires_grad_()
        next_obs = function(obs, a, noise)
        gradients.append((next_obs.detach(), torch.autograd.grad(next_obs.square().sum(), a)[0]))
    for one, other in zip(*gradients[::-1] if len(gradients) == 2 else gradients * 2):
        assert torch.allclose(one, other, rtol=1e-6 if sampling == "moments" else 1e-12, atol=1e-10)
    next_obs, gradient = gradients[0]
    for column in range(2):
        step = torch.zeros_like(action)
        step[:, column] = 1e-6
        central = (
            dynamics.sample(obs, action + step, noise).square().sum(1)
            - dynamics.sample(obs, action - step, noise).square().sum(1)
        ) / 2e-6
        assert torch.allclose(gradient[:, column], central, rtol=1e-5, atol=1e-8)


def test_a_deterministic_member_has_no_noise_and_learns_by_least_squares():
    dynamics = variant("deterministic", "member", 4)
    obs, action, next_obs = (torch.randn(4, 6, d, dtype=torch.float64, generator=seeded(d)) for d in (3, 2, 3))
    assert dynamics.weights[-1].shape[-1] == 3 and variant("probabilistic", "member", 4).weights[-1].shape[-1] == 6
    flat = lambda x: x.reshape(24, -1)
    quiet, loud = (
        dynamics.sample(flat(obs), flat(action), size * torch.ones(24, 3, dtype=torch.float64)) for size in (0.0, 5.0)
    )
    assert torch.equal(quiet, loud)
    error = dynamics.normalized_delta(obs, next_obs) - dynamics.predict(obs, action)[0]
    assert torch.allclose(dynamics.losses(obs, action, next_obs), error.square().mean((1, 2)), rtol=1e-12)
    assert dynamics.loss(obs, action, next_obs) == dynamics.losses(obs, action, next_obs).sum()
    gaussian = variant("probabilistic", "member", 4)
    likelihood = gaussian_nll(*gaussian.predict(obs, action), gaussian.normalized_delta(obs, next_obs)).mean((1, 2))
    assert torch.equal(gaussian.losses(obs, action, next_obs), likelihood)
    loss, gradients = dynamics_gradients(dynamics, obs, action, next_obs)
    assert loss.isfinite() and all(g.isfinite().all() and g.any() for g in gradients)


@pytest.mark.parametrize("kind", ["probabilistic", "deterministic"])
def test_both_ways_of_sampling_have_the_same_mean_and_variance(kind):
    dynamics, n = variant(kind, "member", 4), 40_000
    obs, action = (torch.randn(1, d, dtype=torch.float64, generator=seeded(d)).expand(n, -1) for d in (3, 2))
    noise = torch.randn(n, 3, dtype=torch.float64, generator=seeded(8))
    samples = {}
    for dynamics.sampling in ("member", "moments"):
        samples[dynamics.sampling] = dynamics.sample(obs, action, noise)
    one, all_ = samples["member"], samples["moments"]
    assert (one.mean(0) - all_.mean(0)).abs().max() < 4 * (one.std(0) * (2 / n) ** 0.5).max()
    assert torch.allclose(one.std(0), all_.std(0), rtol=0.03)
    assert not torch.allclose(one, all_, rtol=0.01)


def test_moments_need_no_even_shares():
    dynamics = variant("probabilistic", "moments", 4)
    assert dynamics.sample(*(torch.zeros(7, d, dtype=torch.float64) for d in (3, 2, 3))).shape == (7, 3)


def cutter(clip, members=4):
    dynamics = Dynamics(3, 2, members, 2, 16, -5.0, -1.0, seeded(0), clip=clip).double()
    (
        dynamics.obs_mean.fill_(0.5),
        dynamics.obs_std.fill_(2.0),
        dynamics.action_std.fill_(0.1),
        dynamics.delta_std.fill_(0.3),
        dynamics.delta_mean.fill_(-0.1),
    )
    return dynamics


def far_batch(spreads, shape=(4, 8)):
    """Observations, actions and next observations that lie about so many spreads out."""
    noise = [torch.randn(*shape, d, dtype=torch.float64, generator=seeded(d)) for d in (3, 2, 3)]
    obs = 0.5 + 2.0 * spreads * noise[0]
    return obs, noise[1], obs - 0.1 + 0.3 * spreads * noise[2]


def test_without_a_cut_nothing_changes_and_a_wide_one_cuts_nothing():
    obs, action, next_obs = far_batch(20.0)
    plain, wide = cutter(None), cutter(1e6)
    expected = torch.cat([(obs - plain.obs_mean) / plain.obs_std, (action - plain.action_mean) / plain.action_std], -1)
    target = (next_obs - obs - plain.delta_mean) / plain.delta_std
    for dynamics in (plain, wide):
        assert torch.equal(dynamics.inputs(obs, action), expected) and torch.equal(
            dynamics.normalized_delta(obs, next_obs), target
        )
        assert torch.equal(dynamics.losses(obs, action, next_obs), plain.losses(obs, action, next_obs))
    assert Dynamics(3, 2, 2, 1, 8, -5.0, -1.0, seeded(0)).clip is None


def test_the_cut_bounds_observations_and_targets_and_leaves_the_action():
    obs, action, next_obs = far_batch(20.0)
    plain, cut = cutter(None), cutter(5.0)
    inputs, target = cut.inputs(obs, action), cut.normalized_delta(obs, next_obs)
    assert inputs[..., :3].abs().max() == 5.0 and target.abs().max() == 5.0
    for ours, whole in (
        (inputs[..., :3], plain.inputs(obs, action)[..., :3]),
        (target, plain.normalized_delta(obs, next_obs)),
    ):
        inside = whole.abs() <= 5.0
        assert 0 < inside.sum() < inside.numel() and torch.equal(ours[inside], whole[inside])
        assert torch.equal(ours[~inside], 5.0 * whole[~inside].sign())
    assert torch.equal(inputs[..., 3:], plain.inputs(obs, action)[..., 3:]) and inputs[..., 3:].abs().max() > 5.0
    assert cut.loss(obs, action, next_obs) < plain.loss(obs, action, next_obs) / 10


@pytest.mark.parametrize("spreads", [0.5, 20.0])
def test_slopes_of_a_cut_model_are_right_inside_and_outside_the_cut(spreads):
    obs, action, _ = (x[0] for x in far_batch(spreads))
    cut, plain, noise = cutter(5.0), cutter(None), torch.randn(8, 3, dtype=torch.float64, generator=seeded(7))
    o, a = obs.clone().requires_grad_(), action.clone().requires_grad_()
    auto = torch.autograd.grad(cut.sample(o, a, noise).sum(), (o, a))
    for position, at in enumerate((obs, action)):
        for column in range(at.shape[1]):
            step = torch.zeros_like(at)
            step[:, column] = 1e-6
            up, down = (
                ([obs, action + step], [obs, action - step])
                if position
                else ([obs + step, action], [obs - step, action])
            )
            central = (cut.sample(*up, noise) - cut.sample(*down, noise)).sum(1) / 2e-6
            assert torch.allclose(auto[position][:, column], central, rtol=1e-5, atol=1e-7)
    assert torch.allclose(cut.sample(obs, action, noise), plain_next_obs(cut, obs, action, noise), rtol=1e-12)
    assert torch.equal(cut.sample(obs, action, noise), plain.sample(obs, action, noise)) == (spreads < 1.0)
    assert (auto[1] != 0).all()  # the action keeps its slope where the observation is cut


def test_a_subclass_that_builds_itself_has_no_cut():
    class Own(Dynamics):
        def __init__(self):
            NormalizedMLP.__init__(self, 3, 2, 2, [5, 8, 6], seeded(0))
            self.obs_dim, self.log_var_range, self.kind, self.sampling = 3, (-5.0, -1.0), "probabilistic", "member"

    assert Own().clip is None
    check_dynamics(Own(), 2, 3, 2)
    check_dynamics(cutter(5.0).float(), 4, 3, 2)


def numbered(n: int, capacity: int = 100) -> ReplayBuffer:
    """A buffer whose observations count from 0, in which the delta is a constant and the action noise."""
    replay, draw = ReplayBuffer(capacity, 1, 1, seed=0), seeded(3)
    for i in range(n):
        replay.add(
            torch.tensor([float(i)]),
            torch.randn(1, generator=draw),
            0.0,
            torch.tensor([i + 0.5]) + torch.randn(1, generator=draw),
            False,
        )
    return replay


@pytest.mark.parametrize("period", [2, 3, 10])
@pytest.mark.parametrize("n", [1, 5, 30, 100])
def test_what_is_held_out_is_never_trained_on(period, n):
    replay = numbered(n)
    held_out, trained_on = (
        set(held_out_places(replay, period).tolist()),
        set(training_places(replay, period, 4, 2_000).flatten().tolist()),
    )
    assert (
        held_out == {i for i in range(n) if i % period == period - 1}
        and held_out | trained_on == set(range(n))
        and not held_out & trained_on
    )


def test_nothing_held_out_draws_what_was_always_drawn():
    one, other = numbered(30), numbered(30)
    assert torch.equal(training_places(one, 0, 4, 8), other.indices(4, 8))
    assert torch.equal(one.generator.get_state(), other.generator.get_state())


def test_held_out_places_are_capped_evenly():
    replay = numbered(90)
    places = held_out_places(replay, 3, most=10)
    assert len(places) == 10 and set((places % 3).tolist()) == {2} and places.max() > 80


def test_nothing_is_held_out_of_few_transitions():
    assert (
        held_out_losses(Dynamics(1, 1, 3, 2, 8, -5.0, -1.0, seeded(1)), numbered(3), 4) is None
    )  # every fourth place: none of three


@pytest.mark.parametrize("batch", [0, 1, 7, 9])
def test_a_batch_that_does_not_divide_is_refused(batch):
    dynamics = Dynamics(3, 1, 4, 1, 8, -5.0, -1.0, seeded(0))
    with pytest.raises(ValueError, match=f"batch of {batch} with 4 members: expected a multiple"):
        dynamics.sample(torch.zeros(batch, 3), torch.zeros(batch, 1), torch.zeros(batch, 3))
    assert even_shares(torch.zeros(8, 3), 4).shape == (4, 2, 3)
