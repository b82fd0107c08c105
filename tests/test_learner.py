"""The state of a learner is one value: all of it is saved and set back, and what is added to it cannot be forgotten."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pytest
import torch

from mage_edu import MAGEAgent
from mage_edu.config import make_config
from mage_edu.engine.build import build_learner
from mage_edu.engine.learner import MADE, Learner, leaves
from mage_edu.engine.rounds import agent_update, dynamics_update, learned_update, refresh_normalizers
from mage_edu.engine.steps import environment_step
from mage_edu.envs import make_env

SMALL = dict(size="tiny", warmup_steps=30, actor_width=8, critic_width=8, dynamics_width=8, learned_width=8)
SMALL |= dict(batch_size=8, dynamics_batches=2, replay_capacity=50)
LEARNED = dict(reward="learned", termination="learned")
CASES = [dict(), LEARNED, dict(model="simulator"), dict(algorithm="td3")]


def fresh(**settings):
    return build_learner(make_config(**(SMALL | settings)), make_env("Pendulum-v1"))


def lived(steps=70, **settings):
    """A learner whose every part has moved: a full ring, trained networks, a row under way."""
    learner, env = fresh(**settings), make_env("Pendulum-v1")
    for _ in range(steps):
        environment_step(learner, env)
    refresh_normalizers(learner)
    if learner.config.learns_model:
        learner.recorder.losses(dynamics_update(learner))
    learner.recorder.losses(learned_update(learner))
    for _ in range(3):
        learner.recorder.losses(agent_update(learner))
    learner.recorder.episode = {"episode_return": 1.5}
    learner.recorded = 7
    return learner


def differences(one, other):
    """The paths at which two states are not the same, to the bit."""
    found = [
        name
        for name in one.tensors.keys() | other.tensors.keys()
        if name not in one.tensors
        or name not in other.tensors
        or not torch.equal(one.tensors[name], other.tensors[name])
    ]
    a, b = one.facts["numbers"], other.facts["numbers"]
    found += [name for name in a.keys() | b.keys() if name not in a or name not in b or a[name] != b[name]]
    rows = [name for name in one.rows.columns if not torch.equal(one.rows.columns[name], other.rows.columns[name])]
    return sorted(found) + rows + ["added"] * (one.rows.added != other.rows.added)


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_what_is_saved_is_set_back(settings):
    learner, twin = lived(**settings), fresh(**settings)
    state = learner.save()
    assert len(differences(state, twin.save())) > 20
    twin.restore(state)
    assert differences(state, twin.save()) == []
    for one in (learner, twin):
        agent_update(one)
    assert differences(learner.save(), twin.save()) == [] != differences(state, twin.save())  # and it was a copy


def test_every_field_is_state_unless_it_is_named_as_made_again():
    saved = {path.split(".")[0] for path, _ in leaves("", lived(**LEARNED))}
    assert saved == {field.name for field in fields(Learner)} - MADE[Learner]
    assert MADE[Learner] == {"config", "sources", "eager", "kernels", "graphs"}


@dataclass
class Larger(Learner):
    """A learner with one more field of each kind."""

    temperature: float = 1.0
    target_entropy: torch.Tensor = None
    more: dict = None


def larger():
    learner = fresh()
    made = Larger(**{field.name: getattr(learner, field.name) for field in fields(Learner)})
    made.target_entropy, made.more = torch.zeros(2), {}
    return made


def test_a_field_that_is_added_is_saved_or_refused():
    learner, twin = larger(), larger()
    learner.temperature, learner.more = 0.25, {"a": 3}
    learner.target_entropy = torch.ones(2)
    learner.recorder.longest = 12  # an attribute of a part, too
    twin.recorder.longest = 0
    state = learner.save()
    assert state.facts["numbers"]["temperature"] == 0.25 and state.facts["numbers"]["recorder.longest"] == 12
    state.facts["numbers"].pop("more.a")  # what a fresh learner has not
    twin.restore(state)
    assert twin.temperature == 0.25 and twin.target_entropy.tolist() == [1.0, 1.0] and twin.recorder.longest == 12
    learner.more = object()
    with pytest.raises(TypeError, match="Learner.more: nothing says how a object is saved"):
        learner.save()


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda state: state.tensors.pop("actor.weights.0"), "do not fit .* 'actor.weights.0'"),
        (lambda state: state.tensors.update({"critic.weights.0": torch.zeros(1)}), "do not fit .* 'critic.weights.0'"),
        (lambda state: state.tensors.pop("actor_optimizer.0.exp_avg"), "do not fit .* 'actor_optimizer.0.exp_avg'"),
        (lambda state: state.tensors.pop("update_generator"), "do not fit .* 'update_generator'"),
        (lambda state: state.facts["numbers"].pop("updates"), "counters are not those"),
        (lambda state: state.facts["config"].update(discount=0.5), "other settings"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, sentence):
    state, twin = lived().save(), fresh()
    before = twin.save()
    change(state)
    with pytest.raises(ValueError, match=sentence):
        twin.restore(state)
    assert differences(before, twin.save()) == []


def test_rows_of_another_environment_are_refused():
    state, twin = lived().save(), fresh()
    columns = {name: torch.zeros(50, 9) for name in state.rows.columns}
    with pytest.raises(ValueError, match="rows of the checkpoint"):
        twin.restore(state._replace(rows=state.rows._replace(columns=columns)))


def test_a_run_that_was_cut_before_its_second_checkpoint_goes_on_from_step_0(tmp_path):
    class Cut(BaseException):
        pass

    def cut(agent, row):
        raise Cut

    quick = dict(algorithm="td3", size="tiny", warmup_steps=20, batch_size=16, log_interval=10, eval_interval=40)
    quick |= dict(eval_episodes=1, checkpoint_interval=40)
    whole = MAGEAgent("InvertedPendulum-v5", out=tmp_path / "whole", **quick).learn(80)
    with pytest.raises(Cut):
        MAGEAgent("InvertedPendulum-v5", out=tmp_path / "cut", **quick).learn(80, callback=cut)
    assert [path.stem.lstrip("0") for path in (tmp_path / "cut" / "checkpoint").glob("*.json")] == [""]
    MAGEAgent.load(tmp_path / "cut").learn(80, reset_num_timesteps=False)
    tables = [(tmp_path / run / "evaluations.csv").read_bytes() for run in ("whole", "cut")]
    assert tables[0] == tables[1] and whole.num_timesteps == 80
