"""Compiled kernels: the same numbers as the eager ones after whole updates, and a clear line where there is no compiler."""

import gc
import json
import weakref
from typing import NamedTuple

import pytest
import torch

from mage_edu import MAGEAgent
from mage_edu.config import make_config
from mage_edu.engine import build, kernels
from mage_edu.engine.build import build_learner, compile_learner
from mage_edu.engine.kernels import (
    EAGER,
    by_onednn,
    compile_pays,
    compiled,
    copied_function,
    fused_apply,
    make_graphs,
    make_kernels,
    next_step,
    onednn_keeps_float32,
    onednn_pays,
    optimizer_step,
    put_back,
    update_steps,
)
from mage_edu.engine.rounds import agent_update, dynamics_update, refresh_normalizers
from mage_edu.engine.steps import environment_step
from mage_edu.envs import ActionScale, make_env
from mage_edu.networks import apply_gradients
from mage_edu.targets import draw_actor_noise, draw_noise
from mage_edu.updates import actor_gradients

NETWORKS = ("actor", "critic", "target_actor", "target_critic", "dynamics")
SMALL = dict(
    actor_width=16,
    critic_width=16,
    dynamics_width=16,
    batch_size=8,
    dynamics_batch_size=8,
    dynamics_batches=2,
    warmup_steps=50,
)


def filled(config, env_id, dtype, device="cpu"):
    """A learner with 200 random transitions, all of it in `dtype`."""
    env = make_env(env_id)
    learner = build_learner(config, env, device)
    for _ in range(200):
        environment_step(learner, env)
    learner.dynamics.set_normalizer(learner.normalizer)
    refresh_normalizers(learner)
    for name in NETWORKS:
        getattr(learner, name).to(dtype)
    learner.replay.data = type(learner.replay.data)(*(column.to(dtype) for column in learner.replay.data))
    scale = learner.world.scale
    object.__setattr__(learner.world, "scale", ActionScale(scale.low.to(dtype), scale.high.to(dtype)))
    return learner


OURS = dict(critic_layer_norm=True, preactivation_weight=0.03, imagined_noise=0.1)
AHEAD = dict(actor_horizon=2, actor_horizon_mean=True)
CUT = dict(dynamics_clip=0.5)  # narrow, so that much is cut
HALF = dict(real_share=0.5, gradient_on="both")
MODEL = dict(dynamics="deterministic", dynamics_sampling="moments")
OTHERS = dict(
    activation="relu", optimizer="adam", critic_loss="squared", actor_climbs="first", delay_target_critic=True
)


@pytest.mark.parametrize(
    "env_id, dtype, limit, settings",
    [
        ("InvertedPendulum-v5", torch.float32, 1e-5, OURS),
        ("HalfCheetah-v5", torch.float64, 1e-9, OURS | AHEAD | CUT),
        pytest.param("Pendulum-v1", torch.float64, 1e-9, OTHERS | MODEL, marks=pytest.mark.slow),
        ("Hopper-v5", torch.float32, 1e-5, OURS | HALF),
        pytest.param(
            "Pendulum-v1", torch.float64, 1e-9, HALF | dict(horizon=2, stored_noise="inferred"), marks=pytest.mark.slow
        ),
        pytest.param(
            "InvertedPendulum-v5",
            torch.float64,
            1e-9,
            OURS | HALF | dict(state_slope_weight=1.0),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "HalfCheetah-v5", torch.float32, 0.01, OURS | HALF | dict(precision="bf16"), marks=pytest.mark.slow
        ),
    ],
)
def test_compiled_and_eager_updates_agree(env_id, dtype, limit, settings):
    config = make_config("mage", "tiny", warmup_steps=250, **settings)
    eager, compiled = filled(config, env_id, dtype), filled(config, env_id, dtype)
    start = {name: [p.detach().clone() for p in getattr(eager, name).parameters()] for name in NETWORKS}
    assert compile_learner(compiled) and compiled.graphs is not None
    for name in NETWORKS[:4]:  # the trial left everything as it was
        assert all(map(torch.equal, start[name], getattr(compiled, name).parameters())), name
    assert not compiled.critic_optimizer.state and not compiled.actor_optimizer.state
    for learner in (eager, compiled):
        losses = agent_update(learner)
        losses |= agent_update(learner) | dynamics_update(learner)  # the second moves the actor too
        learner.recorder.losses(losses)
    rows = [learner.recorder.row(0, 0) for learner in (eager, compiled)]
    assert rows[0].keys() == rows[1].keys()
    assert all(abs(rows[1][name] - value) <= 10.0 * limit * (1.0 + abs(value)) for name, value in rows[0].items())
    for name in NETWORKS:
        for before, a, b in zip(
            start[name], getattr(eager, name).parameters(), getattr(compiled, name).parameters(), strict=True
        ):
            assert not torch.equal(before, a) and not torch.equal(before, b), name
            assert (a - b).norm() <= limit * a.norm(), name


