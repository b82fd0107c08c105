"""The library's target against the oracle: in a linear-quadratic world, y and its action-gradient are known exactly."""

import pytest
import torch

from mage_edu.config import make_config
from mage_edu.envs import ActionScale, never
from mage_edu.fitting import LinearWorld, fit_critics
from mage_edu.lqr import (
    LQR,
    action_value_matrix,
    closed_loop,
    policy_gradient,
    quadratic,
    quadratic_gradients,
    random_lqr,
)
from mage_edu.targets import (
    World,
    actor_objective,
    draw_actor_noise,
    draw_noise,
    horizon_weights,
    target_and_action_gradient,
)
from mage_edu.theory import critic_value_matrix, td_error_matrix, visitation


class LinearDynamics:
    """Stands in for the ensemble: s' = A s + B a, without noise."""

    def __init__(self, lqr):
        self.lqr = lqr

    def sample(self, obs, action, noise):
        return obs @ self.lqr.A.T + action @ self.lqr.B.T


def linear_world(lqr):
    bounds = torch.ones(lqr.sizes[1], dtype=torch.float64)
    reward = lambda obs, action, next_obs: quadratic(lqr.C, obs, action)
    return World(LinearDynamics(lqr), reward, never, ActionScale(-bounds, bounds))


def in_reach(lqr, K, scale=0.05, seed=0):
    """Observations and actions so small that nothing is clipped at +-1, (64, n) and (64, m)."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda dim: scale * torch.randn(64, dim, generator=generator, dtype=torch.float64)
    return draw(lqr.sizes[0]), draw(lqr.sizes[1])


@pytest.mark.parametrize("horizon, mix", [(1, 1.0), (2, 1.0), (5, 1.0), (4, 0.5)])
@pytest.mark.parametrize("seed", range(3))
def test_the_true_critic_is_its_own_target_at_every_horizon(seed, horizon, mix):
    lqr, K = random_lqr(torch.Generator().manual_seed(seed), n=3, m=2, radius=1.02)
    config = make_config("mage", "tiny", discount=lqr.discount, horizon=horizon, horizon_mix=mix, target_noise=0.0)
    M, (obs, action) = action_value_matrix(lqr, K), in_reach(lqr, K)
    noise = draw_noise(config, 64, 3, 2, torch.Generator().manual_seed(1))
    target, gradient = target_and_action_gradient(
        config, linear_world(lqr), lambda s: s @ K.T, lambda s, a: quadratic(M, s, a).expand(2, -1), obs, action, noise
    )
    assert torch.allclose(target.value, quadratic(M, obs, action), rtol=1e-10)
    assert torch.allclose(gradient, quadratic_gradients(M, obs, action)[1], rtol=1e-9, atol=1e-12)


def test_a_wrong_critic_gets_the_backup_as_its_target():
    lqr, K = random_lqr(torch.Generator().manual_seed(5), n=3, m=2)
    config = make_config("mage", "tiny", discount=lqr.discount, target_noise=0.0)
    (obs, action), change = (
        in_reach(lqr, K),
        torch.randn(5, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64),
    )
    M = action_value_matrix(lqr, K) + change + change.T
    noise = draw_noise(config, 64, 3, 2, torch.Generator().manual_seed(1))
    target, gradient = target_and_action_gradient(
        config, linear_world(lqr), lambda s: s @ K.T, lambda s, a: quadratic(M, s, a).expand(2, -1), obs, action, noise
    )
    td = td_error_matrix(lqr, K, M)
    assert torch.allclose(target.value - quadratic(M, obs, action), quadratic(td, obs, action), rtol=1e-9, atol=1e-12)
    assert torch.allclose(
        gradient - quadratic_gradients(M, obs, action)[1],
        quadratic_gradients(td, obs, action)[1],
        rtol=1e-9,
        atol=1e-12,
    )


def wrong_critic(lqr, K, seed=2):
    """The true critic's matrix, changed at random."""
    size = sum(lqr.sizes)
    change = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return action_value_matrix(lqr, K) + change + change.T


def backups(lqr, K, M, times):
    """[T M, T(T M), ...]: the matrices of the Bellman backups of a quadratic critic, which is what y_1, y_2, ... are."""
    matrices = []
    for _ in range(times):
        M = M + td_error_matrix(lqr, K, M)
        matrices.append(M)
    return matrices


