"""The site as it is built: every page is there and in order, complete without a network, and every link leads somewhere."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import re
import runpy
import subprocess
import sys
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from test_imports import ORDER

from mage_edu.config import Config

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "docs"))
from curves import read_rows  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted(
    path.relative_to(ROOT) for path in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts
)
MODULES = [module for module in ORDER if (ROOT / "mage_edu" / f"{module.replace('.', '/')}.py").is_file()]
DIRECTIVE = re.compile(r"^\s*#\s*\|.*$", re.MULTILINE)
LOADED = {
    "script": "src",
    "link": "href",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "object": "data",
}


class Page(HTMLParser):
    """One pass over a page: its tags, and its text inside and outside of code. `tree` is slower, for what needs structure."""

    def __init__(self, file: Path):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[str] = []  # open blocks of code, and of what is not text
        self.code, self.prose = "", ""
        self.html = file.read_text(encoding="utf-8")
        self.feed(self.html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("pre", "code", "script", "style"):
            self.inside.append(tag)

    def handle_endtag(self, tag):
        if self.inside and tag == self.inside[-1]:
            self.inside.pop()
            self.code += "\n" if tag == "pre" else ""

    def handle_data(self, data):
        if "pre" in self.inside:
            self.code += data
        elif not self.inside:
            self.prose += data

    @cached_property
    def tree(self) -> BeautifulSoup:
        return BeautifulSoup(self.html, "html.parser")


Pages = dict[str, Page]  # by their path below the site's root


def build_site(out: Path) -> Path:
    """The site, built into a folder; a warning fails the build."""
    result = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "build.py"), str(out)], cwd=out, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return out / "html"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    return build_site(tmp_path_factory.mktemp("site"))


def parse(folder: Path) -> Pages:
    """All pages below a folder."""
    files = sorted(folder.rglob("*.html"))
    return {file.relative_to(folder).as_posix(): Page(file) for file in files if "_static" not in file.parts}


@pytest.fixture(scope="module")
def pages(site) -> Pages:
    return parse(site)


def page_of(notebook: Path) -> str:
    return notebook.with_suffix(".html").as_posix()


def navigation(home: Page) -> list[str]:
    """Where the side bar of the home page leads, in order."""
    return [link["href"] for link in home.tree.select("nav.bd-links a.reference.internal")]


def external_resources(pages: Pages) -> list[str]:
    """What a browser would fetch from another host while it shows a page."""
    urls = [(name, attrs.get(LOADED[tag])) for name, page in pages.items() for tag, attrs in page.tags if tag in LOADED]
    return [f"{name}: {url}" for name, url in urls if url and urlsplit(url).netloc]


def broken_references(pages: Pages, folder: Path) -> list[str]:
    """Links, pictures, styles and scripts inside the site that lead to no file, or to a place that the page does not have."""
    places = {name: {attrs["id"] for _, attrs in page.tags if "id" in attrs} for name, page in pages.items()}
    broken = []
    for name, page in pages.items():
        urls = {attrs.get("href", attrs.get("src")) for tag, attrs in page.tags if tag == "a" or tag in LOADED}
        for url in sorted(filter(None, urls)):
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            target = (folder / name).parent / unquote(parts.path) if parts.path else folder / name
            if not target.is_file():
                broken.append(f"{name}: {url}")
            elif target.suffix == ".html" and parts.fragment and "_static" not in target.parts:
                if unquote(parts.fragment) not in places[target.resolve().relative_to(folder.resolve()).as_posix()]:
                    broken.append(f"{name}: {url}")
    return broken


def test_the_course_is_there_in_order(pages):
    lessons = sorted(notebook for notebook in NOTEBOOKS if notebook.parent.name == "course")
    listed = [link for link in navigation(pages["index.html"]) if link.startswith("nbs/")]
    assert listed[: len(lessons)] == [page_of(notebook) for notebook in lessons]
    wings = [link.split("/")[1] for link in listed]
    assert wings == sorted(wings, key=["course", "appendix", "engine"].index)
    assert sorted(listed) == sorted(page_of(notebook) for notebook in NOTEBOOKS)
    assert all(link in pages for link in listed)


def test_home_is_the_readme(pages):
    headings = re.findall(r"^## (.+)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [
        heading.find(string=True) for heading in pages["index.html"].tree.find("article").find_all("h2")
    ] == headings


def test_a_page_shows_all_of_its_notebook(pages):
    for notebook in NOTEBOOKS:
        cells = json.loads((ROOT / notebook).read_text(encoding="utf-8"))["cells"]
        page = pages[page_of(notebook)]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        visible = [
            DIRECTIVE.sub("", source).strip()
            for source in sources
            if not re.search(r"^#\| *(hide|default_exp|exporti)", source)
        ]
        assert [source for source in visible if source not in page.code] == [], notebook
        pictures = [attrs for tag, attrs in page.tags if tag == "img" and "_images/" in attrs.get("src", "")]
        drawn = sum("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", []))
        linked = sum(
            len(re.findall(r"!\[[^\]]*\]\(", "".join(cell["source"])))
            for cell in cells
            if cell["cell_type"] == "markdown"
        )
        assert len(pictures) == drawn + linked, notebook


def test_a_page_says_how_to_install_and_when_it_was_run(pages):
    notes = json.loads((ROOT / "docs" / "stored.json").read_text(encoding="utf-8"))
    assert notes and {Path(name) for name in notes} <= set(NOTEBOOKS)
    for notebook in NOTEBOOKS:
        (colophon,) = re.findall(r"This notebook\.\s+(.*)", pages[page_of(notebook)].prose)
        noted = notes.get(notebook.as_posix())
        assert (f"torch {noted['torch']}" in colophon) if noted else ("not recorded" in colophon), notebook
    assert (
        "does not bring" in pages["nbs/appendix/stable_baselines3.html"].prose
        and "does not bring" not in pages["nbs/course/01_robot.html"].prose
    )
    store = runpy.run_path(str(ROOT / "docs" / "store.py"))
    noted = {"date": "2026-11-02", "torch": "2.13.0", "digest": store["digest"]({"cells": []})}
    assert store["last_run"]({"cells": []}, noted) == "Last run on 2 November 2026 with torch 2.13.0."
    assert store["last_run"]({"cells": []}, {**noted, "digest": "another"}).endswith("It was changed since.")


def directives(pages: Pages) -> list[str]:
    """nbdev's directives that a reader would see."""
    return [f"{name}: {line}" for name, page in pages.items() for line in DIRECTIVE.findall(page.code)]


