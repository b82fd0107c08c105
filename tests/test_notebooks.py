"""What the stored notebooks must and must not hold. That they run is checked by run_notebooks.py."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "nbs").rglob("*.ipynb"))
MACHINE = re.compile(r"site-packages|/home/|/root/|/tmp/|[A-Z]:\\\\Users")


def cells(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stored_without_errors_or_local_paths(path):
    for cell in cells(path):
        for output in cell.get("outputs", []):
            assert output["output_type"] != "error"
            shown = json.dumps({key: value for key, value in output.get("data", {}).items() if key.startswith("text/")})
            assert not MACHINE.search(shown + json.dumps(output.get("text", "")))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_draws_has_its_picture(path):
    for cell in cells(path):
        if (
            cell["cell_type"] == "code"
            and "plt.subplots(" in "".join(cell["source"])
            and "def " not in "".join(cell["source"])
        ):
            assert any("image/png" in output.get("data", {}) for output in cell["outputs"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_between_notebooks_lead_somewhere(path):
    text = "".join("".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == "markdown")
    for link in re.findall(r"\]\(([^)#:]+\.ipynb)[^)]*\)", text):
        assert (path.parent / link).is_file(), link


LESSONS = sorted((ROOT / "nbs" / "course").glob("*.ipynb"))


def prose(path):
    """The paragraphs of a lesson's text: a formula counts as a word, indented commands, tables and pictures as none."""
    for cell in cells(path):
        if cell["cell_type"] == "markdown":
            text = re.sub(r"\$\$.*?\$\$|\$[^$]*\$", "x", "".join(cell["source"]), flags=re.DOTALL)
            text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
            for paragraph in re.split(r"\n\s*\n|\n(?=[-*#\d])", text):
                if not paragraph.lstrip("\n").startswith(("|", "![", "    ", "<details")):
                    yield paragraph


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_is_short_and_so_are_its_paragraphs(path):
    paragraphs = list(prose(path))
    assert sum(len(paragraph.split()) for paragraph in paragraphs) <= 1800
    assert [paragraph for paragraph in paragraphs if len(paragraph.split()) > 80] == []


def test_the_first_agent_succeeds_with_nine_of_ten_seeds():
    """The kept table of lesson 01: the same settings as the lesson's agent, and at least -250 for nine of ten seeds."""
    with (ROOT / "results" / "first_agent" / "sweep.csv").open() as table:
        rows = list(csv.DictReader(table))
    source = "\n".join("".join(cell["source"]) for cell in cells(ROOT / "nbs" / "course" / "01_robot.ipynb"))
    (settings,) = {row["label"] for row in rows}
    assert f"--overrides {settings}" in source
    for setting in settings.split(","):
        name, value = setting.split("=")
        assert name == "eval_episodes" or re.search(rf"{name}={float(value):_g}\b", source), setting
    assert sorted(int(row["seed"]) for row in rows) == list(range(10)) and {row["step"] for row in rows} == {"4400"}
    assert sum(float(row["return"]) >= -250 for row in rows) >= 9
