"""The folder that shows an agent in a page: what is in it, that JavaScript computes what Python does, and what is refused."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from pages import AGENTS, ROOT, copy_agent, episode

from mage_edu import MAGEAgent, make_env, web
from mage_edu.cli import main

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(
    NODE is None, reason="no node here; tests/test_browser_player.py compares the same in a browser"
)
EPISODE = """
import fs from "fs";
import { Actor, readTensors } from "./actor.js";
import { Pendulum, Robot } from "./worlds.js";
import { Runner } from "./player.js";

const folder = process.argv[2], steps = Number(process.argv[3]);
const about = JSON.parse(fs.readFileSync(`${folder}/agent.json`)), bytes = fs.readFileSync(`${folder}/actor.safetensors`);
const actor = new Actor(readTensors(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)), about.actor);
const xml = about.world.xml && fs.readFileSync(`${folder}/${about.world.xml}`, "utf8");
const world = xml ? new Robot(await (await import("./engine/mujoco.js")).default(), xml, about.world) : new Pendulum(about.world);
const asked = process.argv[4] && JSON.parse(fs.readFileSync(process.argv[4]));
const result = asked ? asked.map((obs) => [...actor.act(obs)]) : new Runner(about, world, actor).episode(steps);
process.stdout.write(JSON.stringify(result));
"""


def node(player: Path, *arguments) -> object:
    """What the player answers in node: the result of an episode, or the actions for a file of observations."""
    (player / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    (player / "episode.js").write_text(EPISODE, encoding="utf-8")
    result = subprocess.run([NODE, "episode.js", *map(str, arguments)], cwd=player, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def agent():
    return MAGEAgent("Pendulum-v1", size="tiny", seed=4)


@pytest.mark.parametrize("half", [False, True])
def test_a_page_holds_the_agent_and_the_player(agent, tmp_path, half):
    agent.learner.actor.obs_scale.mean.fill_(0.1)  # which 16 bits cannot hold: the statistics stay whole
    folder = agent.to_web(tmp_path / "page", seed=3, half=half)
    names = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert names == {
        "index.html",
        "player.css",
        "player.js",
        "actor.js",
        "worlds.js",
        "agent/agent.json",
        "agent/actor.safetensors",
    }
    about, actor = web.read_agent(folder / "agent")
    assert about["task"] == "Pendulum-v1" and about["world"]["max_steps"] == 200 and about["text"]
    env = make_env("Pendulum-v1")
    env.reset(seed=3)
    assert about["world"]["start"] == env.unwrapped.state.tolist()
    obs = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    difference = (actor(obs) - agent.learner.actor(obs)).abs().max().item()
    assert torch.equal(actor.obs_scale.mean, agent.learner.actor.obs_scale.mean)
    assert difference == 0 if not half else 0 < difference < 1e-2
    assert (folder / "agent" / "actor.safetensors").stat().st_size < (13_000 if half else 20_000)


def test_a_page_is_replaced_and_nothing_else_is(agent, tmp_path):
    folder = agent.to_web(tmp_path / "page")
    (folder / "old.txt").write_text("from before")
    agent.to_web(folder)
    assert not (folder / "old.txt").exists()
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="choose another folder"):
        agent.to_web(tmp_path / "letters")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["letters", "page"]


def test_a_page_does_not_replace_the_folder_that_the_process_stands_in(agent, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileExistsError, match="stands in cannot be replaced"):
        agent.to_web(".")
    monkeypatch.chdir(agent.to_web("page"))
    with pytest.raises(FileExistsError, match="stands in cannot be replaced"):
        agent.to_web(tmp_path / "page")
    assert Path("index.html").exists()


@needs_node
@pytest.mark.parametrize(
    ("task", "settings"), [("Pendulum-v1", {}), ("HalfCheetah-v5", {"activation": "relu"}), ("InvertedPendulum-v5", {})]
)
def test_the_forward_pass_in_javascript_is_predict(tmp_path, task, settings):
    """In single precision: standardization with statistics, activation, bounds."""
    agent, generator = MAGEAgent(task, size="tiny", seed=1, **settings), torch.Generator().manual_seed(0)
    actor = agent.learner.actor
    actor.obs_scale.mean.copy_(torch.randn(actor.obs_scale.mean.shape, generator=generator))
    actor.obs_scale.std.copy_(torch.rand(actor.obs_scale.std.shape, generator=generator) + 0.5)
    obs = torch.randn(50, len(actor.obs_scale.mean), generator=generator, dtype=torch.float64).numpy() * 3
    folder, player = tmp_path / "agent", tmp_path / "player"
    folder.mkdir()
    player.mkdir()
    web.write_agent(folder, actor, make_env("Pendulum-v1"), "an actor of any task")
    about = json.loads((folder / "agent.json").read_text())
    about["actor"] |= {"low": agent.env.action_space.low.tolist(), "high": agent.env.action_space.high.tolist()}
    (folder / "agent.json").write_text(json.dumps(about))
    web.write_player(player, None)
    (tmp_path / "asked.json").write_text(json.dumps(obs.tolist()))
    assert np.allclose(node(player, folder, 0, tmp_path / "asked.json"), agent.predict(obs)[0], rtol=0, atol=2e-6)


@needs_node
def test_a_pendulum_in_javascript_is_gymnasiums(tmp_path):
    folder, player = copy_agent("pendulum", tmp_path / "agent", steps=1000), tmp_path / "player"
    player.mkdir()
    web.write_player(player, None)
    played = node(player, folder, 1000)
    total, observations = episode(folder, 1000)
    assert played["steps"] == 1000 and abs(played["total"] / total - 1) < 0.01
    assert np.abs(np.array(played["observations"])[:100] - observations[:100]).max() < 1e-2


@needs_node
@pytest.mark.parametrize(
    ("name", "steps"), [("mage", 10), ("balance", 100), ("stand", 100), ("hopper", 100), ("walker", 100)]
)
def test_a_robot_in_javascript_is_gymnasiums(tmp_path, name, steps):
    """The first observations: a cheetah's contacts multiply the last bits of a sum by a thousand in 20 steps. Whole episodes are compared in a browser."""
    engine = web.cache_folder() / web.ENGINE.replace("/", "-")
    if not web.has_engine(engine):
        pytest.skip("the engine is not in the cache, and these tests fetch nothing")
    folder, player = copy_agent(name, tmp_path / "agent"), tmp_path / "player"
    player.mkdir()
    web.write_player(player, engine)
    played = np.array(node(player, folder, steps)["observations"])
    expected = episode(folder, steps)[1]
    assert played.shape == expected.shape and np.abs(played - expected)[:100].max() < 1e-2


