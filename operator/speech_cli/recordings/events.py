"""TensorBoard's event files, read without TensorFlow: framing, and three messages of protobuf.

Called by `recordings`, which brings the bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

EVENT_FILE: Final = "tfevents"
_HEAD: Final = 12  # bytes before a record


def is_event_file(head: bytes) -> bool:
    """The first record is an event, which begins with its time (field 1, a double)."""
    if len(head) <= _HEAD:
        return False
    (length,) = struct.unpack_from("<Q", head)
    return 9 <= length < 2**24 and head[_HEAD] == 0x09


def tensorboard(data: bytes) -> list[dict[str, Any]]:
    """One row a step: `{"step": …, tag: value, …}` of every scalar. Checksums are not verified."""
    rows: dict[int, dict[str, Any]] = {}
    for record in _records(data):
        step = 0
        scalars: dict[str, float] = {}
        for field, value in fields_of(record):
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


def fields_of(message: bytes) -> Iterator[tuple[int, int | float | bytes]]:
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
    for field, value in fields_of(summary):
        if field != 1 or not isinstance(value, bytes):
            continue
        fields = dict(fields_of(value))
        tag, number = fields.get(1), fields.get(2)
        if number is None and isinstance(fields.get(8), bytes):
            number = _tensor(fields[8])
        if isinstance(tag, bytes) and isinstance(number, float):
            yield tag.decode("utf-8", errors="replace"), number


def _tensor(message: Any) -> float | None:
    """The one float of a tensor: float_val (5), or tensor_content (4)."""
    for field, value in fields_of(message):
        if field == 5 and isinstance(value, float):
            return value
        if field in (4, 5) and isinstance(value, bytes) and len(value) == 4:
            return float(struct.unpack("<f", value)[0])
    return None
