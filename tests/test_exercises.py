"""Cards: how they are laid out, what the handout holds, and that it can be solved and graded.

That every check accepts two right ways and refuses two wrong ones runs in the lessons (`prove_check` in the cell with the tag guard).
"""

from __future__ import annotations

import copy
import json
import re
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
import torch

from mage_edu.exercises import (
    NOT_TRIED,
    Answer,
    answers,
    goes_down,
    gradescope,
    prove_check,
    ran_with,
    same_array,
    same_direction,
    write_results,
)

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))
import handout  # noqa: E402

LESSONS = {path.stem: nbformat.read(path, as_version=4) for path in handout.lessons(ROOT)}
WITH_CARDS = [name for name, lesson in LESSONS.items() if any("stub" in handout.tags(cell) for cell in lesson.cells)]
RUN_HERE = "07_both"
LAST_WITH_MINUTES = 21


def code(lesson: nbformat.NotebookNode, tag: str) -> str:
    return "\n".join(cell.source for cell in lesson.cells if tag in handout.tags(cell))


# the checks' own tools


def test_an_answer_is_a_sentence_with_a_verdict():
    assert Answer("right").passed and Answer("right, in five worlds").passed and Answer("right: yes").passed
    assert (
        not Answer("right-hand side missing").passed
        and not Answer("rightly not").passed
        and not Answer("not right").passed
    )
    assert not NOT_TRIED.tried and not NOT_TRIED.passed and repr(Answer("a sentence")) == "a sentence"


def test_a_check_never_raises():
    def stub(x):
        raise NotImplementedError

    def missing(x):
        raise NotImplementedError("aten::nothing")

    check = answers(lambda attempt: None if attempt(2) == 4 else f"you say {attempt(2)}, expected 4")
    assert check(stub) == NOT_TRIED and check(missing) == "it stops with NotImplementedError: aten::nothing"
    assert check(lambda x: 4).passed and check(lambda x: 5) == "you say 5, expected 4" and "TypeError" in check(None)
    with pytest.raises(KeyboardInterrupt):
        answers(lambda attempt: attempt())(lambda: (_ for _ in ()).throw(KeyboardInterrupt))


@pytest.mark.parametrize("found", [[[1.0], [2.0]], [1.0, 2.1], [1.0, torch.nan], None, "1, 2", [1.0]])
def test_an_array_is_refused_for_shape_value_and_kind(found):
    assert same_array(found, [1.0, 2.0], "x", "Look there.").endswith("Look there.")


@pytest.mark.parametrize(
    "found", [[1.0, 2.0], torch.tensor([1, 2]), torch.tensor([1.0, 2.0], requires_grad=True), [1.0, 2.0 + 1e-7]]
)
def test_an_array_is_accepted_in_any_clothes(found):
    assert same_array(found, [1.0, 2.0], "x", "") is None


def test_directions_and_curves():
    assert (
        same_direction([[3.0, 0.0]], [[1.0, 0.0]], "x", "") is None
        and same_direction([[1.0, 1.0]], [[1.0, 0.0]], "x", "", at_least=0.7) is None
    )
    assert "-1.000" in same_direction([[-1.0, 0.0]], [[1.0, 0.0]], "x", "") and "shape" in same_direction(
        [1.0], [[1.0]], "x", ""
    )
    assert (
        goes_down([10, 9, 8, 1], "x", "") is None
        and "10 to 9" in goes_down([10, 9], "x", "")
        and goes_down([1.0], "x", "")
        and goes_down([torch.inf, 1], "x", "")
    )


def test_a_check_that_cannot_tell_is_found():
    double = answers(
        lambda attempt: None if attempt(0) == 0 else f"at 0 you say {attempt(0)}, expected 0"
    )  # tries one number only

    def stub(x):
        raise NotImplementedError

    good = dict(stub=stub, right=[lambda x: 2 * x, lambda x: x + x], wrong=[lambda x: 1, lambda x: x + 3])
    prove_check(double, **good)
    for worse in (
        dict(wrong=[lambda x: 1, lambda x: 3 * x]),
        dict(right=[lambda x: 2 * x, lambda x: 2 * x + 1]),
        dict(right=[lambda x: 0]),
        dict(wrong=[lambda x: 1]),
        dict(stub=lambda x: 7),
        dict(wrong=[stub, stub]),
    ):
        with pytest.raises(AssertionError):
            prove_check(double, **good | worse)
    with pytest.raises(AssertionError, match="only: wrong"):
        prove_check(answers(lambda attempt: None if attempt(1) == 2 else "wrong"), **good)


def test_results_are_what_gradescope_reads(tmp_path):
    write_results(
        tmp_path / "results.json",
        {"Card 1": Answer("right"), "Card 2": Answer("not yet: look there"), "Card 3": NOT_TRIED},
        {"Card 1": 2},
    )
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["score"] == 2 and [
        (t["name"], t["score"], t["max_score"], t["status"]) for t in written["tests"]
    ] == [("Card 1", 2, 2, "passed"), ("Card 2", 0, 1, "failed"), ("Card 3", 0, 1, "failed")]
    assert written["tests"][1]["output"] == "not yet: look there"
    with pytest.raises(ValueError, match="Card 4"):
        gradescope({"Card 1": Answer("right")}, {"Card 4": 1})


