"""Copy a sweep's table, and the quality of its learned functions in the last row of metrics.csv, to a folder under results/.

    .venv/bin/python results/known_and_learned/collect.py runs/known_and_learned results/known_and_learned
"""
import csv
import json
import sys
from pathlib import Path

from mage_edu.storage import read_table
from mage_edu.sweep import read_sweep, write_sweep

QUALITY = ("reward_r2", "reward_slope_cosine", "termination_calibration", "termination_precision", "termination_recall", "dynamics_loss")


def short(label: str, dropped: set[str]) -> str:
    """A label without the settings that all runs share."""
    return ",".join(part for part in label.split(",") if part not in dropped) or "default"


def main(source: Path, target: Path) -> None:
    rows = read_sweep(source)
    shared = set.intersection(*(set(row["label"].split(",")) for row in rows))
    (target / "settings.txt").write_text(",".join(part for part in rows[0]["label"].split(",") if part in shared) + "\n")
    (target / "sweep.csv").unlink(missing_ok=True)
    write_sweep(target, [row | {"label": short(row["label"], shared)} for row in rows])
    found = []
    for table in sorted(source.rglob("metrics.csv")):
        description, last = json.loads((table.parent / "config.json").read_text()), read_table(table)[-1]
        quality = {name: f"{last[name]:.4g}" for name in QUALITY if last.get(name, float("nan")) == last.get(name, float("nan"))}
        found.append({"env": description["env"], "reward": description["sources"]["reward"], "termination": description["sources"]["termination"],
                      "seed": description["config"]["seed"], "step": int(last["step"]), **quality})
    with open(target / "quality.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ("env", "reward", "termination", "seed", "step", *QUALITY), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
