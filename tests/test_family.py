"""The family of algorithms: one target and its knobs, so that neighbours coincide where their knobs do."""

import json
from pathlib import Path

import pytest
import torch
from test_updates import (
    ACT_DIM,
    BATCH,
    MEMBERS,
    OBS_DIM,
    actor_arguments,
    assert_close,
    make_pieces,
    plain_of,
    target_of,
)

from mage_edu import MAGEAgent
from mage_edu.config import ALGORITHMS, make_config
from mage_edu.engine.build import build_learner
from mage_edu.engine.plain import plain_actor_loss
from mage_edu.engine.resume import named_weights
from mage_edu.engine.rounds import agent_update
from mage_edu.engine.steps import environment_step
from mage_edu.envs import make_env
from mage_edu.targets import TargetNoise, bootstrapped_target, draw_noise, target_and_action_gradient
from mage_edu.updates import actor_gradients, critic_gradients

FEW = dict(
    size="tiny", warmup_steps=30, dynamics_batches=3, dynamics_interval=30, eval_interval=1000, log_interval=1000
)


def weights_after(algorithm, steps=60, **settings):
    agent = MAGEAgent("Pendulum-v1", algorithm, **(FEW | settings)).learn(steps)
    return {name: tensor.clone() for name, tensor in named_weights(agent.learner).items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    "one, other, settings",
    [
        ("mage", "dyna-td3", dict(gradient_weight=0.0)),
        ("mage-ddpg", "dyna-ddpg", dict(gradient_weight=0.0)),
        ("mve-td3", "td3", dict(horizon=1)),
        ("mage-k", "mage", dict(horizon=1)),
        ("mage-mix", "mage-k", dict(horizon_mix=1.0)),
        ("mage-mix", "mage", dict(horizon=1)),
        ("mage-ddpg", "mage", dict(twin=True, policy_delay=2, target_noise=0.2)),
        ("ddpg", "td3", dict(twin=True, policy_delay=2, target_noise=0.2)),
        ("gradient-only", "mage", dict(value_weight=1.0, gradient_weight=5.0)),
        ("maac", "dyna-td3", dict(actor_horizon=0)),
        ("ivg", "maac", dict(actor_horizon_mean=False)),
    ],
)
def test_neighbours_coincide_bit_for_bit(one, other, settings):
    assert same(weights_after(one, **settings), weights_after(other))
    assert not same(weights_after(one), weights_after(other))


def test_ivg_and_maac_agree_at_horizon_1():
    assert same(weights_after("ivg", actor_horizon=1), weights_after("maac", actor_horizon=1))
    assert not same(weights_after("ivg", actor_horizon=2), weights_after("maac", actor_horizon=2))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_row_agrees_with_the_plain_version(algorithm):
    config = make_config(algorithm, "tiny", members=MEMBERS, batch_size=BATCH)
    fast, plain = make_pieces(), make_pieces()
    loss, gradients = critic_gradients(config, fast["critic"], target_of(config, fast))
    reference = plain_of(config, plain)
    expected = torch.autograd.grad(reference.total, list(plain["critic"].parameters()))
    assert_close(loss.total, reference.total.detach())
    for gradient, reference in zip(gradients, expected, strict=True):
        assert_close(gradient, reference)
    loss, gradients = actor_gradients(*actor_arguments(config, fast))
    reference = plain_actor_loss(*actor_arguments(config, plain))
    expected = torch.autograd.grad(reference, list(plain["actor"].parameters()))
    assert_close(loss, reference.detach())
    for gradient, reference in zip(gradients, expected, strict=True):
        assert_close(gradient, reference)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_row_learns_without_breaking(algorithm):
    weights = weights_after(algorithm)
    assert all(tensor.isfinite().all() for tensor in weights.values())
    assert not same(weights, weights_after(algorithm, steps=30))


def test_the_page_of_algorithms_speaks_of_every_row():
    """Its equations are computed; its sentences about papers and deviations are not."""
    page = json.loads(
        (Path(__file__).resolve().parent.parent / "nbs" / "appendix" / "algorithms.ipynb").read_text(encoding="utf-8")
    )
    prose = "\n".join("".join(cell["source"]) for cell in page["cells"] if cell["cell_type"] == "markdown")
    headings = " ".join(line for line in prose.splitlines() if line.startswith("## "))
    shown = "".join("".join(cell["source"]) for cell in page["cells"] if cell["cell_type"] == "code")
    for name in ALGORITHMS:
        assert f"`{name}`" in headings and f'"{name}"' in shown, name
    assert prose.count("Deviations") >= 6 and prose.count("Command: `mage-edu train --algorithm") >= 7


def first_steps(noise, steps):
    return TargetNoise(noise.action, noise.dynamics[:steps], noise.smoothing[:steps])


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_mix_of_0_is_horizon_1_and_of_1_is_horizon_k(steps):
    pieces, settings = make_pieces(), dict(size="tiny", members=MEMBERS, batch_size=BATCH)
    noise = draw_noise(
        make_config("mage", horizon=steps, **settings), BATCH, OBS_DIM, ACT_DIM, torch.Generator().manual_seed(5)
    )
    noise = TargetNoise(*(x.double() for x in noise))
    arguments = (
        pieces["world"],
        pieces["target_actor"],
        pieces["target_critic"],
        pieces["batch"].obs,
        pieces["batch"].action,
    )
    for mix, horizon in ((0.0, 1), (1.0, steps)):
        mixed = target_and_action_gradient(
            make_config("mage", horizon=steps, horizon_mix=mix, **settings), *arguments, noise
        )
        alone = target_and_action_gradient(
            make_config("mage", horizon=horizon, **settings), *arguments, first_steps(noise, horizon)
        )
        assert_close(mixed[0].value, alone[0].value, 1e-14)
        assert_close(mixed[1], alone[1], 1e-12)


def test_a_ddpg_agent_has_one_critic_and_moves_its_actor_every_time():
    env = make_env("Pendulum-v1")
    learner = build_learner(make_config("ddpg", "tiny"), env)
    for _ in range(40):
        environment_step(learner, env)
    assert learner.critic.weights[0].shape[0] == 1
    assert all("actor_loss" in agent_update(learner) for _ in range(3))
    target = bootstrapped_target  # no smoothing noise: the target does not depend on it
    batch, config = learner.replay.sample(8), make_config("ddpg", "tiny", real_share=0.0)
    zero, one = (TargetNoise(torch.zeros(8, 1), torch.zeros(1, 8, 3), torch.full((1, 8, 1), x)) for x in (0.0, 1.0))
    values = [
        target(config, learner.world, learner.target_actor, learner.target_critic, batch.obs, batch.action, noise).value
        for noise in (zero, one)
    ]
    assert torch.equal(*values)