def test_no_directive_is_shown(pages):
    assert directives(pages) == []


def test_hidden_cells_are_left_out(pages):
    hidden = []
    for notebook in NOTEBOOKS:
        for cell in json.loads((ROOT / notebook).read_text(encoding="utf-8"))["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "code" and re.search(r"^#\| *hide *$", source, re.MULTILINE):
                hidden.append((notebook, DIRECTIVE.sub("", source).strip()))
    assert hidden
    assert [source for notebook, source in hidden if source in pages[page_of(notebook)].code] == []


def test_nothing_is_loaded_from_elsewhere(site, pages):
    assert external_resources(pages) == []
    styles = {
        file.name: re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\"';]+", file.read_text(encoding="utf-8"))
        for file in site.rglob("*.css")
    }
    assert styles and not any(styles.values()), styles


def test_links_and_pictures_lead_somewhere(site, pages):
    assert broken_references(pages, site) == []


def test_every_picture_has_a_text(pages):
    ours = {name: page for name, page in pages.items() if name != "py-modindex.html"}  # Sphinx's own, with its arrows
    pictures = [
        (name, given.get("alt") or "") for name, page in ours.items() for tag, given in page.tags if tag == "img"
    ]
    assert [(name, alt) for name, alt in pictures if len(alt) < 8 or re.search(r"\.(png|svg|jpe?g|gif)$", alt)] == []
    said = " ".join(alt for _, alt in pictures)
    for notebook in NOTEBOOKS:
        for cell in json.loads((ROOT / notebook).read_text(encoding="utf-8"))["cells"]:
            written = re.findall(r"^#\| *fig-alt: *(.+?) *$", "".join(cell["source"]), re.MULTILINE)
            if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
                assert all(text in said for text in written), (notebook, written)


def test_no_path_of_this_machine_is_published(site):
    texts = {
        file.name: file.read_text(encoding="utf-8")
        for file in site.rglob("*")
        if file.suffix in (".html", ".js", ".css", ".txt", ".md")
    }
    machine = (str(ROOT), str(site.parent), str(Path(sys.prefix)))
    assert [name for name, text in texts.items() if any(path in text for path in machine)] == []


def test_mathematics_is_ready_for_mathjax(site, pages):
    blocks = pages["nbs/course/14_targets.html"].tree.select("div.math.notranslate")
    assert any(r"\min_{\text{twins}} Q'" in block.get_text() for block in blocks)
    with_math = [
        name
        for name, page in pages.items()
        if any("math" in (attrs.get("class") or "").split() for _, attrs in page.tags)
    ]
    assert {"nbs/appendix/notation.html", "nbs/course/14_targets.html"} <= set(with_math)
    for name in with_math:
        (script,) = [
            attrs["src"] for tag, attrs in pages[name].tags if tag == "script" and "tex-svg" in (attrs.get("src") or "")
        ]
        assert ((site / name).parent / script.partition("?")[0]).stat().st_size > 1_000_000
    assert [name for name, page in pages.items() if name.startswith("nbs/") and "$$" in page.prose] == []


def test_every_module_has_a_page(pages):
    listed = [link for link in navigation(pages["index.html"]) if link.startswith("api/")]
    assert listed[:2] == ["api/index.html", "api/all_settings.html"] and sorted(listed[2:]) == sorted(
        f"api/{module}.html" for module in MODULES
    )


