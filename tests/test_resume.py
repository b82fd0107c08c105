"""A run that was killed, interrupted or damaged ends as if nothing had happened; files are checked before they are believed."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from mage_edu import MAGEAgent, cli
from mage_edu.engine.checkpoint import newest_checkpoint
from mage_edu.engine.health import Divergence
from mage_edu.engine.learner import named_weights
from mage_edu.engine.storage import RunFolder, load_agent, read_sealed, write_sealed

FORK = multiprocessing.get_context("fork")  # children begin with torch imported
SETTINGS = dict(
    size="tiny",
    seed=3,
    warmup_steps=40,
    dynamics_interval=20,
    dynamics_batches=3,
    log_interval=30,
    eval_interval=60,
    eval_episodes=1,
    checkpoint_interval=50,
    actor_width=16,
    critic_width=16,
    dynamics_width=16,
)
STEPS = 230
RESULTS = ("metrics.csv", "evaluations.csv", "agent/agent.json", "agent/weights.safetensors")


def play(folder: Path, env: str, steps: int = STEPS) -> None:
    """Begin a run, or continue the one that is in the folder, and take it to its end."""
    torch.set_num_threads(1)
    if (folder / "config.json").exists():
        agent = MAGEAgent.load(folder)
        agent.learn(steps - agent.num_timesteps, reset_num_timesteps=False)
    else:
        shutil.rmtree(folder, ignore_errors=True)  # killed while config.json was being written
        MAGEAgent(env, out=folder, **SETTINGS).learn(steps)


def results(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RESULTS}


def checkpoint_content(folder: Path) -> dict[str, bytes]:
    """The last checkpoint's tensors and rows (not the manifest: it knows the wall-clock's table)."""
    manifest, checkpoint, _ = newest_checkpoint(folder / "checkpoint", [])
    assert checkpoint.state.step == STEPS
    return {name: sha256 for name, sha256 in manifest["files"].items() if name.startswith("state")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Folders of runs that nobody disturbed, by environment, made when first asked for."""
    made: dict[str, Path] = {}

    def folder(env: str) -> Path:
        if env not in made:
            made[env] = tmp_path_factory.mktemp("undisturbed") / env
            play(made[env], env)
        return made[env]

    return folder


def killed(folder: Path, env: str, after: float) -> bool:
    """Play in a child that is killed after some seconds; whether it came to its end before that."""
    child = FORK.Process(target=play, args=(folder, env))
    child.start()
    child.join(after)
    if child.exitcode is None:
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        return False
    assert child.exitcode == 0
    return True


def kill_and_compare(undisturbed, tmp_path: Path, env: str, kills: int, seed: int) -> int:
    """Kill runs at random moments, resume each until it ends, compare every byte; the number of kills that hit."""
    generator, hits, run = random.Random(seed), 0, 0
    begin = time.perf_counter()
    play(tmp_path / "timed", env)
    duration = time.perf_counter() - begin
    expected = undisturbed(env)
    while hits < kills:
        folder, run = tmp_path / f"run-{run}", run + 1
        for _ in range(generator.choice((1, 1, 2, 3))):  # sometimes the resumed run is killed as well
            hits += not killed(folder, env, generator.uniform(0.0, duration))
        play(folder, env)
        assert results(folder) == results(expected)
        assert checkpoint_content(folder) == checkpoint_content(expected)
    return hits


def test_a_run_killed_at_random_moments_ends_the_same(undisturbed, tmp_path):
    assert kill_and_compare(undisturbed, tmp_path, "Pendulum-v1", kills=3, seed=0) >= 3


def test_a_run_with_the_other_choices_ends_the_same_when_it_is_cut(tmp_path):
    """Adam's moments, the delayed target critic and episodes whose end moves, cut between two critic updates of one actor update."""
    choices = dict(
        activation="relu",
        optimizer="adam",
        critic_loss="squared",
        actor_climbs="first",
        standardize_obs=False,
        delay_target_critic=True,
        train_max_steps=40,
        train_growth=0.5,
    )
    for name, parts in (("whole", (STEPS,)), ("cut", (101, STEPS - 101))):
        folder = tmp_path / name
        MAGEAgent("Pendulum-v1", out=folder, **SETTINGS, **choices).learn(parts[0])
        for steps in parts[1:]:
            agent = MAGEAgent.load(folder)
            assert agent.num_timesteps == 101 and agent.learner.updates % 2 == 0
            agent.learn(steps, reset_num_timesteps=False)
    assert results(tmp_path / "cut") == results(tmp_path / "whole")
    assert checkpoint_content(tmp_path / "cut") == checkpoint_content(tmp_path / "whole")


