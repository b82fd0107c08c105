"""Environments that misbehave: what they are told, and what is left of the run.

    python tests/torture/hostile.py            # all cases
    python tests/torture/hostile.py --only "nan in the observation"

Each case trains for some steps in a healthy environment, which then misbehaves once. Asked is that the run ends with a sentence that names the value
or the error, or goes on where nothing was wrong; that the folder holds every step before the fault, exactly as a run that was never disturbed has it
at that step; and that the run goes on from there in an environment that is healthy again.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

sys.path.insert(0, str(Path(__file__).resolve().parent))

import gymnasium as gym
import numpy as np
from prints import tensor_digest
from record import parser_of, record
from runs import SETTINGS, quick, scratch

from mage_edu import MAGEAgent
from mage_edu.engine.checkpoint import newest_checkpoint
from mage_edu.engine.environments import EnvironmentFault
from mage_edu.engine.storage import load_agent, read_table

AT, STEPS = 13, 20  # the step at which it misbehaves, and those of the whole run
MORE = dict(replay_capacity=50, learned_width=4, learned_layers=1, env_seconds=0.5)
ARMED: dict[int, Callable[..., Any]] = {}  # what an environment, by its id, does instead of its next step or reset


class Cart(gym.Env):
    """A point on a line; healthy unless it is armed."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,))

    def __init__(self, render_mode: str | None = None):
        self.render_mode, self.x, self.v, self.count = render_mode, 0.0, 0.0, 0

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.v, self.count = float(self.np_random.uniform(-1, 1)), 0.0, 0
        return np.array([self.x, self.v]), {}

    def step(self, action):
        self.count += 1
        self.v = 0.9 * self.v + 0.1 * float(action[0])
        self.x += 0.1 * self.v
        healthy = np.array([self.x, self.v]), -abs(self.x), False, self.count >= 6, {}
        return ARMED.pop(id(self))(self, *healthy) if id(self) in ARMED else healthy

    def render(self):
        return np.zeros((16, 16, 3), np.uint8)


