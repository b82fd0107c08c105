"""The debugging ladder: every algorithm of the table passes six worlds whose answers are formulas, and gradient-only has no value to show.

Two rows of wrong algorithms see the ladder fail where it should.
"""

from __future__ import annotations

import pytest
import torch

from mage_edu import MAGEAgent
from mage_edu.config import ALGORITHMS
from mage_edu.envs import make_env
from mage_edu.loop import AgentNetworks
from mage_edu.probes import PROBES, Verdict, env_id, judge, probe_config, teach, verdict

ASK_FOR_A_VALUE = [name for name, probe in PROBES.items() if probe.value is not None]


def answered(name: str, algorithm: str, **settings) -> Verdict:
    config = probe_config(algorithm, **settings)
    return verdict(name, teach(name, config), config.discount)


def test_there_are_six_and_one_asks_for_no_value():
    assert (
        list(PROBES) == ["reward", "action", "discount", "termination", "limit", "slope"] and len(ASK_FOR_A_VALUE) == 5
    )


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "gradient-only"])
def test_every_algorithm_climbs_the_ladder(algorithm, name):
    assert answered(name, algorithm).complaint() is None


@pytest.mark.parametrize("name", ASK_FOR_A_VALUE)
def test_without_a_value_term_there_is_no_value(name):
    assert answered(name, "gradient-only").value_error > 0.3


def test_without_a_value_term_the_slope_is_right():
    assert answered("slope", "gradient-only").complaint() is None


@pytest.mark.parametrize("algorithm", ["mage", "td3"])
def test_the_engine_climbs_the_rung_that_only_it_can_break(algorithm):
    """A time limit that is stored as an end: that is done where the environment is stepped, not in an update."""
    config = probe_config(
        algorithm,
        warmup_steps=100,
        dynamics_interval=50,
        dynamics_batches=20,
        updates_per_step=2,
        eval_episodes=1,
        eval_interval=1_000,
    )
    agent = MAGEAgent(env_id("limit"), **config.to_dict(), compile=False)
    agent.learn(160)
    learner = agent.learner
    networks = AgentNetworks(learner.actor, learner.critic, learner.target_actor, learner.target_critic)
    assert verdict("limit", networks, config.discount).complaint() is None


def test_the_verdict_sees_each_kind_of_error():
    best, still = lambda obs: 0.5 * obs[:, :1], lambda obs: 0.0 * obs[:, :1]
    right = lambda obs, action: 1.0 - (action[:, 0] - 0.5 * obs[:, 0]) ** 2
    assert judge("action", best, right, 0.5).complaint() is None
    assert "off by 0.50" in judge("action", best, lambda obs, action: right(obs, action) + 0.5, 0.5).complaint()
    assert "0.50 from the best action" in judge("action", still, right, 0.5).complaint()
    assert "off by nan" in judge("reward", still, lambda obs, action: torch.nan * obs[:, 0], 0.5).complaint()
    assert (
        "off by 1.00" in judge("limit", still, lambda obs, action: torch.ones(len(obs)), 0.5).complaint()
    )  # a time limit as an end
    assert (
        "off by 0.94"
        in judge("termination", still, lambda obs, action: torch.full((len(obs),), 1.9375), 0.5).complaint()
    )
    climbing, falling = (lambda obs, action, sign=sign: sign * obs[:, 0] * action[:, 0] for sign in (1, -1))
    assert judge("slope", lambda obs: obs[:, :1], climbing, 0.5).complaint() is None
    assert "0% of the critic's slopes" in judge("slope", lambda obs: obs[:, :1], falling, 0.5).complaint()


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("discount", dict(discount=0.0)),  # nothing of the next state
        ("limit", dict(discount=0.0)),
        ("termination", dict(discount=0.9)),  # too much of it
        ("action", dict(actor_lr=1e-9)),  # an actor that stands still
    ],
)
def test_a_broken_setting_fails_its_rung(name, broken):
    config = probe_config("mage", **broken)
    assert verdict(name, teach(name, config), 0.5).complaint() is not None


def test_the_ids_give_the_same_worlds():
    for name, probe in PROBES.items():
        env = make_env(env_id(name))
        obs, _ = env.reset(seed=0)
        assert tuple(float(x) for x in obs) in probe.starts


def test_a_probe_has_no_simulator_and_says_what_asked_for_one():
    known = "no simulator of it here, and model='simulator', diagnose.. and diagnose_interval need it; use model='learned' and diagnose_interval=0. Known: Pendulum-v1.*Hopper-v5"
    with pytest.raises(ValueError, match=f"mage_edu/ProbeSlope-v0: there is {known}"):
        MAGEAgent(env_id("slope"), "mage", "tiny").diagnose()
    with pytest.raises(ValueError, match=known):
        MAGEAgent(env_id("slope"), "mage", "tiny", model="simulator")
