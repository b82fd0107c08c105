"""The finished runs of a sweep as two tables: evaluation returns (means over episodes), and the quality in metrics.csv every 500 steps.

.venv/bin/python results/known_and_learned/collect.py runs/known_and_learned results/known_and_learned
"""

import json
import math
import sys
from pathlib import Path

from mage_edu.engine.storage import evaluation_curve, read_table, write_table

COLUMNS = ("env", "reward", "termination", "seed", "step", "return")
QUALITY = (
    "reward_r2",
    "reward_slope_cosine",
    "termination_calibration",
    "termination_precision",
    "termination_recall",
    "dynamics_loss",
)


def main(source: Path, target: Path) -> None:
    returns, quality = [], []
    for marker in sorted(source.rglob("finished.json")):
        run, description = marker.parent, json.loads((marker.parent / "config.json").read_text())
        name = {"env": description["env"], **description["sources"], "seed": description["config"]["seed"]}
        steps, values = evaluation_curve(run)
        returns += [name | {"step": int(step), "return": f"{value:.6g}"} for step, value in zip(steps, values.mean(1))]
        measured = lambda row: {key: f"{row[key]:.4g}" for key in QUALITY if not math.isnan(row.get(key, math.nan))}
        quality += [
            name | {"step": int(row["step"])} | measured(row)
            for row in read_table(run / "metrics.csv")
            if row["step"] % 500 == 0 and measured(row)
        ]
    write_table(target / "returns.csv", COLUMNS, returns)
    write_table(target / "quality.csv", (*COLUMNS[:-1], *QUALITY), quality)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
