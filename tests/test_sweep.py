"""A sweep gives the same table for any number of workers, skips what is finished, and survives a broken run."""

import json
import subprocess
import sys
import time
from importlib.util import find_spec

import gymnasium as gym
import pytest

from mage_edu import cli
from mage_edu.engine import sweep
from mage_edu.engine.storage import RunFolder, read_table
from mage_edu.engine.sweep import (
    has_rows,
    is_finished,
    make_jobs,
    read_sweep,
    read_times,
    returns_along,
    run_sweep,
    sweep_curves,
    sweep_summary,
    time_curves,
    time_summary,
)

QUICK = (
    "warmup_steps=60,eval_interval=100,eval_episodes=2,dynamics_batches=2,"
    "batch_size=16,actor_width=16,critic_width=16,dynamics_width=16"
)


def jobs_in(out, seeds=(0, 1), steps=200, algorithms=("mage",)):
    return make_jobs(out, ["Pendulum-v1"], algorithms, seeds, steps, "tiny", [QUICK])


def silent(line):
    """Takes a report and says nothing."""


def times(out):
    return {
        path: path.stat().st_mtime_ns
        for path in out.rglob("*")
        if path.is_file() and path.name not in ("sweep.csv", "times.csv")
    }


def test_two_workers_and_one_give_the_same_tables(tmp_path):
    one = run_sweep(jobs_in(tmp_path / "one"), workers=1, report=silent)
    two = run_sweep(jobs_in(tmp_path / "two"), workers=2, report=silent)
    assert one == two
    assert [(row["seed"], row["step"], row["status"]) for row in one] == [
        (0, 100, "finished"),
        (0, 200, "finished"),
        (1, 100, "finished"),
        (1, 200, "finished"),
    ]
    assert one[1]["return"] != one[3]["return"]  # seeds differ
    assert (tmp_path / "one" / "sweep.csv").read_bytes() == (tmp_path / "two" / "sweep.csv").read_bytes()
    for first, second in zip(jobs_in(tmp_path / "one"), jobs_in(tmp_path / "two")):
        for name in ("metrics.csv", "evaluations.csv", "config.json", "agent/weights.safetensors"):
            assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes(), name


def test_finished_runs_are_skipped_and_the_rest_is_made(tmp_path):
    first = run_sweep(jobs_in(tmp_path, seeds=[0]), report=silent)
    before, table = times(tmp_path), (tmp_path / "sweep.csv").read_bytes()
    assert run_sweep(jobs_in(tmp_path, seeds=[0]), report=silent) == first
    assert times(tmp_path) == before and (tmp_path / "sweep.csv").read_bytes() == table
    run_sweep(jobs_in(tmp_path, seeds=[1]), report=silent)  # another seed, later, into the same folder
    assert [row["seed"] for row in read_sweep(tmp_path)] == [0, 0, 1, 1]
    assert before.items() <= times(tmp_path).items()


def test_a_finished_run_of_another_configuration_is_refused(tmp_path):
    run_sweep(jobs_in(tmp_path, seeds=[0]), report=silent)
    before = times(tmp_path)
    with pytest.raises(ValueError, match="steps=200 instead of 300"):
        run_sweep(jobs_in(tmp_path, seeds=[0], steps=300), report=silent)
    assert times(tmp_path) == before


class BreakingAgent(sweep.MAGEAgent):
    """Breaks at step 150 when its seed is 0: after its first evaluation, which saves an agent."""

    def learn(self, total_timesteps):
        def cut(agent, metrics):
            if agent.config.seed == 0 and agent.num_timesteps >= 150:
                raise ArithmeticError("cut on purpose")

        return super().learn(total_timesteps, callback=cut)


