"""Build the site from the README, the stored notebooks and the docstrings: `python docs/build.py FOLDER` makes FOLDER/html.

The pages are laid out in FOLDER/source as the files are laid out here, so that a link between two files is a link between two pages.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import json
import math
import re
import shutil
import sys
from configparser import ConfigParser
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Iterator, get_args

import nbformat
from sphinx.cmd.build import main as sphinx_build
from store import NOTES, last_run

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the docstrings of this folder's library, whichever is installed
import curves  # noqa: E402
import player  # noqa: E402

import mage_edu  # noqa: E402
from mage_edu.config import SIZES  # noqa: E402
from mage_edu.settings import Settings  # noqa: E402

WINGS = (  # folder of the notebooks, first and last lesson, caption
    ("course", 1, 2, "The course, part I: the promise"),
    ("course", 3, 7, "The course, part II: why"),
    ("course", 8, 16, "The course, part III: how"),
    ("course", 17, 21, "The course, part IV: is it true, and what now"),
    ("appendix", None, None, "Appendix: longer accounts"),
    ("engine", None, None, "Engine room: what makes runs last"),
)
LOCAL_LINK = re.compile(r"\]\(([^)#:\s]+)[^)]*\)")


def course(root: Path) -> list[tuple[str, list[Path]]]:
    """The sections of the site and the notebooks in each, in reading order: the lessons by number, the rest by name."""
    sections = []
    for folder, first, last, caption in WINGS:
        notebooks = [path for path in sorted((root / "nbs" / folder).rglob("*.ipynb")) if not hidden(path, root)]
        if first is not None:
            notebooks = [path for path in notebooks if first <= int(path.stem.split("_")[0]) <= last]
        sections.append((caption, notebooks))
    return [(caption, notebooks) for caption, notebooks in sections if notebooks]


def hidden(path: Path, root: Path) -> bool:
    """Whether a tool put the file there: editors keep copies in folders like .ipynb_checkpoints."""
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def title_and_module(path: Path) -> tuple[str, str | None]:
    """A notebook's first heading, and the module it exports to, if any."""
    cells = nbformat.read(path, as_version=4).cells
    headings = (re.search(r"^# (.+)", cell.source, re.MULTILINE) for cell in cells if cell.cell_type == "markdown")
    modules = (
        re.search(r"^#\| *default_exp +(\S+)", cell.source, re.MULTILINE) for cell in cells if cell.cell_type == "code"
    )
    title, module = next(filter(None, headings), None), next(filter(None, modules), None)
    return (title[1] if title else path.stem), (module[1] if module else None)


def toctree(caption: str, pages: list[str]) -> str:
    """A section of the navigation."""
    return "\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```", ""])


def page_name(path: Path, root: Path) -> str:
    """How Sphinx calls the page of a file."""
    return path.relative_to(root).with_suffix("").as_posix()


def entry(path: Path, root: Path) -> str:
    """The line of a notebook in the navigation: a lesson has its number before its title."""
    page, number = page_name(path, root), path.stem.partition("_")[0]
    return f"{number}  {title_and_module(path)[0]} <{page}>" if path.parent.name == "course" else page


def normal(name: str) -> str:
    """The name of a distribution as it is compared."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", name)[0]).lower()


def imported(notebook: nbformat.NotebookNode) -> Iterator[str]:
    """The top-level packages that a notebook's cells import, without the standard library's."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            code = "\n".join(line for line in cell.source.splitlines() if not line.lstrip().startswith(("%", "!")))
            for node in ast.walk(ast.parse(code)):
                names = (
                    [alias.name for alias in node.names]
                    if isinstance(node, ast.Import)
                    else [node.module]
                    if isinstance(node, ast.ImportFrom)
                    else []
                )
                yield from (
                    top for top in (name.partition(".")[0] for name in names) if top not in sys.stdlib_module_names
                )


packages_of_modules = functools.cache(packages_distributions)  # it reads the records of all that is installed: seconds


