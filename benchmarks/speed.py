"""Speed, beyond `mage-edu bench`: where the time of an update goes, and whether it stays flat as ensembles, buffers and runs grow.

    python benchmarks/speed.py profile --out results/speed/profile.csv
    python benchmarks/speed.py members --out results/speed/members.csv
    python benchmarks/speed.py buffer --out results/speed/buffer.csv
    python benchmarks/speed.py memory --out results/speed/memory.csv
    python benchmarks/speed.py products --out results/speed/products.csv
    python benchmarks/speed.py library --out results/speed/library.csv
    python benchmarks/speed.py graphs --out results/speed/graphs.csv
    python benchmarks/speed.py compiling --out results/speed/compiling.csv
    python benchmarks/speed.py first --out results/speed/first_minute.csv
    python benchmarks/speed.py peers --out results/speed/peers.csv

Each writes one small CSV. Nothing else should run on the machine meanwhile. In library, graphs, members, buffer and peers candidates alternate
within one process, numbers are medians over rounds, and ratios are formed within a round; products takes the shortest time; the others measure once.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Callable

import torch
import tyro

from mage_edu.engine import kernels
from mage_edu.engine.bench import NoEvaluation, Product, alternate, filled_learner, prepared, product_inputs, turn
from mage_edu.engine.build import build_optimizer, frozen_copy
from mage_edu.engine.kernels import by_onednn
from mage_edu.engine.learner import Learner
from mage_edu.engine.rounds import agent_update
from mage_edu.engine.storage import write_table
from mage_edu.engine.train import train
from mage_edu.envs import make_env
from mage_edu.networks import init_layers


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows as CSV, and on the screen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, rows[0], rows)
    print(path.read_text(encoding="utf-8"), end="")


def settle(threads: int) -> None:
    """What a run of the library does before its first step: so many threads."""
    torch.set_num_threads(threads)


def in_turns(calls: dict[Any, Callable[[], object]], repeats: int) -> dict[Any, list[float]]:
    """Seconds of one call of each candidate, for each round."""
    turns = {name: turn(call) for name, call in calls.items()}
    seconds = alternate({name: several for name, (several, _) in turns.items()}, repeats)
    return {name: [value / turns[name][1] for value in seconds[name]] for name in turns}


def updates(learner: Learner) -> None:
    """`policy_delay` updates: the actor moves in one of them."""
    for _ in range(learner.config.policy_delay):
        agent_update(learner)


@dataclass(frozen=True)
class Profile:
    """Milliseconds of a compiled update in matrix products, generated loops and everything else, by torch's profiler."""

    out: Path
    sizes: tuple[str, ...] = ("paper", "laptop")
    threads: int = 2
    updates: int = 10

    def run(self) -> None:
        """Measure and write."""
        import torch._inductor.config as inductor
        from torch.profiler import ProfilerActivity, profile

        settle(self.threads)
        inductor.cpp.enable_kernel_profile = True  # names the generated loops
        kernels.fused = lambda function, device_type: (
            torch.compile(  # calls the products from Python, where the profiler sees them
                kernels.copied_function(function), fullgraph=True, dynamic=False, options={"size_asserts": False}
            )
        )
        rows = []
        for size in self.sizes:
            for precision in ("float32", "bf16"):
                learner = prepared(size, "HalfCheetah-v5", 0, "compiled", precision)
                for _ in range(3):
                    updates(learner)
                with profile(activities=[ProfilerActivity.CPU]) as seen:
                    for _ in range(self.updates):
                        updates(learner)
                parts = {"products": 0.0, "loops": 0.0, "rest": 0.0}
                for event in seen.key_averages():
                    part = (
                        "products"
                        if event.key in ("aten::bmm", "aten::mm")
                        else "loops"
                        if "cpp_fused" in event.key
                        else "rest"
                    )
                    parts[part] += event.self_cpu_time_total / 1e3 / self.updates / learner.config.policy_delay
                rows += [
                    dict(size=size, precision=precision, part=part, milliseconds=round(value, 3))
                    for part, value in parts.items()
                ]
        write_rows(self.out, rows)