def test_a_broken_run_does_not_sink_the_rest_and_is_made_anew(tmp_path, monkeypatch):
    jobs = jobs_in(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(sweep, "MAGEAgent", BreakingAgent)
        rows = run_sweep(jobs, report=silent)
    assert [(row["seed"], row["step"], row["status"]) for row in rows] == [
        (0, 100, "failed"),
        (1, 100, "finished"),
        (1, 200, "finished"),
    ]
    assert rows[0]["error"] == "ArithmeticError: cut on purpose"
    assert "cut on purpose" in (jobs[0].folder / "error.txt").read_text()
    assert (jobs[0].folder / "agent" / "agent.json").exists() and not is_finished(jobs[0])
    again = run_sweep(jobs, report=silent)
    assert {row["status"] for row in again} == {"finished"}
    assert (jobs[0].folder.with_name("seed-0.broken-1") / "error.txt").exists()
    assert not (jobs[0].folder / "error.txt").exists()


def test_nothing_is_written_when_one_name_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="Did you mean 'mage'"):
        jobs_in(tmp_path / "sweep", algorithms=["td3", "mgae"])
    assert not (tmp_path / "sweep").exists()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="sweep folder cannot be written"):
        run_sweep(jobs_in(tmp_path / "file" / "sweep"), report=silent)


def small(out, seeds, steps=200):
    return make_jobs(out, ["Pendulum-v1"], ["mage"], seeds, steps, "tiny", [QUICK + ",checkpoint_interval=50"])


def same_runs(one, other):
    for first, second in zip(one, other, strict=True):
        for name in ("metrics.csv", "evaluations.csv", "config.json", "agent/weights.safetensors", "finished.json"):
            assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes(), name


def cut_off(job, at=101):
    """The folder of a run whose process ended at some step without a word."""

    class Cut(BaseException):
        pass

    def cut(agent, metrics):
        if agent.num_timesteps >= at:
            raise Cut

    with pytest.raises(Cut):
        sweep.MAGEAgent(job.env, job.algorithm, job.size, job.seed, out=job.folder, **job.settings).learn(
            job.steps, callback=cut
        )


needs_dask = pytest.mark.skipif(find_spec("distributed") is None, reason="the optional package dask is not installed")
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="the optional package ray is not installed")


def one_machine_and_a_cluster(tmp_path, monkeypatch, **cluster):
    """Three runs in this process, and in two workers of a cluster, where one was cut off before; folders are relative."""
    monkeypatch.chdir(tmp_path)
    here, there = small("here", (0, 1, 2)), small("there", (0, 1, 2))
    run_sweep(here, report=silent)
    cut_off(there[1])
    said = []
    run_sweep(there, workers=2, report=said.append, **cluster)
    assert (tmp_path / "here" / "sweep.csv").read_bytes() == (tmp_path / "there" / "sweep.csv").read_bytes()
    same_runs(here, there)
    assert not list((tmp_path / "there").rglob("*.broken-*"))  # it went on where it was cut
    assert said == ["3 runs, 0 of them finished before", *(f"{job.folder}: finished" for job in there)]
    before = times(tmp_path / "there")
    run_sweep(there, workers=2, report=said.append, **cluster)
    assert said[-1] == "3 runs, 3 of them finished before" and times(tmp_path / "there") == before


@needs_dask
@pytest.mark.slow
def test_two_dask_workers_give_the_same_runs_and_go_on_where_one_was_cut(tmp_path, monkeypatch):
    from distributed import LocalCluster

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # where the workers stand is not where the sweep is called
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        one_machine_and_a_cluster(tmp_path, monkeypatch, backend="dask", address=cluster.scheduler_address)


@needs_ray
@pytest.mark.slow
def test_two_ray_workers_give_the_same_runs_and_go_on_where_one_was_cut(tmp_path, monkeypatch):
    one_machine_and_a_cluster(tmp_path, monkeypatch, backend="ray")


SWEEP = [
    "sweep",
    "--backend",
    "dask",
    "--envs",
    "Pendulum-v1",
    "--algorithms",
    "mage",
    "--size",
    "tiny",
    "--steps",
    "400",
    "--seeds",
    "0",
    "1",
    "2",
    "--overrides",
    QUICK + ",checkpoint_interval=50",
]


