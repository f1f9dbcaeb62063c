"""What a rank prints: kept in its log file, passed through, read line by line, its last error remembered.

Called by `processes` with raw chunks from the rank's pipe (stdout and stderr together, in order).
"""

from __future__ import annotations

import collections
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from speech_telemetry.exceptions import ErrorFinder

TAIL_LINES = 40
LINE_LIMIT = (
    2000  # characters of a line that are shown, and that patterns of users are held against
)
PENDING_LIMIT = 65536  # bytes without a line end before they count as a line
_ENDS = re.compile(rb"(?<=[\n\r])")  # progress bars end their lines with a carriage return


class RankOutput:
    """One rank's output. `on_line` gets each whole line as text; `through` gets its bytes."""

    def __init__(
        self, path: Path, through: Callable[[bytes], None], on_line: Callable[[str], None]
    ) -> None:
        self._file: BinaryIO | None = None
        self._through = through
        self._on_line = on_line
        self._pending = b""
        self._finder = ErrorFinder()
        self.tail: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)
        self.captured: list[str] | None = None  # set to [] to keep every further line
        self.file_error = ""  # why the log file is no longer written
        self._open(path)

    def _open(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "ab", buffering=0)
        except OSError as error:
            self.file_error = str(error)

    @property
    def error(self) -> str:
        """The exception that explains the end; "" when none was printed, or a launcher's word alone."""
        return "" if self._finder.is_stand_in else self._finder.error

    def feed(self, chunk: bytes) -> None:
        """Take a chunk as it came out of the pipe."""
        self._keep(chunk)
        *lines, self._pending = _ENDS.split(self._pending + chunk)
        for line in lines:
            self._take(line)
        if len(self._pending) > PENDING_LIMIT:
            self.flush()

    def flush(self) -> None:
        """Treat what is left as a line: the rank ended, or writes without line ends."""
        if self._pending:
            pending, self._pending = self._pending, b""
            self._take(pending)

    def close(self) -> None:
        """Flush, and give the file back."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _keep(self, chunk: bytes) -> None:
        if self._file is None:
            return
        try:
            self._file.write(chunk)
        except OSError as error:  # a full disk: training goes on, the reason is kept
            self.file_error = str(error)
            self._file.close()
            self._file = None

    def _take(self, raw: bytes) -> None:
        self._through(raw)
        whole = raw.decode("utf-8", "replace").rstrip("\r\n")
        line = whole[:LINE_LIMIT]
        if not whole.strip():
            return
        self.tail.append(line)
        if self.captured is not None:
            self.captured.append(line)
        self._finder.take(line)
        self._on_line(whole)


def error_file_message(path: Path) -> str:
    """The message that torch's @record left; "" without one."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        message = document["message"]
        return str(message["message"] if isinstance(message, dict) else message)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
