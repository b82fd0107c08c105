"""The site and JupyterLab in a real browser: pages without errors, search, accessibility, explorers that move, the first lesson run.

Needs Debian's `chromium`; run by `make test-browser`. The site is built once, served from this machine, and every page is opened once.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Iterator, NamedTuple
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
from pages import open_chromium, serve
from test_site import build_site

pytest.importorskip("playwright.sync_api", reason="the browser tests need the development environment: make install")

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parent.parent
EXPLORERS = {  # by name: the lesson, and the last line of the cell that shows it
    "wave": ("05_right_values_wrong_slope", "wave"),
    "game": ("06_another_game", "game"),
    "one-step": ("11_dynamics", "one_step"),
    "episode": ("19_who_is_right", "episode"),
}
GRAVE = ("serious", "critical")

# What is looked at on a page once its mathematics is set.
LOOK = """async () => {
  if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
  document.querySelectorAll('img').forEach(image => image.loading = 'eager');
  await Promise.all([...document.images].map(image => image.complete ? 0 : new Promise(done => image.onload = image.onerror = done)));
  return {
    images: [...document.images].filter(image => !image.naturalWidth).map(image => image.src),
    formulas: [...document.querySelectorAll('mjx-merror, mjx-container [data-mml-node="merror"], mjx-container [fill="red"]')].map(formula => formula.closest('mjx-container').textContent || 'a formula'),
    unset: [...document.querySelectorAll('.math')].filter(formula => !formula.querySelector('mjx-container')).map(formula => formula.textContent),
    links: [...document.querySelectorAll('a[href]')].map(link => link.href),
    ids: [...document.querySelectorAll('[id]')].map(element => element.id),
  };
}"""


class Visit(NamedTuple):
    """What a page showed: complaints, its links and the places that a link can lead to."""

    complaints: list[str]
    links: list[str]
    ids: set[str]


@pytest.fixture(scope="module")
def chromium():
    with open_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return build_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def site(folder) -> Iterator[str]:
    server, address = serve(folder)
    yield address
    server.shutdown()


@pytest.fixture
def page(chromium):
    """A fresh page, as wide as a laptop's window."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    yield context.new_page()
    context.close()


def listen(page, address: str) -> list[str]:
    """A list to which every error that the page meets is added: of the console, of scripts, of requests, and requests to elsewhere."""
    complaints: list[str] = []
    page.on(
        "console", lambda message: complaints.append(f"console: {message.text}") if message.type == "error" else None
    )
    page.on("pageerror", lambda error: complaints.append(f"script: {error}"))
    page.on("requestfailed", lambda request: complaints.append(f"request failed: {request.url}"))
    page.on(
        "response",
        lambda response: (
            complaints.append(f"status {response.status}: {response.url}") if response.status >= 400 else None
        ),
    )
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((address, "data:", "blob:"))
            else complaints.append(f"external: {request.url}")
        ),
    )
    return complaints


def visit(page, address: str, name: str) -> Visit:
    """Open a page of the site and look at it."""
    complaints = listen(page, address)
    page.goto(address + name)
    seen = page.evaluate(LOOK)
    complaints += [f"broken image: {url}" for url in seen["images"]] + [
        f"broken formula: {text}" for text in seen["formulas"]
    ]
    complaints += [f"formula left as it was typed: {text[:80]}" for text in seen["unset"]]
    return Visit(complaints, seen["links"], set(seen["ids"]))


def broken_links(visits: dict[str, Visit], address: str, folder: Path) -> list[str]:
    """Links inside the site that lead to no file, or to a place that the page does not have."""
    broken = []
    for name, seen in visits.items():
        for link in sorted(set(seen.links)):
            url, place = urldefrag(link)
            if not url.startswith(address):
                continue
            target = unquote(urlsplit(url).path).lstrip("/") or "index.html"
            missing = not (folder / target).is_file() or (
                place and target in visits and unquote(place) not in visits[target].ids
            )
            broken += [f"{name}: {link.removeprefix(address)}"] if missing else []
    return broken


# Highlighted code, signatures and drawn formulas are thousands of elements without a name: as plain text they are looked at as well. The pages of each
# kind are looked at as they are, below. Of the index, whose entries are all alike, the first ones stand for the others.
PLAIN = """() => {
  document.querySelectorAll('div.highlight pre, code.literal, dt.sig > span, dt.sig > em, dt.sig dl').forEach(code => code.textContent = code.textContent);
  document.querySelectorAll('table.genindextable li:nth-child(n+4)').forEach(entry => entry.remove());
  document.querySelectorAll('mjx-container svg').forEach(formula => formula.replaceChildren());
}"""


