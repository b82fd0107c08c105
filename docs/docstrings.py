"""How docstrings become API pages: backticks become code or links, and comments beside fields and parameters are shown."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
import io
import pkgutil
import re
import tokenize
from typing import Any, Iterator, get_type_hints

from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

import mage_edu

BACKTICKS = re.compile(r"(`[^`\n]+`)")
LONGEST_VALUE = 100  # of a constant or a default, in characters; longer ones are left to the source
SPECIAL = re.compile(r"([\\*|]|_\b)")  # what reStructuredText would read as markup


def modules() -> list[str]:
    """The full names of the library's modules."""
    found = pkgutil.walk_packages(mage_edu.__path__, "mage_edu.")
    return [info.name for info in found if not info.ispkg and not info.name.rpartition(".")[2].startswith("_")]


@functools.cache
def exported() -> dict[str, str]:
    """The full name of everything that the library exports, by its short name."""
    return {name: f"{module}.{name}" for module in modules() for name in importlib.import_module(module).__all__}


def as_restructured(line: str) -> str:
    """A line of a docstring for Sphinx: `x` is code, and a link where the library exports x; all else is plain text."""
    parts = []
    for part in BACKTICKS.split(line):
        name = part.strip("`")
        if not BACKTICKS.fullmatch(part):
            parts.append(SPECIAL.sub(r"\\\1", part))
        elif name.removeprefix("mage_edu.").rpartition(".")[2] in exported():
            parts.append(f":py:obj:`{name} <{exported()[name.rpartition('.')[2]]}>`\\ ")
        else:
            parts.append(f"``{name}``\\ ")
    return "".join(parts)


def named_lines(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, int, int]]:
    """Every constant, field and parameter below `node`, with its first and last line: `Config.seed`, `train.learner`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Assign, ast.AnnAssign)):
            targets = child.targets if isinstance(child, ast.Assign) else [child.target]
            yield from (
                (prefix + target.id, child.lineno, child.end_lineno)
                for target in targets
                if isinstance(target, ast.Name)
            )
        elif isinstance(child, ast.arg):
            yield prefix + child.arg, child.lineno, child.end_lineno
        elif isinstance(child, ast.arguments):
            yield from named_lines(child, prefix)
        elif isinstance(child, (ast.ClassDef, ast.FunctionDef)):
            yield from named_lines(child, f"{prefix}{child.name}.")


@functools.cache
def comments_beside(module: str) -> dict[str, str]:
    """What the comments beside the constants, fields and parameters of a module say, by name."""
    source = inspect.getsource(importlib.import_module(module))
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    lines = {name: comments.get(first) or comments.get(last) for name, first, last in named_lines(ast.parse(source))}
    return {name: comment for name, comment in lines.items() if comment}


class Long:
    """What a signature shows in the place of a default that is too long to read."""

    def __repr__(self) -> str:
        return "..."


def shorten_signature(dataclass: type) -> None:
    """Leave a dataclass's signature its types, without what `Annotated` tells the command line, and its short defaults."""
    if not dataclasses.is_dataclass(dataclass):
        return
    hints, make = get_type_hints(dataclass), dataclass.__init__
    dataclass.__annotations__ = {name: hints[name] for name in dataclass.__annotations__}
    make.__annotations__ = get_type_hints(make)
    make.__defaults__ = (
        tuple(Long() if len(repr(value)) > LONGEST_VALUE else value for value in make.__defaults__ or ()) or None
    )


def skip(app: Sphinx, what: str, name: str, thing: Any, default: bool, options: Any) -> bool | None:
    """Leave out classes that a module makes while it is imported: no source and no comment describes them."""
    return (
        True if what == "module" and inspect.isclass(thing) and not thing.__module__.startswith("mage_edu.") else None
    )


def document_fields(app: Sphinx) -> None:
    """Give autodoc the comments as the docstrings of constants and fields, which have none of their own."""
    for name in modules():
        module, analyzer = importlib.import_module(name), ModuleAnalyzer.for_module(name)
        analyzer.analyze()
        for full_name, line, _ in named_lines(ast.parse(analyzer.code)):
            owner, _, field = full_name.rpartition(".")
            if (owner or field) in module.__all__:
                value = getattr(getattr(module, owner, module), field, None)
                hidden = [":meta hide-value:"] if len(repr(value)) > LONGEST_VALUE else []
                analyzer.attr_docs[owner, field] = [comments_beside(name).get(full_name, ""), "", *hidden]
                analyzer.tagorder.setdefault(full_name, line)
        for owner, thing in vars(module).items():
            if inspect.isclass(thing) and thing.__module__ == name:
                shorten_signature(thing)
                # fields of parents first, in their order, not by name
                fields = [
                    field for parent in reversed(thing.__mro__) for field in vars(parent).get("__annotations__", {})
                ]
                analyzer.tagorder.update(
                    {f"{owner}.{field}": place - len(fields) for place, field in enumerate(fields)}
                )


def rewrite(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Turn one docstring, in place, into what Sphinx reads."""
    lines[:] = [as_restructured(line) for line in lines]
    if what == "class":
        bases = [base for base in thing.__bases__ if base not in (object, tuple)]
        lines += (
            ["", f"Based on {', '.join(f':py:class:`~{base.__module__}.{base.__qualname__}`' for base in bases)}."]
            if bases
            else []
        )
    if what in ("function", "method") and getattr(thing, "__module__", "").startswith(
        "mage_edu."
    ):  # built-in ones have no source
        beside = {
            name.rpartition(".")[2]: comment
            for name, comment in comments_beside(thing.__module__).items()
            if name.rpartition(".")[0] == thing.__qualname__
        }
        lines += ["", *(f":param {parameter}: {as_restructured(comment)}" for parameter, comment in beside.items())]
    lines.append("")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("builder-inited", document_fields)
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", rewrite)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
