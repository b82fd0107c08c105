"""Milliseconds of a training step of several methods, in turns, on one thread: `python results/worth_it/seconds.py`.

A round is one interval of the ensemble's training, 250 steps, after the warm-up and after compiling; evaluations are left out.
Nothing else should run meanwhile. Writes seconds.csv beside itself.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, Callable, Sequence

import torch
from sac import WARMUP_STEPS, make_sac

from mage_edu import MAGEAgent
from mage_edu.engine.storage import write_table

HERE = Path(__file__).resolve().parent
ALGORITHMS, UPDATES, STEPS = ("mage-even", "dyna-half", "mage", "td3"), (1, 8), 250
NEVER = 10**9


def ours(env: str, algorithm: str, updates: int) -> Callable[[int], Any]:
    """What takes so many training steps of ours, behind its warm-up."""
    settings: dict[str, Any] = dict(updates_per_step=updates, train_max_steps=100, eval_interval=NEVER)
    agent = MAGEAgent(env, algorithm, threads=1, compile=True, **settings)
    agent.learn(WARMUP_STEPS + STEPS)
    return lambda steps: agent.learn(steps, reset_num_timesteps=False)


def theirs(env: str, updates: int) -> Callable[[int], Any]:
    """The same of Stable-Baselines3's SAC."""
    model = make_sac(env, updates, seed=0)
    model.learn(WARMUP_STEPS + STEPS)
    return lambda steps: model.learn(steps, reset_num_timesteps=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Time all in turns."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    methods = {(name, updates): ours(asked.env, name, updates) for updates in UPDATES for name in ALGORITHMS}
    methods |= {("sac", updates): theirs(asked.env, updates) for updates in UPDATES}
    rows = []
    for number in range(asked.rounds):
        for (name, updates), step in methods.items():
            begin = time.perf_counter()
            step(STEPS)
            milliseconds = 1_000 * (time.perf_counter() - begin) / STEPS
            rows.append({"algorithm": name, "updates": updates, "round": number, "milliseconds": milliseconds})
            print(name, updates, f"{milliseconds:.2f} ms a step", flush=True)
    write_table(asked.out / "seconds.csv", rows[0], rows)


if __name__ == "__main__":
    main()
