"""The page of curves in a browser: what is drawn and written is what numpy computes from the tables, everything can be chosen by keyboard, and it fits a phone.

The page is made here from docs/curves.py, docs/curves.js and docs/site.css alone; that the site has it, whole and accessible, is tests/test_browser.py's.
"""

from __future__ import annotations

import csv
import re
import shutil
import sys
from pathlib import Path
from typing import Iterator

import numpy as np
import pytest
from pages import open_chromium, serve

from mage_edu.evaluate import bootstrap_interval

pytest.importorskip("playwright.sync_api", reason="the browser tests need the development environment: make install")

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))
import curves  # noqa: E402

HEAD = """<!DOCTYPE html><html lang="en" data-theme="{mode}"><head><meta charset="utf-8"><title>t</title><link rel="stylesheet" href="site.css"><style>
:root {{ --pst-color-text-base: #222; --pst-color-border: #aaa; --pst-color-primary: #0a58ca; }}
html[data-theme="dark"] {{ --pst-color-text-base: #ddd; color: #ddd; background: #121212; color-scheme: dark; }}</style>
<script src="curves.js" defer></script></head><body><main><h1>Curves</h1>{body}</main></body></html>"""
TIMES = "env,algorithm,label,seed,step,seconds,return\n" + "".join(
    f"Pendulum-v1,mage,default,{seed},{step},{step / 10 * (seed + 1)},{step + seed}\n"
    for seed in (0, 1)
    for step in (10, 20, 30)
)


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    """Two pages of curves, light and dark, with every table of results/ and one that has seconds."""
    folder, made = tmp_path_factory.mktemp("curves"), tmp_path_factory.mktemp("results")
    (made / "times.csv").write_text(TIMES, encoding="utf-8")
    row = {"path": "times.csv", "title": "Made up", "x": "step seconds", "y": "return", "lines": "algorithm label"}
    tables = [
        *curves.everything(ROOT / "results"),
        row | {"status": "obsolete", "note": "timed with another setting", "panels": curves.panels(row, made)},
    ]
    for mode in ("light", "dark"):
        text = HEAD.format(mode=mode, body=curves.drawn_curves(tables))
        (folder / f"{mode}.html").write_text(text, encoding="utf-8")
    for name in ("curves.js", "site.css"):
        shutil.copyfile(ROOT / "docs" / name, folder / name)
    (folder / "favicon.ico").touch()
    server, address = serve(folder)
    yield address
    server.shutdown()


@pytest.fixture(scope="module")
def chromium():
    with open_chromium() as browser:
        yield browser


@pytest.fixture
def page(chromium, address):
    """The light page, alive, in a laptop's window; an error in it fails the test."""
    page = chromium.new_context(viewport={"width": 1280, "height": 900}).new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address + "light.html")
    page.wait_for_selector(".curves[data-ready]")
    yield page
    assert errors == []
    page.context.close()


def choose(page, **wanted: str) -> None:
    for name, value in wanted.items():
        box = page.locator(f"#curves-0-{name}")
        if box.is_disabled():  # there is no choice
            assert box.input_value() == value
        else:
            box.select_option(value)


def by_hand(table: str, task: str, y: str, x: str = "step", **picked: str) -> dict[float, list[float]]:
    """The values of every seed, in order, at each place of a line, straight from the file."""
    found: dict[float, dict[str, list[float]]] = {}
    with (ROOT / "results" / table).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row.get("env", task) == task and all(row[name] == value for name, value in picked.items()) and row[y]:
                found.setdefault(float(row[x]), {}).setdefault(row["seed"], []).append(float(row[y]))
    in_order = lambda seeds: [float(np.mean(seeds[seed])) for seed in sorted(seeds, key=int)]
    return {at: in_order(seeds) for at, seeds in sorted(found.items())}


