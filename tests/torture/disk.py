"""A disk that is watched, and a model of what it may show after a power loss.

`watched(root, meet, done)` calls `meet` before every file operation of this process below `root`, which may raise in
its place, and `done` after each that succeeded. `Disk` replays operations and says which of them a power loss may undo.
"""

from __future__ import annotations

import builtins
import hashlib
import io
import itertools
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple

SECTOR = 512  # bytes that a disk writes as a whole


KEPT: dict[bytes | None, bytes | None] = {}  # every content once: thousands of states share most of their files


class Op(NamedTuple):
    """One file operation; paths are relative to the watched folder."""

    kind: str  # open, read, write, truncate, sync, rename, unlink, mkdir or rmdir
    path: str
    handle: int = -1  # of open, read, write, truncate and sync: which opening of the path
    at: int = 0  # of write: where; of truncate: the new size; of open: 1 where what was there is cut off
    data: bytes = b""
    target: str = ""  # of rename


Meet = Callable[[Op], Any]  # may raise; for a write it may return the number of bytes to write


def nothing(op: Op) -> None:
    """Neither stops an operation nor keeps it."""


class Watch:
    """The operations of one process below a folder."""

    def __init__(self, root: Path, meet: Meet, done: Meet):
        self.root, self.meet, self.done = os.path.realpath(root), meet, done
        self.handles: dict[int, tuple[int, str]] = {}  # by descriptor: number of the opening, and path
        self.opened = itertools.count()

    def inside(self, path: Any, dir_fd: int | None = None) -> str | None:
        """A path relative to the folder, or None where it is not below it."""
        if isinstance(path, int):
            return None
        path = os.fsdecode(path)
        if dir_fd is not None:
            path = os.path.join(self.root, self.handles[dir_fd][1], path) if dir_fd in self.handles else "/outside"
        path = os.path.abspath(path)
        return os.path.relpath(path, self.root) if path.startswith(self.root + os.sep) or path == self.root else None

    def opening(self, path: str, writes: bool, cuts: bool = False) -> Op:
        """The operation that opens a path, with a number of its own."""
        return Op("open" if writes else "read", path, next(self.opened), int(cuts))

    def attempt(self, op: Op, function: Callable[[], Any]) -> Any:
        """Meet an operation, do it, keep it."""
        self.meet(op)
        result = function()
        self.done(op)
        return result


class File(io.FileIO):
    """An unbuffered file whose writes are met."""

    def __init__(self, watch: Watch, name: str, path: Any, mode: str):
        self.watch, op = watch, watch.opening(name, mode != "r", "w" in mode)
        self.handle, self.place = op.handle, name
        watch.attempt(op, lambda: io.FileIO.__init__(self, path, mode))
        watch.handles[self.fileno()] = (self.handle, name)

    def write(self, data: Any) -> int:
        data = bytes(data)
        at = os.fstat(self.fileno()).st_size if "a" in self.mode else self.tell()
        op = Op("write", self.place, self.handle, at, data)
        size = self.watch.meet(op)
        written = super().write(data if size is None else data[:size])
        self.watch.done(op._replace(data=data[:written]))
        return written

    def truncate(self, size: int | None = None) -> int:
        raise NotImplementedError(f"{self.place}: the model of the disk does not know how a file is cut by its handle.")


