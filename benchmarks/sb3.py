"""Our `td3` beside Stable-Baselines3's TD3: the same environments, networks and settings, several seeds of each.

    python benchmarks/sb3.py --envs Pendulum-v1 HalfCheetah-v5 --steps 50000 --seeds 0 1 2 3 4 --out runs/sb3 --table results/sb3/returns.csv

Every run leaves one small CSV in `--out`; runs that are there already are not made again. The table collects what is there. The list of
differences between the two, and how each is closed, is in the notebook nbs/appendix/stable_baselines3.ipynb.
"""

from __future__ import annotations

import csv
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

import numpy as np
import torch
import tyro

from mage_edu import MAGEAgent
from mage_edu.engine.storage import write_table
from mage_edu.engine.sweep import returns_along
from mage_edu.envs import make_env

EVAL_INTERVAL, EVAL_EPISODES = 10_000, 10
COLUMNS = ("env", "library", "seed", "step", "return")
LIBRARIES = ("mage_edu", "stable_baselines3")


@dataclass(frozen=True)
class Setting:
    """What both libraries are told, in units of neither; noise is in [-1, 1] units, standard deviations."""

    width: int = 64  # units in each of two hidden layers, of actor and critics
    batch_size: int = 64
    lr: float = 1e-3  # of actor and critics
    discount: float = 0.99
    polyak: float = 0.005
    policy_delay: int = 2
    exploration_noise: float = 0.1
    target_noise: float = 0.2
    target_noise_clip: float = 0.5
    warmup_steps: int = 1_000
    replay_capacity: int = 100_000


def our_settings(setting: Setting) -> dict[str, Any]:
    """`Config` fields with which `td3` computes what Stable-Baselines3's TD3 does.

    Its critic loss is the sum over twins of the mean squared error; ours is the mean over twins of half of it: hence the weight 4.
    """
    shared = {
        name: getattr(setting, name)
        for name in (
            "batch_size",
            "discount",
            "polyak",
            "policy_delay",
            "exploration_noise",
            "target_noise",
            "target_noise_clip",
            "warmup_steps",
            "replay_capacity",
        )
    }
    return dict(
        shared,
        actor_layers=2,
        critic_layers=2,
        actor_width=setting.width,
        critic_width=setting.width,
        actor_lr=setting.lr,
        critic_lr=setting.lr,
        updates_per_step=1,
        activation="relu",
        optimizer="adam",
        critic_loss="squared",
        value_weight=4.0,
        actor_climbs="first",
        delay_target_critic=True,
        standardize_obs=False,
        critic_layer_norm=False,
        preactivation_weight=0.0,
        grad_clip=1e9,
        eval_interval=EVAL_INTERVAL,
        eval_episodes=EVAL_EPISODES,
    )


def our_agent(env_id: str, setting: Setting, seed: int, **arguments: Any) -> MAGEAgent:
    """Our side; further `arguments` go to `MAGEAgent`."""
    return MAGEAgent(env_id, "td3", "paper", seed, **our_settings(setting), **arguments)


def their_model(env_id: str, setting: Setting, seed: int, widths: list[int] | None = None, kind: Any = None) -> Any:
    """Stable-Baselines3's side, in the environment that our agent sees; what is not named here is its default. `kind` is its TD3, or SBX's."""
    from stable_baselines3 import TD3
    from stable_baselines3.common.noise import NormalActionNoise

    kind = kind or TD3
    env = make_env(env_id)
    act_dim = env.action_space.shape[0]
    return kind(
        "MlpPolicy",
        env,
        learning_rate=setting.lr,
        buffer_size=setting.replay_capacity,
        learning_starts=setting.warmup_steps,
        batch_size=setting.batch_size,
        tau=setting.polyak,
        gamma=setting.discount,
        train_freq=1,
        gradient_steps=1,
        action_noise=NormalActionNoise(np.zeros(act_dim), np.full(act_dim, setting.exploration_noise)),
        policy_delay=setting.policy_delay,
        target_policy_noise=setting.target_noise,
        target_noise_clip=setting.target_noise_clip,
        policy_kwargs=dict(net_arch=widths or [setting.width, setting.width]),
        seed=seed,
        device="cpu",
    )


def our_returns(env_id: str, setting: Setting, seed: int, steps: int) -> list[tuple[int, float]]:
    """(step, mean return) of every evaluation of one run of ours."""
    found: list[tuple[int, float]] = []

    def keep(agent: MAGEAgent, row: dict[str, float]) -> None:
        if "return" in row:
            found.append((int(row["step"]), row["return"]))

    our_agent(env_id, setting, seed, compile=True).learn(steps, callback=keep)
    return found


def their_returns(env_id: str, setting: Setting, seed: int, steps: int) -> list[tuple[int, float]]:
    """(step, mean return) of every evaluation of one run of theirs, by our evaluator: the same episodes' seeds as in ours."""
    model = their_model(env_id, setting, seed)
    return returns_along(model, env_id, seed, steps, EVAL_INTERVAL, EVAL_EPISODES)


def run(env_id: str, library: str, seed: int, steps: int, setting: Setting, path: Path) -> None:
    """One run into its CSV, unless that is there."""
    if path.exists():
        return
    begin = time.process_time()
    returns = (our_returns if library == "mage_edu" else their_returns)(env_id, setting, seed, steps)
    rows = [dict(env=env_id, library=library, seed=seed, step=step) | {"return": value} for step, value in returns]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, COLUMNS, rows)
    print(
        f"{env_id} {library} seed {seed}: {rows[-1]['return']:.1f} after {steps} steps, {time.process_time() - begin:.0f} s of processor time",
        flush=True,
    )


def collected(out: Path, steps: int) -> Iterator[dict[str, Any]]:
    """The rows of all runs of so many steps, in order."""
    for path in sorted(out.glob(f"*/*/{steps}-seed-*.csv")):
        yield from csv.DictReader(path.read_text().splitlines())


def main(
    envs: tuple[str, ...] = ("Pendulum-v1", "HalfCheetah-v5"),
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    steps: int = 50_000,
    out: Path = Path("runs/sb3"),
    table: Path | None = None,
    setting: Setting = Setting(),
) -> None:
    """Make the runs that are missing in `out`, one after the other, and collect all into `table` where one is named."""
    torch.set_num_threads(1)
    for seed in seeds:
        for env_id in envs:
            for library in LIBRARIES:
                run(env_id, library, seed, steps, setting, out / env_id / library / f"{steps}-seed-{seed}.csv")
    if table is not None:
        table.parent.mkdir(parents=True, exist_ok=True)
        write_table(table, COLUMNS, collected(out, steps))


if __name__ == "__main__":
    tyro.cli(main)
