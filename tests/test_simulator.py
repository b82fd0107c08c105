"""The simulator as a function: it is the environment's own step, its differences are derivatives, and one can train with it."""
import numpy as np
import pytest
import torch

from mage_edu import MAGEAgent, make_config
from mage_edu.envs import ActionScale, make_env
from mage_edu.simulator import FORMULAS, STATES, MuJoCoStep, SimulatedDynamics, action_jacobian, column_difference, obs_jacobian

SMALL = dict(size="tiny", seed=0, warmup_steps=40, eval_interval=60, eval_episodes=1, log_interval=30, checkpoint_interval=50, batch_size=16)


def random_steps(name, steps=60, seed=0, **arguments):
    """Observations, actions in [-1, 1] and next observations of random play, in float64."""
    env = make_env(name, **arguments)
    env.action_space.seed(seed)
    obs, rows, scale = env.reset(seed=seed)[0], [], ActionScale.of(env.action_space)
    for _ in range(steps):
        action = env.action_space.sample()
        next_obs, _, terminated, truncated, _ = env.step(action)
        rows.append((obs, action, next_obs))
        obs = env.reset()[0] if terminated or truncated else next_obs
    obs, action, next_obs = (torch.as_tensor(np.array(column, dtype=np.float64)) for column in zip(*rows))
    return env, obs, scale.to_actor(action), next_obs


@pytest.mark.parametrize("name", [*FORMULAS, *STATES])
def test_the_map_is_the_environments_step(name):
    env, obs, action, next_obs = random_steps(name)
    error = ((SimulatedDynamics(env).sample(obs, action) - next_obs) / (next_obs - obs).std(0).clamp_min(1e-3)).abs()
    first = 0 if name not in ("Ant-v5", "Humanoid-v5") else 1  # their displacement is measured from a place that is not observed
    assert error[:, first:].max() < (2e-4 if name in ("Humanoid-v5", *FORMULAS) else 1e-5)


@pytest.mark.parametrize("name, arguments", [("Pendulum-v1", {"g": 3.7}), ("HalfCheetah-v5", {"frame_skip": 2})])
def test_the_map_is_that_of_the_environment_with_its_arguments(name, arguments):
    env, obs, action, next_obs = random_steps(name, **arguments)
    assert torch.allclose(SimulatedDynamics(env).sample(obs, action), next_obs, atol=1e-5)
    assert not torch.allclose(SimulatedDynamics(make_env(name)).sample(obs, action), next_obs, atol=1e-3)


@pytest.mark.parametrize("name", ["Pusher-v5", "Walker2d-v5"])
def test_tasks_whose_observation_is_not_a_state_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}.*Known: InvertedPendulum-v5.*Pendulum-v1"):
        SimulatedDynamics(make_env(name))


@pytest.mark.parametrize("name", ["HalfCheetah-v5", "InvertedDoublePendulum-v5"])
def test_the_map_forgets_what_it_was_asked_before(name):
    env, obs, action, _ = random_steps(name, 20)
    step, scale = MuJoCoStep(name), ActionScale.of(env.action_space)
    forward, backward = step(obs, scale.to_env(action)), step(obs.flip(0), scale.to_env(action).flip(0)).flip(0)
    assert torch.equal(forward, backward)


def test_the_environment_of_the_map_is_not_the_one_it_was_made_of():
    env, obs, action, _ = random_steps("InvertedPendulum-v5", 5)
    before = env.unwrapped.data.qpos.copy()
    SimulatedDynamics(env).sample(obs, action)
    assert np.array_equal(env.unwrapped.data.qpos, before)


@pytest.mark.parametrize("of_action, column", [(True, 0), (False, 0), (False, 2)])
def test_differences_of_a_known_function(of_action, column):
    torch.manual_seed(0)
    A, B = torch.randn(3, 3, dtype=torch.float64), torch.randn(3, 1, dtype=torch.float64)
    f = lambda obs, action: torch.sin(obs @ A.T + action @ B.T)
    obs, action = torch.randn(5, 3, dtype=torch.float64), torch.rand(5, 1, dtype=torch.float64) - 0.5
    exact = torch.cos(obs @ A.T + action @ B.T) * (B if of_action else A)[:, column]
    assert torch.allclose(column_difference(f, obs, action, of_action, column, 1e-6), exact, atol=1e-9)


