"""The player in a browser: from the same start it is paid what Python is paid, its buttons and keys work, and nothing comes from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from pages import AGENTS, LINEAR, copy_agent, episode, open_chromium, serve

from mage_edu import web

pytestmark = pytest.mark.browser
pytest.importorskip("playwright.sync_api")

STEPS = 1000


class Site(NamedTuple):
    """A folder of pages, and where it is served."""

    address: str
    folder: Path

    def agent(self, name: str) -> Path:
        """The folder of an agent that the pages show."""
        return self.folder / "agents" / name


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Site:
    """A folder with the player, its engine, every agent of the site and a page for each, and one for three cheetahs."""
    folder = tmp_path_factory.mktemp("player")
    web.write_player(folder, web.fetch_engine())
    page = (Path(web.__file__).parent / "page" / "index.html").read_text(encoding="utf-8")
    for name in [*(agent.name for agent in AGENTS.iterdir()), *LINEAR]:
        copy_agent(name, folder / "agents" / name, STEPS)
        (folder / f"{name}.html").write_text(
            page.replace('data-agents="agent"', f'data-agents="agents/{name}"'), encoding="utf-8"
        )
    three = 'data-agents="agents/untrained agents/dyna-td3 agents/mage"'
    (folder / "three.html").write_text(page.replace('data-agents="agent"', three), encoding="utf-8")
    (folder / "missing.html").write_text(
        page.replace('data-agents="agent"', 'data-agents="agents/nobody"'), encoding="utf-8"
    )
    server, address = serve(folder)
    yield Site(address.rstrip("/"), folder)
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with open_chromium() as opened:
        yield opened


@pytest.fixture
def visit(browser, site):
    """A function that opens a page by name and waits for its player; at the end, nothing may have failed or come from another host."""
    context = browser.new_context()
    page, problems = context.new_page(), []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "request",
        lambda request: problems.append(request.url) if not request.url.startswith((site.address, "data:")) else None,
    )
    page.on("requestfailed", lambda request: problems.append(f"failed: {request.url}"))

    def opened(name: str):
        page.goto(f"{site.address}/{name}.html")
        page.wait_for_function("document.querySelector('.mage-player').runners", timeout=60_000)
        return page

    yield opened
    context.close()
    assert problems == []


def played(page, steps: int) -> tuple[float, np.ndarray]:
    """Return and observations of an episode in the page."""
    result = page.evaluate(f"document.querySelector('.mage-player').runners[0].episode({steps})")
    return result["total"], np.array(result["observations"])


@pytest.mark.parametrize("name", ["mage", "dyna-td3", "untrained", "pendulum", "balance"])
def test_the_return_is_pythons(visit, site, name):
    """Chaos amplifies the last bits of two machines' sums, so a thousand steps agree to a hundredth and not to the last digit."""
    total, observations = played(visit(name), STEPS)
    expected, reference = episode(site.agent(name), STEPS)
    assert len(observations) == len(reference) == STEPS + 1
    assert abs(total - expected) <= 0.01 * abs(expected)


@pytest.mark.parametrize("name", ["hopper", "stand", "walker"])
def test_observations_and_the_fall_are_pythons(visit, site, name):
    """A hopper that falls early, one that stands, a walker that falls late."""
    _, observations = played(visit(name), STEPS)
    _, reference = episode(site.agent(name), STEPS)
    assert np.abs(observations[:100] - reference[:100]).max() < 1e-2
    assert abs(len(observations) - len(reference)) <= 0.05 * (len(reference) - 1)


def test_buttons_and_keys(visit):
    """Play, pause, reset, speed and a push, by mouse and by keyboard; each is seen in the readout or in the picture."""
    page = visit("mage")
    steps = lambda: page.evaluate("document.querySelector('.mage-player').runners[0].steps")
    picture = lambda: page.evaluate("document.querySelector('canvas').toDataURL()")
    first = picture()
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("document.querySelector('.mage-player').runners[0].steps > 10")
    page.get_by_role("button", name="Pause").click()
    there, moved = steps(), picture()
    page.wait_for_timeout(300)
    assert steps() == there and moved != first and f"step {there} " in page.locator(".mage-readout").inner_text()
    page.get_by_role("button", name="Reset").click()
    assert steps() == 0 and picture() == first
    page.get_by_label("Speed").select_option("4")
    page.get_by_role("button", name="Push →").focus()
    page.keyboard.press("p")
    page.wait_for_function("document.querySelector('.mage-player').runners[0].steps > 40")
    page.keyboard.press("p")
    there = steps()
    page.wait_for_timeout(300)
    assert steps() == there > 40
    page.keyboard.press("r")
    assert steps() == 0


def test_a_push_is_felt(visit):
    page = visit("hopper")
    velocity = """(direction) => {
        const { runners: [runner] } = document.querySelector('.mage-player');
        runner.reset();
        if (direction) runner.world.push(direction);
        for (let i = 0; i < 80; i++) runner.substep();
        return runner.world.data.qvel[0];
    }"""
    left, alone, right = (page.evaluate(velocity, direction) for direction in (-1, 0, 1))
    assert left < alone - 0.1 and right > alone + 0.1


def test_the_picture_has_words(visit):
    page = visit("three")
    labels = [canvas.get_attribute("aria-label") for canvas in page.get_by_role("img").all()]
    assert len(labels) == 3 and all("A flat robot with two legs" in label and "step 0" in label for label in labels)
    assert page.get_by_role("status").inner_text() == "ready"
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    violations = [(violation["id"], violation["help"]) for violation in axe.run(page).response["violations"]]
    assert violations == []


def test_three_robots_run_beside_each_other(visit):
    """One engine for all, and in the end the trained one is far ahead."""
    page = visit("three")
    totals = page.evaluate("document.querySelector('.mage-player').runners.map((runner) => runner.episode(200).total)")
    assert totals[2] > 300 > totals[0] and totals[2] > totals[1] > totals[0]


def test_an_agent_that_is_not_there_is_said(browser, site):
    page = browser.new_page()
    page.goto(f"{site.address}/missing.html")
    page.get_by_text("The robots cannot be shown here").wait_for()
    page.close()
