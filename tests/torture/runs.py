"""The small runs that are tortured, and what has to be the same at their ends."""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import shutil
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, NamedTuple
from unittest.mock import patch

import torch
from prints import tensor_digest
from record import parser_of

import mage_edu.agent
from mage_edu import MAGEAgent
from mage_edu.engine.checkpoint import State, newest_checkpoint
from mage_edu.engine.storage import RunFolder, digest
from mage_edu.engine.train import Stopwatch

SETTINGS = dict(
    size="tiny",
    seed=3,
    compile=False,
    warmup_steps=4,
    dynamics_interval=4,
    dynamics_batches=1,
    dynamics_batch_size=4,
    batch_size=4,
    replay_capacity=8,
    log_interval=3,
    eval_interval=7,
    eval_episodes=1,
    eval_max_steps=20,
    checkpoint_interval=5,
    actor_width=4,
    critic_width=4,
    dynamics_width=4,
    actor_layers=1,
    critic_layers=1,
    dynamics_layers=1,
)
STEPS = 12


class Curve:
    """In the place of a drawn curve, which takes longer than all else in a small run; its file is as any other."""

    def savefig(self, file: io.BytesIO, **more: Any) -> None:
        file.write(bytes(range(256)) * 5)


@contextmanager
def quick() -> Iterator[None]:
    """One thread, no drawing, and a clock that stands still, so that equal runs leave equal files."""
    torch.set_num_threads(1)
    with (
        patch.object(mage_edu.agent, "plot_curves", lambda *arguments, **more: Curve()),
        patch.object(
            Stopwatch, "row", lambda watch, step: {"step": step} | dict.fromkeys(("seconds", *watch.parts), 0.0)
        ),
    ):
        yield


class End(NamedTuple):
    """How a run ended: digests of all that training leaves, but for the clock."""

    step: int
    files: dict[str, str]
    checkpoint: str


def end_of(folder: Path) -> End:
    """The end of a run that is in a folder."""
    run = RunFolder(folder)
    names = ("metrics.csv", "evaluations.csv", "agent/agent.json", "agent/weights.safetensors")
    files = {name: digest((folder / name).read_bytes()) for name in names if (folder / name).exists()}
    state = newest_checkpoint(run.checkpoint, [run.metrics.path, run.evaluations.path])[1].state
    return End(state.step, files, digest_of_state(state))


def digest_of_state(state: State) -> str:
    """A digest of everything that a checkpoint holds, whatever chunks its rows are in."""
    content = dict(state.tensors)
    if state.rows.added:
        content |= {f"rows.{name}": rows for name, rows in state.rows.since(state.rows.oldest)[1].items()}
    lines = [
        f"{name} {tensor.dtype} {tuple(tensor.shape)} {tensor_digest(tensor)}"
        for name, tensor in sorted(content.items())
    ]
    facts = json.dumps(dict(state.facts), sort_keys=True)
    return digest("\n".join([*lines, facts, f"{state.step} {state.rows.added}"]).encode())


def begin(folder: Path, env: str, steps: int = STEPS, algorithm: str = "mage", **settings: Any) -> None:
    """A run from its beginning to its end."""
    agent = MAGEAgent(env, algorithm, out=folder, **(SETTINGS | settings))
    try:
        agent.learn(steps)
    finally:
        agent.env.close()


def go_on(folder: Path, steps: int = STEPS) -> int:
    """Take the run in a folder to its end; the step of the checkpoint from which it went on."""
    agent = MAGEAgent.load(folder)
    try:
        begun = []
        real = mage_edu.agent.run_and_save

        def noted(agent: MAGEAgent, *arguments: Any) -> None:
            begun.append(agent.num_timesteps)
            real(agent, *arguments)

        with patch.object(mage_edu.agent, "run_and_save", noted):
            agent.learn(max(0, steps - agent.num_timesteps), reset_num_timesteps=False)
    finally:
        agent.env.close()
    return begun[0]


class Resumed(NamedTuple):
    """What came of a run that was gone on with."""

    begun: int  # the step from which it went on; -1 where it could not be loaded
    sentences: list[str]  # warnings, or the error
    end: End | None


def resume(folder: Path, steps: int = STEPS) -> Resumed:
    """Go on with the run in a folder, whatever is there."""
    mage_edu.engine.storage.say_once.cache_clear()
    with quick(), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            begun = go_on(folder, steps)
        except (OSError, ValueError) as error:
            return Resumed(-1, [f"{type(error).__name__}: {error}"], None)
    return Resumed(begun, [str(warning.message) for warning in said], end_of(folder))


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder in memory, where there is one."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


def emptied(folder: Path) -> Path:
    """The folder, without what was in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def sampling_parser(description: str | None, sample: str) -> argparse.ArgumentParser:
    """What the parts that can be sampled are told besides; `sample` says what is drawn."""
    parser = parser_of(description)
    parser.add_argument("--env", default="Pendulum-v1")
    parser.add_argument("--sample", type=int, default=0, help=sample)
    parser.add_argument("--workers", type=int, default=2)
    return parser


def drawn(every: list[Any], sample: int, generator: random.Random) -> list[Any]:
    """So many of them, at most all; 0 is all."""
    return generator.sample(every, min(sample, len(every))) if sample else every
