"""The consoles commands write to: colour and redraw only where a person's terminal can take them."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from speech_cli.visible import visible
from speech_contract import codec

PIPE_WIDTH = 240  # a table in a pipe is cut by nobody


class _SafeConsole(Console):
    """Jobs write what is shown here: no text of theirs may steer the terminal of who looks at it.

    rich leaves ESC as it is, by which a text could set titles, fill the clipboard or overwrite lines.
    """

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """See the base class. What rich itself tells the terminal is marked as control."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


def make_console(*, plain: bool = False, stderr: bool = False) -> Console:
    """A console on standard output (or error). `plain`, NO_COLOR and pipes get no escape codes."""
    colourless = plain or bool(os.environ.get("NO_COLOR"))
    console = _SafeConsole(
        stderr=stderr,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
        force_terminal=False if colourless else None,
        color_system=None if colourless else "auto",
    )
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console


def say(console: Console, lines: Iterable[str | Text]) -> None:
    """One line each, never wrapped: a script may read them."""
    for line in lines:
        console.print(line, soft_wrap=True)


def emit(document: Any, form: str) -> None:
    """Print a document or a dataclass as strict JSON or as YAML on standard output."""
    document = jsonable(document)
    if form == "yaml":
        import yaml  # for this one form of one answer

        click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)
    else:
        click.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def jsonable(value: Any) -> Any:
    """A report with paths and dataclasses → JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            codec.camel(f.name): jsonable(getattr(value, f.name)) for f in dataclasses.fields(value)
        }
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return codec.to_document(value)
