"""Slides from the lessons: `python docs/slides.py FOLDER` writes one HTML file for each session of docs/pages/teaching.md.

A slide has a section's heading, its first sentence, its first displayed formula, and its first picture or the first line that it printed, all as
stored in the lesson. A file holds all it shows: formulas are MathML, pictures are in it, and no network is asked. A lesson that is not there is
left out. Without JavaScript the slides stand below one another.
"""

from __future__ import annotations

import argparse
import base64
import html
import re
import sys
from pathlib import Path
from typing import Iterator, NamedTuple

import nbformat
from formulas import expand, macros, mathml
from handout import cards
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
PLAN = Path("docs/pages/teaching.md")
SESSION = re.compile(r"^## Session (\d+): lessons? ([\d, and]+)$", re.MULTILINE)
ALT = re.compile(r"^#\| *fig-alt: *(.+)$", re.MULTILINE)
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
LEFT_OUT = ("Cards", "Exercises", "Solutions")  # sections that get no slide of their own
LONGEST = 400  # characters of printed text that a slide takes

STYLE = """
:root { color-scheme: light dark; font: 1.55rem/1.45 system-ui, sans-serif; }
body { margin: 0; }
section { box-sizing: border-box; min-height: 100vh; padding: 4vh 7vw; }
.turned section { display: none; }
.turned section.shown { display: block; }
h1 { font-size: 1.9em; } h2 { font-size: 1.4em; } h1, h2 { line-height: 1.2; margin: 0 0 .6em; }
img { display: block; margin: .5em auto; height: 56vh; max-width: 100%; object-fit: contain; }
pre { font-size: .62em; white-space: pre-wrap; } math[display=block] { margin: .6em 0; font-size: 1.1em; }
footer { margin-top: 1em; font-size: .55em; opacity: .75; }
@media print { section, .turned section { display: block; break-after: page; min-height: auto; } }
"""
SCRIPT = """
const slides = [...document.querySelectorAll("section")];
let at = 0;
function show(number) {
  at = Math.min(Math.max(number, 0), slides.length - 1);
  slides.forEach((slide, place) => slide.classList.toggle("shown", place === at));
  history.replaceState(null, "", "#" + (at + 1));
}
document.body.classList.add("turned");
const steps = {ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1};
addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key in steps) { event.preventDefault(); show(at + steps[event.key]); }
  if (event.key === "Home") show(0);
  if (event.key === "End") show(slides.length - 1);
});
addEventListener("hashchange", () => show(parseInt(location.hash.slice(1) || "1") - 1));
show(parseInt(location.hash.slice(1) || "1") - 1);
"""


class Session(NamedTuple):
    """One session of the plan."""

    number: int
    lessons: list[int]
    questions: str  # a list, in Markdown


def plan(text: str) -> list[Session]:
    """The sessions that the page for instructors lists, with the questions that it asks in each."""
    found, parts = [], re.split(r"(?=^## )", text, flags=re.MULTILINE)
    for part in parts:
        if heading := SESSION.match(part):
            asked = re.search(r"^\*\*Ask\.\*\*\s+((?:- .+\n?)+)", part, re.MULTILINE)
            if asked is None:
                raise ValueError(f"session {heading[1]}: expected a list behind **Ask.**")
            found.append(Session(int(heading[1]), [int(n) for n in re.findall(r"\d+", heading[2])], asked[1]))
    return found


def reader() -> MarkdownIt:
    """Markdown to HTML, with formulas as MathML."""
    return (
        MarkdownIt("commonmark")
        .enable("table")
        .use(dollarmath_plugin, renderer=lambda tex, how: mathml(tex, how["display_mode"]))
    )


def shown(markdown: str) -> str:
    """HTML of a piece of Markdown; what leads to another file of the course is text only."""
    return reader().render(re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?:)[^)]*\)", r"\1", markdown))


def first_sentence(paragraph: str) -> str:
    """A paragraph up to the end of its first sentence, or its second where that is only a word or two; a stop in a formula or in code ends none."""
    depth = [0]  # and the places of $ and ` seen, so that a stop between two of them is passed over
    for place, sign in enumerate(paragraph):
        if sign in "$`":
            depth.append(place)
        elif place > 20 and len(depth) % 2 and re.match(r"[.?!][)*]* +(?=[A-Z$`*])", paragraph[place:]):
            return paragraph[: place + 1] + ("**" if paragraph[: place + 1].count("**") % 2 else "")
    return paragraph


def data_url(picture: str, kind: str = "png") -> str:
    """A picture in base64 as an address that needs no file."""
    return f"data:image/{kind};base64,{''.join(picture.split())}"


def image(url: str, alt: str) -> str:
    """A picture with its description."""
    return f'<img src="{url}" alt="{html.escape(alt)}">'


def linked_picture(markdown: str, folder: Path) -> str | None:
    """The first picture that a text shows from a file, held in the page."""
    if (found := PICTURE.search(markdown)) and (file := folder / found[2]).is_file():
        return image(
            data_url(base64.b64encode(file.read_bytes()).decode(), file.suffix[1:].replace("jpg", "jpeg")), found[1]
        )
    return None


