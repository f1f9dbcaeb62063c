"""Which tests call which functions of a folder, and how long each takes. Used by accept_mutants.py.

A test that never calls a function cannot see a fault in it, so a mutant need only meet those that do. Calls alone are
traced, not lines: one pass of a room costs little more than its tests.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import io
import json
import os
import sys
import tempfile
import time
import types
from collections.abc import Generator, Iterable
from pathlib import Path

import pytest

Place = tuple[str, int]  # path as reports call it, and the line where the function begins
ELSEWHERE = 0  # the "function" of what stands in a module or class: run by its import


@dataclasses.dataclass
class Reached:
    """What was seen of one set of tests."""

    seconds: dict[str, float] = dataclasses.field(default_factory=dict)  # of each test
    calls: dict[Place, list[str]] = dataclasses.field(default_factory=dict)

    def of(self, place: Place) -> list[str]:
        """Tests that call it, the quickest first; none: nothing calls it but an import."""
        return sorted(set(self.calls.get(place, ())), key=self.seconds.__getitem__)

    @property
    def quickest(self) -> list[str]:
        """All of them, in order."""
        return sorted(self.seconds, key=self.seconds.__getitem__)

    def limit(self, tests: Iterable[str]) -> float:
        """Seconds after which these tests hang."""
        return 30.0 + 5.0 * sum(self.seconds[test] for test in tests)


class _Tracer:
    """A pytest plugin: notes for each test what it calls under `folder`, fixtures and teardown included."""

    def __init__(self, root: Path, folder: str) -> None:
        self.found = Reached()
        self._root, self._under = f"{root}/", f"{root / folder}/"
        self._now: set[Place] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """One test."""
        self._now, began = set(), time.perf_counter()
        sys.settrace(self._call)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            self.found.seconds[item.nodeid] = time.perf_counter() - began
            for path, line in self._now:
                self.found.calls.setdefault((path, line), []).append(item.nodeid)
                self.found.calls.setdefault((path, ELSEWHERE), []).append(item.nodeid)

    def _call(self, frame: types.FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if code.co_filename.startswith(self._under):
            self._now.add((code.co_filename.removeprefix(self._root), code.co_firstlineno))


def reached(tests: list[str], root: Path, folder: str, options: list[str]) -> Reached:
    """Run `tests` once in a forked child, traced. Exits when they fail: then no mutant would tell anything."""
    with tempfile.NamedTemporaryFile(mode="w+", encoding="utf-8") as answer:
        child = os.fork()
        if child == 0:
            _trace(tests, _Tracer(root, folder), options, answer.name)
        failed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
        said = json.load(answer)
        if failed:
            sys.exit(f"{' '.join(tests)}: fails without any mutant\n{said['output']}")
    return Reached(said["seconds"], {(path, line): names for path, line, names in said["calls"]})


def _trace(tests: list[str], tracer: _Tracer, options: list[str], answer: str) -> None:
    code = 1
    try:
        with contextlib.redirect_stdout(io.StringIO()) as output:
            code = int(pytest.main([*options, *tests], plugins=[tracer]))
        calls = [[*place, names] for place, names in tracer.found.calls.items()]
        said = json.dumps(
            {"seconds": tracer.found.seconds, "calls": calls, "output": output.getvalue()[-4000:]}
        )
        Path(answer).write_text(said, encoding="utf-8")
    finally:
        os._exit(code)


def function_of(tree: ast.AST, number: int) -> int:
    """Where the innermost function round a line begins, its decorators included; ELSEWHERE when none is round it."""
    begins = [
        min([node.lineno, *(d.lineno for d in node.decorator_list)])
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.lineno <= number <= (node.end_lineno or node.lineno)
    ]
    return max(begins, default=ELSEWHERE)
