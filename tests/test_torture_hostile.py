"""Some of the cases of `python tests/torture/hostile.py`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "torture"))

import hostile

SOME = [name for i, name in enumerate(hostile.CASES) if i % 3 == 0] + [
    "an observation beyond float32",
    "a ragged observation",
    "a reward beyond float32",
    "a complex reward",
    "an error without words",
    "an error of a million letters",
    "an error in reset",
    "an error in close",
    "nan in an evaluation",
]


def test_the_list_is_long_enough():
    assert len({*hostile.CASES, *hostile.BESIDES}) >= 30


@pytest.mark.parametrize("name", sorted(set(SOME)))
def test_the_run_is_kept_and_the_value_is_named(name):
    said = hostile.hostile([name])[name]
    assert not said.startswith("FAULT"), said


def test_a_case_that_is_not_as_it_should_be_is_seen(monkeypatch):
    case = hostile.CASES["nan reward"]
    cases = {
        "not told": hostile.Case(lambda env, *healthy: healthy, case.error, ()),
        "other words": hostile.Case(case.answer, case.error, ("reward inf",)),
        "nothing expected": hostile.Case(case.answer, None),
    }
    monkeypatch.setattr(hostile, "CASES", cases)
    assert all(said.startswith("FAULT") for said in hostile.hostile(list(cases)).values())


def test_a_reset_that_fails_once_costs_no_step(tmp_path):
    agent = hostile.new_agent(tmp_path / "run")
    env = agent.env.unwrapped
    hostile.ARMED[id(env)] = hostile.fails_in_reset(OSError("no port"), times=1)
    with hostile.quick(), pytest.warns(UserWarning, match="OSError: no port.*The next step tries once more"):
        agent.learn(hostile.STEPS)
    assert agent.learner.replay.added == hostile.STEPS and hostile.state_of(tmp_path / "run") == hostile.undisturbed(hostile.STEPS)  # fmt: skip
