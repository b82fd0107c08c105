"""The command line: what it refuses, and one tour through its commands."""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mage_edu import cli, make_config

TINY = [
    "--env",
    "Pendulum-v1",
    "--size",
    "tiny",
    "--warmup-steps",
    "60",
    "--eval-interval",
    "100",
    "--eval-episodes",
    "2",
    "--dynamics-batches",
    "5",
]
MISTAKES = {  # what was wrong: (arguments, a part of the message)
    "environment": ("train --env HalfCheetah --out run", "Did you mean 'HalfCheetah-v5'"),
    "discrete actions": ("train --env CartPole-v1 --out run", "expected a bounded Box (continuous actions)"),
    "package that is not there": ("train --env nowhere:Robot-v0 --out run", "the package 'nowhere' cannot be imported"),
    "known where nothing is known": (
        "train --env MountainCarContinuous-v0 --reward known --out run",
        "has no formulas here",
    ),
    "data that are not there": (
        "train --env Pendulum-v1 --data nowhere.npz --out run",
        "there is no such file of recorded transitions",
    ),
    "data of another kind": ("train --env Pendulum-v1 --data file --out run", "ends in .npz or .safetensors"),
    "algorithm": ("train --algorithm mgae --out run", "Did you mean 'mage'"),
    "size": ("train --size labtop --out run", "Did you mean 'laptop'"),
    "steps": ("train --steps -5 --out run", "--steps=-5"),
    "seed": ("train --seed -1 --out run", "seed=-1"),
    "threads": ("train --threads 0 --out run", "--threads=0"),
    "setting": ("train --discount 2 --out run", "discount=2.0"),
    "settings at odds": ("train --batch-size 255 --out run", "batch_size=255"),
    "device": ("train --device gpu --out run", "device='gpu'"),
    "folder inside a file": ("train --env Pendulum-v1 --steps 10 --out file/run", "file/run"),
    "a file in the way": ("train --env Pendulum-v1 --steps 10 --out file", "file"),
    "a folder in the way": ("train --env Pendulum-v1 --steps 10 --out full", "full"),
    "evaluate nothing": ("evaluate nowhere", "nowhere"),
    "evaluate no episodes": ("evaluate full --episodes 0", "--episodes=0"),
    "plot nothing": ("plot nowhere", "nowhere"),
    "plot no run": ("plot full", "full"),
    "plot none": ("plot", "at least one run folder"),
    "video of nothing": ("video nowhere", "nowhere"),
    "sweep environment": ("sweep --envs Hoper-v5 --out sweep", "Did you mean 'Hopper-v5'"),
    "sweep algorithm": ("sweep --algorithms mgae --out sweep", "Did you mean 'mage'"),
    "sweep seed twice": ("sweep --seeds 0 0 --out sweep", "twice"),
    "sweep without overrides": ("sweep --out sweep --overrides", "give at least one variant, such as default"),
    "sweep without seeds": ("sweep --out sweep --seeds", "give at least one number, such as 0"),
    "sweep override": ("sweep --overrides discount --out sweep", "name=value"),
    "sweep override name": ("sweep --overrides discont=0.9 --out sweep", "Did you mean 'discount'"),
    "sweep steps": ("sweep --steps 0 --out sweep", "steps=0"),
    "sweep workers": ("sweep --workers 0 --out sweep", "workers=0"),
    "sweep folder": ("sweep --out file/sweep", "file/sweep"),
    "bench size": ("bench --sizes labtop", "Did you mean 'laptop'"),
    "bench without precisions": ("bench --sizes tiny --precisions", "precisions: the list is empty"),
    "bench without sizes": ("bench --sizes", "sizes: the list is empty"),
    "bench repeats": ("bench --sizes tiny --repeats 0", "repeats=0"),
}


