"""The lessons as one EPUB: `python docs/book.py FOLDER` writes FOLDER/mage_edu.epub.

It shows what the lessons store, as the site does. Formulas are MathML; an explorer is what it says in words; a link to a page that the book
lacks is text. The file is also Sphinx's extension that turns formulas into MathML.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import nbformat
from build import WINGS, course, linked_files, toctree
from docutils.nodes import SkipNode
from formulas import expand_notebook, mathml
from sphinx.cmd.build import main as sphinx_build

ROOT = Path(__file__).resolve().parent.parent
NAME = "mage_edu"
SETTINGS = {  # what differs from the site's docs/conf.py
    "extensions": "myst_nb,book",
    "html_math_renderer": "mathml",
    "html_js_files": "",
    "epub_css_files": "book.css",
    "epub_show_urls": "no",
    "epub_basename": NAME,
    "epub_title": "mage_edu: a course on critics with a slope",
    "epub_description": "The lessons of mage_edu",
    "epub_use_index": "0",
    "master_doc": "index",
}
STYLE = "img { max-width: 100%; } pre { white-space: pre-wrap; font-size: 0.8em; } div.math { text-align: center; }\n"
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:)([^)#\s]*)(#[^)]*)?\)")


def inline_formula(self, node) -> None:
    """Sphinx's visitor of a formula in a line."""
    self.body.append(mathml(node.astext()))
    raise SkipNode


def displayed_formula(self, node) -> None:
    """Sphinx's visitor of a formula of its own line."""
    self.body.append(f'<div class="math">{mathml(node.astext(), display=True)}</div>\n')
    raise SkipNode


def setup(app) -> dict[str, bool]:
    """Register the renderer with Sphinx."""
    app.add_html_math_renderer("mathml", (inline_formula, None), (displayed_formula, None))
    return {"parallel_read_safe": True}


def without_links(text: str, pages: set[str]) -> str:
    """Markdown in which links lead to pages of the book or elsewhere in the world; all others are text."""
    return LINK.sub(lambda found: found[0] if Path(found[2]).name in pages else found[1], text)


def said(page: str) -> str:
    """What an explorer's HTML says in words."""
    return "".join(re.findall(r"<p[ >].*?</p>", page, re.DOTALL))


def for_the_book(path: Path, pages: set[str]) -> None:
    """Rewrite a lesson's copy: formulas without macros, links that the book can follow, words in the place of explorers."""
    expand_notebook(path)
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = without_links(cell.source, pages)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "text/html" in data and any("widget" in kind for kind in data):
                output["data"] = {"text/html": said(data["text/html"])}
    number = path.stem.partition("_")[0]
    first = next(
        cell for cell in notebook.cells if cell.cell_type == "markdown" and re.search(r"^# ", cell.source, re.MULTILINE)
    )
    first.source = re.sub(r"^# ", f"# {number}  ", first.source, count=1, flags=re.MULTILINE)
    nbformat.write(notebook, path)


def lay_out(root: Path, source: Path) -> list[Path]:
    """Write the sources of the book; returns the lessons that are in it."""
    parts = {
        caption: paths
        for caption, paths in course(root)
        if caption in [wing[3] for wing in WINGS if wing[0] == "course"]
    }
    lessons = [path for paths in parts.values() for path in paths]
    for name in [path.relative_to(root).as_posix() for path in lessons] + [
        name for lesson in lessons for name in linked_files(lesson, root)
    ]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, source / name)
    for path in lessons:
        for_the_book(source / path.relative_to(root), {lesson.name for lesson in lessons})
    trees = [
        toctree(caption, [path.relative_to(root).with_suffix("").as_posix() for path in paths])
        for caption, paths in parts.items()
    ]
    (source / "index.md").write_text(
        "\n".join(["# mage_edu", "", "A course on critics that know their slope.", "", *trees]), encoding="utf-8"
    )
    return lessons


def build(out: Path) -> Path | None:
    """Build the book anew; returns the file, or None where Sphinx found something wrong."""
    for name in ("source", "doctrees", "epub", "static"):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in ("source", "static"):
        (out / name).mkdir(parents=True)
    lay_out(ROOT, out / "source")
    (out / "static" / "book.css").write_text(STYLE, encoding="utf-8")
    settings = SETTINGS | {"html_static_path": str(out / "static")}
    changes = [word for name, value in settings.items() for word in ("-D", f"{name}={value}")]
    options = [
        "-q",
        "-W",
        "--keep-going",
        "-b",
        "epub",
        "-c",
        str(ROOT / "docs"),
        "-d",
        str(out / "doctrees"),
        *changes,
    ]
    if sphinx_build([*options, str(out / "source"), str(out / "epub")]):
        return None
    return Path(shutil.copyfile(out / "epub" / f"{NAME}.epub", out / f"{NAME}.epub"))


if __name__ == "__main__":
    book = build(Path(sys.argv[1] if len(sys.argv) > 1 else "_book").resolve())
    print(f"The book: {book}, {book.stat().st_size / 1e6:.1f} MB" if book else "The book could not be built.")
    sys.exit(book is None)
