"""Whether ranks compute, read from a folder that looks like /proc."""

from __future__ import annotations

from pathlib import Path

import pytest

from speech_telemetry.work import SECONDS, WorkReader

TICKS = 100


class Machine:
    def __init__(self, root: Path) -> None:
        self.root, self.now = root, 0.0
        self.reader = WorkReader(root, lambda: self.now, TICKS)

    def look(self, seconds: float, after: float = SECONDS) -> bool:
        """Whether process 7 of session 7 is seen to compute, having taken `seconds` in all."""
        self.now += after
        folder = self.root / "proc" / "7"
        folder.mkdir(parents=True, exist_ok=True)
        times = f"{int(seconds * TICKS)} 0 0 0"
        (folder / "stat").write_text(f"7 (a (b) c) S 1 7 7 0 0 0 0 0 0 0 {times} 20 0")
        return self.reader.seen([7])


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_work_is_seen_and_waiting_is_not(machine: Machine) -> None:
    seen = [machine.look(taken) for taken in (1.0, 4.0, 4.0, 4.1, 9.0)]
    assert seen == [True, True, False, False, True]


def test_it_looks_now_and_then(machine: Machine) -> None:
    machine.look(1.0)
    assert not machine.look(9.0, after=1.0)


def test_elsewhere_nothing_is_known(tmp_path: Path) -> None:
    assert not WorkReader(tmp_path, lambda: 9.0, TICKS).seen([7])
