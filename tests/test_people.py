"""Machines, numbers and environments as people have them: what is left over, unusual or far away costs a sentence, never a run."""

import errno
import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from mage_edu import MAGEAgent, cli, make_config
from mage_edu.engine import storage
from mage_edu.engine.environments import as_json, from_json, make_env, plain_value
from mage_edu.engine.health import Divergence
from mage_edu.engine.recorded import ARRAYS, read_recorded, record, write_arrays
from mage_edu.engine.storage import RunFolder, read_json
from mage_edu.engine.sweep import in_processes, make_jobs, merge_rows, read_sweep, run_sweep

QUICK = dict(
    size="tiny",
    warmup_steps=30,
    batch_size=16,
    log_interval=20,
    eval_interval=40,
    eval_episodes=1,
    eval_max_steps=30,
    checkpoint_interval=20,
    actor_width=16,
    critic_width=16,
)
FLAGS = [word for name, value in QUICK.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def quick(env="Pendulum-v1", **more):
    return MAGEAgent(env, algorithm="td3", **(QUICK | more))


def mage_edu(*words, cwd, **environment):
    """The installed command in a process of its own, without the working directory among the places of modules."""
    code = "import sys; from mage_edu.cli import main; sys.exit(main())"
    place = str(Path(storage.__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONPATH": place, **environment},
    )


@pytest.fixture(autouse=True)
def every_sentence_again():
    """What is said once in a process is said again in the next test."""
    storage.say_once.cache_clear()


# environments of one's own

ROBOT = """
import gymnasium as gym
import numpy as np


class Robot(gym.Env):
    observation_space = gym.spaces.Box(-10.0, 10.0, (2,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.x.copy(), {}

    def step(self, action):
        self.x = np.clip(self.x + 0.1 * np.array([self.x[1], float(action[0])], np.float32), -10, 10).astype(np.float32)
        return self.x.copy(), -float(self.x[0] ** 2), False, False, {}


gym.register("Robot-v0", Robot, max_episode_steps=30)
"""


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A working directory with a module that registers an environment; what is registered and imported goes again."""
    (tmp_path / "my_robot.py").write_text(ROBOT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", str(tmp_path))])
    yield tmp_path
    gym.registry.pop("Robot-v0", None)
    sys.modules.pop("my_robot", None)


def forget():
    """As a new process: the environment is not registered, its module not imported."""
    gym.registry.pop("Robot-v0", None)
    sys.modules.pop("my_robot", None)


def test_a_module_in_the_working_directory_and_a_run_that_remembers_it(desk, capsys):
    assert (
        cli.main(["train", "--env", "my_robot:Robot-v0", "--algorithm", "td3", "--steps", "40", "--out", "one", *FLAGS])
        == 0
    )
    quick(gym.make("Robot-v0"), out="two").learn(40)
    assert read_json("two/config.json")["env_module"] == read_json("two/agent/agent.json")["env_module"] == "my_robot"
    for run in ("one", "two"):
        forget()
        assert cli.main(["evaluate", run, "--episodes", "1"]) == 0
        forget()
        assert cli.main(["resume", run, "--steps", "60"]) == 0
    forget()
    (desk / "my_robot.py").unlink()
    assert cli.main(["evaluate", "two"]) == 2
    assert "'my_robot', which cannot be imported here" in (said := capsys.readouterr().err) and "PYTHONPATH" in said


def test_the_workers_of_a_sweep_import_it_too(desk):
    make_env("my_robot:Robot-v0", learned=True)
    jobs = make_jobs(
        "sweep",
        ["Robot-v0"],
        ["td3"],
        [0, 1],
        40,
        "tiny",
        ["warmup_steps=30,eval_interval=40,eval_episodes=1,batch_size=16"],
    )
    assert {job.module for job in jobs} == {"my_robot"}
    assert {row["status"] for row in run_sweep(jobs, workers=2, report=lambda line: None)} == {"finished"}


# after the last step


@pytest.mark.parametrize(
    "error", [RuntimeError("no EGL"), OSError("no encoder"), TypeError("no render_mode"), AttributeError("no display")]
)
def test_a_film_that_fails_leaves_a_successful_training(desk, monkeypatch, capsys, error):
    def fails(*arguments, **named):
        raise error

    monkeypatch.setattr("mage_edu.agent.MAGEAgent.video", fails)
    assert (
        cli.main(
            [
                "train",
                "--env",
                "Pendulum-v1",
                "--algorithm",
                "td3",
                "--steps",
                "40",
                "--video",
                "--out",
                "a run",
                *FLAGS,
            ]
        )
        == 0
    )
    said = capsys.readouterr().err
    assert str(error) in said and "The trained agent is kept in a run" in said and "mage-edu video 'a run'" in said
    assert (desk / "a run" / "agent" / "agent.json").exists()


def test_a_curve_that_cannot_be_drawn_stops_no_training(tmp_path, monkeypatch):
    def fails(*arguments):
        raise ImportError("no backend")

    monkeypatch.setattr("mage_edu.agent.plot_curves", fails)
    with pytest.warns(UserWarning, match="the curve cannot be drawn .ImportError: no backend"):
        assert quick(out=tmp_path / "run").learn(80).num_timesteps == 80
    assert len((tmp_path / "run" / "evaluations.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize("value", ["cgl", "osmesa"])
def test_a_left_over_way_to_draw_does_not_stop_what_draws_nothing(tmp_path, value):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, gymnasium as gym; from mage_edu.engine.environments import make_env, mujoco\n"
            "make_env('InvertedPendulum-v5').reset(seed=0); print(mujoco.mj_step.__name__, os.environ['MUJOCO_GL'])",
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "MUJOCO_GL": value, "PYOPENGL_PLATFORM": ""},
    )
    assert done.stdout.strip() == f"mj_step {value}", done.stderr


def test_tensorboard_goes_on_without_gaps_or_doubled_steps(tmp_path):
    class Cut(BaseException):
        pass

    def cut(agent, row):
        if agent.num_timesteps >= 90:
            raise Cut

    with pytest.raises(Cut):  # between two checkpoints: what was logged after the newest does not count any more
        quick(out=tmp_path / "run", tensorboard=True, log_interval=10, checkpoint_interval=40).learn(120, callback=cut)
    MAGEAgent.load(tmp_path / "run").learn(40, reset_num_timesteps=False)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    log.Reload()
    assert [event.step for event in log.Scalars("metrics/episodes")] == list(range(10, 121, 10))
    assert [event.step for event in log.Scalars("evaluations/return")] == [40, 80, 120]


def sleeps_or_dies(number):
    """A call of a worker; the second one is killed."""
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return number


def test_a_killed_process_costs_the_call_that_it_was_making():
    from concurrent.futures.process import BrokenProcessPool

    results = list(in_processes(2, [(sleeps_or_dies, (number,), {}) for number in range(4)]))
    assert [0, 2, 3] == [results[0], *results[2:]] and isinstance(results[1], BrokenProcessPool)


def test_two_sweeps_that_end_in_one_folder_at_once_lose_no_row(tmp_path):
    def row(seed):
        return {
            "env": "E",
            "algorithm": "td3",
            "label": "default",
            "seed": seed,
            "step": 1,
            "return": 0.0,
            "status": "finished",
            "error": "",
        }

    threads = [
        threading.Thread(target=merge_rows, args=(tmp_path / "sweep.csv", tuple(row(0)), [row(seed)]))
        for seed in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one["seed"] for one in read_sweep(tmp_path)) == list(range(8))


# numbers


def test_numbers_of_numpy_are_python_s():
    config = make_config(
        "td3",
        "tiny",
        seed=np.int64(3),
        batch_size=np.uint8(64),
        discount=np.float32(0.5),
        twin=np.True_,
        critic_lr=np.array(1e-3),
    )
    assert [
        type(value) for value in (config.seed, config.batch_size, config.discount, config.twin, config.critic_lr)
    ] == [int, int, float, bool, float]
    assert quick().learn(np.float64(1e1)).num_timesteps == 10
    with pytest.raises(ValueError, match="expected a whole number"):
        quick().learn(1.5)


def test_arguments_of_numpy_and_infinities_come_back_from_a_file(tmp_path):
    env = gym.make("Hopper-v5", healthy_z_range=np.array([0.7, np.inf]), ctrl_cost_weight=np.float32(0.5))
    quick(env).save(tmp_path / "agent")
    assert MAGEAgent.load(tmp_path / "agent").env.unwrapped.spec.kwargs == {
        "healthy_z_range": [0.7, np.inf],
        "ctrl_cost_weight": 0.5,
    }
    value = plain_value({"a": (1, np.inf), "b": np.arange(2)})
    assert from_json(as_json(value)) == value == {"a": [1, np.inf], "b": [0, 1]}


@pytest.mark.parametrize("number", [3, "three", "3", [np.inf], {"number": -np.inf}, None])
def test_an_argument_named_number_comes_back_as_it_was(number):
    value = {"weights": {"number": number}, "bounds": [-np.inf, np.inf]}
    back = from_json(json.loads(json.dumps(as_json(value), allow_nan=False)))
    assert back == value and type(back["weights"]["number"]) is type(number)
    assert np.isnan(from_json({"number": "nan"}))  # as earlier versions wrote it too


def test_steps_as_1e1_on_the_command_line_and_the_home_folder_behind_an_equals_sign(desk, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(desk / "home"))
    assert (
        cli.main(["train", "--env", "Pendulum-v1", "--algorithm", "td3", "--steps", "1e1", "--out=~/run", *FLAGS]) == 0
    )
    assert "10 steps" in capsys.readouterr().out and (desk / "home" / "run" / "config.json").exists()
    agent = quick(out="~/other")
    quick(out="~/longer").learn(40)
    assert cli.main(["plot", "~/longer", "--out=~/curves.png"]) == 0 and (desk / "home" / "curves.png").exists()
    agent.save("~/agent")
    assert MAGEAgent.load("~/agent").num_timesteps == 0 and not (desk / "~").exists()
    with pytest.raises(SystemExit):
        cli.main(["train", "--steps", "1.5"])


class Native(gym.Env):
    """Takes its seed as a C int, and pays a reward of any size."""

    observation_space, action_space = (
        gym.spaces.Box(-1.0, 1.0, (2,), np.float32),
        gym.spaces.Box(-1.0, 1.0, (1,), np.float32),
    )

    def __init__(self, scale=1.0):
        self.scale = scale

    def reset(self, seed=None, options=None):
        if seed is not None and seed >= 2**31:
            raise TypeError("incompatible function arguments")
        super().reset(seed=seed)
        self.t = 0
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), {}

    def step(self, action):
        self.t += 1
        return (
            self.np_random.uniform(-1, 1, 2).astype(np.float32),
            self.scale * float(action[0]),
            False,
            self.t >= 4,
            {},
        )


def test_a_simulator_that_takes_31_bits_of_a_seed():
    assert quick(Native()).learn(60).learner.episodes > 10


def test_a_divergence_names_the_scale_of_the_rewards():
    with pytest.raises(Divergence, match="Rewards here are as large as .*scale the rewards"):
        quick(Native(1e9)).learn(200)
    for scale in (1e-6, 1e5):
        quick(Native(scale)).learn(60)


def test_bounds_that_mean_none_are_refused():
    env = Native()
    env.action_space = gym.spaces.Box(-np.finfo(np.float32).max, np.finfo(np.float32).max, (1,), np.float32)
    with pytest.raises(ValueError, match="bounds of at most 1e.09"):
        quick(env)


@pytest.mark.parametrize("name", ["HalfCheetah-v2", "Hopper-v3"])
def test_versions_that_are_gone_are_led_to_the_one_that_works(name):
    with pytest.raises(ValueError, match=f"use '{name[:-1]}5'"):
        quick(name)


def test_float64_as_the_default_type_of_torch(tmp_path):
    seen, obs = [], np.zeros(3, np.float32)
    torch.set_default_dtype(torch.float64)
    try:
        agent = quick().learn(40, callback=lambda agent, row: seen.append(torch.ones(1).dtype))
        agent.save(tmp_path / "agent")
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert set(seen) == {torch.float64} and next(agent.learner.actor.parameters()).dtype == torch.float32
    assert np.array_equal(MAGEAgent.load(tmp_path / "agent").predict(obs)[0], agent.predict(obs)[0])
    assert np.array_equal(agent.learner.replay.data.obs, quick().learn(40).learner.replay.data.obs)


# machines


def test_a_file_is_synced_by_a_handle_that_may_write(tmp_path, monkeypatch):
    """Windows' rule, imitated."""
    fsync = os.fsync

    def as_on_windows(handle):
        if (
            not stat.S_ISDIR(os.fstat(handle).st_mode)
            and fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        ):
            raise OSError(errno.EBADF, "Bad file descriptor")
        return fsync(handle)

    monkeypatch.setattr(os, "fsync", as_on_windows)
    quick(out=tmp_path / "run").learn(40)
    assert MAGEAgent.load(tmp_path / "run").learn(20, reset_num_timesteps=False).num_timesteps == 60


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_without_sync_and_locks_is_told_once(tmp_path, monkeypatch, number):
    def unable(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", unable)
    monkeypatch.setattr(fcntl, "flock", unable)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quick(out=tmp_path / "run").learn(60)
    said = [str(one.message) for one in caught if "file system" in str(one.message)]
    assert (
        len(said) == 3
        and sum("has no locks" in one for one in said) == 1
        and sum("after a power cut" in one for one in said) == 2
    )


def test_a_broken_disk_is_still_an_error(tmp_path, monkeypatch):
    def broken(handle):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output error"):
        RunFolder(tmp_path / "run").create({})


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_that_cannot_show_a_letter(tmp_path, encoding):
    done = mage_edu(
        "train",
        "--env",
        "Pendulum-v1",
        "--algorithm",
        "td3",
        "--steps",
        40,
        "--out",
        "実験 é",
        *FLAGS,
        cwd=tmp_path,
        PYTHONIOENCODING=encoding,
        PYTHONUTF8="0",
    )
    assert done.returncode == 0 and (tmp_path / "実験 é" / "agent" / "agent.json").exists(), done.stderr
    assert "\\u5b9f" in done.stdout


@pytest.mark.skipif(
    shutil.which("git") is None or not (Path(__file__).parents[1] / ".git").exists(), reason="not a git checkout"
)
def test_a_clone_with_the_line_ends_of_windows_is_the_same(tmp_path):
    """Git for Windows sets core.autocrlf; .gitattributes has to hold against it."""
    clone = tmp_path / "clone"
    source = str(Path(__file__).parents[1])
    asked = ["git", "-c", "safe.directory=*", "clone", "-q", "-c", "core.autocrlf=true", source, str(clone)]
    subprocess.run(asked, check=True, capture_output=True)
    texts = [path for kind in ("py", "ipynb", "md", "ini", "toml", "csv", "js") for path in clone.rglob(f"*.{kind}")]
    texts += [clone / "Makefile", clone / ".ci" / "run"]
    assert len(texts) > 150 and [path for path in texts if b"\r\n" in path.read_bytes()] == []
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=clone, check=True, capture_output=True, text=True)
    assert changed.stdout == ""


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_a_renamed_folder_is_told(tmp_path):
    old, new = tmp_path / "my course", tmp_path / "my other course"
    old.mkdir()
    shutil.copy(Path(__file__).parents[1] / "Makefile", old)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", ".venv"], cwd=old, check=True)
    (
        (old / "setup.py").touch(),
        (old / "settings.ini").touch(),
        (old / "constraints.txt").touch(),
        (old / "pyproject.toml").touch(),
    )
    (old / ".venv" / ".installed").touch()
    assert subprocess.run(["make", "-n", "lint"], cwd=old, capture_output=True, text=True).returncode == 0
    old.rename(new)
    told = subprocess.run(["make", "-n", "lint"], cwd=new, capture_output=True, text=True)
    assert told.returncode != 0 and "moved or renamed" in told.stderr and "rm -r .venv" in told.stderr
    assert subprocess.run(["make"], cwd=new, capture_output=True).returncode == 0


# recorded rows


def joined(arrays):
    """The same rows, where every end leads to the first observation of the next episode."""
    return arrays | {"next_obs": np.concatenate([arrays["obs"][1:], arrays["next_obs"][-1:]])}


def test_recorded_rows_that_lead_from_one_episode_into_the_next(tmp_path):
    pendulum, pole = make_env("Pendulum-v1"), make_env("InvertedPendulum-v5")
    swings, falls = record(pendulum, 450), record(pole, 100)
    for name, arrays in (
        ("swings", swings),
        ("falls", falls),
        ("swings-joined", joined(swings)),
        ("falls-joined", joined(falls)),
    ):
        write_arrays(tmp_path / f"{name}.npz", arrays)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (
            set(read_recorded(tmp_path / "swings.npz", pendulum))
            == set(read_recorded(tmp_path / "falls.npz", pole))
            == set(ARRAYS)
        )
    with pytest.warns(
        UserWarning, match="an episode of this environment has at most 200 steps. Where one ends, at row 199 perhaps"
    ):
        read_recorded(tmp_path / "swings-joined.npz", pendulum)
    with pytest.raises(ValueError, match="rows terminate and the next row begins where they end"):
        read_recorded(tmp_path / "falls-joined.npz", pole)
