"""Evaluation across modules: real environments side by side, and rendering in processes with and without OpenGL."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

from mage_edu.engine.pictures import plot_curves, rollout_frames
from mage_edu.envs import make_env
from mage_edu.evaluate import (
    Evaluator,
    bootstrap_interval,
    difference_interval,
    episode_returns,
    evaluation_seeds,
    iqm,
    summarize,
)


def row_policy(env, seed=0):
    "A deterministic policy whose rounding does not depend on the size of the batch."
    space = env.action_space
    weights = 0.1 * np.random.default_rng(seed).normal(size=(space.shape[0], env.observation_space.shape[0]))
    return lambda obs: (space.high * np.tanh((obs[:, None, :] * weights).sum(-1))).astype(space.dtype)


@pytest.mark.parametrize("env_id", ["Pendulum-v1", "InvertedPendulum-v5", "Hopper-v5"])
def test_side_by_side_equals_one_after_another(env_id):
    envs = [make_env(env_id) for _ in range(5)]
    policy, seeds = row_policy(envs[0]), evaluation_seeds(3, 1000, 5)
    together = episode_returns(policy, envs, seeds)
    alone = [episode_returns(policy, [make_env(env_id)], [seed])[0] for seed in seeds]
    assert together.tolist() == alone
    assert len(set(alone)) > 1  # different initial states
    assert episode_returns(policy, envs, seeds).tolist() == alone  # nothing is left over from the first time


def test_evaluations_do_not_depend_on_each_other():
    policy = row_policy(make_env("Hopper-v5"))
    often, once = (Evaluator(lambda: make_env("Hopper-v5"), 3, seed=5) for _ in range(2))
    earlier = [often.returns(policy, step).tolist() for step in (0, 1000)]
    assert earlier[0] != earlier[1]  # another step, other initial states
    assert often.returns(policy, 2000).tolist() == once.returns(policy, 2000).tolist()
    other_seed = Evaluator(lambda: make_env("Hopper-v5"), 3, seed=6)
    assert other_seed.returns(policy, 2000).tolist() != once.returns(policy, 2000).tolist()
    for evaluator in (often, once, other_seed):
        evaluator.close()
        assert evaluator.envs == []


def test_evaluation_leaves_global_generators_alone():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    evaluator = Evaluator(lambda: make_env("Pendulum-v1"), 2, seed=0)
    evaluator.returns(row_policy(make_env("Pendulum-v1")), 0)
    summarize([1.0, 2.0, 5.0])
    assert np.array_equal(np.random.get_state()[1], before)


def test_return_of_known_rewards():
    env = make_env("InvertedPendulum-v5")  # pays 1 for each step but the one that drops the pole
    lengths = []

    def counted(obs):
        lengths.append(1)
        return np.zeros((len(obs), 1), np.float32)

    returns = episode_returns(counted, [env], [0])
    assert returns.tolist() == [len(lengths) - 1]


def test_iqm_by_hand():
    assert iqm([1, 2, 3, 4, 5, 6, 7, 8]) == 4.5
    assert iqm([1, 2, 3, 4, 5, 6, 7, 1000]) == 4.5
    assert iqm([1000, 3, 1, 2]) == 2.5  # one from each end
    assert iqm([0.0, 0.0, 30.0]) == 10.0
    assert iqm(np.array([[1, 2, 3, 4], [5, 6, 7, 80]]), axis=1).tolist() == [2.5, 6.5]


@pytest.mark.parametrize("values", [(0.0, 3.0, 9.0), (1.0, 2.0, 4.0, 12.0), (-5.0, 0.0, 1.0, 40.0)])
@pytest.mark.parametrize("statistic", [np.mean, iqm])
def test_bootstrap_interval_against_all_resamples(values, statistic):
    results = [statistic(np.array(resample)) for resample in itertools.product(values, repeat=len(values))]
    exact = np.quantile(results, [0.025, 0.975], method="inverted_cdf")
    assert np.allclose(bootstrap_interval(values, statistic), exact)


def test_bootstrap_confidence_narrows_the_interval():
    values = np.random.default_rng(0).normal(size=20)
    low, high = bootstrap_interval(values)
    lower, higher = bootstrap_interval(values, confidence=0.5)
    assert low < lower < values.mean() < higher < high


def test_summary_of_a_known_sample():
    summary = summarize([1, 2, 3, 4, 5, 6, 7, 1000])
    assert summary["seeds"] == 8 and summary["mean"] == 128.5 and summary["iqm"] == 4.5
    assert summary["mean_low"] <= 128.5 <= summary["mean_high"]
    assert summarize([3.0]) == {"seeds": 1, "mean": 3.0, "iqm": 3.0}
    for bad in ([], [np.nan, 1.0], [[1.0, 2.0]]):
        with pytest.raises(ValueError, match="one per seed"):
            summarize(bad)


def test_difference_interval_is_welchs():
    """Against the formula written out, with unequal numbers and spreads, and in either order."""
    from scipy.stats import t as student

    a, b = np.array([5.0, 9.0, 1.0, 4.0, 7.0]), np.array([100.0, 20.0, 60.0])
    va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    half = student.ppf(0.95, freedom) * np.sqrt(va + vb)
    found = difference_interval(a, b, confidence=0.9)
    assert found.mean == pytest.approx(a.mean() - b.mean()) and found.half_width == pytest.approx(half)
    assert (found.low, found.high) == pytest.approx((found.mean - half, found.mean + half))
    back = difference_interval(b, a, confidence=0.9)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))
    assert difference_interval(a, b).half_width > found.half_width
    for bad in ([1.0], [], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="expected"):
            difference_interval(a, bad)


def test_curves_show_every_seed():
    steps = np.array([1000, 2000, 3000])
    seeds = [(steps, np.array([0.0, 1.0, 2.0])), (steps, np.array([4.0, 5.0, 6.0])), (steps[:2], np.array([2.0, 9.0]))]
    axes = plot_curves({"mage": seeds, "td3": seeds[:1]}, "title").axes[0]
    drawn = [(line.get_xdata().tolist(), line.get_ydata().tolist()) for line in axes.get_lines()]
    for seed_steps, returns in seeds:
        assert (seed_steps.tolist(), returns.tolist()) in drawn
    assert ([1000, 2000], [2.0, 5.0]) in drawn  # the mean, where all three seeds have values
    assert len(drawn) == 6
    assert [text.get_text() for text in axes.figure.legends[0].get_texts()] == ["mage (3 seeds)", "td3"]
    for bad in ({}, {"mage": []}, {"mage": [(steps, steps[:2])]}):
        with pytest.raises(ValueError, match="expected"):
            plot_curves(bad)


RENDER = """
import os
import gymnasium, numpy as np
from mage_edu.engine.pictures import rollout_frames

