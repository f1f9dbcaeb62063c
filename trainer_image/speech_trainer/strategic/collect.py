"""Building sections so that one that fails is shown, and the others are kept. Called by recipes.

A strategic log must never end a run and never hide that it could not look.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from speech_trainer.engine.recipe import Section

FAILED: Final = "failed"  # the one fact of a section that could not be built

Describe = Callable[[], Mapping[str, Any]]


def collect(sections: Mapping[str, Describe]) -> list[Section]:
    """One section per title; a describer that raises gives `{"failed": "<what it raised>"}`."""
    return [Section(title, _facts(describe)) for title, describe in sections.items()]


def failed(section: Section) -> bool:
    """Whether this section could not be built."""
    return FAILED in section.facts


def _facts(describe: Describe) -> Mapping[str, Any]:
    try:
        return describe()
    except Exception as error:  # whatever it is, it is shown and counted by `StrategicLog`
        return {FAILED: f"{type(error).__name__}: {error}"}
