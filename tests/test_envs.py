"""Rewards and terminations agree with Gymnasium on 10,000 transitions of each task; what would break them is refused."""

import inspect
import subprocess
import sys
import types
from functools import cache

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec

from mage_edu import MAGEAgent
from mage_edu.engine import environments
from mage_edu.engine.environments import arguments_of, is_remakeable, time_limit
from mage_edu.engine.steps import in_env_units
from mage_edu.engine.tasks import TASKS
from mage_edu.engine.worlds import OneWorld
from mage_edu.envs import TASKS as LESSON_TASKS
from mage_edu.envs import ActionScale, PrependVelocity, make_env, reward_fn, termination_fn

STEPS = 10_000


@cache
def transitions(env_id):
    """10,000 transitions under random actions, over several episodes, in float64.

    The obs of Pendulum-v1 come twice: as observed (float32) and computed from the simulator's float64 state.
    """
    env = make_env(env_id)
    env.action_space.seed(11)
    obs, _ = env.reset(seed=11)
    rows = []
    for _ in range(STEPS):
        exact = pendulum_obs(env) if env_id == "Pendulum-v1" else obs
        action = env.action_space.sample()
        next_obs, reward, terminated, truncated, _ = env.step(action)
        rows.append((obs, exact, action, reward, next_obs, terminated, truncated))
        obs = env.reset()[0] if terminated or truncated else next_obs
    env.close()
    names = ("obs", "exact_obs", "action", "reward", "next_obs", "terminated", "truncated")
    data = {name: torch.as_tensor(np.array(column)) for name, column in zip(names, zip(*rows))}
    return {name: value if value.dtype == torch.bool else value.double() for name, value in data.items()}


def test_our_own_environment_keeps_gymnasiums_contract():
    from gymnasium.utils.env_checker import check_env

    check_env(gym.make("ContinuousCartPole-v0", render_mode="rgb_array").unwrapped)
    frames = gym.make("ContinuousCartPole-v0", render_mode="rgb_array")
    frames.reset(seed=0)
    assert frames.render().ndim == 3


def pendulum_obs(env):
    """The observation of Pendulum-v1 in float64, which Gymnasium rounds to float32."""
    angle, speed = env.unwrapped.state
    return np.array([np.cos(angle), np.sin(angle), speed])


def arguments(data, rows=slice(None)):
    """(obs, action, next_obs) of some rows."""
    return data["exact_obs"][rows], data["action"][rows], data["next_obs"][rows]


@pytest.mark.parametrize("env_id", TASKS)
def test_rewards_agree_to_1e_6(env_id):
    data = transitions(env_id)
    reward = reward_fn(env_id)(*arguments(data))
    assert reward.shape == (STEPS,) and reward.dtype == torch.float64
    assert (reward - data["reward"]).abs().max() < 1e-6
    assert data["terminated"].sum() + data["truncated"].sum() >= 5  # several episodes
    assert data["reward"].std() > 0 or env_id == "InvertedPendulum-v5"


def test_pendulum_reward_from_float32_observations():
    data = transitions("Pendulum-v1")
    error = (reward_fn("Pendulum-v1")(data["obs"], data["action"], data["next_obs"]) - data["reward"]).abs().max()
    assert 1e-9 < error < 1e-6  # 5e-7 measured: rounding of the angle and the speed
    assert (reward_fn("Pendulum-v1")(*arguments(data)) - data["reward"]).abs().max() < 1e-8  # from the exact states


EXTREME = [name for name in TASKS if name not in ("Pendulum-v1", "ContinuousCartPole-v0")]  # those with a MuJoCo state