def test_differences_at_the_edge_stay_inside():
    inside = lambda obs, action: torch.where(action.abs() <= 1.0, 3.0 * action, torch.nan).expand(-1, 2)
    slopes = action_jacobian(inside, torch.zeros(3, 2), torch.tensor([[1.0], [-1.0], [0.9999]]).double(), 1e-3)
    assert torch.allclose(slopes, torch.full((3, 2, 1), 3.0).double())


@pytest.mark.parametrize("name", ["Pendulum-v1", "InvertedPendulum-v5", "Reacher-v5", "HalfCheetah-v5"])
def test_autograd_through_two_steps_agrees_with_differences(name):
    env, obs, action, _ = random_steps(name, 4)
    dynamics, action = SimulatedDynamics(env), 0.9 * action
    weights = torch.linspace(-0.1, 0.1, obs.shape[1], dtype=torch.float64)
    number = lambda a: torch.tanh(dynamics.sample(dynamics.sample(obs, a), a) @ weights)
    (gradient,) = torch.autograd.grad(number(action.requires_grad_()).sum(), action)
    with torch.no_grad():
        differences = action_jacobian(lambda o, a: number(a)[:, None], obs, action, 1e-5)[:, 0]
    assert torch.allclose(gradient, differences, rtol=1e-5, atol=1e-6 * differences.norm())


def test_the_graph_takes_float32_and_asks_for_no_more_than_it_needs(monkeypatch):
    env, obs, action, _ = random_steps("HalfCheetah-v5", 3)
    dynamics, calls = SimulatedDynamics(env), []
    one = dynamics.step.one
    monkeypatch.setattr(dynamics.step, "one", lambda o, a: calls.append(1) or one(o, a))
    action = action.float().requires_grad_()
    next_obs = dynamics.sample(obs.float(), action)
    assert next_obs.dtype == torch.float32 and len(calls) == 3
    next_obs.sum().backward()
    assert action.grad.dtype == torch.float32 and len(calls) == 3 + 3 * 2 * 6  # two steps for each component of the action


def test_obs_jacobian_leaves_out_what_the_next_state_does_not_depend_on():
    env, obs, action, _ = random_steps("HalfCheetah-v5", 3)
    assert not obs_jacobian(SimulatedDynamics(env).next_obs, obs, action)[:, :, 0].any()


@pytest.mark.parametrize("name, algorithm", [("Pendulum-v1", "mage"), ("InvertedPendulum-v5", "mage"), ("InvertedPendulum-v5", "mve-td3")])
def test_training_with_the_simulator_as_the_model(tmp_path, name, algorithm):
    agent = MAGEAgent(name, algorithm, out=tmp_path / "run", model="simulator", **SMALL).learn(60)
    assert agent.learner.updates > 0 and agent.learner.dynamics_rounds == 0 and not agent.learner.kernels.critic_target.__name__ == "call"
    again = MAGEAgent(name, algorithm, out=tmp_path / "again", model="simulator", **SMALL).learn(50)
    again = MAGEAgent.load(tmp_path / "again").learn(10, reset_num_timesteps=False)
    for part in ("metrics.csv", "evaluations.csv", "agent/weights.safetensors"):
        assert (tmp_path / "run" / part).read_bytes() == (tmp_path / "again" / part).read_bytes()


def test_what_the_simulator_cannot_do_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="compile=True with model='simulator'"):
        MAGEAgent("Pendulum-v1", out=tmp_path / "run", model="simulator", compile=True)
    with pytest.raises(ValueError, match="Walker2d-v5"):
        MAGEAgent("Walker2d-v5", out=tmp_path / "run", model="simulator")
    assert not (tmp_path / "run").exists()


def test_an_ensembles_batch_need_not_divide_where_there_is_no_ensemble():
    assert make_config("mage", "tiny", members=7, batch_size=64, model="simulator").uses_model
    assert not make_config("mage", "tiny", model="simulator").learns_model and make_config("mage", "tiny").learns_model
