"""Storage under conditions that a notebook cell should not create: killed processes, missing permissions, links."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mage_edu.config import make_config
from mage_edu.engine import storage
from mage_edu.engine.storage import (
    SCHEMA,
    CsvTable,
    RunFolder,
    evaluation_curve,
    find_agent,
    folder_in_one_move,
    load_agent,
    read_json,
    read_sealed,
    read_table,
    save_agent,
    write_atomic,
    write_json,
    write_sealed,
    write_table,
    write_video,
)
from mage_edu.replay import Normalizer

# Runs each `work` in child processes, the k-th of which is killed just after its k-th step on the disk; prints the numbers of steps.
KILLED_AT_EVERY_STEP = """
import builtins, os, shutil, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import test_storage

def count_down(function, left):
    def wrapped(*args, **kwargs):
        result = function(*args, **kwargs)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)  # no finally, no cleanup
        left[0] -= 1
        return result
    return wrapped

def killed(work, folder, steps):
    "Whether a child process that does the work got so far that it was killed after `steps` + 1 steps."
    child = os.fork()
    if child == 0:
        left = [steps]
        for module, name in ((builtins, "open"), (os, "fsync"), (os, "replace"), (shutil, "rmtree"), (os, "unlink")):
            setattr(module, name, count_down(getattr(module, name), left))
        work(folder, "new")
        os._exit(0)
    return os.waitpid(child, 0)[1] != 0

for work, check in ((test_storage.write_version, test_storage.check_file), (test_storage.save_version, test_storage.check_agent)):
    steps, going = 0, True
    while going:
        folder = Path({root!r}) / work.__name__ / str(steps)
        folder.mkdir(parents=True)
        work(folder, "old")
        going = killed(work, folder, steps)
        check(folder, finished=not going)
        steps += going
    print(steps)