@cache
def extreme_transitions(env_id):
    """2,000 single steps from states that were set directly: far from the initial one, at high speeds, under full actions."""
    env, rng = make_env(env_id), np.random.default_rng(17)
    simulator, rows = env.unwrapped, []
    for i in range(2_000):
        env.reset(seed=i)
        data = simulator.data
        qpos, qvel = data.qpos.copy(), data.qvel.copy()
        away = rng.choice([0.05, 0.3, 1.0])
        qpos += away * rng.uniform(-1.0, 1.0, qpos.shape)
        qvel += rng.choice([0.1, 3.0, 15.0]) * rng.uniform(-1.0, 1.0, qvel.shape)
        if env_id in ("Ant-v5", "Humanoid-v5"):
            qpos[3:7] /= np.linalg.norm(qpos[3:7])  # the orientation is a unit quaternion
        simulator.set_state(qpos, qvel)
        action = np.sign(rng.uniform(-1.0, 1.0, env.action_space.shape)) * env.action_space.high
        next_obs, reward, terminated, _, _ = env.step(action.astype(env.action_space.dtype))
        if np.isfinite(next_obs).all() and np.isfinite(reward):
            rows.append((action, reward, next_obs, terminated))
    env.close()
    action, reward, next_obs, terminated = (torch.as_tensor(np.array(column)) for column in zip(*rows))
    return action.double(), reward.double(), next_obs.double(), terminated


@pytest.mark.parametrize("env_id", EXTREME)
def test_formulas_agree_in_extreme_states(env_id):
    action, reward, next_obs, terminated = extreme_transitions(env_id)
    assert len(reward) > 1_900
    error = (reward_fn(env_id)(next_obs, action, next_obs) - reward).abs()
    assert (error <= 1e-6 + 1e-9 * reward.abs()).all(), (
        error.max()
    )  # contact forces in the millions leave fewer digits behind the point
    assert torch.equal(termination_fn(env_id)(next_obs, action, next_obs), terminated)
    if termination_fn(env_id).__name__ != "never":
        assert 100 < terminated.sum() < len(terminated) - 100  # both kinds occur


ARGUMENTS = {  # other values for every argument that a constructor takes and a formula or nobody reads
    "Pendulum-v1": dict(g=4.0),
    "ContinuousCartPole-v0": dict(),
    "InvertedPendulum-v5": dict(reset_noise_scale=0.05, frame_skip=3),
    "InvertedDoublePendulum-v5": dict(healthy_reward=3.0, reset_noise_scale=0.2, frame_skip=4),
    "Reacher-v5": dict(reward_dist_weight=2.0, reward_control_weight=0.3, frame_skip=3),
    "Pusher-v5": dict(reward_near_weight=0.1, reward_dist_weight=3.0, reward_control_weight=0.7),
    "Swimmer-v5": dict(forward_reward_weight=2.0, ctrl_cost_weight=0.05, frame_skip=2, reset_noise_scale=0.3),
    "Hopper-v5": dict(
        forward_reward_weight=2.0,
        ctrl_cost_weight=0.1,
        healthy_reward=3.0,
        healthy_state_range=(-8.0, 8.0),
        healthy_z_range=(1.0, 1.26),
        healthy_angle_range=(-0.1, 0.05),
        frame_skip=2,
        reset_noise_scale=0.01,
    ),
    "Walker2d-v5": dict(
        forward_reward_weight=0.5,
        ctrl_cost_weight=0.1,
        healthy_reward=3.0,
        healthy_z_range=(1.1, 1.3),
        healthy_angle_range=(-0.3, 0.2),
        reset_noise_scale=0.01,
    ),
    "HalfCheetah-v5": dict(forward_reward_weight=3.0, ctrl_cost_weight=0.7, frame_skip=3, reset_noise_scale=0.3),
    "Ant-v5": dict(
        forward_reward_weight=2.0,
        ctrl_cost_weight=0.1,
        contact_cost_weight=0.02,
        healthy_reward=4.0,
        healthy_z_range=(0.4, 0.8),
        contact_force_range=(-0.5, 2.0),
        frame_skip=4,
    ),
    "Humanoid-v5": dict(
        forward_reward_weight=2.0,
        ctrl_cost_weight=0.5,
        contact_cost_weight=1e-5,
        contact_cost_range=(0.1, 0.6),
        healthy_reward=1.0,
        healthy_z_range=(1.2, 1.5),
        reset_noise_scale=0.02,
    ),
}


