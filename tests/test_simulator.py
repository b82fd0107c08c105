"""The simulator as a function: it is the environment's own step, its differences are derivatives, and one can train with it."""

import numpy as np
import pytest
import torch

import mage_edu.agent as agent_module
from mage_edu import MAGEAgent, make_config
from mage_edu.agent import settle_compile
from mage_edu.engine.diagnostics import play
from mage_edu.engine.recorded import record, write_arrays
from mage_edu.engine.rounds import agent_update
from mage_edu.engine.simulator import (
    NEXT_OBS_FORMULAS,
    MuJoCoStep,
    SimulatedDynamics,
    action_jacobian,
    column_difference,
    state_jacobian,
)
from mage_edu.engine.steps import simulator_state
from mage_edu.engine.tasks import TASKS
from mage_edu.envs import ActionScale, make_env
from mage_edu.replay import ReplayBuffer
from mage_edu.targets import TargetNoise, draw_actor_noise, draw_noise, target_and_action_gradient
from mage_edu.updates import actor_gradients, actor_loss, critic_target

SMALL = dict(
    size="tiny",
    seed=0,
    warmup_steps=40,
    eval_interval=60,
    eval_episodes=1,
    log_interval=30,
    checkpoint_interval=50,
    batch_size=16,
)


def random_steps(name, steps=60, seed=0, **arguments):
    """The dynamics, states, actions in [-1, 1], next observations and next states of random play, in float64."""
    env = make_env(name, **arguments)
    env.action_space.seed(seed)
    env.reset(seed=seed)
    dynamics, rows, scale = SimulatedDynamics(env), [], ActionScale.of(env.action_space)
    for _ in range(steps):
        state, action = dynamics.state_of(env), env.action_space.sample()
        next_obs, _, terminated, truncated, _ = env.step(action)
        rows.append((state, action, next_obs, dynamics.state_of(env)))
        if terminated or truncated:
            env.reset()
    state, action, next_obs, next_state = (torch.as_tensor(np.array(column, dtype=np.float64)) for column in zip(*rows))
    return dynamics, state, scale.to_actor(action), next_obs, next_state


@pytest.mark.parametrize(
    "name", [name for name in TASKS if not name.startswith("mage_edu/")]
)  # probe worlds have no simulator
def test_from_a_stored_state_the_simulator_makes_the_environments_step(name):
    dynamics, state, action, next_obs, next_state = random_steps(name, 200)
    again, after = dynamics.transition(state, action)
    assert (again - next_obs).abs().max() < (
        1e-6 if name in NEXT_OBS_FORMULAS else 1e-9
    )  # the formulas' environments show float32
    assert (after - next_state).abs().max() < (
        1e-7 if name in NEXT_OBS_FORMULAS else 1e-9
    ) and dynamics.state_dim == state.shape[1]


@pytest.mark.parametrize("name, arguments", [("Pendulum-v1", {"g": 3.7}), ("HalfCheetah-v5", {"frame_skip": 2})])
def test_the_map_is_that_of_the_environment_with_its_arguments(name, arguments):
    dynamics, state, action, next_obs, _ = random_steps(name, **arguments)
    assert torch.allclose(dynamics.transition(state, action)[0], next_obs, atol=1e-5)
    assert not torch.allclose(SimulatedDynamics(make_env(name)).transition(state, action)[0], next_obs, atol=1e-3)


def test_what_a_state_holds_beside_positions_and_velocities_is_needed():
    dynamics, state, action, next_obs, _ = random_steps("Humanoid-v5", 400)
    error = lambda state: (dynamics.transition(state, action)[0] - next_obs).abs()
    cold, shifted = state.clone(), state.clone()
    cold[:, dynamics.step.smooth :] = 0.0
    shifted[:, dynamics.step.physics : dynamics.step.smooth] += 0.01
    assert error(state).max() < 1e-9 and error(cold).max() > 1e-8
    assert (
        torch.allclose(error(shifted)[:, 0], torch.tensor(0.01 / 0.015, dtype=torch.float64))
        and error(shifted)[:, 1:].max() < 1e-9
    )


@pytest.mark.parametrize("name", ["HalfCheetah-v5", "Ant-v5", "Pusher-v5"])
def test_the_map_forgets_what_it_was_asked_before(name):
    dynamics, state, action, *_ = random_steps(name, 20)
    for forward, backward in zip(
        dynamics.transition(state, action), dynamics.transition(state.flip(0), action.flip(0))
    ):
        assert torch.equal(forward, backward.flip(0))


def test_the_environment_of_the_map_is_not_the_one_it_was_made_of():
    env = make_env("InvertedPendulum-v5")
    env.reset(seed=0)
    dynamics, before = SimulatedDynamics(env), env.unwrapped.data.qpos.copy()
    dynamics.transition(torch.as_tensor(dynamics.state_of(env))[None], torch.ones(1, 1))
    assert np.array_equal(env.unwrapped.data.qpos, before)


