"""The handout from the lessons: `python docs/handout.py FOLDER` writes a student's copy without solutions, an
instructor's copy, a zip, and tests for otter-grader.

`python docs/handout.py --grade SUBMISSION.ipynb LESSON.ipynb results.json` runs the lesson with the stubs of a submission in the place
of its own, and writes what the checks say as Gradescope reads it. A submission is somebody else's code: grade it where it can do no harm.

`python docs/handout.py --fold` folds the solutions of the lessons themselves, for who opens them in JupyterLab, and `--foot` gives a last
cell that says with which versions it ran to every lesson that has none; run the lesson then.

Cells are told by their tags: `stub`, `check`, `solution`, `guard`. CONTRIBUTING.md says how a card is laid out.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
KEPT_BACK = ("solution", "guard")  # tags of cells that the student's copy lacks
FUNCTION = re.compile(r"^def (\w+)\(", re.MULTILINE)
SOLUTION_TEXT = re.compile(r"<details>\s*<summary>\s*Solutions?\b.*?</details>\n?", re.DOTALL | re.IGNORECASE)


class Card(NamedTuple):
    """One exercise: where its cells are, and what they define."""

    title: str  # "Card 1: turn the arrow"
    points: int  # one for every filled dot of its difficulty
    name: str  # of the function that the stub defines
    check: str  # of the check
    stub: int  # the cells' places in the notebook
    solution: int


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return cell.metadata.get("tags", [])


def cards(notebook: NotebookNode) -> list[Card]:
    """The cards of a lesson, in order. Raises `ValueError` for one that is not laid out as CONTRIBUTING.md says."""
    cells, found = notebook.cells, []
    for place, cell in enumerate(cells):
        if "stub" not in tags(cell):
            continue
        parts = cells[place - 1 : place + 5]
        head = re.search(
            r"^### (Card \d+: .+)\n\nDifficulty ([●○]{3}) · importance [●○]{3} · \d+ minutes\.$",
            parts[0].source,
            re.MULTILINE,
        )
        name = FUNCTION.search(cell.source) or re.search(r"^class (\w+)", cell.source, re.MULTILINE)
        if head is None or name is None:
            raise ValueError(
                f"cell {cell.id}: expected a title '### Card 1: ...' with difficulty, importance and minutes above it, and one function in it."
            )
        title, name = head[1], name[1]
        if not re.search(r"raise NotImplementedError\s*\Z", cell.source):
            raise ValueError(f"{title}: expected a bare `raise NotImplementedError` as the stub's last line.")
        check = FUNCTION.search(parts[2].source) if len(parts) == 6 and "check" in tags(parts[2]) else None
        if check is None or "@answers" not in parts[2].source or "#| hide" not in parts[2].source:
            raise ValueError(f"{title}: expected a hidden cell with the tag check behind the stub, and @answers in it.")
        if parts[3].source.strip() != f"{check[1]}({name})":
            raise ValueError(
                f"{title}: expected the line {check[1]}({name}) behind the check, found {parts[3].source!r}."
            )
        if "<summary>Hint</summary>" not in parts[4].source:
            raise ValueError(f"{title}: expected the hint behind the line that checks.")
        if (
            "solution" not in tags(parts[5])
            or parts[5].source.strip().splitlines()[-1] != f"{check[1]}({name}_solution)"
        ):
            raise ValueError(
                f"{title}: expected a cell with the tag solution behind the hint, whose last line is {check[1]}({name}_solution)."
            )
        found.append(Card(title, head[2].count("●"), name, check[1], place, place + 4))
    return found


def students(notebook: NotebookNode) -> NotebookNode:
    """The lesson without solutions: no cell that is kept back, and no solution in a text."""
    copy = deepcopy(notebook)
    copy.cells = [cell for cell in copy.cells if not set(tags(cell)) & set(KEPT_BACK)]
    for cell in copy.cells:
        if cell.cell_type == "markdown":
            cell.source = SOLUTION_TEXT.sub("", cell.source).rstrip("\n")
    return copy


def instructors(notebook: NotebookNode) -> NotebookNode:
    """The lesson with its solutions folded in JupyterLab."""
    copy = deepcopy(notebook)
    for cell in copy.cells:
        if set(tags(cell)) & set(KEPT_BACK):
            cell.metadata["jupyter"] = {"source_hidden": True}
    return copy


def with_solutions(handout: NotebookNode, lesson: NotebookNode) -> NotebookNode:
    """A student's copy in which every stub is solved as in the lesson, under the stub's own name."""
    solved = deepcopy(handout)
    place = {cell.id: number for number, cell in enumerate(solved.cells)}
    for card in cards(lesson):
        solution = "\n".join(lesson.cells[card.solution].source.rstrip().splitlines()[:-1])
        solved.cells[
            place[lesson.cells[card.stub].id]
        ].source = f"{solution.rstrip()}\n\n\n{card.name} = {card.name}_solution"
    return solved


def with_answers_of(submission: NotebookNode, lesson: NotebookNode, results: Path) -> NotebookNode:
    """The lesson, solutions and guard left out, with the stubs of a submission, which are found by the cells' ids, and a last cell that writes what the checks say.

    Raises `ValueError` where the submission lacks a stub's cell.
    """
    graded, theirs = students(lesson), {cell.id: cell.source for cell in submission.cells}
    for cell in graded.cells:
        if "stub" in tags(cell):
            if cell.id not in theirs:
                raise ValueError(f"the submission has no cell {cell.id}: answers belong into the cells of the stubs.")
            cell.source = theirs[cell.id]
    said = ", ".join(f"{card.title!r}: {card.check}({card.name})" for card in cards(lesson))
    points = {card.title: card.points for card in cards(lesson)}
    call = f"from mage_edu.exercises import write_results\n\nwrite_results({str(results)!r}, {{{said}}}, {points!r})"
    graded.cells.append(nbformat.v4.new_code_cell(call, metadata={"tags": ["results"]}))
    return graded


def otter_test(card: Card, check: str) -> str:
    """The file by which otter-grader tests one card: the lesson's own check, whatever the submission has made of its copy."""
    return "\n".join(
        [
            "from otter.test_files import test_case",
            "",
            "OK_FORMAT = False",
            f"name = {card.title!r}",
            f"points = {card.points}",
            f"CHECK = {check!r}",
            "",
            "",
            "@test_case(points=points, hidden=False)",
            "def test_card(env):",
            '    exec("from mage_edu.exercises import *\\n" + CHECK, env)',
            f"    said = env[{card.check!r}](env.get({card.name!r}))",
            "    assert said.passed, str(said)",
            "",
        ]
    )


