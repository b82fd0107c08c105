"""Parts of one's own: losses and a model as functions of the agent, in training, on disk and under the compiler."""

import json
import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from test_updates import BATCH, MEMBERS, make_pieces, target_of

from mage_edu import BareDynamics, Critic, CriticLoss, CriticTarget, Dynamics, ForwardCritic, MAGEAgent, make_config
from mage_edu.agent import CHECKS
from mage_edu.dynamics import squash_log_var
from mage_edu.engine.build import actor_gradients_of, build_dynamics, critic_gradients_of, missing_function
from mage_edu.engine.health import Divergence
from mage_edu.engine.learner import named_weights
from mage_edu.engine.recorded import record, write_arrays
from mage_edu.envs import make_env, reward_fn, termination_fn
from mage_edu.networks import mlp
from mage_edu.updates import actor_gradients, actor_loss, critic_gradients, critic_loss, critic_target, huber

SETTINGS = dict(
    size="tiny",
    seed=3,
    warmup_steps=40,
    dynamics_interval=20,
    dynamics_batches=3,
    log_interval=30,
    eval_interval=60,
    eval_episodes=1,
    checkpoint_interval=50,
    actor_width=16,
    critic_width=16,
    dynamics_width=16,
)
HUBER = make_config("mage", "tiny")


def librarys(config, critic, target):
    return critic_loss(HUBER, critic, target)


def relative(config, critic, target):
    value, gradient = critic.value_and_action_gradient(target.obs, target.action)
    share = torch.linalg.vector_norm(target.gradient - gradient, dim=-1) / (
        1.0 + torch.linalg.vector_norm(target.gradient, dim=-1)
    )
    parts = huber(target.value - value).mean(), (target.gradient_mask * huber(share)).mean()
    return CriticLoss(config.value_weight * parts[0] + config.gradient_weight * parts[1], *parts)


def slopes_only(config, critic, target):
    loss = huber(target.gradient - critic.value_and_action_gradient(target.obs, target.action)[1]).mean()
    return CriticLoss(loss, torch.zeros(()), loss)


class Linear(Dynamics):
    """An ensemble of affine maps: no hidden layer."""

    def __init__(self, config, obs_dim, act_dim, generator):
        super().__init__(
            obs_dim, act_dim, config.members, 0, 1, config.log_var_min, config.log_var_max, generator, "deterministic"
        )


class OwnModel(BareDynamics):
    """Members that are networks of torch's own kind."""

    def __init__(self, config, obs_dim, act_dim, generator):
        super().__init__(config, obs_dim, act_dim, generator)
        network = lambda: torch.nn.Sequential(
            torch.nn.Linear(obs_dim + act_dim, 8), torch.nn.SiLU(), torch.nn.Linear(8, 2 * obs_dim)
        )
        self.networks = torch.nn.ModuleList([network() for _ in range(config.members)])

    def predict(self, obs, action, layers=None):
        x = self.inputs(obs, action)
        out = torch.stack([network(rows) for network, rows in zip(self.networks, x)])
        mean, raw = out.chunk(2, -1)
        return mean, squash_log_var(raw, *self.log_var_range)


class Stacked(OwnModel):
    """The same, with stacked networks that nobody asks."""

    def __init__(self, config, obs_dim, act_dim, generator):
        super().__init__(config, obs_dim, act_dim, generator)
        stacked = Linear(config, obs_dim, act_dim, generator)
        self.weights, self.biases = stacked.weights, stacked.biases


class Listed(OwnModel):
    """The same in a plain list, in which torch does not see them."""

    def __init__(self, *parts):
        super().__init__(*parts)
        networks = list(self.networks)
        del self.networks
        self.networks = networks


class Blind(OwnModel):
    """The same, with samples that have a graph into the parameters only."""

    def sample(self, obs, action, noise):
        return super().sample(obs, action.detach(), noise)


def frozen(kind):
    """What builds one of a kind, one bias frozen."""

    def build(*parts):
        part = kind(*parts)
        part.networks[1][2].bias.requires_grad_(False)
        return part

    return build


def defaults(config, obs_dim, act_dim, generator):
    return build_dynamics(config, obs_dim, act_dim, generator)


def default_critics(config, obs_dim, act_dim, generator):
    return Critic(
        obs_dim,
        act_dim,
        config.critic_layers,
        config.critic_width,
        generator,
        2,
        config.critic_layer_norm,
        config.activation,
    )


class Quadratic(ForwardCritic):
    """Two twins that are quadratic in the action, with vertex and curvature by networks of the observation."""

    def __init__(self, config, obs_dim, act_dim, generator):
        super().__init__(obs_dim, act_dim, 2, [obs_dim, config.critic_width, 1 + 2 * act_dim], generator)

    def forward(self, obs, action):
        out = mlp(self.stack(self.obs_scale(obs)), self.layers())
        vertex, bend = out[..., 1:].chunk(2, -1)
        return out[..., 0] - (bend.exp() * (action - vertex).square()).sum(-1)


