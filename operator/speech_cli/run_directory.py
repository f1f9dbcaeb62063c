"""What a run left in its directory (`checkpoint.uri`): scores, samples, bad samples, log lines.

Read by `run`, `status`, `why` and `logs`. A missing file reads as "not there"; a broken one is told in a
sentence (`RunDirectory.faults`), never hidden: half of a run directory is what a crash leaves behind.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from speech_contract import codec, paths
from speech_contract.errors import ContractError
from speech_contract.preflight import PreflightReport
from speech_contract.result import BadSample, Result
from speech_telemetry.ownership import place_of

TAIL_BYTES = 64 * 1024


class RunDirectory:
    """Read-only view of one run directory."""

    def __init__(self, root: Path, uid: str = "") -> None:
        """`uid`: of the job that is asked about; what other jobs left in the same directory is not shown."""
        self.root = place_of(root, uid)
        self._taken_over = self.root != root
        self.faults: list[str] = []

    @property
    def quarantine(self) -> Path:
        """The list of bad samples."""
        return self.root / paths.QUARANTINE

    def result(self) -> Result | None:
        """The last evaluation; None when there is none (yet)."""
        text = self._text(self.root / paths.RESULT)
        try:
            return codec.loads(Result, text, paths.RESULT) if text else None
        except ContractError as error:
            self.faults.append(str(error))
            return None

    def places(self) -> dict[str, Path]:
        """What a person may want to open, as far as it is there."""
        if self._taken_over:  # these lie there still, and are another job's by now
            return {}
        samples = _newest(self.root / paths.SAMPLES)
        found = {
            "report": self.root / paths.REPORT,
            paths.SAMPLES: samples,
            paths.EXPORT: self.root / paths.EXPORT,
        }
        return {name: path for name, path in found.items() if path is not None and path.exists()}

    def preflight(self) -> PreflightReport | None:
        """The newest preflight; None when there was none."""
        text = self._text(self.root / paths.PREFLIGHT)
        try:
            return codec.loads(PreflightReport, text, paths.PREFLIGHT) if text else None
        except ContractError as error:
            self.faults.append(str(error))
            return None

    def bad_samples(self) -> list[BadSample]:
        """Samples that the loader had to replace."""
        return [BadSample.of(row) for row in self._lines(paths.QUARANTINE)]

    def events(self, *names: str) -> list[Mapping[str, Any]]:
        """Log events of these names, oldest first."""
        return [row for row in self._lines(paths.EVENTS) if row.get("event") in names]

    def rank_log(self, attempt: int, rank: int) -> Path:
        """Where a rank's output lies."""
        return paths.rank_log(self.root, attempt, rank)

    def tail(self, attempt: int, rank: int, lines: int) -> list[str]:
        """The last non-empty lines of a rank's log."""
        path = self.rank_log(attempt, rank)
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return []
        return (
            [line.rstrip() for line in text.splitlines() if line.strip()][-lines:] if lines else []
        )

    def _lines(self, name: str) -> Iterator[Mapping[str, Any]]:
        text = self._text(self.root / name)
        for number, line in enumerate(text.splitlines(), start=1):
            document = self._json(line, f"{name} line {number}") if line.strip() else None
            if document:
                yield document

    def _json(self, text: str, name: str) -> Mapping[str, Any] | None:
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            self.faults.append(f"{name} is no JSON: {error}")
            return None
        return document if isinstance(document, Mapping) else None

    def _text(self, path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        except OSError as error:
            self.faults.append(f"{path.name} cannot be read: {error.strerror}")
            return ""


def told(sample: BadSample) -> str:
    """One bad sample in words: which file, why."""
    return f"{sample.audio_filepath} ({sample.message_text or sample.reason})"


def by_reason(samples: list[BadSample]) -> dict[str, int]:
    """How many samples were bad for which reason."""
    return dict(Counter(sample.reason for sample in samples))


def _newest(folder: Path) -> Path | None:
    """The newest evaluation below `samples/`, or the folder itself when it holds files."""
    if not folder.is_dir():
        return None
    inner = [path for path in folder.iterdir() if path.is_dir()]
    return max(inner, key=lambda path: path.stat().st_mtime) if inner else folder