def files(folder):
    """Everything below a folder, files with their content."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A working directory with a file and a folder that is not empty; torch's threads are put back afterwards."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").write_text("mine")
    (tmp_path / "file").write_text("mine too")
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_costs_one_line_and_nothing_on_disk(mistake, desk, capsys):
    line, part = MISTAKES[mistake]
    before = files(desk)
    assert cli.main(line.split()) == 2
    out, err = capsys.readouterr()
    assert part in err and err.startswith("mage-edu: ") and err.count("\n") == 1 and "Traceback" not in err
    assert out == ""
    assert files(desk) == before


@pytest.mark.parametrize(
    "line, part",
    [
        ("train --steps ten", "--steps: ten: expected a whole number"),
        ("train --steps 1.5", "--steps: 1.5: expected a whole number"),
        ("train --steps inf", "--steps: inf: expected a whole number"),
        ("trian", "train"),
        ("train --discont 0.9", "--discont"),
        ("evaluate", "PATH"),
        ("", "train"),
    ],
)
def test_words_that_cannot_be_parsed_end_with_status_2(line, part, desk, capsys):
    before = files(desk)
    with pytest.raises(SystemExit) as ended:
        cli.main(line.split())
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert part in err and "Traceback" not in err
    assert files(desk) == before


def test_debug_shows_the_exception(desk):
    with pytest.raises(ValueError, match="Did you mean"):
        cli.main(["train", "--algorithm", "mgae", "--debug"])


def test_an_unexpected_error_is_called_a_defect_and_debug_shows_it(desk, monkeypatch, capsys):
    monkeypatch.setattr(cli.Envs, "run", lambda self: {}["a key"])
    assert cli.main(["envs"]) == 70
    assert "KeyError: 'a key'. This is a defect of mage-edu" in capsys.readouterr().err
    with pytest.raises(KeyError):
        cli.main(["envs", "--debug"])


def test_a_closed_pipe_is_no_error(desk):
    for words in ('"envs"', '"train", "--help"', '"--help"'):
        command = (
            f"{sys.executable} -c 'import sys; from mage_edu.cli import main; sys.exit(main([{words}]))' | head -0"
        )
        ended = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, cwd=os.path.dirname(__file__)
        )
        assert ended.returncode == 0 and ended.stderr == "", words


def test_ctrl_c_ends_with_status_130(desk, monkeypatch, capsys):
    def interrupted(agent, steps, progress_bar):
        raise KeyboardInterrupt("stopped at step 7. Everything is kept")

    monkeypatch.setattr("mage_edu.agent.MAGEAgent.learn", interrupted)
    assert cli.main(["train", *TINY, "--steps", "100", "--out", "run"]) == 130
    assert "mage-edu: stopped at step 7. Everything is kept" in capsys.readouterr().err


@pytest.mark.parametrize("word, given", [("auto", "auto"), ("yes", True), ("no", False)])
def test_compile_reaches_the_agent(desk, monkeypatch, word, given):
    seen = []
    monkeypatch.setattr("mage_edu.agent.MAGEAgent.learn", lambda agent, steps, progress_bar: seen.append(agent.compile))
    assert cli.main(["train", *TINY, "--steps", "100", "--out", "run", "--compile", word]) == 0
    assert seen == [given]


def test_the_tour(desk, capsys, monkeypatch):
    """Train, train again, evaluate, plot, film: on a tiny Pendulum."""
    command = ["train", *TINY, "--steps", "300", "--video", "--threads", "1", "--discount", "0.95"]
    assert cli.main([*command, "--out", "run"]) == 0
    out = capsys.readouterr().out
    assert (
        "evaluation at step 300: mean return -" in out
        and "curve: run/curve.png" in out
        and "video: run/video.mp4" in out
    )
    assert (desk / "run" / "curve.png").stat().st_size > 0 and (desk / "run" / "video.mp4").stat().st_size > 0
    assert '"discount": 0.95' in (desk / "run" / "config.json").read_text()

    before = files(desk)
    assert cli.main([*command, "--out", "run"]) == 2
    assert files(desk) == before
    capsys.readouterr()

    assert cli.main(["evaluate", "run", "--episodes", "2"]) == 0
    first = capsys.readouterr().out
    assert "2 episodes" in first
    assert cli.main(["evaluate", "run", "--episodes", "2"]) == 0
    assert capsys.readouterr().out == first
    assert cli.main(["plot", "run", "--out", "curves.png"]) == 0
    assert (desk / "curves.png").stat().st_size > 0
    assert cli.main(["plot", "run", "--out", "run/config.json"]) == 2
    assert cli.main(["video", "run", "--out", "film.gif"]) == 2
    assert "film.gif: expected the name of a file that ends in .mp4." in capsys.readouterr().err
    assert cli.main(["video", "run", "--out", "film.mp4"]) == 0
    assert (desk / "film.mp4").stat().st_size > 0

    def no_pictures(agent, path, seed=0):
        raise RuntimeError("rendering does not work here; install libegl1")

    monkeypatch.setattr("mage_edu.agent.MAGEAgent.video", no_pictures)
    capsys.readouterr()
    assert cli.main(["video", "run"]) == 1
    assert "libegl1" in capsys.readouterr().err
    assert cli.main(["train", *TINY, "--steps", "100", "--video", "--out", "blind"]) == 0
    assert "mage-edu video blind" in capsys.readouterr().err and (desk / "blind" / "curve.png").exists()


def test_without_out_the_next_free_folder_is_taken(desk, capsys):
    for number in (1, 2):
        assert cli.main(["train", *TINY, "--algorithm", "td3", "--steps", "0"]) == 0
        assert (desk / "runs" / f"Pendulum-v1-td3-{number}" / "config.json").exists()
    assert "no evaluation yet" in capsys.readouterr().out


def test_runs_that_differ_in_their_seed_share_a_label_and_environments_do_not_mix(desk, capsys):
    for name, env, seed in (("a", "Pendulum-v1", "0"), ("b", "Pendulum-v1", "1"), ("c", "InvertedPendulum-v5", "0")):
        assert (
            cli.main(
                ["train", *TINY, "--env", env, "--algorithm", "td3", "--steps", "100", "--seed", seed, "--out", name]
            )
            == 0
        )
    assert cli.main(["plot", "a", "b"]) == 0
    assert cli.main(["plot", "a", "c", "--out", "mixed.png"]) == 2
    assert "InvertedPendulum-v5, Pendulum-v1" in capsys.readouterr().err
    assert (desk / "curves.png").exists() and not (desk / "mixed.png").exists()


def test_a_sweep_with_a_failure_ends_with_status_1(desk, capsys):
    overrides = "warmup_steps=60,eval_interval=100,eval_episodes=2"
    command = [
        "sweep",
        "--envs",
        "Pendulum-v1",
        "--algorithms",
        "td3",
        "--seeds",
        "0",
        "1",
        "--steps",
        "100",
        "--size",
        "tiny",
        "--out",
        "sweep",
        "--overrides",
        overrides,
    ]
    folder = desk / "sweep" / "Pendulum-v1" / f"td3-{overrides}"
    blocked = folder / "seed-1" / "agent"
    assert cli.main(command) == 0
    out = capsys.readouterr().out
    assert (
        "2 seeds: mean -" in out
        and (desk / "sweep" / "sweep.csv").exists()
        and (desk / "sweep" / "Pendulum-v1.png").exists()
    )
    assert blocked.exists()
    command[command.index("td3")] = "dyna-td3"
    (desk / "sweep" / "Pendulum-v1" / f"dyna-td3-{overrides}").write_text("a file in the way")
    assert cli.main(command) == 1
    assert "failed: Pendulum-v1 dyna-td3" in capsys.readouterr().err


def test_help_is_readable_and_loads_no_torch(tmp_path):
    code = (
        "import sys\nfrom mage_edu.cli import main\ntry:\n    main(sys.argv[1:])\nfinally:\n"
        "    print('heavy:', [name for name in ('torch', 'gymnasium', 'mujoco', 'scipy', 'matplotlib') if name in sys.modules])"
    )
    for arguments, part in (
        (["--help"], "Train one agent"),
        (["train", "--help"], "weight of the TD error"),
        (["sweep", "--help"], "runs at once"),
        (["train", "--help"], "new run folder"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "200"},
        )
        assert done.returncode == 0 and part in done.stdout, done.stdout + done.stderr
        assert "heavy: []" in done.stdout


def test_the_command_line_offers_only_what_it_can_give(desk, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    out = capsys.readouterr().out
    assert "{None,huber,squared}" in out and "given" not in out
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "--critic-loss", "given", "--out", "run"])
    assert ended.value.code == 2 and "invalid choice 'given'" in capsys.readouterr().err


def test_an_environment_nobody_knows_trains_from_recorded_transitions(desk, capsys):
    from mage_edu.engine.recorded import record, write_arrays
    from mage_edu.envs import make_env

    env = "gymnasium:MountainCarContinuous-v0"
    write_arrays(desk / "data.npz", record(make_env(env), 80))
    few = [
        "--size",
        "tiny",
        "--eval-interval",
        "20",
        "--eval-episodes",
        "1",
        "--eval-max-steps",
        "30",
        "--dynamics-batches",
        "3",
    ]
    assert cli.main(["train", "--env", env, "--steps", "20", "--data", "data.npz", *few]) == 0
    assert "are learned from its transitions" in capsys.readouterr().out
    run = desk / "runs" / "gymnasium-MountainCarContinuous-v0-mage-even-1"
    assert (
        cli.main(["resume", str(run), "--steps", "30"]) == 0
        and cli.main(["evaluate", str(run), "--episodes", "1"]) == 0
    )
    assert (
        cli.main(
            [
                "sweep",
                "--envs",
                env,
                "--algorithms",
                "td3",
                "--seeds",
                "0",
                "--steps",
                "210",
                "--size",
                "tiny",
                "--out",
                "sweep",
                "--overrides",
                "eval_episodes=1,eval_interval=210",
            ]
        )
        == 0
    )
    assert (
        desk / "sweep" / "gymnasium-MountainCarContinuous-v0" / "td3-eval_episodes=1,eval_interval=210" / "seed-0"
    ).is_dir()


def test_a_label_names_what_was_changed():
    assert cli.run_label(make_config("td3", "laptop", discount=0.9)) == "td3 laptop discount=0.9"
    own = make_config(**make_config("td3", "laptop", discount=0.9).to_dict() | {"size": "mysize"})
    assert cli.run_label(own) == "td3 mysize discount=0.9"


def test_the_seed_of_an_evaluation_counts(desk, capsys):
    assert cli.main(["train", *TINY, "--algorithm", "td3", "--steps", "0", "--out", "run"]) == 0
    said = []
    for seed in ("0", "1", "1"):
        capsys.readouterr()
        assert cli.main(["evaluate", "run", "--episodes", "2", "--seed", seed]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] != said[1] == said[2]


def test_runs_with_functions_of_ones_own_are_drawn_apart(desk, capsys):
    from mage_edu import MAGEAgent
    from mage_edu.updates import critic_loss

    def mine(config, critic, target):
        return critic_loss(dataclasses.replace(config, critic_loss="huber"), critic, target)

    few = dict(size="tiny", eval_interval=20, eval_episodes=1, algorithm="td3")
    MAGEAgent("Pendulum-v1", critic_loss=mine, out="mine", **few).learn(20)
    MAGEAgent("Pendulum-v1", critic_loss=lambda *a: mine(*a), out="another", **few).learn(20)
    MAGEAgent("Pendulum-v1", critic_loss=lambda *a: mine(*a), out="third", **few).learn(20)
    assert cli.main(["plot", "mine", "another"]) == 0
    assert cli.main(["plot", "another", "third"]) == 2
    assert "another run of seed 0 has the same label" in capsys.readouterr().err
    old = Path(__file__).parent / "data" / "runs-with-start"
    assert cli.main(["plot", *map(str, sorted(old.iterdir())[:1])]) == 0


def test_a_sweep_prints_what_its_first_line_is_ahead_by(desk, capsys):
    words = "sweep --envs Pendulum-v1 --algorithms td3 ddpg --seeds 0 1 --size tiny --steps 20 --overrides eval_interval=20,eval_episodes=1"
    assert cli.main(words.split()) == 0
    out = capsys.readouterr().out
    assert re.search(r"td3 \S+ minus ddpg \S+, step 20, 2 pairs of a seed: [+-]\d+\.\d, 95 % t-interval \[", out)
