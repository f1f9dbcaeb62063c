"""Writing strategic logs: a tree on stdout and one JSON line a section in `events.jsonl`.

Called by the engine on rank 0, on cadence and at step 1.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from speech_contract.events import Event
from speech_trainer.engine.recipe import Section
from speech_trainer.strategic.collect import FAILED, failed
from speech_trainer.strategic.tree import render

Emit = Callable[[Event, Mapping[str, Any]], None]  # writes one line of events.jsonl


class StrategicLog:
    """Renders sections; `failures` counts those that could not be built."""

    def __init__(self, stream: TextIO, emit: Emit) -> None:
        self._stream = stream
        self._emit = emit
        self.failures = 0

    def write(self, step: int, sections: Sequence[Section]) -> None:
        """Show every section of one step; a failed one is counted and shown as failed."""
        for section in sections:
            self._show(step, section)
            if failed(section):
                self.failures += 1
                self._emit(
                    Event.STRATEGIC_LOG_FAILED,
                    {
                        "step": step,
                        "section": section.title,
                        "error": section.facts[FAILED],
                        "failures": self.failures,
                    },
                )
            else:
                self._emit(
                    Event.STRATEGIC_LOG,
                    {"step": step, "section": section.title, "facts": dict(section.facts)},
                )

    def _show(self, step: int, section: Section) -> None:
        title, *lines = render(section)
        self._stream.write("\n".join([f"── step {step} · {title} ──", *lines, ""]))
        self._stream.flush()
