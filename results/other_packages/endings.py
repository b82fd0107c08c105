"""How the episodes of trained parking agents end: in a crash, parked, or by the time limit.

    .venv/bin/python results/other_packages/endings.py runs/longer_parking

prints one line for each seed, over eight episodes with seeds 100 to 107.
"""

import sys
from pathlib import Path

from mage_edu import MAGEAgent
from mage_edu.engine.environments import limited


def ending(agent: MAGEAgent, seed: int) -> tuple[str, int]:
    """How an episode of the agent ended, and after how many steps."""
    env = limited(
        agent.new_env(), agent.config.eval_max_steps
    )  # as `limited_env`, which leaves out what else a step tells
    obs, _ = env.reset(seed=seed)
    length = 0
    while True:
        obs, _, terminated, truncated, info = env.step(agent.predict(obs)[0])
        length += 1
        if terminated or truncated:
            return "crashed" if info["crashed"] else "parked" if info["is_success"] else "time limit", length


if __name__ == "__main__":
    for folder in sorted(Path(sys.argv[1]).rglob("agent")):
        agent = MAGEAgent.load(folder)
        print(folder.parent.name, [ending(agent, seed) for seed in range(100, 108)])
