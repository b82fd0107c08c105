"""Damaged files that know their format, given to every reader of the library.

    python tests/torture/fuzz.py                                    # 100,000 cases; --record notes the counts
    python tests/torture/fuzz.py --cases 2000                       # fewer
    python tests/torture/fuzz.py --only "agent.json, sealed" --case 17    # one case again, with its traceback
    python tests/torture/fuzz.py --corpus                           # write the corpus anew

A reader is given the file damaged, and, where a digest would catch all damage at once, also with every digest made anew, as a writer
with a mistake would leave it. Of each case it is asked that

- the reader takes less than a second of processor time;
- it raises nothing but `ValueError` or `FileNotFoundError`, with a sentence that names the file or its folder;
- it takes at most twice the memory that the whole file takes (in proportion to its size, plus 1 MB), as tracemalloc sees it;
  and the process may grow by 2 GB at most, so that a claim of 10 GB that is believed is seen;
- what it gives back is what was saved, where the damaged file says the same or digests decide.
"""

from __future__ import annotations

import base64
import csv
import gc
import json
import multiprocessing
import random
import re
import resource
import signal
import sys
import time
import traceback
import tracemalloc
import warnings
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import torch
from mutators import OF_KIND, split_tensors
from prints import tensor_digest
from record import parser_of, record
from runs import begin, quick, scratch

from mage_edu import MAGEAgent
from mage_edu.agent import continue_run, last_row
from mage_edu.engine import sweep
from mage_edu.engine.checkpoint import newest_checkpoint
from mage_edu.engine.environments import interrupted
from mage_edu.engine.recorded import read_arrays, read_recorded, write_arrays
from mage_edu.engine.recorded import record as record_transitions
from mage_edu.engine.storage import (
    DIAGNOSTICS,
    RunFolder,
    digest,
    evaluation_curve,
    load_agent,
    read_json,
    read_rows,
    read_table,
    rows_as_text,
    seal_of,
    write_atomic,
    write_json,
    write_sealed,
)
from mage_edu.envs import make_env
from mage_edu.web import read_agent, write_agent

CASES, SAMPLE, SECONDS, GROWTH, AGAIN = 100_000, 1, 1.0, 2 * 2**30, 500
OURS = (ValueError, FileNotFoundError)
LAST = 12  # the step of the newest checkpoint
CORPUS = Path(__file__).resolve().parent / "corpus.csv"
STATE, ROWS, MANIFEST = "state-000000012.safetensors", "replay-000000010-000000012.safetensors", "000000012.json"


class TooLong(BaseException):
    """A reader took more than its second."""


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Inside the block, `TooLong` after so many seconds of processor time."""
    with interrupted(signal.SIGPROF, signal.ITIMER_PROF, seconds, TooLong):
        yield


def print_of(value: Any) -> str:
    """Something that was loaded, as a text that is the same where the thing is the same."""
    if isinstance(value, torch.Tensor):
        return f"{value.dtype}{tuple(value.shape)}{tensor_digest(value)}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{digest(np.ascontiguousarray(value).tobytes())}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key!r}:{print_of(value[key])}" for key in sorted(value, key=repr)) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(print_of, value)) + "]"
    if isinstance(value, float):
        return repr(float(value))
    return repr(value) if isinstance(value, (str, int, bool, type(None))) else print_of(vars(value))


OBS = np.array([[1.0, 0.0, 0.0], [-0.6, 0.8, 3.0]])


def agent_print(agent: MAGEAgent) -> Any:
    """What an agent does and is."""
    weights = [tensor for tensor in agent.learner.actor.parameters()]
    return [agent.predict(OBS)[0], agent.num_timesteps, agent.config.to_dict(), weights, vars(agent.learner.normalizer)]


@dataclass
class Run:
    """A run at one of its checkpoints; the newest, or the one before it with a reason."""

    step: int
    content: Any
    reasons: list[str]

    def __post_init__(self):
        assert (self.step == LAST) == (not self.reasons), (
            "an older checkpoint without a reason, or a reason without one"
        )


def resumed(run: Path) -> Run:
    """A run brought to its newest checkpoint: every weight, moment, counter and generator, and the rows of the buffer."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        agent = MAGEAgent.load(run)
        try:
            continue_run(agent)
        finally:
            agent.env.close()
    state = agent.learner.save()
    told = [str(warning.message) for warning in caught if "is used instead" in str(warning.message)]
    return Run(state.step, [state.tensors, state.facts, state.rows.added, dict(state.rows.columns)], told)


