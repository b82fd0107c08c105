"""Training, evaluation, films, loaded and resumed agents act in one world, or the user is told by name what cannot be repeated."""

from __future__ import annotations

import functools
import re
import sys
import threading
import time
import types
import warnings

import gymnasium as gym
import numpy as np
import pytest

from mage_edu import MAGEAgent, cli
from mage_edu.engine.check import advised_discount, check
from mage_edu.engine.environments import EnvironmentFault, make_env, time_limit
from mage_edu.engine.storage import RunFolder
from mage_edu.engine.tasks import TASKS
from mage_edu.engine.worlds import (
    OneWorld,
    Recipe,
    belongings,
    copied,
    different,
    edited_paths,
    examine,
    first_difference,
    play_once,
    random_actions,
    shown,
)

QUICK = dict(
    algorithm="td3",
    size="tiny",
    warmup_steps=40,
    dynamics_interval=20,
    dynamics_batches=4,
    batch_size=16,
    log_interval=20,
    eval_interval=40,
    eval_episodes=1,
    eval_max_steps=50,
    checkpoint_interval=20,
    actor_width=16,
    critic_width=16,
    dynamics_width=16,
    learned_width=16,
)


def pendulum(steps: int = 30, **arguments) -> gym.Env:
    return gym.make("Pendulum-v1", max_episode_steps=steps, **arguments)


def said(asked, **settings) -> tuple[MAGEAgent, str]:
    """An agent, and what was warned of when it was made."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        agent = MAGEAgent(asked, **QUICK | settings)
    return agent, " ".join(str(one.message) for one in caught if str(one.message).startswith("environment"))


def same_play(a: gym.Env, b: gym.Env, steps: int = 40) -> str | None:
    """Where two environments part under one seed and the same actions."""
    actions = random_actions(a, 3, steps)
    return first_difference(play_once(a, 5, actions), play_once(b, 5, actions))


class Pushed(gym.Env):
    """A point that is pushed: small, without a time limit, never registered."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}
    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, mass: float = 1.0):
        self.mass, self.render_mode = mass, None

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1, 1, 2)
        return self.x.copy(), {}

    def step(self, action):
        self.x = self.x + 0.1 * np.array([self.x[1], float(action[0]) / self.mass])
        return self.x.copy(), -float(self.x[0] ** 2), False, False, {}

    def render(self):
        return np.full((16, 16, 3), int(self.mass), np.uint8)


# What keeps running statistics is refused, by the name of the wrapper and the attribute.


class OwnNormalizer(gym.ObservationWrapper):
    """Running statistics as people write them."""

    def __init__(self, env):
        super().__init__(env)
        self.mean, self.var, self.count = np.zeros(3), np.ones(3), 1e-4

    def observation(self, obs):
        self.count += 1
        delta = obs - self.mean
        self.mean = self.mean + delta / self.count
        self.var = self.var + (delta * (obs - self.mean) - self.var) / self.count
        return ((obs - self.mean) / np.sqrt(self.var + 1e-8)).astype(np.float32)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: gym.wrappers.NormalizeObservation(pendulum()), "NormalizeObservation.obs_rms"),
        (lambda: gym.wrappers.NormalizeReward(pendulum()), "NormalizeReward.return_rms"),
        (
            lambda: gym.wrappers.TimeAwareObservation(gym.wrappers.NormalizeObservation(pendulum())),
            "NormalizeObservation.obs_rms",
        ),
        (lambda: OwnNormalizer(pendulum()), "OwnNormalizer.mean"),
    ],
)
@pytest.mark.parametrize("as_function", [False, True])
def test_running_statistics_are_refused_by_name(make, named, as_function, tmp_path):
    with pytest.raises(ValueError, match=f"{named}.*running statistics") as refusal:
        MAGEAgent(make if as_function else make(), out=tmp_path / "run", **QUICK)
    assert "Leave the wrapper out" in str(refusal.value) and not (tmp_path / "run").exists()


def test_frozen_statistics_go_along(tmp_path):
    def frozen(steps):
        env = gym.wrappers.NormalizeObservation(pendulum())
        play_once(env, 1, random_actions(env, 1, steps))
        env.update_running_mean = False
        return env

    agent, text = said(frozen(20))
    assert text == "" and same_play(agent.get_env(), agent.new_env()) is None
    agent.save(tmp_path / "agent")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MAGEAgent.load(tmp_path / "agent", env=frozen(20))
    with pytest.warns(UserWarning, match="not the one that the agent was trained in.*NormalizeObservation.obs_rms"):
        MAGEAgent.load(tmp_path / "agent", env=frozen(5))


