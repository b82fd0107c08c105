"""How the site reads a notebook: without nbdev's directives and the cells that they hide, with the texts that figures have for those who cannot see."""

from __future__ import annotations

import re

import nbformat

DIRECTIVE = re.compile(r"^#\| *([\w-]+):? *(.*)$", re.MULTILINE)
TAGS = {  # a directive, with its value where that matters, and what MyST-NB calls the same
    "hide": "remove-cell",
    "default_exp": "remove-cell",
    "exporti": "remove-cell",
    "hide_input": "remove-input",
    "echo false": "remove-input",
    "hide_output": "remove-output",
    "output false": "remove-output",
    "code-fold true": "hide-input",
}
FOLDED = "solution"  # the tag of a card's solution, which a page shows when it is asked for


def cell_tags(source: str) -> list[str]:
    """The tags that the directives of a cell stand for."""
    found = [(name, f"{name} {value.strip()}") for name, value in DIRECTIVE.findall(source)]
    return sorted({TAGS[key] for keys in found for key in keys if key in TAGS})


def read(text: str) -> nbformat.NotebookNode:
    """The notebook in the JSON `text`, as the site shows it."""
    notebook = nbformat.reads(text, as_version=4)
    notebook.metadata.pop("widgets", None)  # the state of widgets is for kernels
    for cell in notebook.cells:
        if cell.cell_type == "code":
            tags = cell.metadata.get("tags", [])
            cell.metadata["tags"] = [*tags, *cell_tags(cell.source), *(["hide-cell"] if FOLDED in tags else [])]
            if alternative := dict(DIRECTIVE.findall(cell.source)).get("fig-alt"):
                cell.metadata["mystnb"] = {"image": {"alt": alternative.strip()}}
            cell.source = DIRECTIVE.sub("", cell.source).strip("\n")
    return notebook
