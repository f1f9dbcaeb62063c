"""What a run left in its directory (`checkpoint.uri`): scores, samples, bad samples, log lines.

Read by `run`, `status`, `why` and `logs`. A missing file reads as "not there"; a broken one is told in a
sentence (`RunDirectory.faults`), never hidden: half of a run directory is what a crash leaves behind.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from speech_cli.rendering.verdict import Result
from speech_cli.rendering.view import mapping, real, whole
from speech_contract import codec, paths
from speech_contract.errors import ContractError
from speech_contract.preflight import PreflightReport
from speech_telemetry.ownership import place_of

TAIL_BYTES = 64 * 1024
EXPORT = "export"


@dataclasses.dataclass(frozen=True)
class BadSample:
    """One line of quarantine.jsonl, as far as it says so."""

    reason: str
    sample: str
    detail: str = ""


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
        document = self._json(text, paths.RESULT) if text else None
        return result_of(document) if document else None

    def places(self) -> dict[str, Path]:
        """What a person may want to open, as far as it is there."""
        if self._taken_over:  # these lie there still, and are another job's by now
            return {}
        found = {"samples": _newest(self.root / paths.SAMPLES), EXPORT: self.root / EXPORT}
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
        return [bad_sample_of(row) for row in self._lines(paths.QUARANTINE)]

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
        except FileNotFoundError:
            return []
        return [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]

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


def result_of(document: Mapping[str, Any]) -> Result:
    """Parse result.json. Baselines may be nested by score or by baseline; both are understood."""
    scores = _numbers(mapping(document, "scores"))
    samples = document.get("samples")
    return Result(
        step=whole(document.get("step")),
        scores=scores,
        baselines=_by_score(mapping(document, "baselines"), scores),
        samples=tuple(map(str, samples)) if isinstance(samples, list) else (),
    )


def bad_sample_of(row: Mapping[str, Any]) -> BadSample:
    """One quarantined sample: which file, why."""
    sample = row.get("audio_filepath") or ""
    detail = row.get("message_text") or ""
    return BadSample(str(row.get("reason", "Other")), str(sample), str(detail))


def by_reason(samples: list[BadSample]) -> dict[str, int]:
    """How many samples were bad for which reason."""
    return dict(Counter(sample.reason for sample in samples))


def _by_score(
    baselines: Mapping[str, Any], scores: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    ordered: dict[str, dict[str, float]] = {}
    for outer, inner in baselines.items():
        for name, value in _numbers(inner).items():
            score, trivial = (outer, name) if outer in scores else (name, outer)
            ordered.setdefault(score, {})[trivial] = value
    return ordered


def _numbers(values: Any) -> dict[str, float]:
    found = {str(k): real(v) for k, v in values.items()} if isinstance(values, Mapping) else {}
    return {name: value for name, value in found.items() if value is not None}


def _newest(folder: Path) -> Path | None:
    """The newest evaluation below `samples/`, or the folder itself when it holds files."""
    if not folder.is_dir():
        return None
    inner = [path for path in folder.iterdir() if path.is_dir()]
    return max(inner, key=lambda path: path.stat().st_mtime) if inner else folder
