"""The curves of a run as a TensorBoard event file, written without TensorFlow. For `tracking` and `speechtrain report`.

A record is length, its checksum, payload, its checksum; the payload three messages of protobuf (tensorflow's
`event.proto` and `summary.proto`). The checksum is CRC-32C (RFC 3720, appendix B.4), masked as TFRecord masks it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from speech_telemetry.report.curves import Curves

NAME: Final = "events.out.tfevents.0000000000.speechtrain"  # one file a run, made anew: attempts are one curve
_VERSION: Final = b"brain.Event:2"
_MASK: Final = 0xA282EAD8
Scalars = dict[str, float]


def write(curves: Curves, directory: Path) -> Path:
    """The steps that were kept, all columns; what a roll-back or a later attempt left is left out. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / NAME
    beside = target.with_name(f".{target.name}.new")
    with beside.open("wb") as file:
        file.write(_record(_double(1, _first_time(curves)) + _bytes(3, _VERSION)))
        for step, time, scalars in rows(curves):
            summary = b"".join(_bytes(1, _value(tag, value)) for tag, value in scalars.items())
            file.write(_record(_double(1, time) + _whole(2, step) + _bytes(5, summary)))
    beside.replace(target)
    return target


def rows(curves: Curves) -> Iterator[tuple[int, float, Scalars]]:
    """Step, time in epoch seconds, and what was measured; scores at the steps that were scored."""
    found: list[Scalars] = [{} for _ in curves.steps]
    for name, column in curves.columns.items():
        for row, value in zip(column.rows, column.values, strict=True):
            found[row][name] = value
    scores = {one.step: one.scores for one in curves.evaluations}
    for place, (step, scalars) in enumerate(zip(curves.steps, found, strict=True)):
        if curves.left[place]:
            continue
        scored = scores.pop(step, {})
        told = scalars | {f"scores/{name}": value for name, value in scored.items()}
        if told:
            yield step, curves.times[place], told


def _first_time(curves: Curves) -> float:
    return curves.times[0] if curves.times else 0.0


def _value(tag: str, value: float) -> bytes:
    """Summary.Value: tag and simple_value, a 32-bit float; what is larger reads as Inf."""
    limited = (
        value if not math.isfinite(value) or abs(value) < 3.4e38 else math.copysign(math.inf, value)
    )
    return _bytes(1, tag.encode(errors="replace")) + b"\x15" + struct.pack("<f", limited)


def _double(field: int, value: float) -> bytes:
    return bytes([field << 3 | 1]) + struct.pack("<d", value)


def _whole(field: int, value: int) -> bytes:
    return bytes([field << 3]) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """A negative step goes as 64 bits, as protobuf has it."""
    value &= 2**64 - 1
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def _record(payload: bytes) -> bytes:
    head = struct.pack("<Q", len(payload))
    return head + _checksum(head) + payload + _checksum(payload)


def _table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE: Final = _table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli)."""
    value, table = 0xFFFFFFFF, _TABLE
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


def _checksum(data: bytes) -> bytes:
    value = crc32c(data)
    return struct.pack("<I", ((value >> 15 | value << 17) + _MASK) & 0xFFFFFFFF)
