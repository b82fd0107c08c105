"""Some of the cases of `python tests/torture/hostile.py`."""

from __future__ import annotations

import signal
import sys
import threading
import warnings
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "torture"))

import hostile

from mage_edu.engine.environments import TimeUp, at_most

SOME = [name for i, name in enumerate(hostile.CASES) if i % 3 == 0] + [
    "an observation beyond float32",
    "a ragged observation",
    "a reward beyond float32",
    "a complex reward",
    "an error without words",
    "an error of a million letters",
    "a step that hangs",
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


def test_a_limit_outside_the_main_thread_is_told_and_is_none():
    told = []

    def wait():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with at_most(0.01):
                threading.Event().wait(0.05)
        told.extend(str(one.message) for one in caught)

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join()
    assert len(told) == 1 and "needs the main thread" in told[0]


def test_a_limit_puts_back_the_alarm_of_before():
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(TimeUp), at_most(0.02):
        threading.Event().wait(5.0)
    assert signal.getsignal(signal.SIGALRM) is before and signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