@pytest.mark.parametrize("horizon, mix", [(1, 1.0), (2, 1.0), (5, 1.0), (4, 0.5), (4, 0.0)])
def test_k_steps_are_k_backups_of_a_wrong_critic(horizon, mix):
    lqr, K = random_lqr(torch.Generator().manual_seed(5), n=3, m=2)
    config = make_config("mage", "tiny", discount=lqr.discount, horizon=horizon, horizon_mix=mix, target_noise=0.0)
    (obs, action), M = in_reach(lqr, K), wrong_critic(lqr, K)
    expected = sum(
        weight * matrix for weight, matrix in zip(horizon_weights(horizon, mix), backups(lqr, K, M, horizon))
    )
    noise = draw_noise(config, 64, 3, 2, torch.Generator().manual_seed(1))
    target, gradient = target_and_action_gradient(
        config, linear_world(lqr), lambda s: s @ K.T, lambda s, a: quadratic(M, s, a).expand(2, -1), obs, action, noise
    )
    assert torch.allclose(target.value, quadratic(expected, obs, action), rtol=1e-9, atol=1e-12)
    assert torch.allclose(gradient, quadratic_gradients(expected, obs, action)[1], rtol=1e-9, atol=1e-12)
    assert not torch.allclose(target.value, quadratic(M, obs, action), rtol=1e-2)


class Quadratic:
    """A critic [s; a]' M [s; a], with the method that the actor's objective calls."""

    def __init__(self, M):
        self.M = M

    def minimum(self, obs, action):
        return quadratic(self.M, obs, action)


def of_states(P, obs):
    """s' P s, (batch,)."""
    return torch.einsum("bi,ij,bj->b", obs, P, obs)


def objective(lqr, K, M, obs, **knobs):
    """J_h of the linear policy with gain K, (batch,)."""
    config = make_config("maac", "tiny", discount=lqr.discount, **knobs)
    policy, noise = (
        lambda s: s @ K.T,
        draw_actor_noise(config, len(obs), lqr.sizes[0], torch.Generator().manual_seed(0)),
    )
    return actor_objective(config, linear_world(lqr), policy, Quadratic(M), obs, policy(obs), noise)


