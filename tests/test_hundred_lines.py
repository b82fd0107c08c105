"""Lesson 02: the hundred lines are a hundred, stand alone, and make the library's update."""

from __future__ import annotations

import ast
import csv
import importlib.util
from pathlib import Path

import pytest
import torch

from mage_edu.actor import Actor
from mage_edu.config import make_config
from mage_edu.critic import Critic
from mage_edu.dynamics import Dynamics
from mage_edu.envs import ActionScale
from mage_edu.replay import Transitions
from mage_edu.targets import TargetNoise, World
from mage_edu.updates import actor_gradients, critic_gradients, critic_target, polyak_update

RESULTS = Path(__file__).resolve().parent.parent / "results" / "hundred_lines"
BATCH = 16

spec = importlib.util.spec_from_file_location("collect", RESULTS / "collect.py")
collect = importlib.util.module_from_spec(spec)
spec.loader.exec_module(collect)


@pytest.fixture()
def lesson():
    """What the lesson defines, in float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield collect.lesson()
    torch.set_default_dtype(before)


def stacked(network, plain):
    """Fill a stacked network of the library with the weights of the lesson's plain ones."""
    for layer, (weight, bias) in enumerate(zip(network.weights, network.biases)):
        for member, sequential in enumerate(plain):
            weight.data[member] = sequential[2 * layer].weight.data.T
            bias.data[member, 0] = sequential[2 * layer].bias.data
    return network


def flat(stack, plain):
    """The gradients or weights of a stack in the order of the lesson's parameters: a list with one tensor each."""
    layers = len(stack) // 2
    return [
        part
        for member in range(plain)
        for layer in range(layers)
        for part in (stack[layer][member].T, stack[layers + layer][member, 0])
    ]


def in_the_library(lesson, agent):
    """The lesson's networks, spreads and reward as the library has them, and a configuration that says what the lesson does."""
    init = torch.Generator().manual_seed(0)
    actors = [stacked(Actor(3, 1, 2, 64, init), [plain]) for plain in (agent.actor, agent.target_actor)]
    critics = [stacked(Critic(3, 1, 2, 64, init), plain) for plain in (agent.twins, agent.target_twins)]
    dynamics = stacked(Dynamics(3, 1, 2, 2, 64, -5.0, -1.0, init, "deterministic"), agent.models)
    for network in (*actors, *critics):
        network.obs_scale.std.copy_(lesson["OBS_SPREAD"])
    dynamics.obs_std.copy_(lesson["OBS_SPREAD"])
    dynamics.delta_std.copy_(lesson["DELTA_SPREAD"])
    scale = ActionScale(torch.full((1,), -2.0), torch.full((1,), 2.0))
    paid = lambda obs, action, next_obs: lesson["reward"](obs, scale.to_actor(action))
    world = World(dynamics, paid, lambda obs, action, next_obs: torch.zeros_like(obs[:, 0]), scale)
    return world, *actors, *critics


@pytest.mark.parametrize("gradient_weight", [None, 0.0])
def test_one_update_is_the_librarys(lesson, gradient_weight):
    weight = lesson["GRADIENT_WEIGHT"] if gradient_weight is None else gradient_weight
    agent = lesson["Agent"]()
    for parameter in (*agent.target_actor.parameters(), *agent.target_twins.parameters()):
        parameter.data.mul_(1.1)  # so that target and online networks are told apart
    for parameter in (*agent.actor[-1].parameters(), *agent.twins.parameters(), *agent.models.parameters()):
        parameter.data.mul_(1.5)
    world, actor, target_actor, critic, target_critic = in_the_library(lesson, agent)
    obs = torch.randn(BATCH, 3) * lesson["OBS_SPREAD"]
    config = make_config(
        "mage",
        "tiny",
        gradient_weight=weight,
        critic_loss="squared",
        discount=lesson["DISCOUNT"],
        preactivation_weight=lesson["PREACTIVATION_WEIGHT"],
        batch_size=BATCH,
        polyak=lesson["TAU"],
    )

    torch.manual_seed(7)
    lesson["update"](agent, 0, obs, weight)
    after = {
        name: [p.detach().clone() for p in getattr(agent, name).parameters()]
        for name in ("actor", "twins", "target_actor", "target_twins")
    }
    slopes = {name: [p.grad.clone() for p in getattr(agent, name).parameters()] for name in ("actor",)}

    torch.manual_seed(7)
    noise = TargetNoise(torch.zeros(BATCH, 1), torch.zeros(1, BATCH, 3), torch.randn(BATCH, 1)[None])
    empty = torch.zeros(BATCH)
    batch = Transitions(obs, torch.zeros(BATCH, 1), empty, obs, empty)
    target = critic_target(config, world, actor, target_actor, target_critic, batch, noise)
    assert (target.gradient is None) == (weight == 0.0)
    adam = lambda network: torch.optim.Adam(network.parameters(), lesson["LEARNING_RATE"])

    def step(network, gradients):
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            parameter.grad = gradient
        adam(network).step()

    step(critic, critic_gradients(config, critic, target)[1])
    polyak_update(target_critic, critic, config.polyak)
    actor_slopes = actor_gradients(config, world, actor, critic, obs, torch.zeros(0, BATCH, 3))[1]
    step(actor, actor_slopes)
    polyak_update(target_actor, actor, config.polyak)

    for mine, theirs in zip(slopes["actor"], flat(actor_slopes, 1), strict=True):
        assert (mine - theirs).norm() <= 1e-9 * theirs.norm()
    for name, network, members in (
        ("twins", critic, 2),
        ("target_twins", target_critic, 2),
        ("actor", actor, 1),
        ("target_actor", target_actor, 1),
    ):
        ordered = flat([*(p.detach() for p in network.weights), *(p.detach() for p in network.biases)], members)
        for mine, theirs in zip(after[name], ordered, strict=True):
            assert (mine - theirs).abs().max() <= 1e-9, name


