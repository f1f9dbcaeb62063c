"""Rows of JSON documents: a Trainer's state, Keras' history, lists of entries, and what a crash left of them.

Called by `recordings`. Pure.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

HUGGING_FACE: Final = "Hugging Face trainer_state.json"
KERAS: Final = "Keras history"
ENTRIES: Final = "JSON list of entries"
_HISTORY: Final = "log_history"
_CONTEXTS: Final = {"validate": "validation/", "test": "test/"}  # of Comet's experiments


def history(text: str) -> tuple[str, list[Mapping[str, Any]], bool]:
    """Format, rows, and whether the end is missing. Raises ValueError for any other document."""
    try:
        document = json.loads(text)
    except ValueError:
        return _salvaged(text)
    if isinstance(document, Mapping) and isinstance(document.get("history"), Mapping):
        document = document["history"]
    if isinstance(document, Mapping) and isinstance(document.get(_HISTORY), list):
        return HUGGING_FACE, _mappings(document[_HISTORY]), False
    if isinstance(document, list):
        return ENTRIES, _mappings(document), False
    series = dict(_series(document)) if isinstance(document, Mapping) else {}
    if series:
        return KERAS, list(_transposed(series)), False
    if isinstance(document, Mapping) and document:
        return ENTRIES, [document], False
    raise ValueError("neither a list nor an object with log_history or lists of numbers")


def _mappings(entries: list[Any]) -> list[Mapping[str, Any]]:
    return [told(entry) for entry in entries if isinstance(entry, Mapping)]


def told(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """An entry as a row of columns. Comet's names its one metric in a field of its own."""
    if "metricName" not in entry:
        return entry
    name = f"{_CONTEXTS.get(str(entry.get('runContext')), '')}{entry['metricName']}"
    return {**entry, name: entry.get("metricValue")}


def _series(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Lists of numbers, nested ones too: `{"train": {"loss": […]}}`."""
    for name, value in document.items():
        if isinstance(value, Mapping):
            yield from _series(value, f"{prefix}{name}/")
        elif isinstance(value, list) and value and not isinstance(value[0], (list, Mapping)):
            yield f"{prefix}{name}", value


def _transposed(series: Mapping[str, list[Any]]) -> Iterator[Mapping[str, Any]]:
    for values in itertools.zip_longest(*series.values()):
        yield dict(zip(series, values, strict=True))


def _salvaged(text: str) -> tuple[str, list[Mapping[str, Any]], bool]:
    """Whole entries of a list that was cut off."""
    at = text.find(f'"{_HISTORY}"')
    start = text.find("[", max(at, 0))
    decoder, entries = json.JSONDecoder(), []
    while start >= 0:
        start = text.find("{", start)
        if start < 0:
            break
        try:
            entry, start = decoder.raw_decode(text, start)
        except ValueError:
            break
        entries.append(entry)
    if not entries:
        raise ValueError("cut off before the first whole entry")
    return (HUGGING_FACE if at >= 0 else ENTRIES), _mappings(entries), True
