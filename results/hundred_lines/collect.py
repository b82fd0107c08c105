"""Train with the code of lesson 02 as it stands there, with the slope and without: `python results/hundred_lines/collect.py --seeds 0 1 2 3 4`.

Writes, beside itself, returns.csv (one row a training episode) and final.csv (one row a run: the mean of 20 episodes without exploration noise
after the last step, and the seconds of processor time of training, on one thread). Rows of the same seed and weight are replaced.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any, Sequence

import torch

from mage_edu.engine.storage import write_table

HERE = Path(__file__).resolve().parent
LESSON = HERE.parents[1] / "nbs" / "course" / "02_hundred_lines.ipynb"


def lesson_code() -> list[str]:
    """The cells that hold the hundred lines, in order; the last one trains."""
    cells = json.loads(LESSON.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if "hundred" in cell["metadata"].get("tags", [])]


def lesson(sources: Sequence[str] | None = None) -> dict[str, Any]:
    """What the lesson defines; without its last cell, so that nothing is trained."""
    names: dict[str, Any] = {"__name__": "lesson_02"}
    for source in lesson_code()[:-1] if sources is None else sources:
        exec(compile(source, LESSON.name, "exec"), names)  # noqa: S102
    return names


def replace_rows(path: Path, run: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """The table with these rows in the place of the ones of the same run."""
    same = lambda row: all(str(row[name]) == str(value) for name, value in run.items())
    kept = [row for row in csv.DictReader(path.open(encoding="utf-8")) if not same(row)] if path.exists() else []
    everything = sorted([*kept, *rows], key=lambda row: (-float(row["gradient_weight"]), int(row["seed"])))
    write_table(path, everything[0], everything)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--weights", type=float, nargs="+", help="gradient weights; by default the lesson's and 0")
    parser.add_argument("--out", type=Path, default=HERE)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    names = lesson()
    asked.out.mkdir(parents=True, exist_ok=True)
    for seed in asked.seeds:
        for weight in asked.weights or (names["GRADIENT_WEIGHT"], 0.0):
            began = time.process_time()
            agent, returns = names["train"](seed, weight)
            seconds = time.process_time() - began
            run = {"gradient_weight": weight, "seed": seed}
            mean = names["evaluate"](agent)
            episodes = [run | {"episode": n, "return": f"{value:.1f}"} for n, value in enumerate(returns, 1)]
            replace_rows(asked.out / "returns.csv", run, episodes)
            replace_rows(asked.out / "final.csv", run, [run | {"mean": f"{mean:.1f}", "seconds": f"{seconds:.1f}"}])
            print(
                f"seed {seed}, gradient weight {weight:g}: {mean:.0f} after {seconds:.0f} s of processor time",
                flush=True,
            )


if __name__ == "__main__":
    main()
