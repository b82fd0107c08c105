"""Learned rewards and terminations: in the loop, in the compiled and the plain update, on disk; environments that fail; recorded data."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from mage_edu import MAGEAgent, make_config, make_env
from mage_edu.engine.build import build_learner, compile_learner
from mage_edu.engine.environments import EnvironmentFault
from mage_edu.engine.health import Divergence, check_health
from mage_edu.engine.learned import held_out_rows, mean_output, platt, training_rows
from mage_edu.engine.learner import named_weights
from mage_edu.engine.plain import plain_critic_loss
from mage_edu.engine.recorded import ARRAYS, read_arrays, record, write_arrays
from mage_edu.engine.rounds import (
    agent_update,
    dynamics_update,
    learned_due,
    learned_quality,
    learned_update,
    refresh_normalizers,
)
from mage_edu.engine.steps import environment_step, use_recorded
from mage_edu.engine.storage import read_table
from mage_edu.envs import reward_fn, termination_fn
from mage_edu.replay import ReplayBuffer
from mage_edu.targets import draw_noise
from mage_edu.updates import critic_gradients, critic_target

LEARNED = dict(reward="learned", termination="learned")
FEW = dict(
    size="tiny",
    warmup_steps=60,
    dynamics_interval=20,
    dynamics_batches=5,
    log_interval=20,
    eval_interval=60,
    eval_episodes=1,
    checkpoint_interval=30,
    actor_width=16,
    critic_width=16,
    dynamics_width=16,
    learned_width=16,
    eval_max_steps=30,
)


def warmed_up(env_id: str, steps: int = 200, rounds: int = 2, **settings):
    env = make_env(env_id)
    learner = build_learner(make_config(**{"size": "tiny", **LEARNED, "learned_width": 16, **settings}), env)
    for _ in range(steps):
        environment_step(learner, env)
    refresh_normalizers(learner)
    for _ in range(rounds):
        dynamics_update(learner)
        learned_update(learner)
    return learner, env


def test_held_out_rows_are_never_trained_on():
    replay = ReplayBuffer(130, 1, 1, seed=0)
    generator = torch.Generator().manual_seed(0)
    for added in (9, 10, 55, 130, 171):
        while replay.added < added:
            replay.add(np.zeros(1), np.zeros(1), 0.0, np.zeros(1), False)
        trained = set(training_rows(replay, 3, 4000, generator).flatten().tolist())
        kept = [set(held_out_rows(replay, use).tolist()) for use in ("calibrate", "measure")]
        assert trained | kept[0] | kept[1] == set(range(len(replay)))
        assert not trained & (kept[0] | kept[1]) and not kept[0] & kept[1]


def test_a_learned_reward_is_as_good_as_its_data():
    """On a smooth reward R^2 comes near 1, and the total slope points the way of the formula's."""
    learner, env = warmed_up("HalfCheetah-v5", 1000, rounds=40, learned_width=64)
    quality = learned_quality(learner, env)
    assert quality["reward_r2"] > 0.9 and quality["reward_slope_cosine"] > 0.5, quality
    assert "termination_recall" not in quality and quality["termination_calibration"] < 0.05  # nothing ever terminated
    assert not learner.world.termination_fn(*learner.replay.data[:2], learner.replay.data.next_obs)[:1000].any()


def test_a_learned_termination_finds_the_falls():
    learner, env = warmed_up("InvertedPendulum-v5", 1500, rounds=40, learned_width=64)
    quality = learned_quality(learner, env)
    assert (
        quality["termination_precision"] > 0.7
        and quality["termination_recall"] > 0.7
        and quality["termination_calibration"] < 0.1
    ), quality


def test_training_and_use_agree_in_their_units():
    """Trained on actions in [-1, 1], called with actions in the environment's units."""
    learner, _ = warmed_up("InvertedPendulum-v5", 60, rounds=1)  # bounds of 3
    batch = learner.replay.sample(50)
    for part in learner.learned.values():
        used = part.net.raw(batch.obs, learner.world.scale.to_env(batch.action), batch.next_obs)
        assert torch.allclose(used, mean_output(part.net, batch), atol=1e-5)