# What is remembered across episodes is said when the agent is made, by name.


class Curriculum(gym.Wrapper):
    """Every episode is judged more strictly than the one before."""

    level = 0

    def reset(self, **kwargs):
        self.level += 1
        return self.env.reset(**kwargs)

    def step(self, action):
        obs, reward, *rest = self.env.step(action)
        return obs, reward * (1.0 + 0.2 * self.level), *rest


class Promoted(gym.Wrapper):
    """A task that becomes harder when an episode ends: its level is an attribute of the environment inside."""

    def step(self, action):
        obs, reward, terminated, truncated, info = self.env.step(action)
        if terminated or truncated:
            self.unwrapped.max_torque *= 0.9
        return obs, reward, terminated, truncated, info


class Leftover(gym.Wrapper):
    """The motor is still warm from the last episode; the first observation does not show it."""

    left = 0.0

    def step(self, action):
        self.left = 0.9 * self.left + 0.1 * float(action[0])
        return self.env.step(action + 0.2 * self.left)


class Randomized(gym.Wrapper):
    """Another mass in each episode, from a generator of its own that no seed reaches."""

    def __init__(self, env):
        super().__init__(env)
        self.rng = np.random.default_rng(7)

    def reset(self, **kwargs):
        self.unwrapped.m = self.rng.uniform(0.5, 1.5)
        return self.env.reset(**kwargs)


class Delayed(gym.Wrapper):
    """Actions arrive one step late, across episodes too."""

    last = None

    def step(self, action):
        now, self.last = self.last, np.array(action)
        return self.env.step(np.zeros_like(action) if now is None else now)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Curriculum(pendulum()), "Curriculum.level"),
        (lambda: Promoted(pendulum()), "PendulumEnv.max_torque"),
        (lambda: Leftover(pendulum()), "Leftover.left"),
        (lambda: Randomized(pendulum()), "Randomized.rng"),
        (lambda: Delayed(pendulum()), "Delayed.last"),
    ],
)
@pytest.mark.parametrize("as_function", [False, True])
def test_memory_across_episodes_is_said_by_name(make, named, as_function):
    _, text = said(make if as_function else make())
    assert "remembers something across episodes" in text and named in text and "not bit for bit" in text


@pytest.mark.parametrize("make", [lambda: Curriculum(pendulum()), lambda: Leftover(pendulum())])
def test_a_resume_proves_the_rewards_of_the_episode_under_way(make, tmp_path):
    """Their observations agree where the last one is the only thing compared, or all do: the curriculum changes the reward alone."""
    with pytest.warns(UserWarning, match="remembers"):
        MAGEAgent(make(), out=tmp_path / "run", **QUICK).learn(80)
        agent = MAGEAgent.load(tmp_path / "run", env=make())
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"pays .* in step 1 instead of .*remembers earlier episodes"):
        agent.learn(40, reset_num_timesteps=False)
    assert {path: path.read_bytes() for path in before} == before


def test_a_resume_proves_the_ends_of_the_episode_under_way(tmp_path):
    MAGEAgent(Pushed(), out=tmp_path / "run", **QUICK).learn(60)
    agent = MAGEAgent.load(tmp_path / "run", env=Pushed())
    agent.other_world, agent.env = [], gym.wrappers.TimeLimit(agent.env, 25)  # past the first guard
    with pytest.raises(ValueError, match="ends after step 25, truncated"):
        agent.learn(20, reset_num_timesteps=False)


class Counting(gym.Wrapper):
    """Becomes harder after a thousand episodes, which no short check sees."""

    episodes = 0

    def reset(self, **kwargs):
        self.episodes += 1
        return self.env.reset(**kwargs)

    def step(self, action):
        obs, reward, *rest = self.env.step(action)
        return obs, reward * (2.0 if self.episodes > 1000 else 1.0), *rest


def test_counters_that_go_on_are_said():
    _, text = said(Counting(pendulum()))
    assert "counts on across episodes: Counting.episodes" in text and "remembers" not in text


class Seeded(gym.Wrapper):
    """Another mass of the torso in each episode, drawn as it should be: from the generator that reset seeds."""

    def reset(self, **kwargs):
        found = self.env.reset(**kwargs)
        self.unwrapped.model.body_mass[1] = 3.0 * self.np_random.uniform(0.5, 1.5)
        return found


