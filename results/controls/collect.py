"""Controls: train with one thing made wrong on purpose, `python results/controls/collect.py shuffled --seeds 10 11 12`.

shuffled: every sample is asked for the slope of its neighbour in the batch: slopes of the same lengths, without their content.
value, slope, both: the model learns as the library's does, and what is imagined with it is off, its value by a constant, its
derivative in the action by a constant matrix, or both. none: nothing is wrong.

Writes returns.csv beside itself, in the form of a sweep's table; a run that the table has already is not made again.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any, Mapping, Sequence

import torch
from torch import Tensor

from mage_edu import MAGEAgent
from mage_edu.config import Config
from mage_edu.dynamics import Dynamics
from mage_edu.engine.build import build_dynamics
from mage_edu.engine.sweep import COLUMNS, has_rows, merge_rows
from mage_edu.updates import CriticTarget, critic_target

HERE = Path(__file__).resolve().parent
SIZE = 0.5  # in spreads of the change of an observation, per unit of a [-1, 1] action for the derivative


class WrongDynamics(Dynamics):
    """An ensemble that is trained as ever; samples from it are off by `offset`, their action-slopes by `tilt`.

    `offset` (obs_dim,) in spreads of the change of an observation; `tilt` (act_dim, obs_dim), the same per unit of action.
    """

    offset: Tensor
    tilt: Tensor

    def sample(self, obs: Tensor, action: Tensor, noise: Tensor) -> Tensor:
        """What the ensemble says, with the error."""
        wrong_slope = (action - action.detach()) @ self.tilt  # 0, with the derivative `tilt`
        return super().sample(obs, action, noise) + self.delta_std * (self.offset + wrong_slope)


def build(kind: str, config: Config, obs_dim: int, act_dim: int, generator: torch.Generator) -> Dynamics:
    """The model of a run whose "value" is wrong, or its "slope", or "both"."""
    model = build_dynamics(config, obs_dim, act_dim, generator, network=WrongDynamics)
    own = torch.Generator().manual_seed(
        config.seed
    )  # the network's first weights stay those of a run without the error
    signs = torch.randint(2, (obs_dim,), generator=own) * 2.0 - 1.0
    tilt = torch.randn(act_dim, obs_dim, generator=own)
    model.register_buffer("offset", SIZE * signs * (kind in ("value", "both")))
    model.register_buffer("tilt", SIZE * tilt * (kind in ("slope", "both")))
    return model


def shuffled_slopes(*arguments: Any) -> CriticTarget:
    """The library's target, with each sample's slope handed to the next one."""
    target = critic_target(*arguments)
    if target.gradient is None:
        raise ValueError(
            "shuffled: this algorithm asks for no slopes (gradient_weight 0); take one that does, such as mage-even."
        )
    return target._replace(gradient=target.gradient.roll(1, 0), gradient_mask=target.gradient_mask.roll(1, 0))


def parts(kind: str) -> dict[str, Any]:
    """What `MAGEAgent` is given for one kind of control."""
    if kind == "shuffled":
        return {"critic_target": shuffled_slopes}
    return {} if kind == "none" else {"dynamics": partial(build, kind)}


def train(run: Mapping[str, Any], steps: int) -> list[dict[str, Any]]:
    """The rows of one run; its label is the kind of control."""
    rows: list[dict[str, Any]] = []

    def note(agent: MAGEAgent, metrics: dict[str, float]) -> None:
        if "return" in metrics:
            point = {"step": int(metrics["step"]), "return": float(metrics["return"])}
            rows.append({**run, **point, "status": "finished", "error": ""})

    agent = MAGEAgent(run["env"], run["algorithm"], seed=run["seed"], threads=1, **parts(run["label"]))
    agent.learn(steps, callback=note)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Make what the table lacks, and write it after every run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--algorithms", nargs="+", default=["mage-even"])
    parser.add_argument("kinds", nargs="+", choices=("none", "shuffled", "value", "slope", "both"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--out", type=Path, default=HERE)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    path = asked.out / "returns.csv"
    for seed in asked.seeds:
        for kind in asked.kinds:
            for algorithm in asked.algorithms:
                run = dict(env=asked.env, algorithm=algorithm, label=kind, seed=seed)
                if has_rows(path, run):
                    continue
                rows = train(run, asked.steps)
                merge_rows(path, COLUMNS, rows)  # another of these may have written meanwhile
                print(*run.values(), [round(row["return"]) for row in rows], flush=True)


if __name__ == "__main__":
    main()
