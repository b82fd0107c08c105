"""The tool that shows that a refactoring changes nothing: it sees what changes, and what does not it calls equal."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

spec = importlib.util.spec_from_file_location(
    "mage_edu_trace", Path(__file__).with_name("trace.py")
)  # the standard library has a `trace` too
tool = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


def made(case, **tensors):
    """A trace with one case."""
    tensors = {
        "weights/actor/parameter.0": torch.linspace(1.0, 2.0, 5),
        "moments/actor/0.exp_avg": torch.ones(3),
        "generators/updates": torch.arange(4, dtype=torch.uint8),
    } | {name.replace("__", "/"): tensor for name, tensor in tensors.items()}
    return tool.Trace({case: tool.row_of(tensors)}, {f"{case}/{name}": tensor for name, tensor in tensors.items()})


def moved(by):
    """Another first moment."""
    return {"moments__actor__0.exp_avg": torch.ones(3, dtype=torch.float64).add(by).float()}


@pytest.mark.parametrize(
    "case, change, verdict",
    [
        ("td3: eager float32", {}, "equal"),
        ("td3: compiled float32", {}, "equal"),
        ("td3: eager float32", moved(2e-7), "differs"),
        ("td3: compiled float32", moved(2e-7), "near"),
        ("td3: compiled float32", moved(2e-6), "differs"),
        ("td3: compiled float32", moved(torch.nan), "differs"),
        ("td3: compiled float32", {"generators__updates": torch.arange(1, 5, dtype=torch.uint8)}, "differs"),
        ("td3: compiled float32", {"weights__critic__parameter.0": torch.ones(2)}, "differs"),
        ("td3: compiled float32", {"moments__actor__0.exp_avg": torch.ones(3, dtype=torch.float64)}, "differs"),
    ],
)
def test_a_case_is_compared_by_bytes_or_by_distance(case, change, verdict, capsys):
    (found,) = tool.compare(made(case), made(case, **change))
    assert found.verdict == verdict
    assert tool.report([found]) == (verdict in ("equal", "near")) and f"1 {verdict}" in capsys.readouterr().out
    if change:
        (key,) = change
        assert key.split("__")[0] in found.detail


def test_cases_of_one_trace_only_are_told_and_errors_are_not_well():
    old, new, error = (
        made("a: eager"),
        made("b: eager"),
        tool.Trace({"a: eager": {"digest": "ValueError: no"} | dict.fromkeys(tool.GROUPS, "")}, {}),
    )
    both = tool.Trace(old.rows | new.rows, old.tensors | new.tensors)
    assert [v[:2] for v in tool.compare(old, both)] == [("a: eager", "equal"), ("b: eager", "new")] and tool.report(
        tool.compare(old, both)
    )
    assert [v[:2] for v in tool.compare(both, new)] == [("b: eager", "equal"), ("a: eager", "gone")] and tool.report(
        tool.compare(both, new)
    )
    assert tool.compare(old, error) == [("a: eager", "fails", "new: ValueError: no")] and not tool.report(
        tool.compare(old, error)
    )
    assert not tool.report(tool.compare(old, new))  # nothing in common shows nothing


def test_every_algorithm_is_traced_in_four_ways():
    found = tool.cases()
    assert len(found) >= 80
    assert {(case.algorithm, case.way) for case in found.values()} >= {
        (name, way) for name in tool.algorithms() for way in tool.WAYS
    }
    assert all(f"mage {other}: eager float32" in found for other in tool.OTHERS)


def test_a_case_is_traced_twice_the_same_and_another_setting_is_seen(tmp_path, monkeypatch):
    pattern = "mage learned reward: eager float32"
    first, again = tool.trace(pattern), tool.trace(pattern)
    tool.write(first, tmp_path / "trace.csv")
    assert [verdict.verdict for verdict in tool.compare(tool.read(tmp_path / "trace.csv"), again)] == ["equal"]
    parts = {"/".join(name.split("/")[1:3]) for name in first.tensors}
    networks = ("actor", "critic", "target_actor", "target_critic", "dynamics", "learned_reward", "learned_termination")
    assert {f"weights/{name}" for name in networks} | {
        f"moments/{name}" for name in networks if "target" not in name
    } < parts
    assert {
        f"generators/{name}" for name in ("updates", "exploration", "replay", "learned_reward", "learned_termination")
    } < parts
    monkeypatch.setitem(tool.SMALL, "target_noise", 0.2001)
    (found,) = tool.compare(first, tool.trace(pattern))
    assert (
        found.verdict == "differs"
        and found.detail.startswith("weights, moments;")
        and first.rows[pattern]["generators"]
    )


def test_what_the_adapter_does_not_find_is_named(monkeypatch):
    monkeypatch.setitem(tool.NETWORKS, "critic", ("no_such_place",))
    trace = tool.trace("td3: eager float32")
    assert (
        "no_such_place" in trace.rows["td3: eager float32"]["digest"]
        and "adapter of tests/trace.py" in trace.rows["td3: eager float32"]["digest"]
    )
    with pytest.raises(LookupError, match="no module has no_such_function"):
        tool.find("no_such_function")
