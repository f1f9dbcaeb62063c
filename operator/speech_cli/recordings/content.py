"""What kind of recording a file is, told by its content. Called by `recordings`; reads the first bytes.

A suffix says little: JSON lines are called `.json` as often as not, logs `.csv`, and PowerShell writes UTF-16.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

from speech_cli.recordings.events import EVENT_FILE, is_event_file
from speech_cli.recordings.offline import MAGIC

HEAD: Final = 65536  # bytes that tell the kind
_GZIP: Final = b"\x1f\x8b"
_WORDS: Final = ("loss", "step", "epoch", "norm", "value", "iter")  # in a header worth a table
_DELIMITERS: Final = (",", "\t", ";")
# mlflow/store/tracking/file_store.py: milliseconds, value, step
METRIC: Final = re.compile(r"1\d{12} (?P<value>[-+.\dA-Za-z]+) (?P<step>\d+)(?:\s|$)")
_MARKS: Final = (
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
)


class Source:
    """An open question: bytes, text or lines of one file, unpacked where it is packed."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self.path = path
        with path.open("rb") as file:
            self.packed = file.read(2) == _GZIP
        with self.open() as file:
            self.head = file.read(HEAD)
        marked = (name for mark, name in _MARKS if self.head.startswith(mark))
        self.encoding = next(marked, "utf-8")

    def open(self) -> IO[bytes]:
        """The bytes."""
        if self.packed:
            import gzip  # few are

            return gzip.open(self.path)  # type: ignore[return-value]  # reads like any binary file
        return self.path.open("rb")

    @property
    def start(self) -> str:
        """The first text."""
        return self.head.decode(self.encoding, errors="replace")

    def text(self) -> str:
        """All of it."""
        with self.open() as file:
            return file.read().decode(self.encoding, errors="replace")

    def lines(self, newline: str | None = None) -> Iterator[str]:
        """Line by line; a carriage return ends one too, as in the redraws of a progress bar."""
        with (
            self.open() as file,
            io.TextIOWrapper(file, self.encoding, errors="replace", newline=newline) as text,
        ):
            yield from text


def kind_of(source: Source) -> str:
    """`events`, `offline`, `metric`, `document`, `lines`, `table` or `printed`."""
    if source.head.startswith(MAGIC):
        return "offline"
    if is_event_file(source.head) or (EVENT_FILE in source.path.name and b"\x00" in source.head):
        return "events"
    start = source.start.lstrip()
    if start[:1] in ("{", "["):
        return _json_kind(source, start)
    if METRIC.match(start):
        return "metric"
    return "table" if dialect_of(source) is not None else "printed"


def _json_kind(source: Source, start: str) -> str:
    first, rest = start.partition("\n")[::2]
    if _mapping(first) is not None:
        return "lines" if rest.strip() or "event" in first else "document"
    if start.startswith(("{'", "[{'")):
        return "printed"  # Python's own form of a mapping
    after = start[1:].lstrip()
    begins = after.startswith(('"', "}")) if start[0] == "{" else after.startswith(("{", "["))
    return "document" if begins and not first.startswith("[[") else "printed"


def _mapping(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def dialect_of(source: Source) -> tuple[list[str], str] | None:
    """Header and delimiter of a table; None where the text is none."""
    lines = [line for line in source.start.splitlines()[:50] if line.strip()]
    if not lines:
        return None
    delimiter = max(_DELIMITERS, key=lines[0].count)
    rows = list(csv.reader(lines, delimiter=delimiter))
    header = rows[0]
    return (header, delimiter) if _is_header(header) and _are_cells(header, rows[1:]) else None


def _is_header(header: Sequence[str]) -> bool:
    folded = " ".join(header).lower()
    names = all(len(name) <= 200 and not _is_number(name) for name in header)
    return names and any(word in folded for word in _WORDS) and "=" not in folded


def _are_cells(header: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Of the first rows most are as wide as the header, and hold numbers where they hold anything."""
    rows = rows[:20]
    wide = [row for row in rows if len(row) <= len(header)]
    told = [cell for row in wide for cell in row if cell.strip()]
    numbers = sum(map(_is_number, told))
    return bool(rows) and 2 * len(wide) >= len(rows) and 2 * numbers >= len(told)


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True