def agrees_with_arguments(env_id, arguments):
    """2,000 random steps of an environment made with other arguments; the number of terminations."""
    env = make_env(env_id, **arguments)
    reward, termination = reward_fn(env), termination_fn(env)
    env.action_space.seed(3)
    obs, _ = env.reset(seed=3)
    ended = 0
    for _ in range(2_000):
        action = env.action_space.sample()
        next_obs, paid, terminated, truncated, _ = env.step(action)
        step = tuple(torch.as_tensor(np.asarray(x, dtype=np.float64)) for x in (obs, action, next_obs))
        assert abs(reward(*step).item() - paid) < 1e-6 * (1.0 + abs(paid)) and termination(*step).item() == terminated
        ended += terminated
        obs = env.reset()[0] if terminated or truncated else next_obs
    assert gym.make(env_id).unwrapped is not env.unwrapped and arguments_of(
        make_env(env_id, **arguments_of(env))
    ) == arguments_of(env)
    return ended


@pytest.mark.parametrize("env_id", TASKS)
def test_constructor_arguments_count(env_id):
    assert set(ARGUMENTS) == {name for name in TASKS if not name.startswith("mage_edu/")}  # probes join when imported
    ended = agrees_with_arguments(env_id, ARGUMENTS[env_id])
    if "terminate_when_unhealthy" in inspect.signature(termination_fn(env_id)).parameters:
        assert ended > 5
        assert agrees_with_arguments(env_id, ARGUMENTS[env_id] | {"terminate_when_unhealthy": False}) == 0


def test_weights_of_one_environment_do_not_reach_another():
    costly = make_env("HalfCheetah-v5", ctrl_cost_weight=10.0)
    obs, action = torch.zeros(18), torch.ones(6)
    assert reward_fn(costly)(obs, action, obs).item() == -60.0
    assert abs(reward_fn("HalfCheetah-v5")(obs, action, obs).item() + 0.6) < 1e-6


@pytest.mark.parametrize("env_id", TASKS)
def test_terminations_agree_exactly(env_id):
    data = transitions(env_id)
    terminated = termination_fn(env_id)(*arguments(data))
    assert terminated.dtype == torch.bool and torch.equal(terminated, data["terminated"])


@pytest.mark.parametrize("env_id, least", [("InvertedPendulum-v5", 1000), ("Hopper-v5", 300)])
def test_falls_occur_and_are_paid_as_such(env_id, least):
    data = transitions(env_id)
    fell = data["terminated"]
    assert least < fell.sum() < STEPS / 2
    assert not data["truncated"][fell].any()
    obs, action, next_obs = arguments(data)
    if env_id == "Hopper-v5":
        assert (next_obs[fell, 2].abs() >= 0.2).any()
        bonus = data["reward"] - next_obs[:, 0] + 1e-3 * action.square().sum(-1)
    else:
        assert (next_obs[fell, 1].abs() > 0.2).all()
        bonus = data["reward"]
    assert torch.allclose(bonus, 1.0 - fell.double(), atol=1e-6)


@pytest.mark.parametrize("env_id", ["Pendulum-v1", "HalfCheetah-v5"])
def test_a_time_limit_is_not_a_termination(env_id):
    data = transitions(env_id)
    assert data["truncated"].any() and not data["terminated"].any()
    assert not termination_fn(env_id)(*arguments(data, data["truncated"])).any()


def test_hopper_health_in_made_up_states():
    """Random actions only ever tip the hopper over; made-up states also make it too low."""
    env, rng = make_env("Hopper-v5"), np.random.default_rng(5)
    env.reset(seed=0)
    obs, unhealthy = [], []
    for _ in range(2000):
        qpos, qvel = rng.uniform(-0.3, 0.3, 6), rng.uniform(-99.0, 99.0, 6)
        qpos[1] = rng.uniform(0.4, 1.4)
        env.unwrapped.set_state(qpos, qvel)
        obs.append(np.append(0.0, env.unwrapped._get_obs()))
        unhealthy.append(not env.unwrapped.is_healthy)
    obs = torch.as_tensor(np.array(obs))
    assert ((obs[:, 1] <= 0.7) & (obs[:, 2].abs() < 0.2)).sum() > 100
    assert torch.equal(termination_fn(env)(obs, obs[:, :3], obs), torch.as_tensor(unhealthy))


