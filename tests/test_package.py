"""The package as it is installed: what importing it costs and brings in, its version, its wheel, its pinned environment."""

from __future__ import annotations

import configparser
import os
import pkgutil
import re
import shutil
import statistics
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import mage_edu

ROOT = Path(__file__).resolve().parent.parent
DEVELOPMENT_TOOLS = (
    "nbdev",
    "fastcore",
    "execnb",
    "IPython",
    "ipykernel",
    "ipywidgets",
    "notebook",
    "jupyter",
    "pytest",
)


def settings() -> configparser.SectionProxy:
    """What setup.py and nbdev read."""
    parser = configparser.ConfigParser(delimiters=["="], interpolation=None)
    parser.read(ROOT / "settings.ini", encoding="utf-8")
    return parser["DEFAULT"]


def run_python(code: str) -> str:
    """What `code` prints in a fresh interpreter that sees the installed packages and nothing of the user's environment."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    result = subprocess.run([sys.executable, "-I", "-c", code], env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def import_seconds(module: str) -> float:
    """The processor time that importing `module` takes in a fresh interpreter: other programs' load does not count."""
    return float(run_python(f"import time; t = time.process_time(); import {module}; print(time.process_time() - t)"))


def test_importing_the_package_costs_little_more_than_importing_torch():
    extra = []
    for _ in range(3):
        torch_first = import_seconds("torch")
        extra.append(import_seconds("mage_edu") - torch_first)
    assert statistics.median(extra) <= 0.3, f"seconds more than `import torch`, three times: {extra}"


def public_modules() -> list[str]:
    """The names of all modules of the package, without those that start with an underscore."""
    found = pkgutil.walk_packages(mage_edu.__path__, "mage_edu.")
    return sorted(module.name for module in found if not module.name.rpartition(".")[2].startswith("_"))


def tools_among(modules: str) -> list[str]:
    """The development tools in a list of module names, one a line (`jupyter` stands for jupyter_client and the like)."""
    tops = {name.split(".")[0] for name in modules.split()}
    return sorted(top for top in tops if top in DEVELOPMENT_TOOLS or top.startswith("jupyter"))


def test_the_library_does_not_bring_in_its_development_tools():
    assert "mage_edu.config" in public_modules()
    imports = "\n".join(f"import {name}" for name in public_modules())
    assert tools_among(run_python(f"{imports}\nimport sys; print(*sys.modules, sep='\\n')")) == []


def test_a_development_tool_would_be_noticed():
    assert tools_among(run_python("import jupyter_core, IPython, sys; print(*sys.modules, sep='\\n')")) == [
        "IPython",
        "jupyter_core",
    ]


def test_one_version():
    assert mage_edu.__version__ == settings()["version"]
    assert f"version: {mage_edu.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## {mage_edu.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """The wheel, built from a copy: building in place would leave files here, and could pick up older ones."""
    source, out = tmp_path_factory.mktemp("source") / "mage_edu", tmp_path_factory.mktemp("wheel")
    leftovers = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "runs", "_docs", "results")
    shutil.copytree(ROOT, source, ignore=leftovers)
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        str(out),
        str(source),
    ]
    result = subprocess.run(command, cwd=out, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    (file,) = out.glob("*.whl")
    with zipfile.ZipFile(file) as opened:
        yield opened


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = wheel.namelist()
    strangers = [name for name in names if not re.match(r"mage_edu(-[^/]*\.dist-info)?/", name)]
    assert strangers == []
    assert {name for name in names if name.endswith(".ipynb") or "/test" in name} == set()
    files = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "mage_edu").rglob("*")
        if file.is_file() and file.suffix != ".pyc"
    }
    assert {name for name in names if name.startswith("mage_edu/")} == files


def test_the_wheel_names_its_command_its_licence_and_its_needs(wheel):
    (entry_points,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    assert "mage-edu = mage_edu.cli:main" in wheel.read(entry_points).decode().replace(
        "mage-edu=mage_edu", "mage-edu = mage_edu"
    )
    (metadata,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    lines = wheel.read(metadata).decode().splitlines()
    needs = [line.partition(": ")[2] for line in lines if line.startswith("Requires-Dist: ") and "extra ==" not in line]
    assert f"Version: {mage_edu.__version__}" in lines and f"Requires-Python: >={settings()['min_python']}" in lines
    assert "License: Apache-2.0" in lines or "License-Expression: Apache-2.0" in lines
    assert {Requirement(need).name for need in needs} == {
        Requirement(need).name for need in settings()["requirements"].split()
    }
    assert any(name.endswith("LICENSE") for name in wheel.namelist())


def pins() -> dict[str, str]:
    """The version that constraints.txt pins, by normalized package name."""
    lines = [line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()]
    split = [line.partition("==") for line in lines if line]
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, _, version in split}


def test_the_pinned_environment_is_only_versions():
    pinned = pins()
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in pinned), "no URL, no path, no -e line, no marker"
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in pinned.values()), (
        "exact, without a local version (+cpu)"
    )


@pytest.mark.parametrize(
    "need",
    [
        need
        for name in ("", "dev_", "dask_", "ray_", "onnx_", "otter_")
        for need in settings()[f"{name}requirements"].split()
    ],
)
def test_every_requirement_is_pinned_within_its_range(need):
    requirement = Requirement(need)
    assert requirement.specifier.contains(pins()[re.sub(r"[-_.]+", "-", requirement.name).lower()])