class Own(ForwardCritic):
    """Two twins that are networks of torch's own kind."""

    def __init__(self, config, obs_dim, act_dim, generator):
        super().__init__(obs_dim, act_dim, 2, [], generator)
        network = lambda: torch.nn.Sequential(
            torch.nn.Linear(obs_dim + act_dim, 8), torch.nn.SiLU(), torch.nn.Linear(8, 1)
        )
        self.networks = torch.nn.ModuleList([network(), network()])

    def forward(self, obs, action):
        x = torch.cat([self.obs_scale(obs), action], -1)
        return torch.stack([network(x).squeeze(-1) for network in self.networks])


class Hidden(ForwardCritic):
    """The same in a plain list, in which torch does not see them."""

    def __init__(self, config, obs_dim, act_dim, generator):
        super().__init__(obs_dim, act_dim, 2, [], generator)
        self.networks = [torch.nn.Linear(obs_dim + act_dim, 1) for _ in range(2)]


class Unused(Own):
    """The same, with stacked networks that nobody asks."""

    def __init__(self, config, obs_dim, act_dim, generator):
        super().__init__(config, obs_dim, act_dim, generator)
        stacked = Quadratic(config, obs_dim, act_dim, generator)
        self.weights, self.biases = stacked.weights, stacked.biases


def detached_values(self, obs, action):
    return Quadratic.forward(self, obs, action).detach()


def timid(config, world, actor, critic, obs, noise):
    """The library's loss, and a price on large actions."""
    return actor_loss(config, world, actor, critic, obs, noise) + actor(obs).square().mean()


def twice(*arguments):
    """The library's target, every row two times."""
    target = critic_target(*arguments)
    return CriticTarget(*(None if part is None else torch.cat([part, part]) for part in target))


def agent_with(tmp_path=None, env="Pendulum-v1", algorithm="mage", **parts):
    return MAGEAgent(env, algorithm, out=tmp_path, **(SETTINGS | parts))


def weights(agent):
    return {name: tensor.clone() for name, tensor in named_weights(agent.learner).items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    "parts",
    [
        dict(critic_loss=librarys),
        dict(dynamics=defaults),
        dict(critic_loss=librarys, dynamics=defaults),
        dict(critic_target=critic_target),
        dict(critic=default_critics),
        dict(actor_loss=actor_loss),
    ],
)
def test_the_librarys_own_parts_handed_in_change_nothing(parts):
    default = weights(agent_with().learn(90))
    assert same(weights(agent_with(**parts).learn(90)), default)
    assert not same(weights(agent_with(critic_loss=relative).learn(90)), default)
    assert not same(weights(agent_with(actor_loss=timid).learn(90)), default)
    assert not same(weights(agent_with(critic_target=lambda *a: twice(*a)._replace(gradient=None)).learn(90)), default)


def test_another_loss_gets_its_own_gradients_and_no_other_network_any():
    config, pieces = make_config("mage", "tiny", members=MEMBERS, batch_size=BATCH), make_pieces()
    target, parameters = target_of(config, pieces), list(pieces["critic"].parameters())
    loss, gradients = critic_gradients_of(relative)(config, pieces["critic"], target)
    expected = torch.autograd.grad(relative(config, pieces["critic"], target).total, parameters)
    assert all(torch.equal(a, b) for a, b in zip(gradients, expected, strict=True))
    assert not any(part.requires_grad for part in loss) and all(p.grad is None for p in parameters)
    gradients = critic_gradients_of(slopes_only)(config, pieces["critic"], target)[1]
    assert gradients[-1].abs().max() == 0.0 and gradients[0].abs().max() > 0.0  # the last bias is in no slope


