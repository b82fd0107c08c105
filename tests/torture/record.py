"""The counts of `make torture`: one table for each part in results/torture, and the page of the site that shows them.

    python tests/torture/record.py     # writes docs/pages/torture.md from the tables

A part calls `record` once for each thing that it counted. A row with the same `what` takes the place of the earlier one.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import shlex
import sys
from pathlib import Path

from mage_edu.engine.storage import rows_as_text, write_atomic

ROOT = Path(__file__).resolve().parent.parent.parent
TABLES = ROOT / "results" / "torture"
PAGE = ROOT / "docs" / "pages" / "torture.md"
COLUMNS = ("part", "what", "count", "seconds", "command", "versions")
PARTS = {  # in the order of the page: the file's name, and what the part does
    "power": "Power loss: every state that a disk may show after it",
    "errors": "Errors of the disk, once and lasting",
    "compound": "A second fault during the recovery from the first",
    "everywhere": "A checkpoint after every step",
    "fuzz": "Damaged files that know their format",
    "programs": "Programs of calls",
    "hostile": "Hostile environments",
    "planted": "Planted bugs",
    "coverage": "What the tests reach",
}


def versions() -> str:
    """What the counts were made with."""
    import gymnasium
    import mujoco
    import numpy
    import torch

    packages = {module.__name__: module.__version__ for module in (gymnasium, mujoco, numpy, torch)}
    return " ".join(f"{name} {version}" for name, version in ({"python": platform.python_version()} | packages).items())


def called() -> str:
    """How this program is called."""
    return shlex.join(["python", os.path.relpath(sys.argv[0]), *sys.argv[1:]])


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """What every part can be told: whether its counts are to be kept."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="write the counts into results/torture")
    return parser


def read(part: str, tables: Path = TABLES) -> list[dict[str, str]]:
    """The rows of a part; none where it has not run."""
    path = tables / f"{part}.csv"
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def record(part: str, what: str, count: int, seconds: float, command: str | None = None, tables: Path = TABLES) -> None:
    """Write one row, with the command that made it (how this program is called, unless another is given), in the place of an earlier one of the same part that counts the same. Raises `ValueError` for an unknown part."""
    if part not in PARTS:
        raise ValueError(f"part {part!r}: expected one of {', '.join(PARTS)}.")
    row = dict(zip(COLUMNS, (part, what, str(count), f"{seconds:.0f}", command or called(), versions())))
    rows = read(part, tables)
    places = [i for i, old in enumerate(rows) if old["what"] == what]
    rows[places[0] if places else len(rows) : places[0] + 1 if places else len(rows)] = [row]
    tables.mkdir(parents=True, exist_ok=True)
    write_atomic(tables / f"{part}.csv", rows_as_text(list(COLUMNS), rows, header=True).encode())
    print(f"{part}: {what}: {count:,} in {seconds:.0f} s", flush=True)


def page(tables: Path = TABLES) -> str:
    """The page of the site, from the tables alone."""
    lines = [
        "# Nothing lost",
        "",
        "What `make torture` does to runs and files, counted by the runs themselves. Every part can be run alone, by the command beside its row.",
    ]
    for part, title in PARTS.items():
        if rows := read(part, tables):
            lines += ["", f"## {title}", "", "| what | count | seconds | command |", "| --- | --- | --- | --- |"]
            cell = lambda text: text.replace("|", "\\|")
            lines += [
                f"| {cell(row['what'])} | {int(row['count']):,} | {int(row['seconds']):,} | `{cell(row['command'])}` |"
                for row in rows
            ]
            lines += ["", *(f"Made with {made}." for made in sorted({row["versions"] for row in rows}))]
    if missing := [title for part, title in PARTS.items() if not read(part, tables)]:
        lines += ["", f"Not counted yet: {'; '.join(missing)}."]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {sum(len(read(part)) for part in PARTS)} rows")
    sys.exit(0)
