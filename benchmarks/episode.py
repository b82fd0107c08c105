"""A recorded episode: at every step, what the critic and the simulator say about each action.

    mage-edu train --env Pendulum-v1 --algorithm mage-half --size tiny --steps 4000 --seed 1 --updates-per-step 2 --polyak 0.02 --out runs/episode
    python benchmarks/episode.py runs/episode --out results/episode/pendulum.json

The simulator's value of an action is the discounted return of a rollout that begins with it and goes on with the policy, without noise.
For tasks with one action whose map is a formula.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
import tyro

from mage_edu import MAGEAgent
from mage_edu.engine.diagnostics import double_copy, play, rollout_return
from mage_edu.engine.simulator import SimulatedDynamics, SimulatedWorld
from mage_edu.envs import ActionScale, reward_fn, termination_fn


@dataclass(frozen=True)
class Recording:
    """Record an episode of a run's agent."""

    folder: tyro.conf.Positional[Path]  # of a run
    out: Path
    steps: int = 100  # of the episode
    horizon: int = 500  # steps of a rollout
    seed: int = 0

    def values(self, agent: MAGEAgent, obs: torch.Tensor, action: torch.Tensor) -> dict[str, torch.Tensor]:
        """Value and slope (batch,) of the critic that the actor climbs and of the simulator, at observations and actions (batch, dim)."""
        env, learner = agent.new_env(), agent.learner
        world = SimulatedWorld(
            SimulatedDynamics(env), reward_fn(env), termination_fn(env), ActionScale.of(env.action_space)
        )
        actor, critic = double_copy(learner.actor), double_copy(learner.critic)
        critic_value = getattr(critic, agent.config.actor_climbs)
        found = {}
        for name, value_of in (
            ("critic", critic_value),
            ("simulator", lambda s, a: rollout_return(world, actor, s, a, agent.config.discount, self.horizon)),
        ):
            at = action.clone().requires_grad_()
            value = value_of(obs, at)
            found |= {name: value.detach(), f"{name}_slope": torch.autograd.grad(value.sum(), at)[0][:, 0]}
        return found

    def run(self) -> None:
        """Play, ask, write."""
        agent = MAGEAgent.load(self.folder)
        actor, scale = double_copy(agent.learner.actor), ActionScale.of(agent.get_env().action_space)
        (episode,) = play(agent.new_env(), lambda obs: actor(obs).detach(), scale, 0.0, 1, self.steps, self.seed)
        obs, grid = episode.obs[: self.steps], torch.linspace(-1.0, 1.0, 41, dtype=torch.float64)
        everywhere = self.values(agent, obs.repeat_interleave(len(grid), 0), grid.repeat(len(obs))[:, None])
        here = self.values(agent, obs, episode.action)
        rounded = lambda x: [float(f"{value:.5g}") for value in x.tolist()]
        content = {
            "env": agent.env_id,
            "settings": agent.config.to_dict(),
            "trained_steps": agent.num_timesteps,
            "seed": self.seed,
            "horizon": self.horizon,
            "versions": {name: version(name).partition("+")[0] for name in ("torch", "gymnasium")},
            "actions": rounded(grid),
            "obs": [rounded(one) for one in obs],
            "action": rounded(episode.action[:, 0]),
            **{
                name: [rounded(row) for row in everywhere[name].reshape(len(obs), -1)]
                for name in ("critic", "simulator")
            },
            **{f"{name}_slope": rounded(here[f"{name}_slope"]) for name in ("critic", "simulator")},
        }
        self.out.parent.mkdir(parents=True, exist_ok=True)
        new = self.out.with_suffix(".new")
        new.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")
        new.replace(self.out)
        print(f"{self.out}: {self.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    tyro.cli(Recording).run()
