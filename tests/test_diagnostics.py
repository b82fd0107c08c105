"""The diagnostics against problems whose answers are known, and beside runs that they must not touch."""

import dataclasses
import math
from pathlib import Path

import gymnasium as gym
import pytest
import torch

from mage_edu import MAGEAgent, cli, make_config
from mage_edu.critic import Critic
from mage_edu.dynamics import Dynamics
from mage_edu.engine.diagnostics import (
    Diagnoser,
    Episode,
    agreement,
    ceiling,
    coverage,
    critic_action_gradient,
    critic_row,
    flat_actor_gradient,
    gain_along,
    jacobian_agreement,
    k_step_error,
    model_errors,
    moved,
    one_step_error,
    plot_diagnostics,
    plot_model,
    predict,
    rollout_return,
    spread,
    true_action_gradient,
    visited,
    windows,
)
from mage_edu.engine.simulator import SimulatedDynamics
from mage_edu.engine.storage import DIAGNOSTICS, RunFolder, read_table
from mage_edu.envs import ActionScale, make_env, never
from mage_edu.lqr import (
    action_value_matrix,
    expected_return,
    policy_gradient,
    quadratic,
    quadratic_gradients,
    random_lqr,
    second_moment,
)
from mage_edu.targets import World

SMALL = dict(
    size="tiny",
    seed=0,
    warmup_steps=40,
    eval_interval=60,
    eval_episodes=1,
    log_interval=30,
    checkpoint_interval=50,
    batch_size=16,
    dynamics_interval=20,
    dynamics_batches=5,
    actor_width=16,
    critic_width=16,
    dynamics_width=16,
)
QUICK = dict(diagnose_states=4, diagnose_horizon=5)


class Linear:
    """s' = A s + B a in the shape of a model of one member."""

    members = 1

    def __init__(self, A, B):
        self.A, self.B = A, B

    def sample(self, obs, action, noise=None):
        return obs @ self.A.T + action @ self.B.T


class Quadratic:
    """z'Mz in the shape of a critic."""

    def __init__(self, M):
        self.M = M

    def minimum(self, obs, action):
        return quadratic(self.M, obs, action)


def problem(seed, n=3, m=2):
    """A linear-quadratic world, its actor, states of the policy's visitation, and the true matrix of Q."""
    generator = torch.Generator().manual_seed(seed)
    lqr, K = random_lqr(generator, n, m)
    bound = torch.ones(m, dtype=torch.float64)
    world = World(
        Linear(lqr.A, lqr.B),
        lambda obs, action, next_obs: quadratic(lqr.C, obs, action),
        never,
        ActionScale(-bound, bound),
    )
    actor = torch.nn.Linear(n, m, bias=False, dtype=torch.float64)
    actor.weight.data.copy_(K)
    obs = torch.randn(64, n, generator=generator, dtype=torch.float64) @ torch.linalg.cholesky(second_moment(lqr, K)).T
    obs = obs * 0.5 / (obs @ K.T).abs().max()
    return lqr, K, world, actor, obs, action_value_matrix(lqr, K)


