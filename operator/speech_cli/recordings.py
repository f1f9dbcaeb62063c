"""Files of finished runs → step samples: which reader a file needs, and the bytes of TensorBoard's.

Called by `speechtrain replay`. Readers of text are `speech_health.recorded` and the supervisor's own reader of
stdout; TensorBoard's records are read here, without TensorFlow: framing and three messages of protobuf.
"""

from __future__ import annotations

import csv
import io
import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from speech_cli.errors import BadData
from speech_health.recorded import Rows
from speech_health.samples import StepSample
from speech_telemetry.printed import LineReader

EVENT_FILE = "tfevents"
KINDS = "Hugging Face trainer_state.json, CSV with a header, JSON lines, TensorBoard event files, or a log as printed"


def samples_of(path: Path) -> list[StepSample]:
    """Everything the file says of training. Raises BadData when that is nothing."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadData(f"{path}: {error.strerror or error}; name a file that can be read") from error
    try:
        samples = list(_samples(path, data))
    except (ValueError, RecursionError, struct.error) as error:
        raise BadData(f"{path}: damaged or of another kind ({error}); known: {KINDS}") from error
    if not samples:
        raise BadData(f"{path}: holds no training step that can be read; known: {KINDS}")
    return samples


def _samples(path: Path, data: bytes) -> Iterable[StepSample]:
    if EVENT_FILE in path.name:
        return Rows().read(tensorboard(data))
    text = data.decode("utf-8", errors="replace")
    if path.suffix == ".json":
        return Rows().read(_history(json.loads(text)))
    if path.suffix in (".csv", ".tsv"):
        delimiter = "\t" if path.suffix == ".tsv" else ","
        return Rows().read(csv.DictReader(io.StringIO(text), delimiter=delimiter))
    if path.suffix == ".jsonl":
        return Rows().read(_lines(text))
    return _printed(text)


def _history(document: Any) -> Iterator[Mapping[str, Any]]:
    """`log_history` of a Hugging Face Trainer, or a plain list of entries."""
    entries = document.get("log_history") if isinstance(document, Mapping) else document
    if not isinstance(entries, list):
        raise ValueError("neither a list nor an object with log_history")
    return (entry for entry in entries if isinstance(entry, Mapping))


def _lines(text: str) -> Iterator[Mapping[str, Any]]:
    """A last line that was cut off by a crash is no reason to refuse the others."""
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, Mapping):
            yield entry


def _printed(text: str) -> Iterator[StepSample]:
    reader = LineReader()
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for number, line in enumerate(lines):
        sample = reader.feed(line, float(number), 0.0)
        if sample is not None:
            yield sample


# -- TensorBoard -------------------------------------------------------------------------------------------------


def tensorboard(data: bytes) -> list[dict[str, Any]]:
    """One row a step: `{"step": …, tag: value, …}` of every scalar. Checksums are not verified."""
    rows: dict[int, dict[str, Any]] = {}
    for record in _records(data):
        step = 0
        scalars: dict[str, float] = {}
        for field, value in _fields(record):
            if field == 2 and isinstance(value, int):
                step = value
            elif field == 5 and isinstance(value, bytes):
                scalars.update(_scalars(value))
        if scalars:
            rows.setdefault(step, {"step": step}).update(scalars)
    return list(rows.values())


def _records(data: bytes) -> Iterator[bytes]:
    """length (8 bytes), its checksum (4), payload, its checksum (4); a cut record ends the file."""
    at = 0
    while at + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        if at + 12 + length > len(data):
            return
        yield data[at + 12 : at + 12 + length]
        at += 16 + length


def _fields(message: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """Number and value of each field of a protobuf message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
        elif kind == 1:
            yield key >> 3, struct.unpack_from("<d", message, at)[0]
            at += 8
        elif kind == 2:
            length, at = _varint(message, at)
            yield key >> 3, message[at : at + length]
            at += length
        elif kind == 5:
            yield key >> 3, struct.unpack_from("<f", message, at)[0]
            at += 4
        else:
            raise ValueError(f"protobuf wire type {kind}")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message):
            raise ValueError("a number is cut off")
        byte = message[at]
        value |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if byte < 0x80:
            return value, at


def _scalars(summary: bytes) -> Iterator[tuple[str, float]]:
    """Summary.value: tag (1) with simple_value (2), or a scalar tensor (8) of floats."""
    for field, value in _fields(summary):
        if field != 1 or not isinstance(value, bytes):
            continue
        fields = dict(_fields(value))
        tag, number = fields.get(1), fields.get(2)
        if number is None and isinstance(fields.get(8), bytes):
            number = _tensor(fields[8])
        if isinstance(tag, bytes) and isinstance(number, float):
            yield tag.decode("utf-8", errors="replace"), number


def _tensor(message: Any) -> float | None:
    """The one float of a tensor: float_val (5), or tensor_content (4)."""
    for field, value in _fields(message):
        if field == 5 and isinstance(value, float):
            return value
        if field in (4, 5) and isinstance(value, bytes) and len(value) == 4:
            return float(struct.unpack("<f", value)[0])
    return None
