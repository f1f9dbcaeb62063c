"""A run of Weights & Biases on the disk, `run-<id>.wandb`: an offline run, or one that was synced as it ran.

Called by `recordings`, which brings the bytes. Facts of the format: wandb/sdk/internal/datastore.py (the log of
LevelDB, behind a header of seven bytes) and wandb/proto/wandb_internal.proto (Record, HistoryRecord, HistoryItem).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any, Final

from speech_cli.recordings.events import fields_of

MAGIC: Final = b":W&B"
OFFLINE_FILE: Final = "run-*.wandb"
_BLOCK: Final = 32768
_HEAD: Final = 7  # bytes of the file's header, and of each piece's: checksum, length, kind
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_HISTORY, _ITEM, _STEP = 2, 1, 2  # Record.history; HistoryRecord.item and .step
_KEY, _NESTED, _VALUE = 1, 2, 16  # HistoryItem


def offline_run(data: bytes) -> Iterator[dict[str, Any]]:
    """One row for each call of `wandb.log`: `{"_step": …, name: value, …}`. A record that was cut off ends the file."""
    for record in _records(data):
        for field, value in fields_of(record):
            if field == _HISTORY and isinstance(value, bytes):
                yield dict(_row(value))


def _row(history: bytes) -> Iterator[tuple[str, Any]]:
    for field, value in fields_of(history):
        if not isinstance(value, bytes):
            continue
        if field == _ITEM:
            yield from _item(value)
        elif field == _STEP:
            yield from (("_step", number) for name, number in fields_of(value) if name == 1)


def _item(message: bytes) -> Iterator[tuple[str, Any]]:
    names, text = [], b"null"
    for field, value in fields_of(message):
        if field in (_KEY, _NESTED) and isinstance(value, bytes):
            names.append(value.decode("utf-8", errors="replace"))
        elif field == _VALUE and isinstance(value, bytes):
            text = value
    value = json.loads(text)  # NaN and Infinity stand bare
    if names and isinstance(value, (int, float, str)):
        yield "/".join(names), value


def _records(data: bytes) -> Iterator[bytes]:
    """Pieces put together. Checksums are not verified."""
    at, parts = _HEAD, b""
    while at + _HEAD <= len(data):
        if _BLOCK - at % _BLOCK < _HEAD:  # no header fits in what is left of a block
            at += _BLOCK - at % _BLOCK
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        at += _HEAD
        if at + length > len(data) or kind not in (_WHOLE, _FIRST, _MIDDLE, _LAST):
            return
        piece, at = data[at : at + length], at + length
        parts = piece if kind in (_WHOLE, _FIRST) else parts + piece
        if kind in (_WHOLE, _LAST):
            yield parts
