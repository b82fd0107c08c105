"""The relatives of the appendix: each one's update against an independent computation, its length, and the table they left."""

from __future__ import annotations

import ast
import importlib.util
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_imports import COURSE

from mage_edu import Critic, CriticTarget, make_config
from mage_edu.actor import Actor
from mage_edu.replay import Transitions
from mage_edu.targets import Step, TargetNoise
from mage_edu.updates import StateSlope, actor_gradients, critic_gradients

RESULTS = Path(__file__).resolve().parent.parent / "results" / "relatives"
spec = importlib.util.spec_from_file_location("collect_relatives", RESULTS / "collect.py")
collect = importlib.util.module_from_spec(spec)
spec.loader.exec_module(collect)
PAGE = SimpleNamespace(**collect.methods())
OBS, ACT, BATCH, DISCOUNT, END = 3, 2, 12, 0.9, 0.3


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def config_of(method, **settings):
    """The configuration with which a method runs, on small networks."""
    parts = {name: value for name, value in (PAGE.BRISK | PAGE.METHODS[method]).items() if not callable(value)}
    return make_config(
        **(parts | {"size": "tiny", "discount": DISCOUNT, "critic_width": 24, "batch_size": BATCH} | settings)
    )


def critic_of(method, seed=0, **settings):
    build = PAGE.METHODS[method]["critic"]
    return build(config_of(method, **settings), OBS, ACT, torch.Generator().manual_seed(seed)).double()


def actor_of(seed=1):
    return Actor(OBS, ACT, 2, 16, torch.Generator().manual_seed(seed)).double()


class LinearWorld:
    """s' = A s + B a, a reward that is quadratic in s' and a, and an end where the first number of s' is above END."""

    def __init__(self):
        self.A, self.B, self.w = 0.5 * drawn(OBS, OBS, seed=5), drawn(ACT, OBS, seed=6), drawn(ACT, seed=7)

    def next_obs(self, obs, action):
        return obs @ self.A + action @ self.B

    def reward(self, obs, action):
        return action @ self.w - 0.5 * action.square().sum(-1) + 0.1 * self.next_obs(obs, action).square().sum(-1)

    def step(self, obs, action, noise):
        next_obs = self.next_obs(obs, action)
        return Step(self.reward(obs, action), next_obs, (next_obs[:, 0] > END).to(obs.dtype))


def a_batch():
    action = drawn(BATCH, ACT, seed=2).tanh()
    return Transitions(
        drawn(BATCH, OBS, seed=1),
        action,
        drawn(BATCH, seed=3),
        drawn(BATCH, OBS, seed=4),
        (torch.arange(BATCH) % 3 == 0).double(),
    )


def some_noise(horizon=1):
    return TargetNoise(
        drawn(BATCH, ACT, seed=8), drawn(horizon, BATCH, OBS, seed=9), drawn(horizon, BATCH, ACT, seed=10)
    )


def test_nafs_advantage_is_quadratic_with_its_maximum_at_mu():
    critic, obs = critic_of("naf"), drawn(BATCH, OBS)
    value, best, _ = (part[0] for part in critic.parts(obs))
    assert (
        torch.allclose(critic(obs, best)[0], value)
        and critic.value_and_action_gradient(obs, best)[1].abs().max() < 1e-12
    )
    of_action = lambda row: lambda action: critic(obs[row : row + 1], action[None])[0, 0]
    for row in range(BATCH):
        bends = [
            torch.autograd.functional.hessian(of_action(row), at) for at in (drawn(ACT, seed=row), drawn(ACT, seed=99))
        ]
        assert (
            torch.allclose(*bends) and torch.linalg.eigvalsh(bends[0]).max() < 0.0
        )  # the same everywhere, and downwards
        away = drawn(ACT, seed=50 + row)
        assert torch.allclose(of_action(row)(best[row] + away), value[row] + 0.5 * away @ bends[0] @ away)


