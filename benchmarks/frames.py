"""A strip of frames of two agents, one above the other: what training changed.

    python benchmarks/frames.py runs/cheetah --out results/pictures/cheetah.png

The upper row is an untrained agent with the run's settings, the lower one the run's agent; both begin in the same state. Rendering needs a display or EGL.
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

    folder: tyro.conf.Positional[Path]  # of a run
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
        trained = MAGEAgent.load(self.folder)
        untrained = MAGEAgent(trained.env_id, **trained.config.to_dict())
        self.out.parent.mkdir(parents=True, exist_ok=True)
        imageio.imwrite(self.out, np.concatenate([self.row(untrained), self.row(trained)]), optimize=True)
        print(f"{self.out}: {self.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    tyro.cli(Strip).run()
