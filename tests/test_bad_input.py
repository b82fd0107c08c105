"""What a user sees who gets something wrong: one table over the Python face, the configuration and the files; test_cli.py has the command line's."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from unittest.mock import patch

import gymnasium as gym
import numpy as np
import pytest

from mage_edu import MAGEAgent, make_config, make_env, reward_fn, termination_fn
from mage_edu.engine.checkpoint import newest_checkpoint
from mage_edu.engine.storage import CsvTable, RunFolder, read_table, write_json

FEW = dict(
    size="tiny",
    warmup_steps=20,
    dynamics_batches=2,
    dynamics_interval=20,
    log_interval=20,
    eval_interval=40,
    eval_episodes=1,
    checkpoint_interval=20,
    actor_width=8,
    critic_width=8,
    dynamics_width=8,
)


class Desk:
    """What the wrong inputs are made from: a short run, an agent, an environment, and room for files."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.agent = MAGEAgent("Pendulum-v1", out=folder / "run", **FEW).learn(40)
        self.agent.save(folder / "saved")
        (folder / "file").write_text("mine")
        (folder / "full").mkdir()
        (folder / "full" / "precious").write_text("mine")

    def copy(self, name: str) -> Path:
        """A fresh copy of the saved agent or the run, to be damaged."""
        target = self.folder / "copy"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.folder / name, target)
        return target

    def damaged(self, name: str, file: str, data: bytes | None) -> Path:
        folder = self.copy(name)
        (folder / file).unlink() if data is None else (folder / file).write_bytes(data)
        return folder

    def unreadable(self, name: str, file: str) -> Path:
        folder = self.copy(name)
        (folder / file).unlink()
        (folder / file).mkdir()  # root reads what has no permissions, but nobody reads a folder as a file
        return folder


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    return Desk(tmp_path_factory.mktemp("desk"))


def new(**settings):
    return MAGEAgent("Pendulum-v1", **(FEW | settings))


def on_a_full_disk(call):
    with patch("os.fsync", side_effect=OSError(28, "No space left on device")):
        return call()


def resume(folder: Path):
    return MAGEAgent.load(folder).learn(20, reset_num_timesteps=False)


def broken(what: str) -> MAGEAgent:
    """An agent whose environment gives something wrong at its 10th step."""
    agent, count = new(), []
    simulator = agent.env.unwrapped
    step = simulator.step

    def stumble(action):
        count.append(1)
        obs, reward, *rest = step(action)
        if len(count) == 10:
            obs = np.full_like(obs, np.nan) if what == "obs" else obs
            reward = float("inf") if what == "reward" else reward
        return obs, reward, *rest

    simulator.step = stumble
    return agent


