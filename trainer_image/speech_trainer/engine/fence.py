"""The fence between attempts, and the windows of data that all of them pass over. Used by `engine.checkpoints`.

A pod whose node lost the API server lives on, and so may its trainer, while the next attempt trains elsewhere. It looks
for a newer fence right before each thing that it publishes. No file system compares and renames in one step, so what
slips through in between must not matter: a checkpoint that the newer fence does not list is ignored for good.

attempts/attempt-M          created exclusively when an attempt starts: the fence and its resume target
skips/M-n.json              windows of sampler positions that no later step may train on
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speech_contract import paths
from speech_contract.outcome import EXIT_SUPERSEDED
from speech_trainer.engine.files import Files, explain, read_json
from speech_trainer.engine.flags import Window
from speech_trainer.errors import CheckpointError

Records = dict[int, dict[str, Any]]  # number of an attempt → what its file says


class FencedOffError(CheckpointError):
    """A newer attempt has taken over; this process must write nothing more."""

    exit_code = EXIT_SUPERSEDED


class Fence:
    """All attempts of one run directory, as rank 0 of one of them sees and writes them."""

    def __init__(self, run_dir: Path, files: Files) -> None:
        self._run_dir, self._files = run_dir, files
        self.number = 0  # of this attempt, once it was raised

    def raise_(self, number: int, record: Mapping[str, Any]) -> None:
        """Fence all older attempts off. Raises CheckpointError when this one has started already."""
        path = paths.attempt_file(self._run_dir, number)
        folders = (path.parent, self._run_dir / paths.CHECKPOINTS, self._run_dir / paths.SKIPS)
        try:
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            self._files.write_new(path, json.dumps(record))
        except FileExistsError as error:
            raise self.already_running(number) from error
        except OSError as error:
            raise CheckpointError(explain(error, path, 0, 0)) from error
        self.number = number

    def already_running(self, attempt: int) -> CheckpointError:
        """What two trainers of one attempt are told."""
        return CheckpointError(
            f"checkpoint.uri: attempt {attempt} already started in {self._run_dir}; two trainers "
            "must not write there at once: end the other one, or give this job its own checkpoint.uri"
        )

    def check(self) -> None:
        """Raise FencedOffError when a newer attempt has started: from now on nothing of ours counts.

        Names alone are looked at. Of ranks that raised no fence nothing is asked: they publish nothing.
        """
        newest = max(self._numbers(), default=0)
        if 0 < self.number < newest:
            raise FencedOffError(
                f"checkpoint.uri: attempt {newest} has taken over {self._run_dir}; this process "
                f"(attempt {self.number}) is stale and stops writing"
            )

    def records(self) -> Records:
        """Every attempt. A file cut off by a crash fenced nothing yet: its attempt never trained."""
        return {n: read_json(paths.attempt_file(self._run_dir, n)) or {} for n in self._numbers()}

    def _numbers(self) -> list[int]:
        found = (self._run_dir / paths.ATTEMPTS).glob("attempt-*")
        numbers = (path.name.removeprefix("attempt-") for path in found)
        return [int(number) for number in numbers if number.isdigit()]

    def write_skips(self, left: int, target: int, windows: list[Window], cause: str) -> Path:
        """Record windows before going back from step `left` to step `target`. Raises CheckpointError."""
        folder = self._run_dir / paths.SKIPS
        count = sum(1 for _ in folder.glob(f"{self.number}-*.json"))
        path = paths.skip_file(self._run_dir, self.number, count + 1)
        body = {"windows": windows, "step": left, "target": target, "cause": cause}
        try:
            self._files.write_new(path, json.dumps(body))
        except OSError as error:
            raise CheckpointError(explain(error, path, 0, 0)) from error
        return path

    def skips(self) -> list[Window]:
        """Every recorded window, of all attempts. Raises CheckpointError when one can't be read."""
        windows: list[Window] = []
        for path in sorted((self._run_dir / paths.SKIPS).glob("*.json")):
            body = read_json(path)
            if body is None:
                raise CheckpointError(f"{path}: is unreadable; restore it or delete it")
            windows.extend((int(first), int(last)) for first, last in body["windows"])
        return sorted(windows)