def violations(page) -> list[str]:
    """What axe-core finds on the open page and calls serious or critical."""
    from axe_playwright_python.sync_playwright import Axe

    page.emulate_media(reduced_motion="reduce")  # else a button on its way from light to dark is measured half-way
    quiet = {
        name: {"enabled": False} for name in ("region", "heading-order", "landmark-unique")
    }  # slow, and none is more than moderate
    options = {
        "resultTypes": ["violations"],
        "preload": False,
        "rules": quiet,
    }  # preloading fetches style sheets under wrong addresses
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{one['id']} ({one['impact']}): {node['html'][:160]}"
        for one in found
        if one["impact"] in GRAVE
        for node in one["nodes"][:3]
    ]


def crawl(address: str, names: list[str]) -> tuple[dict[str, Visit], list[str]]:
    """Visits of the pages in a browser of this thread's own, and what is wrong with them."""
    visits, complaints = {}, []
    with open_chromium() as browser:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        for name in names:
            page = context.new_page()
            visits[name] = visit(page, address, name)
            page.evaluate(PLAIN)
            complaints += [f"{name}: {complaint}" for complaint in (*visits[name].complaints, *violations(page))]
            page.close()
    return visits, complaints


def test_every_page_is_whole_and_accessible(site, folder):
    names = sorted(
        file.relative_to(folder).as_posix() for file in folder.rglob("*.html") if "_static" not in file.parts
    )
    assert "nbs/course/01_robot.html" in names and len(names) > 80
    with ThreadPoolExecutor(2) as threads:
        halves = list(threads.map(lambda half: crawl(site, half), (names[::2], names[1::2])))
    visits = halves[0][0] | halves[1][0]
    assert visits.keys() == set(names)
    assert halves[0][1] + halves[1][1] + broken_links(visits, site, folder) == []


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize(
    "name",
    [
        "index.html",
        "nbs/course/05_right_values_wrong_slope.html",
        "api/critic.html",
        "_modules/mage_edu/critic.html",
        "search.html",
        "docs/pages/curves.html",
    ],
)
def test_a_page_of_each_kind_has_contrast_in_both_modes(chromium, site, name, mode):
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, color_scheme=mode)
    page = context.new_page()
    visit(page, site, name)
    assert violations(page) == []
    context.close()


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("<script>undefined_name()</script>", "script: undefined_name is not defined"),
        ("<script>console.error('no')</script>", "console: no"),
        ("<script src='gone.js'></script>", "status 404"),
        ("<script>fetch('http://127.0.0.1:9/x').catch(() => 0)</script>", "external: http://127.0.0.1:9/x"),
        ("<img src='data:image/png;base64,AAAA' alt='x'>", "broken image"),
        ("<span class='math'>\\(\\frac\\)</span><script src='_static/tex-svg-full.js'></script>", "broken formula"),
        (
            "<span class='math'>\\(\\undefined\\)</span><script src='_static/tex-svg-full.js'></script>",
            "broken formula",
        ),
        ("<span class='math'>x</span>", "formula left as it was typed: x"),
        ("<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>", "image-alt"),
        ("<p style='color: #999; background: #fff'>grey on white</p>", "color-contrast"),
        ("<a href='gone.html'>x</a>", "gone.html"),
        ("<a href='#gone'>x</a>", "index.html#gone"),
    ],
)
def test_what_is_wrong_with_a_page_is_noticed(page, folder, tmp_path, body, complaint):
    shutil.copytree(folder / "_static", tmp_path / "_static")
    (tmp_path / "favicon.ico").touch()
    start = "<!DOCTYPE html><html lang='en'><head><title>t</title></head><body><main><h1>h</h1><p>p</p>"
    (tmp_path / "index.html").write_text(f"{start}{body}</main></body></html>", encoding="utf-8")
    server, address = serve(tmp_path)
    seen = visit(page, address, "index.html")
    found = seen.complaints + violations(page) + broken_links({"index.html": seen}, address, tmp_path)
    server.shutdown()
    assert any(complaint in one for one in found), found


def test_the_search_finds_the_agent(page, site):
    page.goto(site + "search.html?q=MAGEAgent")
    page.wait_for_selector("#search-results li a", timeout=20_000)
    assert any(
        "api/agent.html" in link.get_attribute("href") for link in page.query_selector_all("#search-results li a")
    )


OVER_THE_EDGE = """() => {
  const width = document.documentElement.clientWidth;
  const pictures = [...document.querySelectorAll('main img, main svg.explorer, main canvas')].filter(one => one.getBoundingClientRect().right > width + 1);
  const page = document.scrollingElement.scrollWidth > width + 1 ? [`the page is ${document.scrollingElement.scrollWidth} wide`] : [];
  return [...page, ...pictures.map(one => `${one.tagName} ends at ${Math.round(one.getBoundingClientRect().right)}`)];
}"""


