"""Does it learn? A fixed short run on the pendulum, beside what untrained agents get."""

import numpy as np

from mage_edu import MAGEAgent

SETTINGS = dict(  # chosen on seeds 0 and 100 to 105
    algorithm="mage",
    size="tiny",
    discount=0.95,
    polyak=0.02,
    critic_lr=3e-3,
    dynamics_lr=5e-3,
    dynamics_batch_size=128,  # a model that is learned too late holds the agent back
    warmup_steps=1_000,
    exploration_noise=0.3,
    imagined_noise=0.3,  # one random episode is not enough coverage: some seeds got stuck
    eval_interval=100_000,  # no evaluations along the way
)
STEPS = 4_500


def test_untrained_agents_do_not_swing_the_pendulum_up():
    means = [MAGEAgent("Pendulum-v1", seed=seed, **SETTINGS).evaluate(5, seed=1).mean() for seed in range(20)]
    print(f"20 untrained agents: mean {np.mean(means):.0f}, best {max(means):.0f}, worst {min(means):.0f}")
    assert np.mean(means) < -900
    assert max(means) < -600  # not one of them comes near the bound of the next test


def test_a_short_run_learns_to_swing_the_pendulum_up():
    agent = MAGEAgent("Pendulum-v1", seed=0, **SETTINGS).learn(STEPS)
    returns = agent.evaluate(20, seed=1)
    print(f"after {STEPS} steps: mean of 20 episodes {returns.mean():.0f}, worst {returns.min():.0f}")
    assert returns.mean() >= -300