@needs_dask
@pytest.mark.slow
def test_a_sweep_on_a_cluster_killed_in_the_middle_goes_on(tmp_path, capfd):
    """A scheduler and two workers of their own, reached by an address; the sweep is killed with SIGKILL, the workers stay."""
    from distributed import LocalCluster

    program = "import sys; from mage_edu.cli import main; sys.exit(main(sys.argv[1:]))"
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        words = [*SWEEP, "--address", cluster.scheduler_address, "--out", str(tmp_path / "cut")]
        process = subprocess.Popen(
            [sys.executable, "-c", program, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while not list((tmp_path / "cut").rglob("evaluations.csv")):  # some run is under way
            time.sleep(0.05)
            assert process.poll() is None, "it ended before it could be killed"
        process.kill()
        process.wait()
        assert cli.main(words) == 0
    jobs, whole = small(tmp_path / "cut", (0, 1, 2), 400), small(tmp_path / "whole", (0, 1, 2), 400)
    run_sweep(whole, report=silent)
    same_runs(whole, jobs)
    assert (tmp_path / "cut" / "sweep.csv").read_bytes() == (tmp_path / "whole" / "sweep.csv").read_bytes()


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (dict(backend="dusk"), "unknown backend 'dusk'. Did you mean 'dask'? Known: loky, dask, ray."),
        (dict(address="tcp://host:1"), "address='tcp://host:1' with backend='loky'"),
        (dict(backend="dask", workers=0), "workers=0: expected a whole number of at least 1"),
        (dict(workers=1.5), "workers=1.5: expected a whole number of at least 1"),
    ],
)
def test_impossible_backends_are_refused_before_anything_is_written(tmp_path, arguments, sentence):
    with pytest.raises(ValueError) as refusal:
        run_sweep(jobs_in(tmp_path / "sweep"), report=silent, **arguments)
    assert sentence in str(refusal.value) and not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (dict(envs="Pendulum-v1"), "envs='Pendulum-v1': expected a list of ids"),
        (dict(algorithms="td3"), "algorithms='td3': expected a list of names"),
        (dict(algorithms=[["td3"]]), "algorithms=[['td3']]: expected a list of names"),
        (dict(seeds=0), "seeds=0: expected a list of numbers"),
        (dict(overrides="default"), "overrides='default': expected a list of variants"),
        (dict(overrides=[]), "overrides: the list is empty, and so is the sweep; give at least one variant"),
    ],
)
def test_what_is_no_list_of_names_is_refused_as_such(tmp_path, arguments, sentence):
    with pytest.raises(ValueError) as refusal:
        make_jobs(**dict(out=tmp_path, envs=["Pendulum-v1"], algorithms=["td3"], seeds=range(2), steps=10) | arguments)
    assert sentence in str(refusal.value)


def test_none_in_an_override_is_the_setting_none():
    assert sweep.parse_variant("dynamics_clip=None,twin=True") == {"dynamics_clip": None, "twin": True}
    (job,) = make_jobs("sweep", ["Pendulum-v1"], ["mage"], [0], 10, "tiny", ["dynamics_clip=None"])
    assert job.config().dynamics_clip is None


@pytest.mark.parametrize("module", sweep.SCRIPT)
def test_an_environment_of_the_script_itself_is_not_sent_to_workers(tmp_path, monkeypatch, module):
    name = "-".join(("Scripted", "v0"))  # put together, so that this file is not found to register it

    def scripted():
        return gym.make("Pendulum-v1").unwrapped

    scripted.__module__ = module
    monkeypatch.setitem(gym.registry, name, gym.envs.registration.EnvSpec(name, scripted))
    jobs = make_jobs(tmp_path / "sweep", [name], ["td3"], [0], 10, "tiny")
    for elsewhere in (dict(workers=2), dict(workers=2.0)):
        with pytest.raises(ValueError, match=f"this script or notebook registers it.*'module:{name}'.*workers=1"):
            run_sweep(jobs, report=silent, **elsewhere)
    assert not (tmp_path / "sweep").exists()
    monkeypatch.setattr(sweep, "train_job", lambda job, device: None)
    run_sweep(jobs, workers=1, report=silent)


def test_a_missing_package_is_named_with_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="dask, distributed is not installed; pip install dask distributed"):
        run_sweep(jobs_in(tmp_path / "sweep"), backend="dask", report=silent)
    assert not (tmp_path / "sweep").exists()


def test_a_run_that_went_to_another_disk_is_not_called_finished(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "run_job", pretend)
    rows = run_sweep(jobs_in(tmp_path), report=silent)
    assert {row["status"] for row in rows} == {"failed"} and "must share its file system" in rows[0]["error"]