@contextmanager
def watched(root: Path, meet: Meet = nothing, done: Meet = nothing) -> Iterator[None]:
    """Inside the block every file operation of this process below `root` is met. Raises `NotImplementedError` for one that the model lacks."""
    watch = Watch(root, meet, done)
    names = ("open", "fsync", "replace", "rename", "truncate", "ftruncate", "unlink", "remove", "mkdir", "rmdir")
    real = {name: getattr(os, name) for name in (*names, "link", "symlink")}
    opened = io.open

    def open_file(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
        name = watch.inside(file)
        if name is None or opener is not None:
            return opened(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw = File(watch, name, file, mode.replace("b", "").replace("t", ""))
        buffered = (
            io.BufferedRandom(raw) if "+" in mode else io.BufferedReader(raw) if "r" in mode else io.BufferedWriter(raw)
        )
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline)

    def open_handle(path, flags, mode=0o777, *, dir_fd=None):
        name, opens = watch.inside(path, dir_fd), lambda: real["open"](path, flags, mode, dir_fd=dir_fd)
        if name is None:
            descriptor = opens()
            watch.handles.pop(descriptor, None)
            return descriptor
        op = watch.opening(name, bool(flags & (os.O_WRONLY | os.O_RDWR)), bool(flags & os.O_TRUNC))
        descriptor = watch.attempt(op, opens)
        watch.handles[descriptor] = (op.handle, name)
        return descriptor

    def fsync(descriptor):
        if descriptor not in watch.handles:
            return real["fsync"](descriptor)
        handle, name = watch.handles[descriptor]
        watch.attempt(Op("sync", name, handle), lambda: real["fsync"](descriptor))

    def rename(source, target, **more):
        name, new = watch.inside(source), watch.inside(target)
        if name is None or new is None:
            return real["replace"](source, target, **more)
        watch.attempt(Op("rename", name, target=new), lambda: real["replace"](source, target, **more))

    def truncate(path, size):
        if (name := watch.inside(path)) is None:
            return real["truncate"](path, size)
        op = watch.opening(name, writes=True)
        watch.attempt(op, lambda: None)
        watch.attempt(Op("truncate", name, op.handle, size), lambda: real["truncate"](path, size))

    def one_path(kind, function):
        def call(path, *arguments, dir_fd=None, **more):
            act = lambda: function(path, *arguments, dir_fd=dir_fd, **more)
            name = watch.inside(path, dir_fd)
            return act() if name is None else watch.attempt(Op(kind, name), act)

        return call

    def unknown(name):
        def call(*arguments, **more):
            if any(watch.inside(path) for path in arguments if isinstance(path, (str, os.PathLike))):
                raise NotImplementedError(f"os.{name}{arguments}: the model of the disk does not know it.")
            return real[name](*arguments, **more)

        return call

    patches = dict(open=open_handle, fsync=fsync, replace=rename, rename=rename, truncate=truncate)
    patches |= {name: one_path("unlink", real[name]) for name in ("unlink", "remove")}
    patches |= {name: one_path(name, real[name]) for name in ("mkdir", "rmdir")}
    patches |= {name: unknown(name) for name in ("ftruncate", "link", "symlink")}
    real |= {"ftruncate": os.ftruncate}
    try:
        for name, function in patches.items():
            setattr(os, name, function)
        builtins.open = io.open = open_file
        yield
    finally:
        builtins.open = io.open = opened
        for name, function in real.items():
            setattr(os, name, function)


class Effect(NamedTuple):
    """What one operation does to one file or to one folder."""

    node: int  # the file or the folder
    kind: str  # write, truncate, or entry
    at: int = 0
    data: bytes = b""
    entries: tuple[tuple[str, int | None], ...] = ()  # of a folder: names, and what they stand for from now on
    path: str = ""  # for whoever reads of it


class Disk:
    """Files and folders as numbered nodes, everything that was done to them, and what of it no power loss can undo."""

    def __init__(self, start: dict[str, bytes | None] | None = None) -> None:
        """`start` is what stands on the disk already, by path."""
        self.nodes = itertools.count(1)
        self.folders: dict[int, dict[str, int]] = {0: {}}  # as the running program sees them
        self.handles: dict[int, int] = {}
        self.effects: list[Effect] = []
        self.safe: list[bool] = []  # of each effect
        for number, (path, data) in enumerate(sorted((start or {}).items()), start=1):
            self.do(Op("mkdir", path) if data is None else Op("open", path, -number))
            if data:
                self.do(Op("write", path, -number, data=data))
        self.safe = [True] * len(self.effects)

    def find(self, path: str) -> tuple[int, str]:
        """The folder in which a path stands, and its name there."""
        folder, parts = 0, [part for part in path.split("/") if part != "."]
        for part in parts[:-1]:
            folder = self.folders[folder][part]
        return folder, parts[-1] if parts else "."

    def do(self, op: Op) -> None:
        """Take one operation into account."""
        folder, name = self.find(op.path)
        node = 0 if name == "." else self.folders[folder].get(name)
        if op.kind in ("open", "read"):
            if node is None:
                node = next(self.nodes)
                self.enter(op, folder, (name, node))
            elif op.at:
                self.add(Effect(node, "truncate", path=op.path))
            self.handles[op.handle] = node
        elif op.kind in ("write", "truncate"):
            self.add(Effect(self.handles[op.handle], op.kind, op.at, op.data, path=op.path))
        elif op.kind == "sync":
            node = self.handles[op.handle]
            self.safe = [safe or effect.node == node for safe, effect in zip(self.safe, self.effects)]
        elif op.kind == "mkdir":
            node = next(self.nodes)
            self.folders[node] = {}
            self.enter(op, folder, (name, node))
        elif op.kind in ("unlink", "rmdir"):
            self.enter(op, folder, (name, None))
        elif op.kind == "rename":
            new_folder, new_name = self.find(op.target)
            if new_folder != folder:
                raise NotImplementedError(f"{op}: the model knows renames inside one folder only.")
            self.enter(op, folder, (name, None), (new_name, node))

    def add(self, effect: Effect) -> None:
        """Something that a power loss may undo."""
        self.effects.append(effect)
        self.safe.append(False)

    def enter(self, op: Op, folder: int, *entries: tuple[str, int | None]) -> None:
        """Change the names in a folder."""
        for name, node in entries:
            set_entry(self.folders[folder], name, node)
        self.add(Effect(folder, "entry", entries=entries, path=f"{op.kind} {op.path}"))

    def ways(self, effect: Effect) -> list[tuple[str, Effect]]:
        """How a power loss may leave an effect: undone, torn at a sector, its length there without its data, or a file under both its names."""
        lost = [("undone", effect._replace(kind="nothing"))]
        if effect.kind == "write":
            cuts = range(SECTOR - effect.at % SECTOR, len(effect.data), SECTOR)
            lost += [(f"torn after {cut} bytes", effect._replace(data=effect.data[:cut])) for cut in cuts]
            lost.append(("all zeros", effect._replace(data=bytes(len(effect.data)))))
        if len(effect.entries) == 2 and effect.entries[1][1] not in self.folders:
            lost.append(("under both names", effect._replace(entries=effect.entries[1:])))
        return lost

    def show(self, changed: dict[int, Effect]) -> dict[str, bytes | None]:
        """What stands on the disk, by path, where some effects turned out otherwise; None is a folder."""
        files: dict[int, bytearray] = {}
        folders: dict[int, dict[str, int]] = {0: {}}
        for number, effect in enumerate(self.effects):
            effect = changed.get(number, effect)
            if effect.kind == "entry":
                for name, node in effect.entries:
                    set_entry(folders.setdefault(effect.node, {}), name, node)
            elif effect.kind != "nothing":
                data = files.setdefault(effect.node, bytearray())
                end = effect.at + len(effect.data)
                data.extend(bytes(max(0, end - len(data))))
                if effect.kind == "truncate":
                    del data[effect.at :]
                else:
                    data[effect.at : end] = effect.data

        shown: dict[str, bytes | None] = {}

        def walk(folder: int, path: str) -> None:
            for name, node in folders.get(folder, {}).items():
                if node in self.folders:
                    shown[path + name] = None
                    walk(node, f"{path}{name}/")
                else:
                    data = bytes(files.get(node, b""))
                    shown[path + name] = KEPT.setdefault(data, data)

        walk(0, "")
        return shown

    def states(self, most: int = 3) -> Iterator[tuple[dict[str, bytes | None], list[str]]]:
        """All that the disk may show after a power loss now, and why: at most `most` of what is not safe turned out otherwise."""
        unsafe = [number for number, safe in enumerate(self.safe) if not safe]
        for count in range(most + 1):
            for numbers in itertools.combinations(unsafe, count):
                for ways in itertools.product(*(self.ways(self.effects[number]) for number in numbers)):
                    words = [f"{self.effects[number].path} {word}" for number, (word, _) in zip(numbers, ways)]
                    yield self.show({number: effect for number, (_, effect) in zip(numbers, ways)}), words


def set_entry(folder: dict[str, int], name: str, node: int | None) -> None:
    """Give a name in a folder to a node, or to nobody."""
    if node is None:
        folder.pop(name, None)
    else:
        folder[name] = node


def digest_of(state: dict[str, bytes | None]) -> bytes:
    """One digest for everything that a disk shows."""
    whole = hashlib.sha256()
    for path, data in sorted(state.items()):
        kind = b"folder" if data is None else hashlib.sha256(data).digest()
        whole.update(path.encode() + b"\0" + kind)
    return whole.digest()


def put(state: dict[str, bytes | None], root: Path) -> None:
    """Write what a disk shows below a folder."""
    for path, data in state.items():
        if data is None:
            (root / path).mkdir(parents=True, exist_ok=True)
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)


def look(root: Path) -> dict[str, bytes | None]:
    """What stands below a folder, by path."""
    return {path.relative_to(root).as_posix(): None if path.is_dir() else path.read_bytes() for path in root.rglob("*")}
