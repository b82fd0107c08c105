"""A second fault during the recovery from the first: all pairs of moments.

    python tests/torture/compound.py                                       # Pendulum-v1, all pairs
    python tests/torture/compound.py --env InvertedPendulum-v5 --sample 500

The power fails after any operation of a run; the run is resumed; the power fails again after any operation of that, and at
most one operation that nothing has made safe turns out otherwise. Every state that this leaves is resumed once, and has to
end byte for byte as the run that was left alone. `--errors` has an error of the disk in the place of the second power loss.
"""

from __future__ import annotations

import multiprocessing
import random
import sys
import time
from collections import Counter

from disk import KEPT, Disk, Op, digest_of, put, watched
from errors import ERRORS, Injector, disturbed
from power import FAULTS, NEVER, State, Story, states_of, story_of, verdict
from record import record
from runs import drawn, emptied, go_on, resume, sampling_parser, scratch


def recovery_of(state: State) -> list[Op]:
    """The operations of a resumed run."""
    ops: list[Op] = []
    with scratch() as root:
        put(state.files, emptied(root))
        with watched(root, done=ops.append):
            resume(root / "run")
    return ops


def second_states(first: State) -> tuple[int, list[State]]:
    """How many moments the recovery from a first fault has, and what the disk may show after a second fault at each."""
    disk, ops, found = Disk(first.files), recovery_of(first), {}
    for done in range(1, len(ops) + 1):
        disk.do(ops[done - 1])
        for files, otherwise in disk.states(most=1):
            words = f"{', '.join(otherwise) or 'nothing otherwise'}, in the recovery's operation {done}"
            found.setdefault(digest_of(files), State(files, first.done, first.promised, words))
    return len(ops), list(found.values())


def with_errors(work: tuple[Story, State, int, str]) -> str:
    """An error at one operation of the recovery from a first fault; what is wrong after it, or nothing."""
    story, first, at, kind = work
    with scratch() as root:
        put(first.files, emptied(root))
        disturbed(root, lambda: go_on(root / "run"), Injector(kind, at))
        found = resume(root / "run")
    return "" if found.end == story.end else f"{kind} at operation {at} after {first.otherwise}: {found.sentences}"


def judge(work: tuple[State, Story]) -> tuple[State, str, str]:
    """For a pool."""
    return work[0]._replace(files={}), *verdict(work[0], work[1].end)


def main() -> int:
    parser = sampling_parser(__doc__, "resume so many of the states, after a fiftieth as many first faults; 0 is all")
    parser.add_argument("--errors", action="store_true", help="the second fault is an error of the disk")
    options = parser.parse_args()
    started, generator = time.perf_counter(), random.Random(0)
    with scratch() as root:
        story = story_of(options.env, root)
    first = [state for state in states_of(story, most=0) if state.promised != NEVER]
    first = drawn(first, options.sample and max(2, options.sample // 50), generator)
    counts, wrong = Counter(), []
    with multiprocessing.get_context("fork").Pool(options.workers) as pool:
        if options.errors:
            lengths = pool.map(recovery_of, first)
            every = [
                (story, state, at, kind)
                for state, ops in zip(first, lengths)
                for at in range(len(ops))
                for kind in ERRORS
            ]
            what, pairs = "errors during a recovery", len(every)
            works = drawn(every, options.sample, generator)
            for fault in pool.imap_unordered(with_errors, works, chunksize=8):
                counts["wrong" if fault else "byte-identical"] += 1
                wrong += [fault] if fault else []
        else:
            found, pairs = {}, 0
            for moments, states in pool.imap(second_states, first):
                pairs += moments
                for state in states:  # the same files are worth less where more was promised
                    files = {path: KEPT.setdefault(data, data) for path, data in state.files.items()}
                    found.setdefault((digest_of(files), state.promised), state._replace(files=files))
            every = list(found.values())
            what = f"states after two power losses, at {pairs:,} pairs of moments"
            works = drawn(every, options.sample, generator)
            for state, word, why in pool.imap_unordered(judge, ((state, story) for state in works), chunksize=8):
                counts[word] += 1
                wrong += (
                    [f"{word}, after operation {state.done} and {state.otherwise}: {why}"] if word in FAULTS else []
                )
    seconds = time.perf_counter() - started
    print(f"{options.env}: {what}: {len(works):,} of {len(every):,} in {seconds:.0f} s: {dict(counts)}")
    print("".join(f"  {line}\n" for line in wrong[:12]), end="")
    if options.record and not wrong:
        share = f" (drawn of {len(every):,}, after {len(first)} first faults)" if options.sample else ""
        record("compound", f"{options.env}: {what}{share}", len(works), seconds)
    return 1 if wrong or not works else 0


if __name__ == "__main__":
    sys.exit(main())
