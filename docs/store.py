"""Run notebooks, store what they show, and note when and with which versions: `python docs/store.py NOTEBOOK ...`.

The note is a line of docs/stored.json; the site shows it under the page. A notebook that was changed afterwards no longer fits its note, and
the page says so.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTES = ROOT / "docs" / "stored.json"
PACKAGES = ("torch", "gymnasium", "mujoco", "numpy")  # what decides the numbers that a notebook shows


def digest(notebook: dict) -> str:
    """A short digest of a notebook's code and of what it shows."""
    shown = [[cell["source"], cell["outputs"]] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:16]


def note(path: Path) -> dict[str, str]:
    """When and with which versions the notebook was run: now, with these."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    versions = {"python": platform.python_version()} | {name: version(name).partition("+")[0] for name in PACKAGES}
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        **versions,
        "digest": digest(notebook),
    }


def last_run(notebook: dict, noted: dict[str, str] | None) -> str:
    """A sentence: when the notebook was last run, and with which versions; that it is not known; or that it was changed since."""
    if noted is None:
        return "When it was last run is not recorded."
    date = datetime.date.fromisoformat(noted["date"])
    versions = ", ".join(f"{name} {noted[name]}" for name in noted if name not in ("date", "digest"))
    since = "" if noted["digest"] == digest(notebook) else " It was changed since."
    return f"Last run on {date.day} {date:%B %Y} with {versions}.{since}"


def write(notes: dict[str, dict[str, str]]) -> None:
    """Write the notes, a line each, in order."""
    lines = [f"{json.dumps(name)}: {json.dumps(notes[name])}" for name in sorted(notes)]
    new = NOTES.with_suffix(".new")
    new.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    new.replace(NOTES)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Run notebooks, store their outputs, and note when and with which versions."
    )
    parser.add_argument("notebooks", nargs="+", type=Path)
    for path in (path.resolve() for path in parser.parse_args().notebooks):
        subprocess.run(
            [
                sys.executable,
                "-m",
                "nbconvert",
                "--to",
                "notebook",
                "--execute",
                "--inplace",
                "--log-level=ERROR",
                str(path),
            ],
            check=True,
        )
        subprocess.run(
            [sys.executable, "-c", "from nbdev.clean import nbdev_clean; nbdev_clean()", "--fname", str(path)],
            cwd=ROOT,
            check=True,
        )
        write({**json.loads(NOTES.read_text(encoding="utf-8")), path.relative_to(ROOT).as_posix(): note(path)})
        print(f"stored: {path.relative_to(ROOT)}", flush=True)


if __name__ == "__main__":
    main()
