"""dm_control's cartpole-balance with training episodes cut after 100 steps, evaluated on whole ones of 1,000.

    .venv/bin/python results/other_packages/short_episodes.py 3000 0 1 2

writes results/other_packages/short_episodes.csv. The settings are those of the sweep on the environments of other packages.
"""

import csv
import sys
from pathlib import Path

import gymnasium as gym
import torch

from mage_edu import MAGEAgent, make_env
from mage_edu.engine.environments import limited
from mage_edu.engine.steps import act
from mage_edu.evaluate import Evaluator

ENV = "dm_control/cartpole-balance-v0"
SETTINGS = dict(
    updates_per_step=2,
    discount=0.98,
    polyak=0.02,
    critic_lr=0.003,
    dynamics_lr=0.005,
    dynamics_batch_size=128,
    imagined_noise=0.3,
    exploration_noise=0.3,
    warmup_steps=1000,
    eval_interval=1000,
    eval_episodes=1,
)


def curve(steps: int, seed: int) -> list[tuple[int, float]]:
    """(step, mean return of five whole episodes) along a run with short ones."""
    agent = MAGEAgent(lambda: gym.make(ENV, max_episode_steps=100), "mage", "tiny", seed=seed, **SETTINGS)
    whole, points = Evaluator(lambda: limited(make_env(ENV), 1_000), 5, seed), []

    def look(agent, metrics):
        if "return" in metrics:
            points.append(
                (metrics["step"], float(whole.returns(lambda obs: act(agent.learner, obs), metrics["step"]).mean()))
            )

    agent.learn(steps, callback=look)
    whole.close()
    return points


if __name__ == "__main__":
    torch.set_num_threads(1)
    with open(Path(__file__).parent / "short_episodes.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("env", "seed", "step", "return"))
        for seed in map(int, sys.argv[2:]):
            writer.writerows((ENV, seed, step, f"{value:.6g}") for step, value in curve(int(sys.argv[1]), seed))
            file.flush()
