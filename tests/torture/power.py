"""Power loss: what a disk may show after it, resumed from every such state.

    python tests/torture/power.py                                        # Pendulum-v1, every state
    python tests/torture/power.py --env InvertedPendulum-v5 --sample 500

A short run with three checkpoints is recorded. After each of its file operations the power may fail: at most three of the
operations that nothing has made safe turn out otherwise (undone, torn at a sector, a length without its data, a file
under both of its names). Each state is resumed once. It has to end byte for byte as the run that was left alone, from
the newest checkpoint that was promised, or with a sentence from the one before.
"""

from __future__ import annotations

import itertools
import multiprocessing
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Iterator, NamedTuple
from unittest.mock import patch

from disk import Disk, Op, digest_of, put, watched
from record import record
from runs import SETTINGS, STEPS, End, drawn, emptied, end_of, quick, resume, sampling_parser, scratch

from mage_edu import MAGEAgent
from mage_edu.engine.checkpoint import Checkpoints

NEVER = -2  # no run was begun
BEGUN = -1  # a run was, and no checkpoint is complete


class Story(NamedTuple):
    """The operations of a run, what it promised and when, and how it ended."""

    ops: list[Op]
    promises: list[tuple[int, int]]  # number of operations done, and the step of a checkpoint that is complete
    end: End

    def promised(self, done: int) -> int:
        """The step that is safe after so many operations."""
        return max((step for count, step in self.promises if count <= done), default=NEVER)


def story_of(env: str, root: Path, **settings) -> Story:
    """Play and record a run."""
    ops: list[Op] = []
    promises: list[tuple[int, int]] = []
    saved = Checkpoints.save

    def save(checkpoints, state):
        saved(checkpoints, state)
        promises.append((len(ops), state.step))

    with patch.object(Checkpoints, "save", save), quick(), watched(root, done=ops.append):
        agent = MAGEAgent(env, out=root / "run", **(SETTINGS | settings))
        promises.append((len(ops), BEGUN))
        agent.learn(STEPS)
        agent.env.close()
    return Story(ops, promises, end_of(root / "run"))


class State(NamedTuple):
    """What a disk shows after a power loss."""

    files: dict[str, bytes | None]
    done: int  # operations before the power loss
    promised: int
    otherwise: str  # what turned out otherwise, in words


def states_of(story: Story, most: int) -> Iterator[State]:
    """Every state once."""
    disk, seen = Disk(), set()
    for done in range(len(story.ops) + 1):
        if done:
            disk.do(story.ops[done - 1])
        for files, otherwise in disk.states(most):
            promised = story.promised(done)
            key = (digest_of(files), promised)  # the same files are worth less where more was promised
            if key not in seen:
                seen.add(key)
                yield State(files, done, promised, ", ".join(otherwise) or "nothing otherwise")


def verdict(state: State, expected: End) -> tuple[str, str]:
    """Resume a state: what came of it in one word, and what is wrong with it."""
    with scratch() as root:
        put(state.files, emptied(root))
        found = resume(root / "run")
    if found.end is None:
        return ("never begun", "") if state.promised == NEVER else ("refused", found.sentences[0])
    if found.end != expected:
        return "another end", f"it went on from step {found.begun}; {found.sentences}"
    if found.begun < state.promised and not found.sentences:
        return "silently older", f"it went on from step {found.begun}, promised was {state.promised}"
    return ("older, with a sentence" if found.begun < state.promised else "byte-identical"), ""


FAULTS = ("refused", "another end", "silently older")


def judge(work: tuple[State, End]) -> tuple[State, str, str]:
    """For a pool."""
    return work[0]._replace(files={}), *verdict(*work)


def torture(states: Iterator[State], story: Story, workers: int) -> tuple[Counter, list[str]]:
    """Resume all states; how often each verdict, and the faults in words."""
    counts, faults = Counter(), []
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        for state, word, wrong in pool.imap_unordered(judge, ((state, story.end) for state in states), chunksize=8):
            counts[word] += 1
            if word in FAULTS:
                last = story.ops[state.done - 1] if state.done else None
                where = (
                    f"after operation {state.done} ({last.kind} {last.path})" if last else "before the first operation"
                )
                faults.append(f"{word} {where}, with {state.otherwise}: {wrong}")
    return counts, faults


def main() -> int:
    parser = sampling_parser(__doc__, "resume so many of the states; 0 is all")
    parser.add_argument("--most", type=int, default=3, help="operations that turn out otherwise")
    options = parser.parse_args()
    begin = time.perf_counter()
    with scratch() as root:
        story = story_of(options.env, root)
    states = states_of(story, options.most)
    if options.sample:
        every = list(states)
        states = iter(drawn(every, options.sample, random.Random(0)))
        print(f"{options.env}: {len(every):,} states, {options.sample:,} of them are resumed")
    counts, faults = torture(states, story, options.workers)
    seconds, total = time.perf_counter() - begin, sum(counts.values())
    print(
        f"{options.env}: {len(story.ops)} file operations, {total:,} states resumed in {seconds:.0f} s: {dict(counts)}"
    )
    for fault in itertools.islice(faults, 12):
        print(f"  {fault}")
    if options.record and not faults:
        share = f" ({options.sample:,} drawn of {len(every):,})" if options.sample else ""
        record("power", f"{options.env}: states resumed{share}", total, seconds)
    return 1 if faults or not total else 0


if __name__ == "__main__":
    sys.exit(main())
