"""Stable-Baselines3's SAC beside ours: `python results/worth_it/sac.py --gradient-steps 1 8 --seeds 10 11 12 --steps 5000`.

SAC with its own defaults, but for the first 1,000 steps, which are random as ours are, and for the number of gradient steps after
each environment step; training episodes are whole. Evaluated by our evaluator: every 1,000 steps, ten whole episodes without noise.

Writes sac.csv beside itself, in the form of a sweep's table; a run that the table has already is not made again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Mapping, Sequence

import torch

from mage_edu.engine.sweep import COLUMNS, has_rows, merge_rows, returns_along
from mage_edu.envs import make_env

HERE = Path(__file__).resolve().parent
WARMUP_STEPS, EVAL_INTERVAL, EVAL_EPISODES = 1_000, 1_000, 10


def make_sac(env: str, gradient_steps: int, seed: int) -> Any:
    """The model, untrained."""
    from stable_baselines3 import SAC

    options = dict(learning_starts=WARMUP_STEPS, gradient_steps=gradient_steps, seed=seed, device="cpu")
    return SAC("MlpPolicy", make_env(env), **options)


def train(run: Mapping[str, Any], gradient_steps: int, steps: int) -> list[dict[str, Any]]:
    """The rows of one run."""
    env, seed = run["env"], run["seed"]
    model = make_sac(env, gradient_steps, seed)
    points = returns_along(model, env, seed, steps, EVAL_INTERVAL, EVAL_EPISODES)
    return [{**run, "step": step, "return": value, "status": "finished", "error": ""} for step, value in points]


def main(arguments: Sequence[str] | None = None) -> None:
    """Make what the table lacks, and write it after every run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--gradient-steps", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12])
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--out", type=Path, default=HERE)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    path = asked.out / "sac.csv"
    for seed in asked.seeds:
        for gradient_steps in asked.gradient_steps:
            run = dict(env=asked.env, algorithm="sac", label=f"gradient_steps={gradient_steps}", seed=seed)
            if has_rows(path, run):
                continue
            rows = train(run, gradient_steps, asked.steps)
            merge_rows(path, COLUMNS, rows)  # another of these may have written meanwhile
            print(*run.values(), [round(row["return"]) for row in rows], flush=True)


if __name__ == "__main__":
    main()