VARIANTS = [
    ("ivg", {}),
    ("mage", dict(dynamics="deterministic", dynamics_sampling="moments", members=4, dynamics_clip=1.0)),
    ("maac", dict(dynamics_validation=0.25, members=16, batch_size=16)),
    ("mage-k", dict(model="simulator", batch_size=4, replay_capacity=80)),  # the simulator's states are in the rows
]


@pytest.mark.parametrize("algorithm, settings", VARIANTS)
def test_a_variant_in_two_parts_is_the_run_in_one(tmp_path, algorithm, settings):
    """What draws more random numbers, or holds more state, than `mage` does, goes on from a checkpoint in the middle as well."""
    begin = lambda name: MAGEAgent("InvertedPendulum-v5", algorithm, out=tmp_path / name, **(SETTINGS | settings))
    begin("whole").learn(150)
    begin("parts").learn(100)
    loaded = MAGEAgent.load(tmp_path / "parts")
    assert (
        getattr(loaded.learner.world.dynamics, "clip", None)
        == loaded.config.dynamics_clip
        == settings.get("dynamics_clip")
    )
    loaded.learn(50, reset_num_timesteps=False)
    assert results(tmp_path / "parts") == results(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["mage-half", "td3"])
def test_a_compiled_run_in_two_parts_is_the_run_in_one(tmp_path, algorithm):
    """The second part compiles again, and tries that out on networks and moments that are not fresh; of all this nothing may stay."""
    torch.set_num_threads(1)
    begin = lambda folder: MAGEAgent("Pendulum-v1", algorithm, out=folder, compile=True, **SETTINGS)
    begin(tmp_path / "one").learn(150)
    begin(tmp_path / "two").learn(100)
    agent = MAGEAgent.load(tmp_path / "two")
    agent.learn(50, reset_num_timesteps=False)
    assert agent.learner.graphs is not None and agent.learner.updates > 100
    assert results(tmp_path / "one") == results(tmp_path / "two")


@pytest.mark.slow
@pytest.mark.parametrize("env, seed", [("Pendulum-v1", 1), ("InvertedPendulum-v5", 2), ("HalfCheetah-v5", 3)])
def test_many_random_kills(undisturbed, tmp_path, env, seed):
    assert kill_and_compare(undisturbed, tmp_path, env, kills=20, seed=seed) >= 20


