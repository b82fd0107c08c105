"""Our `td3` against Stable-Baselines3's TD3: the same weights, batches and noise give the same updates; its tools take our agent."""

import dataclasses
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from mage_edu import MAGEAgent, loop
from mage_edu.engine.build import build_optimizer
from mage_edu.engine.learner import derive_seeds, episode_seed
from mage_edu.engine.rounds import agent_update
from mage_edu.engine.steps import in_env_units
from mage_edu.envs import make_env
from mage_edu.evaluate import episode_returns
from mage_edu.replay import Transitions
from mage_edu.targets import TargetNoise

pytest.importorskip(
    "stable_baselines3", reason="Stable-Baselines3 is a development dependency: pip install -e '.[dev]'"
)
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
from sb3 import Setting, our_agent, their_model  # noqa: E402

SMALL = Setting(width=32, batch_size=64, warmup_steps=200)


def stacked(modules):
    """Ours from theirs: weights (members, in, out) and biases (members, 1, out) of some `nn.Sequential`s of one shape."""
    layers = [[m for m in module if isinstance(m, torch.nn.Linear)] for module in modules]
    weights = [torch.stack([layer.weight.T for layer in column]) for column in zip(*layers)]
    biases = [torch.stack([layer.bias[None] for layer in column]) for column in zip(*layers)]
    return weights, biases


def pairs(learner, model):
    """(name, our parameter, theirs in our shape) of all four networks."""
    theirs = {
        "actor": [model.actor.mu],
        "target_actor": [model.actor_target.mu],
        "critic": model.critic.q_networks,
        "target_critic": model.critic_target.q_networks,
    }
    for name, modules in theirs.items():
        network, (weights, biases) = getattr(learner, name), stacked(modules)
        for kind, own, other in (("weights", network.weights, weights), ("biases", network.biases, biases)):
            for number, (a, b) in enumerate(zip(own, other, strict=True)):
                yield f"{name}.{kind}.{number}", a, b


def same_start(env_id, setting=SMALL, **settings):
    """Both sides with the weights of theirs, their buffer filled with random steps of theirs, ours with the same ones."""
    model = their_model(env_id, setting, seed=0)
    model.learn(setting.warmup_steps)
    agent = our_agent(env_id, setting, seed=1, **settings)
    learner = agent.learner
    with torch.no_grad():
        for _, own, other in pairs(learner, model):
            own.copy_(other)
    stored = model.replay_buffer._get_samples(np.arange(setting.warmup_steps))
    for obs, action, next_obs, over, reward in zip(
        stored.observations, stored.actions, stored.next_observations, stored.dones, stored.rewards
    ):
        learner.replay.add(obs.numpy(), action, reward.item(), next_obs.numpy(), bool(over))
    return learner, model


def update_both(learner, model, monkeypatch, number):
    """One update of each, on the same transitions of the two buffers and with the same smoothing noise."""
    index = np.random.default_rng(number).integers(0, SMALL.warmup_steps, SMALL.batch_size)
    act_dim = learner.replay.data.action.shape[1]
    torch.manual_seed(number)
    noise = torch.empty(SMALL.batch_size, act_dim).normal_(0.0, 1.0)
    nothing = torch.zeros(1)
    monkeypatch.setattr(
        learner.replay, "sample", lambda batch_size: Transitions(*(column[index] for column in learner.replay.data))
    )
    monkeypatch.setattr(loop, "draw_noise", lambda *arguments: TargetNoise(nothing, nothing, noise[None]))
    monkeypatch.setattr(
        model.replay_buffer, "sample", lambda batch_size, env=None: model.replay_buffer._get_samples(index)
    )
    agent_update(learner)
    torch.manual_seed(number)  # their noise is drawn from the global generator, first thing in the update
    model.train(gradient_steps=1, batch_size=SMALL.batch_size)


def largest_difference(learner, model):
    return max((own - other).abs().max().item() for _, own, other in pairs(learner, model))


@pytest.mark.parametrize("env_id", ["Pendulum-v1", "HalfCheetah-v5", "InvertedPendulum-v5"])  # the last one terminates
def test_the_same_weights_batch_and_noise_give_the_same_weights(env_id, monkeypatch):
    learner, model = same_start(env_id)
    assert largest_difference(learner, model) == 0.0
    terminated = learner.replay.data.terminated[: SMALL.warmup_steps].sum().item()
    assert (terminated > 0) == (env_id == "InvertedPendulum-v5")  # Pendulum's time limit of 200 is no termination
    start = {name: own.detach().clone() for name, own, _ in pairs(learner, model)}
    for number in range(4):  # two of them move the actor and all targets
        update_both(learner, model, monkeypatch, number)
        assert largest_difference(learner, model) < 1e-6, number
    assert learner.updates == model._n_updates == 4
    for name, own, _ in pairs(learner, model):
        assert (own - start[name]).abs().max() > (1e-3 if name.startswith(("actor", "critic")) else 1e-6), name


WRONG = [
    dict(activation="swish"),
    dict(optimizer="radam"),
    dict(critic_loss="huber"),
    dict(actor_climbs="minimum"),
    dict(delay_target_critic=False),
    dict(polyak=0.006),
    dict(discount=0.98),
    dict(target_noise=0.1),
    dict(policy_delay=1),
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: next(iter(wrong)))
def test_every_setting_is_seen_by_the_comparison(wrong, monkeypatch):
    """The control: with one setting changed on our side the weights come apart."""
    learner, model = same_start("HalfCheetah-v5")
    object.__setattr__(learner, "config", dataclasses.replace(learner.config, **wrong))
    if "activation" in wrong:
        for name in ("actor", "critic", "target_actor", "target_critic"):
            getattr(learner, name).activation = "swish"
    if "optimizer" in wrong:
        learner.critic_optimizer = build_optimizer(learner.config, learner.critic, learner.config.critic_lr)
    for number in range(4):
        update_both(learner, model, monkeypatch, number)
    assert largest_difference(learner, model) > 1e-6


