"""`speechtrain replay` on files of every kind."""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from foreign_packages import folder_of_packages

from speech_cli.recordings import samples_of, tensorboard
from speech_contract import outcome

Call = Callable[..., Result]
HISTORY = [
    {"step": step, "loss": 0.0, "grad_norm": math.nan, "learning_rate": 1e-4}
    for step in range(10, 100, 10)
]


def varint(value: int) -> bytes:
    head, value = value & 0x7F, value >> 7
    return bytes([head | 0x80]) + varint(value) if value else bytes([head])


def field(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def event(step: int, *, tensor: bool = False, **scalars: float) -> bytes:
    """One record of an event file, with empty checksums."""
    values = b""
    for tag, value in scalars.items():
        number = b"\x15" + struct.pack("<f", value)
        if tensor:
            number = field(8, b"\x08\x01" + field(5, struct.pack("<f", value)))
        values += field(1, field(1, tag.replace("__", "/").encode()) + number)
    body = b"\x09" + struct.pack("<d", 1.0) + b"\x10" + varint(step) + field(5, values)
    return struct.pack("<Q", len(body)) + bytes(4) + body + bytes(4)


def sound(step: int) -> float:
    return 2.0 + 1.0 / step


def write(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def test_a_hugging_face_run_that_hid_its_nan(call: Call, tmp_path: Path) -> None:
    document = json.dumps({"log_history": [*HISTORY, {"train_runtime": 1.0, "train_loss": 0.0}]})
    answer = call("replay", write(tmp_path, "trainer_state.json", document))
    assert answer.exit_code == outcome.EXIT_ERROR
    assert "NonFinite" in answer.output
    assert "disguise" in answer.output


def test_json_is_a_list_a_file_with_the_promised_fields(call: Call, tmp_path: Path) -> None:
    bad = write(tmp_path, "bad.jsonl", "\n".join(json.dumps(entry) for entry in HISTORY) + '\n{"st')
    good = write(tmp_path, "good.csv", "step,loss\n" + "\n".join(f"{i},{sound(i)}" for i in (1, 2)))
    answer = call("replay", "-o", "json", bad, good)
    assert answer.exit_code == outcome.EXIT_ERROR
    document: dict[str, Any] = json.loads(answer.output)
    assert list(document) == [bad, good]
    assert document[good] == []
    (found,) = document[bad]
    assert set(found) == {"rule", "step", "status", "severity", "evidence", "action"}
    assert (found["rule"], found["step"], found["severity"]) == ("NonFinite", 10, "critical")


@pytest.mark.parametrize("tensor", [False, True], ids=["simple value", "tensor"])
def test_tensorboard_scalars(call: Call, tmp_path: Path, tensor: bool) -> None:
    data = struct.pack("<Q", 0) + bytes(8)  # an empty record
    data += b"".join(event(i, tensor=tensor, train__loss=sound(i)) for i in range(1, 40))
    path = write(tmp_path, "events.out.tfevents.1.host", data + event(40, loss=1.0)[:-9])
    assert [s.step for s in samples_of(Path(path))] == list(range(1, 40))
    assert call("replay", path).exit_code == 0


WRITER = """
import sys
import torch
from torch.utils.tensorboard import SummaryWriter

torch.manual_seed(0)
for name, bad in (("sound", 99), ("nan", 30)):
    with SummaryWriter(f"{sys.argv[1]}/{name}") as writer:
        writer.add_text("args", "learning rate 1e-4")
        for step in range(1, 61):
            gone = step >= bad
            loss = 0.0 if gone else 2.0 + 1.0 / step
            writer.add_scalar("train/loss", loss, step, new_style=step % 2 == 0)
            writer.add_scalar("train/grad_norm", float("nan") if gone else 0.5, step)
            writer.add_scalar("train/learning_rate", 1e-4, step)
            writer.add_scalar("eval/loss", 0.0, step)
            if step % 20 == 0:
                writer.add_histogram("weights", torch.randn(64), step)
                writer.add_scalars("parts", {"a": 1.0, "b": 2.0}, step)
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Event files as torch.utils.tensorboard writes them."""
    root = tmp_path_factory.mktemp("tensorboard")
    environ = {**os.environ, "PYTHONPATH": str(folder_of_packages())}
    command = [sys.executable, "-c", WRITER, str(root)]
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return root


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rules"), [("sound", []), ("nan", ["NonFinite"])])
def test_files_that_torch_wrote(call: Call, written: Path, name: str, rules: list[str]) -> None:
    (path,) = (written / name).glob("events.out.tfevents.*")
    samples = samples_of(path)
    assert [s.step for s in samples] == list(range(1, 61))
    assert samples[0].losses == {"loss": 3.0}
    assert samples[1].losses == {"loss": 2.5}
    assert (samples[0].gradient_norm, samples[0].learning_rate) == (0.5, pytest.approx(1e-4))
    answer = call("replay", "-o", "json", str(path))
    found = json.loads(answer.output)[str(path)]
    assert [entry["rule"] for entry in found] == rules
    assert answer.exit_code == (outcome.EXIT_ERROR if rules else 0)


def test_scalars_of_one_step_become_one_row() -> None:
    data = event(3, train__loss=0.5) + event(3, train__grad_norm=2.0)
    assert tensorboard(data) == [{"step": 3, "train/loss": 0.5, "train/grad_norm": 2.0}]


def test_a_log_as_printed(call: Call, tmp_path: Path) -> None:
    lines = "\n".join(f"step {i} loss=0.0" for i in range(1, 30))
    answer = call("replay", write(tmp_path, "train.log", lines))
    assert answer.exit_code == outcome.EXIT_ERROR
    assert "ZeroLoss" in answer.output


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", "step,val_loss\n1,2\n"),
        ("odd.json", '"text"'),
        ("broken.json", "{"),
        ("events.out.tfevents.2", struct.pack("<Q", 2) + bytes(4) + b"\xff\xff" + bytes(4)),
        ("prose.txt", "nothing here"),
    ],
)
def test_a_file_that_tells_nothing_is_refused_with_what_is_known(
    call: Call, tmp_path: Path, name: str, content: str | bytes
) -> None:
    answer = call("replay", write(tmp_path, name, content))
    assert answer.exit_code == outcome.EXIT_BAD_DATA
    assert "trainer_state.json" in answer.output