def write_otter(folder: Path, lesson: NotebookNode) -> None:
    """Write a lesson's tests for otter-grader: `otter generate -t FOLDER -o autograder.zip`, then `otter run -a autograder.zip SUBMISSION.ipynb`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, card in enumerate(cards(lesson), 1):
        (folder / f"card{number}.py").write_text(otter_test(card, lesson.cells[card.stub + 1].source), encoding="utf-8")


def execute(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Run a notebook from top to bottom in a kernel of its own, as if it lay in `folder`; a cell may take ten minutes."""
    from nbclient import NotebookClient

    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=600,
        resources={"metadata": {"path": str(folder)}},
        extra_arguments=["--log-level=CRITICAL"],
    )
    return client.execute()


def grade(submission: Path, lesson: Path, results: Path) -> None:
    """Write results.json for one submission of one lesson."""
    answered = with_answers_of(
        nbformat.read(submission, as_version=4), nbformat.read(lesson, as_version=4), results.resolve()
    )
    execute(answered, lesson.resolve().parent)


def lessons(root: Path) -> list[Path]:
    """The lessons in order."""
    return sorted((root / "nbs" / "course").glob("*.ipynb"))


def write(out: Path, root: Path) -> list[Path]:
    """Write both copies, each with all that lessons read or link to where the repository has it, and the student's as a zip; returns the student's notebooks."""
    hidden = shutil.ignore_patterns(".*")
    for name, version in (("student", students), ("instructor", instructors)):
        shutil.rmtree(out / name, ignore_errors=True)
        for folder in ("nbs/course", "nbs/appendix", "nbs/engine", "results"):
            shutil.copytree(root / folder, out / name / folder, ignore=hidden)
        (out / name / "docs" / "pages").mkdir(parents=True)
        for file in ("LICENSE", "CONTRIBUTING.md", "docs/pages/limits.md", "docs/pages/results.md"):
            shutil.copyfile(root / file, out / name / file)
        for lesson in lessons(root):
            nbformat.write(version(nbformat.read(lesson, as_version=4)), out / name / "nbs" / "course" / lesson.name)
    for lesson in lessons(root):
        write_otter(out / "otter" / lesson.stem, nbformat.read(lesson, as_version=4))
    shutil.make_archive(str(out / "student"), "zip", out / "student")
    return sorted((out / "student" / "nbs" / "course").glob("*.ipynb"))


def fold(root: Path) -> None:
    """Fold the solutions of the lessons where they lie."""
    for lesson in lessons(root):
        notebook = nbformat.read(lesson, as_version=4)
        if (folded := instructors(notebook)) != notebook:
            nbformat.write(folded, lesson)


def foot(root: Path) -> None:
    """Append the cell that says what a lesson ran with, where it is missing."""
    for lesson in lessons(root):
        notebook = nbformat.read(lesson, as_version=4)
        if not any("versions" in tags(cell) for cell in notebook.cells):
            source = "#| echo: false\nfrom mage_edu.exercises import ran_with\n\nprint(ran_with())"
            notebook.cells.append(
                nbformat.v4.new_code_cell(
                    source, id=f"{lesson.stem.split('_')[0]}-versions", metadata={"tags": ["versions"]}
                )
            )
            nbformat.write(notebook, lesson)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("_handout"))
    parser.add_argument("--grade", nargs=3, type=Path, metavar=("SUBMISSION", "LESSON", "RESULTS"))
    parser.add_argument("--fold", action="store_true")
    parser.add_argument("--foot", action="store_true")
    arguments = parser.parse_args()
    if arguments.grade:
        grade(*arguments.grade)
    elif arguments.fold or arguments.foot:
        for wanted, change in ((arguments.fold, fold), (arguments.foot, foot)):
            if wanted:
                change(ROOT)
    else:
        written = write(arguments.folder, ROOT)
        print(
            f"{len(written)} lessons: {arguments.folder}/student.zip, {arguments.folder}/student, {arguments.folder}/instructor, {arguments.folder}/otter"
        )
    sys.exit(0)
