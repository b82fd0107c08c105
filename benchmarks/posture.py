"""How the cheetah of each finished run holds itself: upright, on its head, or on its back.

    python benchmarks/posture.py runs/evidence --out results/mixture/posture.csv

Every `agent` below the folder plays `--episodes` episodes without noise. Of all their steps: the return, the median speed in
m/s, and the 5, 50 and 95 % quantiles of the body's pitch in degrees, 0 where the robot stands as it was put down, positive where
its nose points to the ground, 180 where it lies on its back.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from mage_edu import MAGEAgent
from mage_edu.engine.storage import write_table

PITCH, SPEED = 2, 0  # of MuJoCo's qpos and qvel: the angle of the body, and its velocity along the track
COLUMNS = ("algorithm", "label", "seed", "return", "speed", "pitch_05", "pitch_50", "pitch_95")


def posture(agent: MAGEAgent, episodes: int) -> dict[str, float]:
    """Play, and look at the body after every step."""
    returns, pitches, speeds = [], [], []
    for episode in range(episodes):
        obs, _ = agent.env.reset(seed=episode)
        total, over = 0.0, False
        while not over:
            action, _ = agent.predict(obs, deterministic=True)
            obs, reward, terminated, truncated, _ = agent.env.step(action)
            total, over = total + float(reward), terminated or truncated
            pitches.append(agent.env.unwrapped.data.qpos[PITCH])
            speeds.append(agent.env.unwrapped.data.qvel[SPEED])
        returns.append(total)
    low, middle, high = np.quantile(np.degrees(pitches), (0.05, 0.5, 0.95))
    found = {"return": np.mean(returns), "speed": np.median(speeds), "pitch_05": low, "pitch_50": middle}
    return {name: round(float(value), 3) for name, value in (found | {"pitch_95": high}).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of a sweep over HalfCheetah-v5")
    parser.add_argument("--episodes", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/posture.csv"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for finished in sorted(options.folder.glob("HalfCheetah-v5/*/seed-*/finished.json")):
        agent = MAGEAgent.load(finished.parent)
        label = finished.parent.parent.name.removeprefix(agent.config.algorithm).removeprefix("-")
        names = {"algorithm": agent.config.algorithm, "label": label, "seed": agent.config.seed}
        rows.append(names | posture(agent, options.episodes))
        print(rows[-1], flush=True)
        agent.env.close()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_table(options.out, COLUMNS, rows)


if __name__ == "__main__":
    main()