def test_another_loss_of_the_actor_gets_its_own_gradients_and_no_other_network_any():
    config, pieces = make_config("maac", "tiny", members=MEMBERS, batch_size=BATCH, actor_horizon=2), make_pieces()
    obs, actor = pieces["batch"].obs, pieces["actor"]
    noise = torch.randn(2, *obs.shape, generator=torch.Generator().manual_seed(0), dtype=obs.dtype)
    called = config, pieces["world"], actor, pieces["critic"], obs, noise
    loss, gradients = actor_gradients_of(timid)(*called)
    expected = torch.autograd.grad(timid(*called), list(actor.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(gradients, expected, strict=True)) and not loss.requires_grad
    assert not any(torch.equal(a, b) for a, b in zip(gradients, actor_gradients(*called)[1], strict=True))
    networks = pieces["actor"], pieces["critic"], pieces["world"].dynamics
    assert all(p.grad is None for network in networks for p in network.parameters())
    last_bias = lambda *parts: parts[2].biases[-1].square().sum()  # asks one parameter: the others are not to move
    gradients = actor_gradients_of(last_bias)(*called)[1]
    assert [bool(gradient.abs().max() > 0) for gradient in gradients] == [
        p is actor.biases[-1] for p in actor.parameters()
    ]


def test_an_actors_loss_may_need_what_a_loaded_agent_was_not_given(tmp_path):
    """To act nothing is needed, and what is passed again is no reason to ask for more; to learn both are, and are named."""
    reward = lambda obs, action, next_obs: -(obs[:, 2] ** 2) - action[:, 0] ** 2
    parts = dict(algorithm="maac", actor_horizon=2, reward=reward, actor_loss=actor_loss)
    agent_with(tmp_path / "run", **parts)
    for again in ({}, {"reward": reward}, {"actor_loss": actor_loss}):
        assert MAGEAgent.load(tmp_path / "run", **again).config.actor_loss == "given"
    with pytest.raises(
        ValueError, match=r"were functions of its user's.*load\(path, reward=function, actor_loss=function\)"
    ):
        MAGEAgent.load(tmp_path / "run").learn(10)


def test_an_actors_loss_may_ask_the_simulator():
    quick = dict(model="simulator", warmup_steps=20, dynamics_batches=1)
    ahead = lambda config, world, actor, critic, obs, noise: (
        -critic.first(world.step(obs, actor(obs), torch.zeros_like(obs)).next_obs, actor(obs)).mean()
    )
    assert agent_with(actor_loss=ahead, **quick).learn(25).learner.updates == 6


def test_an_actor_with_a_loss_of_its_own_learns_it_goes_on_and_is_asked_for_again(tmp_path):
    """A loss that wants actions near zero gets them; the run resumes to the bit; a loaded agent acts, and learns with its loss only."""
    still = lambda config, world, actor, critic, obs, noise: actor(obs).square().mean()
    quick = dict(actor_lr=0.01, policy_delay=1)
    obs = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    whole = agent_with(tmp_path / "whole", actor_loss=still, **quick).learn(90)
    assert np.abs(whole.predict(obs)[0]).mean() < 0.2 < np.abs(agent_with(**quick).learn(90).predict(obs)[0]).mean()
    agent_with(tmp_path / "parts", actor_loss=still, **quick).learn(60)
    loaded = MAGEAgent.load(tmp_path / "parts")
    assert loaded.config.actor_loss == "given" and loaded.predict(obs)[0].shape == (50, 1)
    with pytest.raises(ValueError, match=r"actor_loss was a function of its user's.*actor_loss=function"):
        loaded.learn(30, reset_num_timesteps=False)
    resumed = MAGEAgent.load(tmp_path / "parts", actor_loss=still).learn(30, reset_num_timesteps=False)
    assert same(weights(resumed), weights(whole))


@pytest.mark.parametrize(
    "loss, sentence",
    [
        (lambda config: 0.0, "actor_loss: calling it with .* raised TypeError"),
        (
            lambda c, w, actor, critic, obs, n: -critic.minimum(obs, actor(obs)),
            r"a Tensor of shape \(\d+,\); expected one number",
        ),
        (lambda c, w, actor, critic, obs, n: 1.0, "returned a float; expected one number"),
        (
            lambda c, w, actor, critic, obs, n: -critic(obs, actor(obs).detach()).mean(),
            "does not depend on the actor's",
        ),
        (lambda c, w, actor, critic, obs, n: torch.zeros(()), "does not depend on the actor's"),
        (lambda c, w, actor, critic, obs, n: n[0].sum(), "raised IndexError: .*; noise has actor_horizon=0 rows"),
        (lambda c, w, actor, critic, obs, n: actor(obs @ obs).mean(), "raised RuntimeError"),
    ],
)
def test_a_loss_that_no_actor_can_climb_is_refused(tmp_path, loss, sentence):
    with pytest.raises(ValueError, match=sentence):
        agent_with(tmp_path / "run", actor_loss=loss)
    assert not (tmp_path / "run").exists()


class Weighed(torch.nn.Module):
    """A function of the user's with a number that it would like to learn."""

    def __init__(self, function):
        super().__init__()
        self.function, self.log_weight = function, torch.nn.Parameter(torch.zeros(()))

    def forward(self, *arguments):
        return self.function(*arguments)


@pytest.mark.parametrize(
    "name, function", [("critic_loss", librarys), ("actor_loss", actor_loss), ("critic_target", critic_target)]
)
def test_a_function_with_parameters_that_nothing_would_train_is_refused(name, function):
    for given in (Weighed(function), Weighed(function).forward):
        with pytest.raises(ValueError, match=f"^{name}: its parameters log_weight would be neither trained nor saved"):
            agent_with(**{name: given})
    agent_with(**{name: Weighed(function).requires_grad_(False)})


@pytest.mark.parametrize("loss", [relative, slopes_only])
def test_another_loss_is_trained_with_and_logged(tmp_path, loss):
    agent = agent_with(tmp_path / "run", critic_loss=loss).learn(90)
    assert agent.learner.updates == 51 and agent.config.critic_loss == "given"
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config"]["critic_loss"] == "given"
    header, *rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    last = dict(zip(header.split(","), rows[-1].split(",")))
    assert float(last["gradient_loss"]) > 0.0 and (float(last["value_loss"]) == 0.0) == (loss is slopes_only)


@pytest.mark.parametrize(
    "name, part", [("critic_loss", relative), ("actor_loss", timid), ("critic_target", critic_target)]
)
def test_a_loss_or_target_that_is_no_number_is_named_first(name, part):
    def spoiled(*arguments):
        result = part(*arguments)
        if isinstance(result, torch.Tensor):
            return result * torch.nan
        if isinstance(result, CriticLoss):
            return CriticLoss(*(number * torch.nan for number in result))
        return result._replace(value=result.value * torch.nan)

    with pytest.raises(Divergence, match=f"is nan .*Look at your own {name} first.*Otherwise try a lower critic_lr"):
        agent_with(**{name: spoiled}).learn(45)


@pytest.mark.parametrize("algorithm", ["td3", "dyna-td3"])
def test_a_loss_without_gradient_targets_gets_none(algorithm):
    seen = []

    def values_only(config, critic, target):
        seen.append(target.gradient)
        return librarys(config, critic, target)

    agent_with(algorithm=algorithm, critic_loss=values_only).learn(60)
    assert len(seen) > 10 and set(seen) == {None}


def test_another_model_is_trained_and_imagines(tmp_path):
    agent = agent_with(tmp_path / "run", dynamics=Linear)
    before = weights(agent)
    agent.learn(90)
    assert type(agent.learner.dynamics) is Linear and len(agent.learner.dynamics.weights) == 1
    moved = {name.split(".")[0] for name, tensor in weights(agent).items() if not torch.equal(tensor, before[name])}
    assert moved == {"actor", "critic", "target_actor", "target_critic", "dynamics"}
    batch = agent.learner.replay.sample(2)
    slope = lambda obs, action: torch.autograd.functional.jacobian(
        lambda a: agent.learner.dynamics.sample(obs, a, torch.zeros(2, 3)).sum(0), action
    )
    assert torch.equal(
        slope(batch.obs, batch.action), slope(batch.obs + 1.0, batch.action - 0.5)
    )  # an affine map has one slope


def test_a_model_made_of_torchs_own_networks_learns_imagines_and_comes_back(tmp_path):
    agent = agent_with(tmp_path / "run", dynamics=OwnModel)
    before = weights(agent)
    agent.learn(50)
    moved = {name for name, tensor in weights(agent).items() if not torch.equal(tensor, before[name])}
    assert {f"dynamics.networks.{i}.{layer}.bias" for i in (0, 1) for layer in (0, 2)} <= moved
    assert not any(name.startswith("dynamics.weights") for name in before)
    assert same(weights(MAGEAgent.load(tmp_path / "run", dynamics=OwnModel)), weights(agent))


def test_weights_drawn_from_the_global_generator_derive_from_the_seed_and_leave_it_alone():
    def noisy(config, critic, target):
        torch.rand(3)
        return librarys(config, critic, target)

    def made(seed, globally):
        torch.manual_seed(globally)
        before = torch.get_rng_state()
        parts = dict(
            critic=Own, dynamics=OwnModel, critic_loss=noisy, reward=lambda *step: torch.rand(2) + step[1][:, 0]
        )
        found = weights(agent_with(seed=seed, **parts))
        assert torch.equal(torch.get_rng_state(), before)
        return found

    first = made(3, 0)
    assert same(made(3, 1), first) and not torch.equal(
        made(4, 0)["critic.networks.0.0.weight"], first["critic.networks.0.0.weight"]
    )
    drawn = []

    def both_generators(config, obs_dim, act_dim, generator):
        drawn.append((torch.rand(1).item(), torch.rand(1, generator=generator).item()))
        return Own(config, obs_dim, act_dim, generator)

    agent_with(critic=both_generators)
    assert len(set(drawn[0])) == 2


def test_a_class_that_is_constructed_as_the_librarys_model_may_be_given_itself():
    """One with a constructor of its own is called as a builder is, also where a class below it only passes its arguments on."""
    plain, passing = (
        type("Plain", (Dynamics,), {}),
        type("Passing", (Dynamics,), {"__init__": lambda self, *arguments: Dynamics.__init__(self, *arguments)}),
    )
    default = weights(agent_with())
    for given in (Dynamics, plain, passing):
        agent = agent_with(dynamics=given)
        assert type(agent.learner.dynamics) is given and same(weights(agent), default)
    below = type("Below", (Linear,), {"__init__": lambda self, *arguments: Linear.__init__(self, *arguments)})
    assert len(agent_with(dynamics=below).learner.dynamics.weights) == 1


NOT_A_MODEL = [
    (lambda *_: torch.nn.Linear(3, 3), "built a Linear without members, predict, sample"),
    (
        lambda config, *rest: defaults(make_config("mage", "tiny", members=4), *rest),
        "built with 4 members, the configuration says members=2",
    ),
    (
        lambda config, obs_dim, act_dim, generator: Detached(config, obs_dim, act_dim, generator),
        "must be differentiable in the action",
    ),
    (
        lambda config, obs_dim, act_dim, generator: Short(config, obs_dim, act_dim, generator),
        r"losses returned shape \(\), expected \(2,\)",
    ),
    (
        lambda *parts: Without(*parts, "sample", lambda self, obs, action: obs),
        r"dynamics: sample: calling it with \(obs, action, noise\) raised TypeError: .* 4 were given",
    ),
    (
        lambda *parts: Without(*parts, "losses", lambda self, obs, action: obs),
        r"dynamics: losses: calling it with \(obs, action, next_obs\) raised TypeError: .* 4 were given",
    ),
    (
        lambda *parts: Without(*parts, "predict", lambda self, obs: obs),
        r"dynamics: predict: calling it with \(obs, action\) raised TypeError: .* 3 were given",
    ),
    (lambda *parts: Without(*parts, "sample", lambda *_: 3.0), "sample returned a float; expected a tensor"),
    (lambda *parts: Without(*parts, "losses", lambda *_: 3.0), "losses returned a float; expected a tensor"),
    (
        lambda *parts: Without(*parts, "predict", lambda self, obs, action: obs),
        "returned a Tensor; expected two tensors",
    ),
    (
        lambda *parts: Without(*parts, "loss", lambda self, *batch: self.losses(*batch)),
        r"loss has shape \(2,\), expected \(\)",
    ),
    (
        Stacked,
        "its loss does not reach weights.0, biases.0, which could not be trained; .*inherits from mage_edu.BareDynamics",
    ),
    (frozen(OwnModel), r"does not reach networks.1.2.bias, .*belongs in a buffer"),
    (Listed, "dynamics: it has no parameters; .*torch.nn.ModuleList, a plain list hides them"),
    (Blind, "sample must be differentiable in the action"),
]


def Without(config, obs_dim, act_dim, generator, name, method):
    """A model with another method."""
    return type("Without", (Linear,), {name: method})(config, obs_dim, act_dim, generator)


class Detached(Linear):
    def sample(self, obs, action, noise):
        return super().sample(obs, action, noise).detach()


class Short(Linear):
    def losses(self, obs, action, next_obs):
        return super().losses(obs, action, next_obs).sum()


@pytest.mark.parametrize("build, sentence", NOT_A_MODEL)
def test_what_cannot_stand_in_for_the_model_is_refused(tmp_path, build, sentence):
    with pytest.raises(ValueError, match=sentence):
        agent_with(tmp_path / "run", dynamics=build)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "loss, sentence",
    [
        (lambda *_: None, "returned a NoneType; expected a CriticLoss"),
        (lambda *_: torch.zeros((), requires_grad=True), "returned a Tensor; expected a CriticLoss"),
        (lambda *arguments: critic_gradients(HUBER, *arguments[1:])[0], "do not detach it"),
        (
            lambda config, critic, target: CriticLoss(
                critic(target.obs, target.action), torch.zeros(()), torch.zeros(())
            ),
            r"the total of its CriticLoss has shape \(2, 4\).*of three numbers as tensors.*Take a mean",
        ),
        (
            lambda config, critic, target: CriticLoss(critic(target.obs, target.action).mean(), torch.zeros(()), 0.0),
            r"the gradient of its CriticLoss is no tensor but a float, 0.0;.*is torch.zeros\(\(\)\)",
        ),
    ],
)
def test_what_cannot_be_a_loss_is_refused(tmp_path, loss, sentence):
    with pytest.raises(ValueError, match=sentence):
        agent_with(tmp_path / "run", critic_loss=loss)
    assert not (tmp_path / "run").exists()