def test_their_evaluate_policy_takes_our_agent_unchanged():
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import DummyVecEnv

    agent = MAGEAgent("Pendulum-v1", "td3", "tiny", seed=0, warmup_steps=100)
    agent.learn(300)
    theirs = DummyVecEnv([lambda: Monitor(make_env("Pendulum-v1"))])
    theirs.seed(7)
    returns, lengths = evaluate_policy(agent, theirs, n_eval_episodes=1, return_episode_rewards=True)
    ours = episode_returns(lambda obs: agent.predict(obs, deterministic=True)[0], [make_env("Pendulum-v1")], [7])
    assert lengths == [200] and returns == pytest.approx(ours.tolist(), rel=1e-5)
    mean, std = evaluate_policy(agent, make_env("Pendulum-v1"), n_eval_episodes=3, deterministic=True, warn=False)
    assert -2000 < mean < 0 < std


class SeededEpisodes(gym.Wrapper):
    """Begins every episode as our loop does; theirs seeds the first one only."""

    def __init__(self, env, seed):
        super().__init__(env)
        self.seed, self.episodes = seed, 0

    def reset(self, **kwargs):
        self.episodes += 1
        return self.env.reset(seed=episode_seed(self.seed, self.episodes - 1))


class OurDraws:
    """Our warm-up actions and exploration noise, drawn once more by a generator with the same seed.

    Theirs adds the noise to the random actions of the warm-up as well; here there is none for those.
    """

    def __init__(self, learner):
        self.generator = torch.Generator().manual_seed(derive_seeds(learner.config.seed).exploration)
        self.scale, self.act_dim, self.std = (
            learner.world.scale,
            learner.world.scale.low.numel(),
            learner.config.exploration_noise,
        )
        self.warming = False

    def warm_up(self):
        self.warming = True
        return in_env_units(self.scale, torch.rand(self.act_dim, generator=self.generator) * 2.0 - 1.0)

    def __call__(self):
        if self.warming:
            self.warming = False
            return np.zeros(self.act_dim)
        return self.std * torch.randn(self.act_dim, generator=self.generator).numpy()

    def reset(self):
        """Nothing: it keeps no state over an episode."""


@pytest.mark.parametrize(
    "env_id, limit", [("Pendulum-v1", 1e-3), ("InvertedPendulum-v5", 1e-3), ("HalfCheetah-v5", 1e-3)]
)
def test_the_whole_loop_is_the_same_with_the_same_random_numbers(env_id, limit, monkeypatch):
    """230 steps, the last 80 with updates: every stored transition and all weights agree. The tasks have a time limit, terminations, neither."""
    setting, steps = dataclasses.replace(SMALL, warmup_steps=150), 230
    agent, model = our_agent(env_id, setting, seed=3), their_model(env_id, setting, seed=0)
    learner, draws = agent.learner, OurDraws(agent.learner)
    with torch.no_grad():
        for _, own, other in pairs(learner, model):
            own.copy_(other)
    model.set_env(SeededEpisodes(make_env(env_id), 3))
    model.action_noise = draws
    monkeypatch.setattr(model.action_space, "sample", draws.warm_up)
    monkeypatch.setattr(
        model, "learning_starts", setting.warmup_steps - 1
    )  # theirs would begin to learn one step later
    choose = model._sample_action
    monkeypatch.setattr(model, "_sample_action", lambda starts, *rest: choose(setting.warmup_steps, *rest))
    rows = torch.Generator().manual_seed(derive_seeds(3).replay)
    nothing, updates = torch.zeros(1), [0]

    def our_noise(config, batch, obs_dim, act_dim, generator):
        torch.manual_seed(learner.updates)
        return TargetNoise(nothing, nothing, torch.empty(1, batch, act_dim).normal_(0.0, 1.0))

    def their_batch(batch_size, env=None):
        index = torch.randint(model.replay_buffer.size(), (batch_size,), generator=rows).numpy()
        torch.manual_seed(updates[0])
        updates[0] += 1
        return model.replay_buffer._get_samples(index)

    monkeypatch.setattr(loop, "draw_noise", our_noise)
    monkeypatch.setattr(model.replay_buffer, "sample", their_batch)
    agent.learn(steps)
    model.learn(steps)
    assert learner.updates == updates[0] == model._n_updates == steps - setting.warmup_steps + 1
    theirs, ours = model.replay_buffer._get_samples(np.arange(steps)), learner.replay.data
    names = {
        "obs": "observations",
        "action": "actions",
        "reward": "rewards",
        "next_obs": "next_observations",
        "terminated": "dones",
    }
    for name, other in names.items():
        own = getattr(ours, name)[:steps]
        torch.testing.assert_close(
            own, getattr(theirs, other).reshape(own.shape).float(), rtol=limit, atol=limit, msg=name
        )
    assert largest_difference(learner, model) < limit
    assert ours.terminated[:steps].sum() == (learner.episodes - 1 if env_id == "InvertedPendulum-v5" else 0)
    assert (learner.episodes > 1) == (env_id != "HalfCheetah-v5")