@pytest.mark.parametrize("env_id, expected", [("InvertedPendulum-v5", [True] * 2), ("Hopper-v5", [True] * 2)])
def test_numbers_that_are_not_finite_terminate(env_id, expected):
    next_obs = transitions(env_id)["next_obs"][:1].clone()
    broken = torch.stack(
        [next_obs[0].where(torch.arange(next_obs.shape[1]) != 3, bad) for bad in (torch.nan, torch.inf)]
    )
    assert termination_fn(env_id)(broken, broken[:, :1], broken).tolist() == expected


@pytest.mark.parametrize("env_id", TASKS)
@pytest.mark.parametrize("look_up", [reward_fn, termination_fn])
def test_samples_do_not_depend_on_each_other(env_id, look_up):
    function, data = look_up(env_id), transitions(env_id)
    whole = function(*arguments(data))
    order = torch.randperm(STEPS, generator=torch.Generator().manual_seed(0))
    assert torch.equal(function(*arguments(data, order)), whole[order])
    parts = [function(*arguments(data, slice(start, start + 999))) for start in range(0, STEPS, 999)]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(torch.stack([function(*arguments(data, i)) for i in range(200)]), whole[:200])
    twice = [x[:600].reshape(20, 30, -1) for x in arguments(data)]
    assert torch.equal(function(*twice), whole[:600].reshape(20, 30))


@pytest.mark.parametrize("env_id", TASKS)
def test_reward_slopes_agree_with_finite_differences(env_id):
    """The slope along a random direction of (action, next_obs), away from the cliff of a termination."""
    data, generator = transitions(env_id), torch.Generator().manual_seed(1)
    rows = (~data["terminated"]).nonzero()[:200, 0]
    obs, action, next_obs = arguments(data, rows)
    along = [torch.randn(x.shape, generator=generator, dtype=torch.float64) for x in (action, next_obs)]
    _, slope = torch.func.jvp(lambda a, n: reward_fn(env_id)(obs, a, n), (action, next_obs), tuple(along))
    h = 1e-6
    up, down = (reward_fn(env_id)(obs, action + s * h * along[0], next_obs + s * h * along[1]) for s in (1, -1))
    assert torch.allclose(slope, (up - down) / (2 * h), atol=1e-7)


@pytest.mark.parametrize("env_id", ["Hopper-v5", "HalfCheetah-v5"])
def test_the_velocity_comes_first_and_is_zero_at_reset(env_id):
    env, plain = make_env(env_id), gym.make(env_id)
    (obs, _), (plain_obs, _) = env.reset(seed=3), plain.reset(seed=3)
    assert obs[0] == 0.0 and np.array_equal(obs[1:], plain_obs)
    assert env.observation_space.shape == (plain.observation_space.shape[0] + 1,)
    action = np.full(env.action_space.shape, 0.5, dtype=np.float32)
    for _ in range(5):
        obs, reward, *_ = env.step(action)
        plain_obs, plain_reward, _, _, info = plain.step(action)
        assert obs[0] == info["x_velocity"] != 0.0 and np.array_equal(obs[1:], plain_obs) and reward == plain_reward
        assert env.observation_space.contains(obs)
    assert env.reset(seed=4)[0][0] == 0.0


def test_make_env_takes_ids_and_environments():
    made = make_env(gym.make("HalfCheetah-v5"))
    assert isinstance(made, PrependVelocity) and make_env(made) is made
    pendulum = gym.make("Pendulum-v1")
    assert make_env(pendulum) is pendulum
    assert make_env("Pendulum-v1", render_mode="rgb_array").render_mode == "rgb_array"
    assert reward_fn(made) is reward_fn("HalfCheetah-v5") and termination_fn(made) is termination_fn("HalfCheetah-v5")
    again = gym.make(made.spec)  # the wrapper is part of the spec
    assert isinstance(again, PrependVelocity)