def newest(run: Path) -> Run:
    """The newest whole checkpoint as it is read."""
    folder = RunFolder(run)
    tables = [folder.metrics.path, folder.evaluations.path, folder.diagnostics.path, folder.timings.path]
    _, checkpoint, reasons = newest_checkpoint(folder.checkpoint, tables)
    state = checkpoint.state
    return Run(state.step, [state.tensors, state.facts, state.rows.added, dict(state.rows.columns)], reasons)


def sweep_rows(out: Path) -> Any:
    """A sweep's table, read, summed up, and merged with one more run."""
    rows = sweep.read_sweep(out)
    sweep.sweep_summary(rows)
    sweep.sweep_curves(rows, "Pendulum-v1")
    more = {
        "env": "Pendulum-v1",
        "algorithm": "td3",
        "label": "default",
        "seed": 9,
        "step": 7,
        "return": -1.0,
        "status": "finished",
    }
    sweep.write_sweep(out, [more])
    return rows


def times_rows(out: Path) -> Any:
    """A sweep's times, read and summed up."""
    rows = sweep.read_times(out)
    sweep.time_summary(rows)
    return rows


@dataclass(frozen=True)
class Reader:
    """One way to read one file."""

    name: str
    file: str  # in the folder that `make_files` fills
    use: Callable[[Path], Any]  # of that folder; what it returns is compared by `print_of`
    sealed: bool = False  # digests and seals are made anew
    trusted: bool = True  # whether a digest, or a comparison with something else, decides what is loaded
    restore: tuple[str, ...] = ()  # further files that reading may change
    share: int = 1  # how many cases, against the others'


ENV = "Pendulum-v1"
JOB = lambda at: sweep.make_jobs(at / "sweep", [ENV], ["td3"], [0], 12, "tiny")[0]
TABLES = ("run/metrics.csv", "run/evaluations.csv", "run/timings.csv")
READERS = {
    reader.name: reader
    for reader in (
        Reader("agent.json", "run/agent/agent.json", lambda at: load_agent(at / "run")),
        Reader("agent.json, sealed", "run/agent/agent.json", lambda at: agent_print(MAGEAgent.load(at / "run/agent")), True, share=3),
        Reader("weights", "run/agent/weights.safetensors", lambda at: load_agent(at / "run")),
        Reader("weights, sealed", "run/agent/weights.safetensors", lambda at: agent_print(MAGEAgent.load(at / "run")), True, share=2),
        Reader("config.json", "run/config.json", lambda at: RunFolder(at / "run").description()),
        Reader("config.json, sealed", "run/config.json", lambda at: resumed(at / "run"), True, restore=TABLES, share=2),
        Reader("a run that never began, sealed", "new/config.json", lambda at: agent_print(MAGEAgent.load(at / "new")), True),
        Reader("manifest", f"run/checkpoint/{MANIFEST}", lambda at: newest(at / "run")),
        Reader("manifest, sealed", f"run/checkpoint/{MANIFEST}", lambda at: resumed(at / "run"), True, restore=TABLES, share=3),
        Reader("state", f"run/checkpoint/{STATE}", lambda at: newest(at / "run")),
        Reader("state, sealed", f"run/checkpoint/{STATE}", lambda at: resumed(at / "run"), True, restore=TABLES, share=2),
        Reader("rows", f"run/checkpoint/{ROWS}", lambda at: newest(at / "run")),
        Reader("rows, sealed", f"run/checkpoint/{ROWS}", lambda at: resumed(at / "run"), True, restore=TABLES, share=2),
        Reader("metrics.csv", "run/metrics.csv", lambda at: newest(at / "run")),
        Reader("metrics.csv, cells", "run/metrics.csv", lambda at: [read_table(at / "run/metrics.csv"), read_rows(at / "run/metrics.csv")], trusted=False),
        Reader("evaluations.csv", "run/evaluations.csv", lambda at: evaluation_curve(at / "run"), trusted=False),
        Reader("timings.csv", "run/timings.csv", lambda at: last_row(at / "run/timings.csv"), trusted=False),
        Reader("diagnostics.csv", "diagnostics.csv", lambda at: read_table(at / "diagnostics.csv"), trusted=False),
        Reader("sweep.csv", "sweep/sweep.csv", lambda at: sweep_rows(at / "sweep"), trusted=False),
        Reader("times.csv", "sweep/times.csv", lambda at: times_rows(at / "sweep"), trusted=False),
        Reader("finished.json", "sweep/Pendulum-v1/td3/seed-0/finished.json", lambda at: sweep.is_finished(JOB(at))),
        Reader("any JSON", "plain.json", lambda at: read_json(at / "plain.json"), trusted=False),
        Reader("page agent", "page/agent.json", lambda at: web_print(at / "page"), trusted=False, share=2),
        Reader("page weights", "page/actor.safetensors", lambda at: web_print(at / "page"), trusted=False, share=2),
        Reader("recorded npz", "recorded.npz", lambda at: read_recorded(at / "recorded.npz", PENDULUM), trusted=False, share=3),
        Reader("recorded safetensors", "recorded.safetensors", lambda at: read_recorded(at / "recorded.safetensors", PENDULUM), trusted=False, share=2),
        Reader("arrays npz", "recorded.npz", lambda at: read_arrays(at / "recorded.npz"), trusted=False),
    )
}  # fmt: skip
PENDULUM = make_env(ENV)