def test_calibration_repairs_a_classifier_that_is_too_sure():
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(5000, generator=generator) < 0.3
    slope, shift = platt(
        20.0 * (truth.float() - 0.5) * torch.where(torch.rand(5000, generator=generator) < 0.9, 1.0, -1.0),
        truth.float(),
    )
    assert 0.1 < slope < 0.4  # right nine times in ten is worth log-odds of 2.2, not of 10


@pytest.mark.parametrize("shape", [(), (7,), (3, 5)])
def test_samples_are_independent_and_any_leading_shape_works(shape):
    learner, _ = warmed_up("Hopper-v5", 60, rounds=1)
    generator = torch.Generator().manual_seed(0)
    for dtype in (torch.float32, torch.float64):
        obs, action, next_obs = (torch.randn(*shape, dim, generator=generator, dtype=dtype) for dim in (12, 3, 12))
        for function in (learner.world.reward_fn, learner.world.termination_fn):
            whole = function(obs, action, next_obs)
            assert whole.shape == shape and whole.dtype == (
                torch.bool if function is learner.world.termination_fn else dtype
            )
            single = (
                torch.stack(
                    [function(*row) for row in zip(*(x.reshape(-1, x.shape[-1]) for x in (obs, action, next_obs)))]
                )
                if shape
                else whole
            )
            assert torch.allclose(single.reshape(shape).double(), whole.double(), atol=1e-5)


@pytest.mark.parametrize("algorithm", ["mage", "mage-mix", "mve-td3"])
def test_the_plain_update_agrees(algorithm):
    learner, _ = warmed_up("Hopper-v5", algorithm=algorithm)
    batch = learner.replay.sample(learner.config.batch_size)
    noise = draw_noise(learner.config, *batch.obs.shape, batch.action.shape[1], torch.Generator().manual_seed(1))
    networks = (learner.world, learner.actor, learner.target_actor, learner.target_critic)
    before = {name: tensor.clone() for name, tensor in named_weights(learner).items()}
    target = critic_target(learner.config, *networks, batch, noise)
    loss, gradients = critic_gradients(learner.config, learner.critic, target)
    plain = plain_critic_loss(learner.config, *networks, learner.critic, batch, noise)
    plain.total.backward()
    assert torch.allclose(loss.total, plain.total.detach(), rtol=1e-4)
    for ours, parameter in zip(gradients, learner.critic.parameters()):
        assert torch.allclose(ours, parameter.grad, rtol=1e-3, atol=1e-6)
    assert all(torch.equal(tensor, before[name]) for name, tensor in named_weights(learner).items())
    fresh = [p for part in warmed_up("Hopper-v5", 60, rounds=0)[0].learned.values() for p in part.net.parameters()]
    assert all(p.grad is None for p in fresh)


def test_with_the_simulator_as_the_model_the_reward_is_still_trained():
    agent = MAGEAgent("Pendulum-v1", model="simulator", reward="learned", **FEW).learn(70)
    assert agent.learner.dynamics_rounds == 0 and agent.learner.learned["reward"].optimizer.state


@pytest.mark.slow
def test_compiled_kernels_take_learned_functions():
    """Also after more training: the compiled functions must see the new weights and statistics, not those they were compiled with."""
    eager, compiled, stale = (warmed_up("Hopper-v5")[0] for _ in range(3))
    assert compile_learner(compiled)
    for trained in (False, True):
        if trained:
            learned_update(eager), learned_update(compiled)
        losses = [agent_update(learner) for learner in (eager, compiled, stale)]
        loss, fused, old = (float(row["value_loss"]) for row in losses)
        assert abs(loss - fused) <= 1e-4 * loss and (abs(loss - old) > 1e-3 * loss) is trained
        for a, b in zip(eager.critic.parameters(), compiled.critic.parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-5)


def test_known_formulas_draw_what_they_always_drew():
    """A learned part has generators of its own: nothing of the other networks or batches depends on whether it exists."""
    env = make_env("Pendulum-v1")
    known, learned = (build_learner(make_config("mage", "tiny", **settings), env) for settings in ({}, LEARNED))
    a, b = named_weights(known), named_weights(learned)
    assert all(torch.equal(a[name], b[name]) for name in a) and {name.split(".")[0] for name in set(b) - set(a)} == {
        "reward",
        "termination",
    }
    assert torch.equal(known.replay.generator.get_state(), learned.replay.generator.get_state())
    assert not known.learned and not build_learner(make_config("td3", "tiny", **LEARNED), env).learned


