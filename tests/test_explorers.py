"""The explorers of the lessons as they are stored, their widgets without a browser, and the dashboard's way to stop."""

from __future__ import annotations

import asyncio
import html as markup
import json
import re
from pathlib import Path

import pytest

from mage_edu.explorers import Chart, Dashboard, Explorer, Panel, Slider

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "nbs").rglob("*.ipynb"))


def stored() -> dict[str, str]:
    """The HTML of every explorer that a notebook stores, by its name."""
    found = {}
    for path in NOTEBOOKS:
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", []):
                html = "".join(output.get("data", {}).get("text/html", ""))
                found |= {name: html for name in re.findall(r'<div class="explorer" id="explorer-([\w-]+)"', html)}
    return found


def test_the_lessons_have_their_explorers():
    assert {"wave", "game", "one-step", "episode"} <= stored().keys()


@pytest.mark.parametrize("name", stored())
def test_a_stored_explorer_says_what_it_draws_at_both_ends_of_every_slider(name):
    explorer = Explorer.from_page(stored()[name])
    assert f'<p class="explorer-says">{markup.escape(explorer.seen())}' in stored()[name]
    assert len(explorer.look_for) > 40 and explorer.page() == Explorer.from_page(explorer.page()).page()
    for slider in explorer.sliders:
        low, high = (explorer.still(**{slider.name: float(slider.places()[end])}) for end in (0, -1))
        drawn = [[line.get_xydata().tolist() for axis in figure.axes for line in axis.lines] for figure in (low, high)]
        assert drawn[0] != drawn[1], f"{slider.name} moves nothing"


def test_a_widget_redraws_when_its_slider_moves():
    explorer = Explorer.from_page(stored()["game"])
    box = explorer.widget()
    slider = next(child for child in box.children if type(child).__name__ == "FloatSlider")
    picture, words = box.children[-2:]
    before = picture.value
    slider.value = 0.5
    assert (
        picture.value != before
        and markup.escape(explorer.seen(pay=0.5)) in picture.value
        and markup.escape(explorer.seen(pay=0.5)) in words.value
    )
    assert "application/vnd.jupyter.widget-view+json" in explorer._repr_mimebundle_()


def test_an_explorer_refuses_a_slider_that_is_not_there():
    explorer = Explorer(
        "one", "Nothing.", [Slider("a", 0, 1, 1, 0)], [Panel("t", "x", "y", (0, 1), (0, 1), [])], "{a:g}"
    )
    with pytest.raises(ValueError, match="has no slider 'b'; it has a"):
        explorer.still(b=1.0)


def test_a_dashboard_ends_what_it_watches():
    board, taken = Dashboard([Chart("t", "y", ["return"])], 10_000, every=0.01), []

    def work():
        for step in range(10_000):
            taken.append(step)
            if step == 20:
                board.stop()
            if not board.add(step, **{"return": -step}):
                return step

    assert asyncio.run(board.watch(work)) == 20 and taken[-1] == 20
    assert board.seen() == "Stopped. return: 21 values, the last \N{MINUS SIGN}20 at step 20."
    with pytest.raises(ValueError, match="no chart draws 'loss'"):
        board.add(1, loss=1.0)


def test_a_dashboard_hands_on_what_the_work_raises():
    with pytest.raises(ZeroDivisionError):
        asyncio.run(Dashboard([Chart("t", "y", ["a"])], 10).watch(lambda: 1 / 0))


def test_a_dashboard_is_a_callback_of_an_agent():
    class Agent:
        num_timesteps = 7

    board = Dashboard([Chart("t", "y", ["episode_return"])], 10)
    assert board(Agent(), {"episode_return": 3.0, "other": 1.0}) and board(Agent(), {"kind": "other"})
    board.stop()
    assert not board(Agent(), {}) and board.points == {"episode_return": [(7, 3.0)]}
