"""Train on a hard task, and measure the model as it was every 500 steps on one fixed set of transitions that it was not trained on.

    .venv/bin/python results/hard_tasks/measure.py Ant-v5 3000 0 laptop none
    .venv/bin/python results/hard_tasks/measure.py Ant-v5 3000 0 laptop 5

appends to two tables; the last word is `dynamics_clip`. results/hard_tasks/model.csv: the errors of every kept model, per group of columns. results/hard_tasks/runs.csv: the
return, the speed, the memory, and how many columns of the observation have ever changed, at the same steps. `model` is "of the run" for the
ensemble that the agent used, and "trained again" for a second one that was trained afterwards, without an agent, on the same transitions in
the same order and rounds, with the other setting of the cut: 5 where the run had none, none where the run had one. `clip` is the cut that the
model itself had.

Two held-out sets, the same for every kept model:

- "replay": of the transitions that the run itself met, every tenth is left out of the model's training (`dynamics_validation=0.1`).
- "twins": four twins of the training environment, with other seeds. For each step of the run every twin takes one too, with the same
  behaviour: uniform actions in the warm-up ("twins, warm-up"), then the actor of that moment with the exploration noise ("twins, policy").

For the model of the run both sets are also split by whether the torso's own vertical axis points up ("replay, upright", "replay, upside down"
and so on); a part without transitions is left out.

`nll` is the mean negative log-likelihood per number, in nats and in the observation's own units, averaged over the members. `rmse` is the
root mean square error of the members' mean, every column in units of the spread of its change in that set, so that 1 is what predicting the
mean change would have. `median_nll` and `median_rmse` are medians over columns in the place of the mean. Columns whose change spreads by less
than a millionth of their own size are constant up to float32 rounding and are left out; `columns` counts those that are not.
"""

import copy
import csv
import dataclasses
import math
import os
import sys
from pathlib import Path
from typing import Iterator

import numpy as np
import torch

from mage_edu import MAGEAgent, make_env
from mage_edu.actor import add_noise
from mage_edu.engine.build import build_learner
from mage_edu.engine.learner import Learner
from mage_edu.engine.rounds import dynamics_due, dynamics_update, held_out_places
from mage_edu.engine.steps import act

FOLDER = Path(__file__).parent
MODEL = (
    "env",
    "size",
    "seed",
    "model",
    "clip",
    "step",
    "set",
    "part",
    "transitions",
    "columns",
    "nll",
    "median_nll",
    "rmse",
    "median_rmse",
)
RUNS = ("env", "size", "seed", "clip", "step", "return", "steps_per_second", "memory_mb", "columns_moved")
CONTACTS = 78  # the last columns of Ant's and Humanoid's observations: contact forces
TOGETHER = 25  # steps that the twin takes at once, with the actor of that moment
MARK = 500  # steps between two kept models
TWINS = 4
LIMIT = 5.0  # the cut of the model that is trained again after a run without one, in spreads


def behave(agent: MAGEAgent, obs: np.ndarray, generator: torch.Generator) -> np.ndarray:
    """An action as the agent explores, in the environment's units, from a generator of its own."""
    scale, config = agent.learner.world.scale, agent.config
    if agent.num_timesteps <= config.warmup_steps:
        return scale.to_env(torch.rand(scale.low.shape, generator=generator) * 2.0 - 1.0).numpy()
    action = scale.to_actor(torch.as_tensor(act(agent.learner, obs[None])[0]))
    return scale.to_env(
        add_noise(action, torch.randn(action.shape, generator=generator), config.exploration_noise)
    ).numpy()


def twin(agent: MAGEAgent, seed: int) -> Iterator[tuple]:
    """Endless transitions (obs, action, next_obs) of the agent's behaviour in an environment of their own."""
    env, generator = make_env(agent.env_id), torch.Generator().manual_seed(seed)
    obs, _ = env.reset(seed=seed)
    while True:
        action = behave(agent, obs, generator)
        next_obs, _, terminated, truncated, _ = env.step(action)
        yield obs, action, next_obs
        obs = env.reset()[0] if terminated or truncated else next_obs


