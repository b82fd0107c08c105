"""The finished runs of a sweep as three tables: returns, diagnostics along the run, and what the finished policies gain along two gradients.

    .venv/bin/python results/side_by_side/collect.py runs/side_by_side results/side_by_side

The gains are measured on the saved agents by `agent.diagnose()`, some 20 seconds each on one core; those in gains.csv already are kept.
"""

import csv
import json
import shutil
import sys
from pathlib import Path

import torch

from mage_edu import MAGEAgent
from mage_edu.engine.storage import write_table

GAINS = ("climb_gain", "climb_gain_stderr", "true_gain", "true_gain_stderr")
COLUMNS = ("env", "algorithm", "seed", *GAINS)


def main(runs: Path, out: Path) -> None:
    """Copy two tables and add to the third."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    for name in ("sweep.csv", "diagnostics.csv"):
        shutil.copy(runs / name, out / name)
    path = out / "gains.csv"
    rows = list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []
    done = {(row["env"], row["algorithm"], row["seed"]) for row in rows}
    for finished in sorted(runs.glob("*/*/seed-*/finished.json")):
        described = json.loads((finished.parent / "config.json").read_text())
        run = {
            "env": described["env"],
            "algorithm": described["config"]["algorithm"],
            "seed": str(described["config"]["seed"]),
        }
        if tuple(run.values()) in done:
            continue
        found = MAGEAgent.load(finished.parent / "agent").diagnose()
        rows.append(run | {name: f"{found[name]:.5g}" for name in GAINS})
        write_table(path, COLUMNS, sorted(rows, key=lambda row: (row["env"], row["algorithm"], row["seed"])))
        print(*run.values(), {name: rows[-1][name] for name in GAINS}, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