@dataclass(frozen=True)
class Products:
    """Microseconds of one float32 product by PyTorch's usual library and by oneDNN: squares, products as at `laptop` with an observation or an
    action on one side, and one as at `paper` with factors stored as their transposes, or not in the cache."""

    out: Path
    threads: int = 2

    def run(self) -> None:
        """Measure and write."""
        torch.set_num_threads(self.threads)
        cases = [("as it is", Product(1, side, side, side)) for side in (32, 64, 128, 256, 512, 1024)]
        cases += [
            ("as it is", Product(*shape))
            for shape in ((2, 128, 23, 256), (2, 128, 256, 23), (1, 128, 6, 256), (1, 128, 256, 6))
        ]
        cases += [
            (how, Product(2, 1024, 384, 384))
            for how in ("as it is", "first transposed", "second transposed", "not in the cache")
        ]
        rows = []
        for how, product in cases:
            as_it_is, first, second = product_inputs(product, torch.float32)
            factors = {
                "first transposed": [first],
                "second transposed": [second],
                "not in the cache": [product_inputs(product, torch.float32)[0] for _ in range(30)],
            }.get(how, [as_it_is])
            multiply = lambda: [torch.bmm(a, b) for a, b in factors]
            seconds = in_turns({"usual": multiply, "onednn": by_onednn(multiply)}, 9)
            for library, values in seconds.items():
                best = min(values) / len(factors)
                rows.append(
                    product._asdict()
                    | dict(
                        how=how,
                        library=library,
                        microseconds=round(1e6 * best, 1),
                        gflop_per_second=round(product.flops / best / 1e9),
                    )
                )
        write_rows(self.out, rows)


@dataclass(frozen=True)
class Library:
    """Milliseconds of a compiled update with float32 products by PyTorch's usual library and by oneDNN."""

    out: Path
    sizes: tuple[str, ...] = ("paper", "laptop", "tiny")
    threads: int = 2
    repeats: int = 9

    def run(self) -> None:
        """Measure and write."""
        settle(self.threads)
        rows, libraries = [], {"usual": False, "onednn": True}
        for size in self.sizes:
            learners = {}
            for library, pays in libraries.items():
                kernels.onednn_pays = lambda config, device_type: pays  # whatever the size
                learners[library] = prepared(size, "HalfCheetah-v5", 0, "compiled", "float32")
            seconds = in_turns(
                {library: lambda l=learner: updates(l) for library, learner in learners.items()}, self.repeats
            )
            for library in libraries:
                ratio = statistics.median(usual / mine for usual, mine in zip(seconds["usual"], seconds[library]))
                rows.append(
                    dict(
                        size=size,
                        library=library,
                        milliseconds=round(500 * statistics.median(seconds[library]), 3),
                        times_as_fast=round(ratio, 2),
                    )
                )
        write_rows(self.out, rows)


def by_functions(learner: Learner) -> Learner:
    """The learner with `update_agent` as it is written and each of its functions compiled by itself."""
    *functions, _ = learner.eager
    each = kernels.by_the_faster(learner.config, "cpu", [kernels.compiled(function) for function in functions])
    learner.kernels = kernels.Kernels(*each, kernels.fused_apply(kernels.compiled(kernels.optimizer_step)))
    return learner