class Drifting(gym.Wrapper):
    """Meant as the same, but each episode multiplies what the last one left."""

    def reset(self, **kwargs):
        found = self.env.reset(**kwargs)
        self.unwrapped.model.body_mass[1] *= self.np_random.uniform(0.5, 1.5)
        return found


@pytest.mark.parametrize("as_function", [False, True])
def test_randomized_physics_is_repeated_where_the_seed_determines_it(as_function):
    make = lambda: Seeded(gym.make("Hopper-v5"))
    agent, text = said(make if as_function else make())
    assert text == "" and same_play(agent.get_env(), agent.new_env()) is None
    make = lambda: Drifting(gym.make("Hopper-v5"))
    assert "remembers" in (text := said(make if as_function else make())[1]) and "HopperEnv.model.body_mass" in text


class Clocked(Pushed):
    """Knows the time, and holds a large table; neither moves it."""

    table = np.zeros((1_000, 1_000))

    def reset(self, seed=None, options=None):
        self.begun = time.time()
        return super().reset(seed=seed)


class Unreadable:
    """An object that answers every question by an error of its own."""

    def __getattr__(self, name):
        raise RuntimeError(f"no {name}")


class Crowded(Pushed):
    """Holds what cannot be read, what cannot be copied, itself, and half a million numbers."""

    def __init__(self):
        super().__init__()
        self.strange, self.lock, self.me, self.rows = (
            Unreadable(),
            threading.Lock(),
            self,
            [list(range(1_000)) for _ in range(500)],
        )


def test_odd_attributes_are_no_crash():
    begin = time.process_time()
    agent, text = said(Crowded)
    assert text == "" and agent.one_world.repeats and time.process_time() - begin < 3.0
    with pytest.raises(ValueError, match="cannot be copied for evaluation.*Pass a function"):
        MAGEAgent(Crowded(), **QUICK)


class Listing(gym.Wrapper):
    """Keeps a diary, which changes nothing."""

    def __init__(self, env):
        super().__init__(env)
        self.diary = []

    def step(self, action):
        self.diary.append(action)
        return self.env.step(action)


@pytest.mark.parametrize(
    "make",
    [
        pendulum,
        Pushed,
        Clocked,
        lambda: Listing(pendulum()),
        lambda: gym.wrappers.RecordEpisodeStatistics(pendulum()),
        lambda: gym.wrappers.FrameStackObservation(pendulum(), 3),
        lambda: gym.wrappers.TimeAwareObservation(pendulum()),
        lambda: gym.wrappers.RescaleAction(pendulum(), -1.0, 1.0),
        lambda: gym.wrappers.FlattenObservation(pendulum()),
        lambda: gym.wrappers.DelayObservation(pendulum(), 2),
        lambda: gym.wrappers.StickyAction(pendulum(), 0.3),
        lambda: gym.wrappers.ClipReward(pendulum(), -1.0, 0.0),
        lambda: gym.wrappers.TransformReward(pendulum(), lambda reward: 0.1 * reward),
        lambda: gym.make("MountainCarContinuous-v0"),
    ],
)
@pytest.mark.parametrize("as_function", [False, True])
def test_what_can_be_repeated_is_repeated_in_silence(make, as_function):
    agent, text = said(make if as_function else make())
    assert text == "" and agent.one_world.repeats
    assert same_play(agent.new_env(), agent.new_env()) is None and same_play(agent.get_env(), agent.new_env()) is None


class Restless(gym.ObservationWrapper):
    """Noise that no seed determines."""

    def observation(self, obs):
        return obs + np.random.normal(size=obs.shape).astype(np.float32) * 1e-3


def test_what_the_seed_does_not_determine_is_said():
    _, text = said(Restless(pendulum()))
    assert "not determined by its seed" in text and "number 0" in text and "self.np_random" in text


# Time limits, repeated actions.


class Repeated(gym.Wrapper):
    """Every action four times."""

    def step(self, action):
        total = 0.0
        for _ in range(4):
            obs, reward, terminated, truncated, info = self.env.step(action)
            total += reward
            if terminated or truncated:
                break
        return obs, total, terminated, truncated, info


