"""What a module may import and call: read from the source, so that no import can hide behind a branch or a function."""
from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "mage_edu"

# Imports flow one way: a module may import only modules to its left.
ORDER = (
    "config", "lqr", "theory", "fitting", "envs", "simulator", "replay", "networks", "dynamics", "learned", "actor", "critic", "targets",
    "updates", "plain", "storage", "checkpoint", "recorded", "evaluate", "kernels", "diagnostics", "train", "resume", "agent", "bench", "sweep",
    "cli",
)
NOT_IN_THE_LIBRARY = {"nbdev", "fastcore", "execnb", "ghapi", "IPython", "ipykernel", "ipywidgets", "notebook", "pytest"}
ONLY_IN = {"argparse": "cli", "tyro": "cli"}
PICKLING_MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "shelve", "marshal"}
PICKLING_CALLS = {"torch.load", "torch.save", "torch.serialization.load", "joblib.dump", "joblib.load"}


def imported_names(tree: ast.AST) -> dict[str, str]:
    """What every imported name stands for, over the whole file: `import torch as t` gives {"t": "torch"}."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.split(".")[0]] = alias.name if alias.asname else alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            source = ("mage_edu." if node.level else "") + (node.module or "")
            for alias in node.names:
                names[alias.asname or alias.name] = f"{source.rstrip('.')}.{alias.name}"
    return names


def imported_modules(tree: ast.AST) -> set[str]:
    """The full names of all imported modules (for `from a import b`, both a and a.b)."""
    modules = set(imported_names(tree).values())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            modules.add((("mage_edu." if node.level else "") + (node.module or "")).rstrip("."))
    return modules


def called_names(tree: ast.AST) -> set[str]:
    """The full dotted names of all calls, with import aliases resolved: `gym.make(...)` gives "gymnasium.make"."""
    names, calls = imported_names(tree), set()
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
    imports, calls = imported_modules(tree), called_names(tree)
    for name in sorted(imports):
        top, *rest = name.split(".")
        if top == "mage_edu" and rest and rest[0] not in ORDER[: ORDER.index(module)] and rest[0] != "__version__":
            found.append(f"imports {name}, which does not come before {module}")
        if top in NOT_IN_THE_LIBRARY or top.startswith("jupyter"):
            found.append(f"imports {name}, a tool for development")
        if ONLY_IN.get(top, module) != module:
            found.append(f"imports {name}, which belongs in {ONLY_IN[top]}")
        if top in PICKLING_MODULES:
            found.append(f"imports {name}: nothing here is saved by pickling")
    for name in sorted(calls):
        if name.split(".")[0] == "gymnasium" and module != "envs":
            found.append(f"calls {name}: Gymnasium is called in envs")
        if name in PICKLING_CALLS:
            found.append(f"calls {name}: nothing here is saved by pickling")
    if any(keyword.arg == "allow_pickle" for node in ast.walk(tree) if isinstance(node, ast.Call) for keyword in node.keywords):
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


def test_the_package_imports_no_development_tool():
    source = (PACKAGE / "__init__.py").read_text(encoding="utf-8")
    tops = {name.split(".")[0] for name in imported_modules(ast.parse(source))}
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
        ("train", "import argparse", "belongs in cli"),
        ("train", "from tyro import cli", "belongs in cli"),
        ("train", "import gymnasium as gym\nenv = gym.make('Pendulum-v1')", "calls gymnasium.make"),
        ("train", "from gymnasium import make as m\nenv = m('Pendulum-v1')", "calls gymnasium.make"),
        ("storage", "import pickle", "pickling"),
        ("storage", "import torch as t\nt.load('x')", "calls torch.load"),
        ("storage", "from torch import load\nload('x')", "calls torch.load"),
        ("storage", "import numpy as np\nnp.load('x', allow_pickle=True)", "allow_pickle"),
    ],
)
def test_the_rules_catch_what_they_are_for(module, source, complaint):
    assert any(complaint in problem for problem in problems(module, source))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("envs", "import gymnasium as gym\nfrom mage_edu.config import Config\nenv = gym.make('Pendulum-v1')"),
        ("agent", "import gymnasium as gym\ndef f(env: gym.Env) -> bool:\n    return isinstance(env, gym.Env)"),
        ("cli", "import tyro\nimport mage_edu\nfrom mage_edu import __version__\nfrom mage_edu.sweep import run"),
        ("storage", "import json\nfrom safetensors.torch import load_file, save_file\nload_file('x')"),
    ],
)
def test_the_rules_allow_what_is_right(module, source):
    assert problems(module, source) == []
