"""What a module may import and call: read from the source, so that no import can hide behind a branch or a function."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "mage_edu"

# Imports flow one way: a module may import only modules to its left, and a module of the course none of the engine room.
COURSE = (
    "settings",
    "config",
    "lqr",
    "theory",
    "fitting",
    "envs",
    "replay",
    "networks",
    "dynamics",
    "actor",
    "critic",
    "targets",
    "updates",
    "evaluate",
    "loop",
)
ENGINE = tuple(
    f"engine.{name}"
    for name in (
        "tasks",
        "environments",
        "worlds",
        "simulator",
        "learned",
        "plain",
        "storage",
        "pictures",
        "checkpoint",
        "recorded",
        "kernels",
        "diagnostics",
        "learner",
        "build",
        "steps",
        "rounds",
        "health",
        "train",
        "check",
        "resume",
        "bench",
        "sweep",
    )
)
FACE = ("web", "agent", "explorers", "cli")  # above both wings
BESIDE_THE_FACE = ("probes", "exercises")  # for lessons: no module of the others imports them
ABOVE_THE_FACE = ("engine.bench", "engine.sweep")  # they train agents, and only the command line calls them
ORDER = (
    *COURSE,
    *(name for name in ENGINE if name not in ABOVE_THE_FACE),
    *FACE[:-1],
    *ABOVE_THE_FACE,
    FACE[-1],
    *BESIDE_THE_FACE,
)
NOT_IN_THE_LIBRARY = {"nbdev", "fastcore", "execnb", "ghapi", "IPython", "ipykernel", "notebook", "pytest"}
CALLS_GYMNASIUM = ("envs", "engine.tasks", "engine.environments", "engine.check", "probes")
ONLY_IN = {"argparse": "cli", "tyro": "cli", "ipywidgets": "explorers"}
BY_NAME = {  # what a module of the course may have imported for it, by a string, when it is asked for what only the engine room knows
    "envs": {"mage_edu.engine.environments", "mage_edu.engine.tasks:ContinuousCartPole"},
}
PICKLING_MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "shelve", "marshal"}
PICKLING_CALLS = {"torch.load", "torch.save", "torch.serialization.load", "joblib.dump", "joblib.load"}


def origin(node: ast.ImportFrom, module: str) -> str:
    """The full name of what an import reads from; relative ones count from the module's own place."""
    if not node.level:
        return node.module or ""
    parts = ["mage_edu", *module.split(".")]
    return ".".join(parts[: len(parts) - node.level] + ([node.module] if node.module else []))