@pytest.mark.parametrize("module", MODULES)
def test_an_api_page_describes_what_the_module_exports(pages, module):
    page, library = pages[f"api/{module}.html"].tree, importlib.import_module(f"mage_edu.{module}")
    for name in library.__all__:
        thing = getattr(library, name)
        if (inspect.isfunction(thing) or inspect.isclass(thing)) and thing.__module__ == library.__name__:
            entry = page.find(id=f"{library.__name__}.{name}")
            assert entry is not None and entry.select_one("a[href*=_modules]"), (
                f"{name}: no entry with a link to its source"
            )
            summary = re.sub(r"\W+", "", inspect.getdoc(thing).splitlines()[0])
            assert summary in re.sub(r"\W+", "", entry.find_next_sibling("dd").get_text()), name


def test_comments_beside_fields_are_on_the_api_pages(pages):
    """Of the class itself, and of one that inherits the field."""
    for module, owner in (("settings", "Settings"), ("config", "Config")):
        described = (
            pages[f"api/{module}.html"]
            .tree.find(id=f"mage_edu.{module}.{owner}.policy_delay")
            .find_next_sibling("dd")
            .get_text()
        )
        assert "critic updates per actor update" in described


def test_the_search_knows_the_words_of_the_course(site):
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(re.fullmatch(r"Search\.setIndex\((.*)\)", text, re.DOTALL)[1])
    found = [index[kind].get("bootstrap", []) for kind in ("terms", "titleterms")]
    numbers = {number for one in found for number in ([one] if isinstance(one, int) else one)}
    assert {"nbs/course/14_targets", "api/targets"} <= {index["docnames"][number] for number in numbers}
    assert (site / "search.html").is_file()


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ('<a href="no.html">x</a>', "no.html"),
        ('<a href="#nowhere">x</a>', "#nowhere"),
        ('<a href="index.html#nowhere">x</a>', "index.html#nowhere"),
        ('<img src="no.png">', "no.png"),
        ('<link href="no.css">', "no.css"),
        ('<script src="no.js?v=1"></script>', "no.js?v=1"),
    ],
)
def test_a_broken_reference_would_be_noticed(tmp_path, body, complaint):
    (tmp_path / "index.html").write_text(
        f'<p id="here"><a href="#here">x</a><a href="index.html#here">x</a>{body}</p>', encoding="utf-8"
    )
    assert broken_references(parse(tmp_path), tmp_path) == [f"index.html: {complaint}"]


@pytest.mark.parametrize(
    "body",
    [
        '<script src="https://host/x.js"></script>',
        '<link href="//host/x.css">',
        '<img src="http://host/x.png">',
        '<iframe src="https://host/"></iframe>',
    ],
)
def test_an_external_resource_would_be_noticed(tmp_path, body):
    (tmp_path / "index.html").write_text(
        f'<a href="https://host/">x</a><img src="data:image/png;base64,">{body}', encoding="utf-8"
    )
    assert len(external_resources(parse(tmp_path))) == 1


def test_a_directive_would_be_noticed(tmp_path):
    (tmp_path / "index.html").write_text(
        "<p>a #| b</p><pre><span>#|</span> export\nx = 1  # a comment | and more</pre>", encoding="utf-8"
    )
    assert directives(parse(tmp_path)) == ["index.html: #| export"]


def test_the_table_of_settings_names_every_setting_once(pages):
    rows = [row.find("td").get_text() for row in pages["api/all_settings.html"].tree.select("tbody tr")]
    assert rows == [field.name for field in dataclasses.fields(Config)]
    assert (
        "0 to 0.5" in pages["api/all_settings.html"].tree.get_text()
        and "above 0, or none" in pages["api/all_settings.html"].tree.get_text()
    )


def test_the_page_of_curves_shows_all_of_results(site, pages):
    """The data that it draws are those of the tables, every table is listed with its command, and those that are files can be had."""
    page, index = pages["docs/pages/curves.html"], read_rows(ROOT / "results" / "index.csv")
    (block,) = [one for one in page.tree.find_all("script", type="application/json")]
    drawn = {table["path"]: table for table in json.loads(block.string)}
    assert list(drawn) == [row["path"] for row in index if row["x"]]
    for path, table in drawn.items():
        rows = [row for row in read_rows(ROOT / "results" / path) if row.get("status", "finished") == "finished"]
        for panel in table["panels"]:
            values = {
                float(row[panel["y"]])
                for row in rows
                if row[panel["y"]] and row.get("env", panel["task"]) == panel["task"]
            }
            for line in panel["lines"]:
                shown = [y for seed in line["seeds"] for y in seed["y"]]
                assert shown and (path == "mixture/choosing.csv" or set(shown) <= values), (
                    path,
                    panel["task"],
                    line["name"],
                )
    headings = [heading.find(string=True) for heading in page.tree.find_all("h3")]
    assert headings == [row["path"] for row in index]
    commands = re.sub(r"\s+", " ", page.code)
    assert [
        row["path"] for row in index if " " in row["command"] and row["command"].replace("; ", " ") not in commands
    ] == [
        "web/",
        "torture/",
    ]
    files = {Path(urlsplit(link["href"]).path).name for link in page.tree.select("a.download")}
    assert {Path(row["path"]).name for row in index if not row["path"].endswith("/")} <= files
    assert [row["path"] for row in index if row["status"] == "obsolete" and row["note"] not in page.prose] == []
    assert "docs/pages/curves.html" in navigation(pages["index.html"])
