"""A trace of the library: digests of all that learning changes, to show that a refactoring changes nothing.

    python tests/trace.py --out FILE.csv                        # the trace of this working tree
    python tests/trace.py --out FILE.csv --against OLD.csv      # the same, then compared with another trace
    python tests/trace.py --out FILE.csv --revision REV         # the same, with the trace of a revision made anew here

A case is an algorithm and a way to compute it (eager in float32, float64 or bf16, or compiled), or `mage` with other
settings. Its row holds the digest of all weights, moments and generators after 50 critic updates and two dynamics
rounds, and one digest for each of the three. FILE.safetensors, beside it, holds the tensors, so that a difference has a
size. Eager rows have to be equal byte for byte, compiled ones byte for byte or within 1e-6; the exit code is 1 where
one is not. Not collected by pytest.

This file traces old revisions as well as new ones: what it knows about the library's layout stands in the section
"adapter". Where the library moves or renames a thing, the new name is added there, beside the old one.
"""

from __future__ import annotations

import argparse
import csv
import fnmatch
import functools
import hashlib
import importlib
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, Mapping, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
DETERMINISTIC = {  # a sum split over threads can differ from run to run, and so can what hangs on the hashes of names
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
}
if __name__ == "__main__" and any(os.environ.get(name) != value for name, value in DETERMINISTIC.items()):
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **DETERMINISTIC})

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

# ---- adapter: all that knows the layout of the library ------------------------------------------------------------

# Digests are taken under these names; beside each, where a learner may keep the thing: the first place that exists.
NETWORKS = {
    "actor": ("actor", "networks.actor"),
    "critic": ("critic", "networks.critic"),
    "target_actor": ("target_actor", "networks.target_actor"),
    "target_critic": ("target_critic", "networks.target_critic"),
    "dynamics": ("dynamics", "world.dynamics", "networks.dynamics"),
}
OPTIMIZERS = {
    "actor": ("actor_optimizer", "optimizers.actor"),
    "critic": ("critic_optimizer", "optimizers.critic"),
    "dynamics": ("dynamics_optimizer", "optimizers.dynamics"),
}
GENERATORS = {
    "updates": ("update_generator", "generators.updates"),
    "exploration": ("exploration_generator", "generators.exploration"),
    "replay": ("replay.generator", "generators.replay"),
}
LEARNED = ("learned",)  # a mapping from "reward" and "termination" to a part
PART = {"network": ("net", "network"), "optimizer": ("optimizer",), "generator": ("generator",)}


@functools.cache
def modules() -> list[Any]:
    """All modules of the package, imported, wherever they stand; one that lacks a dependency is left out."""
    package, found = importlib.import_module("mage_edu"), []
    for info in pkgutil.walk_packages(package.__path__, "mage_edu."):
        if info.name.endswith("__main__"):
            continue
        try:
            found.append(importlib.import_module(info.name))
        except ImportError:
            continue
    return found


@functools.cache
def find(*names: str) -> Any:
    """What has the first of these names that any module has: `name`, or `module.name` where two modules define one.

    Raises `LookupError` where there is none, or more than one.
    """
    for name in names:
        module_name, _, attribute = name.rpartition(".")
        fitting = [m for m in modules() if module_name in ("", m.__name__.removeprefix("mage_edu."))]
        holders = [module for module in fitting if hasattr(module, attribute)]
        things = {id(thing): thing for thing in (getattr(module, attribute) for module in holders)}
        if len(things) > 1:
            where = ", ".join(module.__name__ for module in holders)
            raise LookupError(f"{name} has two meanings in {where}: say which in the adapter of tests/trace.py")
        if things:
            return things.popitem()[1]
    raise LookupError(f"no module has {' or '.join(names)}: add the new name to the adapter of tests/trace.py")


