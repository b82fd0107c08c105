"""A few of the programs of `python tests/torture/programs.py`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "torture"))

import programs

from mage_edu import MAGEAgent


def test_programs_of_calls_end_where_the_run_that_was_left_alone_does():
    counts = programs.programs(15, seed=3)
    assert counts["programs"] == 15 and counts["kills"] > 3


def test_a_look_that_disturbs_is_seen(monkeypatch):
    """An evaluation that draws from a generator of the run."""
    real = MAGEAgent.evaluate

    def evaluate(agent, *arguments, **more):
        agent.learner.replay.indices(1)
        return real(agent, *arguments, **more)

    monkeypatch.setattr(MAGEAgent, "evaluate", evaluate)
    with programs.quick(), pytest.raises(AssertionError, match="after Call.what='evaluate'.*replay.generator"):
        programs.play_program(("td3", False, [programs.Call("evaluate")]))
