"""The library's target against the oracle: in a linear-quadratic world, y and its action-gradient are known exactly."""
import pytest
import torch

from mage_edu.config import make_config
from mage_edu.envs import ActionScale, never
from mage_edu.fitting import Lesson, fit_critics
from mage_edu.lqr import LQR, action_value_matrix, closed_loop, policy_gradient, quadratic, quadratic_gradients, random_lqr
from mage_edu.targets import World, draw_noise, target_and_action_gradient
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
        config, linear_world(lqr), lambda s: s @ K.T, lambda s, a: quadratic(M, s, a).expand(2, -1), obs, action, noise)
    assert torch.allclose(target.value, quadratic(M, obs, action), rtol=1e-10)
    assert torch.allclose(gradient, quadratic_gradients(M, obs, action)[1], rtol=1e-9, atol=1e-12)


def test_a_wrong_critic_gets_the_backup_as_its_target():
    lqr, K = random_lqr(torch.Generator().manual_seed(5), n=3, m=2)
    config = make_config("mage", "tiny", discount=lqr.discount, target_noise=0.0)
    (obs, action), change = in_reach(lqr, K), torch.randn(5, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    M = action_value_matrix(lqr, K) + change + change.T
    noise = draw_noise(config, 64, 3, 2, torch.Generator().manual_seed(1))
    target, gradient = target_and_action_gradient(
        config, linear_world(lqr), lambda s: s @ K.T, lambda s, a: quadratic(M, s, a).expand(2, -1), obs, action, noise)
    td = td_error_matrix(lqr, K, M)
    assert torch.allclose(target.value - quadratic(M, obs, action), quadratic(td, obs, action), rtol=1e-9, atol=1e-12)
    assert torch.allclose(gradient - quadratic_gradients(M, obs, action)[1], quadratic_gradients(td, obs, action)[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", range(40))
def test_random_problems_have_a_value_and_are_not_optimal(seed):
    lqr, K = random_lqr(torch.Generator().manual_seed(seed), n=1 + seed % 4, m=1 + seed % 3, radius=0.5 + 0.02 * seed, discount=0.95)
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


@pytest.mark.parametrize("field, value, message", [
    ("A", torch.eye(3, 2), "A of shape"), ("B", torch.zeros(2, 1), "B of shape"), ("C", torch.eye(3), "C of shape"),
    ("init_cov", torch.tensor([[1.0, 0.5, 0], [0, 1, 0], [0, 0, 1]]), "init_cov: expected a symmetric"),
    ("noise_cov", torch.eye(2), "noise_cov of shape"), ("discount", 1.0, "discount=1.0"), ("discount", -0.1, "discount=-0.1"),
])
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
    lesson = Lesson(*random_lqr(torch.Generator().manual_seed(11), n=3, m=2, radius=0.9))
    one, two = (fit_critics(lesson, gradient_weight=1.0, seeds=2, steps=100) for _ in range(2))
    assert torch.equal(one, two) and one.shape == (2, 3, 3)
    assert (one[:, -1, 0] < one[:, 0, 0]).all()
