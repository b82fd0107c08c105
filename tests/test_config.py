"""The configuration refuses what cannot work, and named rows say what they promise."""

import dataclasses
import inspect
import json
import re
from pathlib import Path

import pytest

from mage_edu.agent import MAGEAgent
from mage_edu.cli import Sweep, Train
from mage_edu.config import ALGORITHMS, DEFAULT_ALGORITHM, SIZES, Config, make_config
from mage_edu.engine.storage import saved_settings
from mage_edu.settings import Settings, unknown_name
from mage_edu.targets import horizon_weights

ROOT = Path(__file__).resolve().parent.parent
FIELDS = dataclasses.fields(Config)
NOT_ZERO = [
    field.name for field in FIELDS if field.metadata and (field.metadata["above"] == 0 or field.metadata["low"] == 1)
]
NUMBERS = [field.name for field in dataclasses.fields(Config) if field.type in (int, float)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_is_possible_at_every_size(algorithm, size):
    config = make_config(algorithm, size)
    expected = {**SIZES[size], **ALGORITHMS[algorithm], "algorithm": algorithm, "size": size}
    assert {name: getattr(config, name) for name in expected} == expected
    assert config.uses_model == (
        config.real_share < 1.0 or config.stored_slope or config.horizon > 1 or config.actor_horizon > 0
    )


def test_layers_win_in_order():
    size_fields = SIZES["tiny"]
    name = next(iter(size_fields))
    assert getattr(make_config("mage", "tiny"), name) == size_fields[name] != getattr(Config(), name)
    assert make_config("td3", "tiny").real_share == 1.0 and Config().real_share == 0.0
    assert make_config("td3", "tiny", real_share=0.25).real_share == 0.25


def test_what_nobody_names_is_one_row_everywhere():
    """In Python, on the command line, in `make train` and first in a sweep; the fields' own defaults stay the authors'."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert make_config().algorithm == Train().algorithm == Sweep().algorithms[0] == DEFAULT_ALGORITHM == "mage-even"
    assert inspect.signature(MAGEAgent).parameters["algorithm"].default == DEFAULT_ALGORITHM
    assert re.findall(r"^ALGORITHM \?= (\S+)$", makefile, re.MULTILINE) == [DEFAULT_ALGORITHM]
    assert Config().to_dict() | {"size": "paper"} == make_config("mage", "paper").to_dict()


def test_tables_name_fields_only():
    names = {field.name for field in dataclasses.fields(Config)}
    for row in (*ALGORITHMS.values(), *SIZES.values()):
        assert set(row) <= names


def test_every_number_has_a_range_and_every_setting_a_meaning():
    without = {field.name for field in FIELDS if field.type in (int, float, float | None) and not field.metadata}
    assert without == {"log_var_min", "log_var_max"}  # these two are held against each other
    assert {"horizon", "actor_lr", "dynamics_clip", "members"} <= set(NOT_ZERO) and "actor_horizon" not in NOT_ZERO
    described = re.findall(r"^    (\w+): .*  # .+$", inspect.getsource(Settings), re.MULTILINE)
    assert described == [field.name for field in FIELDS]


def test_frozen_and_round_trip_through_json():
    config = make_config("mage", "tiny", seed=7, discount=0.9)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.discount = 0.5
    assert Config(**json.loads(json.dumps(config.to_dict()))) == config
    assert list(config.to_dict())[:3] == ["algorithm", "size", "seed"]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [True, "1", None, float("nan"), float("inf")])
def test_numbers_must_be_finite_numbers(name, value):
    with pytest.raises(ValueError, match=f"^{name}="):
        make_config(**{name: value})


@pytest.mark.parametrize("name", [name for name in NUMBERS if not name.startswith("log_var")])
def test_no_number_may_be_negative(name):
    with pytest.raises(ValueError, match=f"^{name}=-1: expected"):
        make_config(**{name: -1})


@pytest.mark.parametrize("name", NOT_ZERO)
def test_zero_is_refused_where_it_makes_no_sense(name):
    with pytest.raises(ValueError, match=f"^{name}=0: expected"):
        make_config(**{name: 0})


@pytest.mark.parametrize("value", [0, -1.0, True, "5", float("nan"), float("inf")])
def test_a_cut_is_a_positive_number_or_none(value):
    assert make_config().dynamics_clip is None and make_config(dynamics_clip=5).dynamics_clip == 5
    with pytest.raises(ValueError, match="^dynamics_clip=.*: expected a (finite )?number"):
        make_config(dynamics_clip=value)
    assert Config(**json.loads(json.dumps(make_config(dynamics_clip=None).to_dict()))).dynamics_clip is None


@pytest.mark.parametrize("name", ["discount", "polyak", "horizon_mix"])
def test_shares_end_at_one(name):
    assert getattr(make_config(**{name: 1.0}), name) == 1.0
    with pytest.raises(ValueError, match=f"{name}=1.01: expected a value between 0 and 1"):
        make_config(**{name: 1.01})


@pytest.mark.parametrize(
    "algorithm, overrides, sentence",
    [
        ("td3", dict(gradient_weight=5.0), "nothing would be asked about its slope"),
        ("mage", dict(real_share=1.0), "set gradient_weight=0, gradient_on='both' or another real_share"),
        ("mage", dict(gradient_on="stored"), "gradient_on='stored' and real_share=0.0"),
        ("mage", dict(real_share=1.5), "real_share=1.5: expected a value between 0 and 1"),
        ("td3", dict(start="model"), "use real_share=1.0 for start='replay' and real_share=0.0 for start='model'"),
        ("td3-slope", dict(batch_size=10, members=4), "choose a multiple"),
        ("mage", dict(value_weight=0.0, gradient_weight=0.0), "the critic would learn nothing"),
        ("mage", dict(batch_size=10, members=4), "choose a multiple"),
        ("td3", dict(horizon=2, batch_size=10, members=4), "choose a multiple"),
        ("mage", dict(log_var_min=0.0, log_var_max=0.0), "expected a value below log_var_max"),
        ("mage", dict(actor_horizon_mean=True), "there is no horizon to average over; raise actor_horizon"),
        ("mage", dict(train_growth=0.1), "no cut could grow; set train_max_steps, to 100 say"),
        ("td3", dict(actor_horizon=1, batch_size=10, members=4), "choose a multiple"),
        ("mage", dict(actor_horizon=-1), "actor_horizon=-1: expected a value of at least 0"),
        ("mage-half", dict(stored_noise="inferred", model="simulator"), "a simulator has no noise"),
        ("mage", dict(dynamics_validation=0.6), "dynamics_validation=0.6: expected a value between 0 and 0.5"),
        ("mage", dict(dynamics="determinstic"), "Did you mean 'deterministic'"),
        ("mage", dict(dynamics_sampling="all"), "unknown dynamics_sampling 'all'. Known: member, moments"),
        ("mage", dict(gradient_on="storred"), "Did you mean 'stored'"),
        ("mage", dict(activation="rulu"), "unknown activation 'rulu'. Did you mean 'relu'? Known: swish, relu."),
        ("mage", dict(optimizer="sgd"), "Known: radam, adam."),
        ("mage", dict(critic_loss=["squared"]), "Known: huber, squared, given."),
        ("mage", dict(actor_climbs=None), "Known: minimum, first."),
        ("mage", dict(twin="no"), "twin='no': expected a bool"),
        ("mage", dict(horizon=1.0), "horizon=1.0: expected an int"),
    ],
)
def test_impossible_combinations(algorithm, overrides, sentence):
    with pytest.raises(ValueError) as refusal:
        make_config(algorithm, "tiny", **overrides)
    assert sentence in str(refusal.value)


def test_possible_neighbours_of_the_impossible():
    assert make_config("mage", "tiny", value_weight=0.0).gradient_weight > 0
    assert make_config("td3", "tiny", batch_size=10, members=4).batch_size == 10  # no model, nothing to split
    assert make_config("td3", "tiny", horizon=2).uses_model and make_config("td3", "tiny", actor_horizon=1).uses_model
    assert make_config(
        "mage", "tiny", batch_size=10, members=4, dynamics_sampling="moments"
    ).uses_model  # nothing is split
    assert [make_config(dynamics_validation=v).validation_period for v in (0.0, 0.5, 0.25, 0.1, 0.03)] == [
        0,
        2,
        4,
        10,
        33,
    ]
    assert make_config("mage", "tiny", actor_horizon=2, actor_horizon_mean=True).gradient_weight > 0


@pytest.mark.parametrize(
    "arguments, overrides, sentence",
    [
        (("maeg",), {}, "unknown algorithm 'maeg'. Did you mean 'mage'?"),
        (("mage", "tiyn"), {}, "unknown size 'tiyn'. Did you mean 'tiny'?"),
        (("mage",), dict(discuont=0.9), "unknown setting 'discuont'. Did you mean 'discount'?"),
    ],
)
def test_unknown_names_get_a_suggestion(arguments, overrides, sentence):
    with pytest.raises(ValueError) as refusal:
        make_config(*arguments, **overrides)
    assert sentence in str(refusal.value)


def test_a_row_of_ones_own_is_a_row_and_a_saved_run_does_not_need_it(monkeypatch):
    monkeypatch.setitem(ALGORITHMS, "mage-5", dict(ALGORITHMS["mage-k"], horizon=5))
    config = make_config("mage-5", "tiny", seed=3)
    assert (config.algorithm, config.horizon, config.gradient_weight) == ("mage-5", 5, 5.0)
    monkeypatch.delitem(ALGORITHMS, "mage-5")
    assert make_config(**config.to_dict()) == config
    with pytest.raises(ValueError, match="unknown algorithm 'mage-5'"):
        make_config("mage-5", "tiny")
    with pytest.raises(ValueError, match="unknown setting 'horizn'"):
        make_config(**config.to_dict(), horizn=5)
    with pytest.raises(ValueError, match="nothing would be asked"):
        make_config(**config.to_dict() | {"real_share": 1.0})


def test_the_share_is_rounded_to_the_members_and_imagination_is_never_rounded_away():
    count = lambda share, batch=128, members=4: make_config(
        "dyna-half", real_share=share, batch_size=batch, members=members
    ).stored_count(batch)
    assert [count(share) for share in (0.0, 0.05, 0.5, 0.51, 0.95, 0.999, 1.0)] == [0, 8, 64, 64, 120, 124, 128]
    for share in (0.01, 0.3, 0.7, 0.97):
        for batch, members in ((128, 4), (96, 8), (30, 5)):
            stored = count(share, batch, members)
            assert (batch - stored) % members == 0 < batch - stored and abs(stored - share * batch) <= max(
                members / 2, members - (1 - share) * batch
            ) + 1e-9


def test_settings_that_are_gone_are_named_where_they_had_a_meaning(recwarn):
    config = make_config("mage", "tiny")
    assert (
        make_config(**saved_settings(config.to_dict() | {"on_divergence": "stop", "dynamics_early_choice": False}))
        == config
        and not recwarn
    )
    with pytest.warns(UserWarning, match="the setting on_divergence of this run is gone"):
        assert make_config(**saved_settings(config.to_dict() | {"on_divergence": "reset"})) == config


@pytest.mark.parametrize("start", ["modell", [], None, True])
def test_a_former_switch_that_is_neither_is_refused(start):
    with pytest.raises(ValueError, match="real_share"):
        make_config(**saved_settings(make_config("mage", "tiny").to_dict() | {"start": start}))


def test_a_file_with_the_former_switch_means_the_same():
    for name, start in (("td3", "replay"), ("mve-td3", "replay"), ("mage", "model"), ("maac", "model")):
        config = make_config(name, "laptop", seed=4)
        former = config.to_dict() | {"start": start}
        for later in ("real_share", "gradient_on", "stored_noise"):
            del former[later]
        assert make_config(**saved_settings(former)) == config


def test_no_suggestion_when_nothing_is_near():
    assert unknown_name("size", "xyz", ["tiny"]) == "unknown size 'xyz'. Known: tiny."


def test_mage_even_is_mage_half_with_a_weight_of_one():
    even, half = (
        make_config(name, **more).to_dict()
        for name, more in (("mage-even", {}), ("mage-half", dict(gradient_weight=1.0)))
    )
    assert even | {"algorithm": "mage-half"} == half


def test_a_share_that_rounds_to_nothing_has_no_stored_slope():
    with pytest.raises(ValueError, match="no such transition is in a batch"):
        make_config("td3-slope", "laptop", real_share=0.01, gradient_on="stored")
    assert make_config("dyna-half", "laptop", real_share=0.01).stored_count(128) == 0


def test_a_horizon_that_has_no_weight_uses_no_model():
    assert horizon_weights(3, 0.0) == [1.0]
    assert not make_config("mve-td3", "tiny", horizon_mix=0.0).uses_model
    assert make_config("mve-td3", "tiny", horizon_mix=0.1).uses_model
    assert make_config("mage-mix", "tiny", horizon_mix=0.0).uses_model  # its first step is imagined


def test_a_correlation_needs_two_states():
    assert make_config(diagnose_states=2).diagnose_states == 2
    with pytest.raises(ValueError, match="diagnose_states=1: expected a value of at least 2"):
        make_config(diagnose_states=1)
