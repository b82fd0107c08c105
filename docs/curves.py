"""The page of curves: the index of results/ as a table, every table of runs as curves that the page draws, and all final values.

`results/index.csv` has a row for every table, or for a folder whose tables are one thing:

- `path` below results/, `title`.
- `x`, `y`, `lines`, where the rows are points of curves: the columns along which a curve runs (`step`, or `step seconds`), those that are drawn, and
  those that tell the lines of a task apart. `env` and `seed` are columns of every such table.
- `command`. `revision`: "run at" a commit whose code made the table, or "stored in" the one that brought it as it stands; "several" where its rows
  came one after the other. `machine`, `versions`. What nobody wrote down is "not recorded".
- `status`: "current", or "obsolete": the command, given today, would measure something else. The `note` says why; of a current table it says what was
  tried again.
"""

from __future__ import annotations

import csv
import html
import json
import shutil
from pathlib import Path
from typing import Any, Iterable, Sequence

import numpy as np

from mage_edu.engine.sweep import at_shared_seconds
from mage_edu.evaluate import summarize

PAGE = "docs/pages/curves.md"
COLUMNS = ("path", "title", "x", "y", "lines", "command", "revision", "machine", "versions", "status", "note")
INDEX_MARK, CURVES_MARK, VALUES_MARK = "<!-- the index -->", "<!-- the curves -->", "<!-- commands and final values -->"
Row = dict[str, str]


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV file, as text."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def points(row: Row, results: Path) -> list[Row]:
    """The rows of a table of runs that are points of curves: those of finished runs."""
    return [one for one in read_rows(results / row["path"]) if one.get("status", "finished") == "finished"]


def line_names(rows: Iterable[Row], columns: Sequence[str]) -> dict[tuple[str, ...], str]:
    """A short name for each combination of the columns: what all of them share is left out, setting by setting."""
    keys = list(dict.fromkeys(tuple(row[column] for column in columns) for row in rows))
    if len(keys) == 1:
        return {keys[0]: keys[0][0] if columns else "runs"}
    named = lambda column, part: part if column in ("algorithm", "label", "library") else f"{column}={part}"
    parts = {
        key: [
            named(column, part) for column, value in zip(columns, key) for part in value.split(",") if part != "default"
        ]
        for key in keys
    }
    shared = set.intersection(*map(set, parts.values()))
    return {key: " ".join(part for part in found if part not in shared) or "default" for key, found in parts.items()}


def seed_curves(rows: Iterable[Row], x: str, y: str, first: str) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """For each seed the curve of one line: x and y at each value of `first`, means where a value has several rows (its episodes)."""
    found: dict[int, dict[float, list[tuple[float, float]]]] = {}
    for row in rows:
        if row[y]:
            found.setdefault(int(row["seed"]), {}).setdefault(float(row[first]), []).append(
                (float(row[x]), float(row[y]))
            )
    return {
        seed: tuple(np.array([np.mean(found[seed][at], 0) for at in sorted(found[seed])]).T) for seed in sorted(found)
    }


def over_seeds(seeds: Sequence[tuple[np.ndarray, np.ndarray]], x: str) -> list[dict[str, float]]:
    """Mean, from four seeds on IQM, and their 95 % intervals wherever all seeds of a line have a value, and where that is ("at")."""
    if x == "seconds":
        seeds = at_shared_seconds(seeds)
    shared = sorted(set.intersection(*(set(at.tolist()) for at, _ in seeds))) if seeds else []
    found = [{"at": at} | summarize(np.array([y[x == at][0] for x, y in seeds])) for at in shared]
    few = len(seeds) < 4  # nothing is cut then, and the IQM is the mean
    return [
        {name: float(f"{value:.7g}") for name, value in one.items() if name != "seeds" and not (few and "iqm" in name)}
        for one in found
    ]


def panels(row: Row, results: Path) -> list[dict[str, Any]]:
    """What the page can draw of one table: for every task, every x and every y the lines with their seeds and what these say together."""
    rows, columns, xs = points(row, results), row["lines"].split(), row["x"].split()
    drawn = []
    for task in dict.fromkeys(one["env"] if "env" in one else "Pendulum-v1" for one in rows):
        mine = [one for one in rows if one.get("env", task) == task]
        names = line_names(mine, columns)
        for x in xs:
            for y in row["y"].split():
                lines = []
                for key, name in names.items():
                    seeds = seed_curves([one for one in mine if tuple(one[c] for c in columns) == key], x, y, xs[0])
                    if seeds:
                        curves = [
                            {"seed": seed, "x": at.tolist(), "y": values.tolist()}
                            for seed, (at, values) in seeds.items()
                        ]
                        lines.append({"name": name, "seeds": curves, "all": over_seeds(list(seeds.values()), x)})
                if lines:
                    drawn.append({"task": task, "x": x, "y": y, "lines": lines})
    return drawn