@pytest.mark.parametrize(
    ("make", "steps"),
    [
        (lambda: gym.wrappers.TimeLimit(pendulum(20), 50), 20),
        (lambda: gym.wrappers.TimeLimit(pendulum(50), 20), 20),
        (lambda: gym.make("Pendulum-v1").unwrapped, None),
        (lambda: Repeated(pendulum(48)), 12),
        (lambda: gym.wrappers.TimeLimit(Repeated(pendulum(48)), 40), 12),
        (lambda: gym.wrappers.TimeLimit(Repeated(pendulum(200)), 9), 9),
    ],
)
def test_episodes_are_as_long_in_evaluation_and_in_a_loaded_agent(make, steps, tmp_path):
    def length(env):
        return len(play_once(env, 1, random_actions(env, 1, 300)).rewards)

    agent, text = said(make())
    assert text == "" and length(agent.get_env()) == length(agent.new_env()) == (steps or 300)
    assert length(agent.limited_env()) == (steps or QUICK["eval_max_steps"])
    agent.save(tmp_path / "agent")
    env = make() if agent.env_name.get("by_hand") else None
    assert length(MAGEAgent.load(tmp_path / "agent", env=env).new_env()) == (steps or 300)


# Copies that are no worlds of their own are refused.


class Simulator:
    """A simulator that all clients of one number share."""

    running: dict[int, list] = {}


class ByHandle(Pushed):
    """Holds a number, as of a client of a physics server; a copy holds the same number."""

    def __init__(self):
        super().__init__()
        self.client = 0

    x = property(
        lambda self: Simulator.running[self.client],
        lambda self, value: Simulator.running.__setitem__(self.client, value),
    )


class SharedByClass(Pushed):
    state = np.zeros(2)
    x = property(lambda self: self.state, lambda self, value: np.copyto(self.state, value))


class NeverCopied:
    """A simulator that gives itself in the place of a copy."""

    def __init__(self):
        self.x = np.zeros(2)

    def __deepcopy__(self, memo):
        return self


class Uncopied(Pushed):
    def __init__(self):
        super().__init__()
        self.simulator = NeverCopied()

    x = property(lambda self: self.simulator.x, lambda self, value: setattr(self.simulator, "x", value))


class Forgetful:
    """A simulator whose copy is another one."""

    def __init__(self, pull: float):
        self.pull = pull

    def __deepcopy__(self, memo):
        return Forgetful(1.0)


class Pulled(Pushed):
    def __init__(self):
        super().__init__()
        self.simulator = Forgetful(5.0)

    def step(self, action):
        obs, reward, *rest = super().step(action)
        return obs, reward * self.simulator.pull, *rest


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (ByHandle(), "are not apart"),
        (ByHandle, "are not apart"),
        (SharedByClass(), "are not apart"),
        (SharedByClass, "are not apart"),
        (Uncopied(), "are not apart"),
        (Pulled(), r"is another environment: the reward of step 1.*Pulled.simulator"),
        ((lambda env: lambda: env)(Pushed()), "gives the same environment again"),
    ],
)
def test_copies_that_are_no_worlds_of_their_own_are_refused(asked, sentence):
    with pytest.raises(ValueError, match=sentence):
        MAGEAgent(asked, **QUICK)


OUTSIDE = pendulum()  # an environment that a function finds among the names of its module


def looks_back(kind: str) -> gym.Env:
    """A wrapper with a function that looks at the environment it wraps."""
    env = OUTSIDE if kind == "global" else pendulum()
    inner = env.unwrapped
    if kind == "closure":
        return gym.wrappers.TransformReward(env, lambda reward: reward - abs(float(env.unwrapped.state[0])))
    if kind == "closure over the inside":
        return gym.wrappers.TransformReward(env, lambda reward: reward - abs(float(inner.state[1])))
    if kind == "global":
        return gym.wrappers.TransformReward(env, lambda reward: reward - abs(float(OUTSIDE.unwrapped.state[0])))
    if kind == "default":
        return gym.wrappers.TransformReward(env, lambda reward, env=env: reward - abs(float(env.unwrapped.state[0])))
    if kind == "observation":
        return gym.wrappers.TransformObservation(
            env, lambda obs: obs + np.float32(env.unwrapped.state[0]), env.observation_space
        )
    return gym.wrappers.TransformReward(env, lambda reward: reward / env.unwrapped.max_torque)


@pytest.mark.parametrize("kind", ["closure", "closure over the inside", "global", "default", "observation"])
def test_a_function_that_looks_at_the_training_environment_is_refused_and_named(kind):
    with pytest.raises(
        ValueError,
        match=r"Look at Transform(Reward|Observation)\.func \(which holds (env|inner|OUTSIDE|default 0)\).*Pass a function that makes the whole world",
    ):
        MAGEAgent(looks_back(kind), **QUICK)
    agent, text = said((lambda: looks_back(kind)) if kind != "global" else Pushed)
    assert text == "" and same_play(agent.get_env(), agent.new_env()) is None