def test_the_table_has_the_quality_and_the_agent_its_networks(tmp_path):
    agent = MAGEAgent("InvertedPendulum-v5", out=tmp_path / "run", **FEW | LEARNED).learn(120)
    rows = read_table(tmp_path / "run" / "metrics.csv")
    assert {"learned_reward_loss", "learned_termination_loss", "reward_r2", "termination_calibration"} <= {
        name for name, value in rows[-1].items() if value == value
    }
    assert agent.run.description()["sources"] == {"reward": "learned", "termination": "learned"}
    again = MAGEAgent.load(tmp_path / "run")
    obs, action = torch.randn(5, 4), torch.randn(5, 1)
    assert torch.equal(again.learner.world.reward_fn(obs, action, obs), agent.learner.world.reward_fn(obs, action, obs))


def resumed_equals_undisturbed(tmp_path, env, **settings) -> None:
    """A run of 130 steps against one that was cut off after 70 and resumed from its checkpoint: every byte."""
    make = lambda folder: MAGEAgent(env, out=tmp_path / folder, **FEW | settings)
    again = {} if isinstance(env, str) else {"env": env}
    again |= {name: settings[name] for name in ("reward", "termination") if callable(settings.get(name))}
    make("whole").learn(130)
    make("cut").learn(70)
    MAGEAgent.load(tmp_path / "cut", **again).learn(60, reset_num_timesteps=False)
    for name in ("metrics.csv", "evaluations.csv", "agent/agent.json", "agent/weights.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes(), name


def test_a_run_with_learned_functions_resumes_exactly(tmp_path):
    resumed_equals_undisturbed(tmp_path, "InvertedPendulum-v5", **LEARNED)


def test_a_run_with_given_functions_resumes_exactly(tmp_path):
    resumed_equals_undisturbed(
        tmp_path,
        "InvertedPendulum-v5",
        reward=reward_fn("InvertedPendulum-v5"),
        termination=termination_fn("InvertedPendulum-v5"),
    )


def test_a_run_from_recorded_transitions_resumes_exactly(tmp_path):
    write_arrays(tmp_path / "data.npz", record(make_env("InvertedPendulum-v5"), 80))
    resumed_equals_undisturbed(tmp_path, "InvertedPendulum-v5", data=tmp_path / "data.npz")


class Cart(gym.Env):
    """A point on a line that was never registered, without a time limit; what it says at one step can be chosen."""

    observation_space = gym.spaces.Dict(
        place=gym.spaces.Box(-np.inf, np.inf, (1,)), speed=gym.spaces.Box(-np.inf, np.inf, ())
    )
    action_space = gym.spaces.Box(-1.0, 2.0, (1,))

    def __init__(self, at: int | None = None, answer=None, end: float = 1.5):
        self.at, self.answer, self.end, self.count = at, answer, end, 0

    def seen(self):
        return {"place": np.array([self.x], np.float32), "speed": np.array(self.v, np.float32)}

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.v = self.np_random.uniform(-1, 1), 0.0
        return self.seen(), {}

    def step(self, action):
        self.count += 1
        self.v = 0.9 * self.v + 0.1 * float(action[0])
        self.x += 0.1 * self.v
        result = self.seen(), -abs(self.x), abs(self.x) > self.end, False, {}
        return self.answer(result) if self.count == self.at else result


def test_an_environment_made_by_hand_trains_saves_loads_and_resumes(tmp_path, capsys):
    agent = MAGEAgent(Cart(), out=tmp_path / "run", **FEW).learn(130)
    assert "environment Cart has no formulas here: reward and termination are learned" in capsys.readouterr().out
    with pytest.raises(ValueError, match="made by hand.*env=MyEnv"):
        MAGEAgent.load(tmp_path / "run")
    with pytest.raises(ValueError, match="trained on Cart and cannot act in Pendulum-v1"):
        MAGEAgent.load(tmp_path / "run", env="Pendulum-v1")
    again = MAGEAgent.load(tmp_path / "run", env=Cart())
    obs = np.array([0.3, -0.2])
    assert np.array_equal(agent.predict(obs)[0], again.predict(obs)[0]) and again.evaluate(2).shape == (2,)
    resumed_equals_undisturbed(tmp_path, Cart())


def test_a_function_that_makes_the_environment_serves_too(tmp_path):
    agent = MAGEAgent(lambda: Cart(), out=tmp_path / "run", **FEW).learn(70)
    assert agent.new_env().unwrapped is not agent.env.unwrapped
    assert MAGEAgent.load(tmp_path / "run", env=lambda: Cart()).num_timesteps == 70


def test_an_evaluation_without_a_time_limit_ends():
    agent = MAGEAgent(Cart(end=np.inf), **FEW)
    assert (
        len(agent.evaluate(1)) == 1 and agent.env.unwrapped.count == 0
    )  # it returns at all, and used an environment of its own


def test_users_functions_are_asked_for_again(tmp_path):
    given = dict(reward=reward_fn("Pendulum-v1"))
    agent = MAGEAgent("Pendulum-v1", out=tmp_path / "run", **FEW | given).learn(70)
    assert agent.config.reward == "given" and agent.learner.sources == {"reward": "given", "termination": "known"}
    again = MAGEAgent.load(tmp_path / "run")
    assert again.evaluate(1).shape == (1,)  # acting needs no reward
    with pytest.raises(ValueError, match="reward was a function of its user's"):
        again.learn(10, reset_num_timesteps=False)
    with pytest.raises(ValueError, match="termination was not a function"):
        MAGEAgent.load(tmp_path / "run", termination=termination_fn("Pendulum-v1"))
    assert MAGEAgent.load(tmp_path / "run", **given).learn(10, reset_num_timesteps=False).num_timesteps == 80


FAULTS = {  # what the environment does at its 90th step: (answer, a part of the sentence)
    "nan in the observation": (
        lambda r: ({"place": np.array([np.nan], np.float32), "speed": r[0]["speed"]}, *r[1:]),
        "step 89: observation .*nan.* is not finite",
    ),
    "infinite reward": (lambda r: (r[0], np.inf, *r[2:]), "step 89: reward inf is not finite"),
    "nan reward": (lambda r: (r[0], float("nan"), *r[2:]), "step 89: reward nan is not finite"),
    "two rewards": (lambda r: (r[0], np.zeros(2), *r[2:]), "step 89: reward array.*expected one number"),
    "no reward": (lambda r: (r[0], None, *r[2:]), "step 89: reward None"),
    "four things": (lambda r: r[:4], "step 89: "),
    "a number for a flag": (lambda r: (r[0], r[1], 0.0, *r[3:]), "step 89: terminated 0.0; expected True or False"),
    "another observation": (
        lambda r: ({"place": np.zeros(3, np.float32), "speed": r[0]["speed"]}, *r[1:]),
        "step 89: the environment gave an observation of shape",
    ),
    "no dictionary": (lambda r: (np.zeros(2), *r[1:]), "step 89: "),
    "nothing": (lambda r: None, "step 89: "),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_environment_that_fails_is_told_and_the_run_is_kept(tmp_path, fault):
    answer, sentence = FAULTS[fault]
    agent = MAGEAgent(Cart(90, answer), out=tmp_path / "run", **FEW)
    with pytest.raises(EnvironmentFault, match=sentence) as caught:
        agent.learn(130)
    assert "The 89 steps before it are kept" in str(caught.value)
    again = MAGEAgent.load(tmp_path / "run", env=Cart())
    again.learn(20, reset_num_timesteps=False)
    assert again.num_timesteps == 109 and again.learner.replay.added == 109


def test_a_fault_during_an_evaluation_is_told():
    agent = MAGEAgent(lambda: Cart(5, FAULTS["nan in the observation"][0], end=np.inf), **FEW)
    with pytest.raises(EnvironmentFault, match="evaluation: observation .*nan"):
        agent.evaluate(1)


def test_an_old_reset_is_told():
    class Old(Cart):
        def reset(self):
            return np.zeros(2)

    with pytest.raises(ValueError, match="step 0: reset.*failed"):
        MAGEAgent(lambda: Old(), **FEW).learn(1)

    class Bare(Cart):
        def reset(self, seed=None, options=None):
            return super().reset(seed=seed)[0]

    with pytest.raises(ValueError, match="step 0: reset"):
        MAGEAgent(lambda: Bare(), **FEW).learn(1)


def test_a_promise_never_to_terminate_is_kept_to(tmp_path):
    agent = MAGEAgent(Cart(end=np.inf), out=tmp_path / "run", **FEW | dict(termination="never"))
    assert set(agent.learner.learned) == {"reward"}
    agent.env.unwrapped.at, agent.env.unwrapped.answer = 90, lambda r: (r[0], r[1], True, False, {})
    with pytest.raises(EnvironmentFault, match="step 89: the environment terminated.*kept in"):
        agent.learn(130)
    silent = MAGEAgent(
        Cart(90, lambda r: (r[0], r[1], False, True, {}), end=np.inf), **FEW | dict(termination="never")
    ).learn(100)
    assert silent.learner.episodes >= 2  # a truncation breaks no promise


def test_an_environment_that_reuses_its_array_is_understood():
    class Reusing(gym.Env):
        observation_space, action_space = (
            gym.spaces.Box(-np.inf, np.inf, (1,), np.float64),
            gym.spaces.Box(-1.0, 1.0, (1,)),
        )

        def __init__(self):
            self.array = np.zeros(1)

        def reset(self, seed=None, options=None):
            self.array[0] = 0.0
            return self.array, {}

        def step(self, action):
            self.array += 1.0
            return self.array, 0.0, False, False, {}

    agent = MAGEAgent(lambda: Reusing(), **FEW).learn(10)
    data = agent.learner.replay.data
    assert torch.equal(data.next_obs[:10] - data.obs[:10], torch.ones(10, 1))


def test_a_learned_function_that_explodes_stops_the_run():
    learner, _ = warmed_up("Pendulum-v1", 60, rounds=1, dynamics_interval=20)
    with torch.no_grad():
        learner.learned["reward"].net.weights[0].fill_(float("inf"))
    with pytest.raises(Divergence, match="weights of the learned reward"):
        check_health(learner, {})


BAD_DATA = {  # changes to good arrays, and a part of the sentence
    "missing": (lambda a: {name: a[name] for name in ARRAYS if name != "next_obs"}, "next_obs is missing"),
    "one column less": (lambda a: a | {"obs": a["obs"][:, 1:]}, "obs is float64 of shape"),
    "one row less": (lambda a: a | {"action": a["action"][1:]}, "action is float32 of shape"),
    "nan": (
        lambda a: a | {"obs": np.where(a["obs"] == a["obs"][3], np.nan, a["obs"])},
        "not finite, the first in row 3",
    ),
    "outside the bounds": (lambda a: a | {"action": a["action"] * 3}, "lies outside of"),
    "ends that are no flags": (lambda a: a | {"terminated": a["terminated"] * 0.5 + 0.25}, "other values than 0 and 1"),
    "texts": (lambda a: a | {"reward": np.full(80, "one")}, "reward is <U3"),
    "nothing in it": (lambda a: {name: array[:0] for name, array in a.items()}, "no transitions"),
    "another reward": (lambda a: a | {"reward": a["reward"] + 1}, "80 of 80 recorded transitions have another reward"),
    "another termination": (
        lambda a: a | {"terminated": np.zeros_like(a["terminated"])},
        "another termination than the known function",
    ),
    "rows across an end": (lambda a: a | {"terminated": ~a["terminated"]}, "the next row begins where they end"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_recordings_are_refused_before_anything_is_written(tmp_path, case):
    change, sentence = BAD_DATA[case]
    env = make_env("InvertedPendulum-v5")
    write_arrays(tmp_path / "data.npz", change(record(env, 80)))
    with pytest.raises(ValueError, match=sentence):
        MAGEAgent("InvertedPendulum-v5", data=tmp_path / "data.npz", out=tmp_path / "run", **FEW)
    assert [path.name for path in tmp_path.iterdir()] == ["data.npz"]


def test_recordings_replace_the_warm_up(tmp_path):
    from safetensors.numpy import save_file

    arrays = record(make_env("HalfCheetah-v5"), 80)
    save_file(arrays, tmp_path / "data.safetensors")
    agent = MAGEAgent("HalfCheetah-v5", data=tmp_path / "data.safetensors", **FEW)
    assert np.allclose(agent.learner.replay.data.obs[:80].numpy(), arrays["obs"], atol=1e-5)
    agent.learn(10)
    assert agent.learner.updates == 10 and agent.learner.replay.added == 90  # from the first step on
    assert not (agent.learner.replay.data.action[80:90].abs() > 0.99).all()
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    for name, kind in (("broken.npz", ValueError), ("nowhere.npz", FileNotFoundError), ("data.csv", ValueError)):
        with pytest.raises(kind, match=name):
            read_arrays(tmp_path / name)
    np.savez(tmp_path / "objects.npz", obs=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="cannot be read"):
        read_arrays(tmp_path / "objects.npz")  # pickled objects are not unpacked


def test_wrong_data_can_still_be_learned_from():
    env = make_env("InvertedPendulum-v5")
    arrays = {name: np.asarray(column, float) for name, column in record(env, 80).items()}
    learner = build_learner(make_config("mage", "tiny", **LEARNED), env)
    use_recorded(learner, arrays | {"reward": arrays["reward"] * 10})
    assert learner.replay.data.reward[:80].max() == 10.0 and learner.save().facts["numbers"]["recorded"] == 80


def test_the_units_of_a_learned_reward_are_those_of_what_is_stored():
    learner, _ = warmed_up("HalfCheetah-v5", 60, rounds=1)
    rewards, net = learner.replay.data.reward[:60], learner.learned["reward"].net
    assert torch.isclose(net.reward_mean, rewards.mean()) and torch.isclose(net.reward_std, rewards.std(correction=0))


def test_calibration_looks_at_its_own_rows_only():
    learner, _ = warmed_up("InvertedPendulum-v5", 400, rounds=1)
    net, replay = learner.learned["termination"].net, learner.replay
    before = net.slope.item(), net.shift.item()
    for use, kept in (("measure", True), ("calibrate", False)):
        rows = held_out_rows(replay, use)
        replay.data.terminated[rows] = 1.0 - replay.data.terminated[rows]
        net.calibrate(replay)
        assert ((net.slope.item(), net.shift.item()) == before) is kept


def test_learned_functions_are_trained_on_the_models_interval():
    learner, _ = warmed_up("InvertedPendulum-v5", 60, rounds=0)
    assert learned_due(learner)  # never trained
    trained, _ = warmed_up("InvertedPendulum-v5", 60, rounds=1)
    due = []
    for trained.num_timesteps in range(201, 351):
        due += [trained.num_timesteps] if learned_due(trained) else []
    assert due == [250, 300, 350]


def test_recorded_transitions_enter_the_statistics():
    env = make_env("InvertedPendulum-v5")  # bounds of 3
    arrays = {name: np.asarray(column, float) for name, column in record(env, 80).items()}
    learner = build_learner(make_config("mage", "tiny"), env)
    use_recorded(learner, arrays)
    stats = learner.normalizer
    assert stats.obs.count == 80 and np.allclose(stats.obs.mean, arrays["obs"].mean(0))
    assert np.allclose(stats.action.std(), arrays["action"].std(0) / 3, atol=1e-6)
    assert np.allclose(stats.delta.mean, (arrays["next_obs"] - arrays["obs"]).mean(0))


def test_the_simulator_learns_a_reward_too():
    settings = dict(size="tiny", model="simulator", warmup_steps=40, log_interval=20, eval_interval=1_000, batch_size=8)
    rows = []
    agent = MAGEAgent("InvertedPendulum-v5", reward="learned", learned_width=16, dynamics_batches=2, **settings)
    agent.learn(60, callback=lambda agent, row: rows.append(row))
    (last,) = [row for row in rows if row["step"] == 60 and "learned_reward_loss" in row]
    assert "reward_slope_cosine" not in last


def test_a_diagnosis_climbs_what_the_actor_climbs():
    """With a reward that is learned, or the user's, its slopes and not the formula's."""
    few = FEW | dict(diagnose_states=8, diagnose_horizon=5, algorithm="maac", actor_horizon=3)
    agent = MAGEAgent("Pendulum-v1", reward="learned", **few).learn(80)
    learner = agent.learner
    row = agent.diagnose()
    known, sources = agent.diagnose, learner.sources
    learner.sources = {"reward": "known", "termination": "known"}
    other = known()
    learner.sources = sources
    assert row["policy_gradient_cosine"] != other["policy_gradient_cosine"]
    assert row["q_gradient_cosine"] == other["q_gradient_cosine"] and row["model_error"] == other["model_error"]
    formula = reward_fn(agent.env)
    given = MAGEAgent("Pendulum-v1", reward=lambda *step: formula(*step), **few).learn(80)
    true = MAGEAgent("Pendulum-v1", **few).learn(80)
    assert given.diagnose() == true.diagnose()
