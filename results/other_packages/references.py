"""What uniformly random actions earn in an environment, and the centre of the action space all the time: returns of five episodes each.

    .venv/bin/python results/other_packages/references.py gymnasium_robotics:FetchReachDense-v4 shimmy:dm_control/cartpole-balance-v0 highway_env:parking-v0

writes results/other_packages/references.csv.
"""

import csv
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np

from mage_edu import make_env
from mage_edu.engine.environments import limited

COLUMNS = ("env", "policy", "episode", "return", "length", "terminated", "last_reward")


def episode(env: gym.Env, policy: str, seed: int) -> tuple[float, int, bool, float]:
    """Return, length, whether it terminated, and the last reward, of one episode."""
    env.reset(seed=seed)
    total, length, low, high = 0.0, 0, env.action_space.low, env.action_space.high
    generator = np.random.default_rng(seed)
    while True:
        action = generator.uniform(low, high) if policy == "random" else (low + high) / 2
        _, reward, terminated, truncated, _ = env.step(action.astype(np.float32))
        total, length = total + reward, length + 1
        if terminated or truncated:
            return total, length, terminated, reward


def main(env_ids: list[str]) -> None:
    with open(Path(__file__).parent / "references.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for env_id in env_ids:
            env = limited(make_env(env_id), 1_000)
            for policy in ("random", "centre"):
                for number in range(5):
                    total, length, terminated, last = episode(env, policy, number)
                    writer.writerow((env_id, policy, number, f"{total:.4g}", length, int(terminated), f"{last:.4g}"))


if __name__ == "__main__":
    main(sys.argv[1:])