def test_a_sentence_says_what_it_ran_with():
    assert re.fullmatch(
        r"Last run with Python 3\.\d+\.\d+\S*, mage_edu \S+, torch \S+, numpy \S+, gymnasium \S+, mujoco \S+\.",
        ran_with(),
    )


def test_what_a_lesson_ran_with_is_its_last_cell():
    for name, lesson in LESSONS.items():
        places = [place for place, cell in enumerate(lesson.cells) if "versions" in handout.tags(cell)]
        assert places in ([], [len(lesson.cells) - 1]), name
        assert all("Last run with Python" in str(lesson.cells[place].outputs) for place in places), name


# the cards of the lessons


def test_every_lesson_has_cards():
    assert len(LESSONS) == 21 and [name for name in LESSONS if name not in WITH_CARDS] == []
    assert sum("stub" in handout.tags(cell) for lesson in LESSONS.values() for cell in lesson.cells) >= 45


@pytest.mark.parametrize("name", WITH_CARDS)
def test_cards_are_laid_out_alike(name):
    lesson = LESSONS[name]
    found = handout.cards(lesson)
    assert 2 <= len(found) <= 4 and [card.title.split(":")[0] for card in found] == [
        f"Card {n}" for n in range(1, len(found) + 1)
    ]
    assert len({card.name for card in found}) == len({card.check for card in found}) == len(found)
    assert (
        sum(cell.source.lstrip().startswith("## Cards") or "\n## Cards\n" in cell.source for cell in lesson.cells) == 1
    )
    bare = [
        cell.id
        for cell in lesson.cells
        if cell.cell_type == "code" and re.search(r"^\s+raise NotImplementedError\s*$", cell.source, re.MULTILINE)
    ]
    assert bare == [lesson.cells[card.stub].id for card in found]


def minutes(lesson: nbformat.NotebookNode) -> tuple[int, int]:
    """The minutes for the cards that a lesson's first cell names, and the sum of those that its cards name."""
    head = re.findall(
        r"^\d+ minutes to read, (\d+) for the cards \(estimates\)\.", lesson.cells[0].source, re.MULTILINE
    )
    assert len(head) == 1, (
        f"expected 'N minutes to read, M for the cards (estimates).' once in: {lesson.cells[0].source}"
    )
    texts = [lesson.cells[card.stub - 1].source for card in handout.cards(lesson)]
    return int(head[0]), sum(
        int(n) for text in texts for n in re.findall(r"^Difficulty .* · (\d+) minutes\.$", text, re.MULTILINE)
    )


@pytest.mark.parametrize("name", [name for name in LESSONS if int(name[:2]) <= LAST_WITH_MINUTES])
def test_the_first_cell_adds_up_the_minutes_of_the_cards(name):
    said, summed = minutes(LESSONS[name])
    assert said == summed


def test_minutes_that_do_not_add_up_are_seen():
    lesson = copy.deepcopy(LESSONS[RUN_HERE])
    lesson.cells[handout.cards(lesson)[0].stub - 1].source += "\n\nDifficulty ●○○ · importance ●●● · 1 minutes."
    said, summed = minutes(lesson)
    assert summed == said + 1
    lesson.cells[0].source = lesson.cells[0].source.replace("for the cards", "with the cards")
    with pytest.raises(AssertionError, match="expected 'N minutes"):
        minutes(lesson)


@pytest.mark.parametrize("name", WITH_CARDS)
def test_every_check_is_proved_where_the_lesson_runs(name):
    guard = code(LESSONS[name], "guard")
    assert "#| hide" in guard
    for card in handout.cards(LESSONS[name]):
        assert re.search(rf"prove_check\(\s*{card.check},\s*{card.name},", guard), card.title


@pytest.mark.parametrize("name", WITH_CARDS)
def test_stored_answers_are_not_tried_and_right(name):
    """What the lesson shows: the stub was not tried, the solution is right."""
    shown = lambda cell: "".join(
        "".join(output.get("text", "") or output.get("data", {}).get("text/plain", "")) for output in cell.outputs
    ).strip()
    for card in handout.cards(LESSONS[name]):
        assert shown(LESSONS[name].cells[card.stub + 2]) == "not tried yet", card.title
        assert Answer(shown(LESSONS[name].cells[card.solution])).passed, card.title