def test_a_function_that_only_reads_a_constant_is_no_harm():
    agent, text = said(looks_back("constant"))
    assert text == "" and same_play(agent.get_env(), agent.new_env()) is None


def with_step_replaced(how: str) -> gym.Env:
    """A pendulum whose step was replaced after it was made: it pays one less."""
    env = pendulum()
    before = env.unwrapped.step

    def step(action):
        obs, reward, *rest = before(action)
        return obs, reward - 1.0, *rest

    def method(self, action):
        obs, reward, *rest = type(self).step(self, action)
        return obs, reward - 1.0, *rest

    env.unwrapped.step = step if how == "function" else types.MethodType(method, env.unwrapped)
    return env


def pays_twice(reward):
    return 2.0 * reward


class PaysBy(Pushed):
    """Pays what a function among its attributes says."""

    def __init__(self):
        super().__init__()
        self.pays = lambda reward: reward

    def step(self, action):
        obs, reward, *rest = super().step(action)
        return obs, self.pays(reward), *rest


def test_a_replaced_method_goes_along_or_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Look at PendulumEnv.step \(which holds before, which holds self\)"):
        MAGEAgent(with_step_replaced("function"), **QUICK)
    agent, text = said(with_step_replaced("method"))
    assert text == "" and agent.one_world.by_hand
    assert play_once(agent.new_env(), 1, np.zeros((1, 1), np.float32)).rewards[0] == (
        play_once(pendulum(), 1, np.zeros((1, 1), np.float32)).rewards[0] - 1.0
    )
    agent.save(tmp_path / "agent")
    with pytest.raises(ValueError, match="was made by hand"):
        MAGEAgent.load(tmp_path / "agent")
    with pytest.warns(UserWarning, match="other rewards"):
        MAGEAgent.load(tmp_path / "agent", env=pendulum())


def test_a_function_among_the_attributes_goes_along():
    gym.register("PaysBy-v0", PaysBy, max_episode_steps=20)
    try:
        for pays in (pays_twice, functools.partial(np.multiply, 2.0), lambda reward, times=2.0: times * reward):
            env = gym.make("PaysBy-v0")
            env.unwrapped.pays = pays
            agent, text = said(env)
            assert text == "" and agent.one_world.by_hand and same_play(env, agent.new_env()) is None
        assert not said(gym.make("PaysBy-v0"))[0].one_world.by_hand
    finally:
        gym.registry.pop("PaysBy-v0")


def test_environments_that_a_function_makes_different_are_said():
    masses = iter(range(1, 100))
    _, text = said(lambda: Pushed(mass=float(next(masses))))
    assert "each one that is made is another" in text and "Pushed.mass" in text


# Edited physics goes along.


def edited(kind: str) -> gym.Env:
    """An environment edited after gymnasium.make."""
    env = gym.make("Pendulum-v1" if kind == "pendulum" else "Hopper-v5")
    inner = env.unwrapped
    if kind == "pendulum":
        inner.m, inner.dt = 3.0, 0.02
        return env
    if kind in ("gravity", "wrapped gravity"):
        inner.model.opt.gravity[2] = -1.62
    elif kind == "timestep":
        inner.model.opt.timestep = 0.001
    elif kind == "mass":
        inner.model.body_mass[1] *= 2
    elif kind == "friction and gear":
        inner.model.geom_friction[:, 0], inner.model.actuator_gear[:, 0] = 0.3, 100.0
    elif kind == "damping":
        inner.model.dof_damping[3:] = 5.0
    elif kind == "frame skip":
        inner.frame_skip = 2
    return gym.wrappers.TimeAwareObservation(env) if kind == "wrapped gravity" else env


EDITED = {
    "pendulum": "PendulumEnv.m",
    "gravity": "HopperEnv.model.opt.gravity",
    "wrapped gravity": None,
    "timestep": "HopperEnv.model.opt.timestep",
    "mass": "HopperEnv.model.body_mass",
    "friction and gear": "HopperEnv.model.geom_friction",
    "damping": "HopperEnv.model.dof_damping",
    "frame skip": "HopperEnv.frame_skip",
}


