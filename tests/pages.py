"""What the tests of the page share: the site's small agents, and what Python says they do."""
from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch

from mage_edu import make_env
from mage_edu.envs import ActionScale
from mage_edu.web import add_robot, read_agent

ROOT = Path(__file__).resolve().parent.parent
AGENTS = ROOT / "results" / "web"


def copy_agent(name: str, folder: Path, steps: int | None = None) -> Path:
    """One of the site's agents with its robot, in a folder of its own; `steps` is another limit of the episode."""
    shutil.copytree(AGENTS / name, folder)
    add_robot(folder)
    if steps is not None:
        text = (folder / "agent.json").read_text(encoding="utf-8")
        limit = read_agent(folder)[0]["world"]["max_steps"]
        (folder / "agent.json").write_text(text.replace(f'"max_steps": {limit}', f'"max_steps": {steps}'), encoding="utf-8")
    return folder


def episode(folder: Path, steps: int) -> tuple[float, np.ndarray]:
    """The return and the observations, (steps + 1, obs_dim), of an agent's folder in Gymnasium, from the start that it describes."""
    about, actor = read_agent(folder)
    env = make_env(about["task"], max_episode_steps=steps)
    scale, (obs, _) = ActionScale.of(env.action_space), env.reset(seed=about["seed"])
    if about["task"] == "Pendulum-v1":
        assert env.unwrapped.state.tolist() == about["world"]["start"]
    else:
        assert env.unwrapped.data.qpos.tolist() == about["world"]["start"]["qpos"]
    total, observations, ended = 0.0, [obs], False
    while not ended:
        with torch.no_grad():
            action = scale.to_env(actor(torch.as_tensor(obs, dtype=torch.float32)[None]))[0].numpy()
        obs, reward, terminated, truncated, _ = env.step(action.clip(env.action_space.low, env.action_space.high))
        total, ended = total + float(reward), terminated or truncated
        observations.append(obs)
    env.close()
    return total, np.array(observations)