def test_a_task_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="MountainCarContinuous-v0.*Known: Pendulum-v1.*Walker2d-v5"):
        SimulatedDynamics(make_env("MountainCarContinuous-v0"))
    with pytest.raises(ValueError, match="Walker2d-v5.*its own state"):
        SimulatedDynamics(make_env("Walker2d-v5")).sample(torch.zeros(1, 18), torch.zeros(1, 6))


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


@pytest.mark.parametrize(
    "name", ["Pendulum-v1", "InvertedPendulum-v5", "Reacher-v5", "HalfCheetah-v5", "Walker2d-v5", "Pusher-v5", "Ant-v5"]
)
def test_autograd_through_two_steps_agrees_with_differences(name):
    dynamics, state, action, next_obs, _ = random_steps(name, 4)
    action, weights = 0.9 * action, torch.linspace(-0.1, 0.1, next_obs.shape[1], dtype=torch.float64)
    number = lambda a: torch.tanh(dynamics.transition(dynamics.transition(state, a)[1], a)[0] @ weights)
    (gradient,) = torch.autograd.grad(number(action.requires_grad_()).sum(), action)
    with torch.no_grad():
        differences = action_jacobian(lambda s, a: number(a)[:, None], state, action, 1e-5)[:, 0]
    assert torch.allclose(gradient, differences, rtol=1e-5, atol=1e-6 * differences.norm())


def test_the_jacobians_are_those_of_mujoco_itself():
    import mujoco

    dynamics, state, action, _, _ = random_steps(
        "InvertedPendulum-v5", 5, frame_skip=1
    )  # one substep: what mjd_transitionFD differentiates
    model, data = dynamics.step.env.unwrapped.model, mujoco.MjData(dynamics.step.env.unwrapped.model)
    model.opt.integrator = mujoco.mjtIntegrator.mjINT_EULER  # which it asks for
    f, scale = lambda s, a: dynamics.unit_step(s, a)[1][:, :4], dynamics.scale
    by_state, by_action = state_jacobian(f, state, 0.9 * action, 4), action_jacobian(f, state, 0.9 * action)
    for s, a, ours_s, ours_a in zip(state, scale.to_env(0.9 * action), by_state, by_action):
        data.qpos[:], data.qvel[:], data.ctrl[:] = s[:2], s[2:4], a
        theirs_s, theirs_a = np.zeros((4, 4)), np.zeros((4, 1))
        mujoco.mjd_transitionFD(model, data, 1e-6, True, theirs_s, theirs_a, None, None)
        assert np.allclose(ours_s, theirs_s, atol=1e-7) and np.allclose(
            ours_a, 3.0 * theirs_a, atol=1e-7
        )  # 3 N for 1 of the actor's units


def test_the_graph_takes_float32_and_asks_for_no_more_than_it_needs(monkeypatch):
    dynamics, state, action, *_ = random_steps("HalfCheetah-v5", 3)
    one, calls = dynamics.step.one, []
    monkeypatch.setattr(dynamics.step, "one", lambda s, a: calls.append(1) or one(s, a))
    action = action.float().requires_grad_()
    next_obs, next_state = dynamics.transition(state, action)
    assert next_obs.dtype == torch.float32 and next_state.dtype == torch.float64 and len(calls) == 3
    next_obs.sum().backward()
    assert (
        action.grad.dtype == torch.float32 and len(calls) == 3 + 3 * 2 * 6
    )  # two steps for each component of the action


def test_what_the_next_observation_does_not_depend_on_has_no_derivative():
    dynamics, state, action, *_ = random_steps("HalfCheetah-v5", 3)
    by_state = state_jacobian(lambda s, a: dynamics.unit_step(s, a)[0], state, action, 18)
    assert (
        by_state[:, :, 0].abs().max() < 1e-7 and by_state[:, :, 1].abs().max() > 0.1
    )  # the place along the track; the torso's height
    state.requires_grad_()
    (gradient,) = torch.autograd.grad(dynamics.transition(state, action)[0].sum(), state)
    assert not gradient[:, 18:].any() and gradient[:, 1:18].any()  # none in the warm start


def learner_after(name, algorithm, steps=60, **settings):
    """A learner that has played for some steps with the simulator as its model."""
    return MAGEAgent(name, algorithm, model="simulator", **(SMALL | settings)).learn(steps).learner


