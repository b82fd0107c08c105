"""Train on a hard task and measure the model on transitions it was not trained on, with memory and speed, every 500 steps.

    .venv/bin/python results/hard_tasks/measure.py Ant-v5 4000 0

appends to results/hard_tasks/model.csv. `nll` is the mean negative log-likelihood per number of the observation, in nats and in the
observation's own units; `rmse` the root mean square error of the members' mean, in units of the standard deviation of the change. Both on
1,000 transitions of random actions that were recorded apart, and on 500 of the policy at that step.
"""
import csv
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch

from mage_edu import MAGEAgent, make_env
from mage_edu.recorded import record

TABLE = Path(__file__).parent / "model.csv"
COLUMNS = ("env", "size", "seed", "step", "nll_random", "rmse_random", "nll_policy", "rmse_policy", "return", "steps_per_second", "memory_mb")


def held_out_error(agent, arrays) -> tuple[float, float]:
    """Negative log-likelihood per number and root mean square error of the model on recorded transitions."""
    dynamics, scale = agent.learner.dynamics, agent.learner.world.scale
    obs, action, next_obs = (torch.as_tensor(arrays[name], dtype=torch.float32) for name in ("obs", "action", "next_obs"))
    change = next_obs - obs
    varies = change.std(0) > 1e-6
    members = lambda x: x.expand(dynamics.members, *x.shape)
    with torch.no_grad():
        mean, log_var = dynamics.predict(members(obs), members(scale.to_actor(action)))
        error = dynamics.normalized_delta(obs, next_obs) - mean
        nll = 0.5 * (error.square() * (-log_var).exp() + log_var + math.log(2 * math.pi)) + dynamics.delta_std.log()
        guess = mean.mean(0) * dynamics.delta_std + dynamics.delta_mean
        rmse = ((change - guess) / change.std(0))[:, varies].square().mean().sqrt()
    return float(nll[..., varies].mean()), float(rmse)


def memory_mb() -> float:
    """Memory that the process holds now, in MB (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main(env_id: str, steps: int, seed: int, size: str = "laptop") -> None:
    torch.set_num_threads(1)
    env = make_env(env_id)
    random = record(env, 1_000, seed=10_000 + seed)
    agent = MAGEAgent(env_id, size=size, seed=seed, compile=False, log_interval=500, eval_interval=500, eval_episodes=3)
    begin, returns, rows = [time.perf_counter(), 0], {}, []

    def look(agent, metrics):
        if "return" in metrics:
            returns[metrics["step"]] = metrics["return"]
        if "seconds" not in metrics or metrics["step"] % 500 or agent.learner.dynamics_rounds == 0:
            return
        step = agent.num_timesteps
        speed = (step - begin[1]) / (time.perf_counter() - begin[0])
        noise = np.random.default_rng(step)
        policy = lambda obs: np.clip(agent.predict(obs)[0] + 0.1 * env.action_space.high * noise.normal(size=env.action_space.shape), env.action_space.low, env.action_space.high).astype(np.float32)
        own = record(env, 500, seed=20_000 + step, policy=policy)
        values = (*held_out_error(agent, random), *held_out_error(agent, own), returns[step], speed, memory_mb())
        assert np.isfinite(values).all(), values
        rows.append(dict(zip(COLUMNS, (env_id, size, seed, step, *(f"{value:.4g}" for value in values)))))
        print(rows[-1], flush=True)
        begin[:] = time.perf_counter(), step

    agent.learn(steps, callback=look)
    new = not TABLE.exists()
    with open(TABLE, "a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
