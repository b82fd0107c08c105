"""A few seconds of `make torture`: what a disk may show after a power loss, its errors, and runs that are loaded anew before every step."""

from __future__ import annotations

import errno
import os
import random
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "torture"))
import covered
import disk
import errors
import everywhere
import planted
import power
import record
import runs

from mage_edu import MAGEAgent
from mage_edu.engine import storage
from mage_edu.engine.checkpoint import Checkpoints, Rows, State, cut_tables, newest_checkpoint, put_rows
from mage_edu.engine.storage import RunFolder
from mage_edu.replay import ReplayBuffer


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    return power.story_of("Pendulum-v1", tmp_path_factory.mktemp("story"))


def test_the_model_shows_what_the_disk_shows(tmp_path):
    ops: list[disk.Op] = []
    with runs.quick(), disk.watched(tmp_path, done=ops.append):
        runs.begin(tmp_path / "run", "Pendulum-v1")
    model = disk.Disk()
    for op in ops:
        model.do(op)
    assert model.show({}) == disk.look(tmp_path)


def test_the_model_knows_what_a_power_loss_undoes():
    """A file of two sectors, whose name is not safe; then everything is."""
    model = disk.Disk({"a": b"old"})
    model.do(disk.Op("open", "b", 0))
    model.do(disk.Op("write", "b", 0, data=b"x" * 700))
    shown = [files.get("b") for files, _ in model.states(1)]
    assert shown == [b"x" * 700, None, b"", b"x" * 512, bytes(700)]
    model.do(disk.Op("rename", "b", target="a"))
    shown = [(files.get("a"), files.get("b")) for files, _ in model.states(1)]
    assert (b"old", b"x" * 700) in shown and (b"x" * 700, b"x" * 700) in shown and (b"", None) in shown
    model.do(disk.Op("sync", "a", 0))
    model.do(disk.Op("read", ".", 1))
    model.do(disk.Op("sync", ".", 1))
    assert [files for files, _ in model.states(3)] == [{"a": b"x" * 700}]


def test_power_loss(story):
    """The states just after a promise and after config.json takes its place, and some of the others."""
    first, others = [], []
    after = {done for done, _ in story.promises}
    after |= {n for n, op in enumerate(story.ops, start=1) if op.kind == "rename" and op.target.endswith("config.json")}
    for state in power.states_of(story, most=1):
        (first if state.done in after else others).append(state)
    chosen = [*first, *random.Random(0).sample(others, 40)]
    found = [(state.otherwise, *power.verdict(state, story.end)) for state in chosen]
    assert [one for one in found if one[1] in power.FAULTS] == []
    assert [one for one in found if one[1].startswith("older")] == []  # as the order of the writes has it


def test_what_was_promised_is_on_the_disk(story):
    """After a checkpoint nothing that it needs can be undone."""
    whole = disk.Disk()
    for number, op in enumerate(story.ops, start=1):
        whole.do(op)
        if (number, story.promised(number)) in story.promises:
            unsafe = [effect for effect, safe in zip(whole.effects, whole.safe) if not safe]
            needed = [effect.path for effect in unsafe if not any(word in effect.path for word in NOT_NEEDED)]
            assert needed == [], number


NOT_NEEDED = (".lock", ".replaced", "unlink", "rmdir")  # what may come back, or be missing, without harm


@pytest.mark.parametrize("name", ["mage-half, Pendulum-v1", "mage-half, learned reward and termination"])
def test_loaded_anew_before_every_step(name):
    count, wrong = everywhere.different(name, steps=36)
    assert count == 35 and wrong == []


def test_an_agent_that_is_loaded_acts_as_the_one_that_was_saved(tmp_path):
    """Its statistics too, to the last bit."""
    with runs.quick():
        agent = MAGEAgent("Pendulum-v1", **runs.SETTINGS).learn(runs.STEPS)
        agent.save(tmp_path / "agent")
        loaded = MAGEAgent.load(tmp_path / "agent")
    for name in ("obs", "action", "delta"):
        ours, theirs = (getattr(one.learner.normalizer, name) for one in (agent, loaded))
        assert ours.count == theirs.count
        assert ours.mean.tobytes() == theirs.mean.tobytes() and ours.sum_sq.tobytes() == theirs.sum_sq.tobytes()


def test_a_sealed_file_that_was_edited_is_refused(tmp_path):
    run = RunFolder(tmp_path / "run").create({"env": "Pendulum-v1", "total_timesteps": 100})
    text = run.config.read_text(encoding="utf-8")
    run.config.write_text(text.replace("100", "900"), encoding="utf-8")
    with pytest.raises(ValueError, match="does not fit its own digest"):
        run.description()


def test_a_planted_bug_has_to_apply(tmp_path):
    (tmp_path / "agent.py").write_text("a = 1\n")
    planted.applied(planted.Bug("a number", "agent.py", "a = 1", "a = 2"), tmp_path)
    assert (tmp_path / "agent.py").read_text() == "a = 2\n"
    with pytest.raises(ValueError, match="0 times"):
        planted.applied(planted.Bug("a number", "agent.py", "a = 1", "a = 2"), tmp_path)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("FAILED tests/test_a.py::test_b - AssertionError: no - yes", "test_a.py::test_b"),
        ("FAILED tests/test_a.py::test_b[a/b c]", "test_a.py::test_b[a/b c]"),
        ("ERROR tests/test_a.py - ImportError", "test_a.py"),
        ("3 passed", ""),
    ],
)
def test_the_test_that_caught_a_bug_is_named(line, name):
    assert planted.failing(f"..F\n{line}\n1 failed") == name