@dataclass(frozen=True)
class Graphs:
    """Milliseconds of an update that is not compiled, that has each function compiled by itself, and that is compiled in two graphs."""

    out: Path
    repeats: int = 9

    def run(self) -> None:
        """Measure and write."""
        rows = []
        for size, algorithm, threads in (
            ("paper", "mage", 2),
            ("laptop", "mage", 2),
            ("laptop", "mage-even", 1),
            ("tiny", "mage-even", 1),
        ):
            settle(threads)
            filled = partial(filled_learner, size, "HalfCheetah-v5", 0, algorithm=algorithm)
            learners = {
                "not compiled": filled(),
                "each function": by_functions(filled()),
                "two graphs": prepared(size, "HalfCheetah-v5", 0, "compiled", "float32", algorithm=algorithm),
            }
            seconds = in_turns({way: lambda l=learner: updates(l) for way, learner in learners.items()}, self.repeats)
            for way, values in seconds.items():
                ratio = statistics.median(other / mine for other, mine in zip(seconds["each function"], values))
                rows.append(
                    dict(
                        size=size,
                        algorithm=algorithm,
                        threads=threads,
                        compiled=way,
                        milliseconds=round(500 * statistics.median(values), 3),
                        times_as_fast=round(ratio, 2),
                    )
                )
        write_rows(self.out, rows)


@dataclass(frozen=True)
class Compiling:
    """Seconds that compiling all kernels takes, in a new process with an empty cache and in one that finds them there."""

    out: Path
    sizes: tuple[str, ...] = ("paper", "laptop", "tiny")
    threads: int = 2

    def run(self) -> None:
        """Measure and write."""
        code = (
            "import sys, time, torch; torch.set_num_threads(int(sys.argv[2])); from mage_edu.engine.bench import filled_learner; from mage_edu.engine.build import compile_learner\n"
            "learner = filled_learner(sys.argv[1], 'HalfCheetah-v5', 0); begin = time.perf_counter(); assert compile_learner(learner); print(time.perf_counter() - begin)"
        )
        rows = []
        for size in self.sizes:
            with tempfile.TemporaryDirectory() as folder:
                for cache in ("empty", "filled"):
                    done = subprocess.run(
                        [sys.executable, "-c", code, size, str(self.threads)],
                        capture_output=True,
                        text=True,
                        check=True,
                        env=os.environ | {"TORCHINDUCTOR_CACHE_DIR": folder},
                    )
                    rows.append(dict(size=size, cache=cache, seconds=round(float(done.stdout.split()[-1]), 1)))
        write_rows(self.out, rows)


@dataclass(frozen=True)
class First:
    """Seconds from the command to the first 1,000 steps of the run that `make train` makes, with an empty cache of compiled code and a filled one.

    `before` is what comes before the first step (imports, building, compiling); `warm_up` are the steps, `evaluation` the episodes after them.
    """

    out: Path
    env: str = "HalfCheetah-v5"
    repeats: int = 2

    def once(self, cache: str) -> dict[str, float]:
        """One run, ended when it has written its first row of timings."""
        run = "from mage_edu.cli import main; main()"
        with tempfile.TemporaryDirectory() as folder:
            timings = Path(folder) / "run" / "timings.csv"
            arguments = ["train", "--env", self.env, "--steps", "5000", "--out", str(timings.parent)]
            begin = time.perf_counter()
            training = subprocess.Popen(
                [sys.executable, "-c", run, *arguments],
                stdout=subprocess.DEVNULL,
                env=os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache},
            )
            while not timings.exists() or len(timings.read_text().splitlines()) < 2:
                if training.poll() is not None:
                    raise SystemExit("the run ended before its first 1,000 steps")
                time.sleep(0.02)
            total = time.perf_counter() - begin
            header, row = (line.split(",") for line in timings.read_text().splitlines()[:2])
            training.kill()
            training.wait()
        seen = {name: float(value) for name, value in zip(header, row)}
        before = total - seen["seconds"]
        warm_up = seen["seconds"] - seen["evaluation"]
        return dict(seconds=total, before=before, warm_up=warm_up, evaluation=seen["evaluation"])

    def run(self) -> None:
        """Measure and write."""
        rows = []
        for repeat in range(self.repeats):
            with tempfile.TemporaryDirectory() as cache:
                for state in ("empty", "filled"):
                    seconds = {name: round(value, 1) for name, value in self.once(cache).items()}
                    rows.append(dict(cache=state, repeat=repeat) | seconds)
        write_rows(self.out, rows)


