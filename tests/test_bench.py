"""The bench returns rows with plausible content; how fast anything is, is never asserted."""

import json

import pytest
from torch.utils.flop_counter import FlopCounterMode

from mage_edu.config import make_config
from mage_edu.engine.bench import alternate, batch_products, bench, dynamics_batches, flops, update_products
from mage_edu.engine.build import build_learner
from mage_edu.engine.rounds import agent_update
from mage_edu.engine.steps import environment_step
from mage_edu.envs import make_env


def test_rows_exist_and_are_positive():
    said = []
    rows = bench(["tiny"], repeats=2, env_id="Pendulum-v1", report=said.append)
    assert [(row.part, row.version) for row in rows] == [
        ("update", "plain"),
        ("update", "eager"),
        ("dynamics batch", "eager"),
        *((f"step: {part}", "eager") for part in ("environment", "dynamics", "updates", "the rest")),
    ]
    assert all(len(row.milliseconds) == 2 and row.median > 0.0 and row.precision == "float32" for row in rows)
    assert all(len(row.limit) == 2 and 0.0 < row.fraction < 1.0 for row in rows[:3])
    assert "tiny" in said[-1] and "% of limit" in said[-1]


def test_an_algorithm_without_a_model_has_no_dynamics_batch():
    rows = bench(["tiny"], repeats=1, env_id="Pendulum-v1", report=lambda line: None, algorithm="td3")
    assert [row.part for row in rows[:3]] == ["update", "update", "step: environment"]


def test_rows_are_kept_as_json(tmp_path):
    rows = bench(
        ["tiny"],
        repeats=1,
        env_id="Pendulum-v1",
        report=lambda line: None,
        precisions=["bf16"],
        out=tmp_path / "bench.json",
    )
    kept = json.loads((tmp_path / "bench.json").read_text())
    assert kept["conditions"]["env"] == "Pendulum-v1" and kept["conditions"]["threads"] >= 1
    assert [row["median"] for row in kept["rows"]] == [row.median for row in rows]
    assert {row["precision"] for row in kept["rows"] if row["version"] == "eager"} == {"bf16"}


@pytest.mark.parametrize(
    "algorithm, settings",
    [
        ("mage", {}),
        ("mage-k", {}),
        ("dyna-td3", {}),
        ("mage-ddpg", {}),
        ("td3", {}),
        ("mage-half", {}),
        ("dyna-half", {}),
        ("mage-half", dict(real_share=0.9)),
        ("mage-half", dict(gradient_on="imagined")),
        ("mage-half", dict(gradient_on="stored")),
        ("mage", dict(critic_layers=3, actor_layers=1, members=4)),
    ],
)
def test_the_products_counted_from_shapes_are_those_that_are_computed(algorithm, settings):
    env = make_env("HalfCheetah-v5")
    learner = build_learner(make_config(algorithm, "tiny", warmup_steps=20, **settings), env)
    for _ in range(20):
        environment_step(learner, env)
    with FlopCounterMode(display=False) as counter:
        for _ in range(learner.config.policy_delay):
            agent_update(learner)
    assert flops(update_products(learner.config, 18, 6)) == counter.get_total_flops()
    if not learner.config.learns_model:
        return
    with FlopCounterMode(display=False) as counter:
        dynamics_batches(learner, 1)
    assert flops(batch_products(learner.config, 18, 6)) == counter.get_total_flops()


def test_products_that_are_not_counted_are_refused():
    with pytest.raises(ValueError, match="mve-td3: products are counted for horizon=1"):
        bench(["tiny"], algorithm="mve-td3")
    with pytest.raises(ValueError, match="Did you mean 'mage'"):
        bench(["tiny"], algorithm="mago")


def test_an_unknown_precision_is_refused_before_measuring():
    with pytest.raises(ValueError, match="unknown precision 'bf17'. Did you mean 'bf16'"):
        bench(["tiny"], precisions=["bf17"])


def test_candidates_alternate():
    calls = []
    seconds = alternate(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")},
        repeats=2,
        warm_up=1,
        clock=lambda: float(len(calls)),
    )
    assert "".join(calls) == "ababab"
    assert seconds == {"a": [1.0, 1.0], "b": [1.0, 1.0]}


def test_a_wrong_size_is_refused_before_measuring():
    with pytest.raises(ValueError, match="Did you mean 'laptop'"):
        bench(["labtop"])
