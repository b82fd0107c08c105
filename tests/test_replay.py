"""The replay buffer is a ring with draws of its own; the running statistics are those of numpy."""

import numpy as np
import pytest
import torch

from mage_edu.engine.simulator import SimulatedReplay
from mage_edu.replay import Normalizer, ReplayBuffer, RunningStats, Transitions


def numbered(buffer, numbers):
    """Add transitions that carry their number in every column."""
    for n in numbers:
        buffer.add(np.full(3, n), np.full(2, n / 1000), n, np.full(3, n + 0.5), n % 2 == 1)
    return buffer


@pytest.mark.parametrize("total", [1, 6, 7, 8, 13, 14, 50])
def test_ring_keeps_the_last_transitions(total):
    buffer = numbered(ReplayBuffer(7, 3, 2, seed=0), range(total))
    kept = range(max(0, total - 7), total)
    assert len(buffer) == len(kept) == min(total, 7)
    for n in kept:
        row = [column[n % 7] for column in buffer.data]
        assert row[0].tolist() == [n] * 3 and row[3].tolist() == [n + 0.5] * 3
        assert torch.allclose(row[1], torch.full((2,), n / 1000))
        assert (row[2].item(), row[4].item()) == (n, n % 2)


def test_columns_are_allocated_once():
    buffer = ReplayBuffer(5, 3, 2, seed=0)
    before = [column.data_ptr() for column in buffer.data]
    numbered(buffer, range(23))
    assert [column.data_ptr() for column in buffer.data] == before
    assert [tuple(column.shape) for column in buffer.data] == [(5, 3), (5, 2), (5,), (5, 3), (5,)]
    assert all(column.dtype == torch.float32 for column in buffer.data)


def test_rows_of_a_sample_belong_together_and_none_is_empty():
    batch = numbered(ReplayBuffer(1000, 3, 2, seed=0), range(1, 31)).sample(5000)
    assert isinstance(batch, Transitions)
    assert set(batch.reward.int().tolist()) == set(range(1, 31))
    assert torch.equal(batch.obs, batch.reward[:, None].expand(-1, 3))
    assert torch.equal(batch.next_obs, batch.obs + 0.5)
    assert torch.equal(batch.terminated, batch.reward % 2)


def test_draws_are_uniform_over_a_wrapped_ring():
    buffer = numbered(ReplayBuffer(8, 3, 2, seed=3), range(21))
    counts = torch.bincount(buffer.sample(16_000).reward.long(), minlength=21)
    assert counts[:13].sum() == 0
    assert (counts[13:] - 2000).abs().max() < 5 * (16_000 / 8 * 7 / 8) ** 0.5


def test_draws_depend_on_the_seed_and_on_nothing_else():
    buffers = [numbered(ReplayBuffer(100, 3, 2, seed=seed), range(100)) for seed in (1, 1, 2)]
    torch.manual_seed(0)
    first = buffers[0].indices(50)
    torch.rand(10)
    np.random.rand(10)
    assert torch.equal(first, buffers[1].indices(50))
    assert not torch.equal(first, buffers[2].indices(50))


def test_sampling_leaves_the_global_generator_alone():
    buffer = numbered(ReplayBuffer(100, 3, 2, seed=1), range(100))
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    buffer.sample(10)
    assert torch.equal(torch.rand(3), expected)


def test_a_sample_is_a_copy():
    buffer = numbered(ReplayBuffer(4, 3, 2, seed=0), range(4))
    batch = buffer.sample(4)
    before = batch.reward.clone()
    numbered(buffer, range(100, 104))
    assert torch.equal(batch.reward, before)