def web_print(folder: Path) -> Any:
    """A page's agent, and what it does."""
    about, actor = read_agent(folder)
    with torch.no_grad():
        return (
            about,
            actor.state_dict(),
            actor(torch.as_tensor(OBS, dtype=torch.float32)) if actor.weights[0].shape[1] == 3 else 0,
        )


def make_files(at: Path) -> None:
    """Every kind of file that is read, small and whole."""
    from safetensors.numpy import save

    begin(at / "run", ENV)
    MAGEAgent(ENV, out=at / "new", size="tiny", actor_width=4, critic_width=4, dynamics_width=4, replay_capacity=8)
    agent = MAGEAgent.load(at / "run")
    (at / "page").mkdir()
    write_agent(at / "page", agent.learner.actor, agent.env, "an agent")
    arrays = record_transitions(PENDULUM, 30)
    write_arrays(at / "recorded.npz", arrays)
    (at / "recorded.safetensors").write_bytes(
        save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    )
    rows = [{name: 0.5 * i for i, name in enumerate(DIAGNOSTICS)} for _ in range(3)]
    (at / "diagnostics.csv").write_text(rows_as_text(list(DIAGNOSTICS), rows, True))
    write_json(at / "plain.json", {"a": [1, 2.5, None, "é"], "b": {"c": True}})
    job = JOB(at)
    job.folder.mkdir(parents=True)
    write_json(job.folder / "finished.json", {"env": job.env, "steps": job.steps, "config": job.config().to_dict()})
    run = {"env": ENV, "algorithm": "td3", "label": "default"}
    rows = [run | {"seed": seed, "step": step, "return": -100.0 - seed * step} for seed in (0, 1) for step in (6, 12)]
    sweep.write_sweep(at / "sweep", [row | {"status": "finished"} for row in rows])
    sweep.write_times(at / "sweep", [row | {"seconds": 0.1 * row["step"]} for row in rows])


def resealed(text: bytes) -> bytes:
    """JSON with the seal that its content has, put in front of its last brace; unchanged where it has none."""
    try:
        seal, end = seal_of(json.loads(text)), text.rindex(b"}")
    except Exception:  # no JSON, no object, too deep
        return text
    return text[:end].rstrip() + b', "sha256": "' + seal.encode() + b'"}\n'


