"""What the tests of the page share: the browser's flags, a server of files, the site's small agents, two that need no training, and what Python says they do."""

from __future__ import annotations

import shutil
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Iterator

import numpy as np
import pytest
import torch

from mage_edu import make_env
from mage_edu.actor import Actor
from mage_edu.envs import ActionScale
from mage_edu.web import add_robot, read_agent, write_agent

ROOT = Path(__file__).resolve().parent.parent
AGENTS = ROOT / "results" / "web"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

LINEAR = {  # task, and the gain of an actor tanh(gain @ obs) that lasts for a whole episode: it balances, it stands still
    "balance": ("InvertedPendulum-v5", [[0.3, 5.0, 0.5, 1.0]]),
    "stand": (
        "Hopper-v5",
        [
            [0, 0, 0, *(-3.0 * (i == j) for j in range(3)), 0, 0, 0, *(-0.5 * (i == j) for j in range(3))]
            for i in range(3)
        ],
    ),
}


@contextmanager
def open_chromium() -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright, while the block lasts."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium")
    if program is None:
        pytest.fail("there is no `chromium`; on Debian, as root: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


class Quiet(SimpleHTTPRequestHandler):
    """A file server that writes nothing, as a browser expects of one: scripts with their type, nothing kept."""

    def log_message(self, *arguments) -> None:
        pass


def serve(folder: Path) -> tuple[ThreadingHTTPServer, str]:
    """A running server of a folder and its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}/"


def linear_actor(gain: torch.Tensor) -> Actor:
    """An actor of the library that computes tanh(gain @ obs), because swish(z) - swish(-z) = z."""
    act_dim, obs_dim = gain.shape
    actor, one = Actor(obs_dim, act_dim, 1, 2 * act_dim, torch.Generator()), torch.eye(act_dim)
    actor.load_state_dict(
        {
            "weights.0": torch.cat([gain.T, -gain.T], 1)[None],
            "biases.0": torch.zeros(1, 1, 2 * act_dim),
            "weights.1": torch.cat([one, -one])[None],
            "biases.1": torch.zeros(1, 1, act_dim),
            "obs_scale.mean": torch.zeros(obs_dim),
            "obs_scale.std": torch.ones(obs_dim),
        }
    )
    return actor


def copy_agent(name: str, folder: Path, steps: int | None = None) -> Path:
    """One of the agents with its robot, in a folder of its own; `steps` is another limit of the episode."""
    if name in LINEAR:
        task, gain = LINEAR[name]
        folder.mkdir(parents=True)
        write_agent(folder, linear_actor(torch.tensor(gain, dtype=torch.float32)), make_env(task), name)
    else:
        shutil.copytree(AGENTS / name, folder)
    add_robot(folder)
    if steps is not None:
        text = (folder / "agent.json").read_text(encoding="utf-8")
        limit = read_agent(folder)[0]["world"]["max_steps"]
        (folder / "agent.json").write_text(
            text.replace(f'"max_steps": {limit}', f'"max_steps": {steps}'), encoding="utf-8"
        )
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
