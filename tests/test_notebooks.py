"""What the stored notebooks must and must not hold. That they run is checked by run_notebooks.py."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "nbs").rglob("*.ipynb"))
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
