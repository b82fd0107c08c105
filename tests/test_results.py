"""results/ has one form: every table is in the index, with its command, revision, machine and versions, and can be drawn where it is said to be."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
sys.path.insert(0, str(ROOT / "docs"))
import curves  # noqa: E402

REVISION = re.compile(r"(stored in|run at) [0-9a-f]{7}|several|not recorded")
INDEX = curves.read_rows(RESULTS / "index.csv")
DRAWN = [row for row in INDEX if row["x"]]


def not_in_the_index(files: list[str], paths: list[str]) -> list[str]:
    """Tables that no row of the index stands for: neither their own nor one of a folder, "folder/", that holds them."""
    return [
        file
        for file in files
        if not any(file == path or path.endswith("/") and file.startswith(path) for path in paths)
    ]


def tables() -> list[str]:
    """Every table below results/."""
    files = (path for kind in ("csv", "json") for path in RESULTS.rglob(f"*.{kind}"))
    return sorted(path.relative_to(RESULTS).as_posix() for path in files if path != RESULTS / "index.csv")


def columns(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file))


def test_every_table_is_in_the_index():
    paths = [row["path"] for row in INDEX]
    assert len(paths) == len(set(paths))
    assert not_in_the_index(tables(), paths) == []
    assert [path for path in paths if not (RESULTS / path).exists()] == []
    assert [path for path in paths if path.endswith("/") != (RESULTS / path).is_dir()] == []


def test_a_missing_table_would_be_noticed():
    assert not_in_the_index(["a/x.csv", "b/y.json", "bc/z.csv"], ["a/x.csv", "b/"]) == ["bc/z.csv"]


def test_the_index_is_well_formed():
    assert columns(RESULTS / "index.csv") == list(curves.COLUMNS)
    for row in INDEX:
        assert None not in row and None not in row.values(), row["path"]
        empty = [name for name in ("title", "command", "revision", "machine", "versions") if not row[name]]
        assert empty == [], row["path"]
        assert REVISION.fullmatch(row["revision"]), (row["path"], row["revision"])
        assert row["status"] in ("current", "obsolete") and (row["note"] or row["status"] == "current"), row["path"]
        assert not re.search(r"/work|/tmp|/home", " ".join(row.values())), row["path"]
        assert not row["title"].endswith("."), row["path"]


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)


def test_a_revision_is_of_the_history_and_has_the_table():
    """A table that is "stored in" a commit is there as it is here: one that was made anew gets its new revision in the index."""
    if git("rev-parse", "--is-shallow-repository").stdout.strip() != "false":
        pytest.skip("this is no checkout with a history")
    for row in INDEX:
        kind, _, revision = row["revision"].rpartition(" ")
        if kind in ("stored in", "run at"):
            assert git("merge-base", "--is-ancestor", revision, "HEAD").returncode == 0, (row["path"], revision)
        if kind == "stored in":
            there = git("show", f"{revision}:results/{row['path']}").stdout
            assert there == (RESULTS / row["path"]).read_text(encoding="utf-8"), (
                f"{row['path']} was changed after {revision}"
            )


@pytest.mark.parametrize("row", DRAWN, ids=lambda row: row["path"])
def test_what_is_to_be_drawn_is_in_the_table(row):
    names = columns(RESULTS / row["path"])
    assert {*row["x"].split(), *row["y"].split(), *row["lines"].split(), "seed"} <= set(names)
    assert row["y"] and row["x"].split()[0] in ("step", "episode")


def test_long_tables_of_runs_are_curves():
    """What has the columns of a sweep is marked as curves: nobody forgets to draw it."""
    runs = [
        table
        for table in tables()
        if table.endswith(".csv") and {"seed", "step", "return"} <= set(columns(RESULTS / table))
    ]
    assert len(runs) > 15 and set(runs) <= {row["path"] for row in DRAWN}


def plain_iqm(values: np.ndarray) -> float:
    """The interquartile mean by hand."""
    cut = len(values) // 4
    return float(np.mean(np.sort(values)[cut : len(values) - cut]))


@pytest.mark.parametrize("row", DRAWN, ids=lambda row: row["path"])
def test_the_curves_are_those_of_the_table(row):
    """Every point of every seed, and the mean and the IQM over seeds, read from the table once more, by hand."""
    rows = [one for one in curves.read_rows(RESULTS / row["path"]) if one.get("status", "finished") == "finished"]
    keys = ["env", *row["lines"].split(), "seed"]
    points = 0
    for panel in curves.panels(row, RESULTS):
        for line in panel["lines"]:
            at_points: dict[float, list[float]] = {}
            for seed in line["seeds"]:
                for x, y in zip(seed["x"], seed["y"], strict=True):
                    assert np.isfinite([x, y]).all()
                    at_points.setdefault(x, []).append(y)
                    points += 1
            for one in line["all"]:
                values = np.array(at_points[one["at"]]) if panel["x"] != "seconds" else None
                if values is not None:
                    assert len(values) == len(line["seeds"])
                    assert one["mean"] == pytest.approx(values.mean(), rel=1e-6, abs=1e-9)
                    assert ("iqm" in one) == (len(values) >= 4)
                    assert "iqm" not in one or one["iqm"] == pytest.approx(plain_iqm(values), rel=1e-6, abs=1e-9)
                    assert ("mean_low" in one) == (len(values) >= 2)
    # every cell of the table is in one of the points, a mean over those that share a run and a place
    expected = sum(
        len({tuple(one.get(key, "") for key in (*keys, row["x"].split()[0])) for one in rows if one[y]})
        for y in row["y"].split()
    )
    assert points == expected * len(row["x"].split())


def test_a_point_is_the_mean_of_its_episodes():
    (row,) = [row for row in INDEX if row["path"] == "mixture/choosing.csv"]
    (panel,) = curves.panels(row, RESULTS)
    (line,) = [line for line in panel["lines"] if line["name"] == "mage-half"]
    last = line["seeds"][0]
    returns = [
        float(one["return"])
        for one in curves.read_rows(RESULTS / row["path"])
        if (one["algorithm"], one["seed"], one["step"]) == ("mage-half", "100", "10000")
    ]
    assert len(returns) == 10 and last["seed"] == 100 and last["x"][-1] == 10_000
    assert last["y"][-1] == pytest.approx(np.mean(returns))


def test_lines_are_named_by_what_tells_them_apart():
    rows = [
        {"algorithm": "mage", "label": "a=1,b=2"},
        {"algorithm": "mage", "label": "a=1"},
        {"algorithm": "td3", "label": "a=1"},
    ]
    assert list(curves.line_names(rows, ["algorithm", "label"]).values()) == ["mage b=2", "mage", "td3"]
    assert list(curves.line_names(rows[:2], ["algorithm", "label"]).values()) == ["b=2", "default"]
    assert list(curves.line_names(rows[:1], ["algorithm", "label"]).values()) == ["mage"]
    assert list(curves.line_names([{"clip": "5"}, {"clip": "none"}], ["clip"]).values()) == ["clip=5", "clip=none"]


def test_seconds_are_shared_before_they_are_averaged(tmp_path):
    """Two seeds, one twice as fast: at equal seconds their curves are read between their points."""
    text = "env,algorithm,label,seed,step,seconds,return\n" + "".join(
        f"Pendulum-v1,mage,default,{seed},{step},{step / 10 * (seed + 1)},{step}\n"
        for seed in (0, 1)
        for step in (10, 20, 30)
    )
    (tmp_path / "times.csv").write_text(text, encoding="utf-8")
    row = {"path": "times.csv", "x": "step seconds", "y": "return", "lines": "algorithm label"}
    by_step, by_seconds = curves.panels(row, tmp_path)
    assert (by_step["x"], by_seconds["x"]) == ("step", "seconds")
    assert [one["at"] for one in by_step["lines"][0]["all"]] == [10, 20, 30]
    shared = by_seconds["lines"][0]["all"]
    assert (shared[0]["at"], shared[-1]["at"]) == (2, 3)
    assert shared[0]["mean"] == pytest.approx((20 + 10) / 2) and shared[-1]["mean"] == pytest.approx((30 + 15) / 2)
