"""The ensemble on real transitions, its derivative, and what makes a run repeatable."""
import copy

import numpy as np
import pytest
import torch

from mage_edu.dynamics import Dynamics, even_shares, train_dynamics
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
    optimizer = torch.optim.RAdam(dynamics.parameters(), lr=2e-3, weight_decay=1e-4, decoupled_weight_decay=True, foreach=True)
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


@pytest.mark.parametrize("batch", [0, 1, 7, 9])
def test_a_batch_that_does_not_divide_is_refused(batch):
    dynamics = Dynamics(3, 1, 4, 1, 8, -5.0, -1.0, seeded(0))
    with pytest.raises(ValueError, match=f"batch of {batch} with 4 members: expected a multiple"):
        dynamics.sample(torch.zeros(batch, 3), torch.zeros(batch, 1), torch.zeros(batch, 3))
    assert even_shares(torch.zeros(8, 3), 4).shape == (4, 2, 3)