def pretend(job, device):
    """A worker that says it has finished, wherever it wrote."""
    return sweep.Outcome(job, "finished")


def test_a_run_made_before_a_setting_existed_counts_as_made_with_its_default(tmp_path):
    jobs = jobs_in(tmp_path, seeds=[0])
    run_sweep(jobs, report=silent)
    marker = jobs[0].folder / "finished.json"
    content = json.loads(marker.read_text())
    del content["config"]["activation"]
    marker.write_text(json.dumps(content))
    assert is_finished(jobs[0])
    del content["config"]["actor_width"]  # made with 16, not with the default
    marker.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="actor_width=384 instead of 16"):
        is_finished(jobs[0])


def test_seconds_have_a_table_of_their_own_and_count_on_after_a_cut(tmp_path):
    whole, cut = small(tmp_path, (0,))[0], small(tmp_path, (1,))[0]
    cut_off(cut)
    before = read_table(cut.folder / "timings.csv")
    run_sweep([whole], report=silent)
    run_sweep([cut], report=silent)
    rows = read_times(tmp_path)
    assert [(row["seed"], row["step"]) for row in rows] == [(0, 100), (0, 200), (1, 100), (1, 200)]
    for job in (whole, cut):
        timings = read_table(job.folder / "timings.csv")
        assert timings[0]["seconds"] < timings[1]["seconds"] and timings[0]["environment"] < timings[1]["environment"]
        mine = [row["seconds"] for row in rows if row["seed"] == job.seed]
        assert mine == pytest.approx([row["seconds"] - row["evaluation"] for row in timings], abs=1e-6)
    assert read_table(cut.folder / "timings.csv")[0] == before[0]  # from before the cut
    assert "seconds" not in (tmp_path / "sweep.csv").read_text().splitlines()[0]
    assert [row["return"] for row in rows] == [row["return"] for row in read_sweep(tmp_path)]


def timed(algorithm, seed, seconds, returns, env="Pendulum-v1"):
    return [
        {
            "env": env,
            "algorithm": algorithm,
            "label": "default",
            "seed": seed,
            "step": 100 * (i + 1),
            "seconds": s,
            "return": r,
        }
        for i, (s, r) in enumerate(zip(seconds, returns))
    ]


def test_at_equal_seconds_everything_is_read_at_the_end_of_the_quickest_run():
    rows = [
        *timed("td3", 0, (5, 10), (0, 4)),
        *timed("td3", 1, (4, 8), (2, 6)),
        *timed("mage", 0, (6, 10), (10, 20)),
        *timed("mage", 1, (9, 18), (0, 0)),
        *timed("mage", 0, (1, 2), (7, 9), env="HalfCheetah-v5"),
    ]
    td3, mage, cheetah = time_summary(rows)
    assert (td3["seconds"], td3["seeds"]) == (8, 2)
    assert td3["mean"] == pytest.approx((2.4 + 6.0) / 2) and td3["step"] == pytest.approx((160 + 200) / 2)
    assert (mage["seconds"], mage["seeds"], mage["mean"]) == (
        8,
        1,
        15.0,
    )  # seed 1 was evaluated for the first time after 9 seconds
    assert (cheetah["env"], cheetah["seconds"], cheetah["mean"]) == ("HalfCheetah-v5", 2, 9.0)
    (left, right) = time_curves(rows, "Pendulum-v1")["td3"]
    assert left[0][0] == 5 and left[0][-1] == 8 and left[0].tolist() == right[0].tolist()
    assert left[1][-1] == pytest.approx(2.4) and right[1][-1] == 6


def test_a_run_that_another_process_is_still_making_is_waited_for(tmp_path, monkeypatch):
    (job,) = small(tmp_path, (0,))
    run_sweep([job], report=silent)
    before, said, waited = times(tmp_path), [], []
    marker = (job.folder / "finished.json").read_bytes()
    (job.folder / "finished.json").unlink()
    lock = RunFolder(job.folder).locked()

    def other_process_ends(seconds):
        waited.append(seconds)
        (job.folder / "finished.json").write_bytes(marker)
        lock.__exit__(None, None, None)

    monkeypatch.setattr(sweep.time, "sleep", other_process_ends)
    lock.__enter__()
    run_sweep([job], report=said.append)
    assert waited == [1.0] and any("another process is training here" in line for line in said)
    del before[job.folder / "finished.json"]
    assert before.items() <= times(tmp_path).items()  # nothing was trained