def test_nothing_hangs_over_the_edge_of_a_phone(chromium, site, folder):
    lessons = sorted(file.relative_to(folder).as_posix() for file in (folder / "nbs" / "course").glob("*.html"))
    assert len(lessons) == 21
    page = chromium.new_context(viewport={"width": 390, "height": 844}).new_page()
    wrong = {}
    for name in ("index.html", "docs/pages/curves.html", *lessons):
        page.goto(site + name)
        wrong[name] = page.evaluate(OVER_THE_EDGE)
    page.context.close()
    assert {name: found for name, found in wrong.items() if found} == {}


def test_the_first_page_is_quick_and_light(chromium, site):
    """From nothing to three robots that can run: under 3 s from this machine, and at most 15 MB beside the theme that all pages share."""
    seconds = []
    for _ in range(3):
        page = chromium.new_context().new_page()
        began = time.perf_counter()
        page.goto(site + "nbs/course/01_robot.html")
        page.wait_for_function("document.querySelector('.mage-player')?.runners", timeout=60_000)
        seconds.append(time.perf_counter() - began)
        loaded = page.evaluate("performance.getEntriesByType('resource').map(one => [one.name, one.decodedBodySize])")
        page.context.close()
    own = sum(size for name, size in loaded if "/_static/" not in name)
    print(
        f"seconds {[round(one, 2) for one in seconds]}, {own / 1e6:.1f} MB of {sum(size for _, size in loaded) / 1e6:.1f}"
    )
    assert min(seconds) < 3.0 and 5e6 < own <= 15e6


def test_there_is_one_search_box(page, site):
    page.goto(site)
    assert page.locator(".search-button-field:visible, input[type=search]:visible").count() == 1


def in_python(name: str):
    """The explorer of that name, made again from the description that the lesson's page carries."""
    from mage_edu.explorers import Explorer

    cells = json.loads((ROOT / "nbs" / "course" / f"{EXPLORERS[name][0]}.ipynb").read_text(encoding="utf-8"))["cells"]
    html = next(
        text
        for cell in cells
        for output in cell.get("outputs", [])
        for text in ["".join(output.get("data", {}).get("text/html", ""))]
        if f"explorer-{name}" in text
    )
    return Explorer.from_page(html)