def everything(results: Path) -> list[dict[str, Any]]:
    """Every table of runs, in the order of the index, with what the page can draw of it."""
    tables = [row for row in read_rows(results / "index.csv") if row["x"]]
    return [
        {name: row[name] for name in ("path", "title", "status", "note")} | {"panels": panels(row, results)}
        for row in tables
    ]


def shown(value: float) -> str:
    """A number as the page shows it: whole from 100 on, else with three digits."""
    text = f"{value:.0f}" if abs(value) >= 100 else f"{float(f'{value:.3g}'):g}"
    return text.replace("-", "\N{MINUS SIGN}")


def cells(*texts: object) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(str(text).replace("|", "\\|") for text in texts) + " |"


def index_table(results: Path) -> str:
    """What is short in the index as a Markdown table; the files are links."""
    lines = [cells("table", "what it is", "revision", "status"), "| --- " * 4 + "|"]
    for row in read_rows(results / "index.csv"):
        name = f"`{row['path']}`" if row["path"].endswith("/") else f"[{row['path']}](../../results/{row['path']})"
        lines.append(cells(name, row["title"], row["revision"], row["status"]))
    return "\n".join(lines)


def final_values(table: dict[str, Any]) -> list[str]:
    """The last values of every curve of a table of runs, as lines of Markdown."""

    def with_interval(found: dict[str, float], name: str) -> str:
        if name not in found:
            return "under four seeds" if found else ""
        between = (
            f" ({shown(found[name + '_low'])} to {shown(found[name + '_high'])})" if name + "_low" in found else ""
        )
        return shown(found[name]) + between

    lines = [cells("task", "measure", "line", "at", "mean (95 %)", "IQM (95 %)", "every seed"), "| --- " * 7 + "|"]
    for panel in table["panels"]:
        for line in panel["lines"]:
            last = line["all"][-1] if line["all"] else {}
            each = ", ".join(shown(seed["y"][-1]) for seed in line["seeds"])
            at = f"{last['at']:,.6g} {panel['x'].rstrip('s')}s" if last else ""
            both = (with_interval(last, "mean"), with_interval(last, "iqm"))
            lines.append(
                cells(panel["task"], panel["y"].replace("_", " "), line["name"].replace("_", "\\_"), at, *both, each)
            )
    return lines


def accounts(results: Path, tables: Iterable[dict[str, Any]]) -> str:
    """For every row of the index a heading, what it is, how it was made and, where there are curves, the final values."""
    drawn, lines = {table["path"]: table for table in tables}, []
    for row in read_rows(results / "index.csv"):
        conditions = f"Machine: {row['machine']}. Versions: {row['versions']}. Revision: {row['revision']}."
        note = f" {row['status'].capitalize()}" + (f": {row['note']}." if row["note"] else ".")
        lines += ["", f"### {row['path']}", "", f"{row['title']}. {conditions}{note}", ""]
        if row["command"].startswith(("in each row", "the commands")):
            lines += [f"Its commands: {row['command']}.", ""]
        else:
            lines += ["```bash", *row["command"].split("; "), "```", ""]
        lines += final_values(drawn[row["path"]]) if row["path"] in drawn else []
    return "\n".join(lines)


def drawn_curves(tables: list[dict[str, Any]]) -> str:
    """What curves.js finds on the page, and what a reader without it reads."""
    data = json.dumps(tables, separators=(",", ":")).replace("</", "<\\/")
    fallback = html.escape("The curves are drawn by JavaScript. Without it, all final values are below.")
    return f'<div class="curves"><p>{fallback}</p>\n<script type="application/json">{data}</script></div>'


def add_curves(source: Path, results: Path) -> None:
    """Put index, curves and values into the copied page, and the tables beside it."""
    for row in read_rows(results / "index.csv"):
        if not row["path"].endswith("/"):
            target = source / "results" / row["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(results / row["path"], target)
    page, tables = source / PAGE, everything(results)
    text = page.read_text(encoding="utf-8")
    for mark, made in (
        (INDEX_MARK, index_table(results)),
        (CURVES_MARK, drawn_curves(tables)),
        (VALUES_MARK, accounts(results, tables)),
    ):
        if text.count(mark) != 1:
            raise ValueError(f"{PAGE}: expected {mark} once; found it {text.count(mark)} times.")
        text = text.replace(mark, made)
    page.write_text(text, encoding="utf-8")