@pytest.mark.parametrize("name", ["Walker2d-v5", "Pusher-v5", "Pendulum-v1"])
def test_the_replay_holds_the_states_in_which_its_observations_were_seen(name):
    learner = learner_after(name, "mage", warmup_steps=60)
    batch = learner.replay.sample(200)
    next_obs, next_state = learner.world.dynamics.transition(batch.state, batch.action.double())
    assert torch.allclose(next_obs, batch.next_obs.double(), atol=1e-4, rtol=1e-4)  # actions are stored in float32
    assert torch.allclose(next_state[:, :3], batch.next_state[:, :3], atol=1e-4) and batch.state.dtype == torch.float64
    plain = MAGEAgent(name, "mage", **SMALL).learner.replay
    assert type(plain) is ReplayBuffer and len(plain.columns) == 5


@pytest.mark.parametrize(
    "name, algorithm",
    [("Walker2d-v5", "mage"), ("Walker2d-v5", "mage-k"), ("Pusher-v5", "mage-k"), ("InvertedPendulum-v5", "mage-mix")],
)
def test_the_targets_gradient_agrees_with_differences(name, algorithm):
    learner = learner_after(name, algorithm, target_noise=0.0, warmup_steps=60)
    config, batch = learner.config, learner.replay.sample(6)
    networks = [network.double() for network in (learner.target_actor, learner.target_critic)]
    noise = TargetNoise(
        *(
            x.double()
            for x in draw_noise(config, *batch.obs.shape, batch.action.shape[1], torch.Generator().manual_seed(0))
        )
    )
    obs, action = batch.obs.double(), 0.9 * batch.action.double()
    target = lambda a: target_and_action_gradient(config, learner.world.started_at(batch), *networks, obs, a, noise)
    differences = action_jacobian(lambda s, a: target(a)[0].value[:, None], obs, action, 1e-5)[:, 0]
    assert torch.allclose(target(action)[1], differences, rtol=1e-3, atol=1e-5 * differences.norm())


def test_a_k_step_target_pays_what_the_real_environment_pays():
    learner = learner_after("Walker2d-v5", "mve-td3", horizon=4, target_noise=0.0, warmup_steps=60)
    config, env = learner.config, make_env("Walker2d-v5")
    policy = lambda obs: learner.target_actor(torch.as_tensor(obs, dtype=torch.float32)[None])[0]
    obs, rows = env.reset(seed=5)[0], []
    for _ in range(4):  # a first step, then three of the target policy
        states = simulator_state(learner, env)
        action = policy(obs).detach() if rows else torch.full((6,), 0.5)
        next_obs, reward, terminated, *_ = env.step(action.numpy())
        rows.append((obs, action, reward, next_obs, terminated, *states, *simulator_state(learner, env)))
        obs = next_obs
    for row in rows[:1] * 8:
        learner.replay.add(*row)
    batch = learner.replay.sample(1)._replace(
        **{name: column[learner.replay.added - 1][None] for name, column in learner.replay.columns.items()}
    )
    noise = draw_noise(config, 1, *batch.obs.shape[1:], 6, torch.Generator().manual_seed(0))
    target = critic_target(
        config, learner.world, learner.actor, learner.target_actor, learner.target_critic, batch, noise
    )
    last = torch.as_tensor(obs, dtype=torch.float32)[None]
    paid = sum(config.discount**i * row[2] for i, row in enumerate(rows))
    expected = paid + config.discount**4 * learner.target_critic(last, learner.target_actor(last)).amin()
    assert not any(row[4] for row in rows) and torch.allclose(target.value, expected.float(), rtol=1e-4)


@pytest.mark.parametrize("algorithm", ["maac", "ivg"])
def test_an_actor_that_looks_ahead_climbs_through_the_simulator(algorithm):
    learner = learner_after("HalfCheetah-v5", algorithm, warmup_steps=60)
    batch, config = learner.replay.sample(4), learner.config
    actor, critic = learner.actor.double(), learner.critic.double()
    noise = draw_actor_noise(config, *batch.obs.shape, torch.Generator()).double()
    arguments = lambda: (
        config,
        learner.world.started_at(batch),
        actor,
        critic,
        batch.obs.double(),
        noise,
    )  # a rollout is started once
    obs, state, paid, objectives = batch.obs.double(), batch.state, 0.0, []
    with torch.no_grad():
        for i in range(config.actor_horizon):
            action = actor(obs)
            next_obs, state = learner.world.dynamics.transition(state, action)
            paid, obs = paid + config.discount**i * learner.world.reward_fn(obs, action, next_obs), next_obs
            objectives.append(paid + config.discount ** (i + 1) * critic.minimum(obs, actor(obs)))
        expected = torch.stack(objectives if algorithm == "ivg" else objectives[-1:]).mean()
        assert (
            not learner.world.termination_fn(obs, action, obs).any() and abs(actor_loss(*arguments()) + expected) < 1e-9
        )
    gradient, weight = actor_gradients(*arguments())[1][1], list(actor.parameters())[1]
    index, values = np.unravel_index(int(gradient.abs().argmax()), gradient.shape), []
    with torch.no_grad():
        for h in (1e-5, -1e-5):
            weight[index] += h
            values.append(actor_loss(*arguments()).item())
            weight[index] -= h
    assert abs(gradient[index].item() - (values[0] - values[1]) / 2e-5) < 1e-4 * abs(gradient[index].item())