@pytest.mark.parametrize("seed", range(5))
def test_rollouts_give_the_exact_values_and_slopes(seed):
    lqr, K, world, actor, obs, M = problem(seed)
    action = (obs @ K.T + 0.1).detach()
    returns = rollout_return(world, actor, obs, action, lqr.discount, 400)
    assert torch.allclose(returns, quadratic(M, obs, action), rtol=1e-9)
    slopes = true_action_gradient(world, actor, obs, action, lqr.discount, 400, 0.05)
    assert torch.allclose(slopes, quadratic_gradients(M, obs, action)[1], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_differentiating_the_whole_return_gives_the_exact_policy_gradient(seed):
    lqr, K, world, actor, _, _ = problem(seed)
    root = torch.linalg.cholesky(lqr.init_cov)
    obs = torch.cat([root.T, -root.T]) * math.sqrt(3)  # six states whose second moment is the initial covariance
    gain = rollout_return(world, actor, obs, actor(obs), lqr.discount, 400).mean()
    assert torch.allclose(gain, expected_return(lqr, K), rtol=1e-9)
    assert torch.allclose(torch.autograd.grad(gain, actor.weight)[0], policy_gradient(lqr, K), rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("algorithm", ["td3", "maac"])
def test_the_row_of_a_critic_that_is_right_and_of_one_that_is_not(seed, algorithm):
    lqr, K, world, actor, obs, M = problem(seed)
    config = make_config(algorithm, "tiny", discount=lqr.discount, diagnose_horizon=400)
    right = critic_row(config, world, world, actor, Quadratic(M), obs)
    assert all(
        abs(right[name] - 1.0) < 1e-6
        for name in ("value_correlation", "q_gradient_cosine", "q_gradient_self", "policy_gradient_self")
    )
    assert right["q_gradient_error"] < 1e-6 and abs(right["value"] - right["discounted_return"]) < 1e-9
    change = torch.zeros_like(M)
    change[:3, 3:] = torch.randn(3, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    wrong = M + change + change.T
    row = critic_row(config, world, world, actor, Quadratic(wrong), obs)
    ours, exact = (quadratic_gradients(matrix, obs, obs @ K.T)[1] for matrix in (wrong, M))
    assert abs(row["q_gradient_cosine"] - torch.nn.functional.cosine_similarity(ours, exact, dim=1).mean()) < 1e-6
    assert abs(row["q_gradient_error"] - (ours - exact).norm() / exact.norm()) < 1e-6
    if algorithm == "td3":
        directions = [(g.T @ obs).flatten() for g in (ours, exact)]  # d(K s)/dK
        assert abs(row["policy_gradient_cosine"] - torch.nn.functional.cosine_similarity(*directions, dim=0)) < 1e-6


def test_what_a_look_ahead_actor_climbs_is_judged_not_its_critic():
    lqr, K, world, actor, obs, M = problem(1)
    blind = Quadratic(0.0 * M)  # rewards through the model are all that is left
    config = make_config("maac", "tiny", discount=lqr.discount, diagnose_horizon=400)
    row = critic_row(config, world, world, actor, blind, obs)
    assert row["q_gradient_cosine"] == 0.0 and row["policy_gradient_cosine"] > 0.5
    assert (
        critic_row(dataclasses.replace(config, actor_horizon=0), world, world, actor, blind, obs)[
            "policy_gradient_cosine"
        ]
        == 0.0
    )
    members = Linear(lqr.A, lqr.B)
    members.members = 4  # more of the same member changes nothing
    doubled = flat_actor_gradient(config, dataclasses.replace(world, dynamics=members), actor, Quadratic(M), obs)
    assert torch.allclose(doubled, flat_actor_gradient(config, world, actor, Quadratic(M), obs), rtol=1e-12)


def test_a_rollout_ends_where_its_world_does():
    counting = World(
        Linear(torch.eye(1), torch.ones(1, 1)),
        lambda o, a, n: n[..., 0],
        lambda o, a, n: n[..., 0] > 2.5,
        ActionScale(-torch.ones(1), torch.ones(1)),
    )
    returns = rollout_return(counting, torch.ones_like, torch.tensor([[0.0], [1.0], [9.0]]), torch.ones(3, 1), 0.5, 10)
    assert returns.tolist() == [1 + 0.5 * 2 + 0.25 * 3, 2 + 0.5 * 3, 10]


@pytest.mark.parametrize("name", ["Walker2d-v5", "Pusher-v5"])
def test_a_rollout_from_a_stored_state_pays_what_the_real_environment_pays(name):
    diagnoser, env = Diagnoser(make_config("mage", "tiny"), lambda: make_env(name)), make_env(name)
    feedback = 0.1 * torch.randn(
        env.observation_space.shape[0],
        env.action_space.shape[0],
        generator=torch.Generator().manual_seed(0),
        dtype=torch.float64,
    )
    policy = lambda obs: torch.tanh(obs @ feedback)
    obs, rewards = torch.as_tensor(env.reset(seed=0)[0])[None], []
    start = obs, diagnoser.truth.state_of(env)
    for _ in range(6):
        action = policy(obs)
        next_obs, reward, terminated, *_ = env.step(diagnoser.scale.to_env(action)[0].numpy())
        rewards.append(reward)
        obs = torch.as_tensor(next_obs)[None]
        assert not terminated
    returns = rollout_return(
        diagnoser.world, policy, start[0], policy(start[0]), 0.9, 6, torch.as_tensor(start[1])[None]
    )
    assert abs(returns.item() - sum(0.9**i * r for i, r in enumerate(rewards))) < 1e-6


def test_moves_of_the_action_stay_inside():
    seen = []
    watching = World(
        Linear(torch.eye(1), torch.ones(1, 1)),
        lambda o, a, n: seen.append(a) or 2.0 * a[..., 0],
        never,
        ActionScale(-torch.ones(1), torch.ones(1)),
    )
    slopes = true_action_gradient(
        watching, torch.zeros_like, torch.zeros(2, 1), torch.tensor([[1.0], [0.0]]), 0.9, 1, 0.3
    )
    assert torch.allclose(slopes, torch.full((2, 1), 2.0)) and max(a.abs().max() for a in seen) <= 1.0


def ensemble(seed=0):
    return Dynamics(3, 2, 4, 2, 8, -5.0, -1.0, torch.Generator().manual_seed(seed)).double()


def test_predictions_of_an_ensemble_are_those_of_its_members():
    model, draw = (
        ensemble(),
        lambda dim: torch.randn(10, dim, generator=torch.Generator().manual_seed(dim), dtype=torch.float64),
    )
    obs, action = draw(3), draw(2)
    mean, log_var = model.predict(model.stack(obs), model.stack(action))
    prediction = predict(model, obs, action)
    assert torch.allclose(prediction.means, obs + mean) and torch.allclose(prediction.stds, torch.exp(0.5 * log_var))
    samples = (
        obs
        + mean
        + torch.exp(0.5 * log_var)
        * torch.randn(20_000, *mean.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    )
    assert torch.allclose(prediction.mean, samples.mean((0, 1)), atol=0.01) and torch.allclose(
        prediction.std, samples.flatten(0, 1).std(0), rtol=0.01
    )
    assert torch.allclose(
        one_step_error(prediction, obs, prediction.mean), torch.zeros(3, dtype=torch.float64), atol=1e-12
    )
    model.sampling = "moments"  # what training draws from does not change what the members say
    assert torch.allclose(predict(model, obs, action).means, prediction.means) and model.sampling == "moments"
    model.sampling, model.kind = "member", "probabilistic"


def test_coverage_of_an_ensemble_that_made_the_data_itself():
    model, generator = ensemble(), torch.Generator().manual_seed(0)
    obs, action = (torch.randn(4_000, dim, generator=generator, dtype=torch.float64) for dim in (3, 2))
    one = Dynamics(3, 2, 1, 2, 8, -5.0, -1.0, torch.Generator().manual_seed(1)).double()
    outcome = one.sample(obs, action, torch.randn(obs.shape, generator=generator, dtype=torch.float64))
    inside = coverage(predict(one, obs, action), outcome, [0.5, 0.9])
    assert abs(inside[0] - 0.5) < 0.02 and abs(inside[1] - 0.9) < 0.02
    assert coverage(predict(model, obs, action), outcome, [0.9])[0] != inside[1]


def test_k_steps_follow_each_member():
    model, pieces = (
        ensemble(),
        Episode(
            torch.randn(6, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)),
            torch.zeros(6, 2, 2, dtype=torch.float64),
        ),
    )
    still, errors = torch.zeros(6, 3, dtype=torch.float64), torch.zeros(2, 4, 6, 3, dtype=torch.float64)
    for member in range(4):
        obs = pieces.obs[:, 0]
        for i in range(2):
            mean, _ = model.predict(model.stack(obs), model.stack(pieces.action[:, i]))
            obs = obs + mean[member]
            errors[i, member] = obs - pieces.obs[:, i + 1]
    expected = torch.stack(
        [errors[i].square().mean((0, 1)).sqrt() / (pieces.obs[:, i + 1] - pieces.obs[:, 0]).std(0) for i in range(2)]
    )
    assert torch.allclose(k_step_error(model, pieces), expected) and still.abs().sum() == 0


def test_the_models_jacobian_is_its_own():
    model, truth = ensemble(), SimulatedDynamics(make_env("Pendulum-v1"))
    pendulum = Dynamics(3, 1, 2, 2, 8, -5.0, -1.0, torch.Generator().manual_seed(0)).double()
    angle = torch.linspace(-3, 3, 5, dtype=torch.float64)
    obs, action = torch.stack([angle.cos(), angle.sin(), angle], -1), torch.zeros(5, 1, dtype=torch.float64)
    unit = torch.tensor([0.5, torch.nan, 2.0], dtype=torch.float64)
    found = jacobian_agreement(pendulum, truth, obs, action, unit)
    by_autograd = lambda f: torch.stack(
        [torch.autograd.functional.jacobian(lambda a: f(o[None], a[None])[0], x)[:, 0] for o, x in zip(obs, action)]
    )
    member = lambda i: lambda o, a: pendulum.sample(o.expand(2, 3), a.expand(2, 1), torch.zeros(2, 3))[i][None]
    keep = lambda jacobian: (jacobian / unit)[:, [0, 2]]
    ours, theirs = (
        torch.cat([keep(by_autograd(member(i))) for i in range(2)]),
        keep(by_autograd(truth.sample)).repeat(2, 1),
    )
    assert (
        abs(found.cosine - agreement(ours, theirs).cosine) < 1e-5
        and abs(found.error - agreement(ours, theirs).error) < 1e-5
    )
    assert (
        agreement(keep(by_autograd(truth.sample)), keep(by_autograd(truth.sample))).error < 1e-12 and model.members == 4
    )


def test_a_dimension_that_never_changes_is_left_out():
    assert spread(torch.tensor([[1.0, 2.0], [1.0, 4.0]])).isnan().tolist() == [True, False]
    diagnoser = Diagnoser(make_config("mage", "tiny", **QUICK), lambda: make_env("Reacher-v5"))
    agent = MAGEAgent("Reacher-v5", **SMALL)
    row = diagnoser.row(agent.learner.actor, agent.learner.critic, agent.learner.dynamics, 1)
    assert all(math.isfinite(value) for value in row.values())
    errors = diagnoser.per_dimension(agent.learner.actor, agent.learner.dynamics, 1)
    assert errors["model_error"].shape == (10,) and errors["model_error"].isnan().sum() == 2  # the target's place


def test_pieces_never_cross_from_one_episode_into_the_next():
    episodes = [
        Episode(torch.arange(4.0)[:, None], torch.arange(3.0)[:, None]),
        Episode(10 + torch.arange(3.0)[:, None], 10 + torch.arange(2.0)[:, None]),
    ]
    pieces = windows(episodes, 2)
    assert pieces.obs[..., 0].tolist() == [[0, 1, 2], [1, 2, 3], [10, 11, 12]] and pieces.action[..., 0].tolist() == [
        [0, 1],
        [1, 2],
        [10, 11],
    ]
    with pytest.raises(ValueError, match=r"\[3, 2\] steps.*4 steps"):
        windows(episodes, 4)
    assert set(visited(episodes, 0.0, 20, torch.Generator().manual_seed(0)).obs[:, 0].tolist()) == {
        0.0,
        10.0,
    }  # a discount of 0 sees first states only


def test_episodes_that_are_too_short_for_several_steps():
    short = [
        Episode(
            torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
            torch.zeros(2, 2, dtype=torch.float64),
        )
    ]
    assert set(model_errors(ensemble(), short, 5)) == {"model_error", "disagreement"}


@pytest.mark.parametrize(
    "settings", [dict(dynamics="deterministic"), dict(dynamics_sampling="moments"), dict(members=1)]
)
def test_every_kind_of_model_can_be_diagnosed(settings):
    row = MAGEAgent("Pendulum-v1", **(SMALL | settings)).learn(60).diagnose(states=4, horizon=5)
    assert all(math.isfinite(value) for value in row.values())
    assert (row["disagreement"] == 0.0) == (settings.get("members") == 1)


@pytest.mark.parametrize("self_cosine, expected", [(1.0, 1.0), (0.5, math.sqrt(2 / 3)), (0.0, 0.0), (-0.3, 0.0)])
def test_the_ceiling(self_cosine, expected):
    assert abs(ceiling(self_cosine) - expected) < 1e-12


@pytest.mark.parametrize("algorithm", ["mage", "td3", "maac"])
def test_a_run_with_diagnostics_is_the_same_run(tmp_path, algorithm):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    MAGEAgent("InvertedPendulum-v5", algorithm, out=tmp_path / "plain", **SMALL).learn(120)
    MAGEAgent("InvertedPendulum-v5", algorithm, out=tmp_path / "watched", diagnose_interval=25, **QUICK, **SMALL).learn(
        120
    )
    for name in ("metrics.csv", "evaluations.csv", "agent/weights.safetensors"):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "watched" / name).read_bytes()
    assert not (tmp_path / "plain" / "diagnostics.csv").exists() and torch.equal(torch.get_rng_state(), before)
    rows = read_table(tmp_path / "watched" / "diagnostics.csv")
    assert [row["step"] for row in rows] == [50, 75, 100]  # from the end of the warm-up, step 40, on
    assert all(math.isfinite(row["policy_gradient_cosine"]) for row in rows)
    assert all(math.isnan(row["model_error"]) == (algorithm == "td3") for row in rows)


def test_a_resumed_run_has_the_same_diagnostics(tmp_path):
    settings = dict(diagnose_interval=20, **QUICK, **SMALL)
    MAGEAgent("Pendulum-v1", out=tmp_path / "whole", **settings).learn(110)
    MAGEAgent("Pendulum-v1", out=tmp_path / "parts", **settings).learn(100)
    (tmp_path / "parts" / "diagnostics.csv").open("a").write(
        (tmp_path / "whole" / "diagnostics.csv").read_text().splitlines()[-1] + "\n"
    )  # lost with the steps after the checkpoint
    MAGEAgent.load(tmp_path / "parts").learn(10, reset_num_timesteps=False)
    assert (tmp_path / "whole" / "diagnostics.csv").read_bytes() == (
        tmp_path / "parts" / "diagnostics.csv"
    ).read_bytes()


def test_an_environment_that_cannot_be_diagnosed_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="MountainCarContinuous-v0"):
        MAGEAgent("MountainCarContinuous-v0", "td3", out=tmp_path / "run", diagnose_interval=100)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="diagnose_interval=-1"):
        make_config(diagnose_interval=-1)