def test_a_critic_of_ones_own_has_the_slopes_of_its_forward():
    config, draw = make_config("mage", "tiny"), torch.Generator().manual_seed(0)
    critic = Quadratic(config, 3, 2, draw).double()
    critic.obs_scale.std.copy_(torch.tensor([0.5, 2.0, 3.0]))
    obs, action = torch.randn(5, 3, generator=draw).double(), torch.rand(5, 2, generator=draw).double()
    value, of_obs, of_action = critic.value_and_gradients(obs, action)
    assert torch.equal(value, critic(obs, action)) and value.requires_grad and of_action.requires_grad
    for at, slopes, unit in ((obs, of_obs, critic.obs_scale.std), (action, of_action, torch.ones(2))):
        for column in range(at.shape[1]):
            step = torch.zeros_like(at)
            step[:, column] = 1e-6 * unit[column]
            ends = [critic(obs + s, action) if at is obs else critic(obs, action + s) for s in (step, -step)]
            assert torch.allclose(slopes[..., column], (ends[0] - ends[1]) / 2e-6, atol=1e-6)
    (push,) = torch.autograd.grad(of_action.square().sum(), critic.weights[0], retain_graph=True)
    assert push.abs().max() > 0.0  # the slope can be trained
    with torch.no_grad():
        silent = critic.value_and_action_gradient(obs, action)
    assert torch.equal(silent[1], of_action) and not any(part.requires_grad for part in silent)
    assert torch.equal(critic.first(obs, action), value[0]) and torch.equal(critic.minimum(obs, action), value.amin(0))


