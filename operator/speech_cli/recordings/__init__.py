"""Files of finished runs → step samples: which format a file has, and the reader of it.

Called by `speechtrain replay`. Readers of rows are `speech_health.recorded`, of text the supervisor's own reader of
stdout. Everything is read as it is judged: a log may be larger than memory.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from speech_cli.errors import BadData
from speech_cli.recordings.content import METRIC, Source, dialect_of, kind_of
from speech_cli.recordings.documents import history, told
from speech_cli.recordings.events import EVENT_FILE, tensorboard
from speech_cli.recordings.offline import OFFLINE_FILE, offline_run
from speech_contract.report import Reads
from speech_health.columns import SUMMARY, run_of
from speech_health.recorded import Place, Rows

if TYPE_CHECKING:
    from speech_health.samples import StepSample

__all__ = ["FORMATS", "Recording", "samples_of", "tensorboard"]

FORMATS: Final[Mapping[str, str]] = {
    "Hugging Face trainer_state.json": "an object with log_history; of one that was cut off the whole entries",
    "JSON lines": "an object a line, under any suffix: detectron2, mmengine, LLaMA-Factory, our own events",
    "JSON list of entries": "a list of objects, nested ones too: dora, audiocraft",
    "Keras history": 'an object of lists: {"loss": [...], "val_loss": [...]}',
    "MLflow metric": "a file of mlruns/…/metrics, called after what it holds: milliseconds, value, step",
    "table": "CSV, TSV or ; with a header: Lightning's metrics.csv, exports of Weights & Biases",
    "TensorBoard's CSV export": "Wall time,Step,Value; the tag is taken from the file's name",
    "TensorBoard": "an event file, or a directory with some",
    "Weights & Biases": "run-*.wandb, of an offline run too, or the directory that holds it",
    "log": "text as a training script printed it, progress bars included",
    "directory": "a run's: metrics.csv, trainer_state.json, event files, run-*.wandb, files/output.log",
}
KINDS: Final = (
    "Hugging Face trainer_state.json, JSON lines and lists, Keras histories, CSV and TSV with a header, TensorBoard "
    "event files, runs of Weights & Biases, a log as printed, directories of these; see --list-formats"
)
# Of a directory, the best first.
WANTED: Final = (
    "trainer_state.json",
    "metrics.csv",
    "metrics.jsonl",
    "wandb-history.jsonl",
    "files/wandb-history.jsonl",
    OFFLINE_FILE,
    f"*{EVENT_FILE}*",
    "files/output.log",
    "output.log",
)
FEWEST_ROWS: Final = 3  # of numbers alone, that are a table without a heading
_TAG: Final = re.compile(r"tag-(?P<tag>.+?)(?:\.csv)?$")
_EXPORT: Final = ["wall time", "step", "value"]
_DAMAGED: Final = (ValueError, RecursionError, EOFError, struct.error, csv.Error, OSError)


class Recording:
    """One file: read once, from `samples`; what else is to be said of it stands in the other fields then."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.format = ""
        self.notes: list[str] = []
        self._rows: Rows | None = None
        self._parts: dict[str, None] = {}  # losses of a log that names no whole one
        self._stands = ""  # of them the one that stands for it; "loss" where there is a whole one

    def samples(self) -> Iterator[StepSample]:
        """Everything the file says of training. Raises BadData when that is nothing."""
        found = False
        try:
            for sample in self._samples(self._file()):
                found = True
                yield sample
        except _DAMAGED as error:
            if isinstance(error, OSError) and error.errno is not None:
                what = error.strerror or error
                raise BadData(f"{self.path}: {what}; name a file that can be read") from error
            raise BadData(
                f"{self.path}: damaged or of another kind ({error}); known: {KINDS}"
            ) from error
        if not found:
            what = f" as {self.format}" if self.format else ""
            raise BadData(
                f"{self.path}: holds no training step that can be read{what}{_nameless(self.path)}; known: {KINDS}"
            )
        self._tell()

    def _file(self) -> Path:
        """The file itself, or the best of a directory."""
        if not self.path.is_dir():
            return self.path
        for pattern in WANTED:
            found = sorted(self.path.glob(pattern)) or sorted(self.path.glob(f"**/{pattern}"))
            if found:
                more = f", the newest of {len(found)}" if len(found) > 1 else ""
                self.notes.append(f"read from {found[-1].relative_to(self.path)}{more}")
                return found[-1]
        raise ValueError(f"a directory without {', '.join(WANTED)}")

    def _samples(self, path: Path) -> Iterator[StepSample]:
        source = Source(path)
        kind = kind_of(source)
        if kind == "printed":
            return self._printed(source)
        self._rows = Rows()
        if kind == "events":
            self.format = "TensorBoard"
            with source.open() as file:
                return self._rows.read(tensorboard(file.read()))
        if kind == "offline":
            self.format = "Weights & Biases"
            with source.open() as file:
                return self._rows.read(offline_run(file.read()))
        if kind == "metric":
            self.format = "MLflow metric"
            return self._rows.read(_metric(source))
        if kind == "lines":
            self.format = "JSON lines"
            return self._rows.read(_entries(source.lines()))
        if kind == "document":
            self.format, rows, cut = history(source.text())
            if cut:
                self.notes.append(f"the file is cut off: {len(rows)} whole entries were read")
            return self._rows.read(rows)
        return self._table(source, self._rows)

    def _table(self, source: Source, rows: Rows) -> Iterator[StepSample]:
        dialect = dialect_of(source)
        assert dialect is not None
        header, delimiter = dialect
        self.format = {",": "CSV", "\t": "TSV", ";": "CSV with ;"}[delimiter]
        if [name.strip().lower() for name in header] == _EXPORT:
            self.format = "TensorBoard's CSV export"
            tag = _TAG.search(source.path.name)
            header = [*header[:2], tag["tag"].replace("_", "/", 1) if tag else "loss"]
            if tag is None:
                self.notes.append("loss read from column Value")
        runs = dict.fromkeys(filter(None, map(run_of, header)))
        if len(runs) > 1:
            self.notes.append(f"columns of {len(runs)} runs, judged is {next(iter(runs))}")
        cells = csv.reader(_filled(source.lines()), delimiter=delimiter)
        next(cells)
        if delimiter == ";":
            return rows.read_table(header, ([c.replace(",", ".") for c in row] for row in cells))
        return rows.read_table(header, cells)

    def _printed(self, source: Source) -> Iterator[StepSample]:
        from speech_telemetry.printed import LineReader

        self.format = "log"
        reader, place, over = LineReader(), Place(), False
        for number, line in enumerate(source.lines()):
            if SUMMARY in line:
                over = True
            sample = reader.feed(line[:-1] if line[-1:] == "\n" else line, float(number), 0.0)
            if sample is None:
                continue
            if sample.losses is not None:
                opens = place.moves(None, reader.epoch) or over
                over = False
                if sample.whole:
                    self._stands = sample.stands or "loss"
                else:
                    self._parts.update(dict.fromkeys(sample.losses))
                if opens:
                    sample = dataclasses.replace(sample, opens=True)
            yield sample
        if reader.form:
            self.format = f"log: {reader.form}"

    def _tell(self) -> None:
        """Which column is the loss, where its name leaves a doubt."""
        if self._rows is not None:
            if self._rows.stands:
                self.notes.append(f"loss read from column {self._rows.stands}")
        elif self._stands:
            if self._stands != "loss":
                self.notes.append(f"loss read from {self._stands}")
        elif self._parts:
            self.notes.append(Reads(parts=tuple(self._parts)).gap)


def samples_of(path: Path) -> list[StepSample]:
    """All samples of a file. Raises BadData."""
    return list(Recording(path).samples())


def _nameless(path: Path) -> str:
    """Of a file that was not read: that it is rows of numbers, if it is."""
    from speech_telemetry.printed.columns import nameless

    if path.is_dir():
        return ""
    rows = sum(map(nameless, Source(path).start.splitlines()))
    said = f": {rows} lines are rows of numbers without a heading; write the names of their columns above them"
    return said if rows >= FEWEST_ROWS else ""


def _filled(lines: Iterable[str]) -> Iterator[str]:
    return (line for line in lines if line.strip())


def _entries(lines: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    """A line that was cut off by a crash is no reason to refuse the others."""
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            yield told(entry)


def _metric(source: Source) -> Iterator[Mapping[str, Any]]:
    """Of MLflow: one series, named by the path below `metrics`."""
    parts = source.path.absolute().parts
    below = parts[parts.index("metrics") + 1 :] if "metrics" in parts[:-1] else parts[-1:]
    name = "/".join(below)
    for row in map(METRIC.match, source.lines()):
        if row is not None:
            yield {"step": int(row["step"]), name: row["value"]}