@pytest.mark.parametrize(
    "make, why",
    [
        (lambda: "MountainCarContinuous-v0", "MountainCarContinuous-v0 has no formulas here"),
        (lambda: gym.wrappers.TransformReward(gym.make("Pendulum-v1"), abs), "Pendulum-v1 wrapped in TransformReward"),
    ],
)
def test_what_cannot_be_diagnosed_is_told_with_the_settings_that_ask_for_it(make, why):
    advice = r".*diagnose\(\) and diagnose_interval .*: use diagnose_interval=0, or a known environment"
    with pytest.raises(ValueError, match=why + advice):
        MAGEAgent(make(), "td3", **SMALL).diagnose(states=4, horizon=5)
    with pytest.raises(ValueError, match=why + advice):
        MAGEAgent(make(), "td3", diagnose_interval=5, **SMALL)


def test_the_command_line_prints_every_number_and_draws(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    agent = MAGEAgent("Pendulum-v1", out="run", diagnose_interval=50, **QUICK, **SMALL).learn(100)
    assert cli.main(["diagnose", "run", "--states", "4", "--horizon", "5"]) == 0
    said = capsys.readouterr().out
    row = agent.diagnose(states=4, horizon=5)
    assert set(row) == set(DIAGNOSTICS)
    assert all(f"{name:<24}{value:>10.3f}" in said for name, value in row.items() if name != "step")
    assert "model_error per dimension: " in said and (tmp_path / "run" / "diagnostics.png").stat().st_size > 10_000
    assert (
        tmp_path / "run" / "model.png"
    ).stat().st_size > 10_000 and f"the model: {Path('run') / 'model.png'}" in said
    MAGEAgent("Pendulum-v1", "td3", out="plain", **SMALL).learn(50)
    assert cli.main(["diagnose", "plain", "--states", "4", "--horizon", "5"]) == 0
    said = capsys.readouterr().out
    assert (
        "q_gradient_cosine" in said
        and "model_error" not in said
        and "over training" not in said
        and not Path("plain/model.png").exists()
    )
    assert cli.main(["diagnose", "nowhere"]) == 2 and "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("lengths, members", [((60, 12), 4), ((3, 2), 1)])
def test_the_picture_of_a_model_shows_what_it_says(lengths, members):
    model, generator = (
        Dynamics(3, 2, members, 2, 8, -5.0, -1.0, torch.Generator().manual_seed(0)).double(),
        torch.Generator().manual_seed(1),
    )
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    episodes = [Episode(draw(steps + 1, 3), draw(steps, 2)) for steps in lengths]
    figure = plot_model(model, episodes, "title", dimension=1)
    scatter, errors, growth, path = figure.axes
    ones = windows(episodes, 1)
    prediction = predict(model, ones.obs[:, 0], ones.action[:, 0])
    line = scatter.containers[0].lines[0]
    assert torch.allclose(torch.as_tensor(line.get_xdata()), ones.obs[:, 1, 1] - ones.obs[:, 0, 1])
    assert torch.allclose(torch.as_tensor(line.get_ydata()), (prediction.mean - ones.obs[:, 0])[:, 1])
    bars = torch.tensor([bar.get_height() for bar in errors.containers[0]])
    assert torch.allclose(bars.double(), one_step_error(prediction, ones.obs[:, 0], ones.obs[:, 1]))
    assert len(growth.lines[-1].get_xdata()) == min(20, max(lengths) // 2) and len(path.lines) == members + 2
    worst = plot_model(model, episodes, "title").axes[0].get_xlabel()
    assert worst == f"true change of dimension {int(bars.argmax())}" and all(
        axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes
    )


def test_a_picture_of_rows_with_and_without_a_model():
    row = {"step": 1.0, "q_gradient_cosine": 0.5, "policy_gradient_cosine": 0.2, "policy_gradient_self": 0.5}
    figure = plot_diagnostics([row, row | {"step": 2.0, "model_error": 0.3, "jacobian_cosine": 0.9}], "title")
    assert [len(axes.lines) for axes in figure.axes] == [5, 2] and all(
        axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes
    )


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("step,q_gradient_cosine\n1,0.5\n", "the column policy_gradient_self is missing"),
        ("policy_gradient_self\n0.5\n", "the column step is missing"),
        ("step,policy_gradient_self\n1,much\n", "the column policy_gradient_self holds 'much'"),
        ("step,policy_gradient_self,model_error\n1,0.5,much\n", "the column model_error holds 'much'"),
        ("step,policy_gradient_self,model_error\n1,,\n2,nan,inf\n", None),  # what a run may have written
    ],
)
def test_a_damaged_table_of_diagnostics_gets_a_sentence(table, sentence, tmp_path):
    run = RunFolder(tmp_path / "run").create({"env": "Pendulum-v1", "config": make_config("mage", "tiny").to_dict()})
    run.diagnostics.path.write_text(table)
    if sentence is None:
        cli.draw_diagnostics(run.path)
    else:
        with pytest.raises(ValueError, match=f"diagnostics.csv of mage on Pendulum-v1: {sentence}"):
            cli.draw_diagnostics(run.path)
    assert run.diagnosis.exists() == (sentence is None)


