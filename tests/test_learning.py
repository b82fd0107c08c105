"""Does it learn? A fixed short run on the pendulum, beside what untrained agents get."""
import numpy as np

from mage_edu import MAGEAgent

SETTINGS = dict(
    algorithm="mage", size="tiny", discount=0.95, polyak=0.02, actor_lr=1e-3, critic_lr=3e-3,
    dynamics_lr=5e-3, dynamics_batch_size=128,  # at size tiny, a model that is learned too late is what holds the agent back
    eval_interval=100_000,  # no evaluations along the way
)
STEPS = 3_500


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