@pytest.mark.parametrize("kind", EDITED)
@pytest.mark.parametrize("as_function", [False, True])
def test_edited_physics_goes_along(kind, as_function, tmp_path):
    asked = (lambda: edited(kind)) if as_function else edited(kind)
    agent, text = said(asked)
    plain = make_env(
        gym.wrappers.TimeAwareObservation(gym.make("Hopper-v5"))
        if kind == "wrapped gravity"
        else "Pendulum-v1"
        if kind == "pendulum"
        else "Hopper-v5"
    )
    for copy in (agent.new_env(), agent.limited_env(), agent.new_env(render_mode="rgb_array")):
        assert same_play(agent.get_env(), copy) is None and same_play(plain, copy) is not None
    assert text == "" and agent.new_env(render_mode="rgb_array").render_mode == "rgb_array"
    if EDITED[kind]:
        assert EDITED[kind] in edited_paths(agent.get_env(), make_env(agent.env_id))
    agent.save(tmp_path / "agent")
    with pytest.raises(ValueError, match="made by hand"):
        MAGEAgent.load(tmp_path / "agent")  # from the id alone it would be the unedited one
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = MAGEAgent.load(tmp_path / "agent", env=asked if as_function else edited(kind))
    assert (
        same_play(loaded.new_env(), edited(kind) if kind in ("pendulum", "wrapped gravity") else make_env(edited(kind)))
        is None
    )
    with pytest.warns(UserWarning, match="not the one that the agent was trained in"):
        MAGEAgent.load(tmp_path / "agent", env=plain)


def test_diagnostics_and_the_simulator_as_a_model_have_the_edited_physics():
    agent = MAGEAgent(edited("gravity"), **QUICK | dict(algorithm="mage", model="simulator"))
    agent.learn(45)  # the warm-up compares each step with the simulator's
    agent.env.reset(seed=3)
    before = agent.learner.world.dynamics.state_of(agent.env)
    action = np.array([0.3, -0.2, 0.5], np.float32)
    assert np.allclose(agent.learner.world.dynamics.step.one(before, action)[0], agent.env.step(action)[0])
    with pytest.raises(ValueError, match="PendulumEnv.dt, PendulumEnv.m changed"):
        MAGEAgent(edited("pendulum"), **QUICK).diagnose(states=4, horizon=4)


def test_a_run_is_not_continued_in_another_world(tmp_path):
    MAGEAgent(edited("gravity"), out=tmp_path / "run", **QUICK).learn(60)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.warns(UserWarning, match="other rewards|other observations"):
        agent = MAGEAgent.load(tmp_path / "run", env="Hopper-v5")
    with pytest.raises(ValueError, match="cannot be continued in another world"):
        agent.learn(20, reset_num_timesteps=False)
    assert {path: path.read_bytes() for path in before} == before
    assert (
        MAGEAgent.load(tmp_path / "run", env=edited("gravity")).learn(20, reset_num_timesteps=False).num_timesteps == 80
    )