def imported_names(tree: ast.AST, module: str) -> dict[str, str]:
    """What every imported name stands for, over the whole file: `import torch as t` gives {"t": "torch"}."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                names[alias.asname or alias.name] = f"{origin(node, module)}.{alias.name}"
    return names


def imported_modules(tree: ast.AST, module: str) -> set[str]:
    """The full names of all imported modules (for `from a import b`, both a and a.b)."""
    modules = set(imported_names(tree, module).values())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            modules.add(origin(node, module))
    return modules


def own_module(name: str) -> str | None:
    """The module of ours that an imported name belongs to, as in ORDER; None for a name of the package itself or of another package."""
    top, *rest = name.split(".")
    if top != "mage_edu" or not rest or rest[0] == "__version__":
        return None
    return ".".join(rest[:2]) if rest[0] == "engine" and len(rest) > 1 else rest[0]


def called_names(tree: ast.AST, module: str) -> set[str]:
    """The full dotted names of all calls, with import aliases resolved: `gym.make(...)` gives "gymnasium.make"."""
    names, calls = imported_names(tree, module), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            parts, function = [], node.func
            while isinstance(function, ast.Attribute):
                parts.append(function.attr)
                function = function.value
            if isinstance(function, ast.Name):
                calls.add(".".join([names.get(function.id, function.id), *reversed(parts)]))
    return calls


def problems(module: str, source: str) -> list[str]:
    """Everything that is not allowed in the module of that name with that source."""
    if module not in ORDER:
        return [f"{module} has no place in the order of modules; add it to ORDER where it belongs (and no `utils`)"]
    tree, found = ast.parse(source), []
    imports, calls = imported_modules(tree, module), called_names(tree, module)
    for name in sorted(imports):
        top, ours = name.split(".")[0], own_module(name)
        if ours is not None and ours != "engine" and ours not in ORDER[: ORDER.index(module)]:
            found.append(f"imports {name}, which does not come before {module}")
        if ours is not None and ours.startswith("engine") and module in COURSE:
            found.append(f"imports {name}: a module of the course needs nothing of the engine room")
        if top in NOT_IN_THE_LIBRARY or top.startswith("jupyter"):
            found.append(f"imports {name}, a tool for development")
        if ONLY_IN.get(top, module) != module:
            found.append(f"imports {name}, which belongs in {ONLY_IN[top]}")
        if top in PICKLING_MODULES:
            found.append(f"imports {name}: nothing here is saved by pickling")
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    for name in sorted(text for text in texts if re.fullmatch(r"(mage_edu)?\.engine[\w.:]*", text)):
        if module in COURSE and name not in BY_NAME.get(module, ()):
            found.append(f"names {name}: a module of the course needs nothing of the engine room")
    for name in sorted(calls):
        if name.split(".")[0] == "gymnasium" and module not in CALLS_GYMNASIUM:
            found.append(f"calls {name}: Gymnasium is called in {', '.join(CALLS_GYMNASIUM)}")
        if name in PICKLING_CALLS:
            found.append(f"calls {name}: nothing here is saved by pickling")
    if any(
        keyword.arg == "allow_pickle"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
    ):
        found.append("passes allow_pickle: nothing here is saved by pickling")
    return found


def library() -> dict[str, str]:
    """The source of every module, by name; names that start with an underscore belong to the package, not to the course."""
    files = (f for f in PACKAGE.rglob("*.py") if not f.stem.startswith("_"))
    return {".".join(f.relative_to(PACKAGE).with_suffix("").parts): f.read_text(encoding="utf-8") for f in files}


def test_there_is_a_library_to_check():
    assert "config" in library()


@pytest.mark.parametrize("module", sorted(library()))
def test_module_keeps_to_the_rules(module):
    assert problems(module, library()[module]) == []


def defined_names(source: str) -> set[str]:
    """The functions, classes and constants that a module defines at its top."""
    found = set()
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found - {"__all__"}


def test_a_name_means_one_thing_in_all_modules():
    modules = {name: defined_names(source) for name, source in library().items()}
    where = {name: [module for module in modules if name in modules[module]] for name in set().union(*modules.values())}
    twice = {name: sorted(places) for name, places in where.items() if len(places) > 1}
    functions = ("make_env", "reward_fn", "termination_fn")  # lesson 08's ask the engine's for what they do not know
    assert twice == {name: ["engine.environments", "envs"] for name in functions} | {"TASKS": ["engine.tasks", "envs"]}


def test_the_package_imports_no_development_tool():
    source = (PACKAGE / "__init__.py").read_text(encoding="utf-8")
    tops = {name.split(".")[0] for name in imported_modules(ast.parse(source), "__init__")}
    assert not tops & (NOT_IN_THE_LIBRARY | PICKLING_MODULES)


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("utils", "", "has no place"),
        ("envs", "from mage_edu.agent import MAGEAgent", "does not come before"),
        ("envs", "from .agent import MAGEAgent", "does not come before"),
        ("envs", "from mage_edu import agent", "does not come before"),
        ("envs", "import mage_edu.agent as a", "does not come before"),
        ("envs", "def f():\n    from mage_edu.envs import x", "does not come before"),
        ("agent", "def f():\n    import IPython.display", "tool for development"),
        ("agent", "from nbdev.showdoc import *", "tool for development"),
        ("agent", "import jupyter_client", "tool for development"),
        ("targets", "from .engine.plain import plain_huber", "nothing of the engine room"),
        ("targets", "from .engine import plain", "nothing of the engine room"),
        ("updates", "import mage_edu.engine.kernels", "nothing of the engine room"),
        ("updates", "import_module('mage_edu.engine.kernels')", "nothing of the engine room"),
        ("envs", "import_module('.engine.kernels', 'mage_edu')", "nothing of the engine room"),
        ("updates", "from .exercises import answers", "does not come before"),
        ("agent", "from .exercises import answers", "does not come before"),
        ("engine.learned", "from .kernels import Kernels", "does not come before"),
        ("engine.learned", "from ..agent import MAGEAgent", "does not come before"),
        ("agent", "def f():\n    import ipywidgets", "belongs in explorers"),
        ("updates", "from mage_edu.explorers import Explorer", "does not come before"),
        ("engine.train", "import argparse", "belongs in cli"),
        ("engine.train", "from tyro import cli", "belongs in cli"),
        ("engine.train", "import gymnasium as gym\nenv = gym.make('Pendulum-v1')", "calls gymnasium.make"),
        ("engine.train", "from gymnasium import make as m\nenv = m('Pendulum-v1')", "calls gymnasium.make"),
        ("engine.storage", "import pickle", "pickling"),
        ("engine.storage", "import torch as t\nt.load('x')", "calls torch.load"),
        ("engine.storage", "from torch import load\nload('x')", "calls torch.load"),
        ("engine.storage", "import numpy as np\nnp.load('x', allow_pickle=True)", "allow_pickle"),
    ],
)
def test_the_rules_catch_what_they_are_for(module, source, complaint):
    assert any(complaint in problem for problem in problems(module, source))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("envs", "import gymnasium as gym\nfrom mage_edu.config import Config\nenv = gym.make('Pendulum-v1')"),
        ("engine.kernels", "from ..updates import critic_loss\nfrom .learned import LearnedReward"),
        ("agent", "import gymnasium as gym\ndef f(env: gym.Env) -> bool:\n    return isinstance(env, gym.Env)"),
        (
            "cli",
            "import tyro\nimport mage_edu\nfrom mage_edu import __version__\nfrom mage_edu.engine.sweep import run",
        ),
        ("engine.storage", "import json\nfrom safetensors.torch import load_file, save_file\nload_file('x')"),
    ],
)
def test_the_rules_allow_what_is_right(module, source):
    assert problems(module, source) == []


METHOD = ("replay", "networks", "dynamics", "actor", "critic", "targets", "updates", "loop")


@pytest.mark.parametrize(
    "modules, most", [(COURSE, 2000), (METHOD, 1300), (("loop",), 80), (("settings",), 200), (("config",), 200)]
)
def test_the_course_stays_small_enough_to_be_read(modules, most):
    lines = {name: len((PACKAGE / f"{name}.py").read_text(encoding="utf-8").splitlines()) for name in modules}
    assert sum(lines.values()) <= most, lines