@pytest.mark.parametrize("horizon", [0, 1, 4])
def test_what_the_actor_climbs_is_the_backed_up_value(horizon):
    lqr, K = random_lqr(torch.Generator().manual_seed(6), n=3, m=2)
    obs, M = in_reach(lqr, K)[0], wrong_critic(lqr, K)
    matrices = [M, *backups(lqr, K, M, horizon)]
    values = [of_states(critic_value_matrix(K, matrix), obs) for matrix in matrices]
    assert torch.allclose(objective(lqr, K, M, obs, actor_horizon=horizon), values[-1], rtol=1e-9, atol=1e-12)
    if horizon > 0:
        mean = objective(lqr, K, M, obs, actor_horizon=horizon, actor_horizon_mean=True)
        assert torch.allclose(mean, torch.stack(values[1:]).mean(0), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("horizon, mean", [(0, False), (1, False), (4, False), (4, True)])
def test_the_gradient_with_the_true_critic_is_the_start_of_the_policy_gradient(horizon, mean):
    """With Q^pi held fixed, d J_h / dK is the sum over the first h + 1 steps of gamma^i times d pi / dK' grad_a Q^pi."""
    lqr, K = random_lqr(torch.Generator().manual_seed(7), n=3, m=2)
    obs, M, gain = in_reach(lqr, K)[0], action_value_matrix(lqr, K), K.clone().requires_grad_()
    knobs = dict(actor_horizon=horizon, actor_horizon_mean=mean)
    (exact,) = torch.autograd.grad(objective(lqr, gain, M, obs, **knobs).mean(), gain)
    terms, states = [], obs
    for i in range(horizon + 1):
        slope = quadratic_gradients(M, states, states @ K.T)[1]
        terms.append(lqr.discount**i * torch.einsum("ba,bs->as", slope, states) / len(states))
        states = states @ (lqr.A + lqr.B @ K).T
    sums = [sum(terms[: j + 1]) for j in range(horizon + 1)]
    expected = torch.stack(sums[1:]).mean(0) if mean else sums[-1]
    assert torch.allclose(exact, expected, rtol=1e-9, atol=1e-14)


def test_a_long_horizon_needs_no_critic():
    """J_h for h = 300 with a critic that is wrong has the gradient of the return itself, by central differences of its closed form."""
    lqr, K = random_lqr(torch.Generator().manual_seed(8), n=3, m=2, discount=0.9)
    obs, M, gain = in_reach(lqr, K)[0], wrong_critic(lqr, K), K.clone().requires_grad_()
    (exact,) = torch.autograd.grad(objective(lqr, gain, M, obs, actor_horizon=300).mean(), gain)
    value = lambda K: of_states(critic_value_matrix(K, action_value_matrix(lqr, K)), obs).mean()
    differences = torch.zeros_like(K)
    for row, column in ((r, c) for r in range(K.shape[0]) for c in range(K.shape[1])):
        step = torch.zeros_like(K)
        step[row, column] = 1e-5
        differences[row, column] = (value(K + step) - value(K - step)) / 2e-5
    assert torch.allclose(exact, differences, rtol=1e-5, atol=1e-9)
    (near,) = torch.autograd.grad(objective(lqr, gain, M, obs, actor_horizon=0).mean(), gain)
    assert not torch.allclose(near, differences, rtol=0.1)  # where h = 0 believes the wrong critic


@pytest.mark.parametrize("seed", range(40))
def test_random_problems_have_a_value_and_are_not_optimal(seed):
    lqr, K = random_lqr(
        torch.Generator().manual_seed(seed), n=1 + seed % 4, m=1 + seed % 3, radius=0.5 + 0.02 * seed, discount=0.95
    )
    assert abs(torch.linalg.eigvals(lqr.A).abs().max().item() - (0.5 + 0.02 * seed)) < 1e-9
    assert policy_gradient(lqr, K).norm() > 1e-3 * action_value_matrix(lqr, K).norm()  # at the best gain it would be 0
    M = action_value_matrix(lqr, K)
    assert torch.allclose(M, M.T, atol=1e-9 * M.norm()) and td_error_matrix(lqr, K, M).norm() < 1e-9 * M.norm()


def test_the_states_of_the_visitation_reach_the_policys_value():
    lqr, K = random_lqr(torch.Generator().manual_seed(3), n=2, m=1)
    start = torch.tensor([[0.7, -0.2]], dtype=torch.float64)
    states, weights = visitation(lqr, K, start, 400)
    rewards = quadratic(lqr.C, states, states @ K.T)
    P = critic_value_matrix(K, action_value_matrix(lqr, K))
    assert torch.allclose((weights * rewards).sum() / (1 - lqr.discount), (start @ P @ start.T).squeeze(), rtol=1e-10)


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("A", torch.eye(3, 2), "A of shape"),
        ("B", torch.zeros(2, 1), "B of shape"),
        ("C", torch.eye(3), "C of shape"),
        ("init_cov", torch.tensor([[1.0, 0.5, 0], [0, 1, 0], [0, 0, 1]]), "init_cov: expected a symmetric"),
        ("noise_cov", torch.eye(2), "noise_cov of shape"),
        ("discount", 1.0, "discount=1.0"),
        ("discount", -0.1, "discount=-0.1"),
    ],
)
def test_a_problem_that_cannot_be_right_is_refused(field, value, message):
    lqr, _ = random_lqr(torch.Generator().manual_seed(0), n=3, m=2)
    fields = {name: getattr(lqr, name) for name in ("A", "B", "C", "discount", "init_cov", "noise_cov")}
    with pytest.raises(ValueError, match=message):
        LQR(**{**fields, field: value.double() if isinstance(value, torch.Tensor) else value})


def test_an_unstable_policy_is_refused_with_its_growth():
    lqr, K = random_lqr(torch.Generator().manual_seed(0), n=3, m=2, radius=1.2)
    with pytest.raises(ValueError, match=r"the value is not finite; expected below 1"):
        action_value_matrix(lqr, 0.0 * K)
    with pytest.raises(ValueError, match=r"spectral radius nan"):
        closed_loop(lqr, K * float("nan"))


def test_fitting_repeats_itself_and_learns():
    world = LinearWorld(*random_lqr(torch.Generator().manual_seed(11), n=3, m=2, radius=0.9))
    one, two = (fit_critics(world, gradient_weight=1.0, seeds=2, steps=100) for _ in range(2))
    assert torch.equal(one, two) and one.shape == (2, 3, 3)
    assert (one[:, -1, 0] < one[:, 0, 0]).all()
