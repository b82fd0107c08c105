"""What threads cost and gain: milliseconds a training step, alone on the machine and beside a second run.

    python benchmarks/threads.py --out results/speed/threads.csv     # twenty minutes on two idle cores, a third with --repeats 1; nothing else should run

Each measurement is a process of its own that trains on HalfCheetah-v5: after the warm-up and the first rounds, the mean of so many
steps, without evaluations. Of two at once the slower one counts. `--sizes`, `--threads` and `--repeats` say how much is measured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from mage_edu.engine.storage import write_table

COLUMNS = ("size", "compiled", "threads", "runs_at_once", "repeat", "milliseconds", "processor_milliseconds")
STEPS = {"tiny": 1_500, "laptop": 200, "paper": 8}
WARMUP = 300


def measure(size: str, compiled: bool, threads: int) -> dict[str, float]:
    """One training process, in this one."""
    from mage_edu import MAGEAgent

    agent = MAGEAgent(
        "HalfCheetah-v5", size=size, warmup_steps=WARMUP, eval_interval=10**6, compile=compiled, threads=threads
    )
    agent.learn(WARMUP + (60 if size != "paper" else 4))
    wall, processor = time.perf_counter(), time.process_time()
    agent.learn(STEPS[size], reset_num_timesteps=False)
    took = time.perf_counter() - wall, time.process_time() - processor
    return dict(zip(("milliseconds", "processor_milliseconds"), (round(1_000 * s / STEPS[size], 2) for s in took)))


def measured(size: str, compiled: bool, threads: int, at_once: int) -> dict[str, float]:
    """The slower of so many processes that begin together."""
    command = [sys.executable, __file__, "--one", size, str(int(compiled)), str(threads)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(at_once)]
    return max((json.loads(run.communicate()[0]) for run in runs), key=lambda found: found["milliseconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["tiny", "laptop"], choices=list(STEPS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/threads.csv"))
    parser.add_argument("--one", nargs=3, metavar=("SIZE", "COMPILED", "THREADS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        size, compiled, threads = options.one
        print(json.dumps(measure(size, compiled == "1", int(threads))))
        return
    cases = [(size, size == "laptop", threads) for size in options.sizes for threads in options.threads]
    for size, compiled, threads in cases:
        measured(size, compiled, threads, 1)  # what the compiler makes is kept on the disk from here on
    options.out.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for repeat in range(options.repeats):
        for size, compiled, threads in cases:
            for at_once in (1, 2):
                found = measured(size, compiled, threads, at_once)
                names = {"size": size, "compiled": compiled, "threads": threads, "runs_at_once": at_once}
                rows.append(names | {"repeat": repeat} | found)
                print(rows[-1], flush=True)
                write_table(options.out, COLUMNS, rows)


if __name__ == "__main__":
    main()