@dataclass(frozen=True)
class Members:
    """Milliseconds of an update against the number of members, all of the same width."""

    out: Path
    sizes: tuple[str, ...] = ("paper", "laptop")
    threads: int = 2
    repeats: int = 9

    def run(self) -> None:
        """Measure and write."""
        settle(self.threads)
        rows = []
        for size in self.sizes:
            counts = (1, 2, 4, 8, 16)
            learners = {members: filled_learner(size, "HalfCheetah-v5", 0, members=members) for members in counts}
            seconds = in_turns(
                {members: lambda l=learner: updates(l) for members, learner in learners.items()}, self.repeats
            )
            for members in counts:
                ratio = statistics.median(a / b for a, b in zip(seconds[members], seconds[1]))
                rows.append(
                    dict(
                        size=size,
                        version="eager",
                        members=members,
                        milliseconds=round(500 * statistics.median(seconds[members]), 3),
                        ratio_to_one=round(ratio, 3),
                    )
                )
        write_rows(self.out, rows)


def with_stored(size: str, stored: int) -> tuple[Learner, Any]:
    """A compiled learner whose buffer holds that many transitions (the same thousand again and again), and an environment."""
    interval = 100
    learner = prepared(size, "HalfCheetah-v5", 0, "compiled", "float32", eval_interval=interval, log_interval=interval)
    few, replay = learner.replay.data, learner.replay
    replay.data = type(few)(*(column.repeat(stored // len(column) + 1, *[1] * (column.dim() - 1)) for column in few))
    replay.capacity, replay.added, learner.obs = stored + 1_000, stored, None
    return learner, make_env("HalfCheetah-v5")


@dataclass(frozen=True)
class Buffer:
    """Milliseconds of a training step (environment, updates, dynamics, logging) with 1,000 and with 100,000 stored transitions."""

    out: Path
    size: str = "laptop"
    threads: int = 2
    repeats: int = 9

    def run(self) -> None:
        """Measure and write."""
        settle(self.threads)
        sides = {stored: with_stored(self.size, stored) for stored in (1_000, 100_000)}
        steps = next(iter(sides.values()))[0].config.dynamics_interval
        hook = lambda table, rows: True
        seconds = alternate(
            {
                stored: lambda l=learner, e=env: train(l, e, NoEvaluation(), steps, hook)
                for stored, (learner, env) in sides.items()
            },
            self.repeats,
        )
        ratio = statistics.median(a / b for a, b in zip(seconds[100_000], seconds[1_000]))
        write_rows(
            self.out,
            [
                dict(
                    size=self.size,
                    stored=stored,
                    milliseconds_per_step=round(1e3 * statistics.median(values) / steps, 3),
                    ratio=round(ratio if stored > 1_000 else 1.0, 3),
                )
                for stored, values in seconds.items()
            ],
        )


def resident_mib() -> float:
    """Resident memory of this process, MiB (Linux)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


@dataclass(frozen=True)
class Memory:
    """Resident memory of a long run: after 2,000 steps, and every 5,000 steps of the next 20,000."""

    out: Path
    size: str = "tiny"
    threads: int = 1

    def run(self) -> None:
        """Measure and write."""
        settle(self.threads)
        env = make_env("HalfCheetah-v5")
        learner = filled_learner(
            self.size, "HalfCheetah-v5", 0, eval_interval=10**6, log_interval=100, replay_capacity=100_000
        )
        learner.obs, rows = None, []
        for steps in (2_000, 5_000, 5_000, 5_000, 5_000):
            train(learner, env, NoEvaluation(), steps, lambda table, made: True)
            rows.append(dict(size=self.size, step=learner.num_timesteps, resident_mib=round(resident_mib(), 1)))
        stored = sum(column.numel() * 4 for column in learner.replay.data) / 2**20
        write_rows(
            self.out,
            [
                row
                | dict(replay_mib=round(stored, 1), growth_mib=round(row["resident_mib"] - rows[0]["resident_mib"], 1))
                for row in rows
            ],
        )


def with_widths(learner: Learner, widths: list[int]) -> Learner:
    """The learner with hidden layers of those widths in actor and critics (`Config` has one width for all)."""
    generator = torch.Generator().manual_seed(0)
    for name, optimizer, lr in (
        ("actor", "actor_optimizer", learner.config.actor_lr),
        ("critic", "critic_optimizer", learner.config.critic_lr),
    ):
        network = getattr(learner, name)
        layers = init_layers(
            network.members, [network.weights[0].shape[1], *widths, network.weights[-1].shape[2]], generator
        )
        network.weights = torch.nn.ParameterList([torch.nn.Parameter(weight) for weight, _ in layers])
        network.biases = torch.nn.ParameterList([torch.nn.Parameter(bias) for _, bias in layers])
        setattr(learner, f"target_{name}", frozen_copy(network))
        setattr(learner, optimizer, build_optimizer(learner.config, network, lr))
    return learner


@dataclass(frozen=True)
class Peers:
    """Gradient steps and environment steps per second of our td3 and Stable-Baselines3's TD3: same networks, batch 256, same settings.

    With SBX, which is TD3 in JAX (pip install sbx-rl; not among what the development environment brings), also of that. Its hundred gradient
    steps are one compiled call, ours are several for each; its environment steps make one each.
    """

    out: Path
    threads: int = 2
    repeats: int = 7

    def sides(self, widths: list[int]) -> tuple[Learner, Any, dict[str, Any]]:
        """Ours (compiled), our environment, and theirs with filled buffers, by name."""
        from sb3 import Setting, our_agent, their_model

        from mage_edu.engine.build import compile_learner
        from mage_edu.engine.steps import environment_step

        setting = Setting(width=widths[0], batch_size=256)
        agent = our_agent("HalfCheetah-v5", setting, 0)
        learner = with_widths(agent.learner, widths)
        for _ in range(setting.warmup_steps):
            environment_step(learner, agent.env)
        if not compile_learner(learner):
            raise SystemExit("torch.compile does not work here")
        kinds = {"stable_baselines3": None} | ({"sbx": import_module("sbx").TD3} if find_spec("sbx") else {})
        models = {name: their_model("HalfCheetah-v5", setting, 0, widths, kind) for name, kind in kinds.items()}
        for model in models.values():
            model.learn(setting.warmup_steps + 10)
        return learner, agent.env, models

    def run(self) -> None:
        """Measure and write."""
        settle(self.threads)
        rows = []
        for widths in ([256, 256], [400, 300]):
            learner, env, models = self.sides(widths)
            hook = lambda table, made: True
            measures = {
                "gradient steps": (
                    100,
                    lambda: [agent_update(learner) for _ in range(100)],
                    lambda model: model.train(gradient_steps=100, batch_size=256),
                ),
                "environment steps": (
                    200,
                    lambda: train(learner, env, NoEvaluation(), 200, hook),
                    lambda model: model.learn(200, reset_num_timesteps=False),
                ),
            }
            for name, (count, ours, theirs) in measures.items():
                calls = {"mage_edu": ours} | {library: partial(theirs, model) for library, model in models.items()}
                calls["stable_baselines3 with oneDNN"] = by_onednn(calls["stable_baselines3"])
                seconds = alternate(calls, self.repeats)
                for library, values in seconds.items():
                    ratio = statistics.median(other / mine for mine, other in zip(values, seconds["stable_baselines3"]))
                    rows.append(
                        dict(
                            widths="x".join(map(str, widths)),
                            measure=name,
                            library=library,
                            per_second=round(count / statistics.median(values), 1),
                            ratio=round(ratio, 2),
                        )
                    )
        write_rows(self.out, rows)


if __name__ == "__main__":
    begin = time.perf_counter()
    tyro.extras.subcommand_cli_from_dict(
        {
            "profile": Profile,
            "products": Products,
            "library": Library,
            "graphs": Graphs,
            "compiling": Compiling,
            "first": First,
            "members": Members,
            "buffer": Buffer,
            "memory": Memory,
            "peers": Peers,
        }
    ).run()
    print(f"{time.perf_counter() - begin:.0f} s")