CASES = {  # what is wrong: (call, type of the error, a part of its sentence)
    # the constructor
    "unknown environment": (
        lambda d: MAGEAgent("Pendulum-v2", **FEW),
        ValueError,
        "unknown environment 'Pendulum-v2'. Did you mean 'Pendulum-v1'?",
    ),
    "environment of another kind": (lambda d: MAGEAgent(3, **FEW), (ValueError, TypeError), "3"),
    "discrete actions": (
        lambda d: MAGEAgent(gym.make("CartPole-v1"), **FEW),
        ValueError,
        "expected a bounded Box (continuous actions)",
    ),
    "unknown algorithm": (lambda d: new(algorithm="mgae"), ValueError, "Did you mean 'mage'?"),
    "list of algorithms": (
        lambda d: new(algorithm=["td3"]),
        ValueError,
        "algorithm=['td3']: expected a name, such as 'mage-even'",
    ),
    "list of sizes": (lambda d: new(size=["tiny"]), ValueError, "size=['tiny']: expected a name"),
    "folder that is a number": (lambda d: new(out=5), ValueError, "out=5: expected the path of a new run folder"),
    "data that are a number": (lambda d: new(data=5), ValueError, "data=5: expected the path of a file"),
    "unknown size": (lambda d: new(size="labtop"), ValueError, "Did you mean 'laptop'?"),
    "unknown setting": (lambda d: new(discuont=0.9), ValueError, "Did you mean 'discount'?"),
    "setting of Stable-Baselines3": (
        lambda d: new(learning_starts=10),
        ValueError,
        "unknown setting 'learning_starts': here that is warmup_steps.",
    ),
    "actor of one's own": (
        lambda d: new(actor=lambda config, obs_dim, act_dim, generator: None),
        ValueError,
        "the actor's network cannot be replaced; actor_layers, actor_width and activation size it, and actor_loss may be",
    ),
    "policy of Stable-Baselines3": (
        lambda d: MAGEAgent("MlpPolicy", "Pendulum-v1"),
        ValueError,
        "this is an environment, which is given as env; a policy is not named",
    ),
    "unknown device": (lambda d: new(device="gpu"), ValueError, "use 'auto', 'cpu' or 'cuda'"),
    "device of another type": (lambda d: new(device=None), ValueError, "device=None"),
    "compile is no choice": (lambda d: new(compile="yes"), ValueError, "compile='yes'"),
    "tensorboard without a folder": (lambda d: new(tensorboard=True), ValueError, "the log needs a run folder"),
    "folder with something in it": (lambda d: new(out=d.folder / "full"), FileExistsError, "choose another folder"),
    "file in the way": (lambda d: new(out=d.folder / "file"), FileExistsError, "a file is here already"),
    "folder below a file": (lambda d: new(out=d.folder / "file" / "run"), NotADirectoryError, "choose another path"),
    "folder on a full disk": (
        lambda d: on_a_full_disk(lambda: new(out=d.folder / "never")),
        OSError,
        "No space left on device",
    ),
    # settings: types
    "number as text": (lambda d: new(discount="0.9"), ValueError, "discount='0.9': expected a finite number"),
    "bool for a number": (lambda d: new(discount=True), ValueError, "discount=True"),
    "float for a count": (lambda d: new(batch_size=64.0), ValueError, "batch_size=64.0: expected an int"),
    "None for a count": (lambda d: new(members=None), ValueError, "members=None"),
    "number for a bool": (lambda d: new(twin=1), ValueError, "twin=1: expected a bool"),
    "list for a number": (lambda d: new(actor_lr=[1e-3]), ValueError, "actor_lr=[0.001]"),
    "seed as text": (lambda d: new(seed="0"), ValueError, "seed='0'"),
    # settings: ranges
    "discount above 1": (lambda d: new(discount=1.1), ValueError, "between 0 and 1"),
    "discount nan": (lambda d: new(discount=float("nan")), ValueError, "discount=nan"),
    "infinite rate": (lambda d: new(critic_lr=float("inf")), ValueError, "critic_lr=inf"),
    "rate of zero": (lambda d: new(actor_lr=0.0), ValueError, "actor_lr=0.0: expected a number above 0"),
    "negative seed": (lambda d: new(seed=-1), ValueError, "seed=-1"),
    "seed too large": (lambda d: new(seed=2**32), ValueError, "seed=4294967296"),
    "no members": (lambda d: new(members=0), ValueError, "members=0"),
    "negative noise": (lambda d: new(imagined_noise=-0.1), ValueError, "imagined_noise=-0.1"),
    "polyak above 1": (lambda d: new(polyak=1.5), ValueError, "polyak=1.5"),
    "no checkpoint interval": (lambda d: new(checkpoint_interval=0), ValueError, "checkpoint_interval=0"),
    "divergence limit of zero": (lambda d: new(divergence_limit=0.0), ValueError, "divergence_limit=0.0"),
    "gradient_on is no choice": (lambda d: new(gradient_on="imagine"), ValueError, "Did you mean 'imagined'?"),
    # settings at odds
    "batch does not divide": (lambda d: new(batch_size=65), ValueError, "choose a multiple"),
    "nothing to learn": (
        lambda d: new(value_weight=0.0, gradient_weight=0.0),
        ValueError,
        "the critic would learn nothing",
    ),
    "gradient of stored transitions": (
        lambda d: new(algorithm="mage", real_share=1.0),
        ValueError,
        "nothing would be asked about its slope",
    ),
    "variances in the wrong order": (lambda d: new(log_var_min=0.0), ValueError, "log_var_min=0.0"),
    # learn
    "negative steps": (lambda d: new().learn(-1), ValueError, "total_timesteps=-1"),
    "half a step": (lambda d: new().learn(1.5), ValueError, "total_timesteps=1.5"),
    "steps as text": (lambda d: new().learn("100"), ValueError, "total_timesteps='100'"),
    "True steps": (lambda d: new().learn(True), ValueError, "total_timesteps=True"),
    "a second run in one folder": (lambda d: d.agent.learn(10), ValueError, "pass reset_num_timesteps=False"),
    "observation that is not a number": (lambda d: broken("obs").learn(20), ValueError, "step 9: observation"),
    "infinite reward": (lambda d: broken("reward").learn(20), ValueError, "step 9: reward inf"),
    "disk full on the way": (
        lambda d: on_a_full_disk(lambda: resume(d.copy("run"))),
        OSError,
        "No space left on device",
    ),
    # predict, evaluate, video
    "observation too short": (lambda d: d.agent.predict(np.zeros(2)), ValueError, "expected (3,) or (n, 3)"),
    "observation of rank 3": (lambda d: d.agent.predict(np.zeros((1, 1, 3))), ValueError, "expected (3,) or (n, 3)"),
    "no episodes": (lambda d: d.agent.evaluate(0), ValueError, "episodes=0"),
    "half an episode": (lambda d: d.agent.evaluate(2.5), ValueError, "episodes=2.5: expected a whole number"),
    "episodes as text": (lambda d: d.agent.evaluate("3"), ValueError, "episodes='3': expected a whole number"),
    "negative seed of an evaluation": (
        lambda d: d.agent.evaluate(1, seed=-1),
        ValueError,
        "seed=-1: expected a whole number of at least 0",
    ),
    "observation of letters": (
        lambda d: d.agent.predict(["a", "b", "c"]),
        ValueError,
        "obs array(['a', 'b', 'c'], dtype='<U1'): expected finite numbers",
    ),
    "observation with a NaN": (
        lambda d: d.agent.predict([1.0, 2.0, float("nan")]),
        ValueError,
        "nan]): expected finite numbers",
    ),
    "observation beyond float32": (lambda d: d.agent.predict([1.0, 2.0, 1e39]), ValueError, "expected finite numbers"),
    "video of another kind": (
        lambda d: d.agent.video(d.folder / "film.gif"),
        ValueError,
        "film.gif: expected the name of a file that ends in .mp4",
    ),
    "video without an ending": (lambda d: d.agent.video(d.folder / "film"), ValueError, "film: expected the name"),
    "video into a number": (lambda d: d.agent.video(5), ValueError, "path=5: expected the name of a file"),
    "negative seed of a video": (lambda d: d.agent.video(d.folder / "v.mp4", seed=-1), ValueError, "seed=-1"),
    "negative steps of a video": (lambda d: d.agent.video(d.folder / "v.mp4", steps=-1), ValueError, "steps=-1"),
    "half a step of a video": (lambda d: d.agent.video(d.folder / "v.mp4", steps=1.5), ValueError, "steps=1.5"),
    "negative seed of a page": (lambda d: d.agent.to_web(d.folder / "web", seed=-1), ValueError, "seed=-1: expected"),
    "wrapper that may change the reward": (
        lambda d: MAGEAgent(gym.wrappers.TransformReward(gym.make("Pendulum-v1"), abs), reward="known", **FEW),
        ValueError,
        "wrapped in TransformReward",
    ),
    "known termination inside a wrapper": (
        lambda d: MAGEAgent(
            gym.wrappers.TransformReward(gym.make("InvertedPendulum-v5"), abs),
            termination="known",
            reward="learned",
            **FEW,
        ),
        ValueError,
        "termination=termination_fn('InvertedPendulum-v5')",
    ),
    "reward is no choice": (lambda d: new(reward="lerned"), ValueError, "Did you mean 'learned'?"),
    "given without a function": (lambda d: new(reward="given"), ValueError, "pass the function itself"),
    "reward of another environment": (
        lambda d: new(reward=lambda o, a, n: n[..., 0]).learn(5),
        ValueError,
        "The function you gave is not the environment's",
    ),
    "reward that is to replace the environment's": (
        lambda d: new(algorithm="td3", reward=lambda o, a, n: n[..., 0]).learn(5),
        ValueError,
        "reward= tells the model what the environment pays, and does not change the environment",
    ),
    "termination that is to replace the environment's": (
        lambda d: new(algorithm="ddpg", termination=lambda o, a, n: n[..., 0] < 2.0).learn(5),
        ValueError,
        "to train on another termination, change the environment (a wrapper whose step returns it)",
    ),
    "reward summed over the batch": (
        lambda d: new(reward=lambda o, a, n: (o[..., 0] * 0).sum()).learn(5),
        ValueError,
        "expected a tensor of 2 numbers",
    ),
    "reward that gives arrays": (
        lambda d: new(reward=lambda o, a, n: np.zeros(len(o))).learn(5),
        ValueError,
        "the reward function gave ndarray",
    ),
    "termination that gives numbers": (
        lambda d: new(termination=lambda o, a, n: o[:, 0] * 0).learn(5),
        ValueError,
        "expected a tensor of 2 booleans",
    ),
    "termination where none was promised": (
        lambda d: MAGEAgent("InvertedPendulum-v5", reward="learned", termination="never", **FEW).learn(40),
        ValueError,
        "declared never to terminate",
    ),
    "argument without a formula": (
        lambda d: MAGEAgent(gym.make("Hopper-v5", xml_file="hopper.xml"), **FEW),
        ValueError,
        "reward='learned'",
    ),
    "video into no folder": (lambda d: d.agent.video(d.folder / "nowhere" / "v.mp4"), OSError, "cannot be written"),
    # save and load
    "save over a file": (
        lambda d: d.agent.save(d.folder / "file"),
        FileExistsError,
        "something that is not a saved agent",
    ),
    "save over a folder": (lambda d: d.agent.save(d.folder / "full"), FileExistsError, "choose another folder"),
    "save on a full disk": (
        lambda d: on_a_full_disk(lambda: d.agent.save(d.folder / "other")),
        OSError,
        "No space left on device",
    ),
    "load nothing": (
        lambda d: MAGEAgent.load(d.folder / "nowhere"),
        FileNotFoundError,
        "expected an agent folder or a run folder",
    ),
    "load a file": (lambda d: MAGEAgent.load(d.folder / "file"), (FileNotFoundError, NotADirectoryError), "file"),
    "load another environment": (
        lambda d: MAGEAgent.load(d.folder / "saved", env="HalfCheetah-v5"),
        ValueError,
        "cannot act in HalfCheetah-v5",
    ),
    "load with another setting": (
        lambda d: MAGEAgent.load(d.folder / "saved", critic_lr=1e-3),
        ValueError,
        "A loaded agent keeps its settings",
    ),
    "load without weights": (
        lambda d: MAGEAgent.load(d.damaged("saved", "weights.safetensors", None)),
        FileNotFoundError,
        "incomplete",
    ),
    "load cut weights": (
        lambda d: MAGEAgent.load(d.damaged("saved", "weights.safetensors", b"abc")),
        ValueError,
        "digest",
    ),
    "load no JSON": (lambda d: MAGEAgent.load(d.damaged("saved", "agent.json", b"{")), ValueError, "expected JSON"),
    "load another schema": (
        lambda d: MAGEAgent.load(d.damaged("saved", "agent.json", b'{"schema": 1}')),
        ValueError,
        "schema 1, expected 2",
    ),
    "load an edited agent": (
        lambda d: MAGEAgent.load(
            d.damaged(
                "saved",
                "agent.json",
                (d.folder / "saved" / "agent.json")
                .read_bytes()
                .replace(b'"num_timesteps": 40', b'"num_timesteps": 41'),
            )
        ),
        ValueError,
        "does not fit its own digest",
    ),
    "load unreadable weights": (
        lambda d: MAGEAgent.load(d.unreadable("saved", "weights.safetensors")),
        OSError,
        "weights.safetensors",
    ),
    # run folders and checkpoints
    "resume without checkpoints": (
        lambda d: resume(d.damaged("run", "checkpoint/000000040.json", None).joinpath("nowhere")),
        FileNotFoundError,
        "nowhere",
    ),
    "resume with an edited table": (
        lambda d: resume(d.damaged("run", "metrics.csv", b"step\n1\n")),
        ValueError,
        "no checkpoint is whole",
    ),
    "resume with a damaged config.json": (
        lambda d: resume(d.damaged("run", "config.json", b"{}")),
        ValueError,
        "schema None",
    ),
    "checkpoint in no folder": (
        lambda d: newest_checkpoint(d.folder / "nowhere", []),
        FileNotFoundError,
        "there is no checkpoint",
    ),
    "description of no run": (
        lambda d: RunFolder(d.folder / "full").description(),
        FileNotFoundError,
        "expected a run folder",
    ),
    # tables and JSON
    "table with an unknown column": (
        lambda d: CsvTable(d.folder / "t.csv", ["a"]).append([{"b": 1}]),
        ValueError,
        "unknown column b",
    ),
    "table that was cut": (
        lambda d: read_table(d.damaged("run", "metrics.csv", b"step,loss\n1,2\n3") / "metrics.csv"),
        ValueError,
        "incomplete",
    ),
    "uneven table": (
        lambda d: read_table(d.damaged("run", "metrics.csv", b"step,loss\n1\n") / "metrics.csv"),
        ValueError,
        "expected 2",
    ),
    "NaN in JSON": (
        lambda d: write_json(d.folder / "x.json", {"x": float("nan")}),
        ValueError,
        "cannot be written as JSON",
    ),
    # the functions
    "config of an unknown size": (lambda d: make_config(size="huge"), ValueError, "unknown size 'huge'"),
    "environment by a wrong name": (lambda d: make_env("Hoper-v5"), ValueError, "Did you mean 'Hopper-v5'?"),
    "reward of an unknown environment": (lambda d: reward_fn(gym.make("CartPole-v1")), ValueError, "CartPole-v1"),
    "termination of an unknown environment": (
        lambda d: termination_fn(gym.make("CartPole-v1")),
        ValueError,
        "CartPole-v1",
    ),
}


def files(folder: Path) -> dict[str, bytes | None]:
    skip = ("copy",)
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if path.relative_to(folder).parts[0] not in skip
    }


def test_the_table_is_long_enough():
    assert len(CASES) >= 60


@pytest.mark.parametrize("case", CASES)
def test_wrong_input_gets_a_sentence_and_changes_nothing(desk, case):
    call, kind, part = CASES[case]
    before = files(desk.folder)
    with pytest.raises(kind) as caught:
        call(desk)
    message = str(caught.value)
    assert part in message, message
    assert len(message) < 1300 and not re.search(r"Traceback|<class", message)  # the longest names every setting
    assert files(desk.folder) == before


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(desk):
    locked = desk.folder / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(PermissionError, match="cannot be written"):
        new(out=locked / "run")