@pytest.mark.parametrize(
    "algorithm, settings",
    [
        ("mage-half", OURS),
        ("td3", OTHERS),
        ("mage", AHEAD | OURS),
        ("mve-td3", {}),
        ("mage", dict(policy_delay=3)),
    ],
)
def test_the_two_halves_are_the_update_of_the_lesson(algorithm, settings):
    """Seven updates before anything is compiled: the same draws, losses and weights, in float64."""
    config = make_config(algorithm, "tiny", warmup_steps=250, **settings)
    lesson, halves = (filled(config, "Hopper-v5", torch.float64) for _ in range(2))
    halves.graphs = update_steps(halves.eager)
    for _ in range(7):
        ours, theirs = agent_update(halves), agent_update(lesson)
        assert ours.keys() == theirs.keys() and all(
            (ours[k] - v).abs() <= 1e-10 * (1 + v.abs()) for k, v in theirs.items()
        )
    for name in NETWORKS[:4]:
        for a, b in zip(getattr(lesson, name).parameters(), getattr(halves, name).parameters(), strict=True):
            assert (a - b).norm() <= 1e-11 * a.norm(), name
    for name in ("update_generator", "exploration_generator"):
        assert torch.equal(getattr(lesson, name).get_state(), getattr(halves, name).get_state())
    assert torch.equal(lesson.replay.generator.get_state(), halves.replay.generator.get_state())


def test_weights_are_put_back_even_where_the_block_fails():
    learner = filled(make_config("td3", "tiny", warmup_steps=250), "Pendulum-v1", torch.float32)
    before = [p.detach().clone() for network in learner.networks for p in network.parameters()]
    with pytest.raises(ArithmeticError), put_back(learner.networks):
        with torch.no_grad():
            for network in learner.networks:
                for p in network.parameters():
                    p.add_(1.0)
        raise ArithmeticError
    after = [p for network in learner.networks for p in network.parameters()]
    assert all(map(torch.equal, before, after)) and len(before) > 10


@pytest.mark.slow
def test_a_compiled_actor_looks_ahead_as_an_eager_one_does():
    """The rollout through the model in one graph, terminations on the way included; small networks, so that compiling is short."""
    config = make_config(
        "ivg",
        "tiny",
        actor_horizon=2,
        actor_layers=1,
        critic_layers=1,
        dynamics_layers=1,
        batch_size=8,
        warmup_steps=250,
    )
    learner = filled(config, "InvertedPendulum-v5", torch.float64)
    with torch.no_grad():
        learner.actor.weights[-1].mul_(20.0)  # strong pushes, so that some poles fall
    obs = learner.replay.sample(8).obs
    noise = draw_actor_noise(config, *obs.shape, torch.Generator().manual_seed(0)).double()
    arguments = config, learner.world, learner.actor, learner.critic, obs, noise
    (loss, gradients), (fused_loss, fused) = actor_gradients(*arguments), compiled(actor_gradients)(*arguments)
    assert (loss - fused_loss).abs() <= 1e-12 * loss.abs()
    assert all((a - b).norm() <= 1e-10 * a.norm() for a, b in zip(gradients, fused, strict=True))


LARGE = dict(
    actor_width=200,
    critic_width=200,
    dynamics_width=200,
    actor_layers=1,
    critic_layers=2,
    dynamics_layers=1,
    batch_size=128,
    warmup_steps=250,
)


def relative_errors(ours, exact):
    """Of the parameters of every network, against those of a learner in float64."""
    return [
        float(((b - a.double()).norm() / b.norm()).detach())
        for name in NETWORKS
        for a, b in zip(getattr(ours, name).parameters(), getattr(exact, name).parameters(), strict=True)
    ]