def test_nafs_targets_are_of_what_happened_and_of_every_imagined_step():
    config, world, actor, critic, batch = config_of("naf"), LinearWorld(), actor_of(), critic_of("naf"), a_batch()
    noise, steps = some_noise(config.horizon), config.horizon
    target = PAGE.naf_target(config, world, actor, None, critic, batch, noise)
    assert target.obs.shape == ((1 + steps) * BATCH, OBS) and target.gradient is None
    after = lambda obs: critic.parts(obs[None])[0][0, 0].item()
    for row in range(BATCH):  # one sample at a time
        obs, ends = batch.obs[row], 0
        expected = batch.reward[row] + DISCOUNT * (1 - batch.terminated[row]) * after(batch.next_obs[row])
        assert torch.isclose(target.value[row], expected)
        for i in range(steps):
            action = (actor(obs[None])[0] + config.imagined_noise * noise.smoothing[i, row]).clamp(-1, 1)
            next_obs, place = world.next_obs(obs, action), (1 + i) * BATCH + row
            over = bool(next_obs[0] > END)
            assert torch.allclose(target.obs[place], obs) and torch.allclose(target.action[place], action)
            value = world.reward(obs, action) + (0.0 if over else DISCOUNT * after(next_obs))
            assert torch.isclose(target.value[place], value)
            obs, ends = batch.obs[row] if over else next_obs, ends + over


