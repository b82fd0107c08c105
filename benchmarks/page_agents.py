"""The small agents that the site shows, from trained runs: `python benchmarks/page_agents.py --out results/web mage=runs/HalfCheetah-v5-mage-1`.

One folder each, with agent.json and actor.safetensors in half precision; `untrained` is made from the first run's settings, before its first step.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mage_edu.agent import MAGEAgent
from mage_edu.web import write_agent


def write(agent: MAGEAgent, folder: Path, name: str, seed: int) -> None:
    """One agent's folder; what was there is replaced file by file."""
    folder.mkdir(parents=True, exist_ok=True)
    env = agent.new_env()
    write_agent(folder, agent.learner.actor, env, name, seed, half=True)
    env.close()
    print(folder, sum(file.stat().st_size for file in folder.iterdir()), "bytes")


def main() -> None:
    """Write a folder for each NAME=RUN, and `untrained` beside them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "runs", nargs="+", metavar="NAME=RUN", help="name of the folder, and the run folder it is made from"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0, help="seeds the start of the episode")
    parser.add_argument(
        "--untrained", action="store_true", help="also the first run's agent as it was before its first step"
    )
    arguments = parser.parse_args()
    for number, pair in enumerate(arguments.runs):
        name, _, run = pair.partition("=")
        agent = MAGEAgent.load(run, device="cpu")
        write(agent, arguments.out / name, f"{agent.config.algorithm}, {agent.num_timesteps:,} steps", arguments.seed)
        if arguments.untrained and number == 0:
            fresh = MAGEAgent(agent.env_id, **agent.config.to_dict(), device="cpu")
            write(fresh, arguments.out / "untrained", "untrained", arguments.seed)


if __name__ == "__main__":
    main()