env = gymnasium.make("InvertedPendulum-v5", render_mode="rgb_array", width=64, height=48)
frames = rollout_frames(lambda obs: np.zeros((len(obs), 1), np.float32), env, seed=0, max_frames=2)
try:
    print("frames", [frame.shape for frame in frames], os.environ.get("MUJOCO_GL"))
except RuntimeError as error:
    print("refused", os.environ.get("MUJOCO_GL"), error)
"""

NO_EGL = """
import ctypes, ctypes.util
find, init = ctypes.util.find_library, ctypes.CDLL.__init__
ctypes.util.find_library = lambda name: None if "GL" in name else find(name)
def refuse(self, name, *args, **kwargs):
    if name and "GL" in str(name):
        raise OSError(f"{name}: not here")
    init(self, name, *args, **kwargs)
ctypes.CDLL.__init__ = refuse
"""


def render_in_a_process(script: str, **variables: str) -> str:
    "The script's output in a process without display, with these environment variables."
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL", "PYOPENGL_PLATFORM")
    environ = {name: value for name, value in os.environ.items() if name not in hidden} | variables
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="about Linux without a display")


@needs_linux
def test_rendering_without_a_display_says_what_to_install():
    said = render_in_a_process(RENDER, MUJOCO_GL="glfw")
    assert said.startswith("refused glfw") and "apt-get install libegl1" in said and "MUJOCO_GL=egl" in said


@needs_linux
def test_rendering_without_egl_says_what_to_install_and_takes_the_choice_back():
    said = render_in_a_process(NO_EGL + RENDER)
    assert said.startswith("refused None rendering does not work here") and "apt-get install libegl1" in said


@needs_linux
def test_rendering_chooses_egl_where_there_is_no_display():
    said = render_in_a_process(RENDER)
    if said.startswith("refused None") and "apt-get install libegl1" in said:
        pytest.skip("no EGL on this machine")
    assert said.strip() == "frames [(48, 64, 3), (48, 64, 3), (48, 64, 3)] egl"


def test_frames_need_an_environment_that_draws():
    with pytest.raises(ValueError, match="expected 'rgb_array'"):
        next(rollout_frames(lambda obs: obs, make_env("Pendulum-v1"), seed=0))


def test_intervals_of_a_summary_are_those_of_its_own_statistics():
    values = np.array([1.0, 2, 3, 4, 5, 6, 7, 1000])
    summary = summarize(values)
    assert (summary["mean_low"], summary["mean_high"]) == bootstrap_interval(values)
    assert (summary["iqm_low"], summary["iqm_high"]) == bootstrap_interval(values, iqm)
    assert summary["iqm_high"] < summary["mean_high"]