def with_digest(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a sealed file, and seal it again."""
    content = json.loads(path.read_bytes())
    change(content)
    write_sealed(path, content)


class Files:
    """The whole files, and the damaged one among them."""

    def __init__(self, at: Path):
        self.at, self.whole = at, {path: path.read_bytes() for path in at.rglob("*") if path.is_file()}
        self.prints: dict[str, str] = {}
        self.peaks: dict[str, int] = {}

    def put_back(self, reader: Reader) -> None:
        """Make all that a case may have changed as it was."""
        folder = (self.at / reader.file).parent
        more = [path for path in self.whole if path.parent == folder]
        for path in {
            *more,
            *(self.at / name for name in reader.restore),
            self.at / "run/agent/agent.json",
            self.at / "run/checkpoint" / MANIFEST,
        }:
            if not path.is_file() or path.read_bytes() != self.whole[path]:
                path.write_bytes(self.whole[path])

    def damaged(self, reader: Reader, number: int, seed: int) -> bytes:
        """The damaged content of a case, which its seed alone decides."""
        generator = random.Random(f"{seed} {reader.name} {number}")
        whole = self.whole[self.at / reader.file]
        mutator = generator.choice(OF_KIND[Path(reader.file).suffix])
        if not (reader.sealed and reader.file.endswith(".json")):
            return mutator(whole, generator)
        tree = json.loads(whole)
        del tree["sha256"]
        return resealed(mutator(json.dumps(tree, indent=2).encode(), generator))

    def write(self, reader: Reader, data: bytes) -> None:
        """Put damaged content in its place, with the digests of other files made anew where the reader is to believe them."""
        path = self.at / reader.file
        path.write_bytes(data)
        if not reader.sealed or path.suffix == ".json":
            return
        if path.name == "weights.safetensors":
            with_digest(path.parent / "agent.json", lambda content: content.update(weights=digest(data)))
        else:
            with_digest(path.parent / MANIFEST, lambda content: content["files"].update({path.name: digest(data)}))

    def same(self, reader: Reader, data: bytes) -> bool:
        """Whether a damaged file says what the whole one says: the same JSON (of two entries of a name the last counts), the same tensors."""
        whole = self.whole[self.at / reader.file]
        try:
            if reader.file.endswith(".json"):
                bare = lambda text: {name: value for name, value in json.loads(text).items() if name != "sha256"}
                return repr(bare(data)) == repr(bare(whole))
            if reader.file.endswith(".safetensors"):
                return repr(split_tensors(data)) == repr(split_tensors(whole))
        except Exception:  # it is none
            return False
        return data == whole


@dataclass(frozen=True)
class Outcome:
    """What came of one case."""

    kind: str  # "loaded", "refused", or the fault in words
    sentence: str  # of the error
    peak: int = 0  # bytes, 0 where they were not counted
    trace: str = ""

    @property
    def is_fault(self) -> bool:
        return self.kind not in ("loaded", "refused")


def one_case(files: Files, reader: Reader, data: bytes, count_memory: bool, seconds: float = SECONDS) -> Outcome:
    """Give a damaged file to its reader."""
    files.write(reader, data)
    peak, found, printed = 0, None, ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if count_memory:
                tracemalloc.start()
            with bounded(seconds):
                found = reader.use(files.at)
                printed = print_of(found)
    except OURS as error:
        outcome = Outcome("refused", f"{type(error).__name__}: {error}", trace=traceback.format_exc())
        if str(files.at) not in str(error):
            outcome = Outcome("the sentence names no file", outcome.sentence, trace=outcome.trace)
    except TooLong:
        outcome = Outcome(f"longer than {seconds} s", "", trace=traceback.format_exc())
    except Exception as error:
        outcome = Outcome(f"not our error: {type(error).__name__}", str(error), trace=traceback.format_exc())
    else:
        outcome = Outcome("loaded", "")
    finally:
        if count_memory:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        files.put_back(reader)
    if outcome.kind == "loaded":
        outcome = judged(files, reader, data, found, printed)
    size, whole = len(data), len(files.whole[files.at / reader.file])
    if (
        count_memory
        and not outcome.is_fault
        and peak > 2 * files.peaks.get(reader.name, peak) * max(1.0, size / whole) + 2**20
    ):
        return Outcome(f"{peak} bytes of memory, and {files.peaks[reader.name]} for the whole file", outcome.sentence)
    return Outcome(outcome.kind, outcome.sentence, peak, outcome.trace)


def measured(files: Files, reader: Reader, data: bytes) -> Outcome:
    """A case with its memory counted, and where that finds a fault, time and memory apart.

    Counting makes a reader several times slower, and a module that is imported late is counted with the case that needed it first.
    """
    together = one_case(files, reader, data, True)
    if not together.is_fault:
        return together
    timed = one_case(files, reader, data, False)
    return timed if timed.is_fault else one_case(files, reader, data, True, 10 * SECONDS)


def judged(files: Files, reader: Reader, data: bytes, found: Any, printed: str) -> Outcome:
    """Whether what was loaded may be believed."""
    if reader.name not in files.prints:  # the whole file itself
        files.prints[reader.name] = printed
    same = printed == files.prints[reader.name]
    older = isinstance(found, Run) and found.step != LAST  # `Run` has seen to it that this was told
    if files.same(reader, data) and not same and not older:
        return Outcome("another agent from a file that says the same", "")
    if reader.trusted and not reader.sealed and not same and not older and found is not False:
        return Outcome("another agent from a damaged file", "")
    return Outcome("loaded", "" if same else "as another whole file")


def shape_of(sentence: str) -> str:
    """A sentence without its numbers, names and paths, to tell kinds of refusals apart."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|\d+|/\S+|\[.*\]|\{.*\}", "_", sentence)[:70]


