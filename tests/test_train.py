"""The training loop: same seed same run, endings of episodes, what is trained when, and which rows go where."""

import math

import gymnasium as gym
import numpy as np
import pytest
import torch

from mage_edu.config import make_config
from mage_edu.engine.build import build_learner
from mage_edu.engine.learner import Recorder, derive_seeds, episode_seed
from mage_edu.engine.rounds import agent_update, dynamics_due, dynamics_update, held_out_losses
from mage_edu.engine.steps import act, begin_episode, environment_step, ready
from mage_edu.engine.train import train
from mage_edu.envs import make_env
from mage_edu.evaluate import Evaluator
from mage_edu.targets import Step, TargetNoise, bootstrapped_target

NETWORKS = ("actor", "critic", "target_actor", "target_critic", "dynamics")


def weights(learner):
    """Every network's state as one flat dictionary of copies."""
    return {
        f"{name}.{key}": tensor.clone()
        for name in NETWORKS
        for key, tensor in getattr(learner, name).state_dict().items()
    }


def same(a, b):
    """Whether two weight dictionaries agree bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def run(steps, env_id="Pendulum-v1", stop_after=None, **settings):
    """Train at size tiny with the rows collected; the learner and its tables."""
    config = make_config(settings.pop("algorithm", "mage"), "tiny", **settings)
    tables = {"metrics": [], "evaluations": [], "timings": [], "clock": []}

    def collect(table, rows):
        tables[table].extend(rows)
        return table != stop_after

    learner, env = build_learner(config, make_env(env_id)), make_env(env_id)
    evaluator = Evaluator(lambda: make_env(env_id), config.eval_episodes, config.seed)
    train(learner, env, evaluator, steps, collect)
    evaluator.close()
    return learner, tables


def test_same_seed_gives_the_same_weights_after_300_steps_and_another_seed_does_not():
    first, again, other = (weights(run(300, "HalfCheetah-v5", seed=seed)[0]) for seed in (0, 0, 1))
    assert same(first, again)
    assert not same(first, other)
    start = weights(build_learner(make_config("mage", "tiny", seed=0), make_env("HalfCheetah-v5")))
    assert all(
        not torch.equal(first[name], start[name]) for name in first if "weights" in name
    )  # and all of them learned


def test_the_global_generator_and_evaluations_do_not_matter():
    torch.manual_seed(1)
    first = weights(run(260)[0])
    torch.manual_seed(2)
    np.random.seed(2)
    assert same(first, weights(run(260, eval_interval=20, eval_episodes=1)[0]))


def test_derived_seeds_do_not_collide():
    seeds = [s for run_seed in range(200) for s in derive_seeds(run_seed)]
    assert len(set(seeds)) == len(seeds)
    assert len({episode_seed(seed, episode) for seed in range(30) for episode in range(30)}) == 900


class Ending(gym.Wrapper):
    """Ends every third step in a chosen way."""

    def __init__(self, env, terminated, truncated):
        super().__init__(env)
        self.ending, self.count, self.seeds = (terminated, truncated), 0, []

    def reset(self, *, seed=None, options=None):
        self.count = 0
        self.seeds.append(seed)
        return self.env.reset(seed=seed, options=options)

    def step(self, action):
        obs, reward, _, _, info = self.env.step(action)
        self.count += 1
        return obs, reward, *(self.ending if self.count == 3 else (False, False)), info


def ending_learner(terminated, truncated, steps=9):
    env = Ending(make_env("Pendulum-v1"), terminated, truncated)
    learner = build_learner(make_config("td3", "tiny"), make_env("Pendulum-v1"))
    rows = [environment_step(learner, env) for _ in range(steps)]
    return learner, env, rows


@pytest.mark.parametrize("terminated, truncated", [(True, False), (False, True), (True, True)])
def test_truncated_bootstraps_and_terminated_does_not(terminated, truncated):
    learner, _, rows = ending_learner(terminated, truncated)
    data = [column[:9] for column in learner.replay.data]
    assert data[4].tolist() == [0.0, 0.0, float(terminated)] * 3
    assert [row.get("episode_length") for row in rows] == [None, None, 3] * 3
    # the target of the last transition, with a target critic whose weights are all zero and whose bias is 50
    for parameter in learner.target_critic.parameters():
        parameter.zero_()
    learner.target_critic.biases[-1].fill_(50.0)
    config = make_config("td3", "tiny", discount=0.9)
    noise = TargetNoise(torch.zeros(9, 1), torch.zeros(1, 9, 3), torch.zeros(1, 9, 1))
    first = Step(data[2], data[3], data[4])
    with torch.no_grad():
        target = bootstrapped_target(
            config, None, learner.target_actor, learner.target_critic, data[0], data[1], noise, first
        )
    bootstrap = (target.value - data[2])[-1].item()
    assert bootstrap == pytest.approx(0.0 if terminated else 45.0, abs=1e-4)


def test_what_is_stored_chains_and_episodes_are_seeded_by_number():
    learner, env, _ = ending_learner(False, True)
    obs, next_obs = learner.replay.data.obs, learner.replay.data.next_obs
    assert torch.equal(obs[1:3], next_obs[0:2])  # inside an episode, one step's end is the next one's start
    assert not torch.equal(obs[3], next_obs[2])  # the last transition keeps its own end, not the next episode's start
    assert env.seeds == [episode_seed(0, n) for n in range(4)]
    fourth, _ = make_env("Pendulum-v1").reset(seed=episode_seed(0, 3))
    assert np.array_equal(learner.obs, fourth) and learner.episodes == 4


def test_an_episode_that_ends_reports_its_return():
    learner, _, rows = ending_learner(False, True, steps=3)
    assert rows[-1]["episode_return"] == pytest.approx(learner.replay.data.reward[:3].sum().item(), rel=1e-5)
    assert learner.episode_return == 0.0 and learner.episode_length == 0


def test_the_warm_up_takes_random_actions_and_makes_no_updates():
    config = make_config("mage", "tiny", warmup_steps=60)
    env = make_env("Pendulum-v1")
    before = weights(build_learner(config, env))
    learner, _ = run(59, warmup_steps=60)
    assert learner.updates == learner.dynamics_rounds == 0
    assert same(before, weights(learner))
    expected = torch.rand(59, 1, generator=torch.Generator().manual_seed(derive_seeds(0).exploration)) * 2 - 1
    assert torch.equal(learner.replay.data.action[:59], expected)
    learner, _ = run(60, warmup_steps=60)
    assert (
        learner.updates == 1 and learner.dynamics_rounds == 1
    )  # the model is trained before its first use, due or not


def test_after_the_warm_up_actions_are_the_actors_plus_noise():
    learner, _ = run(60, warmup_steps=50, exploration_noise=0.0, actor_lr=1e-12)
    stored = learner.replay.data
    env_action = torch.as_tensor(act(learner, stored.obs[50:60].numpy()))
    assert torch.allclose(stored.action[50:60] * 2.0, env_action, atol=1e-4)
    assert not torch.allclose(
        stored.action[:10] * 2.0, torch.as_tensor(act(learner, stored.obs[:10].numpy())), atol=1e-2
    )


def test_td3_never_trains_the_dynamics():
    start = weights(build_learner(make_config("td3", "tiny"), make_env("Pendulum-v1")))
    learner, tables = run(300, algorithm="td3")
    end = weights(learner)
    assert learner.dynamics_rounds == 0 and learner.updates == 101
    for name in start:
        if name.startswith("dynamics"):
            assert torch.equal(start[name], end[name])
        elif name.startswith("critic.weights"):
            assert not torch.equal(start[name], end[name])
    assert "dynamics_loss" not in tables["metrics"][-1]


def test_the_model_is_trained_on_its_interval():
    learner, _ = run(300, warmup_steps=110)
    assert learner.dynamics_rounds == 1 + 4  # at 110, then at 150, 200, 250, 300
    assert learner.updates == 191


def test_which_tables_get_which_rows():
    _, tables = run(260, eval_interval=130, eval_episodes=3)
    assert [row["step"] for row in tables["metrics"]] == [100, 200]
    assert [(row["step"], row["episode"]) for row in tables["evaluations"]] == [
        (s, e) for s in (130, 260) for e in range(3)
    ]
    assert [row["step"] for row in tables["timings"]] == [130, 260]
    assert set(tables["metrics"][0]) == {"step", "episodes"}
    assert {"critic_loss", "value_loss", "gradient_loss", "dynamics_loss", "episode_return", "episode_length"} <= set(
        tables["metrics"][1]
    )
    assert set(tables["evaluations"][0]) == {"step", "episode", "return"}
    parts = ("environment", "dynamics", "updates", "evaluation")
    assert set(tables["timings"][0]) == {"step", "seconds", *parts}
    assert all(sum(row[part] for part in parts) <= row["seconds"] + 0.01 for row in tables["timings"])


def test_a_hook_ends_the_run_after_the_step_under_way():
    learner, tables = run(300, stop_after="metrics", eval_interval=100, eval_episodes=1)
    assert learner.num_timesteps == 100
    assert len(tables["metrics"]) == len(tables["evaluations"]) == len(tables["timings"]) == 1


def test_the_recorder_keeps_means_over_calls_of_train():
    config, rows = make_config("td3", "tiny", warmup_steps=20), []
    for parts in ((100,), (50, 50)):
        learner, env = build_learner(config, make_env("Pendulum-v1")), make_env("Pendulum-v1")
        for steps in parts:
            keep = lambda table, new: rows.extend(new if table == "metrics" else []) is None
            train(learner, env, Evaluator(lambda: env, 1, 0), steps, keep)
    assert rows[0] == rows[1] and rows[0]["critic_loss"] > 0


def test_the_recorder_averages_each_loss_over_its_own_count():
    recorder = Recorder()
    recorder.losses({"critic_loss": torch.tensor(1.0)})
    recorder.losses({"critic_loss": torch.tensor(3.0), "actor_loss": torch.tensor(-5.0)})
    assert recorder.row(7, 2) == {"step": 7, "episodes": 2, "critic_loss": 2.0, "actor_loss": -5.0}


def test_updates_read_no_tensor():
    learner, _ = run(200)
    agent_update(learner)  # an actor update: both optimizers have a state now
    optimizers = (learner.actor_optimizer, learner.critic_optimizer)
    counters = {
        id(state["step"]) for optimizer in optimizers for state in optimizer.state.values()
    }  # RAdam's own, on the CPU

    class NoReads(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            read = getattr(func, "__name__", "") in ("item", "__float__", "tolist", "numpy", "cpu")
            assert not read or id(args[0]) in counters
            return func(*args, **(kwargs or {}))

    with NoReads():
        for _ in range(2):
            learner.recorder.losses(agent_update(learner))
    with pytest.raises(AssertionError), NoReads():
        learner.recorder.row(0, 0)


def test_policy_delay():
    learner, _ = run(200, policy_delay=3)  # one update made
    for expected in (False, True, False, False, True):
        before = weights(learner)
        losses = agent_update(learner)
        after = weights(learner)
        for name in ("actor.weights.0", "target_actor.weights.0"):
            assert torch.equal(before[name], after[name]) is not expected
        assert not torch.equal(before["target_critic.weights.0"], after["target_critic.weights.0"])
        assert ("actor_loss" in losses) is expected


def test_the_target_critic_waits_for_the_actor_where_it_is_told_to():
    for delayed in (False, True):
        learner, _ = run(205, delay_target_critic=delayed)
        for _ in range(4):
            before = weights(learner)
            agent_update(learner)
            changed = {
                name.split(".")[0] for name, tensor in weights(learner).items() if not torch.equal(tensor, before[name])
            }
            acting = learner.updates % 2 == 0
            assert ("target_actor" in changed) == acting and "critic" in changed
            assert ("target_critic" in changed) == (acting or not delayed)


def test_observations_are_left_as_they_are_where_that_is_asked_for():
    shown, left = (run(300, standardize_obs=value)[0] for value in (True, False))
    for name in NETWORKS[:4]:
        scale = getattr(left, name).obs_scale
        assert scale.mean.eq(0).all() and scale.std.eq(1).all()
        assert getattr(shown, name).obs_scale.mean.ne(0).any()
    assert left.dynamics.obs_mean.ne(0).any()  # the model normalizes in any case


def test_the_optimizer_is_the_configured_one():
    kinds = {"radam": torch.optim.RAdam, "adam": torch.optim.AdamW}
    for name, kind in kinds.items():
        learner = build_learner(make_config("mage", "tiny", optimizer=name), make_env("Pendulum-v1"))
        for optimizer in (learner.actor_optimizer, learner.critic_optimizer, learner.dynamics_optimizer):
            assert type(optimizer) is kind
        assert [g["weight_decay"] for g in learner.dynamics_optimizer.param_groups] == [
            learner.config.dynamics_weight_decay
        ]


def test_numbers_that_are_not_finite_stop_the_run():
    env = make_env("InvertedPendulum-v5")
    learner = build_learner(make_config("mage", "tiny", warmup_steps=1), env)
    environment_step(learner, env)
    with torch.no_grad():
        learner.actor.biases[-1].fill_(math.nan)
    with pytest.raises(ValueError, match="step 1: action .* is not finite"):
        environment_step(learner, env)
    assert learner.replay.added == 1

    class Broken(gym.Wrapper):
        def step(self, action):
            obs, reward, terminated, truncated, info = self.env.step(action)
            return obs, math.inf, terminated, truncated, info

    broken = Broken(make_env("Pendulum-v1"))
    learner = build_learner(make_config("mage", "tiny"), broken)
    with pytest.raises(ValueError, match="step 0: reward inf is not finite"):
        environment_step(learner, broken)


def test_a_replay_smaller_than_the_warm_up_still_learns():
    learner, _ = run(40, warmup_steps=30, replay_capacity=20)
    assert ready(learner) and learner.updates == 11


def test_the_loss_on_held_out_transitions_is_logged():
    """And it is the loss of the weights that the round ends with."""
    env = make_env("Pendulum-v1")
    learner = build_learner(make_config("mage", "tiny", dynamics_validation=0.2, warmup_steps=100), env)
    for _ in range(60):
        environment_step(learner, env)
    losses = dynamics_update(learner)
    expected = held_out_losses(learner.dynamics, learner.replay, 5).mean()
    assert torch.equal(losses["dynamics_held_out_loss"], expected) and losses["dynamics_loss"] != expected
    assert "dynamics_held_out_loss" not in dynamics_update(build_and_fill(env))
    nothing_yet = build_and_fill(env, steps=3, dynamics_validation=0.2)  # the fifth place is the first that is held out
    assert set(dynamics_update(nothing_yet)) == {"dynamics_loss"}


def build_and_fill(env, steps=60, **settings):
    learner = build_learner(make_config("mage", "tiny", warmup_steps=100, **settings), env)
    learner.obs = None
    for _ in range(steps):
        environment_step(learner, env)
    return learner


def test_begin_episode_and_dynamics_due_use_only_the_learner():
    env = make_env("Pendulum-v1")
    a, b = (build_learner(make_config("mage", "tiny", seed=3), env) for _ in range(2))
    begin_episode(a, env)
    begin_episode(b, env)
    assert np.array_equal(a.obs, b.obs)
    assert dynamics_due(a) and not dynamics_due(build_learner(make_config("td3", "tiny"), env))


def test_everything_that_normalizes_follows_the_statistics():
    """Of the 300 observations at step 300, a multiple of the interval, not of those at the first update."""
    learner, _ = run(300, warmup_steps=110)
    seen = learner.normalizer
    for network in (learner.actor, learner.critic, learner.target_actor, learner.target_critic):
        assert np.allclose(network.obs_scale.mean, seen.obs.mean, atol=1e-6)
        assert np.allclose(network.obs_scale.std, seen.obs.std(), atol=1e-6)
    for name in ("obs", "action", "delta"):
        assert np.allclose(getattr(learner.dynamics, f"{name}_mean"), getattr(seen, name).mean, atol=1e-6)
        assert np.allclose(getattr(learner.dynamics, f"{name}_std"), getattr(seen, name).std(), atol=1e-6)


def test_a_round_of_the_model_has_the_models_own_settings():
    learner = build_and_fill(
        make_env("Pendulum-v1"), dynamics_batches=3, dynamics_batch_size=24, dynamics_grad_clip=0.5
    )
    kernels, seen = learner.kernels, []

    def gradients_of(model, *batch):
        seen.append(tuple(batch[0].shape))
        return kernels.dynamics_gradients(model, *batch)

    def apply(gradients, optimizer, grad_clip):
        seen.append(grad_clip)
        kernels.apply_gradients(gradients, optimizer, grad_clip)

    learner.kernels = kernels._replace(dynamics_gradients=gradients_of, apply_gradients=apply)
    dynamics_update(learner)
    assert seen == [(2, 24, 3), 0.5] * 3


def test_every_network_has_its_own_sizes_and_learning_rate():
    sizes = dict(actor_layers=1, actor_width=8, critic_layers=2, critic_width=12, dynamics_layers=3, dynamics_width=20)
    learner = build_learner(
        make_config("mage", "tiny", actor_lr=1e-4, critic_lr=2e-4, dynamics_lr=3e-4, **sizes), make_env("Pendulum-v1")
    )
    hidden = [
        [weight.shape[-1] for weight in net.weights][:-1] for net in (learner.actor, learner.critic, learner.dynamics)
    ]
    assert hidden == [[8], [12, 12], [20, 20, 20]]
    optimizers = learner.actor_optimizer, learner.critic_optimizer, learner.dynamics_optimizer
    assert [optimizer.param_groups[0]["lr"] for optimizer in optimizers] == [1e-4, 2e-4, 3e-4]


def lengths(env_id, steps, **settings):
    env = make_env(env_id)
    learner = build_learner(make_config("mage", "tiny", **settings), env)
    ended = [environment_step(learner, env) for _ in range(steps)]
    return learner, [row["episode_length"] for row in ended if row]


def test_training_episodes_are_cut_as_by_a_time_limit_until_the_task_ends_one():
    learner, cut = lengths("Pendulum-v1", 200, train_max_steps=60)
    assert cut == [60, 60, 60] and learner.replay.data.terminated.sum() == 0
    _, growing = lengths("Pendulum-v1", 600, train_max_steps=60, train_growth=0.4)
    assert growing == [60, 60, 80, 134, 200]  # 60 until 150 steps are made; 200 is the task's own limit
    whole, maybe = (lengths("InvertedPendulum-v5", 200, seed=1, train_max_steps=most)[1] for most in (0, 8))
    assert whole == maybe and whole[0] < 8 < max(whole)  # a task that has ended an episode itself is left to do so


def test_the_statistics_are_of_what_is_stored():
    """Actions in [-1, 1], as the model sees them, and not in the environment's units."""
    learner, _ = run(150, algorithm="td3")
    stored, seen = [column[:150].numpy() for column in learner.replay.data], learner.normalizer
    for stats, column in ((seen.obs, stored[0]), (seen.action, stored[1]), (seen.delta, stored[3] - stored[0])):
        assert stats.count == 150
        assert np.allclose(stats.mean, column.mean(0), atol=1e-5) and np.allclose(stats.std(), column.std(0), atol=1e-5)