@pytest.mark.parametrize(
    ("env", "learned", "complaint"),
    [
        (
            lambda: "Ant-v5",
            False,
            "a page can show Pendulum-v1, InvertedPendulum-v5, Hopper-v5, Walker2d-v5, HalfCheetah-v5",
        ),
        (lambda: gym.wrappers.ClipReward(gym.make("Pendulum-v1"), 0, 1), True, "wrapped in ClipReward"),
        (
            lambda: gym.make("Hopper-v5", exclude_current_positions_from_observation=False),
            True,
            "exclude_current_positions_from_observation",
        ),
    ],
)
def test_what_a_page_cannot_show_is_refused(tmp_path, env, learned, complaint):
    settings = dict(reward="learned", termination="learned") if learned else {}
    agent = MAGEAgent(env(), size="tiny", **settings)
    with pytest.raises(ValueError, match=complaint):
        agent.to_web(tmp_path / "page")
    assert list(tmp_path.iterdir()) == []


def test_edited_physics_are_refused(tmp_path):
    """The page reads Gymnasium's XML, so it would show another robot."""
    env = gym.make("Hopper-v5")
    env.unwrapped.model.body_mass[1] *= 2
    with pytest.raises(ValueError, match=r"edited by hand \(HopperEnv.model.body_mass\)"):
        MAGEAgent(env, size="tiny").to_web(tmp_path / "page")
    assert list(tmp_path.iterdir()) == []


def test_settings_of_the_environment_reach_the_page():
    described = web.describe_world(
        make_env(
            "Walker2d-v5",
            ctrl_cost_weight=0.5,
            healthy_z_range=(0.1, 3.0),
            terminate_when_unhealthy=False,
            frame_skip=2,
        ),
        0,
    )
    assert (
        described["reward"] == {"forward": 1.0, "alive": 1.0, "effort": 0.5}
        and described["substeps"] == 2
        and not described["ends"]
    )
    assert described["healthy"][0] == {"first": 1, "last": 2, "low": 0.1, "high": 3.0}