@pytest.mark.parametrize("compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_products_of_another_library_are_as_exact(compile, monkeypatch):
    """One update and one dynamics batch with float32 products from either library, both beside float64."""
    config = make_config("mage", "tiny", dynamics_batches=1, **LARGE)
    if not onednn_pays(config, "cpu"):
        pytest.skip("oneDNN would round float32 products on this processor, or is not there")
    other, exact = filled(config, "HalfCheetah-v5", torch.float32), filled(config, "HalfCheetah-v5", torch.float64)
    monkeypatch.setattr(kernels, "onednn_pays", lambda *arguments: False)
    usual = filled(config, "HalfCheetah-v5", torch.float32)
    monkeypatch.undo()
    if compile:
        assert compile_learner(other)
    for learner in (other, exact, usual):
        agent_update(learner), dynamics_update(learner)
    errors, usual_errors = relative_errors(other, exact), relative_errors(usual, exact)
    assert errors != usual_errors  # they did go another way
    assert max(errors) <= 3.0 * max(usual_errors) <= 1e-4


def test_the_permission_is_given_for_as_long_as_a_kernel_runs_and_no_longer():
    before = torch.backends.mkldnn.matmul.fp32_precision

    def fail():
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        by_onednn(fail)()
    assert torch.backends.mkldnn.matmul.fp32_precision == before != "bf16"


@pytest.mark.parametrize(
    "settings, device_type, keeps, pays",
    [
        ({}, "cpu", True, True),
        (dict(critic_width=100), "cpu", True, False),
        (dict(precision="bf16"), "cpu", True, False),
        ({}, "cuda", True, False),
        ({}, "cpu", False, False),
    ],
)
def test_when_products_go_to_the_other_library(settings, device_type, keeps, pays, monkeypatch):
    monkeypatch.setattr(kernels, "onednn_keeps_float32", lambda: keeps)
    config = make_config("mage", "tiny", **LARGE | settings)
    assert onednn_pays(config, device_type) is pays
    assert all((graph.__qualname__ == "by_onednn.<locals>.call") is pays for graph in make_graphs(config, device_type))
    assert (make_kernels(config, device_type).critic_target is EAGER.critic_target) is (
        not pays and config.precision == "float32"
    )


def test_a_library_that_rounds_is_noticed(monkeypatch):
    assert onednn_keeps_float32.__wrapped__() == onednn_keeps_float32()
    exact = torch.Tensor.__matmul__
    rounding = lambda a, b: (
        exact(a.bfloat16().to(a.dtype), b.bfloat16().to(b.dtype)) if a.dtype == torch.float32 else exact(a, b)
    )
    monkeypatch.setattr(torch.Tensor, "__matmul__", rounding)
    assert not onednn_keeps_float32.__wrapped__()


class NoCompiler(RuntimeError):
    """What stands here for torch's own error."""


def without_compiler(function, device_type="cpu"):
    """In the place of `compiled`: a function that fails at its first call."""

    def call(*arguments):
        raise NoCompiler("no C++ compiler\nand more lines")

    return call


def test_a_missing_compiler_is_told_and_the_run_goes_on(monkeypatch, tmp_path):
    monkeypatch.setattr(kernels, "compiled", without_compiler)
    agent = MAGEAgent("Pendulum-v1", "mage", "tiny", out=tmp_path / "run", compile=True, **SMALL)
    with pytest.warns(
        UserWarning,
        match=r"torch.compile does not work here \(NoCompiler: no C\+\+ compiler and more lines\); training goes on",
    ):
        agent.learn(60)
    assert agent.num_timesteps == 60 and agent.learner.kernels == EAGER and agent.learner.graphs is None
    assert json.loads((tmp_path / "run" / "config.json").read_text())["compile"] is False


@pytest.mark.parametrize(
    "wanted, steps, called", [("auto", 100, False), ("auto", 10_050, True), (True, 100, True), (False, 10_050, False)]
)
def test_when_a_run_is_compiled(monkeypatch, tmp_path, wanted, steps, called):
    calls = []
    monkeypatch.setattr("mage_edu.agent.compile_learner", lambda learner: calls.append(learner) or True)
    monkeypatch.setattr("mage_edu.agent.train", lambda *arguments: None)
    agent = MAGEAgent("Pendulum-v1", "mage", "tiny", out=tmp_path / "run", compile=wanted, **SMALL)
    noted = lambda: json.loads((tmp_path / "run" / "config.json").read_text())["compile"]
    assert noted() == wanted
    agent.learn(steps)
    assert bool(calls) is called and noted() is called


def test_the_threshold_counts_updates():
    config = make_config("mage", "tiny", updates_per_step=4, warmup_steps=200)
    assert compile_pays(config, 2_700) and not compile_pays(config, 2_699)


@pytest.mark.parametrize("wrong", ["yes", 1, None, 0.0])
def test_other_words_for_compile_are_refused(wrong, tmp_path):
    with pytest.raises(ValueError, match="compile=.*expected True, False or 'auto'"):
        MAGEAgent("Pendulum-v1", "mage", "tiny", out=tmp_path / "run", compile=wrong)
    assert not (tmp_path / "run").exists()
    assert build.EAGER is EAGER


class Schedule:
    """Some steps of an optimizer on made-up gradients, many of them beyond the clipping, in float64."""

    def __init__(self, kind, **settings):
        self.generator = torch.Generator().manual_seed(0)
        self.weights = [torch.nn.Parameter(x) for x in self.draw()]
        self.optimizer = kind(self.weights, 1e-2, weight_decay=0.1, **settings)

    def draw(self):
        return [3.0 * torch.randn(*shape, generator=self.generator, dtype=torch.float64) for shape in ((4, 3), (5,))]

    def run(self, apply, steps):
        for _ in range(steps):
            apply(self.draw(), self.optimizer, 2.0)
        return [weight.detach() for weight in self.weights]


@pytest.mark.parametrize(
    "kind, settings", [(torch.optim.RAdam, dict(decoupled_weight_decay=True)), (torch.optim.AdamW, {})]
)
@pytest.mark.parametrize("steps", [1, 4, 6, 40])
def test_the_fused_step_is_torchs_own(kind, settings, steps):
    theirs = Schedule(kind, **settings).run(apply_gradients, steps)
    ours = Schedule(kind, **settings).run(fused_apply(optimizer_step), steps)
    assert all((a - b).norm() <= 1e-13 * a.norm() for a, b in zip(theirs, ours, strict=True))


def test_the_fused_step_leaves_the_state_that_torch_would():
    theirs, ours = (
        Schedule(torch.optim.RAdam, decoupled_weight_decay=True),
        Schedule(torch.optim.RAdam, decoupled_weight_decay=True),
    )
    theirs.run(apply_gradients, 8), ours.run(fused_apply(optimizer_step), 8)
    for a, b in zip(theirs.weights, ours.weights, strict=True):
        a, b = theirs.optimizer.state[a], ours.optimizer.state[b]
        assert a.keys() == b.keys() and a["step"] == b["step"] == 8
        assert all((a[name] - b[name]).norm() <= 1e-13 * a[name].norm() for name in ("exp_avg", "exp_avg_sq"))


@pytest.mark.parametrize(
    "make, message",
    [
        (torch.optim.SGD, "SGD with 1 group of parameters: the compiled step knows RAdam and AdamW"),
        (lambda p, lr: torch.optim.RAdam(p, lr, weight_decay=0.1), "RAdam with decoupled_weight_decay=False"),
        (lambda p, lr: torch.optim.AdamW(p, lr, amsgrad=True), "AdamW with amsgrad=True"),
        (lambda p, lr: torch.optim.AdamW([{"params": [x]} for x in p], lr), r"AdamW with \d+ groups of parameters"),
    ],
)
def test_other_optimizers_are_refused_and_the_run_goes_on_without_compiling(make, message, monkeypatch):
    monkeypatch.setattr(kernels, "fused", lambda function, device_type: function)
    learner = filled(make_config("td3", "tiny", warmup_steps=250), "Pendulum-v1", torch.float32)
    learner.critic_optimizer = make(list(learner.critic.parameters()), 1e-3)
    with pytest.raises(TypeError, match=message):
        next_step(learner.critic_optimizer)
    with pytest.warns(UserWarning, match=f"{message}.*training goes on without it"):
        assert not compile_learner(learner)
    assert learner.graphs is None and learner.kernels == EAGER
    agent_update(learner)


def test_a_counter_on_the_gpu_is_refused_as_reading_it_would_wait():
    with pytest.raises(TypeError, match="AdamW with capturable=True: the compiled step has False"):
        next_step(torch.optim.AdamW([torch.zeros(2, requires_grad=True)], 1e-3, capturable=True))


def test_the_simulator_is_not_compiled():
    learner = build_learner(make_config("mage", "tiny", model="simulator"), make_env("Pendulum-v1"))
    with pytest.raises(ValueError, match="model='simulator' cannot be compiled.*use model='learned'"):
        compile_learner(learner)


class Scale:
    factor = 2.0


@pytest.fixture
def made(monkeypatch):
    """What was given to the compiler, which here gives it back as it is."""
    functions = []
    monkeypatch.setattr(kernels, "fused", lambda function, device_type: functions.append(function) or function)
    return functions


def test_a_version_is_kept_once_its_first_call_has_worked_and_holds_its_objects(made):
    class Pair(NamedTuple):
        one: Scale
        other: Scale

    fails = [True]

    def product(x, pair):
        if fails.pop() if fails else False:
            raise ArithmeticError
        return x * pair.one.factor

    call, pair = compiled(product), Pair(Scale(), Scale())
    with pytest.raises(ArithmeticError):
        call(torch.ones(2), pair)
    assert torch.equal(call(torch.ones(2), pair), 2.0 * torch.ones(2)) and len(made) == 2
    seen = weakref.ref(pair.other)
    del pair
    gc.collect()
    assert seen() is not None  # its identity is part of a key: nothing else may get it


def test_a_compiled_function_is_made_anew_for_other_shapes_numbers_and_objects(made):
    call, one, other = compiled(lambda x, scale, plus: x * scale.factor + plus), Scale(), Scale()
    for arguments, versions in (
        ((torch.ones(2), one, 1.0), 1),
        ((torch.zeros(2), one, 1.0), 1),
        ((torch.ones(3), one, 1.0), 2),
        ((torch.ones(2), one, 2.0), 3),
        ((torch.ones(2), other, 1.0), 4),
        ((torch.ones(2).double(), one, 1.0), 5),
        ((torch.ones(2), one, 1.0), 5),
        ((torch.ones(4)[::2], one, 1.0), 6),
    ):
        assert torch.equal(call(*arguments), arguments[0] * 2.0 + arguments[2])
        assert len(made) == versions
    assert copied_function(call).__code__ is not call.__code__


def test_rounded_products_change_gradients_a_little():
    config = make_config("mage", "tiny", warmup_steps=250, precision="bf16")
    rounded, exact = (
        filled(config, "HalfCheetah-v5", torch.float32),
        filled(make_config("mage", "tiny", warmup_steps=250), "HalfCheetah-v5", torch.float32),
    )
    for learner in (rounded, exact):
        agent_update(learner), agent_update(learner), dynamics_update(learner)
    for name in NETWORKS:
        for a, b in zip(getattr(exact, name).parameters(), getattr(rounded, name).parameters(), strict=True):
            assert a.dtype == b.dtype == torch.float32 and b.isfinite().all()
            assert (a - b).norm() <= 0.02 * a.norm(), name
    assert any(not torch.equal(a, b) for a, b in zip(exact.critic.parameters(), rounded.critic.parameters()))


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision"):
        make_config("mage", "tiny", precision="fp8")


gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


@gpu
def test_an_update_on_a_gpu_waits_for_nothing():
    learner = filled(make_config("mage", "tiny", warmup_steps=250), "HalfCheetah-v5", torch.float32, "cuda")
    agent_update(learner), agent_update(learner)
    torch.cuda.set_sync_debug_mode("error")
    try:
        agent_update(learner), agent_update(learner)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(p.isfinite().all() for p in learner.critic.parameters())


@gpu
def test_the_critics_gradients_can_be_captured_as_a_cuda_graph():
    learner = filled(make_config("mage", "tiny", warmup_steps=250), "HalfCheetah-v5", torch.float32, "cuda")
    config, batch = learner.config, learner.replay.sample(learner.config.batch_size)
    noise = draw_noise(config, *batch.obs.shape, batch.action.shape[1], learner.update_generator)

    def step():
        target = learner.kernels.critic_target(
            config, learner.world, learner.actor, learner.target_actor, learner.target_critic, batch, noise
        )
        loss, gradients = learner.kernels.critic_gradients(config, learner.critic, target)
        learner.kernels.apply_gradients(gradients, learner.critic_optimizer, config.grad_clip)
        return loss.total

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step()
    graph.replay()
    assert loss.isfinite()
