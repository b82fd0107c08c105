"""Strips of frames of agents, one above the other: what training changed, or how several agents hold themselves.

    python benchmarks/frames.py runs/cheetah --out results/pictures/cheetah.png
    python benchmarks/frames.py runs/upright runs/head runs/back --out results/pictures/postures.png --first 500 --frames 5

Of one run the upper row is an untrained agent with the run's settings, the lower one the run's agent; of several there is a row each.
All begin in the same state. Rendering needs a display or EGL.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import tyro

from mage_edu import MAGEAgent
from mage_edu.agent import follow
from mage_edu.engine.pictures import rollout_frames
from mage_edu.engine.steps import act


@dataclass(frozen=True)
class Strip:
    """Write the strip."""

    folders: tyro.conf.Positional[tuple[Path, ...]]  # of runs
    out: Path
    every: int = 12  # steps between two frames
    frames: int = 6
    first: int = 30  # step of the first frame
    height: int = 150  # of a frame, in pixels

    def row(self, agent: MAGEAgent) -> np.ndarray:
        """The frames of one agent, side by side."""
        wanted = [self.first + self.every * number for number in range(self.frames)]
        env = agent.new_env(render_mode="rgb_array")
        follow(env)
        frames = list(islice(rollout_frames(lambda obs: act(agent.learner, obs), env, seed=0), wanted[-1] + 1))
        env.close()
        step = frames[0].shape[0] // self.height
        return np.concatenate([frames[number][::step, ::step] for number in wanted], axis=1)

    def run(self) -> None:
        """Draw and write."""
        agents = [MAGEAgent.load(folder) for folder in self.folders]
        if len(agents) == 1:
            agents.insert(0, MAGEAgent(agents[0].env_id, **agents[0].config.to_dict()))
        self.out.parent.mkdir(parents=True, exist_ok=True)
        imageio.imwrite(self.out, np.concatenate([self.row(agent) for agent in agents]), optimize=True)
        print(f"{self.out}: {self.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    tyro.cli(Strip).run()
