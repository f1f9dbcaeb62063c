"""A section as a tree of lines for a person. Called by `strategic.log`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from speech_trainer.engine.recipe import Section


def render(section: Section) -> list[str]:
    """The title, then one line per fact, nested facts indented with branches."""
    return [section.title, *_branches(section.facts, "")]


def _branches(facts: Mapping[str, Any], indent: str) -> Iterator[str]:
    items = list(facts.items())
    for number, (name, value) in enumerate(items, start=1):
        last = number == len(items)
        stem, below = ("└─ ", "   ") if last else ("├─ ", "│  ")
        if isinstance(value, Mapping):
            yield f"{indent}{stem}{name}"
            yield from _branches(value, indent + below)
        elif _is_list_of_mappings(value):
            yield f"{indent}{stem}{name}"
            numbered = {f"[{i}]": item for i, item in enumerate(value)}
            yield from _branches(numbered, indent + below)
        else:
            yield f"{indent}{stem}{name}: {_leaf(value)}"


def _leaf(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(_leaf(item) for item in value)
    return str(value)


def _is_list_of_mappings(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(i, Mapping) for i in value)