@pytest.mark.parametrize("algorithm", ["mage", "td3", "maac", "mage-sobolev"])
def test_a_critic_of_ones_own_is_trained(tmp_path, algorithm):
    agent = agent_with(tmp_path / "run", algorithm=algorithm, critic=Quadratic)
    before = weights(agent)
    agent.learn(90)
    assert type(agent.learner.target_critic) is Quadratic and agent.config.critic == "given"
    moved = {name.split(".")[0] for name, tensor in weights(agent).items() if not torch.equal(tensor, before[name])}
    assert {"actor", "critic", "target_actor", "target_critic"} <= moved


def test_a_target_may_have_more_rows_than_the_batch_and_a_value_for_each_twin():
    rows = []

    def each_its_own(config, world, actor, target_actor, target_critic, batch, noise):
        target = twice(config, world, actor, target_actor, target_critic, batch, noise)
        rows.append(len(target.obs))
        with torch.no_grad():
            return target._replace(value=target_critic(target.obs, target.action))

    agent_with(critic_target=each_its_own).learn(60)
    assert len(rows) > 10 and set(rows) == {2 * make_config(size="tiny").batch_size}


NOT_A_CRITIC = [
    (dict(critic=lambda *_: torch.nn.Linear(4, 1)), "critic: built a Linear; expected a mage_edu.Critic"),
    (
        dict(critic=type("Flat", (Quadratic,), {"forward": lambda self, *x: Quadratic.forward(self, *x)[0]})),
        r"critic: forward has shape \(4,\), expected \(2, 4\)",
    ),
    (dict(critic=type("Detached", (Quadratic,), {"forward": detached_values})), "do not detach"),
    (dict(critic=Hidden), "critic: it has no parameters; .*torch.nn.ModuleList, a plain list hides them"),
    (
        dict(critic=type("Narrow", (Quadratic,), {"forward": lambda self, obs: obs})),
        r"critic: forward: calling it with \(obs, action\) raised TypeError: .* 3 were given",
    ),
    (
        dict(critic=type("Number", (Quadratic,), {"forward": lambda self, obs, action: 3.0})),
        "critic: forward returned a float; expected a tensor",
    ),
    (
        dict(critic=type("Flat", (Quadratic,), {"value_and_action_gradient": lambda self, obs, action: 3.0})),
        r"critic: value_and_action_gradient: calling it with \(obs, action\) raised TypeError",
    ),
    (
        dict(reward=lambda obs, action: obs[:, 0]),
        r"reward: calling it with \(obs, action, next_obs\) raised TypeError: .* 3 were given",
    ),
    (
        dict(termination=lambda obs, action: obs[:, 0] > 1),
        r"termination: calling it with \(obs, action, next_obs\) raised TypeError: .* 3 were given",
    ),
    (
        dict(reward=lambda obs, action, next_obs: obs[:, 7], model="simulator"),
        "reward: calling it with .* raised IndexError",
    ),
    (
        dict(
            reward=lambda obs, action: 0.0,
            actor_loss=lambda c, world, actor, critic, obs, n: world.reward_fn(obs, obs, obs),
        ),
        "^reward: calling it",
    ),
    (dict(critic=Unused), "forward does not use weights.0, .*biases.1, which could not be trained.*sizes=\\[\\]"),
    (
        dict(critic=Quadratic(make_config("td3"), 3, 1, torch.Generator())),
        "critic: calling it with .* raised TypeError",
    ),
    (dict(critic=frozen(Own)), "forward does not use networks.1.2.bias, .*belongs in a buffer"),
    (
        dict(
            dynamics=type("Narrow", (Dynamics,), {"__init__": lambda self, config, obs_dim, act_dim, generator: self.x})
        ),
        "dynamics: calling it with .* raised AttributeError",
    ),
    (
        dict(critic_loss=lambda config, critic, target: critic_loss(config, critic, target)),
        r'asks the library for a loss called "given".*dataclasses.replace\(config, critic_loss="huber"\)',
    ),
    (
        dict(critic_loss=lambda config, critic, target: target.gradient.norm(), gradient_weight=0.0),
        "raised AttributeError: .*target.gradient is None where gradient_weight is 0",
    ),
    (
        dict(critic_target=lambda *a: critic_target(*a)._replace(value=torch.zeros(64, 64))),
        r"value has shape \(64, 64\), expected \(64,\), or \(2, 64\)",
    ),
    (dict(critic_target=lambda *_: torch.zeros(3)), "returned a Tensor; expected a CriticTarget"),
    (
        dict(critic_target=lambda *a: critic_target(*a)._replace(value=torch.zeros(7))),
        r"value has shape \(7,\), expected \(64,\)",
    ),
    (
        dict(critic_target=lambda *a: critic_target(*a)._replace(gradient=torch.zeros(64, 3))),
        r"gradient has shape \(64, 3\), expected \(64, 1\)",
    ),
    (
        dict(critic_target=lambda *a: critic_target(*a)._replace(value=torch.zeros(64, requires_grad=True))),
        "value carries a graph; detach it",
    ),
]