@torch.no_grad()
def column_errors(dynamics, scale, obs, action, next_obs) -> tuple[torch.Tensor, torch.Tensor]:
    """Per transition and column, (n, obs_dim) in float64: negative log-likelihood, and the error of the members' mean in the observation's units."""
    members = lambda x: x.float().expand(dynamics.members, *x.shape)
    mean, log_var = (x.double() for x in dynamics.predict(members(obs), members(scale.to_actor(action.float()))))
    std, shift = dynamics.delta_std.double(), dynamics.delta_mean.double()
    error = (next_obs - obs - shift) / std - mean
    nll = 0.5 * (error.square() * (-log_var).exp() + log_var + math.log(2 * math.pi)) + std.log()
    return nll.mean(0), (error * std).mean(0)


def clip_name(clip: float | None) -> str:
    """The cut as it stands in the tables."""
    return "none" if clip is None else f"{clip:g}"


def summary(nll: torch.Tensor, error: torch.Tensor, spread: torch.Tensor, varies: torch.Tensor) -> dict[str, float]:
    """The numbers of one row of the table, from the columns that vary."""
    nll, ratio = nll[:, varies].mean(0), error[:, varies].square().mean(0) / spread[varies].square()
    return {
        "transitions": len(error),
        "columns": len(ratio),
        "nll": float(nll.mean()),
        "median_nll": float(nll.median()),
        "rmse": float(ratio.mean().sqrt()),
        "median_rmse": float(ratio.median().sqrt()),
    }


def held_out_sets(agent: MAGEAgent, recorded: list[list[tuple]]) -> dict[str, tuple[torch.Tensor, ...]]:
    """(obs, action, next_obs) of every held-out set, in float64 and in the environment's units."""
    replay, scale = agent.learner.replay, agent.learner.world.scale
    places = held_out_places(replay, agent.config.validation_period)
    rows = replay.data.obs[places], scale.to_env(replay.data.action[places]), replay.data.next_obs[places]
    joined = lambda rows: tuple(torch.as_tensor(np.array(column)) for column in zip(*rows))
    first = agent.config.warmup_steps
    return {
        "replay": tuple(column.double() for column in rows),
        "twins": joined(sum(recorded, [])),
        "twins, warm-up": joined(sum((rows[:first] for rows in recorded), [])),
        "twins, policy": joined(sum((rows[first:] for rows in recorded), [])),
    }


def by_posture(sets: dict[str, tuple[torch.Tensor, ...]]) -> dict[str, tuple[torch.Tensor, ...]]:
    """The two sets, each split by whether the torso (its quaternion is in columns 2 to 5) stands upright."""
    parts = {}
    for name in ("replay", "twins"):
        obs = sets[name][0]
        upright = 1.0 - 2.0 * (obs[:, 3].square() + obs[:, 4].square()) > 0.0
        parts |= {
            f"{name}, {posture}": tuple(column[which] for column in sets[name])
            for posture, which in (("upright", upright), ("upside down", ~upright))
        }
    return {name: columns for name, columns in parts.items() if len(columns[0]) > 1}


def model_rows(
    model: str, learner: Learner, kept: dict[int, dict], sets: dict[str, tuple[torch.Tensor, ...]]
) -> list[dict]:
    """The errors of every kept model on every held-out set."""
    dynamics, rows = copy.deepcopy(learner.dynamics), []
    parts = {"all": slice(None), "state": slice(None, -CONTACTS), "contacts": slice(-CONTACTS, None)}
    for step, weights in kept.items():
        dynamics.load_state_dict(weights)
        for name, (obs, action, next_obs) in sets.items():
            nll, error = column_errors(dynamics, learner.world.scale, obs, action, next_obs)
            spread = (next_obs - obs).std(0)
            varies = spread > 1e-6 * (1.0 + obs.abs().amax(0))
            rows += [
                {
                    "model": model,
                    "clip": clip_name(learner.config.dynamics_clip),
                    "step": step,
                    "set": name,
                    "part": part,
                    **summary(nll[:, columns], error[:, columns], spread[columns], varies[columns]),
                }
                for part, columns in parts.items()
            ]
    return rows


