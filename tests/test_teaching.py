"""What instructors get: the plan, the slides, the book, the page of errors; and that lessons can be read where there is no site."""

from __future__ import annotations

import html
import re
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Callable

import gymnasium as gym
import nbformat
import numpy as np
import pytest
import torch

from mage_edu import MAGEAgent
from mage_edu.engine.build import build_dynamics
from mage_edu.exercises import answers, goes_down, same_array, same_direction
from mage_edu.replay import ReplayBuffer

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))
import book  # noqa: E402
import formulas  # noqa: E402
import handout  # noqa: E402
import slides  # noqa: E402

LESSONS = handout.lessons(ROOT)
NOTEBOOKS = sorted(path for path in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
TEACHING = (ROOT / slides.PLAN).read_text(encoding="utf-8")

# the plan and the slides


def test_the_plan_has_eight_sessions_for_twenty_one_lessons():
    plan = slides.plan(TEACHING)
    assert [session.number for session in plan] == list(range(1, 9))
    assert [lesson for session in plan for lesson in session.lessons] == list(range(1, 22))
    assert all(2 <= session.questions.count("\n- ") + 1 <= 5 for session in plan)


def test_the_minutes_of_a_session_are_ninety():
    for part in re.split(r"(?=^## )", TEACHING, flags=re.MULTILINE):
        if slides.SESSION.match(part):
            assert sum(int(n) for n in re.findall(r"^\| (\d+) \|", part, re.MULTILINE)) == 90, part[:40]
            assert [what for what in ("Run", "Ask", "Set", "What goes wrong") if f"**{what}.**" not in part] == []


def test_the_cards_that_are_set_exist():
    """Card n of a lesson that is there; a lesson whose cards are still to come is set as a whole."""
    counted = {int(path.stem[:2]): len(handout.cards(nbformat.read(path, as_version=4))) for path in LESSONS}
    for lesson, numbers in re.findall(r"\b(\d\d): cards? (\d(?: and \d)?)", TEACHING):
        assert int(lesson) not in counted or max(map(int, re.findall(r"\d", numbers))) <= counted[int(lesson)], lesson


def test_what_the_pages_tell_to_make_is_there_once():
    targets = re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    pages = [*(ROOT / "docs/pages").glob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / ".ci" / "run"]
    told = {
        name
        for page in pages
        for name in re.findall(r"(?:^|`)make ([a-z0-9-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert sorted({name for name in targets if targets.count(name) > 1}) == [] and told - set(targets) == set()
    assert {"handout", "slides", "book", "test-handout", "test-student"} <= told


class Tags(HTMLParser):
    """The tags of a page, and whether each is closed."""

    VOID = ("meta", "img", "br", "hr", "link")

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style", "pre", "code", "math"} & set(self.open):
            self.text += data


@pytest.fixture(scope="module")
def decks(tmp_path_factory) -> dict[str, str]:
    written = slides.write(tmp_path_factory.mktemp("slides"), ROOT)
    return {file.stem: file.read_text(encoding="utf-8") for file in written}


def test_slides_are_whole_files(decks):
    assert len(decks) == 8
    for name, text in decks.items():
        page = Tags(text)
        assert page.open == [], name
        links = [attrs[key] for _, attrs in page.seen for key in ("src", "href") if key in attrs]
        assert all(link.startswith(("data:image/", "https://")) for link in links), name
        assert not any(
            tag in ("link", "iframe") or attrs.get("src", "").startswith("http") for tag, attrs in page.seen
        ), name
        assert all(attrs.get("alt") for tag, attrs in page.seen if tag == "img"), name
        assert not re.search(r"\$|\\[a-zA-Z]|\*\*|\]\(", page.text), (
            name,
            re.findall(r".{20}(?:\$|\\[a-zA-Z]|\*\*|\]\().{20}", page.text),
        )


def test_slides_show_the_lessons_and_no_solution(decks):
    for path in LESSONS:
        notebook, number = nbformat.read(path, as_version=4), int(path.stem[:2])
        deck = next(decks[f"session{session.number}"] for session in slides.plan(TEACHING) if number in session.lessons)
        assert f"<h1>{path.stem[:2]} " in deck
        for card in handout.cards(notebook):
            assert html.escape(card.title, quote=False) in html.unescape(deck) or card.title in html.unescape(deck)
            assert f"{card.name}_solution" not in deck
    assert (
        sum(deck.count("<img ") for deck in decks.values()) >= 20
        and sum(deck.count("<math ") for deck in decks.values()) >= 50
    )


def test_a_lesson_that_is_not_there_is_left_out(tmp_path):
    (tmp_path / "nbs/course").mkdir(parents=True)
    (tmp_path / "docs/pages").mkdir(parents=True)
    (tmp_path / slides.PLAN).write_text("## Session 1: lessons 01 and 02\n\n**Ask.**\n\n- Why?\n", encoding="utf-8")
    with pytest.raises(ValueError, match="session 1"):
        slides.write(tmp_path / "out", tmp_path)
    cells = [
        nbformat.v4.new_markdown_cell(
            "# T\n\n$\\newcommand{\\q}{x_9}$\n**One sentence $\\q$.**\n\n## A\n\nIt is a long $x_1. Y$ that ends here. And more."
        ),
        nbformat.v4.new_code_cell("#| hide\n1", outputs=[nbformat.v4.new_output("stream", text="not to be seen")]),
        nbformat.v4.new_code_cell("print(2)", outputs=[nbformat.v4.new_output("stream", text="seen <b>\n")]),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "nbs/course/02_x.ipynb")
    (file,) = slides.write(tmp_path / "out", tmp_path)
    text = file.read_text(encoding="utf-8")
    assert (
        "seen &lt;b&gt;" in text
        and "not to be seen" not in text
        and "here." in text
        and "And more" not in text
        and "Why?" in text
        and "<mn>9</mn>" in text
        and "newcommand" not in text
    )


@pytest.mark.parametrize(
    ("paragraph", "first"),
    [
        ("A short one. Then more of it comes. And so on.", "A short one. Then more of it comes."),
        ("It is about 0.5 of all that there is here. Then more.", "It is about 0.5 of all that there is here."),
        ("With $a. B$ in a formula nothing ends at all. Then.", "With $a. B$ in a formula nothing ends at all."),
        ("no end at all in this long line of words", "no end at all in this long line of words"),
    ],
)
def test_a_first_sentence(paragraph, first):
    assert slides.first_sentence(paragraph) == first


# formulas


def test_macros_are_put_in():
    known = formulas.macros(
        r"$\newcommand{\E}{\mathbb{E}}\newcommand{\norm}[1]{\lVert #1 \rVert}\newcommand{\d}{\partial}$"
    )
    assert known == {r"\E": (0, r"\mathbb{E}"), r"\norm": (1, r"\lVert{#1}\rVert"), r"\d": (0, r"\partial")}
    assert formulas.expand(r"$\E\norm{\d x_{1}}$, `$\E$`, $\operatorname{tr} A$", known) == (
        r"$\mathbb{E}\lVert{\partial x_{1}}\rVert$, `$\E$`, $\mathrm{tr}\, A$"
    )
    assert formulas.expand(r"$\frac{\d s}{\d a}$", known) == r"$\frac{\partial s}{\partial a}$"
    assert formulas.expand(r"$$\sum_{j<i} x$$ and $a<b$", known) == r"$$\sum_{j < i} x$$ and $a < b$"
    assert formulas.expand("# T\n\n$\\newcommand{\\d}{\\partial}$\n**Two.**", known) == "# T\n\n**Two.**"
    assert formulas.expand(r"needs 08. $\newcommand{\E}{\mathbb{E}}$", known) == "needs 08."
    with pytest.raises(ValueError, match="not closed"):
        formulas.macros(r"$\newcommand{\E}{\mathbb{E}$")


def test_a_formula_is_mathml_with_its_source():
    made = formulas.mathml(r"\lVert x \rVert < 1", display=True)
    root = ElementTree.fromstring(re.sub(r"&(?!#|lt|gt|amp|quot)\w+;", "?", made))
    assert (
        root.get("alttext") == r"\lVert x \rVert < 1" and root.get("display") == "block" and "‖" in html.unescape(made)
    )


# GitHub's viewer, which has neither macros nor MyST


def not_shown(source: str) -> list[str]:
    """What of a text cell GitHub's viewer of notebooks cannot show."""
    source = re.sub(r"^ {4}.+$", "", source, flags=re.MULTILINE)  # indented code
    text = re.sub(r"```.*?```|`[^`\n]+`", lambda m: "```{" if m[0].startswith("```{") else "`", source, flags=re.DOTALL)
    found = [
        name
        for name, pattern in {
            "a macro": r"\\(?:re)?newcommand|\\def\\",
            r"\operatorname": r"\\operatorname",
            "a directive": r"^\s*(?:```\{|:::)",
            "a role": r"\{\w+\}`",
            "an attachment": r"attachment:",
            "a label": r"\\(?:label|eqref|ref)\{",
            r"\[ or \(": r"(?<!\\)\\\\?[\[(](?=[^$]*\\\\?[\])])(?![^$]*\$)",
            "a script or a frame": r"<(?:script|iframe|video|style)\b",
        }.items()
        if re.search(pattern, text, re.MULTILINE)
    ]
    blocks = re.findall(r"\$\$.*?\$\$", text, re.DOTALL)
    found += ["an empty line in a formula"] * any(re.search(r"\n\s*\n", block) for block in blocks)
    outside = re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL)
    found += ["an environment outside of $$"] * bool(re.search(r"\\begin\{", re.sub(r"\$[^$\n]+\$", "", outside)))
    found += ["a formula over two lines"] * (
        len(re.findall(r"(?<!\\)\$", re.sub(r"(?<!\\)\$[^$\n]+?(?<!\\)\$", "", outside))) > 0
    )
    found += ["a tag in a formula"] * any(re.search(r"<[A-Za-z/!]", f) for f in formulas.FORMULA.findall(text))
    found += ["a summary without an empty line"] * bool(re.search(r"</summary>[^\n]*\n(?!\s*\n)", text))
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_githubs_viewer_can_show_it(path):
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            assert not_shown(cell.source) == [] and not cell.get("attachments"), (
                f"{cell.id}; python docs/formulas.py {path.relative_to(ROOT)} puts macros in"
            )
        for output in cell.get("outputs", []):
            kinds = set(output.get("data", {}))
            if any("widget" in kind or "javascript" in kind for kind in kinds):
                assert {"text/html", "image/png"} & kinds, f"{cell.id}: a widget with nothing in its place"


@pytest.mark.parametrize(
    "source",
    [
        r"$\newcommand{\E}{\mathbb{E}}$",
        r"$\operatorname{tr} A$",
        "```{note}\nx\n```",
        ":::{note}\nx\n:::",
        "{ref}`x`",
        "![x](attachment:x.png)",
        "$$x \\label{a}$$",
        "\\\\[ x \\\\]",
        r"\( x \)",
        "<script>1</script>",
        "$$\nx\n\ny\n$$",
        "\\begin{align}\nx\n\\end{align}",
        "$a\nb$",
        "$a<b$",
        "<details><summary>Hint</summary>\n$x$\n</details>",
    ],
)
def test_what_github_cannot_show_would_be_noticed(source):
    assert not_shown(source) != []


@pytest.mark.parametrize(
    "source",
    [
        "$a < b$, $$x\n= y$$",
        "`\\[`, a [link](x.ipynb), $[0, 1]$ and $(a)$",
        "```python\n$x\n```",
        "<details><summary>Hint</summary>\n\n$x$\n\n</details>",
    ],
)
def test_what_github_can_show_passes(source):
    assert not_shown(source) == []


# the book


@pytest.fixture(scope="module")
def epub(tmp_path_factory) -> zipfile.ZipFile:
    built = book.build(tmp_path_factory.mktemp("book"))
    assert built is not None
    with zipfile.ZipFile(built) as archive:
        yield archive


def test_the_book_is_a_whole_epub(epub):
    names = epub.namelist()
    first = epub.infolist()[0]
    assert (first.filename, first.compress_type, epub.read("mimetype")) == (
        "mimetype",
        zipfile.ZIP_STORED,
        b"application/epub+zip",
    )
    assert epub.testzip() is None and "META-INF/container.xml" in names
    package = ElementTree.fromstring(epub.read("content.opf"))
    listed = {item.get("href") for item in package.iter("{http://www.idpf.org/2007/opf}item")}
    assert listed <= set(names)
    spine = [item.get("idref") for item in package.iter("{http://www.idpf.org/2007/opf}itemref")]
    hrefs = {item.get("id"): item.get("href") for item in package.iter("{http://www.idpf.org/2007/opf}item")}
    read = [hrefs[idref] for idref in spine]
    assert [name for name in read if "nbs/course" in name] == [f"nbs/course/{path.stem}.xhtml" for path in LESSONS]


def test_the_book_holds_formulas_and_pictures(epub):
    counted = {"math": 0, "img": 0}
    for name in epub.namelist():
        if not name.endswith(".xhtml"):
            continue
        text = epub.read(name).decode()
        page = ElementTree.fromstring(text.replace("&nbsp;", " ").replace("<!DOCTYPE html>", ""))
        assert "<script" not in text and "$$" not in re.sub(r"<pre.*?</pre>", "", text, flags=re.DOTALL), name
        for element in page.iter():
            tag = element.tag.rsplit("}", 1)[-1]
            if tag in counted:
                counted[tag] += 1
            if tag in ("mi", "mo", "mtext", "mn"):
                assert "\\" not in (element.text or ""), (name, element.text)
            if tag == "img":
                file = (Path(name).parent / element.get("src")).as_posix()
                assert element.get("alt")
                parts: list[str] = []
                for part in file.split("/"):
                    parts = parts[:-1] if part == ".." else [*parts, part]
                assert "/".join(parts) in epub.namelist(), (name, file)
    assert counted["math"] >= 800 and counted["img"] >= 40


# the page of errors


def raised(attempt: Callable[[], object]) -> str:
    """What an attempt is told."""
    with pytest.raises(Exception) as error:
        attempt()
    return str(error.value)


def stub(x):
    raise NotImplementedError


def uses_what_is_not_there(x):
    return not_there  # noqa: F821


def with_a_layer_too_many(*sizes):
    model = build_dynamics(*sizes)
    model.extra = torch.nn.Linear(1, 1)
    return model


@pytest.fixture(scope="module")
def provoked(tmp_path_factory) -> list[str]:
    """Each sentence of the page, provoked."""
    folder, small = tmp_path_factory.mktemp("run"), dict(size="tiny", warmup_steps=50, eval_interval=10_000)
    (folder / "old").mkdir()
    (folder / "old" / "x").touch()
    vector = answers(lambda attempt: same_array(attempt(2.0), [4.0, 1.0], "the target", "Look there."))
    slope = answers(lambda attempt: same_direction(attempt, [[1.0, 0.0]], "the slope", ""))
    curve = answers(lambda attempt: goes_down(attempt, "the loss", ""))
    said = [
        vector(stub),
        vector(uses_what_is_not_there),
        vector(lambda: None),
        vector(lambda x: None),
        vector(lambda x: torch.tensor([[4.0], [1.0]])),
    ]
    said += [vector(lambda x: [4.0, 2.0]), slope([[-1.0, 0.2]]), curve([1.0, 1.0])]
    pendulum = gym.make("Pendulum-v1")
    pictures = lambda: gym.wrappers.AddRenderObservation(gym.make("Pendulum-v1", render_mode="rgb_array"))
    agents = [
        lambda: MAGEAgent("HalfCheetah"),
        lambda: MAGEAgent("HalfCheetah-v3"),
        lambda: MAGEAgent("CartPole-v1"),
        lambda: MAGEAgent(pictures),
        lambda: MAGEAgent("Pendulum-v1", "magee"),
        lambda: MAGEAgent("Pendulum-v1", size="small"),
        lambda: MAGEAgent("Pendulum-v1", learning_rate=1e-3),
        lambda: MAGEAgent("Pendulum-v1", discount=1.5),
        lambda: MAGEAgent("Pendulum-v1", seed="0"),
        lambda: MAGEAgent("Pendulum-v1", gradient_weight=0, value_weight=0),
        lambda: MAGEAgent("Pendulum-v1", "td3", gradient_weight=1.0),
        lambda: MAGEAgent(gym.wrappers.NormalizeObservation(gym.make("Pendulum-v1")), size="tiny"),
        lambda: MAGEAgent(lambda: pendulum, size="tiny"),
        lambda: MAGEAgent("Pendulum-v1", "mage", "tiny", critic_loss=lambda config, critic, target: None),
        lambda: MAGEAgent("Pendulum-v1", "mage", "tiny", dynamics=lambda *sizes: torch.nn.Linear(3, 3)),
        lambda: MAGEAgent("Pendulum-v1", "mage", "tiny", dynamics=with_a_layer_too_many),
        lambda: MAGEAgent("Pendulum-v1", "mage", out=folder / "old", **small).learn(10),
        lambda: MAGEAgent.load("nothing"),
        lambda: MAGEAgent("Pendulum-v1", **small).predict(np.zeros(4)),
        lambda: ReplayBuffer(10, 3, 1, 0).sample(4),
        lambda: ReplayBuffer(10, 3, 1, 0).add(np.full(3, np.nan), np.zeros(1), 0.0, np.zeros(3), False),
        lambda: MAGEAgent("Pendulum-v1", "mage", critic_lr=100.0, **small).learn(200),
        lambda: MAGEAgent("Pendulum-v1", reward=lambda obs, action, next_obs: obs[:, 0], **small).learn(5),
    ]
    return [str(answer) for answer in said] + [raised(attempt) for attempt in agents]


def test_the_page_of_errors_is_what_is_said(provoked):
    page = (ROOT / "docs/pages/errors.md").read_text(encoding="utf-8").split("## What has no sentence")[0]
    sentences = re.findall(r"^\| `(.+?)` \|", page, re.MULTILINE)
    assert len(sentences) == len(provoked)
    for sentence, said in zip(sentences, provoked):
        assert re.search(".*".join(re.escape(part) for part in sentence.split("…")), said, re.DOTALL), (
            f"page: {sentence}\nsaid: {said}"
        )
