"""A sweep gives the same table for any number of workers, skips what is finished, and survives a broken run."""
import pytest

from mage_edu import sweep
from mage_edu.sweep import is_finished, make_jobs, read_sweep, run_sweep

QUICK = ("warmup_steps=60,eval_interval=100,eval_episodes=2,dynamics_batches=2,"
         "batch_size=16,actor_width=16,critic_width=16,dynamics_width=16")


def jobs_in(out, seeds=(0, 1), steps=200, algorithms=("mage",)):
    return make_jobs(out, ["Pendulum-v1"], algorithms, seeds, steps, "tiny", [QUICK])


def silent(line):
    """Takes a report and says nothing."""


def times(out):
    return {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != "sweep.csv"}


def test_two_workers_and_one_give_the_same_tables(tmp_path):
    one = run_sweep(jobs_in(tmp_path / "one"), workers=1, report=silent)
    two = run_sweep(jobs_in(tmp_path / "two"), workers=2, report=silent)
    assert one == two
    assert [(row["seed"], row["step"], row["status"]) for row in one] == [
        (0, 100, "finished"), (0, 200, "finished"), (1, 100, "finished"), (1, 200, "finished")]
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
        (0, 100, "failed"), (1, 100, "finished"), (1, 200, "finished")]
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
