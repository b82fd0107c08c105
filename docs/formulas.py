"""Formulas for readers other than the site: without macros of our own, as GitHub's viewer needs them, and as MathML, for slides and the book.

`python docs/formulas.py NOTEBOOK ...` writes the notebooks anew with every `\\newcommand` put in where it is used.
"""

from __future__ import annotations

import html
import re
import sys
from pathlib import Path

import nbformat
from latex2mathml.converter import convert

MACRO = re.compile(r"\\newcommand\{?(\\[A-Za-z]+)\}?(?:\[(\d)\])?(?=\{)")
CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.DOTALL)
FORMULA = re.compile(r"\$\$.+?\$\$|(?<!\\)\$[^$\n]+?(?<!\\)\$", re.DOTALL)
ALIKE = {  # what the converter does not know, and what it knows that looks the same
    r"\lVert": r"\|",
    r"\rVert": r"\|",
    r"\dfrac": r"\frac",
    r"\bmod": r"\;\mathrm{mod}\;",
}


def group(text: str, start: int) -> int:
    """Where the group in braces that begins at `start` ends. Raises `ValueError` where it does not."""
    depth = 0
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0) if text[place - 1] != "\\" else 0
        if depth == 0:
            return place + 1
    raise ValueError(f"{text[start : start + 40]!r}: a brace is opened and not closed.")


def macros(text: str) -> dict[str, tuple[int, str]]:
    """The macros that a text defines: how many arguments each has, and what stands for it."""
    return {
        found[1]: (
            int(found[2] or 0),
            re.sub(r" (#\d) ", r"{\1}", text[found.end() + 1 : group(text, found.end()) - 1]),
        )
        for found in MACRO.finditer(text)
    }


def put_in(tex: str, known: dict[str, tuple[int, str]]) -> str:
    """A formula with every macro put in; what a macro stands for may hold macros."""
    name = lambda: next((found for found in re.finditer(r"\\[A-Za-z]+", tex) if found[0] in known), None)
    while found := name():
        count, body = known[found[0]]
        end = found.end()
        for number in range(1, count + 1):
            end += len(tex[end:]) - len(tex[end:].lstrip(" "))
            stop = group(tex, end) if tex[end] == "{" else end + 1
            body = body.replace(f"#{number}", tex[end + 1 : stop - 1] if tex[end] == "{" else tex[end])
            end = stop
        joint = " " if re.search(r"\\[A-Za-z]+$", body) and tex[end : end + 1].isalpha() else ""
        tex = tex[: found.start()] + body + joint + tex[end:]
    return tex


def without_definitions(text: str) -> str:
    """A text without its macros' definitions, and without the formula that held nothing else."""
    while found := MACRO.search(text):
        text = text[: found.start()] + "\0" + text[group(text, found.end()) :]
    return re.sub(r" *\$[\0\s]*\0[\0\s]*\$\n?", "", text).replace("\0", "")


def expand(text: str, known: dict[str, tuple[int, str]]) -> str:
    """Markdown in which formulas hold no macro of ours, no `\\operatorname`, which GitHub refuses, and no `<` that looks like a tag's."""

    def plain(found: re.Match) -> str:
        tex = re.sub(
            r"\\operatorname\{(\w+)\}(?= *[\\A-Za-z])(?! *\\(?:big|left))", r"\\mathrm{\1}\\,", put_in(found[0], known)
        )
        tex = tex.replace(r"\operatorname{", r"\mathrm{")
        return re.sub(r"(?<=\S)<(?=[A-Za-z/!])", " < ", tex)

    pieces = CODE.split(text)
    for place in range(0, len(pieces), 2):
        pieces[place] = FORMULA.sub(plain, without_definitions(pieces[place]))
    return "".join(pieces)


def mathml(tex: str, display: bool = False) -> str:
    """A formula in LaTeX as MathML, with its source as what is read out where MathML is not shown."""
    plain = put_in(tex, {name: (0, instead) for name, instead in ALIKE.items()}).replace(r"\operatorname{", r"\mathrm{")
    made = convert(plain.strip(), display="block" if display else "inline")
    return made.replace("<math ", f'<math alttext="{html.escape(" ".join(tex.split()))}" ', 1)


def expand_notebook(path: Path) -> bool:
    """Put the macros of a notebook in where they are used; whether it changed."""
    notebook = nbformat.read(path, as_version=4)
    texts = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    known, changed = macros("\n".join(cell.source for cell in texts)), False
    for cell in texts:
        new = expand(cell.source, known)
        changed, cell.source = changed or new != cell.source, new
    if changed:
        nbformat.write(notebook, path)
    return changed


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(f"{name}: {'written' if expand_notebook(Path(name)) else 'as it was'}")
