"""Run the lessons as a student does: from the handout, with the package that the wheel holds, where the repository cannot be seen.

Run by `make test-student`: builds the wheel, installs it with the pinned versions in a fresh environment, writes the handout elsewhere, and
runs the student's copy of every lesson there. `--borrow` takes everything but the package itself from the environment that runs this, which
saves the download. Names of lessons after it run those only. `--otter` also lets otter-grader grade two submissions there. Exits with 1 when
something fails.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BESIDE_THE_WHEEL = ("ipykernel", "ipywidgets", "nbclient", "nbformat")  # what running a notebook takes
sys.path.insert(0, str(ROOT / "docs"))
import handout  # noqa: E402
import nbformat  # noqa: E402

GRADED = "07_both"  # the lesson that otter-grader is tried on


def environment() -> dict[str, str]:
    """The user's environment without what would lead Python elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}


def call(*command: str | Path, cwd: Path) -> str:
    """What a command prints. Raises `CalledProcessError` where it fails, after showing what it said."""
    result = subprocess.run([str(part) for part in command], cwd=cwd, env=environment(), capture_output=True, text=True)
    if result.returncode:
        print(result.stdout[-3000:], result.stderr[-3000:], sep="\n")
    result.check_returncode()
    return result.stdout


def build_wheel(folder: Path) -> Path:
    """The wheel, built from a copy."""
    leftovers = shutil.ignore_patterns(
        ".*", "__pycache__", "*.egg-info", "build", "dist", "runs", "_*", "results", "nbs"
    )
    shutil.copytree(ROOT, folder / "source", ignore=leftovers)
    shutil.rmtree(folder / "source" / "mage_edu")  # the pattern _* would leave out __init__.py
    shutil.copytree(ROOT / "mage_edu", folder / "source" / "mage_edu", ignore=shutil.ignore_patterns("__pycache__"))
    call(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        folder / "wheel",
        folder / "source",
        cwd=folder,
    )
    shutil.rmtree(folder / "source")
    return next((folder / "wheel").glob("*.whl"))


def install(wheel: Path, folder: Path, borrow: bool) -> Path:
    """The Python of a fresh environment that holds the wheel."""
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    if borrow:
        own = Path(call(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])", cwd=folder).strip())
        (own / "borrowed.pth").write_text(
            sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8"
        )  # .pth files there are not read, an editable install is not seen
        call(python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel, cwd=folder)
        call(python, "-m", "ipykernel", "install", "--sys-prefix", "--name", "python3", cwd=folder)
    else:
        call(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel, *BESIDE_THE_WHEEL, cwd=folder)
    return python


def otter_score(python: Path, folder: Path, name: str, submission: nbformat.NotebookNode) -> float:
    """The score that otter-grader gives to a submission of the lesson `GRADED`."""
    place = folder / name
    place.mkdir()
    nbformat.write(submission, place / "submission.ipynb")
    call(
        python,
        "-m",
        "otter",
        "generate",
        "-t",
        folder / "handout" / "otter" / GRADED,
        "-o",
        place / "autograder.zip",
        cwd=place,
    )
    call(
        python,
        "-m",
        "otter",
        "run",
        "--no-logo",
        "-a",
        place / "autograder.zip",
        "-o",
        place,
        place / "submission.ipynb",
        cwd=place,
    )
    results = json.loads((place / "results.json").read_text(encoding="utf-8"))
    return sum(test.get("score", 0.0) for test in results["tests"])


def try_otter(python: Path, folder: Path) -> bool:
    """Whether otter-grader gives a solved submission all points, and one that answers the first card only, and that wrongly, none."""
    call(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", "otter-grader", cwd=folder)
    lesson = nbformat.read(ROOT / "nbs" / "course" / f"{GRADED}.ipynb", as_version=4)
    cards, student = (
        handout.cards(lesson),
        nbformat.read(folder / "handout" / "student" / "nbs" / "course" / f"{GRADED}.ipynb", as_version=4),
    )
    right = otter_score(python, folder, "right", handout.with_solutions(student, lesson))
    for cell in student.cells:
        if cell.id == lesson.cells[cards[0].stub].id:
            cell.source = f"def {cards[0].name}(*arguments):\n    return arguments[0]"
        if "check" in handout.tags(cell):  # a student who answers in the check's place
            cell.source = "import mage_edu.exercises\n\n" + "\n".join(
                f"{card.check} = lambda attempt: mage_edu.exercises.Answer('right')" for card in cards
            )
    wrong = otter_score(python, folder, "wrong", student)
    print(
        f"otter-grader: {right:g} of {sum(card.points for card in cards)} points for the solutions, {wrong:g} for a wrong submission."
    )
    return right == sum(card.points for card in cards) and wrong == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lessons", nargs="*", help="such as 05 07 (default: all)")
    parser.add_argument("--borrow", action="store_true")
    parser.add_argument("--otter", action="store_true")
    parser.add_argument("--limit", default="240", help="seconds that one lesson may take")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mage_edu_student_") as name:
        folder = Path(name).resolve()
        python = install(build_wheel(folder), folder, options.borrow)
        where = call(python, "-c", "import mage_edu; print(mage_edu.__file__)", cwd=folder).strip()
        if not Path(where).is_relative_to(folder):
            print(f"the package is imported from {where}; expected the wheel's, in the fresh environment.")
            return 1
        lessons = [
            path
            for path in handout.write(folder / "handout", ROOT)
            if not options.lessons or path.stem.split("_")[0] in options.lessons
        ]
        shutil.copyfile(ROOT / "tests" / "run_notebooks.py", folder / "run_notebooks.py")
        ran = (
            subprocess.run(
                [python, folder / "run_notebooks.py", "--limit", options.limit, *lessons], cwd=folder, env=environment()
            ).returncode
            == 0
        )
        graded = not options.otter or try_otter(python, folder)
        return 0 if ran and graded else 1


if __name__ == "__main__":
    sys.exit(main())
