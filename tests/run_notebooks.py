"""Run every notebook of the course from top to bottom, each in a Jupyter kernel of its own.

Run by `make test`; `python tests/run_notebooks.py nbs/course/10_networks.ipynb` runs the named ones. What the cells print is not
written back. A cell is left out only when it has the tag `skip-execution`. Exits with 1 when a notebook fails or takes
too long.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "nbs"
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def find_notebooks(folder: Path) -> list[Path]:
    """All notebooks under `folder`, without those in hidden folders (Jupyter's checkpoints); long ones do not come last."""
    found = (
        path for path in folder.rglob("*.ipynb") if not any(p.startswith(".") for p in path.relative_to(folder).parts)
    )
    return sorted(found, reverse=True)  # engine, course, appendix: at the end no long one is waited for


def isolate(home: str) -> None:
    """Make the kernels independent of the user's settings: this Python, one thread, no Jupyter or IPython profile."""
    for name in [name for name in os.environ if name.startswith(("PYTHON", "JUPYTER", "MPLBACKEND"))]:
        del os.environ[name]
    os.environ.update(
        OMP_NUM_THREADS="1",
        JUPYTER_PREFER_ENV_PATH="1",
        JUPYTER_CONFIG_DIR=home,
        JUPYTER_DATA_DIR=home,
        JUPYTER_RUNTIME_DIR=home,
        IPYTHONDIR=home,
        PYDEVD_DISABLE_FILE_VALIDATION="1",
    )


async def run_one(path: Path, limit: float) -> tuple[float, str | None]:
    """(seconds, None) for a notebook that runs, (seconds, what went wrong) for one that does not."""
    import nbformat
    from nbclient import NotebookClient

    started, problem = time.monotonic(), None
    try:
        notebook = nbformat.read(path, as_version=4)
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=None,
            resources={"metadata": {"path": str(path.parent)}},
            extra_arguments=["--log-level=CRITICAL"],  # not the warning that ports on this machine are unencrypted
        )
        execution = asyncio.ensure_future(client.async_execute())
        await asyncio.wait({execution}, timeout=limit)
        if execution.done():
            execution.result()  # raises what the notebook raised
        else:
            problem = f"took longer than {limit:.0f} s"
            if client.km is not None:
                await client.km.shutdown_kernel(now=True)  # the client notices within seconds
            await asyncio.wait({execution}, timeout=20)
            execution.cancel()
            await asyncio.gather(execution, return_exceptions=True)
    except Exception as error:  # whatever a notebook or its kernel does wrong is reported under the notebook's name
        problem = COLOURS.sub("", str(error)).strip() or repr(error)
    return time.monotonic() - started, problem


async def run_all(paths: list[Path], workers: int, limit: float) -> list[tuple[Path, float, str | None]]:
    """Run the notebooks, `workers` at a time, and print a line for each as it ends."""
    free = asyncio.Semaphore(workers)

    async def run(path: Path) -> tuple[Path, float, str | None]:
        async with free:
            seconds, problem = await run_one(path, limit)
        name = os.path.relpath(path, ROOT)
        print(f"  {'ok    ' if problem is None else 'FAILED'} {seconds:6.1f} s  {name}", flush=True)
        return path, seconds, problem

    return await asyncio.gather(*(run(path) for path in paths))


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the notebooks of the course, each in its own kernel.")
    parser.add_argument("notebooks", nargs="*", type=Path, help="notebooks to run (default: all in nbs/)")
    parser.add_argument("--workers", type=int, default=2, help="notebooks at a time")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds that one notebook may take")
    options = parser.parse_args()
    paths = [path.resolve() for path in options.notebooks] or find_notebooks(NOTEBOOKS)
    if not paths:
        print(f"no notebook found in {NOTEBOOKS}")
        return 1

    print(f"Running {len(paths)} notebooks, {options.workers} at a time:", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mage_edu_jupyter_", ignore_cleanup_errors=True) as home:
        isolate(home)
        results = asyncio.run(run_all(paths, options.workers, options.limit))
    failed = [(path, problem) for path, _, problem in results if problem is not None]
    for path, problem in failed:
        print(f"\n{os.path.relpath(path, ROOT)}: {problem}")
    print(f"\n{len(results) - len(failed)} of {len(results)} notebooks ran, {time.monotonic() - started:.0f} s in all.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
