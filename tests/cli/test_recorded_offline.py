"""A run of Weights & Biases on the disk: its log of records, cut into blocks, and the directory round it."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from speech_cli.recordings import Recording
from speech_cli.recordings.offline import offline_run
from speech_health.replay import replay

BLOCK = 32768


def _varint(value: int) -> bytes:
    head, value = value & 0x7F, value >> 7
    return bytes([head | 0x80]) + _varint(value) if value else bytes([head])


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _history(step: int, row: dict[str, Any]) -> bytes:
    """As wandb 0.2x writes it: items by nested key, values as JSON."""
    items = [
        _field(1, b"".join(_field(2, part.encode()) for part in name.split("."))
               + _field(16, json.dumps(value).encode()))
        for name, value in {"_step": step, **row}.items()
    ]  # fmt: skip
    return _field(2, b"".join(items))


def _file(records: list[bytes]) -> bytes:
    data = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
    for record in records:
        first = True
        while record or first:
            room = BLOCK - len(data) % BLOCK
            if room < 7:
                data += bytes(room)
                room = BLOCK
            piece, record = record[: room - 7], record[room - 7 :]
            kind = (1 if first else 4) if not record else (2 if first else 3)
            data += bytes(4) + struct.pack("<HB", len(piece), kind) + piece
            first = False
    return data


def _run(last: int, bad: int) -> bytes:
    rows = [
        {"train.loss": 3 / step if step < bad else float("nan"), "lr": 1e-4, "note": "x" * 300}
        for step in range(1, last + 1)
    ]
    return _file([b"\x0a\x00", *(_history(n, row) for n, row in enumerate(rows, 1))])


def test_rows_that_lie_over_blocks_are_whole() -> None:
    rows = list(offline_run(_run(300, 999)))
    assert len(_run(300, 999)) > 3 * BLOCK
    assert [row["_step"] for row in rows] == list(range(1, 301))
    assert rows[-1]["train/loss"] == 3 / 300


@pytest.mark.parametrize("cut", [0, 1, 150, 320])
def test_a_run_that_was_killed_is_read_to_its_last_whole_row(cut: int) -> None:
    data = _run(300, 999)
    assert len(list(offline_run(data[: len(data) - cut]))) in range(298, 301)


@pytest.mark.parametrize("named", ["file", "directory"])
def test_its_nan_is_named(tmp_path: Path, named: str) -> None:
    file = tmp_path / "offline-run-20260101_120000-abc" / "run-abc.wandb"
    file.parent.mkdir()
    file.write_bytes(_run(120, 90))
    recording = Recording(file if named == "file" else tmp_path)
    (finding,) = replay(recording.samples()).findings
    assert (finding.rule.value, finding.step) == ("NonFinite", 90)
    assert recording.format == "Weights & Biases"