def at(thing: Any, places: tuple[str, ...]) -> Any:
    """What is at the first of these places that a thing has; a place is a path of attributes and keys, `a.b`."""
    for place in places:
        value, missing = thing, object()
        for step in place.split("."):
            value = value.get(step, missing) if isinstance(value, Mapping) else getattr(value, step, missing)
            if value is missing:
                break
        else:
            return value
    kind, tried = type(thing).__name__, ", ".join(places)
    raise LookupError(f"a {kind} has none of {tried}: add the new place to the adapter of tests/trace.py")


def algorithms() -> list[str]:
    """The names of the algorithms, in the order of their table."""
    return list(find("ALGORITHMS"))


def knows(setting: str) -> bool:
    """Whether the configuration has this setting."""
    return setting in find("Config").__dataclass_fields__


def begin(algorithm: str, env_id: str, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """A fresh learner and its environment."""
    env = find("envs.make_env")(env_id)
    return find("build_learner")(find("make_config")(algorithm, "tiny", **settings), env), env


def explore(learner: Any, env: Any, steps: int) -> None:
    """Environment steps, stored in the replay buffer."""
    for _ in range(steps):
        find("environment_step")(learner, env)


def model_round(learner: Any) -> None:
    """Statistics of the observations to all networks, and a training round of what is learned about the world."""
    find("refresh_normalizers")(learner)
    if learner.config.learns_model:
        find("dynamics_update")(learner)
    find("learned_update")(learner)


def update(learner: Any, times: int) -> None:
    """Critic updates, with the updates of actor and targets that are due."""
    for _ in range(times):
        find("agent_update")(learner)


def to_double(learner: Any) -> None:
    """Networks, stored transitions and the bounds of actions in float64."""
    for network in networks_of(learner).values():
        network.double()
    data, scale = learner.replay.data, learner.world.scale
    learner.replay.data = type(data)(*(column.double() for column in data))
    object.__setattr__(learner.world, "scale", type(scale)(scale.low.double(), scale.high.double()))


def compile_kernels(learner: Any) -> None:
    """Compiled kernels. Raises where there is no compiler: the row would be one of eager kernels."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="torch.compile does not work")
        if not find("compile_learner")(learner):
            raise RuntimeError("the kernels could not be compiled")


def networks_of(learner: Any) -> dict[str, torch.nn.Module]:
    """Every network that the algorithm uses, by its canonical name."""
    used = {name: places for name, places in NETWORKS.items() if name != "dynamics" or learner.config.learns_model}
    own = {name: at(learner, places) for name, places in used.items()}
    return own | {f"learned_{name}": at(part, PART["network"]) for name, part in at(learner, LEARNED).items()}


def optimizers_of(learner: Any) -> dict[str, torch.optim.Optimizer]:
    """The optimizers, by the canonical names of their networks."""
    used = {name: places for name, places in OPTIMIZERS.items() if name != "dynamics" or learner.config.learns_model}
    own = {name: at(learner, places) for name, places in used.items()}
    return own | {f"learned_{name}": at(part, PART["optimizer"]) for name, part in at(learner, LEARNED).items()}


def generators_of(learner: Any) -> dict[str, torch.Generator]:
    """The random generators, by their canonical names."""
    own = {name: at(learner, places) for name, places in GENERATORS.items()}
    return own | {f"learned_{name}": at(part, PART["generator"]) for name, part in at(learner, LEARNED).items()}


# ---- the cases ----------------------------------------------------------------------------------------------------

ENV = "Hopper-v5"  # three actions, and episodes that terminate; cheap
FORMULA_ENV = "Pendulum-v1"  # whose simulator is a formula
SMALL = dict(
    actor_width=32,
    critic_width=32,
    dynamics_width=32,
    learned_width=32,
    batch_size=32,
    dynamics_batches=10,
    dynamics_batch_size=16,
    warmup_steps=150,
    replay_capacity=500,
)
SHALLOW = dict(actor_layers=1, critic_layers=1, dynamics_layers=1, learned_layers=1)  # less to compile

WAYS: dict[str, dict[str, Any]] = {  # to compute
    "eager float32": {},
    "eager float64": {},
    "eager bf16": dict(precision="bf16"),
    "compiled float32": SHALLOW,
}
OTHERS: dict[str, dict[str, Any]] = {  # settings besides those of the algorithms, all with `mage`
    "learned reward": dict(reward="learned", termination="learned"),
    "deterministic": dict(dynamics="deterministic"),
    "moments": dict(dynamics_sampling="moments"),
    "simulator": dict(model="simulator"),
    "simulator of a formula": dict(model="simulator"),
    "laptop": dict(critic_layer_norm=True, preactivation_weight=0.03, imagined_noise=0.1, polyak=0.05),
    "adam relu": dict(
        optimizer="adam",
        activation="relu",
        critic_loss="squared",
        actor_climbs="first",
        delay_target_critic=True,
        standardize_obs=False,
    ),
    "held out": dict(dynamics_validation=0.1, dynamics_clip=2.0, terminal_gradient=True),
}


class Case(NamedTuple):
    """What one row traces."""

    algorithm: str
    way: str
    env_id: str
    settings: Mapping[str, Any]


def cases() -> dict[str, Case]:
    """Every case by its name, compiled ones last. A setting that this revision does not know makes no case.

    The simulator cannot be compiled.
    """
    found = {
        f"{algorithm}: {way}": Case(algorithm, way, ENV, settings)
        for way, settings in WAYS.items()
        for algorithm in algorithms()
    }
    for name, other in OTHERS.items():
        for way, settings in WAYS.items():
            if all(map(knows, other)) and not ("simulator" in name and way.startswith("compiled")):
                env_id = FORMULA_ENV if name.endswith("formula") else ENV
                found[f"mage {name}: {way}"] = Case("mage", way, env_id, other | settings)
    return dict(sorted(found.items(), key=lambda item: item[1].way.startswith("compiled")))


def taught(case: Case) -> Any:
    """The learner of a case after two rounds: train the model, update the critic 25 times, explore."""
    if case.way.startswith("compiled"):
        torch._dynamo.reset()
    learner, env = begin(case.algorithm, case.env_id, SMALL | case.settings)
    explore(learner, env, 150)  # at random: the warm-up
    if case.way.endswith("float64"):
        to_double(learner)
    if case.way.startswith("compiled"):
        compile_kernels(learner)
    for _ in range(2):
        model_round(learner)
        update(learner, 25)
        explore(learner, env, 15)  # the actor's actions, with noise
    env.close()
    return learner


# ---- digests ------------------------------------------------------------------------------------------------------

GROUPS = ("weights", "moments", "generators")


def tensors_of(learner: Any) -> dict[str, Tensor]:
    """All that is traced, under names that depend only on the networks' names and the order of their parameters."""
    found: dict[str, Tensor] = {}
    for name, network in networks_of(learner).items():
        parameters = dict(network.named_parameters())
        buffers = {key: tensor for key, tensor in network.state_dict().items() if key not in parameters}
        for kind, tensors in (("parameter", parameters), ("buffer", buffers)):
            found |= {f"weights/{name}/{kind}.{i}": tensor for i, tensor in enumerate(tensors.values())}
    for name, optimizer in optimizers_of(learner).items():
        for i, parameter in enumerate(p for group in optimizer.param_groups for p in group["params"]):
            state = optimizer.state.get(parameter, {})
            found |= {f"moments/{name}/{i}.{key}": torch.as_tensor(state[key]) for key in sorted(state)}
    found |= {f"generators/{name}": generator.get_state() for name, generator in generators_of(learner).items()}
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in found.items()}