@pytest.mark.parametrize("env", ["Pendulum-v1", "Hopper-v5"])
def test_an_environment_that_is_changed_later_is_said_and_followed(env):
    agent = MAGEAgent(env, **QUICK)
    if env == "Pendulum-v1":
        agent.get_env().unwrapped.m = 2.0
        changed = "PendulumEnv.m"
    else:
        agent.get_env().unwrapped.model.opt.gravity[2] = -5.0
        changed = "HopperEnv.model.opt.gravity"
    with pytest.warns(UserWarning, match=f"changed since the agent was made: {re.escape(changed)}"):
        copy = agent.new_env()
    assert same_play(agent.get_env(), copy) is None and agent.env_name["by_hand"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agent.evaluate(1)


def test_a_change_by_a_callback_reaches_the_evaluation():
    seen = []

    class Noted(Pushed):
        def step(self, action):
            seen.append(self.mass)
            return super().step(action)

    def heavier(agent, row):
        agent.get_env().unwrapped.mass = 1.0 + agent.num_timesteps // 40

    agent = MAGEAgent(Noted(), **QUICK)
    with pytest.warns(UserWarning, match="Noted.mass"):
        agent.learn(90, callback=heavier)
    agent.look()
    seen.clear()
    agent.evaluate(1)
    assert set(seen) == {3.0}


# The original, and what is measured.


@pytest.mark.parametrize(
    "make",
    [
        pendulum,
        Pushed,
        lambda: gym.make("Hopper-v5"),
        lambda: gym.wrappers.TimeAwareObservation(gym.make("Hopper-v5")),
        lambda: looks_back("constant"),
        lambda: Curriculum(pendulum()),
    ],
)
def test_making_an_agent_leaves_the_environment_where_it_was(make):
    def half(env):
        env.reset(seed=1)
        for action in random_actions(env, 1, 5):
            env.step(action)
        return env

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        used, untouched = half(make()), half(make())
        state = belongings(used)
        MAGEAgent(used, **QUICK)
        assert different(state, belongings(used)) == []
    action = random_actions(used, 2, 1)[0]
    (obs, reward, *ends, _), (same, equal, *alike, _) = used.step(action), untouched.step(action)
    assert np.array_equal(obs, same) and reward == equal and ends == alike


def test_recorders_film_no_evaluation(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "moviepy", types.ModuleType("moviepy"))  # nothing is written here

    class Counted(gym.wrappers.RecordEpisodeStatistics):
        pass

    film = gym.wrappers.RecordVideo(
        Counted(pendulum(10, render_mode="rgb_array")), str(tmp_path / "films"), episode_trigger=lambda episode: False
    )
    agent = MAGEAgent(film, **QUICK)
    kinds = [type(layer).__name__ for layer in (agent.new_env(), agent.new_env().env)]
    assert "RecordVideo" not in kinds and "Counted" in kinds


@pytest.mark.parametrize("env_id", TASKS)
def test_every_task_is_proved_in_less_than_a_second_of_the_processor(env_id):
    env = make_env(env_id)
    begin = time.process_time()
    world = OneWorld(gym.make(env_id), env)
    assert time.process_time() - begin < 1.0
    assert world.repeats and not world.by_hand and world.notices == []
    found = examine(Recipe(env_id), env)  # an id is trusted when an agent is made: here is why
    assert found.is_copy and not (found.memory or found.undetermined or found.unequal)
    assert shown(world.make()) == shown(env) and time_limit(world.make()) == time_limit(env)


def test_no_copy_opens_a_window_or_shares_one():
    env = pendulum(render_mode="rgb_array")
    env.reset(seed=0)
    env.render()
    env.unwrapped.render_mode = "human"  # as if it had a window
    agent, text = said(gym.wrappers.TimeAwareObservation(env))
    assert (
        text == ""
        and agent.new_env().render_mode is None
        and agent.new_env(render_mode="rgb_array").render_mode == "rgb_array"
    )
    assert (
        agent.new_env().unwrapped.screen is None
        and env.unwrapped.screen is not None
        and env.unwrapped.render_mode == "human"
    )


def test_a_copy_of_a_mujoco_task_has_its_model_and_its_place():
    env = gym.make("Walker2d-v5")
    env.reset(seed=1)
    env.unwrapped.model.body_mass[2] = 9.0
    twin = copied(env)
    assert different(belongings(env), belongings(twin)) == [] and twin.unwrapped.model is not env.unwrapped.model
    state = belongings(env)
    play_once(twin, 2, random_actions(twin, 2, 20))
    assert different(state, belongings(env)) == []


# Environments as people write them.


class Sloppy(Pushed):
    def __init__(self, manner=""):
        super().__init__()
        self.manner, self.t = manner, 0

    def seen(self):
        return {
            "obs list": self.x.tolist(),
            "obs tuple": tuple(self.x.tolist()),
            "obs (2, 1)": self.x[:, None].copy(),
            "obs None": None,
            "obs text": "x",
        }.get(self.manner, self.x.copy())

    def reset(self, seed=None, options=None):
        self.t = 0
        super().reset(seed=seed)
        return self.seen() if self.manner == "reset gives obs only" else (self.seen(), {})

    def step(self, action):
        _, reward, *_ = super().step(np.ravel(action))
        self.t += 1
        if self.manner == "writes into the action":
            action *= 0.0
        reward = {
            "reward (1,)": np.array([reward]),
            "reward ()": np.array(reward),
            "reward int": int(reward),
            "reward None": None,
            "reward nan": np.nan,
        }.get(self.manner, reward)
        truncated = {"truncated None": None, "truncated 0": int(self.t >= 20)}.get(self.manner, self.t >= 20)
        terminated = {"terminated array": np.array([False]), "terminated np.bool": np.bool_(False)}.get(
            self.manner, False
        )
        if self.manner == "old step":
            return self.seen(), reward, truncated, {}
        return self.seen(), reward, terminated, truncated, {}


WORKS = ("", "obs list", "obs tuple", "reward ()", "reward int", "terminated np.bool", "writes into the action")
TOLD = (
    "obs (2, 1)",
    "obs None",
    "obs text",
    "reward (1,)",
    "reward None",
    "reward nan",
    "truncated None",
    "truncated 0",
    "terminated array",
    "reset gives obs only",
    "old step",
)


@pytest.mark.parametrize("manner", WORKS)
def test_sloppy_environments_work_throughout(manner, tmp_path):
    agent = MAGEAgent(Sloppy(manner), out=tmp_path / "run", **QUICK).learn(60)
    agent.evaluate(1)
    agent.predict(agent.get_env().reset(seed=0)[0])
    agent.video(tmp_path / "film.mp4", steps=3)
    assert MAGEAgent.load(tmp_path / "run", env=Sloppy(manner)).learn(20, reset_num_timesteps=False).num_timesteps == 80


@pytest.mark.parametrize("manner", TOLD)
def test_or_the_first_step_says_what_is_wrong(manner):
    with pytest.raises(EnvironmentFault, match="step 0: .*expected|step 0: .*says|step 0: .*not finite"):
        MAGEAgent(Sloppy(manner), **QUICK).learn(1)


def test_run_folders_of_before_load(tmp_path):
    """An agent.json without the world's facts is loaded as before."""
    from mage_edu.engine.storage import read_sealed, write_sealed

    MAGEAgent("Pendulum-v1", out=tmp_path / "run", **QUICK).learn(45)
    path = RunFolder(tmp_path / "run").agent / "agent.json"
    content = {name: value for name, value in read_sealed(path).items() if name not in ("world", "sha256", "schema")}
    write_sealed(path, content)
    assert MAGEAgent.load(tmp_path / "run").learn(10, reset_num_timesteps=False).num_timesteps == 55


# The table of `mage-edu check`.


class Hidden(Curriculum):
    """Remembers, pays in thousands, and shows a number that never changes."""

    def step(self, action):
        obs, reward, *rest = super().step(action)
        return obs, 1000.0 * reward, *rest


def verdicts(asked, **arguments) -> dict[str, tuple[str, str]]:
    return {line.what: (line.verdict, line.words) for line in check(asked, **arguments)}


def test_the_table_of_a_good_environment(capsys):
    begin = time.process_time()
    assert cli.main(["check", "Pendulum-v1"]) == 0
    assert time.process_time() - begin < 10.0
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    assert len(rows) == 11 and set(rows) == {"good"}


def test_the_table_names_what_is_wrong(monkeypatch):
    table = verdicts(
        lambda: Hidden(
            gym.wrappers.TransformObservation(
                pendulum(), lambda obs: np.append(obs, np.float32(1.0)), gym.spaces.Box(-9.0, 9.0, (4,), np.float32)
            )
        )
    )
    assert (
        table["memory"][0] == table["bounds"][0] == table["rewards"][0] == "look"
        and table["copies"][0] == table["determinism"][0] == "good"
    )
    assert (
        "Hidden.level" in table["memory"][1]
        and "observation 3 never changed" in table["bounds"][1]
        and "near 1" in table["rewards"][1]
    )
    assert "explains" in table["reward"][1]
    weighed = gym.make("Hopper-v5")
    weighed.unwrapped._ctrl_cost_weight = 2.0
    reward = verdicts(weighed)["reward"]
    assert reward[0] == "bad" and "not the one its name stands for" in reward[1]


@pytest.mark.parametrize(
    ("asked", "line", "words"),
    [
        ("Pendulum-v77", "environment", "unknown environment"),
        (lambda: gym.wrappers.NormalizeReward(pendulum()), "one world", "return_rms"),
        (SharedByClass, "one world", "not apart"),
        (lambda: Sloppy("reward None"), "contract", "expected one number"),
        (lambda: Sloppy("old step"), "Gymnasium's check", "expected 5"),
        (lambda: gym.make("CartPole-v1"), "environment", "continuous actions"),
    ],
)
def test_the_table_of_what_cannot_be_used(asked, line, words):
    verdict, said = verdicts(asked)[line]
    assert verdict == "bad" and words in said


def test_what_the_environment_draws_beside_its_seed_is_in_the_table():
    assert verdicts(lambda: Restless(pendulum()))["determinism"][0] == "look"


@pytest.mark.parametrize(
    ("steps", "discount"), [(None, 0.99), (50, 0.95), (200, 0.95), (500, 0.98), (1000, 0.99), (20_000, 0.999)]
)
def test_the_advised_discount(steps, discount):
    assert advised_discount(steps) == discount