@pytest.mark.parametrize(
    "changed, sentence",
    [
        (dict(obs=np.zeros(4)), "obs of shape (4,): expected (3,)"),
        (dict(obs=0.0), "obs of shape (): expected (3,)"),
        (dict(action=np.zeros((1, 2))), "action of shape (1, 2): expected (2,)"),
        (dict(reward=np.zeros(1)), "reward of shape (1,): expected ()"),
        (dict(next_obs=np.array([0.0, np.nan, 0.0])), "expected finite numbers"),
        (dict(reward=np.inf), "expected finite numbers"),
    ],
)
def test_bad_transitions_are_refused_and_not_stored(changed, sentence):
    buffer = ReplayBuffer(4, 3, 2, seed=0)
    good = dict(obs=np.zeros(3), action=np.zeros(2), reward=0.0, next_obs=np.zeros(3), terminated=False)
    with pytest.raises(ValueError) as refusal:
        buffer.add(**{**good, **changed})
    assert sentence in str(refusal.value) and len(buffer) == 0
    buffer.add(**good)
    assert len(buffer) == 1


def test_empty_buffer_and_empty_capacity_are_refused():
    with pytest.raises(ValueError, match="replay buffer is empty"):
        ReplayBuffer(4, 3, 2, seed=0).sample(1)
    with pytest.raises(ValueError, match="capacity=0"):
        ReplayBuffer(0, 3, 2, seed=0)


def test_running_stats_are_those_of_numpy():
    values = np.random.default_rng(0).normal(size=(3000, 5)) * [1, 1e-4, 1e4, 1, 0.1] + [0, 1, -1e5, 1e8, 3]
    stats = RunningStats(5)
    for n, value in enumerate(values, start=1):
        stats.add(value)
        if n in (2, 10, 3000):
            np.testing.assert_allclose(stats.mean, values[:n].mean(0), rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(stats.std(), values[:n].std(0), rtol=1e-6)
    assert stats.count == 3000


def test_constant_columns_map_to_zero():
    stats = RunningStats(3)
    for i in range(100):
        stats.add(np.array([5.0, 1e8, float(i)]))
    assert stats.std()[:2].tolist() == [1.0, 1.0] and stats.std()[2] > 1
    assert ((np.array([5.0, 1e8, 0.0]) - stats.mean) / stats.std())[:2].tolist() == [0.0, 0.0]
    assert RunningStats(2).std().tolist() == [1.0, 1.0]


def test_running_stats_refuse_other_shapes():
    with pytest.raises(ValueError, match="add one vector at a time"):
        RunningStats(3).add(np.zeros((2, 3)))


def test_normalizer_keeps_states_actions_and_deltas():
    rng = np.random.default_rng(1)
    obs, action, next_obs = rng.normal(size=(200, 3)), rng.uniform(-1, 1, size=(200, 2)), rng.normal(size=(200, 3))
    normalizer = Normalizer(3, 2)
    for row in zip(obs, action, next_obs):
        normalizer.add(*row)
    for stats, values in ((normalizer.obs, obs), (normalizer.action, action), (normalizer.delta, next_obs - obs)):
        np.testing.assert_allclose(stats.mean, values.mean(0), atol=1e-12)
        np.testing.assert_allclose(stats.std(), values.std(0), rtol=1e-12)


def test_the_simulators_states_are_kept_beside_the_observations():
    buffer = SimulatedReplay(3, 1, 1, seed=0, device="cpu", state_dim=2)
    for n in range(5):
        buffer.add([n], [0.0], n, [n + 1], False, [n, n / 3], [n + 1, (n + 1) / 3])
    batch = buffer.sample(50)
    assert set(batch.reward.tolist()) == {2.0, 3.0, 4.0} and batch.state.dtype == torch.float64
    assert torch.equal(batch.state[:, 1], batch.reward.double() / 3) and torch.equal(
        batch.next_state[:, 1], (batch.reward.double() + 1) / 3
    )
    with pytest.raises(ValueError, match="5 values: expected 7, obs.*next_state"):
        buffer.add([0.0], [0.0], 0.0, [0.0], False)
    with pytest.raises(ValueError, match="next_state of shape"):
        buffer.add([0.0], [0.0], 0.0, [0.0], False, [0.0, 1.0], [0.0])
    with pytest.raises(ValueError, match="6 values: expected 5"):
        ReplayBuffer(3, 1, 1, seed=0).add([0.0], [0.0], 0.0, [0.0], False, [0.0])
    assert buffer.added == 5
