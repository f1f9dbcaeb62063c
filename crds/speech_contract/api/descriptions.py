"""What each field of the API is for, read from the text below it in the source. Called by `crd` alone.

`max_steps: int = 1000` and, in the next line, a string of its own: "Optimizer steps after which …".
Only generating the CRD reads source: what an image or a zipapp runs keeps no descriptions in memory.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any

from speech_contract.api.fields import bare, fields_of, items_of
from speech_contract.codec import camel

_OURS = "speech_contract."
_SNAKE = re.compile(r"`([a-z]+(?:_[a-z]+)+)`")


def descriptions(model: Any, place: str) -> dict[str, str]:
    """Place → text for every described field below `model`, as `spec.data.train.manifest`; `[]` for items."""
    return dict(_below(model, place))


def as_written(text: str) -> str:
    """One line, with fields named as a manifest names them: `max_steps` → `maxSteps`."""
    return _SNAKE.sub(lambda found: f"`{camel(found[1])}`", " ".join(text.split()))


def _below(kind: Any, place: str) -> Iterator[tuple[str, str]]:
    kind = bare(kind)
    inner, mark = items_of(kind)
    if mark:
        yield from _below(inner, place + mark)
        return
    texts = _texts(kind) if isinstance(kind, type) else {}
    for name, inner in fields_of(kind).items():
        if name in texts:
            yield f"{place}.{name}", texts[name]
        yield from _below(inner, f"{place}.{name}")


def _texts(kind: type) -> dict[str, str]:
    """Field (as a manifest writes it) → text; a subclass describes anew what it redefines."""
    texts: dict[str, str] = {}
    for owner in reversed(kind.__mro__):
        if owner.__module__.startswith(_OURS):
            texts |= _classes(owner.__module__).get(owner.__qualname__, {})
    return texts


@functools.cache
def _classes(module: str) -> dict[str, dict[str, str]]:
    """Class → field → text, of every class at the top of one module."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: dict(_fields(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _fields(owner: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, below in zip(owner.body, owner.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
            text = below.value.value if isinstance(below.value, ast.Constant) else None
            if isinstance(field.target, ast.Name) and isinstance(text, str):
                yield camel(field.target.id), as_written(text)
