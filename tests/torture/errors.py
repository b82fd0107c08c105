"""Errors of the disk at every file operation of a run, once and lasting; then a good disk again.

    python tests/torture/errors.py                                          # Pendulum-v1, every operation
    python tests/torture/errors.py --env HalfCheetah-v5 --sample 200

An error ends the run with a sentence that names a path; or the run goes on without what failed. On the good disk it resumes,
and ends byte for byte as the run that was left alone. Both a run from its beginning and one that goes on are disturbed.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple

from disk import Op, look, put, watched
from record import record
from runs import End, begin, drawn, emptied, end_of, go_on, quick, resume, sampling_parser, scratch

from mage_edu.engine.storage import say_once

ERRORS: dict[str, int | None] = {
    "ENOSPC": errno.ENOSPC,
    "EIO": errno.EIO,
    "EINTR": errno.EINTR,  # lasting: every second call, and writes between them are short
    "EACCES": errno.EACCES,
    "MemoryError": None,
}
KINDS = (*ERRORS, "short")  # short: a write writes half, and says so


class Fault(NamedTuple):
    """Something that goes wrong at one operation of a run."""

    play: str  # begin or go_on
    kind: str
    at: int  # number of the operation
    lasting: bool


class Injector:
    """Counts operations, and lets go wrong what a fault says."""

    def __init__(self, kind: str = "", at: int = -1, lasting: bool = False):
        self.kind, self.at, self.lasting = kind, at, lasting
        self.met: list[Op] = []
        self.root = Path()

    def __call__(self, op: Op) -> int | None:
        self.met.append(op)
        number = len(self.met) - 1
        if self.at < 0 or number < self.at or (number > self.at and not self.lasting):
            return None
        if self.kind == "short" or (
            self.kind == "EINTR" and (number - self.at) % 2
        ):  # Python repeats what is interrupted
            return max(1, len(op.data) // 2)
        raise self.error(op)

    def error(self, op: Op) -> BaseException:
        """What the operating system raises: with the path, where it was given one and no descriptor."""
        code = ERRORS[self.kind]
        if code is None:
            return MemoryError()
        where = () if op.kind in ("write", "sync") else (str(self.root / op.path),)
        return OSError(code, os.strerror(code), *where)


def disturbed(root: Path, play: Callable[[], Any], injector: Injector) -> BaseException | None:
    """Play while operations go wrong; the error that ended the run, if one did."""
    say_once.cache_clear()
    injector.root = root
    with quick(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with watched(root, injector):
                play()
        except (OSError, MemoryError, ValueError) as error:
            return error
    return None


class Bench(NamedTuple):
    """What the faults of one environment are tried on."""

    env: str
    start: dict[str, bytes | None]  # the disk where `go_on` begins
    end: End
    operations: dict[str, list[Op]]  # of each play, undisturbed


def bench_of(env: str) -> Bench:
    """Play undisturbed."""
    operations = {}
    with scratch() as root:
        with quick():
            begin(root / "run", env, steps=6)
        start = look(root)
        for play in ("begin", "go_on"):
            put(start if play == "go_on" else {}, emptied(root))
            operations[play] = (injector := Injector()).met
            error = disturbed(root, lambda: PLAYS[play](root, env), injector)
            assert error is None, error
        return Bench(env, start, end_of(root / "run"), operations)


PLAYS: dict[str, Callable[[Path, str], Any]] = {
    "begin": lambda root, env: begin(root / "run", env),
    "go_on": lambda root, env: go_on(root / "run"),
}


def faults_of(bench: Bench) -> Iterator[Fault]:
    """Every kind at every operation, once and lasting; short writes at writes only."""
    for play, ops in bench.operations.items():
        for at, op in enumerate(ops):
            for kind in KINDS:
                if kind != "short" or op.kind == "write":
                    yield from (
                        Fault(play, kind, at, lasting) for lasting in (False, True) if kind != "short" or not lasting
                    )


def verdict(bench: Bench, fault: Fault, root: Path) -> tuple[str, str]:
    """Disturb a run and resume it: what came of it, and what is wrong with it."""
    put(bench.start if fault.play == "go_on" else {}, emptied(root))
    injector = Injector(fault.kind, fault.at, fault.lasting)
    error = disturbed(root, lambda: PLAYS[fault.play](root, bench.env), injector)
    op = injector.met[fault.at]
    if error is not None and not isinstance(error, MemoryError) and str(root) not in str(error):
        return "no path in the sentence", f"{op.kind} {op.path}: {type(error).__name__}: {error}"
    if fault.kind == "short" and error is not None:
        return "disturbed by a short write", f"{op.path}: {error}"
    found = resume(root / "run")
    if found.end is None and fault.play == "begin" and not (root / "run" / "config.json").exists():
        if fault.lasting:
            emptied(root)
        with quick():
            begin(root / "run", bench.env)  # nothing is in the way
        found = found._replace(end=end_of(root / "run"))
    if found.end != bench.end:
        return "another end", f"{op.kind} {op.path}: ended with {error!r}; resumed at {found.begun}: {found.sentences}"
    return ("undisturbed" if error is None else "byte-identical"), ""


GOOD = ("undisturbed", "byte-identical")


def judge(work: tuple[Bench, Fault]) -> tuple[Fault, str, str]:
    """For a pool; where something unforeseen is raised, that is the verdict."""
    with scratch() as root:
        try:
            return work[1], *verdict(*work, root)
        except Exception as error:
            return work[1], "unforeseen", f"{type(error).__name__}: {error}"


def torture(bench: Bench, faults: list[Fault], workers: int) -> tuple[Counter, list[str]]:
    """Try all faults; how often each verdict, and what is wrong in words."""
    counts, wrong = Counter(), []
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        for fault, word, why in pool.imap_unordered(judge, ((bench, fault) for fault in faults), chunksize=8):
            counts[word] += 1
            if word not in GOOD:
                wrong.append(f"{word}, {fault}: {why}")
    return counts, wrong


def main() -> int:
    options = sampling_parser(__doc__, "try so many of the faults; 0 is all").parse_args()
    started = time.perf_counter()
    bench = bench_of(options.env)
    every = list(faults_of(bench))
    faults = drawn(every, options.sample, random.Random(0))
    counts, wrong = torture(bench, faults, options.workers)
    seconds = time.perf_counter() - started
    print(f"{options.env}: {len(faults):,} of {len(every):,} faults in {seconds:.0f} s: {dict(counts)}")
    print("".join(f"  {line}\n" for line in wrong[:12]), end="")
    if options.record and not wrong:
        share = f" (drawn of {len(every):,})" if options.sample else ""
        record("errors", f"{options.env}: faults injected{share}", len(faults), seconds)
    return 1 if wrong or not faults else 0


if __name__ == "__main__":
    sys.exit(main())
