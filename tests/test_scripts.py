"""The scripts that made the tables of results/, and those of benchmarks/: they can be imported, and make what their first lines say."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import gymnasium as gym
import numpy as np
import pytest

from mage_edu import MAGEAgent, make_env
from mage_edu.engine.storage import read_table
from mage_edu.web import read_agent

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted(
    path.relative_to(ROOT).as_posix() for folder in ("results", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)
SMALL = dict(size="tiny", actor_width=8, critic_width=8, dynamics_width=8, warmup_steps=20, eval_max_steps=5)


@pytest.fixture
def imported(monkeypatch):
    """Import a script by its path from the root, as it is when it is run: what stands beside it can be imported too."""

    def script(path: str) -> ModuleType:
        monkeypatch.syspath_prepend(str((ROOT / path).parent))
        spec = importlib.util.spec_from_file_location(path.removesuffix(".py").replace("/", "_"), ROOT / path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)  # where dataclasses look for their module
        spec.loader.exec_module(module)
        return module

    return script


@pytest.mark.parametrize("path", SCRIPTS)
def test_every_script_can_be_imported(path, imported):
    try:
        imported(path)
    except ModuleNotFoundError as error:
        if error.name.partition(".")[0] == "mage_edu":
            raise
        pytest.skip(f"{path} needs the package {error.name}")


class Parking(gym.Env):
    """Ends as it is told: in a crash, parked, or never; the information says which, as highway_env's does."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,))
    action_space = gym.spaces.Box(-1.0, 1.0, (1,))

    def __init__(self, ending: str):
        self.ending = ending

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        happened = {"crashed": self.ending == "crashed", "is_success": self.ending == "parked"}
        return np.zeros(2, np.float32), 0.0, any(happened.values()), False, happened


@pytest.mark.parametrize(("how", "steps"), [("crashed", 1), ("parked", 1), ("time limit", 5)])
def test_how_an_episode_of_parking_ended(how, steps, imported):
    agent = MAGEAgent(lambda: Parking(how), reward="learned", termination="learned", **SMALL)
    assert imported("results/other_packages/endings.py").ending(agent, 100) == (how, steps)


def test_the_untrained_agent_of_the_site_has_the_settings_of_the_run(tmp_path, imported, monkeypatch):
    MAGEAgent("Pendulum-v1", "td3", **SMALL | {"actor_width": 12}).save(tmp_path / "agent")
    monkeypatch.setattr(
        sys, "argv", ["page_agents.py", "--untrained", "--out", str(tmp_path / "web"), f"mine={tmp_path / 'agent'}"]
    )
    imported("benchmarks/page_agents.py").main()
    trained, untrained = (read_agent(tmp_path / "web" / name)[1] for name in ("mine", "untrained"))
    assert [tuple(weight.shape) for weight in untrained.weights] == [tuple(weight.shape) for weight in trained.weights]


def test_a_recorded_episode_is_played_in_the_world_of_the_agent(tmp_path, imported):
    moon = lambda: gym.make("Pendulum-v1", g=1.6)
    MAGEAgent(moon(), "mage", **SMALL).save(tmp_path / "agent")
    imported("benchmarks/episode.py").Recording(tmp_path / "agent", tmp_path / "episode.json", steps=3, horizon=2).run()
    recorded, agent = json.loads((tmp_path / "episode.json").read_text()), MAGEAgent.load(tmp_path / "agent")
    env = make_env(moon())
    env.reset()

    def step(obs, action):
        env.unwrapped.state = np.array([np.arctan2(obs[1], obs[0]), obs[2]])
        return env.step(np.array([action], np.float32))[:2]

    obs, _ = step(recorded["obs"][0], 2.0 * recorded["action"][0])
    assert np.allclose(obs, recorded["obs"][1], atol=1e-3)
    obs, reward = step(recorded["obs"][0], 2.0 * recorded["actions"][-1])
    _, then = step(obs, agent.predict(obs)[0].item())
    assert abs(reward + agent.config.discount * then - recorded["simulator"][0][-1]) < 1e-3


@pytest.mark.parametrize(
    ("path", "words", "table"),
    [
        ("results/worth_it/sac.py", ["--gradient-steps", "1", "8"], "sac.csv"),
        ("results/controls/collect.py", ["none", "slope"], "returns.csv"),
    ],
)
def test_a_script_makes_its_folder_and_no_run_of_its_table_again(path, words, table, tmp_path, imported, monkeypatch):
    script, made = imported(path), []

    def train(run, *rest):
        made.append((run["label"], run["seed"]))
        return [{**run, "step": 1000, "return": 1.0, "status": "finished", "error": ""}]

    monkeypatch.setattr(script, "train", train)
    monkeypatch.setattr(script.torch, "set_num_threads", lambda number: None)
    out = tmp_path / "results" / "new"
    script.main([*words[:-1], "--seeds", "10", "--out", str(out)])
    script.main([*words, "--seeds", "10", "11", "--out", str(out)])
    assert len(made) == len(set(made)) == 4
    rows = read_table(out / table)
    assert [(str(row["label"]), row["seed"]) for row in rows] == made