def test_doubtful_samples_are_imagined_as_often_as_the_heads_disagree():
    many, variances = 40_000, torch.tensor([0.0, 0.25, 0.5, 1.0])
    heads = torch.tensor([-1.0, 1.0])[:, None] * (variances.repeat(many // 4) / 2).sqrt()  # two values, so var = 2 h^2
    noise = TargetNoise(None, None, torch.randn(1, many, ACT, generator=torch.Generator().manual_seed(0)))
    often = PAGE.doubtful(lambda obs, action: heads, SimpleNamespace(obs=None, action=None), noise).float()
    assert torch.allclose(often.reshape(-1, 4).mean(0), variances, atol=0.02)


def test_doubtful_targets_are_imagined_where_they_are_doubtful_and_stored_elsewhere():
    config, world, batch, noise = config_of("doubtful"), LinearWorld(), a_batch(), some_noise()
    actor, target_actor, critic = actor_of(1), actor_of(2), critic_of("doubtful")
    target = PAGE.doubtful_target(config, world, actor, target_actor, critic, batch, noise)
    imagined = PAGE.doubtful(critic, batch, noise)
    assert 0 < imagined.sum() < BATCH and target.value.shape == (5, BATCH)
    for row in range(BATCH):
        obs, action, reward, next_obs, over = (part[row] for part in batch)
        if imagined[row]:
            action = (actor(obs[None])[0] + config.imagined_noise * noise.action[row]).clamp(-1, 1)
            next_obs, reward = world.next_obs(obs, action), world.reward(obs, action)
            over = (next_obs[0] > END).double()
        after = critic(next_obs[None], target_actor(next_obs[None]))[:, 0]
        assert torch.allclose(target.action[row], action) and torch.allclose(
            target.value[:, row], reward + DISCOUNT * (1 - over) * after
        )
    assert torch.allclose(critic.minimum(batch.obs, batch.action), critic(batch.obs, batch.action).mean(0))


@pytest.mark.parametrize("method", ["gprop", "gradient-critic"])
def test_the_slope_critic_learns_the_slope_of_a_quadratic(method):
    """With a discount of 0, y = a w - a^2 / 2 + |A s + B a|^2 / 10, whose slope is known."""
    config, world = config_of(method, discount=0.0, critic_lr=1e-2), LinearWorld()
    actor, critic, draw = actor_of(), critic_of(method), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(critic.parameters(), 3e-3)
    for _ in range(1500):
        obs = torch.randn(64, OBS, generator=draw).double()
        batch, noise = (
            SimpleNamespace(obs=obs),
            TargetNoise(torch.randn(64, ACT, generator=draw).double(), torch.zeros(1, 64, OBS).double(), None),
        )
        target = PAGE.slope_target(config, world, actor, None, critic, batch, noise)
        for parameter, gradient in zip(critic.parameters(), critic_gradients(config, critic, target)[1]):
            parameter.grad = gradient
        optimizer.step()
    obs = drawn(200, OBS, seed=20)
    own = actor(obs).detach().requires_grad_()
    (truth,) = torch.autograd.grad(world.reward(obs, own).sum(), own)
    learned = critic.value_and_action_gradient(obs, torch.zeros_like(own))[1][0]
    assert (learned - truth).norm() < 0.2 * truth.norm()
    values = critic(obs, torch.zeros_like(own))[0]
    assert (values - world.reward(obs, own)).square().mean() < 0.1 * world.reward(obs, own).var()


def test_the_slope_critics_target_is_the_derivative_of_its_value():
    config, world, batch, noise, actor = (
        config_of("gradient-critic"),
        LinearWorld(),
        a_batch(),
        some_noise(),
        actor_of(),
    )
    critic = critic_of("gradient-critic")
    target = PAGE.slope_target(config, world, actor, None, critic, batch, noise)
    action = (actor(batch.obs) + config.imagined_noise * noise.action).clamp(-1, 1).detach()

    def value(action):
        step = world.step(batch.obs, action, None)
        return (
            step.reward + DISCOUNT * (1 - step.terminated) * critic(step.next_obs, torch.zeros(BATCH, ACT).double())[0]
        ).detach()

    assert torch.allclose(target.value, value(action)) and torch.allclose(target.action, action - actor(batch.obs))
    alive = target.gradient_mask > 0
    assert (
        torch.equal(1 - target.gradient_mask, world.step(batch.obs, action, None).terminated)
        and 0 < alive.sum() < BATCH
    )
    for column in range(ACT):
        push = 1e-6 * torch.eye(ACT)[column].double()
        assert torch.allclose(
            target.gradient[:, column][alive], ((value(action + push) - value(action - push)) / 2e-6)[alive], atol=1e-6
        )
    assert PAGE.slope_target(config_of("gprop"), world, actor, None, critic, batch, noise).gradient is None


def test_svg1s_actor_gradient_by_finite_differences_and_by_its_formula():
    config, world, actor, critic = config_of("svg1"), LinearWorld(), actor_of(), critic_of("svg1")
    obs = 0.3 * drawn(BATCH, OBS)
    _, gradients = actor_gradients(config, world, actor, critic, obs, torch.zeros(1, BATCH, OBS))

    @torch.no_grad()
    def gain():
        action = actor(obs)
        next_obs = world.next_obs(obs, action)
        alive = (next_obs[:, 0] <= END).double()
        return (
            (world.reward(obs, action) + DISCOUNT * alive * critic(next_obs, drawn(BATCH, ACT, seed=77))[0])
            .mean()
            .item()
        )

    for number, (parameter, gradient) in enumerate(zip(actor.parameters(), gradients)):
        direction = drawn(*parameter.shape, seed=30 + number)
        ends = []
        for sign in (1, -1):
            parameter.data += sign * 1e-6 * direction
            ends.append(gain())
            parameter.data -= sign * 1e-6 * direction
        assert np.isclose(-(gradient * direction).sum().item(), (ends[0] - ends[1]) / 2e-6, rtol=1e-4, atol=1e-8)
    action = actor(obs)
    next_obs = world.next_obs(obs, action).detach().requires_grad_()
    (of_value,) = torch.autograd.grad(critic(next_obs, action.detach())[0].sum(), next_obs)
    of_action = (
        world.w - action + 0.2 * next_obs @ world.B.T + DISCOUNT * (next_obs[:, :1] <= END) * (of_value @ world.B.T)
    )
    by_formula = torch.autograd.grad(action, list(actor.parameters()), -of_action.detach() / BATCH)
    assert all(torch.allclose(a, b) for a, b in zip(gradients, by_formula))


def affine_target(critic, obs, action):
    """A target y = c + g a + h s, its slopes as the library hands them out, and y as a function of shifts of both."""
    g, h, c, policy = (
        drawn(BATCH, ACT, seed=11),
        drawn(BATCH, OBS, seed=12),
        drawn(BATCH, seed=13),
        drawn(BATCH, ACT, OBS, seed=14),
    )
    along = torch.einsum("bao,ba->bo", policy, g) + critic.obs_scale.std * h
    one = torch.ones(BATCH).double()
    y = lambda of_obs, of_action: c + (g * of_action).sum(-1) + (h * critic.obs_scale.std * of_obs).sum(-1)
    return CriticTarget(obs, action, c, g, one, StateSlope(along, policy, one)), y


def test_the_taylor_update_is_the_mean_over_noise():
    """Where critic and target are linear in state and action, so are both factors, and the expansion is exact."""
    critic = Critic(OBS, ACT, 2, 6, torch.Generator().manual_seed(3), 2, activation="relu").double()
    critic.obs_scale.std.copy_(torch.tensor([0.5, 2.0, 3.0]))
    obs, action, parameters = drawn(BATCH, OBS, seed=21), drawn(BATCH, ACT, seed=22), list(critic.parameters())
    target, y = affine_target(critic, obs, action)
    weights = dict(gradient_weight=3e-9, state_slope_weight=2e-9)  # so small that no unit switches

    def update(of_obs, of_action):
        """Minus the update without expansion, at a shifted state and action."""
        value = critic(obs + critic.obs_scale.std * of_obs, action + of_action)
        loss = -((y(of_obs, of_action) - value).detach() * value).mean()
        return torch.autograd.grad(loss, parameters)

    still = torch.zeros(BATCH, OBS).double(), torch.zeros(BATCH, ACT).double()
    total = [torch.zeros_like(p) for p in parameters]
    for which, (variance, n) in enumerate(((weights["state_slope_weight"], OBS), (weights["gradient_weight"], ACT))):
        for i in range(n):
            for sign in (1.0, -1.0):  # two points a direction have the variance of the noise
                shifts = [part.clone() for part in still]
                shifts[which][:, i] = sign * variance**0.5
                moved = [a - b for a, b in zip(update(*shifts), update(*still))]
                total = [a + 0.5 * b for a, b in zip(total, moved)]
    ours = [
        torch.autograd.grad(PAGE.taylor_loss(config_of("taylor", **(weights | part)), critic, target).total, parameters)
        for part in ({}, dict(gradient_weight=1e-30, state_slope_weight=1e-30))
    ]
    expanded = [a - b for a, b in zip(*ours)]
    assert all(torch.allclose(1e9 * a, 1e9 * b, rtol=1e-4, atol=1e-6) for a, b in zip(expanded, total))
    assert max(1e9 * a.abs().max() for a in expanded) > 0.1


def test_taylors_action_term_is_mages_with_squared_losses():
    critic = Critic(OBS, ACT, 2, 16, torch.Generator().manual_seed(3), 2).double()
    obs, action = drawn(BATCH, OBS, seed=21), drawn(BATCH, ACT, seed=22)
    target, _ = affine_target(critic, obs, action)
    target = target._replace(gradient_mask=(torch.arange(BATCH) % 4 > 0).double())
    mage = make_config("mage", "tiny", critic_loss="squared", gradient_weight=0.7)
    _, theirs = critic_gradients(mage, critic, target._replace(state=None))
    loss = PAGE.taylor_loss(config_of("taylor", gradient_weight=0.7, state_slope_weight=0.0), critic, target)
    ours = torch.autograd.grad(loss.total, list(critic.parameters()))
    assert all(torch.allclose(a, b) for a, b in zip(ours, theirs)) and not torch.allclose(
        ours[0], torch.zeros_like(ours[0])
    )


def test_each_method_has_at_most_60_lines_on_the_public_face():
    cells = collect.sources()
    assert len(cells) == 7 and all(len(source.splitlines()) <= 60 for source in cells.values())
    for source in cells.values():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("mage_edu"):
                assert node.module == "mage_edu" or node.module.removeprefix("mage_edu.") in COURSE
            if isinstance(node, (ast.Attribute, ast.Name)):
                name = node.attr if isinstance(node, ast.Attribute) else node.id
                assert not name.startswith("_") or name.startswith("__")


def test_every_run_in_the_table_is_whole():
    rows = collect.read(RESULTS / "returns.csv")
    assert tuple(rows[0]) == collect.COLUMNS
    runs = {(row["env"], row["method"], row["seed"]) for row in rows}
    assert {run[0] for run in runs} <= set(PAGE.TASKS) and {run[1] for run in runs} <= set(PAGE.METHODS)
    steps = {task: range(500, last + 1, 500) for task, last in PAGE.TASKS.items()}
    counted = Counter((row["env"], row["method"], row["seed"], row["step"]) for row in rows)
    assert counted == Counter((*run, str(step)) for run in runs for step in steps[run[0]])


def test_the_program_makes_what_the_table_lacks(tmp_path, capsys):
    asked = ["--seeds", "0", "--tasks", "Pendulum-v1", "--steps", "500", "--out", str(tmp_path)]
    collect.main([*asked, "--methods", "svg1"])
    first = (tmp_path / "returns.csv").read_text()
    collect.main([*asked, "--methods", "td3", "svg1"])
    rows = collect.read(tmp_path / "returns.csv")
    assert [row["method"] for row in rows] == ["td3", "svg1"] and first.splitlines()[1] in (
        tmp_path / "returns.csv"
    ).read_text()
    assert capsys.readouterr().out.count("svg1") == 1