def how_to_install(notebook: nbformat.NotebookNode, root: Path) -> str:
    """A sentence: which packages a notebook imports, and what installs them."""
    settings, homes = ConfigParser(delimiters=["="], interpolation=None), packages_of_modules()
    settings.read(root / "settings.ini", encoding="utf-8")
    library = {normal(need) for need in settings["DEFAULT"]["requirements"].split()} | {"mage-edu"}
    names = sorted({*imported(notebook)} - {"IPython"})
    more = [
        name
        for name in names
        if name != "mage_edu" and not {normal(home) for home in homes.get(name, [name])} & library
    ]
    listed = ", ".join(f"`{name}`" for name in names)
    if not names:
        return "It imports nothing that Python does not bring."
    if more:
        return f"It imports {listed}. `make install` installs all of them; `pip install .` does not bring {', '.join(f'`{name}`' for name in more)}."
    return f"It imports {listed}, which `pip install .` installs (with Jupyter and the rest of the development environment: `make install`)."


def with_colophon(path: Path, root: Path, notes: dict[str, dict[str, str]]) -> str:
    """The notebook's JSON with a last cell that says how to install what it imports, and when it was last run."""
    notebook, raw = nbformat.read(path, as_version=4), json.loads(path.read_text(encoding="utf-8"))
    sentence = f"{how_to_install(notebook, root)} {last_run(raw, notes.get(path.relative_to(root).as_posix()))}"
    notebook.cells.append(nbformat.v4.new_markdown_cell(f"---\n\n**This notebook.** {sentence}", id="colophon"))
    return nbformat.writes(notebook)


def home_page(readme: str, sections: list[tuple[str, list[Path]]], root: Path) -> str:
    """The README, and behind it the navigation of the site."""
    trees = [toctree(caption, [entry(path, root) for path in notebooks]) for caption, notebooks in sections]
    return "\n".join([readme, *trees, toctree("Reference", ["api/index"])])


def api_page(module: str, title: str, notebook: str) -> str:
    """The page of a module: where it is built, then its docstrings."""
    return f"# mage_edu.{module}\n\nBuilt in [{title}](../{notebook}).\n\n```{{eval-rst}}\n.. automodule:: mage_edu.{module}\n```\n"


def api_index(modules: list[tuple[str, str, str]], public: dict[str, str]) -> str:
    """The page that lists the public names and all modules; a module is given with its notebook's title and file."""
    names = [
        f"| {{py:obj}}`{name} <mage_edu.{home}.{name}>` | [`mage_edu.{home}`]({home}.md) |"
        for name, home in public.items()
    ]
    rows = [f"| [`mage_edu.{module}`]({module}.md) | [{title}](../{notebook}) |" for module, title, notebook in modules]
    return "\n".join(
        [
            "# Library reference",
            "",
            "What most programs need can be imported from `mage_edu` itself; importing it costs nothing until a name is used.",
            "",
            "| name | lives in |",
            "| --- | --- |",
            *names,
            "",
            "All settings, with defaults, ranges and meanings, are in [one table](all_settings.md).",
            "",
            "Each module is built in a notebook, which explains what the docstrings only name.",
            "",
            "| module | built in |",
            "| --- | --- |",
            *rows,
            "",
            "```{toctree}",
            ":hidden:",
            "",
            "all_settings",
            *(module for module, _, _ in modules),
            "```",
            "",
        ]
    )


def settings_page() -> str:
    """Every setting with its default, the sizes that change it, its range and its meaning, read from the one place where they stand."""
    lines, sizes = (
        [
            "# All settings",
            "",
            "Every setting is a keyword of `MAGEAgent` and an option of `mage-edu train`. Algorithms set the knobs of the target, sizes the capacities.",
            "",
        ],
        list(SIZES),
    )
    fields = Settings.__dataclass_fields__
    for line in inspect.getsource(Settings).splitlines():
        heading, setting = re.fullmatch(r"    # (.+)", line), re.fullmatch(r"    (\w+): .*?  # (.+)", line)
        if heading:
            lines += [
                "",
                f"## {heading[1][0].upper()}{heading[1][1:]}",
                "",
                "| setting | " + " | ".join(sizes) + " | allowed | meaning |",
                "| --- " * (len(sizes) + 3) + "|",
            ]
        elif setting:
            field, meaning = fields[setting[1]], setting[2].replace("|", "\\|")
            values = [f"`{SIZES[size].get(field.name, field.default)}`" for size in sizes]
            lines.append(f"| `{field.name}` | {' | '.join(values)} | {allowed(field)} | {meaning} |")
    return "\n".join([*lines, ""])