def test_without_npm_a_sentence(agent, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *words, **places: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(RuntimeError, match="npm is not installed"):
        MAGEAgent("HalfCheetah-v5", size="tiny").to_web(tmp_path / "page")
    assert list(tmp_path.iterdir()) == []


def test_another_digest_is_not_believed(tmp_path, monkeypatch):
    def packed(package: str, folder: Path) -> Path:
        for name in web.ENGINE_DIGESTS:
            (folder / "package").mkdir(exist_ok=True)
            (folder / "package" / name).write_text("not the engine")
        with tarfile.open(folder / "engine.tgz", "w:gz") as archive:
            archive.add(folder / "package", "package")
        return folder / "engine.tgz"

    monkeypatch.setattr(web, "npm_pack", packed)
    with pytest.raises(RuntimeError, match="mujoco.js and mujoco.wasm from npm have another digest"):
        web.fetch_engine(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_the_engine_is_the_version_of_the_pinned_environment():
    version = web.ENGINE.rpartition("@")[2]
    assert f"\nmujoco=={version}\n" in (ROOT / "constraints.txt").read_text(encoding="utf-8")


def test_a_damaged_agent_is_refused(agent, tmp_path):
    folder = agent.to_web(tmp_path / "page") / "agent"
    (folder / "actor.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="actor.safetensors: not the file of an actor"):
        web.read_agent(folder)
    (folder / "agent.json").write_text('{"schema": 99}')
    with pytest.raises(ValueError, match="schema 1"):
        web.read_agent(folder)


@pytest.mark.parametrize(("task", "settings"), [("Pendulum-v1", {}), ("Pusher-v5", {"activation": "relu"})])
def test_the_onnx_file_is_the_policy(tmp_path, task, settings):
    """Bounds that are not 1, statistics that are not 0 and 1, another activation, any number of observations."""
    onnxruntime = pytest.importorskip("onnxruntime")
    agent, generator = MAGEAgent(task, size="tiny", seed=2, **settings), torch.Generator().manual_seed(0)
    scale = agent.learner.actor.obs_scale
    scale.mean.copy_(torch.randn(scale.mean.shape, generator=generator))
    scale.std.copy_(torch.rand(scale.std.shape, generator=generator) + 0.5)
    session = onnxruntime.InferenceSession(str(agent.export(tmp_path / "policy.onnx")))
    for count in (1, 64):
        obs = torch.randn(count, len(scale.mean), generator=generator).numpy() * 3
        (actions,) = session.run(None, {"obs": obs})
        assert (
            actions.shape == (count, agent.env.action_space.shape[0])
            and np.abs(actions - agent.predict(obs)[0]).max() < 1e-5
        )


def test_onnx_refusals(agent, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="ends in .onnx"):
        agent.export(tmp_path / "policy.pt")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ValueError, match=r"pip install 'mage_edu\[onnx\]'"):
        agent.export(tmp_path / "policy.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_a_page_and_a_policy(agent, tmp_path, capsys):
    pytest.importorskip("onnx")
    agent.save(tmp_path / "saved")
    assert (
        main(
            [
                "web",
                str(tmp_path / "saved"),
                "--out",
                str(tmp_path / "page"),
                "--seed",
                "3",
                "--onnx",
                str(tmp_path / "policy.onnx"),
            ]
        )
        == 0
    )
    said = capsys.readouterr().out
    assert (
        "http.server --directory" in said
        and (tmp_path / "page" / "index.html").is_file()
        and (tmp_path / "policy.onnx").is_file()
    )
    assert main(["web", str(tmp_path / "nothing")]) == 2 and "expected an agent folder" in capsys.readouterr().err


def test_the_sites_agents_are_small_and_whole():
    files = [file for file in AGENTS.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 1_500_000
    assert {folder.name for folder in AGENTS.iterdir()} >= {"untrained", "dyna-td3", "mage"}
    for folder in AGENTS.iterdir():
        about, actor = web.read_agent(folder)
        assert (
            about["task"] in web.PLAYABLE
            and len(actor.obs_scale.mean) == make_env(about["task"]).observation_space.shape[0]
        )


def test_the_site_puts_live_robots_beside_the_frames(tmp_path, monkeypatch):
    """And builds without them where there is no engine."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    player = importlib.import_module("player")
    lesson = tmp_path / "lesson.ipynb"
    shutil.copyfile(ROOT / player.LESSON, lesson)
    before = json.loads(lesson.read_text())["cells"]
    player.add_player(lesson)
    after = json.loads(lesson.read_text())["cells"]
    assert len(after) == len(before) + 1 and "".join(before[0]["source"]) == "".join(after[0]["source"])
    assert "cheetah.png" in "".join(after[0]["source"]) and 'class="mage-player"' in "".join(after[1]["source"])
    for name in web.ENGINE_DIGESTS:
        (tmp_path / name).write_text("a stand-in for the engine")
    player.write_robots(tmp_path / "player", AGENTS, tmp_path)
    for name in player.SHOWN:
        assert (
            f"../../player/{name}" in "".join(after[1]["source"])
            and (tmp_path / "player" / name / "half_cheetah.xml").is_file()
        )
    monkeypatch.setattr(shutil, "which", lambda *words, **places: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert "npm is not installed" in player.engine_or_reason()


def test_the_bounds_of_the_actions_reach_the_page(agent, tmp_path):
    about, _ = web.read_agent(agent.to_web(tmp_path / "page") / "agent")
    assert (about["actor"]["low"], about["actor"]["high"]) == ([-2.0], [2.0])