def test_branches_are_counted_by_module():
    summary = {"covered_branches": 3, "num_branches": 4}
    files = {"mage_edu/engine/storage.py": {"summary": summary}, "mage_edu/agent.py": {"summary": summary}}
    found = covered.counts_of({"files": files})
    assert found == {"engine/storage.py": (3, 4), "agent.py": (3, 4)}
    assert sum(found.values(), covered.Count(0, 0)) == (6, 8)
    assert {f"{name}.py" for name in covered.KEEPING} <= {
        path.name for path in Path(storage.__file__).parent.parent.rglob("*.py")
    }


def test_every_planted_bug_applies(tmp_path):
    package = record.ROOT / "mage_edu"
    assert len(planted.BUGS) >= 20 and len({bug.why for bug in planted.BUGS}) == len(planted.BUGS)
    assert [
        bug.why for bug in planted.BUGS if (package / bug.file).read_text(encoding="utf-8").count(bug.old) != 1
    ] == []


def test_the_table_of_counts(tmp_path):
    record.record("power", "a | b", 3, 1.2, "x", tmp_path)
    record.record("power", "c", 4, 1.2, "x", tmp_path)
    record.record("power", "a | b", 5000, 1.2, "x", tmp_path)
    assert [(row["what"], row["count"]) for row in record.read("power", tmp_path)] == [("a | b", "5000"), ("c", "4")]
    assert "| a \\| b | 5,000 | 1 | `x` |" in record.page(tmp_path)
    with pytest.raises(ValueError, match="part 'powr'"):
        record.record("powr", "a", 1, 1.0, "x", tmp_path)


def test_errors(tmp_path):
    bench = errors.bench_of("Pendulum-v1")
    faults = random.Random(0).sample(list(errors.faults_of(bench)), 25)
    wrong = [(fault, *errors.verdict(bench, fault, tmp_path)) for fault in faults]
    assert [one for one in wrong if one[1] not in errors.GOOD] == []


def wrapped_buffer(added: int) -> ReplayBuffer:
    """A ring of five rows after so many transitions, each of its own number."""
    replay = ReplayBuffer(5, 1, 1, seed=0)
    for number in range(added):
        replay.add([float(number)], [0.0], float(number), [float(number)], False)
    return replay


def written_checkpoints(folder: Path, *steps: int) -> ReplayBuffer:
    """A checkpoint at each step of a buffer that has gone round; the buffer at the last one."""
    checkpoints = Checkpoints(folder, [])
    for step in steps:
        replay = wrapped_buffer(step)
        rows = Rows(replay.added, replay.columns)
        checkpoints.save(State(step, {"weight": torch.full((3,), float(step))}, {}, rows))
    return replay


def test_the_rows_of_a_ring_come_back_to_their_places(tmp_path):
    """At step 11 the first chunk of rows is gone, so that what is read does not begin at row 0."""
    replay, again = written_checkpoints(tmp_path, 4, 8, 11), wrapped_buffer(0)
    put_rows(again, newest_checkpoint(tmp_path, [])[1].state.rows)
    assert again.added == 11 and torch.equal(again.data.reward, replay.data.reward)


def test_a_temporary_file_that_was_left_is_not_trusted(tmp_path):
    """A kill between writing the manifest and renaming it: the checkpoint before is the newest."""
    written_checkpoints(tmp_path, 4, 8)
    (tmp_path / "000000008.json").rename(tmp_path / "000000008.json.tmp")
    assert newest_checkpoint(tmp_path, [])[1].state.step == 4


def test_one_byte_of_the_tensors_is_noticed(tmp_path):
    written_checkpoints(tmp_path, 4, 8)
    state = tmp_path / "state-000000008.safetensors"
    state.write_bytes(state.read_bytes()[:-1] + b"\x07")
    _, found, reasons = newest_checkpoint(tmp_path, [])
    assert found.state.step == 4 and len(reasons) == 1 and "state-000000008" in reasons[0]


@pytest.mark.parametrize("code, told", [(errno.ENOSPC, False), (errno.EIO, False), (errno.EINVAL, True)])
def test_only_what_a_file_system_cannot_do_is_passed_over(tmp_path, monkeypatch, code, told):
    def fails(handle):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fails)
    storage.say_once.cache_clear()
    if told:
        with pytest.warns(UserWarning, match="cannot be told"):
            storage.write_atomic(tmp_path / "file", b"content")
    else:
        with pytest.raises(OSError):
            storage.write_atomic(tmp_path / "file", b"content")
    assert (tmp_path / "file").exists() == told and not (tmp_path / "file.tmp").exists()


@pytest.mark.parametrize("size", [0, 3])
def test_a_table_that_cannot_be_cut_is_named(tmp_path, monkeypatch, size):
    """Found by an error at the sync of a table while a run was resumed."""

    def fails(*arguments, **more):
        raise OSError(errno.EIO, "Input/output error")

    table = tmp_path / "metrics.csv"
    table.write_text("step\n1\n")
    monkeypatch.setattr(os, "fsync", fails)
    monkeypatch.setattr(Path, "unlink", fails)
    with pytest.raises(OSError, match="metrics.csv: the table cannot be written"):
        cut_tables([table], {"tables": {"metrics.csv": (size, "")}})