def shares(cases: int) -> dict[str, int]:
    """How many cases each reader gets."""
    total = sum(reader.share for reader in READERS.values())
    counts = {name: cases * reader.share // total for name, reader in READERS.items()}
    first = next(iter(counts))
    return counts | {first: counts[first] + cases - sum(counts.values())}


def limit_memory() -> None:
    """From now on the process may grow by `GROWTH` bytes (on Linux, which says how large it is)."""
    size = Path("/proc/self/statm")
    if size.exists():
        now = int(size.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + GROWTH, resource.getrlimit(resource.RLIMIT_AS)[1]))


@contextmanager
def limited_memory() -> Iterator[None]:
    """Inside the block the process may grow by `GROWTH` bytes."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit_memory()
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextmanager
def prepared() -> Iterator[Files]:
    """The whole files, each read once, with what that gives and takes."""
    with scratch() as at, quick():
        make_files(at)
        files = Files(at)
        with limited_memory():
            for reader in READERS.values():
                whole = files.whole[at / reader.file]
                reader.use(files.at)  # once without the clock: what a reader needs is imported here
                outcome = one_case(files, reader, whole, True)
                assert outcome.kind == "loaded" and not outcome.sentence, (reader.name, outcome)
                files.peaks[reader.name] = outcome.peak
            yield files


def fuzz(
    counts: dict[str, int], seed: int = 0, sample: int = SAMPLE, most: int = 20
) -> tuple[dict[str, dict[str, int]], list[str]]:
    """Every reader's cases; how many were loaded and refused, how many kinds of refusals there were, and the faults, each with its case."""
    found: dict[str, dict[str, int]] = {}
    faults: list[str] = []
    with prepared() as files:
        for name, count in counts.items():
            reader, kinds, begun = READERS[name], set(), time.perf_counter()
            tally = {"cases": 0, "loaded": 0, "refused": 0, "faults": 0}
            for number in range(count):
                if number % AGAIN == 0:
                    gc.collect()
                    limit_memory()  # anew: thousands of cases leave holes in a process's memory, which is no case's doing
                data = files.damaged(reader, number, seed)
                outcome = one_case(files, reader, data, False) if number % sample else measured(files, reader, data)
                tally["cases"] += 1
                tally["faults" if outcome.is_fault else outcome.kind] += 1
                if outcome.kind == "refused":
                    kinds.add(shape_of(outcome.sentence))
                if outcome.is_fault:
                    again = f"--only {name!r} --case {number} --seed {seed}"
                    faults.append(
                        f"{name}: {outcome.kind}: {outcome.sentence[:200]}\n    again: python tests/torture/fuzz.py {again}"
                    )
                    if tally["faults"] >= most:
                        break
            found[name] = tally | {"kinds": len(kinds), "seconds": round(time.perf_counter() - begun)}
            print(f"{name:32}", *(f"{key} {value:<7}" for key, value in found[name].items()), flush=True)
    return found, faults