@pytest.mark.parametrize("part, sentence", NOT_A_CRITIC)
def test_what_cannot_be_a_critic_or_its_target_is_refused(tmp_path, part, sentence):
    with pytest.raises(ValueError, match=sentence):
        agent_with(tmp_path / "run", **part)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "settings, sentence",
    [
        (dict(critic="given"), r"critic=function, \(config, obs_dim, act_dim, generator\) -> Critic"),
        (dict(critic_target="given"), r"critic_target=function, \(config, world, actor, .*\) -> CriticTarget"),
        (
            dict(critic_loss="given"),
            r"pass the function itself, critic_loss=function, \(config, critic, target\) -> CriticLoss",
        ),
        (
            dict(dynamics="given"),
            r"pass the function itself, dynamics=function, \(config, obs_dim, act_dim, generator\) -> Dynamics",
        ),
        (dict(actor_loss="given"), r"actor_loss=function, \(config, world, actor, critic, obs, noise\) -> one number"),
        (
            dict(
                actor_loss=lambda c, world, actor, critic, obs, n: -world.step(obs, actor(obs), obs).reward.mean(),
                algorithm="td3",
            ),
            "has no attribute 'step'; .*world is None, as algorithm='td3' learns no model",
        ),
        (dict(actor_loss=lambda config: 0.0, model="simulator"), "actor_loss: calling it with .* raised TypeError"),
        (dict(dynamics=Linear, algorithm="td3"), "nothing would be imagined with that model"),
        (dict(dynamics=Linear, model="simulator"), "nothing would be imagined with that model"),
    ],
)
def test_words_and_combinations_that_mean_nothing_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        agent_with(**settings)