class Unspeakable(Exception):
    """An error that cannot be told."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def raises(error: BaseException) -> Callable[..., Any]:
    """A step that fails."""

    def answer(*_: Any) -> Any:
        raise error

    return answer


def obs_is(value: Any) -> Callable[..., Any]:
    return lambda env, obs, *more: (value, *more)


def reward_is(value: Any) -> Callable[..., Any]:
    return lambda env, obs, reward, *more: (obs, value, *more)


def ends(terminated: Any, truncated: Any) -> Callable[..., Any]:
    return lambda env, obs, reward, _, __, info: (obs, reward, terminated, truncated, info)


def info_is(value: Any) -> Callable[..., Any]:
    return lambda env, obs, reward, terminated, truncated, info: (obs, reward, terminated, truncated, value)


def fails_in_reset(answer: Any, times: int = 2) -> Callable[..., Any]:
    """An episode that ends, and so many resets after it that fail."""

    def step(env: Cart, obs: np.ndarray, reward: float, terminated: bool, truncated: bool, info: dict) -> Any:
        left = times
        if not truncated:
            ARMED[id(env)] = step  # until the episode ends
            return obs, reward, terminated, truncated, info

        def reset(seed: int | None = None, options: dict | None = None) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                del env.reset
            if isinstance(answer, BaseException):
                raise answer
            if callable(answer):
                return answer(env)
            return answer

        env.reset = reset
        return obs, reward, terminated, truncated, info

    return step


def hangs(env: Cart, *_: Any) -> Any:
    """A step that never comes back, in code that catches everything."""
    while True:
        try:
            threading.Event().wait(60.0)
        except Exception:
            pass


def closed(env: Cart, *_: Any) -> Any:
    """A viewer that somebody closed in the middle of a step."""
    env.close()
    raise gym.error.Error("display Surface quit")


@dataclass(frozen=True)
class Case:
    """One way to misbehave, and what comes of it."""

    answer: Callable[..., Any]
    error: type[BaseException] | None  # None: nothing is wrong, and the run goes on
    says: tuple[str, ...] = ()  # what the sentence holds


FAULT = EnvironmentFault
CASES: dict[str, Case] = {
    "nan in the observation": Case(obs_is(np.array([np.nan, 0.0])), FAULT, ("nan", "not finite")),
    "infinity in the observation": Case(obs_is(np.array([0.0, np.inf])), FAULT, ("inf", "not finite")),
    "an observation beyond float32": Case(obs_is(np.array([1e300, 0.0])), FAULT, ("1.e+300", "float32")),
    "a longer observation": Case(obs_is(np.zeros(3)), FAULT, ("(3,)", "(2,)")),
    "an empty observation": Case(obs_is(np.zeros(0)), FAULT, ("(0,)", "(2,)")),
    "an observation of one number": Case(obs_is(1.0), FAULT, ("()", "(2,)")),
    "a ragged observation": Case(obs_is([[1.0], [2.0, 3.0]]), FAULT, ("observation",)),
    "an observation of words": Case(obs_is(np.array(["a", "b"])), FAULT, ("<U1",)),
    "a complex observation": Case(obs_is(np.array([1j, 0.0])), FAULT, ("complex",)),
    "no observation": Case(obs_is(None), FAULT, ("object",)),
    "another dtype": Case(obs_is(np.array([1, 0], np.int8)), None),
    "nan reward": Case(reward_is(float("nan")), FAULT, ("reward nan", "not finite")),
    "infinite reward": Case(reward_is(-np.inf), FAULT, ("reward -inf", "not finite")),
    "a reward beyond float32": Case(reward_is(1e39), FAULT, ("1e+39", "float32")),
    "a reward beyond any float": Case(reward_is(10**400), FAULT, ("reward 1000", "one number")),
    "two rewards": Case(reward_is(np.zeros(2)), FAULT, ("reward array", "one number")),
    "a reward in words": Case(reward_is("much"), FAULT, ("'much'", "one number")),
    "a complex reward": Case(reward_is(1j), FAULT, ("1j", "one number")),
    "no reward": Case(reward_is(None), FAULT, ("None", "one number")),
    "nan in the info": Case(info_is({"x": float("nan")}), None),
    "no info": Case(info_is(None), None),
    "terminated and truncated": Case(ends(True, True), None),
    "terminated perhaps": Case(ends(None, False), FAULT, ("terminated None", "True or False")),
    "truncated 0.5": Case(ends(False, 0.5), FAULT, ("truncated 0.5", "True or False")),
    "many flags": Case(ends(np.array([True, False]), False), FAULT, ("terminated array", "True or False")),
    "four things": Case(lambda env, *healthy: healthy[:4], FAULT, ("step returned", "truncated, info")),
    "nothing": Case(lambda *_: None, FAULT, ("step returned None",)),
    "an error in step": Case(raises(RuntimeError("contact lost")), FAULT, ("RuntimeError: contact lost",)),
    "an error without words": Case(raises(Unspeakable()), FAULT, ("Unspeakable",)),
    "an error of a million letters": Case(raises(ValueError("x" * 1_000_000)), FAULT, ("ValueError: xxx",)),
    "no memory in step": Case(raises(MemoryError("4 GiB")), FAULT, ("MemoryError: 4 GiB",)),
    "endless recursion": Case(raises(RecursionError("too deep")), FAULT, ("RecursionError",)),
    "a stopped iteration": Case(raises(StopIteration()), FAULT, ("StopIteration",)),
    "a closed viewer": Case(closed, FAULT, ("display Surface quit",)),
    "a step that hangs": Case(hangs, FAULT, ("has not come back after 0.5 s", "env_seconds")),
    "a reset that hangs": Case(fails_in_reset(hangs), FAULT, ("reset has not come back after 0.5 s",)),
    "an exit": Case(raises(SystemExit(3)), SystemExit, ("3",)),
    "an interrupt out of the environment": Case(raises(KeyboardInterrupt("by hand")), KeyboardInterrupt, ("by hand",)),
    "an error in one reset": Case(fails_in_reset(OSError("no port"), 1), None),
    "an error in reset": Case(fails_in_reset(OSError("no port")), FAULT, ("reset", "OSError: no port")),
    "a reset without info": Case(fails_in_reset(np.zeros(2)), FAULT, ("reset returned", "(observation, info)")),
    "a reset to nan": Case(fails_in_reset((np.array([np.nan, 0.0]), {})), FAULT, ("nan", "not finite")),
}  # fmt: skip


def new_agent(out: Path | None, make: Callable[[], gym.Env] = Cart) -> MAGEAgent:
    """A tiny agent in a cart."""
    return MAGEAgent(make(), out=out, **SETTINGS | MORE)


def state_of(run: Path) -> tuple[int, dict[str, str]]:
    """The step of the newest checkpoint, and digests of all of it but of the episode under way, which a fault ends, and of the noise of its last action."""
    state = newest_checkpoint(run / "checkpoint", [])[1].state
    episode = ("exploration_generator", "obs", "episode_actions", "episodes", "episode_return", "episode_length")
    found = {name: tensor_digest(tensor) for name, tensor in state.tensors.items() if name not in episode}
    found |= {f"rows.{name}": tensor_digest(rows[: state.rows.added]) for name, rows in state.rows.columns.items()}
    return state.step, found | {
        name: repr(value) for name, value in state.facts["numbers"].items() if name not in episode
    }


@functools.cache
def undisturbed(steps: int) -> tuple[int, dict[str, str]]:
    """A run of so many steps in a healthy environment."""
    with scratch() as at:
        new_agent(at / "run").learn(steps)
        return state_of(at / "run")


def check_folder(run: Path, steps: int, make: Callable[[], gym.Env] = Cart) -> None:
    """The run is there to this step, nothing half is lying about, and it goes on in a healthy environment."""
    (found_step, found), (_, expected) = state_of(run), undisturbed(steps)
    other = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    assert found_step == steps and not other, (
        f"the checkpoint is not that of a run that was left alone: {', '.join(other)}"
    )
    assert load_agent(run)[0]["num_timesteps"] in (steps, STEPS)
    assert not list(run.rglob("*.tmp")) and not list(run.rglob(".*.saving")), "something half is left"
    again = MAGEAgent.load(run, env=make())
    again.learn(STEPS - again.num_timesteps, reset_num_timesteps=False)
    assert [row["step"] for row in read_table(run / "metrics.csv")] == [3, 6, 9, 12, 15, 18]
    assert again.num_timesteps == again.learner.replay.added == STEPS


def play(case: Case, at: Path) -> str:
    """One case; the sentence that was said. Raises `AssertionError` where something is not as it should be."""
    agent = new_agent(at / "run")
    env = agent.env.unwrapped
    said = ""

    def arm(_: MAGEAgent, row: dict[str, float]) -> None:
        if agent.num_timesteps == AT - 1:
            ARMED[id(env)] = case.answer

    try:
        agent.learn(STEPS, callback=arm)
    except BaseException as error:
        if case.error is None or not isinstance(error, case.error):
            raise
        said = str(error)
    finally:
        ARMED.clear()
    assert bool(said) == (case.error is not None), "it was not noticed"
    if not said:
        assert state_of(at / "run")[0] == STEPS
        return said
    assert all(words in said for words in case.says), f"{case.says} not in: {said[:500]}"
    assert len(said) < 1500, f"a sentence of {len(said)} letters"
    faulted = issubclass(case.error, EnvironmentFault)
    assert not faulted or "kept in" in said, f"no word of what is kept: {said[:500]}"
    step = state_of(at / "run")[0]
    assert step in ((AT - 1, 18) if faulted else (10,)), f"the newest checkpoint is of step {step}"
    check_folder(at / "run", step)
    return said


# --- what happens beside the steps of training ------------------------------------------------------------------------


class FailingClose(Cart):
    """An environment that cannot be closed."""

    def close(self):
        raise RuntimeError("the port is busy")


class Picture(Cart):
    """An environment that draws what `picture` says."""

    picture: Any = None

    def render(self):
        if isinstance(self.picture, Exception):
            raise self.picture
        return self.picture


class OnlyTwoSteps(Cart):
    """Its own time limit is below the one that is wrapped around it, twice; a step after the end is an error."""

    over = False

    def reset(self, seed=None, options=None):
        self.over = False
        return super().reset(seed=seed)

    def step(self, action):
        assert not self.over, "a step after the end"
        obs, reward, _, _, info = super().step(action)
        self.over = self.count >= 2
        return obs, reward, self.over and bool(self.np_random.integers(2)), self.over, info


def draws(picture: Any, words: str) -> Callable[[Path], None]:
    """A film that fails, and a run that does not."""

    def case(at: Path) -> None:
        agent = new_agent(at / "run")
        agent.learn(STEPS)
        Picture.picture = picture
        filming = MAGEAgent.load(at / "run", env=Cart())
        filming.new_env = lambda **more: Picture(**more)
        try:
            filming.video(at / "film.mp4", steps=3)
        except (ValueError, RuntimeError) as error:
            assert words in str(error), str(error)
        else:
            raise AssertionError("it was not noticed")
        assert not list(at.glob("film*")), "something half is left"
        check_folder(at / "run", STEPS)

    return case


def twice_limited(at: Path) -> None:
    """TimeLimit twice around an environment that ends by itself, both ways at once."""
    make = lambda: gym.wrappers.TimeLimit(gym.wrappers.TimeLimit(OnlyTwoSteps(), 5), 2)
    agent = MAGEAgent(make, out=at / "run", **SETTINGS | MORE)
    agent.learn(STEPS)
    assert agent.learner.replay.added == STEPS and agent.learner.episodes == STEPS // 2 + 1
    again = MAGEAgent.load(at / "run", env=make)
    assert again.learn(4, reset_num_timesteps=False).num_timesteps == STEPS + 4


def closes_badly(at: Path) -> None:
    """An environment whose `close` fails, in evaluations too: the run is kept, and complete."""
    agent = MAGEAgent(FailingClose(), out=at / "run", **SETTINGS | MORE)
    agent.learn(STEPS)
    check_folder(at / "run", STEPS, FailingClose)


def evaluation_fails(at: Path) -> None:
    """A fault in an evaluation: all steps before it are kept."""

    class Evil(Cart):
        evil, trained = False, None

        def step(self, action):
            obs, *more = super().step(action)
            return (np.array([np.nan, 0.0]) if Evil.evil and self is not Evil.trained else obs, *more)

    agent = MAGEAgent(
        lambda **more: Evil(**more),
        out=at / "run",
        **SETTINGS | MORE,
    )
    Evil.trained = agent.env.unwrapped
    try:
        agent.learn(STEPS, callback=lambda agent, row: setattr(Evil, "evil", agent.num_timesteps == 12))
        raise AssertionError("it was not noticed")
    except EnvironmentFault as error:
        assert "evaluation: observation" in str(error) and "newest checkpoint is of step 10" in str(error), str(error)
    Evil.evil = False
    check_folder(at / "run", 10, lambda: Evil())


BESIDES: dict[str, Callable[[Path], None]] = {
    "a picture that is none": draws(None, "frame"),
    "a picture of floats": draws(np.zeros((4, 4, 3)), "frame"),
    "an error in render": draws(RuntimeError("no display"), "no display"),
    "TimeLimit twice, and ends that contradict each other": twice_limited,
    "an error in close": closes_badly,
    "nan in an evaluation": evaluation_fails,
}


def hostile(names: list[str]) -> dict[str, str]:
    """Play these cases; what was said, or the fault behind a "FAULT: "."""
    found = {}
    for name in names:
        with scratch() as at, quick(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found[name] = play(CASES[name], at) if name in CASES else BESIDES[name](at) or ""
            except BaseException as error:
                found[name] = (
                    f"FAULT: {type(error).__name__}: {error!s:.600}"
                    if not isinstance(error, Unspeakable)
                    else "FAULT: Unspeakable"
                )
    return found


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--only", choices=[*CASES, *BESIDES])
    arguments = parser.parse_args()
    begun = time.perf_counter()
    found = hostile([arguments.only] if arguments.only else [*CASES, *BESIDES])
    for name, said in found.items():
        print(f"{name:55} {said[:300] or 'goes on'}")
    faults = [name for name, said in found.items() if said.startswith("FAULT")]
    if arguments.record and not faults and not arguments.only:
        record(
            "hostile", "environments that misbehave, the run kept each time", len(found), time.perf_counter() - begun
        )
    print(f"{len(faults)} of {len(found)} cases are not as they should be")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