def test_the_critics_gradients_are_the_librarys(lesson):
    agent = lesson["Agent"]()
    world, actor, target_actor, critic, target_critic = in_the_library(lesson, agent)
    obs = torch.randn(BATCH, 3) * lesson["OBS_SPREAD"]
    config = make_config(
        "mage",
        "tiny",
        gradient_weight=lesson["GRADIENT_WEIGHT"],
        critic_loss="squared",
        discount=lesson["DISCOUNT"],
        batch_size=BATCH,
    )
    torch.manual_seed(7)
    loss = lesson["critic_loss"](agent, obs, lesson["GRADIENT_WEIGHT"])
    mine = torch.autograd.grad(loss, list(agent.twins.parameters()))
    torch.manual_seed(7)
    noise = TargetNoise(torch.zeros(BATCH, 1), torch.zeros(1, BATCH, 3), torch.randn(BATCH, 1)[None])
    empty = torch.zeros(BATCH)
    batch = Transitions(obs, torch.zeros(BATCH, 1), empty, obs, empty)
    target = critic_target(config, world, actor, target_actor, target_critic, batch, noise)
    found, theirs = critic_gradients(config, critic, target)
    assert abs(loss.item() - found.total.item()) <= 1e-9 * abs(found.total.item()) and found.gradient > 0
    for one, other in zip(mine, flat(theirs, 2), strict=True):
        assert (one - other).norm() <= 1e-9 * other.norm()


def test_the_models_loss_is_the_librarys(lesson):
    agent = lesson["Agent"]()
    world, *_ = in_the_library(lesson, agent)
    obs, action, next_obs = torch.randn(BATCH, 3), torch.rand(BATCH, 1), torch.randn(BATCH, 3)
    theirs = world.dynamics.loss(*(x.expand(2, *x.shape) for x in (obs, action, next_obs)))
    assert (lesson["model_loss"](agent.models, obs, action, next_obs) - theirs).abs() <= 1e-9 * theirs


def test_the_reward_is_gymnasiums(lesson):
    import gymnasium as gym

    env = gym.make("Pendulum-v1")
    obs, _ = env.reset(seed=0)
    for action in torch.linspace(-1, 1, 50):
        next_obs, paid, *_ = env.step(2 * action[None].numpy())
        known = lesson["REWARD_UNIT"] * lesson["reward"](torch.tensor(obs)[None].double(), action[None, None])
        assert abs(float(paid) - known.item()) <= 1e-4
        obs = next_obs


def test_a_hundred_lines_that_stand_alone():
    sources = collect.lesson_code()
    assert sum(bool(line.strip()) for source in sources for line in source.splitlines()) <= 100
    imported = {
        name
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported == {"copy", "gymnasium", "torch"}


def test_the_kept_runs_solve_the_task_with_the_slope_and_not_without():
    names = collect.lesson()
    rows = [
        {name: float(value) for name, value in row.items()} for row in csv.DictReader((RESULTS / "final.csv").open())
    ]
    solved = {}
    for weight in (names["GRADIENT_WEIGHT"], 0.0):
        runs = [row for row in rows if row["gradient_weight"] == weight]
        assert sorted(row["seed"] for row in runs) == [0, 1, 2, 3, 4]
        solved[weight] = sum(row["mean"] >= -250 for row in runs)
    assert solved[names["GRADIENT_WEIGHT"]] >= 4 and solved[0.0] <= 1
    assert all(row["seconds"] <= 45 for row in rows)


def test_a_short_run_is_collected(tmp_path, monkeypatch):
    names = collect.lesson()
    names["STEPS"], names["RANDOM_STEPS"] = 200, 150
    monkeypatch.setattr(collect, "lesson", lambda: names)
    monkeypatch.setattr("sys.argv", ["collect.py", "--seeds", "3", "--out", str(tmp_path)])
    names["evaluate"] = lambda agent: -1.0
    for _ in range(2):  # twice the same run is one row
        collect.main()
    rows = list(csv.DictReader((tmp_path / "final.csv").open()))
    assert [(row["gradient_weight"], row["seed"], row["mean"]) for row in rows] == [
        (str(names["GRADIENT_WEIGHT"]), "3", "-1.0"),
        ("0.0", "3", "-1.0"),
    ]
    assert len(list(csv.DictReader((tmp_path / "returns.csv").open()))) == 2