def trained_again(agent: MAGEAgent) -> tuple[Learner, dict[int, dict]]:
    """An ensemble with the other setting of the cut, trained on the run's transitions as they came; its learner, and the models by step."""
    other = LIMIT if agent.config.dynamics_clip is None else None
    config, data, kept = dataclasses.replace(agent.config, dynamics_clip=other), agent.learner.replay.data, {}
    learner = build_learner(config, agent.get_env())
    for i in range(agent.num_timesteps):
        obs, action, next_obs = (column[i].double().numpy() for column in (data.obs, data.action, data.next_obs))
        learner.replay.add(obs, action, float(data.reward[i]), next_obs, bool(data.terminated[i]))
        learner.normalizer.add(obs, action, next_obs)
        learner.num_timesteps += 1
        if learner.num_timesteps >= config.warmup_steps and dynamics_due(learner):
            dynamics_update(learner)
            if learner.num_timesteps % MARK == 0:
                kept[learner.num_timesteps] = copy.deepcopy(learner.dynamics.state_dict())
    return learner, kept


def memory_mb() -> float:
    """Memory that the process holds now, in MB (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def columns_moved(data, step: int) -> int:
    """How many columns of the observation have changed, beyond rounding, in the first `step` transitions."""
    obs, next_obs = data.obs[:step], data.next_obs[:step]
    return int(((next_obs - obs).abs() > 1e-6 * (1.0 + obs.abs())).any(0).sum())


def run(
    env_id: str, steps: int, seed: int, size: str, **settings
) -> tuple[MAGEAgent, dict[int, dict], list[list[tuple]], list[dict]]:
    """Train; the agent, the models by step, the transitions of every twin, and the rows of runs.csv."""
    then = (
        dict(updates_per_step=4, train_max_steps=0) if size == "laptop" else {}
    )  # what the size was when the tables were made
    agent = MAGEAgent(
        env_id,
        "mage",
        size,
        seed=seed,
        log_interval=TOGETHER,
        eval_interval=MARK,
        eval_episodes=3,
        dynamics_validation=0.1,
        **then | settings,
    )
    twins, recorded = [twin(agent, 10_000 + 100 * seed + number) for number in range(TWINS)], [[] for _ in range(TWINS)]
    kept, rows, worked = {}, [], [0.0]

    def look(agent, metrics):
        if "episodes" in metrics:
            assert all(math.isfinite(value) for value in metrics.values()), metrics
            for behaviour, transitions in zip(twins, recorded):
                transitions.extend(next(behaviour) for _ in range(TOGETHER))
        elif "return" in metrics:
            rows.append({"step": metrics["step"], "return": metrics["return"]})
        elif "seconds" in metrics:
            working = sum(metrics[part] for part in ("environment", "dynamics", "updates"))
            rows[-1] |= {"steps_per_second": MARK / (working - worked[-1]), "memory_mb": memory_mb()}
            worked.append(working)
            if agent.learner.dynamics_rounds:
                kept[metrics["step"]] = copy.deepcopy(agent.learner.dynamics.state_dict())

    agent.learn(steps, callback=look)
    rows = [row | {"columns_moved": columns_moved(agent.learner.replay.data, row["step"])} for row in rows]
    return agent, kept, recorded, rows


def append(table: Path, columns: tuple[str, ...], rows: list[dict], label: dict) -> None:
    """Append rows to a table; numbers with four digits."""
    new = not table.exists()
    with open(table, "a", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if new:
            writer.writeheader()
        for row in rows:
            writer.writerow(
                label | {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in row.items()}
            )


def main(env_id: str, steps: int, seed: int, size: str, clip: float | None) -> None:
    torch.set_num_threads(1)
    agent, kept, recorded, rows = run(env_id, steps, seed, size, dynamics_clip=clip)
    label = {"env": env_id, "size": size, "seed": seed}
    append(FOLDER / "runs.csv", RUNS, rows, label | {"clip": clip_name(clip)})
    sets = held_out_sets(agent, recorded)
    again, others = trained_again(agent)
    append(
        FOLDER / "model.csv",
        MODEL,
        model_rows("of the run", agent.learner, kept, sets | by_posture(sets))
        + model_rows("trained again", again, others, sets),
        label,
    )


if __name__ == "__main__":
    main(
        sys.argv[1],
        int(sys.argv[2]),
        int(sys.argv[3]),
        sys.argv[4],
        None if sys.argv[5] == "none" else float(sys.argv[5]),
    )
