"""The live robots of lesson 01: three agents beside each other, where the engine is to be had. Without it the page keeps its recorded frames."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat

from mage_edu.web import add_robot, fetch_engine, write_player

LESSON = "nbs/course/01_robot.ipynb"
SHOWN = ("untrained", "dyna-td3", "mage")  # folders of results/web
BLOCK = """**The same robot, live.** Three actors from one start: nobody has trained the first; `dyna-td3` and `mage` have had 10,000 steps (HalfCheetah-v5,
size `laptop` with 4 updates a step and whole training episodes, seed 0). Push them, or slow them down.

<div class="mage-player" data-autoplay data-agents="{agents}">The robots are computed in this page, by JavaScript. Where they do not appear, the picture above shows
another two.</div>
<link rel="stylesheet" href="../../player/player.css">
<script type="module" src="../../player/player.js"></script>
"""


def engine_or_reason() -> Path | str:
    """The folder of the engine, or a sentence that says why there is none."""
    try:
        return fetch_engine()
    except (OSError, RuntimeError) as error:
        return str(error)


def add_player(notebook: Path) -> None:
    """Put the live robots behind the first cell of a copied lesson, beside its recorded frames."""
    lesson = nbformat.read(notebook, as_version=4)
    text = BLOCK.format(agents=" ".join(f"../../player/{name}" for name in SHOWN))
    lesson.cells.insert(1, nbformat.v4.new_markdown_cell(text, id="live-robots"))
    nbformat.write(lesson, notebook)


def write_robots(folder: Path, agents: Path, engine: Path) -> None:
    """Write the player, its engine and the agents shown into a new folder of the site."""
    folder.mkdir()
    write_player(folder, engine)
    for name in SHOWN:
        shutil.copytree(agents / name, folder / name)
        add_robot(folder / name)
