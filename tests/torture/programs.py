"""Programs of calls: learn, save, load, kill, resume, evaluate, predict, extend, change a callback, in any order.

    python tests/torture/programs.py                      # 1,000 programs
    python tests/torture/programs.py --programs 50 --seed 7

Hypothesis makes the programs and makes a failing one short. After every call the run is where a run is that learned as many steps in one call and
was never looked at: weights, moments, generators, counters, the rows of the buffer, and the tables on the disk, byte for byte.
"""

from __future__ import annotations

import functools
import random
import shutil
import sys
import time
import warnings
from pathlib import Path
from typing import Any, Callable, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

import gymnasium as gym
import hypothesis
import numpy as np
import torch
from hypothesis import strategies
from prints import tensor_digest
from record import parser_of, record
from runs import SETTINGS, quick, scratch

from mage_edu import MAGEAgent
from mage_edu.engine.storage import RunFolder, evaluation_curve

PROGRAMS, LONGEST = 1_000, 40  # steps in one program
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "td3": {"algorithm": "td3"},
    "learned": {"reward": "learned", "termination": "learned", "learned_width": 4, "learned_layers": 1},
}
OBS = np.array([0.6, -0.8, 1.0])


class Killed(BaseException):
    """The process is gone."""


def new_agent(variant: str, out: Path | None) -> MAGEAgent:
    """A tiny agent in short episodes, so that a program sees some of them end."""
    return MAGEAgent(gym.make("Pendulum-v1", max_episode_steps=6), out=out, **SETTINGS | VARIANTS[variant])


def print_of(agent: MAGEAgent, run: Path | None) -> dict[str, str]:
    """Everything that training depends on or leaves, by name."""
    state = agent.learner.save()
    found = {
        name: f"{tensor.dtype}{tuple(tensor.shape)}{tensor_digest(tensor)}" for name, tensor in state.tensors.items()
    }
    found |= {f"rows.{name}": tensor_digest(rows) for name, rows in state.rows.columns.items()}
    found |= {f"number.{name}": repr(value) for name, value in state.facts["numbers"].items()}
    if run is not None:
        files = [run / name for name in ("metrics.csv", "evaluations.csv") if (run / name).exists()]
        found |= {path.name: path.read_text() for path in files}
    return found


@functools.cache
def undisturbed(variant: str, steps: int) -> dict[str, str]:
    """What a run is after so many steps in one call, with a folder of its own."""
    with scratch() as at:
        agent = new_agent(variant, at / "run")
        agent.learn(steps)
        return print_of(agent, at / "run")


def glance(agent: MAGEAgent, row: dict[str, float]) -> None:
    """A callback that looks at everything."""
    agent.evaluate(1, seed=3)
    agent.predict(OBS)
    agent.learner.save()


def noise(agent: MAGEAgent, row: dict[str, float]) -> None:
    """A callback that draws from, and seeds, every generator that is not the run's own."""
    torch.rand(3), np.random.rand(3), random.random()
    torch.manual_seed(agent.num_timesteps), np.random.seed(agent.num_timesteps), random.seed(1)


CALLBACKS: dict[str, Callable[..., Any] | None] = {
    "none": None,
    "looks": glance,
    "draws": noise,
    "stops": lambda agent, row: False,
}


class Call(NamedTuple):
    """One call of a program."""

    what: str
    value: Any = None