@pytest.mark.parametrize(
    "name, algorithm",
    [
        ("Pendulum-v1", "mage"),
        ("InvertedPendulum-v5", "mage"),
        ("InvertedPendulum-v5", "mve-td3"),
        ("Walker2d-v5", "maac"),
    ],
)
def test_training_with_the_simulator_as_the_model(tmp_path, name, algorithm):
    settings = SMALL | dict(model="simulator", batch_size=4 if name == "Walker2d-v5" else 16)
    agent = MAGEAgent(name, algorithm, out=tmp_path / "run", **settings).learn(60)
    assert agent.learner.updates > 0 and agent.learner.dynamics_rounds == 0 and agent.learner.graphs is None
    again = MAGEAgent(name, algorithm, out=tmp_path / "again", **settings).learn(50)
    again = MAGEAgent.load(tmp_path / "again").learn(10, reset_num_timesteps=False)
    for part in ("metrics.csv", "evaluations.csv", "agent/weights.safetensors"):
        assert (tmp_path / "run" / part).read_bytes() == (tmp_path / "again" / part).read_bytes()
    assert all(
        torch.equal(ours, theirs)
        for ours, theirs in zip(agent.learner.replay.columns.values(), again.learner.replay.columns.values())
    )


def test_a_learned_model_knows_nothing_of_states(monkeypatch):
    monkeypatch.setattr(MuJoCoStep, "state_of", None)
    learner = MAGEAgent("Walker2d-v5", "mage-k", **SMALL).learn(50).learner
    assert not hasattr(learner.replay.sample(4), "state") and agent_update(learner)


def test_an_environment_that_is_not_the_simulators_is_noticed():
    agent = MAGEAgent("HalfCheetah-v5", "mage", model="simulator", reward="learned", **SMALL)
    agent.env.unwrapped.model.opt.gravity[2] = -3.0
    with pytest.raises(ValueError, match="put into the same state"):
        agent.learn(20)


def test_what_the_simulator_cannot_do_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="compile=True with model='simulator'"):
        MAGEAgent("Pendulum-v1", out=tmp_path / "run", model="simulator", compile=True)
    with pytest.raises(ValueError, match="MountainCarContinuous-v0"):
        MAGEAgent("MountainCarContinuous-v0", out=tmp_path / "run", model="simulator")
    write_arrays(tmp_path / "rows.npz", record(make_env("Pendulum-v1"), 50, seed=0))
    with pytest.raises(ValueError, match="do not hold the simulator's states"):
        MAGEAgent("Pendulum-v1", out=tmp_path / "run", model="simulator", data=tmp_path / "rows.npz")
    assert not (tmp_path / "run").exists()


def test_a_run_with_the_simulator_can_be_diagnosed_where_observations_hide_something():
    row = MAGEAgent("Walker2d-v5", "maac", model="simulator", **SMALL).learn(40).diagnose(states=4, horizon=5)
    assert all(np.isfinite(value) for value in row.values()) and "model_error" not in row
    dynamics, env = SimulatedDynamics(make_env("Walker2d-v5")), make_env("Walker2d-v5")
    (episode,) = play(
        env,
        lambda obs: torch.zeros(1, 6, dtype=torch.float64),
        ActionScale.of(env.action_space),
        0.3,
        1,
        30,
        0,
        dynamics.state_of,
    )
    again, after = dynamics.transition(episode.state[:-1], episode.action)
    assert (again - episode.obs[1:]).abs().max() < 1e-5 and (after - episode.state[1:])[
        :, :18
    ].abs().max() < 1e-5  # actions are played in float32


def test_an_ensembles_batch_need_not_divide_where_there_is_no_ensemble():
    assert make_config("mage", "tiny", members=7, batch_size=64, model="simulator").uses_model
    assert not make_config("mage", "tiny", model="simulator").learns_model and make_config("mage", "tiny").learns_model


def test_where_nothing_is_simulated_the_simulator_is_no_reason_not_to_compile(monkeypatch):
    monkeypatch.setattr(agent_module, "compile_learner", lambda learner: True)
    agent = MAGEAgent("Pendulum-v1", "td3", model="simulator", compile=True, **SMALL)
    settle_compile(agent, 10)
    assert agent.compile is True
    agent = MAGEAgent("Pendulum-v1", "mage", model="simulator", **SMALL)
    settle_compile(agent, 10**6)
    assert agent.compile is False