def digest(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, types, shapes and bytes."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def row_of(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """The digest of all tensors, and the beginning of one for each group."""
    group = lambda wanted: {name: tensor for name, tensor in tensors.items() if name.startswith(f"{wanted}/")}
    return {"digest": digest(tensors)} | {name: digest(group(name))[:12] for name in GROUPS}


# ---- a trace, and its files ---------------------------------------------------------------------------------------

COLUMNS = ("case", "digest", *GROUPS)


class Trace(NamedTuple):
    """The rows by case, and the tensors under `case/name`. A case that failed has its error for a digest."""

    rows: dict[str, dict[str, str]]
    tensors: dict[str, Tensor]

    def of(self, case: str) -> dict[str, Tensor]:
        """The tensors of one case."""
        start = f"{case}/"
        return {name.removeprefix(start): tensor for name, tensor in self.tensors.items() if name.startswith(start)}


def failed(row: Mapping[str, str]) -> bool:
    """Whether a row tells of an error."""
    return not row["weights"]


def say(line: str) -> None:
    """Tell how far the work is."""
    print(line, file=sys.stderr, flush=True)


def trace(only: str = "*") -> Trace:
    """Trace every case whose name fits a pattern of the shell."""
    result, first = Trace({}, {}), time.perf_counter()
    chosen = {name: case for name, case in cases().items() if fnmatch.fnmatchcase(name, only)}
    for number, (name, case) in enumerate(chosen.items(), 1):
        start = time.perf_counter()
        try:
            with warnings.catch_warnings(record=True):
                tensors = tensors_of(taught(case))
            result.rows[name] = row_of(tensors)
            result.tensors.update({f"{name}/{key}": tensor for key, tensor in tensors.items()})
        except Exception as error:  # the other cases are traced all the same
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            result.rows[name] = {"digest": reason} | dict.fromkeys(GROUPS, "")
        row = result.rows[name]
        shown = row["digest"] if failed(row) else row["digest"][:12]
        say(f"{number:3}/{len(chosen)} {name:40} {shown} {time.perf_counter() - start:6.1f} s")
    say(f"{len(chosen)} cases in {time.perf_counter() - first:.0f} s")
    return result


def write(result: Trace, path: Path) -> None:
    """FILE.csv, and FILE.safetensors beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(result.tensors, path.with_suffix(".safetensors"))
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows({"case": case} | row for case, row in result.rows.items())


def read(path: Path) -> Trace:
    """What `write` wrote."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = {row.pop("case"): row for row in csv.DictReader(file)}
    return Trace(rows, load_file(path.with_suffix(".safetensors")))


# ---- comparing ----------------------------------------------------------------------------------------------------

LIMIT = 1e-6  # of a compiled row: the largest norm of a tensor's difference, in units of the tensor's norm
BAD = ("differs", "fails", "nothing")


class Verdict(NamedTuple):
    """How the two rows of a case compare: equal, near (compiled only), differs, fails, new or gone; and in what."""

    case: str
    verdict: str
    detail: str = ""


def distance(old: Tensor | None, new: Tensor | None) -> float:
    """The norm of the difference in units of the old tensor's norm; infinite where that says nothing."""
    if old is None or new is None or (old.dtype, old.shape) != (new.dtype, new.shape):
        return float("inf")
    if torch.equal(old, new):
        return 0.0
    if not old.is_floating_point():
        return float("inf")  # a generator at another place
    size = float((new.double() - old.double()).norm() / old.double().norm())
    return float("inf") if size != size else size


def largest_distance(old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> tuple[float, str]:
    """The largest of all tensors' distances, and the tensor that has it."""
    return max((distance(old.get(name), new.get(name)), name) for name in sorted(old.keys() | new.keys()))


def compare_case(case: str, old: Trace, new: Trace) -> Verdict:
    """The verdict on a case that both traces have."""
    before, after = old.rows[case], new.rows[case]
    if failed(before) or failed(after):
        errors = [f"{which}: {row['digest']}" for which, row in (("old", before), ("new", after)) if failed(row)]
        return Verdict(case, "fails", "; ".join(errors))
    if before["digest"] == after["digest"]:
        return Verdict(case, "equal")
    size, name = largest_distance(old.of(case), new.of(case))
    groups = ", ".join(group for group in GROUPS if before[group] != after[group])
    near = "compiled" in case and size <= LIMIT
    return Verdict(case, "near" if near else "differs", f"{groups}; at most {size:.2g} of {name}")


def compare(old: Trace, new: Trace) -> list[Verdict]:
    """A verdict for every case of either trace."""
    both = [case for case in new.rows if case in old.rows]
    found = [compare_case(case, old, new) for case in both]
    for verdict, one, other in (("new", new, old), ("gone", old, new)):
        alone = {case: row for case, row in one.rows.items() if case not in other.rows}
        found += [
            Verdict(case, "fails", row["digest"]) if failed(row) else Verdict(case, verdict)
            for case, row in alone.items()
        ]
    return found if both else [*found, Verdict("all", "nothing", "the traces have no case in common")]


def report(verdicts: list[Verdict]) -> bool:
    """Print a table of all that is not equal, and the counts; whether all is well."""
    for case, verdict, detail in verdicts:
        if verdict != "equal":
            print(f"{verdict:8} {case:42} {detail}".rstrip())
    names = [verdict.verdict for verdict in verdicts]
    print(", ".join(f"{names.count(name)} {name}" for name in ("equal", "near", *BAD, "new", "gone") if name in names))
    return not any(name in BAD for name in names)


# ---- the command --------------------------------------------------------------------------------------------------


@contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """A folder with a revision of this repository, inside the block."""

    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True)

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "revision"
        try:
            git("worktree", "add", "--detach", str(place), revision)
        except subprocess.CalledProcessError as error:
            raise SystemExit(f"--revision {revision}: {error.stderr.strip()}") from error
        try:
            yield place
        finally:
            git("worktree", "remove", "--force", str(place))


def trace_revision(revision: str, only: str, path: Path) -> Trace:
    """The trace of a revision, made by this file in a process of its own."""
    say(f"the trace of {revision}:")
    path.unlink(missing_ok=True)
    with checked_out(revision) as place:
        subprocess.run([sys.executable, __file__, "--package", str(place), "--only", only, "--out", str(path)])
    if not path.exists():  # a row that fails is in the file; this is worse
        raise SystemExit(f"--revision {revision}: there is no trace of it.")
    return read(path)


def use_package(folder: Path) -> None:
    """Import mage_edu from this folder and from nowhere else."""
    sys.path.insert(0, str(folder.resolve()))
    found = Path(importlib.import_module("mage_edu").__file__).resolve()
    if not found.is_relative_to(folder.resolve()):
        raise SystemExit(f"--package {folder}: mage_edu was imported from {found.parent}")


def main() -> int:
    """The exit code: 1 where a case fails, or differs from the trace it is compared with."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    option = parser.add_argument
    option("--out", type=Path, default=ROOT / "runs" / "trace.csv", metavar="FILE.csv", help="default: runs/trace.csv")
    option("--only", default="*", metavar="PATTERN", help="only the cases that fit, such as 'mage: *' or '*float64'")
    option("--package", type=Path, default=ROOT, metavar="FOLDER", help="the folder that holds mage_edu; default: here")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--against", type=Path, metavar="FILE.csv", help="compare with this trace")
    other.add_argument("--revision", metavar="REV", help="compare with the trace of this revision, made first")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `checked_out` tidies up
    use_package(arguments.package)
    old = read(arguments.against) if arguments.against else None
    if arguments.revision:
        path = arguments.out.with_name(f"{arguments.out.stem}-old.csv")
        old = trace_revision(arguments.revision, arguments.only, path)
    new = trace(arguments.only)
    write(new, arguments.out)
    if old is None:
        return int(not new.rows or any(map(failed, new.rows.values())))
    old = Trace({case: row for case, row in old.rows.items() if fnmatch.fnmatchcase(case, arguments.only)}, old.tensors)
    return int(not report(compare(old, new)))


if __name__ == "__main__":
    sys.exit(main())