def test_a_card_that_is_laid_out_otherwise_is_named():
    def broken(change) -> str:
        lesson = copy.deepcopy(LESSONS[RUN_HERE])
        card = handout.cards(lesson)[0]
        change(lesson, card)
        with pytest.raises(ValueError) as error:
            handout.cards(lesson)
        return str(error.value)

    def put(offset, **changes):
        def change(lesson, card):
            lesson.cells[card.stub + offset].update(changes)

        return change

    assert "difficulty" in broken(put(-1, source="### Card 1: no dots"))
    assert "last line" in broken(put(0, source="def f(x):\n    raise NotImplementedError('todo')"))
    assert "tag check" in broken(put(1, metadata={})) and "@answers" in broken(
        put(1, source="def check_f(attempt): pass")
    )
    assert (
        "behind the check" in broken(put(2, source="print(1)"))
        and "hint" in broken(put(3, source=""))
        and "tag solution" in broken(put(4, metadata={}))
    )


# the handout


@pytest.mark.parametrize("name", WITH_CARDS)
def test_the_students_copy_holds_no_solution(name):
    lesson = LESSONS[name]
    before, text = nbformat.writes(lesson), nbformat.writes(handout.students(lesson))
    student = nbformat.reads(text, as_version=4)
    nbformat.validate(student)
    sources = [cell.source for cell in student.cells]
    for card in handout.cards(lesson):
        assert f"{card.name}_solution" not in text and lesson.cells[card.solution].source not in sources
        assert lesson.cells[card.stub].source in sources and lesson.cells[card.stub + 3].source in sources
    assert not any("guard" in handout.tags(cell) for cell in student.cells) and "prove_check(" not in code(
        student, "check"
    )
    assert nbformat.writes(lesson) == before  # the lesson itself stays


def test_the_handout_is_written(tmp_path):
    written = handout.write(tmp_path, ROOT)
    assert [path.stem for path in written] == list(LESSONS)
    with zipfile.ZipFile(tmp_path / "student.zip") as archive:
        names = archive.namelist()
    assert {f"nbs/course/{name}.ipynb" for name in LESSONS} <= set(names)
    assert not any(name.startswith(("mage_edu", "tests")) for name in names)
    pages = {name for name in names if name.startswith("docs/") and not name.endswith("/")}
    assert pages == {"docs/pages/limits.md", "docs/pages/results.md"}
    for path in written:
        text = "".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")
        for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)[^)]*\)", text):
            assert (path.parent / link).resolve().is_file() and (path.parent / link).resolve().is_relative_to(
                tmp_path / "student"
            ), link
    instructor = nbformat.read(tmp_path / "instructor" / "nbs" / "course" / f"{RUN_HERE}.ipynb", as_version=4)
    folded = [cell for cell in instructor.cells if cell.metadata.get("jupyter", {}).get("source_hidden")]
    assert len(folded) == len(handout.cards(LESSONS[RUN_HERE])) + 1


def right_answers(name: str, folder: Path) -> list[bool]:
    """Run the student's copy of a lesson with the solutions in the stubs; whether each check says right."""
    lesson = LESSONS[name]
    written = handout.write(folder, ROOT)
    student = next(path for path in written if path.stem == name)
    solved = handout.with_solutions(nbformat.read(student, as_version=4), lesson)
    nbformat.write(solved, folder / "solved.ipynb")
    handout.grade(folder / "solved.ipynb", student_lesson(name), folder / "results.json")
    results = json.loads((folder / "results.json").read_text())
    return [test["status"] == "passed" for test in results["tests"]]


def student_lesson(name: str) -> Path:
    return ROOT / "nbs" / "course" / f"{name}.ipynb"


def test_a_handout_solved_is_graded_right(tmp_path):
    right = right_answers(RUN_HERE, tmp_path)
    assert len(right) == len(handout.cards(LESSONS[RUN_HERE])) and all(right)
    assert json.loads((tmp_path / "results.json").read_text())["score"] == sum(
        card.points for card in handout.cards(LESSONS[RUN_HERE])
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in WITH_CARDS if name != RUN_HERE])
def test_every_handout_can_be_solved(name, tmp_path):
    assert all(right_answers(name, tmp_path))


@pytest.mark.slow
def test_a_wrong_submission_is_told_what_was_seen(tmp_path):
    submission = handout.students(LESSONS[RUN_HERE])
    card = handout.cards(LESSONS[RUN_HERE])[1]
    for cell in submission.cells:
        if cell.id == LESSONS[RUN_HERE].cells[card.stub].id:
            cell.source = f"def {card.name}(discount):\n    return 1.0"
    nbformat.write(submission, tmp_path / "submission.ipynb")
    handout.grade(tmp_path / "submission.ipynb", student_lesson(RUN_HERE), tmp_path / "results.json")
    tests = json.loads((tmp_path / "results.json").read_text())["tests"]
    assert (
        [test["output"] == "not tried yet" for test in tests] == [True, False, True]
        and tests[1]["score"] == 0
        and "you say 1.000" in tests[1]["output"]
    )


def test_a_submission_without_a_stubs_cell_is_refused(tmp_path):
    submission = handout.students(LESSONS[RUN_HERE])
    submission.cells = [cell for cell in submission.cells if "stub" not in handout.tags(cell)]
    with pytest.raises(ValueError, match="no cell"):
        handout.with_answers_of(submission, LESSONS[RUN_HERE], tmp_path / "results.json")