def allowed(field: dataclasses.Field) -> str:
    """The values of a setting, in words."""
    limits = field.metadata
    if get_args(field.type) and not limits:
        return ", ".join(f"`{name}`" for name in get_args(field.type))
    if not limits or limits["low"] == limits["above"] == -math.inf:
        return "yes or no" if field.type is bool else "any"
    if limits["above"] > -math.inf:
        return f"above {limits['above']:g}" + (", or none" if field.default is None else "")
    return f"{limits['low']:g} or more" if limits["high"] == math.inf else f"{limits['low']:g} to {limits['high']:g}"


def guides(root: Path) -> list[Path]:
    """The pages that are neither notebooks nor docstrings."""
    return [root / "CONTRIBUTING.md", *sorted((root / "docs" / "pages").glob("*.md"))]


def linked_files(page: Path, root: Path) -> list[str]:
    """The files, relative to `root`, that a page links to and that are no pages themselves: pictures, tables, the licence."""
    targets = [(page.parent / link).resolve() for link in LOCAL_LINK.findall(page.read_text(encoding="utf-8"))]
    return sorted(
        {
            target.relative_to(root).as_posix()
            for target in targets
            if target.is_file() and target.suffix not in (".md", ".ipynb")
        }
    )


def lay_out(root: Path, source: Path, public: dict[str, str]) -> None:
    """Write every page's source into the folder `source`."""
    sections = course(root)
    readme = (root / "README.md").read_text(encoding="utf-8")
    notes = json.loads((root / NOTES.relative_to(ROOT)).read_text(encoding="utf-8"))
    notebooks = [path for _, paths in sections for path in paths]
    pages = guides(root)
    linked = [name for page in (root / "README.md", *pages, *notebooks) for name in linked_files(page, root)]
    for name in [path.relative_to(root).as_posix() for path in (*notebooks, *pages)] + linked:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".ipynb"):
            (source / name).write_text(with_colophon(root / name, root, notes), encoding="utf-8")
        else:
            shutil.copyfile(root / name, source / name)
    (source / "index.md").write_text(home_page(readme, [*sections, ("Guides", pages)], root), encoding="utf-8")

    found = [
        (module, title, path.relative_to(root).as_posix())
        for path in notebooks
        for title, module in [title_and_module(path)]
        if module
    ]
    (source / "api").mkdir()
    (source / "api" / "index.md").write_text(api_index(found, public), encoding="utf-8")
    (source / "api" / "all_settings.md").write_text(settings_page(), encoding="utf-8")
    for module, title, notebook in found:
        (source / "api" / f"{module}.md").write_text(api_page(module, title, notebook), encoding="utf-8")


def public_names() -> dict[str, str]:
    """What `from mage_edu import ...` offers, with the module that holds it."""
    names = [name for name in mage_edu.__all__ if name != "__version__"]
    return {name: getattr(mage_edu, name).__module__.removeprefix("mage_edu.") for name in names}


def build(out: Path) -> int:
    """Build everything anew in `out`; a warning is an error. Returns Sphinx's exit code."""
    for name in ("source", "doctrees", "html", "jupyter_execute"):
        shutil.rmtree(out / name, ignore_errors=True)
    lay_out(ROOT, out / "source", public_names())
    curves.add_curves(out / "source", ROOT / "results")
    engine = player.engine_or_reason()
    if isinstance(engine, str):
        print(f"The robots of lesson 01 are recorded frames only: {engine}")
    else:
        player.add_player(out / "source" / player.LESSON)
    options = ["-q", "-W", "--keep-going", "-c", str(ROOT / "docs"), "-d", str(out / "doctrees")]
    code = sphinx_build([*options, str(out / "source"), str(out / "html")])
    if isinstance(engine, Path) and not code:
        player.write_robots(out / "html" / "player", ROOT / "results" / "web", engine)
    return code


if __name__ == "__main__":
    out = Path(sys.argv[1]).resolve()
    code = build(out)
    print("The site could not be built." if code else f"The site: {out / 'html' / 'index.html'}")
    sys.exit(code)
