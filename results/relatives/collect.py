"""Train the relatives as they stand in the appendix, beside mage and td3: `python results/relatives/collect.py --seeds 0 1 2`.

Writes returns.csv beside itself: a row an evaluation (the mean return of its episodes), with the seconds of processor time of the whole run, on one thread.
A run that the table has already is not made again; `--again` makes it anew.
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
PAGE = HERE.parents[1] / "nbs" / "appendix" / "relatives.ipynb"
COLUMNS = ("env", "method", "seed", "step", "return", "seconds")


def sources() -> dict[str, str]:
    """The imports of the page and the cells that define its methods, by the cells' names, in order."""
    cells = json.loads(PAGE.read_text(encoding="utf-8"))["cells"]
    tagged = [cell for cell in cells if "relative" in cell["metadata"].get("tags", [])]
    return {cell["id"]: "".join(cell["source"]) for cell in tagged}


def methods() -> dict[str, Any]:
    """What those cells define; nothing is trained."""
    names: dict[str, Any] = {"__name__": "relatives"}
    for name, source in sources().items():
        exec(compile(source, f"{PAGE.name} {name}", "exec"), names)  # noqa: S102
    return names


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of the table; none where there is no table yet."""
    return list(csv.DictReader(path.open(encoding="utf-8"))) if path.exists() else []


def train(names: dict[str, Any], task: str, method: str, seed: int, steps: int) -> list[dict[str, Any]]:
    """The rows of one run."""
    rows, began = [], time.process_time()

    def note(agent: Any, metrics: dict[str, float]) -> None:
        if "return" in metrics:
            rows.append({"step": int(metrics["step"]), "return": f"{metrics['return']:.1f}"})

    names["make_agent"](task, method, seed).learn(steps, callback=note)
    seconds = f"{time.process_time() - began:.1f}"
    return [{"env": task, "method": method, "seed": seed, **row, "seconds": seconds} for row in rows]


def main(arguments: Sequence[str] | None = None) -> None:
    """Make what the table lacks, and write it after every run."""
    names = methods()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tasks", nargs="+", choices=names["TASKS"], default=list(names["TASKS"]))
    parser.add_argument("--methods", nargs="+", choices=names["METHODS"], default=list(names["METHODS"]))
    parser.add_argument("--steps", type=int, help="environment steps; by default the page's")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--out", type=Path, default=HERE)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    path = asked.out / "returns.csv"
    order = lambda row: (
        list(names["TASKS"]).index(row["env"]),
        list(names["METHODS"]).index(row["method"]),
        int(row["seed"]),
        int(row["step"]),
    )
    for seed in asked.seeds:
        for task in asked.tasks:
            for method in asked.methods:
                kept = read(path)
                mine = [row for row in kept if (row["env"], row["method"], row["seed"]) == (task, method, str(seed))]
                if mine and not asked.again:
                    continue
                rows = train(names, task, method, seed, asked.steps or names["TASKS"][task])
                everything = sorted([*(row for row in kept if row not in mine), *rows], key=order)
                write_table(path, COLUMNS, everything)
                returns = " ".join(row["return"] for row in rows)
                print(f"{task}, {method}, seed {seed}: {returns} ({rows[0]['seconds']} s)", flush=True)


if __name__ == "__main__":
    main()