def evidence(cells: list[NotebookNode], title: str) -> str | None:
    """The first picture among the outputs of some cells; where there is none, the first lines that one printed."""
    visible = [
        cell for cell in cells if cell.cell_type == "code" and not re.search(r"^#\| *hide\b", cell.source, re.MULTILINE)
    ]
    for cell in visible:
        for output in cell.outputs:
            if picture := output.get("data", {}).get("image/png"):
                alt = ALT.search(cell.source)
                return image(data_url(picture), alt[1] if alt else f"Figure of the section {title}")
    for cell in visible:
        for output in cell.outputs:
            text = output.get("text") or output.get("data", {}).get("text/plain", "")
            if text.strip() and "widget-view" not in str(output.get("data", {}).keys()):
                lines = text.strip().splitlines()
                kept = [line for number, line in enumerate(lines[:8]) if len("\n".join(lines[: number + 1])) <= LONGEST]
                return f"<pre>{html.escape(chr(10).join(kept or [lines[0][:LONGEST]]))}</pre>"
    return None


def sections(notebook: NotebookNode) -> Iterator[tuple[str, str, list[NotebookNode]]]:
    """Heading, text and cells of each part of a lesson; the first part has no heading."""
    heading, text, cells = "", "", []
    for cell in notebook.cells:
        parts = re.split(r"^## (.+)$", cell.source, flags=re.MULTILINE) if cell.cell_type == "markdown" else [""]
        text += parts[0] + "\n\n" if cell.cell_type == "markdown" else ""
        cells.append(cell)
        for title, body in zip(parts[1::2], parts[2::2]):
            yield heading, text, cells
            heading, text, cells = title, body + "\n\n", []
    yield heading, text, cells


def prose(text: str) -> list[str]:
    """The paragraphs of a text that are neither pictures, tables, lists, formulas, code nor headings."""
    plain = re.sub(r"```.*?```|<details>.*?</details>|\$\$.*?\$\$", "", text, flags=re.DOTALL)
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", plain)]
    return [part for part in paragraphs if part and not re.match(r"[-*] |\d+\. |[#|!<>]|\$\\newcommand|    ", part)]


def lesson_slides(path: Path) -> list[str]:
    """The slides of a lesson, as HTML."""
    notebook = nbformat.read(path, as_version=4)
    known = macros("\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown"))
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = expand(cell.source, known)
    slides, number = [], path.stem.partition("_")[0]
    for heading, text, cells in sections(notebook):
        if heading in LEFT_OUT:
            continue
        lists = re.findall(r"(?:^[-*] .+(?:\n(?![-*\n]).+)*\n?)+", text, re.MULTILINE)
        if not heading:
            title = re.search(r"^# (.+)$", text, re.MULTILINE)[1]
            sentence = (prose(text) or [""])[0]
            goals = f"After this lesson you can\n\n{lists[0]}" if lists and "you can" in text else ""
            slides.append(f"<h1>{number} {html.escape(title)}</h1>" + shown(f"{sentence}\n\n{goals}"))
            if seen := linked_picture(text, path.parent) or evidence(cells, title):
                slides.append(f"<h2>{html.escape(title)}</h2>" + seen)
        elif heading == "Recap":
            slides.append("<h2>Recap</h2>" + shown(lists[0] if lists else first_sentence((prose(text) or [""])[0])))
        else:
            formula = re.search(r"\$\$.+?\$\$", text, re.DOTALL)
            said = first_sentence((prose(text) or [""])[0])
            seen = linked_picture(text, path.parent) or evidence(cells, heading) or ""
            slides.append(
                reader().render(f"## {heading}") + shown(said + (f"\n\n{formula[0]}" if formula else "")) + seen
            )
    if found := cards(notebook):
        listed = "\n".join(f"- {card.title} ({'●' * card.points})" for card in found)
        slides.append(f"<h2>Cards of lesson {number}</h2>" + shown(listed))
    return slides


def session_page(session: Session, root: Path) -> str:
    """One session as a page of its own. Raises `ValueError` where none of its lessons is there."""
    paths = [path for number in session.lessons for path in sorted((root / "nbs/course").glob(f"{number:02d}_*.ipynb"))]
    if not paths:
        raise ValueError(f"session {session.number}: none of the lessons {session.lessons} is in nbs/course.")
    slides = [slide for path in paths for slide in lesson_slides(path)]
    slides.append("<h2>Questions</h2>" + shown(session.questions))
    name = f"Session {session.number}"
    body = "\n".join(
        f'<section id="slide{place}">{slide}<footer>{name} · {place} of {len(slides)}</footer></section>'
        for place, slide in enumerate(slides, 1)
    )
    return f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title><style>{STYLE}</style></head>\n<body>\n{body}\n<script>{SCRIPT}</script></body></html>\n'


def write(out: Path, root: Path) -> list[Path]:
    """Write the slides of all sessions; returns the files."""
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for session in plan((root / PLAN).read_text(encoding="utf-8")):
        written.append(out / f"session{session.number}.html")
        written[-1].write_text(session_page(session, root), encoding="utf-8")
    return written


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("_slides"))
    for file in write(parser.parse_args().folder, ROOT):
        print(
            f"{file}: {file.read_text(encoding='utf-8').count('<section ')} slides, {file.stat().st_size / 1e6:.1f} MB"
        )
    sys.exit(0)