class NoSpec(gym.Env):
    """An environment that was never registered."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (3,))
    action_space = gym.spaces.Box(-1.0, 1.0, (1,))


BOX = gym.spaces.Box(-1.0, 1.0, (3,))


class Spaces(gym.Env):
    """An environment with these spaces, whose observations and rewards are drawn from them; it terminates now and then."""

    def __init__(self, obs=BOX, action=gym.spaces.Box(-1.0, 1.0, (1,)), ends=0.05):
        self.observation_space, self.action_space, self.ends = obs, action, ends
        self.actions = []

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.actions.append(action)
        return (
            self.observation_space.sample(),
            float(np.sum(action)),
            bool(self.np_random.random() < self.ends),
            False,
            {},
        )


ODD = {
    "one number": Spaces(gym.spaces.Box(-1.0, 1.0, (1,))),
    "348 numbers": Spaces(gym.spaces.Box(-1.0, 1.0, (348,), np.float64)),
    "a matrix": Spaces(gym.spaces.Box(-1.0, 1.0, (2, 3))),
    "a float64 of rank 3": Spaces(gym.spaces.Box(-1.0, 1.0, (2, 2, 3), np.float64)),
    "a scalar": Spaces(gym.spaces.Box(-1.0, 1.0, ())),
    "bytes": Spaces(gym.spaces.Box(0, 255, (4,), np.uint8)),
    "integers": Spaces(gym.spaces.Box(-5, 5, (4,), np.int32)),
    "half floats": Spaces(gym.spaces.Box(-1.0, 1.0, (4,), np.float16)),
    "a choice": Spaces(gym.spaces.Discrete(4)),
    "a dictionary": Spaces(gym.spaces.Dict(a=BOX, b=gym.spaces.Dict(c=BOX, d=gym.spaces.MultiBinary(2)))),
    "a tuple": Spaces(gym.spaces.Tuple([BOX, gym.spaces.Discrete(3)])),
    "asymmetric actions": Spaces(
        action=gym.spaces.Box(np.array([-1.9, 0.1], np.float32), np.array([0.3, 12.3], np.float32))
    ),  # -1.9 + 2.2 is above 0.3 in float32
    "float64 actions": Spaces(action=gym.spaces.Box(-0.1, 0.3, (2,), np.float64)),
    "actions of rank 2": Spaces(action=gym.spaces.Box(-1.0, 2.0, (2, 3))),
    "a scalar action": Spaces(action=gym.spaces.Box(-1.0, 2.0, ())),
    "integer actions": Spaces(action=gym.spaces.Box(-3, 8, (2,), np.int64)),
    "an action that cannot move": Spaces(
        action=gym.spaces.Box(np.array([-1.0, 2.0], np.float32), np.array([1.0, 2.0], np.float32))
    ),
}


@pytest.mark.parametrize("kind", ODD)
def test_any_continuous_control_environment_trains(kind, capsys):
    """A short run with everything learned, in spaces of every kind; the environment itself asserts that it gets actions of its space."""
    env = ODD[kind]
    agent = MAGEAgent(
        env,
        size="tiny",
        warmup_steps=30,
        dynamics_interval=10,
        dynamics_batches=2,
        eval_interval=40,
        eval_episodes=1,
        eval_max_steps=20,
        log_interval=20,
        actor_width=8,
        critic_width=8,
        dynamics_width=8,
        learned_width=8,
    )
    assert "reward and termination are learned" in capsys.readouterr().out
    agent.learn(50)
    seen = agent.get_env().observation_space
    assert (
        len(seen.shape) == 1
        and seen.dtype in (np.float32, np.float64)
        and agent.get_env().action_space.dtype == np.float32
    )
    obs, _ = agent.get_env().reset(seed=0)
    assert agent.get_env().action_space.contains(agent.predict(obs)[0]) and len(env.actions) >= 50
    if isinstance(env.observation_space, (gym.spaces.Dict, gym.spaces.Tuple)):
        plain = env.observation_space.sample()  # what the environment itself gives
        assert np.array_equal(
            agent.predict(plain)[0], agent.predict(gym.spaces.flatten(env.observation_space, plain))[0]
        )
        with pytest.raises(ValueError, match="expected one observation of"):
            agent.predict({"something": BOX.sample()})
    full = ActionScale.of(agent.get_env().action_space)
    for end in (-1.0, 1.0):  # the bounds themselves are reached, and never exceeded
        agent.get_env().step(in_env_units(full, torch.full(full.low.shape, end)))
    assert np.isfinite(agent.evaluate(1)).all()


def test_integers_are_subtracted_as_floats():
    env = make_env(Spaces(gym.spaces.Box(0, 255, (4,), np.uint8)))
    obs, _ = env.reset(seed=0)
    assert obs.dtype == np.float64 and (np.zeros(4) - obs <= 0).all()


class OwnWrapper(gym.Wrapper):
    """A wrapper of somebody's own."""


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: make_env("HalfCheetah-v55"), "unknown environment 'HalfCheetah-v55'. Did you mean 'HalfCheetah-v5'?"),
        (lambda: reward_fn("HalfCheetah-v4"), "Did you mean 'HalfCheetah-v5'?"),
        (
            lambda: reward_fn(make_env("MountainCarContinuous-v0")),
            "has no formulas here. Reward and termination can be learned",
        ),
        (lambda: make_env("nowhere:Robot-v0"), "the package 'nowhere' cannot be imported"),
        (lambda: make_env("gymnasium:Robot-v0"), "unknown environment 'gymnasium:Robot-v0'"),
        (lambda: make_env("Half Cheetah"), "Did you mean 'HalfCheetah-v5'?"),
        (lambda: reward_fn("Pendulum"), "Did you mean 'Pendulum-v1'?"),
        (
            lambda: make_env(gym.make("CartPole-v1")),
            "action space Discrete(2): expected a bounded Box (continuous actions)",
        ),
        (
            lambda: make_env("Hopper-v5", exclude_current_positions_from_observation=False),
            "with exclude_current_positions_from_observation",
        ),
        (lambda: make_env("Ant-v5", include_cfrc_ext_in_observation=False), "with include_cfrc_ext_in_observation"),
        (
            lambda: make_env(gym.make("Humanoid-v5", include_cvel_in_observation=False)),
            "with include_cvel_in_observation",
        ),
        (lambda: make_env("HalfCheetah-v5", xml_file="my.xml"), "with xml_file: the formulas are not known"),
        (lambda: make_env("HalfCheetah-v5", ctrl_cost_wieght=1.0), "with ctrl_cost_wieght"),
        (lambda: make_env("HalfCheetah-v5", xml_file="my.xml"), "reward='learned'"),
        (lambda: make_env("HalfCheetah-v5", learned=True, ctrl_cost_wieght=1.0), "it cannot be made (TypeError"),
        (lambda: make_env(gym.make("Hopper-v5"), render_mode="rgb_array"), "this environment is already made"),
        (lambda: reward_fn(make_env(OwnWrapper(gym.make("Hopper-v5")))), "wrapped in OwnWrapper"),
        (lambda: termination_fn(PrependVelocity(OwnWrapper(gym.make("Hopper-v5")))), "wrapped in OwnWrapper"),
        (lambda: reward_fn(gym.wrappers.ClipReward(gym.make("Hopper-v5"), -1, 1)), "wrapped in ClipReward"),
        (lambda: reward_fn(gym.wrappers.RescaleAction(gym.make("Hopper-v5"), -2, 2)), "wrapped in RescaleAction"),
        (lambda: reward_fn(NoSpec()), "NoSpec has no formulas here"),
        (lambda: make_env(Spaces(action=gym.spaces.Box(-np.inf, 1.0, (1,)))), "expected finite bounds"),
        (lambda: make_env(gym.wrappers.ClipAction(gym.make("Hopper-v5"))), "expected finite bounds"),
        (
            lambda: make_env(Spaces(action=gym.spaces.MultiDiscrete([2, 3]))),
            "expected a bounded Box (continuous actions)",
        ),
        (lambda: make_env(Spaces(gym.spaces.Box(0, 255, (8, 8, 3), np.uint8))), "not images"),
        (
            lambda: make_env(Spaces(gym.spaces.Dict(a=BOX, camera=gym.spaces.Box(0, 255, (8, 8, 3), np.uint8)))),
            "not images",
        ),
        (lambda: make_env(Spaces(gym.spaces.Sequence(BOX))), "that gymnasium can flatten"),
        (lambda: make_env(Spaces(gym.spaces.Box(-1, 1, (0,)))), "at least one number"),
        (lambda: make_env(None), "environment None: expected an id"),
    ],
)
def test_refusals(make, sentence):
    with pytest.raises(ValueError) as refusal:
        make()
    assert sentence in str(refusal.value)


