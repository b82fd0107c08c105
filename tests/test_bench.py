"""The bench returns rows with plausible content; how fast anything is, is never asserted."""
import pytest

from mage_edu.bench import alternate, bench


def test_rows_exist_and_are_positive():
    said = []
    rows = bench(["tiny"], repeats=2, env_id="Pendulum-v1", report=said.append)
    assert [(row.size, row.part, row.version) for row in rows] == [
        ("tiny", "update", "fast"), ("tiny", "update", "plain"), ("tiny", "dynamics batch", "fast")]
    assert all(len(row.milliseconds) == 2 and min(row.milliseconds) > 0.0 for row in rows)
    assert "tiny" in said[-1] and "plain / fast" in said[-1]


def test_candidates_alternate():
    calls = []
    seconds = alternate({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=2, warm_up=1,
                        clock=lambda: float(len(calls)))
    assert "".join(calls) == "ababab"
    assert seconds == {"a": [1.0, 1.0], "b": [1.0, 1.0]}


def test_a_wrong_size_is_refused_before_measuring():
    with pytest.raises(ValueError, match="Did you mean 'laptop'"):
        bench(["labtop"])
