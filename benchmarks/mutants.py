"""Small faults put into a module, one at a time, to see whether its tests find them. Used by accept_mutants.py.

Mutates the syntax tree and gives the module to a forked child of a warm process, so that no mutant pays for a start.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import dataclasses
import importlib
import importlib.abc
import importlib.util
import os
import pkgutil
import signal
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

import speech_contract

# A failing example need not be made small, nor be kept; a busy machine is no fault.
hypothesis.settings.register_profile(
    "mutants",
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    database=None,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
# Forked children find hypothesis imported, so pytest cannot rewrite its assertions: none of ours are there.
OPTIONS = (
    "-x -q -p no:cacheprovider --no-header --hypothesis-seed=0 --hypothesis-profile=mutants "
    "-W ignore::pytest.PytestAssertRewriteWarning"
).split()
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One fault. `line` is the text that it stands in: it tells the fault from others when lines move."""

    module: str
    path: str
    number: int
    line: str
    change: str
    file: Path
    index: int  # among the places of its file

    @property
    def source(self) -> str:
        """The whole file with the fault in it."""
        tree = ast.parse(self.file.read_text(encoding="utf-8"))
        _, _, apply = list(_places(tree))[self.index]
        apply()
        return ast.unparse(ast.fix_missing_locations(tree))

    @property
    def key(self) -> tuple[str, str, str]:
        """What a reviewed equivalent names."""
        return self.path, self.line, self.change


def mutants_of(path: Path, module: str, name: str) -> list[Mutant]:
    """Every mutant of a file. `name` is what the reports call it."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    return [
        Mutant(module, name, node.lineno, lines[node.lineno - 1].strip(), change, path, index)
        for index, (node, change, _) in enumerate(_places(ast.parse(text)))
    ]


def _places(tree: ast.AST) -> Iterator[tuple[Any, str, Callable[[], None]]]:
    """Nodes that can be mutated, what would change, and the act of it."""
    for node in _code(tree):
        if isinstance(node, ast.Compare):
            for index, kind in enumerate(node.ops):
                yield _swap(node, node.ops, index, kind)
        elif isinstance(node, ast.BoolOp | ast.BinOp) and type(node.op) in SWAPS:
            if not (isinstance(node.op, ast.Add) and _texts(node)):
                yield _swap(node, node, "op", node.op)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield (
                node,
                "not x → not not x",
                _set(node, "operand", ast.UnaryOp(ast.Not(), copy.copy(node.operand))),
            )
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
            fresh = (not node.value) if isinstance(node.value, bool) else node.value + 1
            yield node, f"{node.value!r} → {fresh!r}", _set(node, "value", fresh)


def _code(tree: ast.AST) -> Iterator[ast.AST]:
    """Like ast.walk, without what decides nothing.

    Annotations, the texts of assertions and messages, `strict=` of zip, an assertion, and what a class lets a
    decorator generate for it.
    """
    if isinstance(tree, ast.keyword) and tree.arg == "strict":
        return
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns") or isinstance(tree, ast.JoinedStr | ast.Assert):
            continue
        if field == "decorator_list" and isinstance(tree, ast.ClassDef):
            continue
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.AST):
                yield node
                yield from _code(node)


def _texts(node: ast.BinOp) -> bool:
    sides = (node.left, node.right)
    return any(
        isinstance(side, ast.JoinedStr) or isinstance(getattr(side, "value", None), str)
        for side in sides
    )


def _swap(node: Any, owner: Any, at: Any, kind: ast.AST) -> tuple[Any, str, Callable[[], None]]:
    fresh = SWAPS[type(kind)]
    change = f"{type(kind).__name__} → {fresh.__name__}"
    if isinstance(owner, list):
        return node, change, lambda: owner.__setitem__(at, fresh())
    return node, change, _set(owner, at, fresh())


def _set(owner: Any, name: str, value: Any) -> Callable[[], None]:
    return lambda: setattr(owner, name, value)


class _Planted(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module its mutated source."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Ours alone."""
        if name != self._mutant.module:
            return None
        return importlib.util.spec_from_loader(name, self, origin=self._mutant.path)

    def create_module(self, spec: Any) -> types.ModuleType | None:
        """As usual."""
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        """Run the mutated source."""
        exec(compile(self._mutant.source, self._mutant.path, "exec"), module.__dict__)


def warm() -> None:
    """Import what children are to find: pytest with its plugins, and the contract, which is never mutated."""
    for module in pkgutil.walk_packages(speech_contract.__path__, "speech_contract."):
        importlib.import_module(module.name)
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        pytest.main([*OPTIONS, "--collect-only", "tests/contract/test_rules.py"])


def killed(mutant: Mutant | None, tests: list[str], seconds: float) -> bool:
    """Whether the tests fail, or hang for `seconds`, with the mutant planted; None: with the code as it is."""
    child = os.fork()
    if child == 0:
        _run(mutant, tests)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) != 0
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def _run(mutant: Mutant | None, tests: list[str]) -> None:
    if mutant is not None:
        sys.meta_path.insert(0, _Planted(mutant))
    code = 1
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        with contextlib.suppress(BaseException), contextlib.redirect_stdout(nowhere):
            code = int(pytest.main([*OPTIONS, *tests]))
    os._exit(code)