def test_unknown_ids_never_reach_gymnasium(monkeypatch):
    def unexpected(*args, **kwargs):
        raise AssertionError("gymnasium was asked")

    monkeypatch.setattr(gym, "make", unexpected)
    with pytest.raises(ValueError, match="unknown environment"):
        make_env("CartPole-v77")


def test_arguments_without_formulas_are_possible_when_learned():
    env = make_env("Hopper-v5", learned=True, exclude_current_positions_from_observation=False)
    assert env.observation_space.shape == (13,)
    with pytest.raises(ValueError, match="with exclude_current_positions_from_observation"):
        reward_fn(env)
    with pytest.raises(ValueError, match="exclude_current_positions_from_observation.*reward='learned'"):
        MAGEAgent(env, size="tiny")
    with pytest.raises(ValueError, match="exclude_current_positions_from_observation.*reward='learned'"):
        MAGEAgent(env, size="tiny", reward="learned")  # the termination would still be the formula's
    assert MAGEAgent(env, size="tiny", reward="learned", termination="learned").learner.sources == {
        "reward": "learned",
        "termination": "learned",
    }


def test_a_wrapper_makes_an_environment_unknown(capsys):
    agent = MAGEAgent(gym.wrappers.TransformReward(gym.make("Pendulum-v1"), lambda reward: 10 * reward), size="tiny")
    assert agent.learner.sources["reward"] == "learned" and "wrapped in TransformReward" in capsys.readouterr().out
    recorded = MAGEAgent(gym.wrappers.RecordEpisodeStatistics(gym.make("Pendulum-v1")), size="tiny")
    assert recorded.learner.sources["reward"] == "known" and capsys.readouterr().out == ""
    assert MAGEAgent("MountainCarContinuous-v0", algorithm="td3", size="tiny").learner.sources["reward"] == "unused"
    with pytest.raises(ValueError, match="has no formulas here"):
        MAGEAgent("MountainCarContinuous-v0", size="tiny", reward="known")


