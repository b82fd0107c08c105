"""Collect a sweep as results/known_and_learned/collect.py does, and measure uniformly random actions on its environments.

    .venv/bin/python results/other_packages/chance.py runs/other_packages results/other_packages
"""
import csv
import runpy
import sys
from pathlib import Path

import numpy as np

from mage_edu.envs import limited, make_env
from mage_edu.evaluate import episode_returns

source, target = Path(sys.argv[1]), Path(sys.argv[2])
runpy.run_path(str(Path(__file__).parent.parent / "known_and_learned" / "collect.py"))["main"](source, target)
with open(target / "chance.csv", "w", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("env", "episodes", "seed", "return"))
    for env_id in dict.fromkeys(row["env"] for row in csv.DictReader(open(target / "returns.csv"))):
        envs = [limited(make_env(env_id, learned=True), 1_000) for _ in range(10)]
        rng, space = np.random.default_rng(0), envs[0].action_space
        draw = lambda obs: rng.uniform(space.low, space.high, (len(obs), *space.shape)).astype(space.dtype)
        writer.writerow((env_id, 10, 0, round(float(episode_returns(draw, envs, list(range(10))).mean()), 2)))
