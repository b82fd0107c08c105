"""The branches of the library that the tests of `make test` take.

    python tests/torture/covered.py                               # the whole suite, some twenty minutes
    python tests/torture/covered.py tests/test_storage.py         # only some tests

Only what runs inside pytest's own processes is seen: a run that a test starts as a program of its own, and the notebooks,
which are run apart, take branches that are not counted here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from record import ROOT, parser_of, record

KEEPING = ("storage", "checkpoint", "resume", "learner", "agent", "sweep")  # modules that keep what was trained


class Count(NamedTuple):
    """How many branches there are, and how many of them were taken."""

    taken: int
    known: int

    def __add__(self, other: Any) -> "Count":
        return Count(self.taken + other.taken, self.known + other.known)


def counts_of(report: dict[str, Any]) -> dict[str, Count]:
    """The branches of every module of a report of coverage.py, by the module's path below the package."""
    return {
        path.rpartition("mage_edu/")[2]: Count(found["summary"]["covered_branches"], found["summary"]["num_branches"])
        for path, found in report["files"].items()
    }


def measured(tests: list[str], workers: int) -> dict[str, Count]:
    """Run tests under coverage.py. Raises `RuntimeError` where one fails: what it did not reach would be missing."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = ["pytest", *tests, "--cov=mage_edu", "--cov-branch", f"--cov-report=json:{report}", "-q"]
        command += ["--numprocesses", str(workers), "--dist", "loadfile", "-p", "no:cacheprovider"]
        ran = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
        (ROOT / ".coverage").unlink(missing_ok=True)
        if ran.returncode or not report.exists():
            raise RuntimeError(f"the tests have to pass first: {ran.stdout[-3000:]} {ran.stderr[-1000:]}")
        return counts_of(json.loads(report.read_text(encoding="utf-8")))


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("tests", nargs="*", help="of pytest; without any, all that `make test` runs")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    begin = time.perf_counter()
    modules = measured(options.tests, options.workers)
    seconds = time.perf_counter() - begin
    for name, count in sorted(modules.items(), key=lambda item: item[1].taken - item[1].known):
        print(f"{name:28} {count.taken:5} of {count.known:5}")
    keeping = [count for name, count in modules.items() if Path(name).stem in KEEPING]
    for what, found in (("the library", modules.values()), ("the modules that keep what was trained", keeping)):
        total = sum(found, Count(0, 0))
        print(f"branches of {what}: {total.taken:,} of {total.known:,} in {seconds:.0f} s")
        if options.record and not options.tests:
            record("coverage", f"branches of {what} that the tests take, of {total.known:,}", total.taken, seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
