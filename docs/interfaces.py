"""Tables of what a class asks of whoever implements it, read from its source, for the pages that explain how.

Called by `generate.py`. Reads text, imports nothing: a page of a recipe needs no torch.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def methods(file: str, owner: str) -> Iterator[tuple[str, str]]:
    """(call, what it does) of every public method of a class with a docstring, in the order of the source."""
    (found,) = (node for node in _classes(file) if node.name == owner)
    for node in found.body:
        if not isinstance(node, ast.FunctionDef) or node.decorator_list:
            continue  # a property is no call
        if not node.name.startswith("_"):
            names = ", ".join(argument.arg for argument in node.args.args[1:])
            yield f"`{node.name}({names})`", _first(node)


def classes(file: str, without: str) -> Iterator[tuple[str, str]]:
    """(name, what it is) of the other public classes of a file."""
    for node in _classes(file):
        if node.name != without and not node.name.startswith("_"):
            yield f"`{node.name}`", _first(node)


def _classes(file: str) -> list[ast.ClassDef]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return [node for node in tree.body if isinstance(node, ast.ClassDef)]


def _first(node: ast.FunctionDef | ast.ClassDef) -> str:
    """The first line of a docstring."""
    text = ast.get_docstring(node) or ""
    return text.partition("\n")[0]
