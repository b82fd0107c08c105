"""A checkpoint after every step, and a new process's agent from each of them: one row an algorithm.

    python tests/torture/everywhere.py                       # all algorithms, 300 steps
    python tests/torture/everywhere.py --only mage td3 --steps 60

A run is left alone, and what its checkpoint of every step holds is digested: weights, moments, generators, statistics, rows,
counters. Another run is loaded anew before every step, takes that one step, and has to leave the same checkpoint, byte for byte.
So a run that is resumed once, wherever that is, ends as the one that was left alone. A compiled run is compiled anew
each time, which takes seconds.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import patch

from record import parser_of, record
from runs import digest_of_state, end_of, quick, scratch

from mage_edu import MAGEAgent
from mage_edu.config import ALGORITHMS
from mage_edu.engine.checkpoint import Checkpoints

SETTINGS = dict(
    size="tiny",
    seed=3,
    compile=False,
    warmup_steps=20,
    dynamics_interval=10,
    dynamics_batches=2,
    batch_size=8,
    dynamics_batch_size=8,
    replay_capacity=100,
    log_interval=7,
    eval_interval=50,
    eval_episodes=1,
    eval_max_steps=20,
    checkpoint_interval=1,
    actor_width=8,
    critic_width=8,
    dynamics_width=8,
    learned_width=8,
)
HALF = dict(algorithm="mage-half")
ENV = "InvertedPendulum-v5"  # episodes of a few steps at first, which terminate
CASES: dict[str, tuple[str, dict[str, Any]]] = {name: (ENV, dict(algorithm=name)) for name in ALGORITHMS} | {
    "mage-half, Pendulum-v1": ("Pendulum-v1", HALF),
    "mage-half, learned reward and termination": (ENV, HALF | dict(reward="learned", termination="learned")),
    "mage-half, the simulator as model": (ENV, HALF | dict(model="simulator")),
    # on the pendulum, as nothing is cut where steps terminate
    "mage-half, training episodes cut": ("Pendulum-v1", HALF | dict(train_max_steps=7)),
    "mage-half, bf16": (ENV, HALF | dict(precision="bf16")),
    "mage-half, compiled": (ENV, HALF | dict(compile=True)),
}


def states_of(env: str, settings: dict[str, Any], steps: int, cuts: list[int], folder: Path) -> dict[int, str]:
    """Digests of the checkpoints of a run, by step; it is loaded anew at each of the cuts."""
    found: dict[int, str] = {}
    saved = Checkpoints.save

    def save(checkpoints: Checkpoints, state: Any) -> None:
        found[state.step] = digest_of_state(state)
        saved(checkpoints, state)

    with quick(), patch.object(Checkpoints, "save", save), warnings.catch_warnings():
        warnings.simplefilter("error")  # a checkpoint that is passed over would be told of
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        agent = MAGEAgent(env, out=folder, **(SETTINGS | settings))
        for begin, stop in zip([0, *cuts], [*cuts, steps]):
            if begin:
                agent.env.close()
                agent = MAGEAgent.load(folder)
                assert agent.num_timesteps == begin
            agent.learn(stop - begin, reset_num_timesteps=False)
        agent.env.close()
    return found


def different(name: str, steps: int) -> tuple[int, list[int]]:
    """The number of resumes of a case, and the steps whose checkpoint is not that of the run that was left alone."""
    env, settings = CASES[name]
    cuts = list(range(1, steps))
    with scratch() as root:
        alone = states_of(env, settings, steps, [], root / "alone")
        cut = states_of(env, settings, steps, cuts, root / "cut")
        wrong = [step for step in range(steps + 1) if alone.get(step) != cut.get(step) or step not in alone]
        if end_of(root / "alone") != end_of(root / "cut"):
            wrong.append(steps)
    return len(cuts), wrong


def timed(work: tuple[str, int]) -> tuple[str, int, list[int], float]:
    """For a pool."""
    (name, steps), begin = work, time.perf_counter()
    count, wrong = different(name, steps)
    return name, count, wrong, time.perf_counter() - begin


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--only", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    failed = 0
    with multiprocessing.get_context("fork").Pool(options.workers, maxtasksperchild=1) as pool:
        works = [(name, options.steps) for name in options.only]
        for name, count, wrong, seconds in pool.imap_unordered(timed, works):
            print(f"{name}: {count} resumes in {seconds:.0f} s, {len(wrong)} different {wrong[:5]}", flush=True)
            failed += bool(wrong)
            if options.record and not wrong:
                record("everywhere", f"{name}: resumes in {options.steps} steps", count, seconds)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