def numpy_iqm(values: list[float], axis: int = -1) -> np.ndarray:
    """The interquartile mean by numpy alone."""
    values = np.sort(np.asarray(values), axis=axis)
    count = values.shape[axis]
    return np.take(values, range(count // 4, count - count // 4), axis=axis).mean(axis)


READ = """() => {
  const svg = document.querySelector('.curves-picture svg'), number = (text) => Number(text.replace(/,/g, '').replace('\u2212', '-'));
  const texts = [...svg.querySelectorAll('text')].filter(one => one.getAttribute('x') && !isNaN(number(one.textContent)));
  const axis = (anchor, place) => texts.filter(one => one.getAttribute('text-anchor') === anchor).map(one => [Number(one.getAttribute(place)), number(one.textContent)]);
  const groups = [...svg.querySelectorAll('g[data-line]')].map(group => ({
    line: group.dataset.line, statistic: group.dataset.statistic,
    middle: group.querySelector('.middle')?.getAttribute('d'), band: group.querySelector('.band')?.getAttribute('d'),
    seeds: [...group.querySelectorAll('.seed')].map(one => [Number(one.dataset.seed), one.getAttribute('d')]),
    dots: [...group.querySelectorAll('.dot')].map(one => [Number(one.getAttribute('cx')), Number(one.getAttribute('cy'))]),
  }));
  const rows = [...document.querySelectorAll('.curves-table tbody tr')].map(row => [...row.children].map(cell => cell.textContent));
  return {x: axis('middle', 'x'), y: axis('end', 'y'), groups, rows, label: svg.getAttribute('aria-label'), says: document.querySelector('.curves-says').textContent};
}"""


class Picture:
    """What is drawn, in the units of the axes: its tick labels say how many pixels a unit has."""

    def __init__(self, page):
        self.seen = page.evaluate(READ)
        (self.x_pixels, self.x_zero), (self.y_pixels, self.y_zero) = (
            np.polyfit(*np.array([(value, pixel) for pixel, value in self.seen[axis]]).T, 1) for axis in ("x", "y")
        )
        self.groups = {group["line"]: group for group in self.seen["groups"]}
        self.rows = {row[0]: row[1:] for row in self.seen["rows"]}
        self.y_tolerance = 0.05 / abs(self.y_pixels)  # paths have hundredths of a pixel

    def points(self, path: str) -> np.ndarray:
        """The corners of a path, (n, 2)."""
        pixels = np.array([(float(x), float(y)) for x, y in re.findall(r"[ML]([-\d.]+) ([-\d.]+)", path)])
        return np.stack(
            [(pixels[:, 0] - self.x_zero) / self.x_pixels, (pixels[:, 1] + 4 - self.y_zero) / self.y_pixels], 1
        )


CASES = [  # table, task, measure, the name of a line, its columns, the statistic asked for, the one shown
    ("halfcheetah/sweep.csv", "HalfCheetah-v5", "return", "mage", {"algorithm": "mage", "label": "default"}, "iqm", "iqm"),
    ("halfcheetah/sweep.csv", "HalfCheetah-v5", "return", "td3", {"algorithm": "td3"}, "mean", "mean"),
    ("mixture/choosing.csv", "HalfCheetah-v5", "return", "mage-half", {"algorithm": "mage-half"}, "iqm", "mean"),
    ("mixture/evidence.csv", "HalfCheetah-v5", "return", "td3", {"algorithm": "td3"}, "iqm", "iqm"),
    ("side_by_side/diagnostics.csv", "Pendulum-v1", "q_gradient_cosine", "maac", {"algorithm": "maac"}, "mean", "mean"),
    ("known_and_learned/returns.csv", "Pusher-v5", "return", "reward=learned", {"reward": "learned"}, "mean", "mean"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "task", "measure", "line", "columns", "asked", "statistic"), CASES)
def test_the_picture_is_what_numpy_computes(page, table, task, measure, line, columns, asked, statistic):
    choose(page, path=table, task=task, y=measure, statistic=asked)
    picture, found = Picture(page), by_hand(table, task, measure, **columns)
    group, compute = picture.groups[line], numpy_iqm if statistic == "iqm" else np.mean
    assert group["statistic"] == statistic
    middle = picture.points(group["middle"])
    assert middle[:, 0] == pytest.approx(np.array(list(found)), rel=1e-3)
    assert middle[:, 1] == pytest.approx([compute(values) for values in found.values()], abs=picture.y_tolerance)
    for k, (_, path) in enumerate(group["seeds"]):
        assert picture.points(path)[:, 1] == pytest.approx([v[k] for v in found.values()], abs=picture.y_tolerance)
    assert len(group["seeds"]) == len(found[max(found)])
    between = np.array([bootstrap_interval(np.array(values), compute) for values in found.values()])
    band = picture.points(group["band"])
    assert band[: len(found), 1] == pytest.approx(between[:, 1], abs=picture.y_tolerance)
    assert band[len(found) :, 1][::-1] == pytest.approx(between[:, 0], abs=picture.y_tolerance)
    at, seeds, name, value, interval, each = picture.rows[line]
    last = found[max(found)]
    assert at == f"{max(found):,.0f}" and int(seeds) == len(last)
    assert name == {"iqm": "IQM", "mean": "mean"}[statistic] + (
        " (fewer than four seeds)" if asked != statistic else ""
    )
    assert value == curves.shown(float(compute(last)))
    assert interval == " to ".join(curves.shown(float(bound)) for bound in between[-1])
    assert [one.split(": ")[1] for one in each.split(", ")] == [curves.shown(value) for value in last]


def test_every_table_can_be_chosen_and_is_drawn(page):
    paths = page.locator("#curves-0-path option").evaluate_all("all => all.map(one => one.value)")
    assert paths[:-1] == [row["path"] for row in curves.read_rows(ROOT / "results" / "index.csv") if row["x"]]
    for path in paths:
        choose(page, path=path)
        for task in page.locator("#curves-0-task option").evaluate_all("all => all.map(one => one.value)"):
            choose(page, task=task)
            seen = page.evaluate(READ)
            assert seen["groups"] and len(seen["rows"]) == len(seen["groups"]) <= 6, (path, task)
            assert task in seen["label"] and "NaN" not in page.locator(".curves").inner_html(), (path, task)


def test_everything_can_be_chosen_by_keyboard(page):
    page.locator("#curves-0-path").focus()
    page.keyboard.press("ArrowDown")
    assert "InvertedPendulum-v5" in page.evaluate(READ)["label"]
    for _ in range(2):
        page.keyboard.press("Tab")  # what has one choice is passed over
        if page.evaluate("document.activeElement.id") == "curves-0-statistic":
            break
    page.keyboard.press("ArrowDown")
    assert {group["statistic"] for group in page.evaluate(READ)["groups"]} == {"mean"}
    page.keyboard.press("Tab")
    page.keyboard.press("Space")  # every seed
    assert all(group["seeds"] == [] for group in page.evaluate(READ)["groups"])
    page.keyboard.press("Tab")
    page.keyboard.press("Space")  # the interval
    assert all(group.get("band") is None for group in page.evaluate(READ)["groups"])
    count = len(page.evaluate(READ)["groups"])
    for left in range(count - 1, -1, -1):
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        assert page.locator(".curves-table tbody tr").count() == left
        assert page.locator(".curves-says").text_content().startswith(f"{left} of {count} lines.")
    assert "No line is chosen." in page.locator(".curves-picture").text_content()


def test_few_seeds_are_told(page):
    choose(page, path="mixture/choosing.csv")
    assert "fewer than four seeds the thick line is the mean" in page.evaluate(READ)["says"]
    assert "fewer" not in (choose(page, path="halfcheetah/sweep.csv"), page.evaluate(READ)["says"])[1]
    choose(page, path="simulator/walker2d.csv")
    assert all(row[5] == "one seed: none" for row in page.evaluate(READ)["rows"])


def test_an_obsolete_table_says_why(page):
    choose(page, path="times.csv")
    assert "Obsolete: timed with another setting." in page.locator(".curves-note").text_content()
    assert "times.csv (obsolete)" in page.locator("#curves-0-path").text_content()
    choose(page, path="halfcheetah/sweep.csv")
    assert "Obsolete" not in page.locator(".curves-note").text_content()


def test_seconds_stand_in_the_place_of_steps(page):
    choose(page, path="times.csv")
    by_step = Picture(page)
    assert by_step.points(by_step.groups["mage"]["middle"]) == pytest.approx(
        np.array([(10, 10.5), (20, 20.5), (30, 30.5)]), abs=0.1
    )
    choose(page, x="seconds")
    by_seconds = Picture(page)
    middle = by_seconds.points(by_seconds.groups["mage"]["middle"])
    assert "seconds of training" in by_seconds.seen["label"]
    assert middle[0] == pytest.approx((2, (20 + 11) / 2), abs=0.1) and middle[-1] == pytest.approx(
        (3, (30 + 16) / 2), abs=0.1
    )


@pytest.mark.parametrize(("mode", "width"), [("light", 1280), ("light", 390), ("dark", 390)])
def test_it_fits_and_is_accessible(chromium, address, mode, width):
    from axe_playwright_python.sync_playwright import Axe

    page = chromium.new_context(viewport={"width": width, "height": 844}, color_scheme=mode).new_page()
    page.goto(f"{address}{mode}.html")
    page.wait_for_selector(".curves[data-ready]")
    for path in ("halfcheetah/sweep.csv", "family/algorithms.csv", "other_packages/longer.csv"):
        choose(page, path=path)
        assert page.evaluate("document.scrollingElement.scrollWidth") <= width, path
        found = Axe().run(page, options={"resultTypes": ["violations"], "preload": False}).response["violations"]
        assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == [], path
    page.context.close()


COLOURS = """(mode) => ['.curve-0', '.curve-1', '.curve-2', '.curve-3', '.curve-4', '.curve-5'].map((name) => {
  const path = document.querySelector('.curves-lines ' + name + ' .middle');
  return getComputedStyle(path).stroke.match(/[0-9.]+/g).map(Number);
})"""


def luminance(rgb: list[float]) -> float:
    """Relative luminance as WCAG has it."""
    linear = [c / 3294.6 if c <= 10.0 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb[:3]]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize(("mode", "ground"), [("light", [255, 255, 255]), ("dark", [18, 18, 18])])
def test_lines_stand_out_from_the_ground(chromium, address, mode, ground):
    """Three to one at least, as graphics need; six different colours."""
    page = chromium.new_context(color_scheme=mode).new_page()
    page.goto(f"{address}{mode}.html")
    page.wait_for_selector(".curves[data-ready]")
    choose(page, path="family/algorithms.csv")
    colours = page.evaluate(COLOURS)
    assert len({tuple(one) for one in colours}) == 6
    for one in colours:
        high, low = sorted((luminance(one), luminance(ground)), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, one
    page.context.close()


def test_without_javascript_a_sentence_leads_to_the_values(chromium, address):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address + "light.html")
    assert "all final values are below" in page.locator(".curves").inner_text()
    context.close()
