"""The agent's face: Stable-Baselines3's names and meanings, files that come back identical, refusals before anything is written."""

import inspect
import json
import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch

import mage_edu
from mage_edu import MAGEAgent, make_config
from mage_edu.agent import continue_run, follow, named_weights, pick_device
from mage_edu.engine.pictures import first_frame
from mage_edu.engine.storage import evaluation_curve, load_agent, write_sealed
from mage_edu.engine.tasks import TASKS
from mage_edu.envs import make_env

FEW = dict(
    size="tiny",
    warmup_steps=20,
    dynamics_batches=2,
    dynamics_interval=20,
    log_interval=20,
    eval_interval=40,
    eval_episodes=1,
)


def new_agent(out=None, env="Pendulum-v1", **settings):
    return MAGEAgent(env, out=out, **(FEW | settings))


def weights(agent):
    return {name: tensor.clone() for name, tensor in named_weights(agent.learner).items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def steps(folder, table):
    return [int(line.split(",")[0]) for line in (folder / table).read_text().splitlines()[1:]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An agent after 60 steps with a run folder, shared by the tests that only look."""
    return new_agent(tmp_path_factory.mktemp("runs") / "run").learn(60)


def test_the_face_has_the_names_and_defaults_of_stable_baselines3():
    defaults = lambda function: {n: p.default for n, p in inspect.signature(function).parameters.items() if n != "self"}
    empty = inspect.Parameter.empty
    assert defaults(MAGEAgent.learn) == {
        "total_timesteps": empty,
        "callback": None,
        "reset_num_timesteps": True,
        "progress_bar": False,
    }
    assert defaults(MAGEAgent.predict) == {"obs": empty, "state": None, "episode_start": None, "deterministic": False}
    assert defaults(MAGEAgent.load) == {
        "path": empty,
        "env": None,
        "device": "auto",
        "reward": None,
        "termination": None,
        "critic_loss": None,
        "dynamics": None,
        "critic_target": None,
        "actor_loss": None,
        "critic": None,
        "settings": empty,  # which it refuses, with a sentence
    }
    constructor = defaults(MAGEAgent)
    assert list(constructor)[:6] == ["env", "algorithm", "size", "seed", "out", "device"]
    assert (constructor["algorithm"], constructor["size"], constructor["seed"], constructor["out"]) == (
        "mage-even",
        "laptop",
        0,
        None,
    )


def test_every_field_of_the_configuration_is_a_keyword():
    every = make_config("dyna-td3", "tiny", seed=3, discount=0.9, actor_width=16).to_dict()
    agent = MAGEAgent("Pendulum-v1", **every)
    assert agent.config.to_dict() == every
    assert agent.learner.actor.weights[0].shape[-1] == 16


def test_learn_returns_the_agent_and_fills_the_run_folder(trained):
    folder = trained.run.path
    assert isinstance(trained, MAGEAgent) and trained.num_timesteps == 60
    assert {p.name for p in folder.iterdir()} == {
        "config.json",
        "metrics.csv",
        "evaluations.csv",
        "timings.csv",
        "curve.png",
        "agent",
        "checkpoint",
        ".lock",
    }
    assert steps(folder, "metrics.csv") == [20, 40, 60] and steps(folder, "evaluations.csv") == [40]
    described = json.loads((folder / "config.json").read_text())
    assert described["env"] == "Pendulum-v1" and make_config(**described["config"]) == trained.config
    assert {"gymnasium", "mujoco", "numpy", "torch"} <= set(described["versions"])


def test_tables_hold_no_wall_clock(tmp_path):
    for name in ("a", "b"):
        new_agent(tmp_path / name).learn(40)
    for table in ("metrics.csv", "evaluations.csv"):
        assert (tmp_path / "a" / table).read_bytes() == (tmp_path / "b" / table).read_bytes()


def test_predict_takes_one_observation_or_a_batch(trained):
    obs = np.random.default_rng(0).normal(size=(5, 3))
    batch, state = trained.predict(obs)
    assert batch.shape == (5, 1) and batch.dtype == np.float32 and state is None
    one, memory = trained.predict(obs[2], state=("kept",), episode_start=np.array([True]), deterministic=True)
    assert one.shape == (1,) and memory == ("kept",)
    np.testing.assert_allclose(one, batch[2], atol=1e-6)
    assert trained.predict(obs[:1])[0].shape == (1, 1) and trained.predict(obs[0].tolist())[0].shape == (1,)
    assert np.abs(trained.predict(1e3 * obs)[0]).max() > 1.0  # the environment's units: torque up to 2, not up to 1
    for wrong in (np.zeros(2), np.zeros((5, 4)), np.zeros((1, 1, 3)), np.float32(0.0)):
        with pytest.raises(ValueError, match=r"expected \(3,\) or \(n, 3\)"):
            trained.predict(wrong)


def test_predict_disturbs_nothing():
    quiet, asked = new_agent(), new_agent()
    quiet.learn(40)

    def ask(agent, metrics):
        agent.predict(np.zeros(3))
        agent.evaluate(1)

    asked.learn(40, callback=ask)
    assert same(weights(quiet), weights(asked))


def test_get_env_is_the_environment_with_the_observation_the_agent_sees():
    agent = new_agent(env="HalfCheetah-v5")
    obs, _ = agent.get_env().reset(seed=0)
    assert obs.shape == (18,) and agent.predict(obs)[0].shape == (6,)
    assert agent.get_env().action_space.contains(agent.predict(obs)[0])
    made = gym.make("Pendulum-v1")
    assert new_agent(env=made).get_env().unwrapped is made.unwrapped


@pytest.mark.parametrize("env", ["Pendulum-v1", "HalfCheetah-v5"])
def test_a_loaded_agent_predicts_identically(tmp_path, env):
    agent = new_agent(env=env, seed=4).learn(40)
    agent.save(tmp_path / "saved")
    loaded = MAGEAgent.load(tmp_path / "saved")
    obs = np.random.default_rng(1).normal(size=(64, agent.env.observation_space.shape[0]))
    assert np.array_equal(agent.predict(obs)[0], loaded.predict(obs)[0])
    assert same(weights(agent), weights(loaded))
    assert loaded.config == agent.config and loaded.num_timesteps == 40 and loaded.run is None
    for name in ("obs", "action", "delta"):
        ours, theirs = getattr(agent.learner.normalizer, name), getattr(loaded.learner.normalizer, name)
        assert ours.count == theirs.count == 40
        assert np.array_equal(ours.mean, theirs.mean) and np.array_equal(ours.std(), theirs.std())
    assert np.array_equal(agent.evaluate(2, seed=7), loaded.evaluate(2, seed=7))
    assert not np.array_equal(agent.evaluate(2, seed=7), agent.evaluate(2, seed=8))


@pytest.mark.parametrize("env", [name for name in TASKS if not name.startswith("mage_edu/")])
def test_every_task_can_be_learned_in_and_continued(tmp_path, env):
    agent = new_agent(tmp_path / "run", env=env, checkpoint_interval=20, eval_interval=1000).learn(50)
    assert agent.learner.updates == 31 and all(tensor.isfinite().all() for tensor in weights(agent).values())
    whole = new_agent(env=env, eval_interval=1000).learn(70)
    assert same(weights(MAGEAgent.load(tmp_path / "run").learn(20, reset_num_timesteps=False)), weights(whole))


def test_the_arguments_of_the_environment_are_kept(tmp_path):
    made = make_env("Pendulum-v1", g=4.0, max_episode_steps=25)
    agent = MAGEAgent(made, out=tmp_path / "run", **(FEW | dict(checkpoint_interval=20))).learn(40)
    loaded = MAGEAgent.load(tmp_path / "run")
    assert loaded.env.unwrapped.g == 4.0 and loaded.env.spec.max_episode_steps == 25
    assert np.array_equal(agent.evaluate(2), loaded.evaluate(2)) and agent.evaluate(1) > -25 * 17
    whole = MAGEAgent(make_env("Pendulum-v1", g=4.0, max_episode_steps=25), **FEW).learn(70)
    assert same(weights(whole), weights(loaded.learn(30, reset_num_timesteps=False)))
    with pytest.warns(UserWarning, match="time limit 200 instead of 25"):
        other = MAGEAgent.load(tmp_path / "run", env="Pendulum-v1")
    with pytest.raises(ValueError, match="cannot be continued in another world"):
        other.learn(10, reset_num_timesteps=False)


def test_an_environment_that_is_not_what_its_name_says_stops_in_the_warm_up(tmp_path):
    agent = new_agent(tmp_path / "run", env="HalfCheetah-v5", warmup_steps=40)
    agent.env.unwrapped._ctrl_cost_weight = 1.0  # behind the back of the constructor's arguments
    with pytest.raises(ValueError, match="step 0: the environment says reward .* the formulas of the model say"):
        agent.learn(60)
    free = new_agent(env="HalfCheetah-v5", algorithm="td3", warmup_steps=40)
    free.env.unwrapped._ctrl_cost_weight = 1.0
    assert free.learn(60).num_timesteps == 60  # nothing imagined, nothing to compare


def test_loading_a_subclass_gives_the_subclass_and_a_run_folder_will_do(trained):
    class Mine(MAGEAgent):
        pass

    loaded = Mine.load(trained.run.path)
    assert type(loaded) is Mine and same(weights(trained), weights(loaded))


def test_two_calls_of_150_steps_equal_one_of_300(tmp_path):
    tables = dict(warmup_steps=200, log_interval=100, eval_interval=150, dynamics_batches=10)
    once = new_agent(tmp_path / "once", **tables).learn(300)
    twice = new_agent(tmp_path / "twice", **tables).learn(150).learn(150, reset_num_timesteps=False)
    assert twice.num_timesteps == 300 and once.learner.updates == 101
    assert same(weights(once), weights(twice))
    for table in ("metrics.csv", "evaluations.csv"):
        assert (tmp_path / "once" / table).read_bytes() == (tmp_path / "twice" / table).read_bytes()
    assert steps(tmp_path / "twice", "timings.csv") == [150, 300]


def test_a_second_run_begins_a_new_count_and_a_new_episode():
    agent = new_agent().learn(30)
    episodes = agent.learner.episodes
    agent.learn(10)
    assert agent.num_timesteps == 10 and agent.learner.episodes == episodes + 1 and agent.learner.episode_length == 10


def test_a_second_run_into_the_same_folder_is_refused(trained):
    before = (trained.run.path / "metrics.csv").read_bytes()
    with pytest.raises(ValueError, match="reset_num_timesteps=False"):
        trained.learn(20)
    assert (trained.run.path / "metrics.csv").read_bytes() == before and trained.num_timesteps == 60


def test_a_loaded_agent_fills_its_buffer_before_it_learns(trained):
    loaded = MAGEAgent.load(trained.run.agent).learn(19, reset_num_timesteps=False)
    assert loaded.num_timesteps == 79 and loaded.learner.updates == 0
    assert same(weights(trained), weights(loaded))
    loaded.learn(1, reset_num_timesteps=False)
    assert loaded.learner.updates == 1


def test_a_callback_hears_every_row_and_stops_by_false_only():
    heard = []
    agent = new_agent().learn(
        80, callback=lambda agent, metrics: heard.append((agent.num_timesteps, set(metrics)))
    )  # None goes on
    assert agent.num_timesteps == 80
    assert [step for step, _ in heard] == [
        20,
        40,
        40,
        40,
        60,
        80,
        80,
        80,
    ]  # metrics, with evaluation and timings at 40 and 80
    assert "critic_loss" in heard[0][1] and heard[2][1] >= {"seconds"} | set() or "return" in heard[2][1]
    stopped = new_agent().learn(80, callback=lambda agent, metrics: "return" not in metrics)
    assert stopped.num_timesteps == 40


def test_the_rows_of_a_callback_are_told_apart_by_the_keys_that_the_docstring_names():
    marks = {"episodes": "critic_loss", "return": "return", "seconds": "updates", "value": "q_gradient_cosine"}
    assert all(f"`{mark}`" in inspect.getdoc(MAGEAgent.learn) for mark in marks)
    heard = []
    new_agent(diagnose_interval=40, diagnose_states=2, diagnose_horizon=2).learn(
        40, callback=lambda agent, metrics: heard.append(metrics)
    )
    kinds = [[mark for mark in marks if mark in row] for row in heard[1:]]  # the first row is the warm-up's
    assert kinds == [["episodes"], ["return"], ["seconds"], ["value"]]
    assert all("step" in row and marks[kind] in row for row, (kind,) in zip(heard[1:], kinds))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_run_broken_by_its_callback_overwrites_nothing_and_can_go_on(tmp_path, error):
    agent = new_agent(tmp_path / "run")

    def interrupt(agent, metrics):
        if agent.num_timesteps == 60:
            raise error("stop")

    with pytest.raises(error):
        agent.learn(80, callback=interrupt)
    assert (
        load_agent(tmp_path / "run")[0]["num_timesteps"] == 40
    )  # of the last evaluation: nobody knows what state the break left
    episodes = agent.learner.episodes
    agent.learn(20, reset_num_timesteps=False)
    assert agent.num_timesteps == 80 and agent.learner.episodes == episodes + 1
    assert steps(tmp_path / "run", "metrics.csv") == [20, 40, 60, 80]


@pytest.mark.parametrize(
    "settings, sentence",
    [
        (dict(env="Pendulum-v2"), "unknown environment 'Pendulum-v2'"),
        (dict(algorithm="mgae"), "Did you mean 'mage'"),
        (dict(size="tinny"), "Did you mean 'tiny'"),
        (dict(discuont=0.9), "Did you mean 'discount'"),
        (dict(seed=-1), "seed=-1"),
        (dict(discount=1.5), "discount=1.5"),
        (dict(device="gpu"), "device='gpu'"),
        (dict(env=3), "environment 3"),
    ],
)
def test_refusals_leave_nothing_behind(tmp_path, settings, sentence):
    with pytest.raises(ValueError, match=sentence.replace("(", r"\(")):
        new_agent(tmp_path / "run", **settings)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_run_folder_is_refused_and_untouched(trained):
    before = {p: p.read_bytes() for p in trained.run.path.rglob("*") if p.is_file()}
    with pytest.raises(FileExistsError, match="run"):
        new_agent(trained.run.path)
    assert {p: p.read_bytes() for p in trained.run.path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "10", None])
def test_learn_refuses_what_is_not_a_number_of_steps(wrong):
    agent = new_agent()
    with pytest.raises(ValueError, match="total_timesteps="):
        agent.learn(wrong)
    assert agent.num_timesteps == 0
    assert agent.learn(0).num_timesteps == 0


def test_load_refuses_another_environment_and_files_that_do_not_fit(trained, tmp_path):
    with pytest.raises(ValueError, match="trained on Pendulum-v1 and cannot act in HalfCheetah-v5"):
        MAGEAgent.load(trained.run.path, env="HalfCheetah-v5")
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        MAGEAgent.load(tmp_path / "nothing-here")
    trained.save(tmp_path / "saved")
    content = json.loads((tmp_path / "saved" / "agent.json").read_text())
    content["config"]["actor_width"] = 32
    write_sealed(tmp_path / "saved" / "agent.json", content)
    with pytest.raises(ValueError, match="do not fit"):
        MAGEAgent.load(tmp_path / "saved")
    supplied = MAGEAgent.load(trained.run.path, env=gym.make("Pendulum-v1", render_mode="rgb_array"))
    assert supplied.get_env().render_mode == "rgb_array"


def test_tensorboard_on_request(tmp_path):
    with pytest.raises(ValueError, match="needs a run folder"):
        new_agent(tensorboard=True)
    new_agent(tmp_path / "run", tensorboard=True).learn(40)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert {"metrics/critic_loss", "evaluations/return", "timings/seconds"} <= set(log.Tags()["scalars"])
    assert [event.step for event in log.Scalars("metrics/critic_loss")] == [20, 40]


def test_the_progress_bar_shows_return_losses_and_speed(capsys):
    new_agent().learn(44, progress_bar=True)
    bar = capsys.readouterr().err.replace("\r", "\n").strip().split("\n")[-1]
    for part in ("44/44", "step/s", "return=", "critic=", "actor=", "dynamics="):
        assert part in bar, bar
    new_agent().learn(20)
    assert "step/s" not in capsys.readouterr().err


def test_evaluate_counts_and_refuses():
    agent = new_agent()
    assert agent.evaluate().shape == (1,) and agent.evaluate(3).shape == (3,)
    with pytest.raises(ValueError, match="episodes=0"):
        agent.evaluate(0)


def test_pick_device():
    assert pick_device("cpu").type == "cpu" and pick_device("auto").type in ("cpu", "cuda")
    for wrong in ("gpu", "", "cuda:99"):
        with pytest.raises(ValueError, match="not available here"):
            pick_device(wrong)


def test_the_package_names_its_face_without_importing_torch():
    code = (
        "import sys, mage_edu; assert not {'torch', 'gymnasium', 'numpy'} & set(sys.modules); assert mage_edu.__version__\n"
        "assert {'MAGEAgent', 'Config', 'make_config', 'make_env', 'reward_fn', 'termination_fn'} <= set(mage_edu.__all__) & set(dir(mage_edu))\n"
        "mage_edu.make_config; assert 'torch' not in sys.modules\n"
        "from mage_edu import *; assert MAGEAgent.__module__ == 'mage_edu.agent'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'MageAgent'"):
        mage_edu.MageAgent


def test_the_camera_goes_along_with_the_robot():
    """A fixed camera sees a running robot leave the picture."""
    env = make_env("HalfCheetah-v5", render_mode="rgb_array")
    follow(env)
    env.reset(seed=0)
    position = np.zeros_like(env.unwrapped.data.qpos)
    position[0] = 30.0
    before = first_frame(env).astype(float)
    env.unwrapped.set_state(position, np.zeros_like(env.unwrapped.data.qvel))
    assert (
        abs(env.unwrapped.mujoco_renderer.camera_id) < 10 and np.abs(env.render().astype(float) - before).mean() < 60.0
    )
    seen = env.unwrapped.mujoco_renderer._get_viewer("rgb_array").scn.camera[0].pos[0]
    assert abs(seen - 30.0) < 5.0
    follow(make_env("Pendulum-v1"))  # nothing to follow there


def test_a_run_computes_in_its_own_number_of_threads(tmp_path):
    """Small networks in one, whatever torch is set to; a number that was asked for is kept, also by who goes on; torch's setting comes back."""
    before, seen = torch.get_num_threads(), {"one": set(), "two": set(), "again": set()}
    note = lambda name: lambda agent, row: seen[name].add(torch.get_num_threads())
    try:
        torch.set_num_threads(3)
        new_agent(tmp_path / "one").learn(40, callback=note("one"))
        new_agent(tmp_path / "two", threads=2).learn(40, callback=note("two"))
        MAGEAgent.load(tmp_path / "two").learn(20, callback=note("again"), reset_num_timesteps=False)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert seen == {"one": {1}, "two": {2}, "again": {2}}
    assert json.loads((tmp_path / "two" / "config.json").read_text())["threads"] == 2


@pytest.mark.parametrize("threads", [0, -1, True, 1.5, "2", 10**9])
def test_a_number_of_threads_that_is_none_is_refused(tmp_path, threads):
    with pytest.raises(ValueError, match="threads=.*expected a whole number from 1 to 1024"):
        new_agent(tmp_path / "run", threads=threads)
    assert not (tmp_path / "run").exists()


def test_evaluating_afterwards_with_the_runs_seed_gives_the_last_row_again(tmp_path):
    """The run's evaluations are seeded by its seed and the step."""
    agent = new_agent(tmp_path / "run", seed=4, eval_episodes=2).learn(40)
    _, returns = evaluation_curve(tmp_path / "run")
    assert np.array_equal(agent.evaluate(2, seed=4), returns[-1])
    assert not np.array_equal(agent.evaluate(2, seed=0), returns[-1])


class Faulty(gym.Wrapper):
    """A pendulum that breaks down in one step of every episode."""

    def __init__(self, env, at):
        super().__init__(env)
        self.at = at

    def reset(self, **arguments):
        self.count = 0
        return self.env.reset(**arguments)

    def step(self, action):
        self.count += 1
        if self.count == self.at:
            raise RuntimeError("it broke down")
        return self.env.step(action)


def test_a_fault_in_the_step_after_a_checkpoint_ends_the_episode(tmp_path):
    """Else the run would go on into the same fault for ever."""
    env = lambda: Faulty(gym.make("Pendulum-v1", max_episode_steps=1_000), 61)
    agent = new_agent(tmp_path / "run", env(), checkpoint_interval=60, eval_interval=1_000)
    reached = []
    for _ in range(3):
        with pytest.raises(ValueError, match="begins a new episode there"):
            agent.learn(190 - agent.num_timesteps, reset_num_timesteps=False)
        reached.append(agent.num_timesteps)
        agent = MAGEAgent.load(tmp_path / "run", env=env())
    assert reached == [60, 120, 180]
    assert agent.learn(10, reset_num_timesteps=False).num_timesteps == 190


def test_an_evaluation_that_a_fault_cut_is_made_up_for(tmp_path, monkeypatch):
    from mage_edu.agent import OwnEvaluator
    from mage_edu.engine.environments import EnvironmentFault

    settings = dict(eval_interval=40, checkpoint_interval=30)
    whole = tmp_path / "whole"
    whole_agent = new_agent(whole, **settings).learn(120)
    evaluate = OwnEvaluator.returns

    def broken(self, policy, step):
        if step == 80:
            raise EnvironmentFault("evaluation: it broke down")
        return evaluate(self, policy, step)

    monkeypatch.setattr(OwnEvaluator, "returns", broken)
    with pytest.raises(EnvironmentFault, match="newest checkpoint is of step 60"):
        new_agent(tmp_path / "run", **settings).learn(120)
    monkeypatch.undo()
    agent = MAGEAgent.load(tmp_path / "run").learn(60, reset_num_timesteps=False)
    for name in ("evaluations.csv", "metrics.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes()
    assert same(weights(agent), weights(whole_agent))


def test_the_clock_of_a_run_in_parts_keeps_all_parts(tmp_path):
    from mage_edu.engine.storage import read_table

    agent = new_agent(tmp_path / "run", eval_interval=40).learn(79)
    (_, cut) = read_table(tmp_path / "run" / "timings.csv")
    MAGEAgent.load(tmp_path / "run").learn(1, reset_num_timesteps=False)
    rows = read_table(tmp_path / "run" / "timings.csv")
    assert [row["step"] for row in rows] == [40, 79, 80] and agent.num_timesteps == 79
    assert rows[-1]["seconds"] > cut["seconds"] and rows[-1]["updates"] >= cut["updates"] > rows[0]["updates"]


def test_a_callback_stops_with_numpys_false_too_and_is_looked_at_first():
    assert new_agent().learn(100, callback=lambda agent, row: np.bool_(False)).num_timesteps == 20
    assert new_agent().learn(60, callback=lambda agent, row: np.bool_(True)).num_timesteps == 60
    with pytest.raises(ValueError, match=r"callback=\[\]: expected a function of \(agent, metrics\)"):
        new_agent().learn(60, callback=[])


def test_compile_is_remembered_by_a_run_that_has_no_checkpoint_yet(tmp_path):
    new_agent(tmp_path / "run", compile=False)
    agent = MAGEAgent.load(tmp_path / "run")
    continue_run(agent)
    assert agent.compile is False and agent.run is not None


@pytest.mark.parametrize("algorithm", ["td3", "ddpg"])
def test_what_imagines_nothing_trains_beside_those_that_ask_the_simulator(algorithm):
    assert new_agent(algorithm=algorithm, model="simulator").learn(40).learner.updates > 0


def test_more_data_than_the_buffer_holds_is_told(tmp_path):
    from mage_edu.engine.recorded import record, write_arrays

    write_arrays(tmp_path / "data.npz", record(make_env("Pendulum-v1"), 80))
    with pytest.warns(UserWarning, match="80 transitions and replay_capacity is 50: the first 30 are not kept"):
        new_agent(data=tmp_path / "data.npz", replay_capacity=50)


def test_unsigned_observations_are_no_surprise():
    class Bytes(gym.ObservationWrapper):
        kind = np.uint8

        def observation(self, obs):
            return np.array([200, 3, 0] if round(obs[2] * 100) % 2 else [0, 0, 5], self.kind)

    class Bits(Bytes):
        kind = bool

    for kind in (Bytes, Bits):
        learner = new_agent(env=kind(gym.make("Pendulum-v1")), algorithm="td3").learn(40).learner
        data = learner.replay.data
        assert torch.allclose(
            torch.as_tensor(learner.normalizer.delta.std()),
            (data.next_obs[:40].double() - data.obs[:40].double()).std(0, correction=0),
            atol=1e-4,
        )


def test_a_run_that_is_all_warm_up_says_so():
    with pytest.warns(UserWarning, match="all 15 steps so far are random ones of the warm-up, which takes 20"):
        new_agent().learn(15)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        new_agent().learn(25)
