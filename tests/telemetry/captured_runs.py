"""What real trainers printed, and when NonFinite spoke: used by `test_captured` and by benchmarks/accept_trainers.py.

captured/NAME-sound.log and captured/NAME-planted.log are outputs of one run each of benchmarks/trainers/NAME.py, as
`make accept-trainers` took them: bars and escapes included, without places of the machine.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

from speech_contract.progress import Rule, Severity
from speech_contract.thresholds import HealthMode, Thresholds
from speech_health.monitor import Monitor
from speech_telemetry.printed import LineReader

ROOT = Path(__file__).resolve().parents[2]
CAPTURED = Path(__file__).parent / "captured"
TABLE = ROOT / "benchmarks" / "trainers" / "trainers.toml"
TORCH = "torch==2.11.0"
WITHIN = 20  # reports to the alarm, at most
APART = 0.05  # seconds between two lines


@dataclasses.dataclass(frozen=True)
class Trainer:
    """One entry of the table."""

    name: str
    script: str
    packages: Sequence[str]
    planted: int = 21  # the step from which on the loss is NaN
    first: int = 21  # the step, as read, that shows it first
    torch: str = TORCH


@dataclasses.dataclass(frozen=True)
class Read:
    """What the reader makes of an output, and when NonFinite first warned."""

    format: str
    reports: int
    step: int | None  # at which it did
    after: int | None  # the how many-th report from the first planted step on that was
    rules: list[str]  # all that warned or stopped, at the end


def table() -> tuple[list[Trainer], list[dict[str, str]]]:
    """The trainers, and those that can't be run."""
    document = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return [Trainer(**entry) for entry in document["trainer"]], document["refused"]


def read(output: bytes, first: int) -> Read:
    """Line by line, as a supervisor does. `first`: the step that was planted, or its epoch."""
    reader = LineReader()
    monitor = Monitor(Thresholds(mode=HealthMode.NOTIFY), started=0.0, wall=lambda: 0.0)
    told, late = set[int](), set[int]()
    step, after, now = None, None, 0.0
    for line in re.split(r"[\r\n]+", output.decode("utf-8", "replace")):
        now += APART
        sample = reader.feed(line, now)
        if sample is None:
            continue
        monitor.feed(sample)
        if sample.losses is not None or sample.gradient_norm is not None:
            told.add(sample.turn)
            if sample.step >= first:
                late.add(sample.turn)
        if after is None and Rule.NON_FINITE.value in loud(monitor):
            step, after = sample.step, len(late)
    monitor.finish(now, 0)
    return Read(reader.form, len(told), step, after, loud(monitor))


def loud(monitor: Monitor) -> list[str]:
    """Rules that warn or stop."""
    return [f.rule.value for f in monitor.findings if f.severity is not Severity.INFO]