class Player:
    """Plays a program, and compares after every call."""

    def __init__(self, at: Path, variant: str, on_disk: bool):
        self.at, self.variant, self.kills = at, variant, 0
        self.run = at / "run-0" if on_disk else None
        self.agent = new_agent(variant, self.run)
        self.callback: Callable[..., Any] | None = None
        self.saved: np.ndarray | None = None  # what the agent that was saved apart does

    def learn(self, steps: int, callback: Callable[..., Any] | None = None) -> None:
        steps = min(steps, LONGEST - self.agent.num_timesteps)
        self.agent.learn(steps, callback=callback or self.callback, reset_num_timesteps=False)

    def resume(self) -> None:
        """Another process goes on."""
        if self.run is not None:
            self.agent = MAGEAgent.load(self.run)
            self.agent.learn(0, reset_num_timesteps=False)

    def kill(self, row: int) -> None:
        """Learn, and be killed when a row is logged: what counts is what is in the folder in that moment."""
        if self.run is None:
            return
        left, rows = self.at / f"run-{self.kills + 1}", [0]

        def die(agent: MAGEAgent, metrics: dict[str, float]) -> None:
            rows[0] += 1
            if rows[0] == row:
                shutil.copytree(self.run, left)
                raise Killed

        try:
            self.learn(15, die)
        except Killed:
            self.run, self.kills = left, self.kills + 1
            self.resume()

    def save(self) -> None:
        self.agent.save(self.at / "apart")
        self.saved = self.agent.predict(OBS)[0]

    def load(self) -> None:
        if self.saved is not None:
            assert np.array_equal(MAGEAgent.load(self.at / "apart").predict(OBS)[0], self.saved), (
                "a loaded agent acts otherwise"
            )

    def evaluate(self) -> None:
        assert np.array_equal(self.agent.evaluate(1, seed=5), self.agent.evaluate(1, seed=5)), (
            "an evaluation is not repeatable"
        )

    def predict(self) -> None:
        self.agent.predict(np.stack([OBS, -OBS]))

    def look(self) -> None:
        """Read what is on the disk, and move about in the training environment's neighbours."""
        if self.run is not None:
            RunFolder(self.run).description()
            if (self.run / "evaluations.csv").exists():
                evaluation_curve(self.run)
        env = self.agent.new_env()
        env.reset(seed=1), env.step(env.action_space.sample()), env.close()

    def play(self, call: Call) -> None:
        if call.what == "callback":
            self.callback = CALLBACKS[call.value]
        elif call.value is None:
            getattr(self, call.what)()
        else:
            getattr(self, call.what)(call.value)
        steps = self.agent.num_timesteps
        if steps:
            expected, found = undisturbed(self.variant, steps), print_of(self.agent, self.run)
            expected = (
                expected
                if self.run is not None
                else {name: value for name, value in expected.items() if not name.endswith(".csv")}
            )
            other = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
            assert not other, (
                f"step {steps}, after {call}: other than in the run that was left alone: {', '.join(other)}"
            )


CALL = strategies.one_of(
    strategies.builds(Call, strategies.just("learn"), strategies.integers(0, 12)),
    strategies.builds(Call, strategies.just("kill"), strategies.integers(1, 6)),
    strategies.builds(Call, strategies.just("callback"), strategies.sampled_from(sorted(CALLBACKS))),
    strategies.builds(
        Call, strategies.sampled_from(["resume", "save", "load", "evaluate", "predict", "look"]), strategies.none()
    ),
)
PROGRAM = strategies.tuples(
    strategies.sampled_from(sorted(VARIANTS)),
    strategies.sampled_from([True, True, True, False]),
    strategies.lists(CALL, min_size=2, max_size=12),
)


def play_program(program: tuple[str, bool, list[Call]]) -> tuple[int, int]:
    """Play one program to its end; how many calls it had, and how many kills that hit."""
    variant, on_disk, calls = program
    with scratch() as at, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        player = Player(at, variant, on_disk)
        for call in (Call("learn", 1), *calls):
            player.play(call)
    return 1 + len(calls), player.kills


def programs(count: int, seed: int) -> dict[str, int]:
    """Play so many programs; how often each call was made. Raises `AssertionError` with the shortest program that goes wrong."""
    counts: dict[str, int] = {"programs": 0, "calls": 0, "kills": 0}

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        print_blob=False,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(program=PROGRAM)
    def play(program: tuple[str, bool, list[Call]]) -> None:
        calls, kills = play_program(program)
        counts["calls"] += calls
        counts["kills"] += kills
        counts["programs"] += 1
        for call in program[2]:
            counts[call.what] = counts.get(call.what, 0) + 1

    with quick():
        play()
    return counts


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--programs", type=int, default=PROGRAMS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    begun = time.perf_counter()
    counts = programs(arguments.programs, arguments.seed)
    seconds = time.perf_counter() - begun
    print(counts)
    if arguments.record:
        record("programs", "programs played", counts["programs"], seconds)
        record("programs", "calls in them, after each of which the run was compared", counts["calls"], seconds)
        record("programs", "kills in them", counts["kills"], seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