@pytest.mark.parametrize("seed", range(3))
def test_the_gain_along_a_direction_is_the_slope_of_the_return(seed):
    lqr, K, world, actor, obs, M = problem(seed)
    slope = torch.autograd.grad(rollout_return(world, actor, obs, actor(obs), lqr.discount, 300).mean(), actor.weight)[
        0
    ].flatten()
    direction = torch.randn(6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    other = moved(actor, direction, obs, 1e-4)
    assert abs((other(obs) - actor(obs)).square().sum(-1).mean().sqrt().item() - 1e-4) < 1e-9
    step = (other.weight - actor.weight).flatten().detach()
    assert torch.nn.functional.cosine_similarity(step, direction, dim=0) > 1 - 1e-9 and torch.equal(actor.weight, K)
    gain, stderr = gain_along(world, actor, direction, obs, lqr.discount, 300, 1e-4)
    assert abs(gain - (slope @ step).item()) < 1e-3 * abs(gain) and 0.0 < stderr
    assert gain_along(world, actor, 0.0 * direction, obs, lqr.discount, 300, 0.1) == (0.0, 0.0)
    row = critic_row(
        make_config("td3", "tiny", discount=lqr.discount, diagnose_move=1e-4), world, world, actor, Quadratic(-M), obs
    )
    assert (
        row["true_gain"] > 0 and abs(row["climb_gain"] + row["true_gain"]) < 1e-2 * row["true_gain"]
    )  # the reversed critic loses what the true one gains


def test_a_sweep_joins_the_diagnostics_of_its_runs(tmp_path, capsys):
    overrides = ",".join(
        f"{name}={value}"
        for name, value in (SMALL | QUICK | {"diagnose_interval": 50}).items()
        if name not in ("size", "seed")
    )
    words = [
        "sweep",
        "--envs",
        "Pendulum-v1",
        "--algorithms",
        "mage",
        "td3",
        "--seeds",
        "3",
        "--steps",
        "100",
        "--size",
        "tiny",
        "--out",
        str(tmp_path / "s"),
    ]
    assert cli.main([*words, "--overrides", overrides, "default"]) == 0
    assert f"diagnostics: {tmp_path / 's' / 'diagnostics.csv'}" in capsys.readouterr().out
    rows = read_table(tmp_path / "s" / "diagnostics.csv")
    assert [(row["algorithm"], row["label"] == overrides, row["seed"], row["step"]) for row in rows] == [
        (algorithm, True, 3, step) for algorithm in ("mage", "td3") for step in (50, 100)
    ]
    own = read_table(tmp_path / "s" / "Pendulum-v1" / f"td3-{overrides}" / "seed-3" / "diagnostics.csv")
    assert all(rows[2][name] == value or math.isnan(value) for name, value in own[0].items())


def test_gradients_are_judged_where_the_policy_goes_and_the_model_where_exploration_does():
    learner = MAGEAgent("Pendulum-v1", **SMALL).learner
    networks = learner.actor, learner.critic, learner.dynamics
    judges = [
        Diagnoser(make_config("mage", "tiny", exploration_noise=noise, **QUICK), lambda: make_env("Pendulum-v1"))
        for noise in (0.1, 0.8)
    ]
    little, much = (judge.row(*networks, 1) for judge in judges)
    changed = {name for name in little if little[name] != much[name]}
    assert (
        {"model_error", "disagreement"}
        <= changed
        <= {"model_error", "model_error_k", "disagreement", "coverage_90", "jacobian_cosine", "jacobian_error"}
    )


def test_the_coverage_in_the_row_is_that_of_90_percent():
    learner = MAGEAgent("Pendulum-v1", **SMALL).learn(60).learner
    judge = Diagnoser(make_config("mage", "tiny", **QUICK), lambda: make_env("Pendulum-v1"))
    row, ones = (
        judge.row(learner.actor, learner.critic, learner.dynamics, 1),
        windows(judge.noisy_episodes(learner.actor, 1), 1),
    )
    prediction = predict(learner.dynamics.double(), ones.obs[:, 0], ones.action[:, 0])
    half, most = coverage(prediction, ones.obs[:, 1], [0.5, 0.9])
    assert row["coverage_90"] == pytest.approx(most) and half < most


def test_the_truth_is_measured_with_two_steps():
    """Of the reward a_0^3 + a_1, a difference with step h says (h^2, 1) at a = 0."""
    eye, ones = torch.eye(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    world = World(
        Linear(eye, eye),
        lambda obs, action, next_obs: action[..., 0] ** 3 + action[..., 1],
        never,
        ActionScale(-ones, ones),
    )
    actor = torch.nn.Linear(2, 2, bias=False, dtype=torch.float64)
    actor.weight.data.zero_()
    obs = torch.randn(16, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    config = make_config("td3", "tiny", diagnose_horizon=1, diagnose_step=0.9)
    row = critic_row(config, world, world, actor, Quadratic(torch.eye(4, dtype=torch.float64)), obs)
    first, second = (torch.tensor([[step**2, 1.0]]) for step in (0.9, 0.6))
    assert row["q_gradient_self"] == pytest.approx(agreement(first, second).cosine)
    assert row["true_slope"] == pytest.approx(((first + second) / 2).norm().item())


def test_the_slope_that_is_judged_is_of_what_the_actor_climbs():
    generator = torch.Generator().manual_seed(0)
    critic, obs = Critic(3, 1, 2, 16, generator), torch.randn(50, 3, generator=generator)
    action = torch.rand(50, 1, generator=generator)
    slopes = critic.value_and_action_gradient(obs, action)[1]
    assert torch.allclose(critic_action_gradient(critic, obs, action, "first"), slopes[0], atol=1e-6)
    assert not torch.allclose(critic_action_gradient(critic, obs, action), slopes[0], atol=1e-6)


def test_the_standard_error_of_a_gain():
    lqr, K, world, actor, obs, M = problem(0)
    direction = torch.randn(6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    policies = moved(actor, direction, obs, 0.1), moved(actor, direction, obs, -0.1)
    along, against = (rollout_return(world, policy, obs, policy(obs), 0.9, 5) for policy in policies)
    gain, stderr = gain_along(world, actor, direction, obs, 0.9, 5, 0.1)
    half = (along - against) / 2
    assert gain == pytest.approx(half.mean().item()) and stderr == pytest.approx(half.std().item() / 64**0.5)


def test_states_are_drawn_as_often_as_the_discounted_visitation_meets_them():
    counted = Episode(torch.arange(6.0)[:, None], torch.arange(5.0)[:, None])
    often = torch.bincount(visited([counted], 0.5, 31_000, torch.Generator().manual_seed(0)).obs[:, 0].long()) / 1_000
    assert torch.allclose(often, torch.tensor([16.0, 8.0, 4.0, 2.0, 1.0]), atol=0.5)


def test_the_slopes_length_is_a_median():
    lqr, K, world, actor, obs, M = problem(0)
    row = critic_row(make_config("td3", "tiny", diagnose_horizon=5), world, world, actor, Quadratic(M), obs)
    assert row["q_slope"] == pytest.approx(
        critic_action_gradient(Quadratic(M), obs, actor(obs)).norm(dim=1).median().item()
    )


def test_what_the_command_line_asks_of_a_diagnosis_is_measured():
    agent = MAGEAgent("Pendulum-v1", **SMALL)
    for horizon in (2, 9):
        name, value = cli.diagnosis_lines(agent, QUICK | dict(diagnose_horizon=horizon))[0].split()[:2]
        assert name == "discounted_return" and value == f"{agent.diagnose(4, horizon)[name]:.3f}"


def test_without_numbers_of_its_own_the_command_measures_as_the_run_is_set(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    own = dict(diagnose_states=3, diagnose_horizon=4, diagnose_step=0.05, eval_episodes=3)
    MAGEAgent("Pendulum-v1", "td3", out="run", **(SMALL | own)).learn(0)
    asked = []
    monkeypatch.setattr(cli, "diagnosis_lines", lambda agent, settings: asked.append(settings) or [])
    assert cli.main(["diagnose", "run"]) == 0
    assert cli.main(["diagnose", "run", "--states", "2", "--step", "0.1"]) == 0
    assert asked == [{}, {"diagnose_states": 2, "diagnose_step": 0.1}]
    assert cli.main(["evaluate", "run"]) == 0
    assert "3 episodes" in capsys.readouterr().out


def test_a_diagnosis_takes_the_words_of_the_command_and_no_others(monkeypatch):
    agent, asked = MAGEAgent("Pendulum-v1", "td3", **SMALL), []
    monkeypatch.setattr("mage_edu.agent.diagnose_learner", lambda learner, new_env, settings: asked.append(settings))
    agent.diagnose(), agent.diagnose(states=3), agent.diagnose(2, 5, 0.1)
    full = {"diagnose_states": 2, "diagnose_horizon": 5, "diagnose_step": 0.1}
    assert asked == [{}, {"diagnose_states": 3}, full]
    with pytest.raises(TypeError, match="actor_width"):
        agent.diagnose(actor_width=3)


@pytest.mark.parametrize(
    "draw", [lambda agent: cli.diagnosis_lines(agent, QUICK), lambda agent: cli.draw_model(agent, "run")]
)
def test_a_command_closes_its_environments_whatever_goes_wrong(tmp_path, monkeypatch, draw):
    monkeypatch.chdir(tmp_path)
    agent, closed = MAGEAgent("Pendulum-v1", "mage", out="run", **SMALL), []

    def stumble(*arguments):
        raise RuntimeError("no memory")

    for name in ("row", "picture"):
        monkeypatch.setattr(Diagnoser, name, stumble)
    monkeypatch.setattr(Diagnoser, "close", lambda self: closed.append(self))
    with pytest.raises(RuntimeError, match="no memory"):
        draw(agent)
    assert len(closed) == 1