def test_one_more_environment_like_it():
    limit = make_env("Pendulum-v1", max_episode_steps=7, g=4.0)
    again = OneWorld(limit, limit).make()
    assert time_limit(again) == 7 and again.unwrapped.g == 4.0 and is_remakeable(limit)
    ours = make_env(Spaces())
    copied = OneWorld(ours, ours).make()
    assert copied.unwrapped is not ours.unwrapped and not is_remakeable(ours)
    made = []

    class Pace(Spaces):  # observations come from a space, and with it from a random generator, of its own
        def __init__(self):
            super().__init__(gym.spaces.Box(-1.0, 1.0, (3,)))

    factory = lambda: made.append(1) or Pace()
    count = len(made) + 1
    OneWorld(factory, make_env(factory)).make()
    assert len(made) > count

    class Stubborn(Spaces):
        def __deepcopy__(self, memo):
            raise TypeError("no")

    with pytest.raises(ValueError, match="Pass a function that makes the whole world"):
        MAGEAgent(Stubborn(), size="tiny")
    assert MAGEAgent(lambda: Stubborn(gym.spaces.Box(-1.0, 1.0, (3,))), size="tiny").new_env().unwrapped is not None


@pytest.mark.parametrize("env_id", TASKS)
def test_action_scale_goes_to_the_bounds_and_back(env_id):
    space = make_env(env_id).action_space
    scale = ActionScale.of(space)
    ones = torch.ones(space.shape)
    assert np.array_equal(scale.to_env(ones).numpy(), space.high) and np.array_equal(
        scale.to_env(-ones).numpy(), space.low
    )
    action = torch.rand(100, *space.shape, generator=torch.Generator().manual_seed(2)) * 2 - 1
    assert torch.allclose(scale.to_actor(scale.to_env(action)), action, atol=1e-6)
    assert all(space.contains(a) for a in scale.to_env(action).numpy())