def test_a_row_of_the_times_without_its_step_is_refused(tmp_path):
    table = tmp_path / "times.csv"
    table.write_text("env,algorithm,label,seed,step,seconds,return\nPendulum-v1,td3,default,0,,1.2,-100.0\n")
    with pytest.raises(ValueError, match=r"times\.csv.*step"):
        read_times(tmp_path)


def test_variants_are_summed_up_and_drawn_apart():
    base = {"env": "Pendulum-v1", "algorithm": "mage", "step": 100, "status": "finished"}
    rows = [
        base | {"label": label, "seed": seed, "return": value}
        for label, value in (("default", 0.0), ("discount=0.9", 10.0))
        for seed in (0, 1)
    ]
    assert [(row["label"], row["seeds"], row["mean"]) for row in sweep_summary(rows)] == [
        ("default", 2, 0.0),
        ("discount=0.9", 2, 10.0),
    ]
    assert {name: len(seeds) for name, seeds in sweep_curves(rows, "Pendulum-v1").items()} == {
        "mage": 2,
        "mage discount=0.9": 2,
    }


def test_fewer_steps_than_a_cut_run_has_are_refused_and_it_is_kept(tmp_path):
    (job,) = jobs_in(tmp_path, seeds=(0,))
    sweep.MAGEAgent(job.env, job.algorithm, job.size, job.seed, out=job.folder, **job.settings).learn(100)
    (shorter,) = jobs_in(tmp_path, seeds=(0,), steps=50)
    with pytest.raises(ValueError, match="100 steps of this run were made before it was cut off.*asks for 50"):
        run_sweep([shorter], report=silent)
    assert [row["step"] for row in run_sweep([job], report=silent)] == [100, 200]
    assert not list(tmp_path.rglob("*.broken-*"))


def test_a_function_of_ones_own_cannot_be_an_override(tmp_path):
    with pytest.raises(ValueError, match="critic_loss='given': pass the function itself"):
        make_jobs(tmp_path, ["Pendulum-v1"], ["mage"], [0], 100, "tiny", ["critic_loss=given"])
    with pytest.raises(ValueError, match="unknown setting 'gamma': here that is discount"):
        make_jobs(tmp_path, ["Pendulum-v1"], ["mage"], [0], 100, "tiny", ["gamma=0.9"])


def test_a_run_of_a_table_is_told_by_all_that_tells_runs_apart(tmp_path):
    run = dict(env="Pendulum-v1", algorithm="sac", label="gradient_steps=8", seed=3)
    assert not has_rows(tmp_path / "sweep.csv", run)  # no table yet
    sweep.write_sweep(tmp_path, [run | {"step": 100, "return": 1.0, "status": "finished"}])
    assert has_rows(tmp_path / "sweep.csv", run)
    others = dict(env="Hopper-v5", algorithm="td3", label="default", seed=30)
    assert not any(has_rows(tmp_path / "sweep.csv", run | {name: value}) for name, value in others.items())


def test_another_package_is_evaluated_on_the_episodes_of_our_agent():
    from mage_edu import MAGEAgent

    agent = MAGEAgent("Pendulum-v1", "td3", "tiny", seed=7)

    class Theirs:
        """Has the face of Stable-Baselines3 and the policy of our agent, which stays as it is."""

        num_timesteps, asked = 0, []

        def predict(self, obs, deterministic):
            self.asked.append(deterministic)
            return agent.predict(obs)

        def learn(self, steps, callback):
            for self.num_timesteps in range(1, steps + 1):
                assert callback({}, {})  # they stop where it is not true

    points = returns_along(Theirs(), "Pendulum-v1", seed=7, steps=25, interval=10, episodes=2)
    assert [step for step, _ in points] == [10, 20] and set(Theirs.asked) == {True}
    for step, value in points:
        agent.learner.num_timesteps = step
        assert value == agent.evaluate(episodes=2, seed=7).mean()