def fuzz_in_parts(counts: dict[str, int], seed: int, workers: int) -> tuple[dict[str, dict[str, int]], list[str]]:
    """The same in several processes, each with readers and files of its own."""
    names = list(counts)
    parts = [{name: counts[name] for name in names[first::workers]} for first in range(min(workers, len(names)))]
    with multiprocessing.get_context("fork").Pool(len(parts)) as pool:
        done = pool.starmap(fuzz, [(part, seed) for part in parts])
    found = {name: tally for tallies, _ in done for name, tally in tallies.items()}
    return {name: found[name] for name in names}, [fault for _, faults in done for fault in faults]


# --- corpus -----------------------------------------------------------------------------------------------------------

PACKED = 900  # bytes in the corpus; longer cases stay out of it


def corpus_rows() -> list[dict[str, str]]:
    """The cases that are kept: reader, what came of it, and the file, compressed."""
    with open(CORPUS, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def unpacked(row: dict[str, str]) -> bytes:
    return zlib.decompress(base64.b85decode(row["packed"]))


def write_corpus(counts: dict[str, int], seed: int, each: int = 6) -> None:
    """Keep the first small case of every kind of outcome, for readers whose files need no other file to be believed."""
    rows = []
    with prepared() as files:
        for name, count in counts.items():
            reader, seen = READERS[name], set()
            if reader.trusted:
                continue
            for number in range(count):
                data = files.damaged(reader, number, seed)
                outcome = one_case(files, reader, data, False)
                kind = f"{outcome.kind} {shape_of(outcome.sentence)}"
                packed = base64.b85encode(zlib.compress(data, 9)).decode()
                if kind not in seen and len(packed) < PACKED and len(seen) < each:
                    seen.add(kind)
                    rows.append({"reader": name, "outcome": kind, "packed": packed})
    write_atomic(CORPUS, rows_as_text(["reader", "outcome", "packed"], rows, header=True).encode())
    print(f"{CORPUS.name}: {len(rows)} cases, {CORPUS.stat().st_size} bytes")


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", choices=list(READERS))
    parser.add_argument("--case", type=int)
    parser.add_argument("--corpus", action="store_true")
    arguments = parser.parse_args()
    counts = {arguments.only: arguments.cases} if arguments.only else shares(arguments.cases)
    if arguments.corpus:
        write_corpus(shares(8_000), arguments.seed)
        return 0
    if arguments.case is not None:
        with prepared() as files:
            reader = READERS[arguments.only]
            data = files.damaged(reader, arguments.case, arguments.seed)
            outcome = measured(files, reader, data)
            print(data[:3000], len(data), outcome.kind, outcome.sentence, outcome.trace, sep="\n")
        return 0
    begun = time.perf_counter()
    found, faults = fuzz_in_parts(counts, arguments.seed, arguments.workers)
    total = {
        key: sum(tally[key] for tally in found.values()) for key in ("cases", "loaded", "refused", "faults", "kinds")
    }
    print("all", total, *faults, sep="\n")
    if arguments.record and not faults and not arguments.only:
        seconds = time.perf_counter() - begun
        record("fuzz", "damaged files read", total["cases"], seconds)
        record("fuzz", "of these refused with a sentence that names the file", total["refused"], seconds)
        record("fuzz", "of these loaded: the same agent, or another whole file", total["loaded"], seconds)
        record("fuzz", "readers", len(found), seconds)
        record("fuzz", "kinds of refusals", total["kinds"], seconds)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