def test_an_action_that_cannot_move_is_no_nan_to_the_actor():
    scale = ActionScale(torch.tensor([-2.0, 0.5]), torch.tensor([2.0, 0.5]))
    assert scale.to_actor(torch.tensor([[1.0, 0.5]])).tolist() == [[0.5, 0.0]]
    assert scale.to_actor(torch.tensor([torch.nan, 0.5])).isnan().tolist() == [True, False]


@pytest.mark.parametrize("env_id", TASKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_formulas_keep_dtype_and_device(env_id, dtype):
    env = make_env(env_id)
    dims = env.observation_space.shape[0], env.action_space.shape[0]
    for device in ("cpu", "meta"):  # a tensor made on another device on the way would fail on the second
        obs, action = (torch.zeros(4, dim, dtype=dtype, device=device) for dim in dims)
        reward, terminated = reward_fn(env)(obs, action, obs), termination_fn(env)(obs, action, obs)
        assert (reward.dtype, reward.device.type, reward.shape) == (dtype, device, (4,))
        assert (terminated.dtype, terminated.device.type, terminated.shape) == (torch.bool, device, (4,))


def test_the_two_historical_bugs_are_caught():
    """Swimmer's control cost summed over the batch, and Humanoid with Ant's heights: the checks above notice both."""
    data = transitions("Swimmer-v5")
    summed = lambda obs, action, next_obs: next_obs[..., 0] - 1e-4 * action.square().sum()
    whole = summed(*arguments(data))
    parts = torch.cat([summed(*arguments(data, slice(start, start + 999))) for start in range(0, STEPS, 999)])
    assert not torch.allclose(parts, whole, atol=1e-3) and (whole - data["reward"]).abs().max() > 0.1
    data = transitions("Humanoid-v5")
    wrong = TASKS["Ant-v5"].termination_fn(*arguments(data))
    assert (wrong != data["terminated"]).double().mean() > 0.9


def test_a_fresh_process_knows_every_task_after_importing_the_lesson_alone():
    code = (
        "import sys; from mage_edu.envs import make_env, reward_fn; assert not any('mage_edu.engine' in name for name in sys.modules); "
        "assert make_env('Ant-v5').observation_space.shape == (106,) and reward_fn('Ant-v5').__name__ == 'ant_reward'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("env_id", LESSON_TASKS)
def test_the_lesson_makes_an_environment_as_the_engine_room_does(env_id):
    short, long = make_env(env_id), environments.make_env(env_id)
    assert str(short) == str(long) and np.array_equal(short.reset(seed=3)[0], long.reset(seed=3)[0])
    assert reward_fn(env_id) is reward_fn(short) is environments.reward_fn(env_id)
    assert termination_fn(env_id) is termination_fn(long) is environments.termination_fn(env_id)


def test_a_script_is_no_module_in_the_processes_that_it_begins_either(tmp_path, monkeypatch):
    """multiprocessing calls the script __mp_main__ there; no other process could import that name."""
    name = "Scripts" + "Own-v0"  # in two parts: this module must not look like the one that registers it
    (tmp_path / "script.py").write_text(f"gym.register('{name}', Own)")
    script = types.ModuleType("__mp_main__")
    script.__file__ = str(tmp_path / "script.py")
    monkeypatch.setitem(sys.modules, "__mp_main__", script)
    own = type("Own", (gym.Env,), {"__module__": "__mp_main__"})
    for entry in (own, "__mp_main__:Own", "__main__:Own"):
        assert environments.registering_module(EnvSpec(name, entry)) is None