@pytest.mark.parametrize("name", EXPLORERS)
@pytest.mark.parametrize(("width", "mode"), [(1280, "light"), (390, "dark")])
def test_an_explorer_moves_on_the_page_and_says_what_python_says(chromium, site, name, width, mode):
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=mode)
    page, explorer = context.new_page(), in_python(name)
    complaints = listen(page, site)
    page.goto(f"{site}nbs/course/{EXPLORERS[name][0]}.html")
    root = page.locator(f"#explorer-{name}")
    picture = lambda: root.locator("svg").evaluate_all("all => all.map(one => one.innerHTML).join()")
    root.locator("input[type=range]").first.wait_for()
    moved = {slider.name: slider.value for slider in explorer.sliders}
    assert root.locator(".explorer-says").text_content() == explorer.seen()
    for slider in explorer.sliders:
        for key in ("ArrowRight", "Home", "End"):
            before = picture()
            control = root.get_by_label(slider.label or slider.name, exact=True)
            control.focus()
            page.keyboard.press(key)
            at = slider.places()
            index = {"ArrowRight": slider.index(moved[slider.name]) + 1, "Home": 0, "End": len(at) - 1}[key]
            moved[slider.name] = float(at[min(index, len(at) - 1)])
            assert root.locator(".explorer-says").text_content() == explorer.seen(**moved), (slider.name, key)
            assert picture() != before, f"{slider.name}: the picture stayed as it was after {key}"
    for svg in root.locator("svg").all():
        assert svg.get_attribute("role") == "img" and explorer.seen(**moved) in svg.get_attribute("aria-label")
    assert root.evaluate("root => root.scrollWidth <= root.clientWidth"), "wider than its place"
    assert [v for v in violations(page) if "explorer" in v] == [] and complaints == []
    context.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(line: str, path: Path, name: str) -> None:
    """Write a notebook beside `path` that ends with the cell that has this line; what comes after it is left out, for time."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    last = next(k for k, cell in enumerate(notebook["cells"]) if line in [one.rstrip("\n") for one in cell["source"]])
    notebook["cells"] = notebook["cells"][: last + 1]
    notebook["metadata"].pop("widgets", None)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = []
    (path.parent / name).write_text(json.dumps(notebook), encoding="utf-8")


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[str]:
    """JupyterLab over a copy of the notebooks, with none of the user's settings."""
    root, home = tmp_path_factory.mktemp("lab"), tmp_path_factory.mktemp("home")
    for name in ("nbs", "results"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns(".*"))
    for name, (lesson, line) in EXPLORERS.items():
        until(line, root / "nbs" / "course" / f"{lesson}.ipynb", f"explorer_{name}.ipynb")
    until(
        "await dashboard.watch(run, 3_000, act_in(config, env, parts), learn_from(config, parts), report)",
        root / "nbs" / "course" / "16_loop.ipynb",
        "dashboard.ipynb",
    )
    places = {f"JUPYTER_{kind}_DIR": str(home / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    places |= {f"JUPYTERLAB_{kind}_DIR": str(home / kind) for kind in ("SETTINGS", "WORKSPACES")}
    (home / "SETTINGS" / "@jupyterlab" / "apputils-extension").mkdir(parents=True)
    settings = {"fetchNews": "false", "checkForUpdates": False}
    (home / "SETTINGS" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings").write_text(
        json.dumps(settings), encoding="utf-8"
    )
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=",
        f"--ServerApp.root_dir={root}",
    ]
    environment = (
        os.environ
        | places
        | {"IPYTHONDIR": str(home / "ipython"), "OMP_NUM_THREADS": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    )
    log = (home / "log").open("w+", encoding="utf-8")
    server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{address}/api/status", timeout=5).close()
            break
        except OSError:
            assert server.poll() is None, (home / "log").read_text(encoding="utf-8")
            time.sleep(0.5)
    yield address
    server.terminate()
    server.wait(timeout=60)
    log.close()


def run_all(page, lab: str, notebook: str) -> None:
    """Open a notebook in JupyterLab, wait for its kernel, and choose Run All Cells."""
    page.goto(f"{lab}/lab/tree/{notebook}?reset")
    page.get_by_text("Python 3 (ipykernel) | Idle").first.wait_for(timeout=120_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def wait_until_run(page, seconds: float) -> None:
    """Wait until no cell is running or waiting, and no cell shows an error."""
    page.wait_for_timeout(1_000)
    page.wait_for_function(
        "() => ![...document.querySelectorAll('.jp-InputPrompt')].some(prompt => prompt.textContent.includes('*'))",
        timeout=1_000 * seconds,
    )
    page.get_by_text("Python 3 (ipykernel) | Idle").first.wait_for(timeout=60_000)


def no_error(page) -> bool:
    """Whether no cell shows an error or a warning."""
    return (
        page.locator(
            "[data-mime-type='application/vnd.jupyter.stderr'], [data-mime-type='application/vnd.jupyter.error']"
        ).count()
        == 0
    )


@pytest.mark.parametrize("name", EXPLORERS)
def test_an_explorer_moves_in_jupyterlab(page, lab, name):
    run_all(page, lab, f"nbs/course/explorer_{name}.ipynb")
    sliders = page.locator(".widget-slider")
    sliders.first.wait_for(timeout=90_000)
    for slider in sliders.all():
        picture, readout = page.locator(".widget-html img"), slider.locator(".widget-readout")
        before, value = picture.get_attribute("src"), readout.text_content()
        slider.locator("[role=slider]").focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function(
            "([before]) => document.querySelector('.widget-html img').src !== before", arg=[before], timeout=20_000
        )
        assert readout.text_content() != value
        assert len(picture.get_attribute("alt")) > 40


def test_the_stop_button_ends_a_run_cleanly(page, lab):
    run_all(page, lab, "nbs/course/dashboard.ipynb")
    page.get_by_role("button", name="Stop", exact=True).wait_for(timeout=90_000)
    page.wait_for_timeout(3_000)
    page.get_by_role("button", name="Stop", exact=True).click()
    wait_until_run(page, 60)
    (said,) = [
        text for text in page.locator(".jp-RenderedText").all_text_contents() if "steps; last three episodes" in text
    ]
    assert 0 < int(said.split()[0]) < 3_000
    assert page.get_by_role("button", name="Stop", exact=True).count() == 0, "what was live is gone"
    assert no_error(page)


def test_the_first_lesson_runs_in_jupyterlab(page, lab):
    run_all(page, lab, "nbs/course/01_robot.ipynb")
    wait_until_run(page, 480)
    texts = page.locator(".jp-RenderedText").all_text_contents()
    assert any("20 episodes without exploration noise" in text for text in texts)
    assert no_error(page)