def test_a_loaded_agent_acts_without_its_loss_and_asks_for_it_to_learn(tmp_path):
    saved = agent_with(tmp_path / "run", critic_loss=relative).learn(60)
    loaded = MAGEAgent.load(tmp_path / "run")
    obs = loaded.get_env().reset(seed=0)[0]
    assert (loaded.predict(obs)[0] == saved.predict(obs)[0]).all() and loaded.evaluate(1).shape == (1,)
    with pytest.raises(
        ValueError,
        match=r"critic_loss was a function of its user's, which no file holds; pass it again: MAGEAgent.load\(path, critic_loss=function\)",
    ):
        loaded.learn(10, reset_num_timesteps=False)
    with pytest.raises(ValueError, match="dynamics was not a function of its user's"):
        MAGEAgent.load(tmp_path / "run", critic_loss=relative, dynamics=Linear)


def test_each_part_that_a_loaded_agent_was_not_given_again_is_not_tried():
    learner = agent_with().learner
    for name, check in CHECKS.items():
        assert check(missing_function(name), learner) is None


@pytest.mark.parametrize("algorithm", ["mage", "dyna-td3", "td3"])
def test_a_loaded_agent_acts_without_its_reward_and_its_termination(tmp_path, algorithm):
    parts = dict(reward=reward_fn("Pendulum-v1"), termination=termination_fn("Pendulum-v1"))
    agent_with(algorithm=algorithm, **parts).save(tmp_path / "agent")
    assert MAGEAgent.load(tmp_path / "agent").forgotten == ("reward", "termination")


def test_formulas_change_nothing_where_nothing_is_imagined_and_have_to_be_the_environments(tmp_path):
    formulas = dict(reward=reward_fn("Pendulum-v1"), termination=termination_fn("Pendulum-v1"))
    told = agent_with(tmp_path / "told", algorithm="td3", **formulas).learn(60)
    assert same(weights(told), weights(agent_with(algorithm="td3").learn(60)))
    told.save(tmp_path / "agent")
    MAGEAgent.load(tmp_path / "agent").learn(45)  # a warm-up without the formulas
    MAGEAgent.load(tmp_path / "told").learn(5, reset_num_timesteps=False)
    write_arrays(tmp_path / "data.npz", record(make_env("Pendulum-v1"), 50))
    with pytest.raises(ValueError, match="50 recorded transitions have another reward than the given function says"):
        agent_with(
            algorithm="td3", data=tmp_path / "data.npz", reward=lambda obs, action, next_obs: 1.0 + next_obs[:, 0] ** 2
        )


def test_a_loaded_agent_whose_functions_come_from_elsewhere_says_so_before_the_weights_do(tmp_path):
    scaled = lambda: gym.wrappers.TransformReward(gym.make("Pendulum-v1"), lambda reward: reward / 10.0)
    formula = lambda *step: reward_fn("Pendulum-v1")(*step) / 10.0
    agent_with(env=scaled(), reward=formula, termination=termination_fn("Pendulum-v1")).learn(
        5
    )  # it is still known when it ends
    agent_with(env=scaled(), reward=formula).save(tmp_path / "learned")
    agent_with().save(tmp_path / "known")
    with pytest.warns(UserWarning, match="not the one"):
        with pytest.raises(
            ValueError,
            match="termination was learned .* is a formula in the environment here.*TransformReward.*env=MyWrapper",
        ):
            MAGEAgent.load(tmp_path / "learned", env="Pendulum-v1")
    with pytest.warns(UserWarning, match="not the one"):
        with pytest.raises(
            ValueError, match="reward was a formula .* is learned from transitions in the environment here"
        ):
            MAGEAgent.load(tmp_path / "known", env=scaled())


def test_a_loaded_agent_asks_for_its_model_at_once(tmp_path):
    agent_with(tmp_path / "run", dynamics=Linear).learn(60)
    for folder in (tmp_path / "run", tmp_path / "run" / "agent"):
        with pytest.raises(
            ValueError,
            match=r"model of this agent was built by a function of its user's.*MAGEAgent.load\(path, dynamics=function\)",
        ):
            MAGEAgent.load(folder)
        assert type(MAGEAgent.load(folder, dynamics=Linear).learner.dynamics) is Linear
        with pytest.raises(ValueError, match="the saved weights do not fit"):
            MAGEAgent.load(folder, dynamics=defaults)  # another model than the saved one


def test_a_loaded_agent_asks_for_its_critic_at_once_and_for_its_target_to_learn(tmp_path):
    saved = agent_with(tmp_path / "run", critic=Quadratic, critic_target=twice).learn(60)
    with pytest.raises(
        ValueError, match=r"the critic of this agent was built by .*MAGEAgent.load\(path, critic=function\)"
    ):
        MAGEAgent.load(tmp_path / "run")
    with pytest.raises(ValueError, match="the saved weights do not fit"):
        MAGEAgent.load(tmp_path / "run" / "agent", critic=default_critics)
    loaded = MAGEAgent.load(tmp_path / "run", critic=Quadratic)
    obs = loaded.get_env().reset(seed=0)[0]
    assert (loaded.predict(obs)[0] == saved.predict(obs)[0]).all()
    with pytest.raises(ValueError, match=r"critic_target was a function of its user's.*critic_target=function"):
        loaded.learn(10, reset_num_timesteps=False)


