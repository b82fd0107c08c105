"""Bugs planted on purpose, each in a copy of the package; the short selection of tests has to catch every one.

    python tests/torture/planted.py                # all of them, and which test caught which
    python tests/torture/planted.py --only 3 7     # by number

A bug is a file of the package, a text that stands in it once, and what a realistic mistake would have put in its place. One that no
longer applies, or that no test catches, fails. The unchanged copy has to pass.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from record import ROOT, parser_of, record

SELECTION = (  # what is run against each bug, the most likely to catch one first
    "tests/test_torture.py",
    "tests/test_resume.py",
)
CHOSEN = "torture or damaged or another_process or where_no_checkpoint or lead_out"  # of their tests


class Bug(NamedTuple):
    """A realistic mistake."""

    why: str
    file: str
    old: str
    new: str


STORAGE, CHECKPOINT, LEARNER = "engine/storage.py", "engine/checkpoint.py", "engine/learner.py"
BUGS = [
    Bug(
        "the fsync of a file is dropped",
        STORAGE,
        "            file.flush()\n            sync(file.fileno())\n",
        "            file.flush()\n",
    ),
    Bug(
        "a rename comes before the fsync",
        STORAGE,
        "            sync(file.fileno())\n        os.replace(beside, path)\n        sync_folder(path.parent)\n",
        "        os.replace(beside, path)\n        sync_file(path)\n        sync_folder(path.parent)\n",
    ),
    Bug(
        "the fsync of the folder after a rename is dropped",
        STORAGE,
        "        os.replace(beside, path)\n        sync_folder(path.parent)\n",
        "        os.replace(beside, path)\n",
    ),
    Bug(
        "a new run folder's name is not put on the disk",
        STORAGE,
        "            made.append(folder)\n            sync_folder(folder.parent)",
        "            made.append(folder)",
    ),
    Bug(
        "the old agent is removed before the new one's name is on the disk",
        STORAGE,
        "    sync_folder(path.parent)  # a power cut",
        "    # a power cut",
    ),
    Bug(
        "tables are not put on the disk before the manifest that knows their lengths",
        CHECKPOINT,
        "                sync_file(table)\n            for",
        "                pass\n            for",
    ),
    Bug(
        "the names of the tables are not put on the disk",
        CHECKPOINT,
        "                sync_folder(folder)  #",
        "                pass  #",
    ),
    Bug(
        "a file is written in its place instead of beside it",
        STORAGE,
        'path.with_name(path.name + ".tmp")\n    try:\n        with open(beside',
        'path.with_name(path.name + ".tmp")\n    try:\n        path.write_bytes(data)\n        with open(beside',
    ),
    Bug(
        "the manifest is written before the files that it names",
        CHECKPOINT,
        "            write_atomic(self.folder / name, data)\n            files[name] = digest(data)\n",
        "            files[name] = digest(data)\n"
        "            (self.folder / name).write_bytes(data)  # written by the operating system when it likes\n",
    ),
    Bug(
        "the files of the checkpoint before are deleted before the new manifest is there",
        CHECKPOINT,
        "            write_sealed(manifest_path(self.folder, state.step), manifest)\n"
        "            self.before, self.newest = self.newest, manifest\n            self.tidy()\n",
        "            self.before, self.newest = None, manifest\n            self.tidy()\n"
        "            write_sealed(manifest_path(self.folder, state.step), manifest)\n",
    ),
    Bug(
        "only one checkpoint is kept",
        CHECKPOINT,
        "filter(None, (self.newest, self.before))",
        "filter(None, (self.newest,))",
    ),
    Bug(
        "a generator is forgotten in the checkpoint",
        LEARNER,
        'Learner: {"config",',
        'Learner: {"exploration_generator", "config",',
    ),
    Bug(
        "the generator of the replay buffer is forgotten",
        LEARNER,
        'ReplayBuffer: {"data",',
        'ReplayBuffer: {"generator", "data",',
    ),
    Bug(
        "an optimizer is forgotten",
        LEARNER,
        'Learner: {"config",',
        'Learner: {"critic_optimizer", "config",',
    ),
    Bug(
        "the step count of the optimizers is not restored",
        LEARNER,
        "moments.setdefault(int(index), {})[key] = tensor.clone()",
        'moments.setdefault(int(index), {})[key] = tensor.clone() * (key != "step")',
    ),
    Bug(
        "the normalizer is forgotten",
        LEARNER,
        'Learner: {"config",',
        'Learner: {"normalizer", "config",',
    ),
    Bug(
        "the running sums of the row under way are forgotten",
        LEARNER,
        "Recorder: set()",
        'Recorder: {"sums", "counts"}',
    ),
    Bug(
        "the pointer of the replay buffer is off by one after a restore",
        CHECKPOINT,
        "    replay.added = rows.added\n",
        "    replay.added = rows.added + 1\n",
    ),
    Bug(
        "the rows of a ring are not turned to their places",
        CHECKPOINT,
        "turned = lambda rows: rows.roll(first % len(rows), 0)",
        "turned = lambda rows: rows",
    ),
    Bug(
        "the running episode is forgotten: the environment is not played to where it was",
        "agent.py",
        "        learner.restore(checkpoint.state)\n        replay_episode(learner, agent.env)\n",
        "        learner.restore(checkpoint.state)\n        learner.obs = None\n",
    ),
    Bug(
        "the environment of a resumed run starts a fresh episode while the learner goes on",
        "agent.py",
        "        replay_episode(learner, agent.env)\n",
        "        agent.env.reset(seed=0)\n",
    ),
    Bug(
        "a resumed run takes one step less",
        "agent.py",
        "            run_and_save(self, max(0, goal - self.num_timesteps), reporter)",
        "            run_and_save(self, max(0, goal - self.num_timesteps - (self.checkpoints is not None)), reporter)",
    ),
    Bug(
        "floats are rounded in JSON",
        STORAGE,
        '"mean": stats.mean.tolist()',
        '"mean": [round(value, 6) for value in stats.mean.tolist()]',
    ),
    Bug(
        "counters are rounded in JSON",
        LEARNER,
        "                    numbers[name] = value\n",
        "                    numbers[name] = round(value, 3) if isinstance(value, float) else value\n",
    ),
    Bug(
        "one draw too many after a restore",
        LEARNER,
        '        set_back("", self, state)\n',
        '        set_back("", self, state)\n        torch.rand(1, generator=self.exploration_generator)\n',
    ),
    Bug(
        "a temporary file that was left is trusted",
        CHECKPOINT,
        'for path in folder.glob("*.json") if',
        'for path in [*folder.glob("*.json"), *(p.rename(p.with_suffix("")) for p in folder.glob("*.json.tmp"))] if',
    ),
    Bug(
        "the digest of tensors is not checked",
        CHECKPOINT,
        "    if digest(data) != sha256:\n",
        "    if not data:\n",
    ),
    Bug(
        "the digest of a manifest is not checked",
        STORAGE,
        '    if content.get("sha256") != seal_of(content):\n',
        '    if "sha256" not in content:\n',
    ),
    Bug(
        "the digests of tables are not checked",
        CHECKPOINT,
        "        if seen(table, size) != (size, sha256):\n",
        "        if not table.exists() and size:\n",
    ),
    Bug(
        "tables are not cut to where the checkpoint saw them",
        "agent.py",
        "    cut_tables(tables_of(run), manifest)\n",
        "",
    ),
    Bug(
        "the lock is not taken",
        STORAGE,
        "        lock.acquire()\n",
        "        pass\n",
    ),
    Bug(
        "an older checkpoint is used without a word",
        "agent.py",
        "    for reason in reasons:\n",
        "    for reason in ():\n",
    ),
    Bug(
        "a full disk is taken for a file system without fsync",
        STORAGE,
        "UNABLE = {errno.EINVAL,",
        "UNABLE = {errno.ENOSPC, errno.EIO, errno.EINVAL,",
    ),
    Bug(
        "an error of the disk loses its path",
        STORAGE,
        '        sentence = f"{path}: the {what} cannot',
        '        sentence = f"the {what} cannot',
    ),
]


class Caught(NamedTuple):
    """What the selection said to a copy."""

    by: str  # the test, or nothing
    said: str
    seconds: float


def applied(bug: Bug, package: Path) -> None:
    """Plant a bug in a copy of the package. Raises `ValueError` where its text does not stand there exactly once."""
    path = package / bug.file
    text = path.read_text(encoding="utf-8")
    if text.count(bug.old) != 1:
        raise ValueError(
            f"{bug.why}: {bug.file} has its text {text.count(bug.old)} times; expected 1. Bring the patch up to date."
        )
    path.write_text(text.replace(bug.old, bug.new), encoding="utf-8")


def failing(said: str) -> str:
    """The first test that pytest says has failed, or nothing."""
    found = re.search(r"^(?:FAILED|ERROR) (?:tests/)?(.+?)(?: - .*)?$", said, re.MULTILINE)
    return found[1] if found else ""


def tried(bug: Bug | None) -> Caught:
    """Run the selection against a copy of the package with one bug, or none."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "mage_edu", Path(folder) / "mage_edu", ignore=shutil.ignore_patterns("__pycache__"))
        if bug is not None:
            applied(bug, Path(folder) / "mage_edu")
        environment = os.environ | {"PYTHONPATH": folder, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        ask = "import mage_edu; print(mage_edu.__file__)"
        used = subprocess.run([sys.executable, "-c", ask], env=environment, cwd=folder, capture_output=True, text=True)
        if not used.stdout.startswith(folder):
            raise RuntimeError(f"the copy is not what is imported, but {used.stdout or used.stderr}")
        options = ["-x", "-q", "--tb=line", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", CHOSEN]
        ran = subprocess.run(
            [sys.executable, "-P", "-m", "pytest", *options, *SELECTION],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
    failed = failing(ran.stdout)
    if ran.returncode not in (0, 1, 2) or (ran.returncode and not failed):
        raise RuntimeError(f"pytest itself failed: {ran.stdout[-2000:]} {ran.stderr[-2000:]}")
    return Caught(failed, ran.stdout[-1500:], time.perf_counter() - begin)


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--only", nargs="+", type=int, default=list(range(len(BUGS) + 1)), help="numbers; 0 is no bug")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    begin, missed, caught = time.perf_counter(), [], 0
    bugs = [BUGS[number - 1] if number else None for number in options.only]
    for number, bug, found in zip(options.only, bugs, ThreadPoolExecutor(options.workers).map(tried, bugs)):
        if bug is None and found.by:
            print(f"The selection fails without any bug: {found.said}")
            return 1
        if bug is not None:
            print(f"{number:3} {bug.why}: {'caught by ' + found.by if found.by else 'NOT CAUGHT'}", flush=True)
            missed += [] if found.by else [number]
            caught += bool(found.by)
            if options.record and found.by:
                record("planted", f"{bug.why}, caught by {found.by}", 1, found.seconds)
    print(f"{caught} of {caught + len(missed)} planted bugs are caught; not caught: {missed or 'none'}")
    if options.record and not missed and caught == len(BUGS):
        record("planted", "all bugs planted, and caught", caught, time.perf_counter() - begin)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