"""


def write_version(folder: Path, version: str) -> None:
    write_atomic(folder / "file", version.encode() * 1000)


def check_file(folder: Path, finished: bool) -> None:
    content = (folder / "file").read_bytes()
    assert content == b"new" * 1000 or (not finished and content == b"old" * 1000)


def save_version(folder: Path, version: str) -> None:
    steps = {"old": 1, "new": 2}[version]
    normalizer = Normalizer(3, 1)
    normalizer.add(np.full(3, steps), np.full(1, steps), np.zeros(3))
    save_agent(
        folder / "agent",
        {"id": "Pendulum-v1", "arguments": {}},
        make_config("mage", "tiny"),
        steps,
        {"weight": torch.full((4,), float(steps))},
        normalizer,
    )


def check_agent(folder: Path, finished: bool) -> None:
    "Under its name, or where `load_agent` says, is one whole agent; and saving works again."
    try:
        content, weights = load_agent(folder / "agent")
    except FileNotFoundError as error:
        assert not finished and ".agent.replaced; rename" in str(error)
        content, weights = load_agent(folder / ".agent.replaced")
    steps = content["num_timesteps"]
    assert steps == 2 or (not finished and steps == 1)
    assert (weights["weight"] == steps).all() and (content["normalizer"].obs.mean == steps).all()
    save_version(folder, "new")
    assert load_agent(folder / "agent")[0]["num_timesteps"] == 2
    assert os.listdir(folder) == ["agent"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_killed_at_any_step_the_old_or_the_new_is_there(tmp_path):
    script = KILLED_AT_EVERY_STEP.format(tests=str(Path(__file__).parent), root=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    file_steps, agent_steps = map(int, done.stdout.split())
    assert file_steps >= 3 and agent_steps >= 9


def test_agent_survives_failing_renames(tmp_path, monkeypatch):
    save_version(tmp_path, "old")
    working = os.replace
    for number in range(4):  # two renames inside the files, two of the folders
        calls = []

        def replace(source, target):
            calls.append(target)
            if len(calls) == number + 1:
                raise OSError(5, "Input/output error")
            working(source, target)

        monkeypatch.setattr(os, "replace", replace)
        with pytest.raises(OSError, match="agent cannot be written"):
            save_version(tmp_path, "new")
        monkeypatch.undo()
        assert load_agent(tmp_path / "agent")[0]["num_timesteps"] == 1
        assert os.listdir(tmp_path) == ["agent"]


def test_a_block_that_fails_leaves_the_folder_as_it_was_and_nothing_beside_it(tmp_path):
    save_version(tmp_path, "old")
    with pytest.raises(KeyError), folder_in_one_move(tmp_path / "agent", "agent") as beside:
        (beside / "half").write_text("half")
        raise KeyError("something else")
    assert os.listdir(tmp_path) == ["agent"] and load_agent(tmp_path)[0]["num_timesteps"] == 1


def test_linked_agent_is_replaced_behind_the_link(tmp_path):
    (tmp_path / "disk").mkdir()
    save_version(tmp_path / "disk", "old")
    (tmp_path / "agent").symlink_to(tmp_path / "disk" / "agent")
    save_version(tmp_path, "new")
    assert (tmp_path / "agent").is_symlink()
    assert load_agent(tmp_path / "disk" / "agent")[0]["num_timesteps"] == 2


def test_the_folder_that_the_process_stands_in_is_not_replaced(tmp_path, monkeypatch):
    save_version(tmp_path, "old")
    (tmp_path / "empty" / "agent").mkdir(parents=True)
    (tmp_path / "agent" / "below").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "agent")
    save = lambda path: save_agent(
        path, {"id": "Pendulum-v1", "arguments": {}}, make_config(), 2, {"weight": torch.zeros(4)}, Normalizer(3, 1)
    )
    for stands, path in (("empty/agent", "."), ("agent", "."), ("agent/below", ".."), ("agent", tmp_path / "link")):
        monkeypatch.chdir(tmp_path / stands)
        with pytest.raises(FileExistsError, match="stands in cannot be replaced; name one inside it"):
            save(path)
        assert Path.cwd() == tmp_path / stands and load_agent(tmp_path)[0]["num_timesteps"] == 1
    monkeypatch.chdir(tmp_path / "empty" / "agent")
    save("inside")
    assert load_agent("inside")[0]["num_timesteps"] == 2
    (gone := tmp_path / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()  # standing nowhere is no reason not to save elsewhere
    save(tmp_path / "agent")
    assert load_agent(tmp_path)[0]["num_timesteps"] == 2


def test_neighbours_of_an_agent_are_left_alone(tmp_path):
    for name in ("agent.old", "agent.tmp", "agent-1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine").write_text("keep")
    save_version(tmp_path, "old")
    save_version(tmp_path, "new")
    assert sorted(os.listdir(tmp_path)) == ["agent", "agent-1", "agent.old", "agent.tmp"]
    assert all((tmp_path / name / "mine").exists() for name in ("agent.old", "agent.tmp", "agent-1"))


def test_agent_in_a_run_folder(tmp_path):
    run = RunFolder(tmp_path / "run").create({})
    save_version(run.path, "new")
    assert find_agent(run.path) == run.agent and load_agent(run.path)[0]["num_timesteps"] == 2


@pytest.fixture
def ordinary_user():
    "The superuser may write everywhere, so step down for one test."
    if not hasattr(os, "geteuid"):
        pytest.skip("needs POSIX users")
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


def test_unwritable_parent(tmp_path, ordinary_user):
    locked = Path("/")  # belongs to the superuser
    with pytest.raises(PermissionError, match="run folder cannot be written.*choose another path"):
        RunFolder(locked / "mage_edu_test" / "run").create({})
    with pytest.raises(PermissionError, match="agent cannot be written"):
        save_version(locked / "mage_edu_test", "new")
    with pytest.raises(PermissionError, match="video cannot be written"):
        write_video(locked / "mage_edu_test.mp4", [np.zeros((16, 16, 3), np.uint8)], 10)
    assert not (locked / "mage_edu_test").exists() and not list(locked.glob("mage_edu_test*"))


def test_run_folder_refusals_write_nothing(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.rglob("*"))
    for out in ("file", "full", "dangling"):
        with pytest.raises(FileExistsError, match=f"{out}: .*choose another"):
            RunFolder(tmp_path / out).create({})
    with pytest.raises(NotADirectoryError, match="Not a directory.*choose another"):
        RunFolder(tmp_path / "file" / "a" / "b").create({})
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        RunFolder(tmp_path / "a" / "b").create({"bad": float("nan")})
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / "file").read_text() == "mine"


def test_run_folder_may_be_empty(tmp_path):
    RunFolder(tmp_path).create({"env": "Pendulum-v1"})
    assert read_sealed(tmp_path / "config.json").items() >= {"schema": SCHEMA, "env": "Pendulum-v1"}.items()


def test_table_cut_anywhere_is_refused(tmp_path):
    path = tmp_path / "evaluations.csv"
    table = CsvTable(path, ("step", "episode", "return"))
    table.append([{"step": 1000, "episode": i, "return": 3120.5 + i} for i in range(3)])
    whole = path.read_bytes()
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        if whole[:length].endswith(b"\n"):
            assert len(read_table(path)) == whole[:length].count(b"\n") - 1
        else:
            with pytest.raises(ValueError, match="evaluations.csv"):
                read_table(path)


def test_a_table_in_one_move(tmp_path):
    path = tmp_path / "t.csv"
    write_table(path, dict(step=1, loss=0.5), iter([{"step": 1, "loss": 0.5}, {"step": 2}]))
    assert path.read_bytes() == b"step,loss\n1,0.5\n2,\n"
    with pytest.raises(ValueError, match="los"):
        write_table(path, ("step", "loss"), [{"step": 3}, {"los": 1}])
    assert path.read_bytes() == b"step,loss\n1,0.5\n2,\n" and os.listdir(tmp_path) == ["t.csv"]


def test_table_cells_with_commas_quotes_and_line_ends(tmp_path):
    table = CsvTable(tmp_path / "t.csv", ("name", "x"))
    names = ["a,b", 'say "hi"', "two\nlines"]
    table.append([{"name": name, "x": 1 / 3} for name in names])
    table.append([{"name": "last", "x": np.float64(0.1)}])
    rows = read_table(table.path)
    assert [row["name"] for row in rows] == [*names, "last"]
    assert [row["x"] for row in rows] == [1 / 3] * 3 + [0.1]


def test_a_table_is_read_at_most_once(tmp_path, monkeypatch):
    reads, read_rows = [], storage.read_rows
    monkeypatch.setattr(storage, "read_rows", lambda path: reads.append(path) or read_rows(path))
    table = CsvTable(tmp_path / "t.csv", ("step", "loss"))
    for step in range(3):
        table.append([{"step": step, "loss": 0.5}])
    assert reads == []  # its header is the one that was written
    earlier = tmp_path / "earlier.csv"
    earlier.write_text("loss,step\n")  # an earlier version's order
    again = CsvTable(earlier, ("step", "loss", "new"))
    for step in range(3):
        again.append([{"step": step, "loss": 0.5}])
    assert reads == [earlier] and earlier.read_text() == "loss,step\n0.5,0\n0.5,1\n0.5,2\n"
    with pytest.raises(ValueError, match="no room for new"):
        again.append([{"new": 1}])
    earlier.unlink()
    again.append([{"step": 3, "new": 1}])
    assert earlier.read_text() == "step,loss,new\n3,,1\n"


def test_a_table_is_read_again_after_a_row_that_was_not_written_whole(tmp_path, monkeypatch):
    table = CsvTable(tmp_path / "t.csv", ("step", "loss"))
    table.append([{"step": 1, "loss": 0.5}])

    def half(columns, rows, header):
        with table.path.open("a") as file:
            file.write("2,0.")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "rows_as_text", half)
    with pytest.raises(OSError, match="No space"):
        table.append([{"step": 2, "loss": 0.25}])
    monkeypatch.undo()
    with pytest.raises(ValueError, match="last line is incomplete"):
        table.append([{"step": 2, "loss": 0.25}])


def test_every_cut_of_an_agent_is_refused(tmp_path):
    save_version(tmp_path, "new")
    for name in ("agent.json", "weights.safetensors"):
        file = tmp_path / "agent" / name
        whole = file.read_bytes()
        for length in range(0, len(whole) - 1, 7):
            file.write_bytes(whole[:length])
            with pytest.raises(ValueError, match=name):
                load_agent(tmp_path / "agent")
        file.write_bytes(whole)
    load_agent(tmp_path / "agent")


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 1},
        {"schema": None},
        {"env": 3},
        {"num_timesteps": -1},
        {"num_timesteps": True},
        {"config": None},
        {"normalizer": {}},
    ],
)
def test_wrong_descriptions_are_refused(tmp_path, change):
    save_version(tmp_path, "new")
    path = tmp_path / "agent" / "agent.json"
    write_sealed(path, read_json(path) | change)
    with pytest.raises(ValueError, match="agent.json: "):
        load_agent(tmp_path / "agent")


def test_a_setting_too_many_or_too_few_is_refused(tmp_path):
    save_version(tmp_path, "new")
    path = tmp_path / "agent" / "agent.json"
    content = read_json(path)
    write_sealed(path, content | {"config": content["config"] | {"discuont": 0.9}})
    with pytest.raises(ValueError, match="agent.json: unknown setting 'discuont'"):
        load_agent(tmp_path / "agent")
    write_sealed(path, content | {"config": {k: v for k, v in content["config"].items() if k != "discount"}})
    with pytest.raises(ValueError, match="agent.json: the setting discount is missing"):
        load_agent(tmp_path / "agent")


def test_lists_instead_of_objects_are_refused(tmp_path):
    save_version(tmp_path, "new")
    write_json(tmp_path / "agent" / "agent.json", [1, 2])
    with pytest.raises(ValueError, match="schema None"):
        load_agent(tmp_path / "agent")


def test_evaluation_curve_sorts_and_refuses_gaps(tmp_path):
    run = RunFolder(tmp_path / "run").create({})
    with pytest.raises(FileNotFoundError, match="evaluations.csv is missing"):
        evaluation_curve(run.path)
    run.evaluations.append(
        [{"step": step, "episode": i, "return": step + i} for step in (2000, 1000) for i in range(2)]
    )
    steps, returns = evaluation_curve(run.path)
    assert steps.tolist() == [1000, 2000] and returns.tolist() == [[1000, 1001], [2000, 2001]]
    run.evaluations.append([{"step": 3000, "episode": 0, "return": 1.0}])
    with pytest.raises(ValueError, match="different numbers of episodes"):
        evaluation_curve(run.path)