def test_a_run_with_parts_of_ones_own_in_two_pieces_is_the_run_in_one(tmp_path):
    parts = dict(critic_loss=relative, dynamics=Linear, critic=Quadratic, critic_target=twice)
    whole = agent_with(tmp_path / "whole", **parts).learn(150)
    agent_with(tmp_path / "pieces", **parts).learn(100)
    pieces = MAGEAgent.load(tmp_path / "pieces", **parts).learn(50, reset_num_timesteps=False)
    assert same(weights(whole), weights(pieces))
    files = ("metrics.csv", "evaluations.csv", "agent/agent.json", "agent/weights.safetensors")
    assert all((tmp_path / "whole" / name).read_bytes() == (tmp_path / "pieces" / name).read_bytes() for name in files)


def test_a_run_that_goes_on_with_another_function_says_so_and_names_both(tmp_path):
    named = lambda: json.loads((tmp_path / "config.json").read_text())["given"]
    go_on = lambda loss: MAGEAgent.load(tmp_path, critic_loss=loss).learn(10, reset_num_timesteps=False)
    agent_with(tmp_path, critic_loss=relative).learn(60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        go_on(relative)
    assert named() == {"critic_loss": "relative"}
    with pytest.warns(
        UserWarning, match=r"another function than it had \(critic_loss: relative, from step 70 librarys\)"
    ):
        go_on(librarys)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        go_on(librarys)
    assert named() == {"critic_loss": "relative, from step 70 librarys"}


@pytest.mark.slow
def test_parts_of_ones_own_are_compiled_with_the_rest():
    fast = dict(optimizer="adam", actor_lr=0.01, critic_lr=0.01, policy_delay=1)
    parts = dict(critic_loss=slopes_only, actor_loss=timid, dynamics=Linear)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="torch.compile does not work")
        fused = agent_with(**parts, **fast, compile=True).learn(60)
    eager = agent_with(**parts, **fast, compile=False).learn(60)
    assert fused.learner.graphs is not None and eager.learner.graphs is None
    near = lambda one, other: all(torch.allclose(one[name], other[name], rtol=1e-2, atol=1e-3) for name in one)
    ours = weights(fused)
    assert near(ours, weights(eager))
    for left_out in parts:  # each of them would be missed
        fewer = {name: part for name, part in parts.items() if name != left_out}
        other = weights(agent_with(**fewer, **fast, compile=False).learn(60))
        assert ours.keys() != other.keys() or not near(ours, other), left_out


def test_the_public_face_has_what_the_parts_are_made_of_and_what_compares_them():
    import mage_edu

    parts = {"CriticLoss", "CriticTarget", "Dynamics", "BareDynamics", "Critic", "ForwardCritic"}
    functions = {"build_dynamics", "critic_loss", "evaluation_curve", "paired_interval"}
    assert parts | functions <= set(mage_edu.__all__) and CriticTarget is mage_edu.CriticTarget
    assert mage_edu.critic_loss is critic_loss and mage_edu.build_dynamics is build_dynamics
    assert mage_edu.paired_interval({0: 1.0, 1: 3.0}, {0: 0.0, 1: 0.0})[0] == 2.0 and callable(
        mage_edu.evaluation_curve
    )


def test_a_critic_made_of_torchs_own_networks_learns_and_comes_back(tmp_path):
    agent = agent_with(tmp_path / "run", critic=Own)
    before = weights(agent)
    agent.learn(90)
    assert not same(weights(agent), before) and "critic.networks.1.2.bias" in before
    assert same(weights(MAGEAgent.load(tmp_path / "run", critic=Own)), weights(agent))


def test_actions_are_in_the_environments_units_for_its_formulas_and_in_unit_range_for_all_else():
    largest = {}

    def seen(name, action):
        largest[name] = max(largest.get(name, 0.0), action.detach().abs().max().item())

    def reward(obs, action, next_obs):
        seen("reward", action)
        return reward_fn("Pendulum-v1")(obs, action, next_obs)

    def loss(config, critic, target):
        seen("loss", target.action)
        return relative(config, critic, target)

    class Looking(Linear):
        def predict(self, obs, action, *layers):
            seen("dynamics", action)
            return super().predict(obs, action, *layers)

    agent_with(algorithm="mage-even", reward=reward, critic_loss=loss, dynamics=Looking).learn(
        50
    )  # torques are up to 2
    assert largest["reward"] > 1.5 and 0.5 < largest["loss"] <= 1.0 and 0.5 < largest["dynamics"] <= 1.0
    said = MAGEAgent.__doc__
    assert "in the environment's units for `reward` and `termination`, and in [-1, 1] for all the others" in said


def test_a_reward_without_slopes_is_told():
    torchs = lambda obs, action, next_obs: -(action**2).sum(-1)
    cut = lambda *step: torchs(*step).detach()
    for algorithm, reward, told in (
        ("mage", cut, True),
        ("mage", torchs, False),
        ("dyna-td3", cut, False),
        ("maac", cut, True),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            agent_with(algorithm=algorithm, reward=reward)
        assert any("reward: the function's result has no slope" in str(w.message) for w in caught) is told