class Tripwire:
    """Counts file operations and ends the process, or raises what a full disk raises, at one of them."""

    def __init__(self, at: int, kind: str):
        self.at, self.kind, self.count = at, kind, 0

    def wrap(self, function):
        def call(*args, **kwargs):
            self.count += 1
            if self.count == self.at + 1:
                if self.kind == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise OSError(28, "No space left on device")
            return function(*args, **kwargs)

        return call

    def install(self) -> None:
        import builtins

        os.fsync, os.replace, os.truncate = self.wrap(os.fsync), self.wrap(os.replace), self.wrap(os.truncate)
        Path.unlink, Path.mkdir = self.wrap(Path.unlink), self.wrap(Path.mkdir)
        opened, wire = builtins.open, self

        class Watched:
            """A file opened for writing; where the wire is touched by a write, half of the data is written before it."""

            def __init__(self, *args, **kwargs):
                self.file = wire.wrap(opened)(*args, **kwargs)

            def write(self, data):
                if wire.count == wire.at:
                    self.file.write(data[: len(data) // 2])
                    self.file.flush()
                return wire.wrap(self.file.write)(data)

            def __enter__(self):
                return self

            def __exit__(self, *error):
                self.file.close()

            def __getattr__(self, name):
                return getattr(self.file, name)

        def watched(file, mode="r", *args, **kwargs):
            writes = any(letter in mode for letter in "wa+")
            return Watched(file, mode, *args, **kwargs) if writes else opened(file, mode, *args, **kwargs)

        builtins.open = watched


def play_with_tripwire(folder: Path, env: str, at: int, kind: str, counted) -> None:
    wire = Tripwire(at, kind)
    torch.set_num_threads(1)
    agent = MAGEAgent.load(folder)
    wire.install()
    try:
        agent.learn(STEPS - agent.num_timesteps, reset_num_timesteps=False)
    except OSError as error:
        os._exit(7 if "No space left" in str(error) else 8)
    counted.value = wire.count
    os._exit(0)


def operations(folder: Path, env: str, at: int, kind: str) -> tuple[int, int]:
    """Exit status and number of file operations of a run with a tripwire."""
    counted = FORK.Value("i", 0)
    child = FORK.Process(target=play_with_tripwire, args=(folder, env, at, kind, counted))
    child.start()
    child.join()
    return child.exitcode, counted.value


@pytest.mark.slow
@pytest.mark.parametrize("env", ["Pendulum-v1", "InvertedPendulum-v5"])
@pytest.mark.parametrize("kind", ["kill", "full disk"])
def test_a_fault_at_every_file_operation(undisturbed, tmp_path, env, kind):
    """From one checkpoint over the next to the end of the run, with a fault at each operation in turn."""
    expected, start = undisturbed(env), tmp_path / "start"
    agent = MAGEAgent(env, out=start, **SETTINGS)
    agent.learn(160)
    agent.env.close()
    shutil.copytree(start, tmp_path / "whole")
    status, count = operations(tmp_path / "whole", env, 10**9, kind)
    assert status == 0 and count > 40
    for at in range(count):
        folder = tmp_path / f"fault-{at}"
        shutil.copytree(start, folder)
        status, _ = operations(folder, env, at, kind)
        assert status == (-signal.SIGKILL if kind == "kill" else 7), at
        play(folder, env)
        assert results(folder) == results(expected), at
        shutil.rmtree(folder)


@pytest.fixture
def stopped(tmp_path):
    """The folder of a run that took 160 of its 230 steps."""
    MAGEAgent("Pendulum-v1", out=tmp_path / "run", **SETTINGS).learn(160)
    return tmp_path / "run"


def flip(path: Path, at: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    "damaged",
    [
        "checkpoint/state-000000160.safetensors",
        "checkpoint/000000160.json",
        "checkpoint/replay-000000150-000000160.safetensors",
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(undisturbed, stopped, damaged):
    flip(stopped / damaged, 40)
    with pytest.warns(UserWarning, match=rf"{Path(damaged).name}.*The checkpoint of step 150 is used instead"):
        play(stopped, "Pendulum-v1")
    assert results(stopped) == results(undisturbed("Pendulum-v1"))


def test_where_no_checkpoint_is_whole_nothing_is_touched(stopped):
    flip(stopped / "metrics.csv", 3)
    before = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="no checkpoint is whole.*metrics.csv"):
        play(stopped, "Pendulum-v1")
    assert {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()} == before


def test_other_settings_another_environment_and_other_versions(stopped, undisturbed):
    agent = MAGEAgent.load(stopped)
    agent.config = agent.config.__class__(**(agent.config.to_dict() | {"discount": 0.5}))
    with pytest.raises(ValueError, match="belongs to another environment or to other settings"):
        agent.learn(10, reset_num_timesteps=False)
    description = read_sealed(stopped / "config.json")
    RunFolder(stopped).describe(description | {"versions": description["versions"] | {"mujoco": "0.0"}})
    with pytest.warns(UserWarning, match="other conditions.*not bit for bit"):
        play(stopped, "Pendulum-v1")
    assert results(stopped) == results(undisturbed("Pendulum-v1"))


def test_a_folder_in_which_another_process_trains_is_refused(stopped):
    with RunFolder(stopped).locked():
        with pytest.raises(BlockingIOError, match="another process trains in this folder"):
            play(stopped, "Pendulum-v1")
        assert cli.main(["resume", str(stopped), "--steps", "200"]) == 2
    play(stopped, "Pendulum-v1")


def test_a_run_is_not_continued_from_within_its_agent_which_could_not_be_replaced(tmp_path, monkeypatch):
    play(tmp_path / "run", "Pendulum-v1", steps=45)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    monkeypatch.chdir(tmp_path / "run" / "agent")
    agent = MAGEAgent.load(tmp_path / "run")
    monkeypatch.setattr("mage_edu.agent.compile_learner", lambda learner: pytest.fail("compiled"))
    with pytest.raises(FileExistsError, match="stands in cannot be replaced; name one inside it"):
        agent.learn(20, reset_num_timesteps=False)
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    monkeypatch.chdir(tmp_path / "run")
    assert agent.learn(5, reset_num_timesteps=False).num_timesteps == 50


def test_resume_from_the_command_line(stopped, undisturbed, capsys):
    assert cli.main(["resume", str(stopped)]) == 0
    assert "has its 160 steps already" in capsys.readouterr().out
    assert cli.main(["resume", str(stopped), "--steps", str(STEPS)]) == 0
    assert results(stopped) == results(undisturbed("Pendulum-v1"))
    shutil.rmtree(stopped / "checkpoint")
    assert cli.main(["resume", str(stopped), "--steps", "300"]) == 2
    assert "there is no checkpoint to go on from" in capsys.readouterr().err


INTERRUPTED = """
import signal, sys, threading
from mage_edu import MAGEAgent
import test_resume
def press(agent, metrics):
    if "return" in metrics and agent.num_timesteps == 120:
        for _ in range({times}):
            signal.raise_signal(signal.SIGINT)
agent = MAGEAgent("Pendulum-v1", out={folder!r}, **test_resume.SETTINGS)
try:
    agent.learn(230, callback=press)
except KeyboardInterrupt as error:
    print("ended at", agent.num_timesteps, str(error))
"""


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_once_and_twice(undisturbed, tmp_path, times):
    script = INTERRUPTED.format(times=times, folder=str(tmp_path / "run"))
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    assert "ended at 120" in ran.stdout and ("mage-edu resume" in ran.stdout) == (times == 1)
    steps = newest_checkpoint(tmp_path / "run" / "checkpoint", [])[1].state.step
    assert steps == (120 if times == 1 else 100)  # the second press saves nothing more
    play(tmp_path / "run", "Pendulum-v1")
    assert results(tmp_path / "run") == results(undisturbed("Pendulum-v1"))


def test_a_finished_run_can_be_extended_in_another_process(undisturbed, tmp_path):
    play(tmp_path / "run", "Pendulum-v1", steps=97)  # ends in the middle of an episode, an interval and a row
    play(tmp_path / "run", "Pendulum-v1")
    assert results(tmp_path / "run") == results(undisturbed("Pendulum-v1"))


def test_no_file_can_run_code(stopped, tmp_path):
    """A pickle in the place of every file that is read, and names that lead out of the folder."""
    trap = tmp_path / "sprung"

    class Surprise:
        def __reduce__(self):
            return Path.touch, (trap,)

    bomb = pickle.dumps(Surprise())
    files = [path for path in stopped.rglob("*") if path.is_file() and path.suffix in (".json", ".csv", ".safetensors")]
    assert len(files) > 8
    for file in files:
        whole = file.read_bytes()
        file.write_bytes(bomb)
        for use in (
            lambda: MAGEAgent.load(stopped),
            lambda: RunFolder(stopped).description(),
            lambda: newest_checkpoint(stopped / "checkpoint", [RunFolder(stopped).metrics.path]),
        ):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    use()
            except (ValueError, OSError):
                pass
        file.write_bytes(whole)
    assert not trap.exists()


def test_names_that_lead_out_of_the_folder_are_refused(stopped, tmp_path):
    secret = tmp_path / "secret.safetensors"
    secret.write_bytes((stopped / "agent" / "weights.safetensors").read_bytes())
    manifest = read_sealed(stopped / "checkpoint" / "000000160.json")
    state = "state-000000160.safetensors"
    for name in ("../../secret.safetensors", str(secret), "replay-000000000-000000150.safetensors/../../secret"):
        files = {name if key == state else key: value for key, value in manifest["files"].items()}
        write_sealed(stopped / "checkpoint" / "000000160.json", manifest | {"files": files})
        found, reasons = newest_checkpoint(stopped / "checkpoint", [])[1:]
        assert found.state.step == 150 and "its list of files is not one of ours" in reasons[0]
    for change in (
        {"chunks": 3},
        {"chunks": [["a", "b"]]},
        {"step": "160"},
        {"files": []},
        {"tables": None},
        {"facts": 1},
        {"added": "x"},
    ):
        write_sealed(stopped / "checkpoint" / "000000160.json", manifest | change)
        assert newest_checkpoint(stopped / "checkpoint", [])[1].state.step == 150


def test_the_stop_button_of_a_notebook(tmp_path):
    """An interrupt of the kernel, as JupyterLab's button sends it."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3", cwd=str(Path(__file__).parent))
    try:
        code = f"""
            import torch, test_resume
            from mage_edu import MAGEAgent
            agent = MAGEAgent("Pendulum-v1", out={str(tmp_path / "run")!r}, compile=False, **test_resume.SETTINGS)
            agent.learn(10**6, callback=lambda agent, row: print("step", agent.num_timesteps, flush=True))"""
        client.execute("\n".join(line.strip() for line in code.splitlines()))
        told, reply = False, None
        while reply is None:
            message = client.get_iopub_msg(timeout=60)
            if message["msg_type"] == "stream" and "step" in message["content"]["text"] and not told:
                manager.interrupt_kernel()
                told = True
            if message["msg_type"] == "error":
                reply = message["content"]
        assert reply["ename"] == "KeyboardInterrupt" and "mage-edu resume" in reply["evalue"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    agent = MAGEAgent.load(tmp_path / "run")
    assert newest_checkpoint(tmp_path / "run" / "checkpoint", [])[1].state.step == agent.num_timesteps > 0


def mutations(data: bytes, count: int, generator: random.Random):
    """Truncations and flips of single bits, in turn."""
    for i in range(count):
        if i % 2:
            yield data[: generator.randrange(len(data))]
        else:
            at = generator.randrange(len(data))
            yield data[:at] + bytes([data[at] ^ (1 << generator.randrange(8))]) + data[at + 1 :]


def test_fuzz_every_loader(stopped):
    """2,400 damaged files: each is refused with a sentence, or what is loaded is what was saved."""
    generator, tables = random.Random(0), [stopped / name for name in ("metrics.csv", "evaluations.csv", "timings.csv")]
    content, weights = load_agent(stopped)
    agent_of = lambda: load_agent(stopped)
    described = RunFolder(stopped).description()
    newest = newest_checkpoint(stopped / "checkpoint", tables)[1]

    def same_agent(loaded):
        return loaded[0]["config"] == content["config"] and all(
            torch.equal(loaded[1][name], weights[name]) for name in weights
        )

    def same_checkpoint(found):
        """The newest, or an older one together with a reason."""
        state = found[1].state
        if state.step == newest.state.step:
            return (
                all(torch.equal(state.tensors[name], tensor) for name, tensor in newest.state.tensors.items())
                and state.facts == newest.state.facts
            )
        return state.step == 150 and len(found[2]) == 1

    read_all = lambda: newest_checkpoint(stopped / "checkpoint", tables)
    targets = [
        ("agent/agent.json", agent_of, same_agent),
        ("agent/weights.safetensors", agent_of, same_agent),
        ("config.json", RunFolder(stopped).description, lambda found: found == described),
        *(
            (f"checkpoint/{name}", read_all, same_checkpoint)
            for name in ("000000160.json", "state-000000160.safetensors", "replay-000000150-000000160.safetensors")
        ),
        ("metrics.csv", read_all, same_checkpoint),
        ("evaluations.csv", read_all, same_checkpoint),
    ]
    refused = 0
    for name, use, correct in targets:
        whole = (stopped / name).read_bytes()
        for data in mutations(whole, 300, generator):
            (stopped / name).write_bytes(data)
            try:
                assert correct(use()), (name, data)
            except (ValueError, FileNotFoundError) as error:
                assert str(stopped) in str(error)
                refused += 1
        (stopped / name).write_bytes(whole)
    assert refused > 1000


def explode(agent, metrics):
    """A callback that spoils the critic in the middle of a run."""
    if agent.num_timesteps == 90:
        with torch.no_grad():
            agent.learner.critic.weights[0].fill_(float("nan"))


def test_divergence_stops_the_run_and_leaves_the_healthy_agent(tmp_path):
    agent = MAGEAgent("Pendulum-v1", out=tmp_path / "run", **SETTINGS)
    with pytest.raises(
        Divergence, match="diverged at step 91: .* is nan.*critic_lr.*The newest checkpoint is of step 50"
    ):
        agent.learn(STEPS, callback=explode)
    assert all(tensor.isfinite().all() for tensor in load_agent(tmp_path / "run")[1].values())
    assert newest_checkpoint(tmp_path / "run" / "checkpoint", [])[1].state.step == 50
    play(tmp_path / "run", "Pendulum-v1")  # from the checkpoint, without the accident


def test_a_learning_rate_that_explodes_is_told_on_the_command_line(tmp_path, capsys):
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
    status = cli.main(
        [
            "train",
            "--env",
            "Pendulum-v1",
            "--steps",
            "230",
            "--out",
            str(tmp_path / "run"),
            "--critic-lr",
            "1e6",
            *arguments,
        ]
    )
    assert status == 1 and "diverged" in capsys.readouterr().err


def weights_after(folder, **settings):
    agent = MAGEAgent("Pendulum-v1", out=folder, **(SETTINGS | settings)).learn(120)
    return {name: tensor.clone() for name, tensor in named_weights(agent.learner).items()}


def test_determinism_of_learn_predict_sweep_and_load(tmp_path):
    from mage_edu.engine.sweep import make_jobs, run_sweep

    first, second = weights_after(tmp_path / "a"), weights_after(None)
    assert all(torch.equal(first[name], second[name]) for name in first)
    agent = MAGEAgent.load(tmp_path / "a")
    obs = np.random.default_rng(0).normal(size=(9, 3))
    assert np.array_equal(agent.predict(obs)[0], agent.predict(obs)[0])
    tables = []
    for workers in (1, 2):
        out = tmp_path / f"sweep-{workers}"
        overrides = ",".join(f"{name}={value}" for name, value in SETTINGS.items() if name not in ("size", "seed"))
        jobs = make_jobs(out, ("Pendulum-v1",), ("mage", "td3"), (0, 1), 120, "tiny", (overrides,))
        run_sweep(jobs, workers, report=lambda line: None)
        tables.append((out / "sweep.csv").read_bytes())
        weights = {
            job.folder.relative_to(out): (job.folder / "agent" / "weights.safetensors").read_bytes() for job in jobs
        }
        tables.append(weights)
    assert tables[0] == tables[2] and tables[1] == tables[3]


def test_an_agent_saved_by_this_version_is_loaded_from_now_on():
    folder = Path(__file__).parent / "data" / "agent-schema-2"
    agent = MAGEAgent.load(folder)
    expected = json.loads((folder / "expected.json").read_text())
    action, _ = agent.predict(np.array(expected["obs"]))
    assert agent.num_timesteps == expected["num_timesteps"]
    np.testing.assert_allclose(action, expected["action"], atol=1e-6)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
def test_a_long_run_leaks_neither_memory_nor_files(tmp_path):
    """50,000 steps at size tiny, with checkpoints, evaluations and tables."""
    resident, files = {}, {}

    def measure(agent, metrics):
        if agent.num_timesteps % 5000 == 0:
            resident[agent.num_timesteps] = (
                int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
            )
            files[agent.num_timesteps] = open_files()

    MAGEAgent("Pendulum-v1", size="tiny", algorithm="mage", seed=0, out=tmp_path / "run").learn(
        50_000, callback=measure
    )
    assert resident[50_000] - resident[10_000] < 50, resident
    assert files[50_000] == files[10_000], files
    assert len(list((tmp_path / "run" / "checkpoint").iterdir())) < 60


@pytest.mark.slow
def test_a_million_transitions_of_a_humanoid_fit_the_predicted_memory():
    from mage_edu.replay import ReplayBuffer

    page = os.sysconf("SC_PAGE_SIZE")
    before = int(Path("/proc/self/statm").read_text().split()[1]) * page
    replay = ReplayBuffer(1_000_000, 348, 17, seed=0)
    for column in replay.data:
        column.fill_(1.0)  # memory that was never written is not resident
    grown = int(Path("/proc/self/statm").read_text().split()[1]) * page - before
    predicted = 1_000_000 * 4 * (2 * 348 + 17 + 2)
    assert abs(grown - predicted) < 0.02 * predicted


@pytest.mark.parametrize("algorithm, share", [("mage", 0.0), ("td3", 1.0)])
def test_a_run_of_the_version_with_start_goes_on(tmp_path, algorithm, share):
    """Made before `start` became `real_share` and before the table lost its column of resets."""
    shutil.copytree(Path(__file__).parent / "data" / "runs-with-start" / algorithm, tmp_path / "run")
    agent = MAGEAgent.load(tmp_path / "run")
    saved = load_agent(tmp_path / "run")[1]
    assert agent.config.real_share == share and agent.config.algorithm == algorithm and agent.num_timesteps == 80
    assert all(torch.equal(tensor, saved[name]) for name, tensor in named_weights(agent.learner).items())
    agent.learn(40, reset_num_timesteps=False)
    header, *rows = (tmp_path / "run" / "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert header.startswith("step,episodes,resets") and [row.split(",")[0] for row in rows] == [
        "20",
        "40",
        "60",
        "80",
        "100",
        "120",
    ]
    assert not any(
        torch.equal(tensor, saved[name])
        for name, tensor in named_weights(agent.learner).items()
        if name.startswith("critic.weights")
    )
