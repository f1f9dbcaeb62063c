"""What real trainers print, line by line: `printers/*.txt`, each with its source, its format and what must be read.

`# report: [step, losses, gradient norm]` is one line with values of training; every other line of a file is a sign of
life at most. ␛ stands for the escape character.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speech_health.samples import StepSample
from speech_telemetry.printed import LineReader

PRINTERS = sorted((Path(__file__).parent / "printers").glob("*.txt"))


def shown(value: float | None) -> float | str | None:
    return value if value is None or abs(value) < float("inf") else str(value)


def report(sample: StepSample) -> list[object]:
    losses = {name: shown(value) for name, value in (sample.losses or {}).items()}
    return [sample.step, losses, shown(sample.gradient_norm)]


@pytest.mark.parametrize("path", PRINTERS, ids=[path.stem for path in PRINTERS])
def test_what_a_trainer_prints_is_read(path: Path) -> None:
    head, lines = [], []
    for line in path.read_text(encoding="utf-8").splitlines():
        (head if line.startswith("# ") else lines).append(line)
    reader = LineReader()
    samples = [reader.feed(line.replace("␛", "\x1b"), float(n)) for n, line in enumerate(lines)]
    told = [s for s in samples if s is not None and (s.losses or s.gradient_norm is not None)]
    wanted = [json.loads(line.partition(": ")[2]) for line in head if line.startswith("# report: ")]
    assert [report(sample) for sample in told] == wanted
    assert f"# form: {reader.form}" in head
    assert wanted, "a fixture says what must be read"
