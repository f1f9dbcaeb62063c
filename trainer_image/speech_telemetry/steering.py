"""Which checkpoint a Hugging Face Trainer resumes from: never a quarantined one. Standard library only.

Called by `huggingface`. `resume_from_checkpoint=True` takes the newest folder; that choice is led to the checkpoint
that this attempt was given. A script that names a quarantined one itself is refused aloud: it would train on from a
NaN, or from just before one, and Trainers of others have no other way of being told.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from speech_contract import env
from speech_contract.saves import handed
from speech_telemetry import saves

_MODULE = "transformers.trainer"
_CHOICE = "get_last_checkpoint"


class QuarantinedCheckpointError(RuntimeError):
    """The script resumed from a checkpoint that a NaN followed before it was confirmed."""


def resume_path(environ: Mapping[str, str]) -> str | None:
    """Where the checkpoint lies that this attempt was given; None: from scratch.

    Raises LookupError when the script told of it by its step alone.
    """
    resume = handed(environ).resume
    if resume is None:
        return None
    if not resume.path:
        raise LookupError(
            f"the checkpoint of step {resume.step} was told of without its path: find it by its step, and "
            "call report.checkpoint(step, path) from now on"
        )
    return resume.path


class Steering:
    """The marks of this run, where there are any."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._run_dir = environ.get(env.RUN_DIR, "")

    def listen(self) -> None:
        """Lead the choice of every Trainer of this process, once; folders that are not ours are left alone."""
        module = sys.modules.get(_MODULE)
        original: Callable[..., str | None] | None = getattr(module, _CHOICE, None)
        if module is None or original is None or getattr(original, "leads", False):
            return

        @functools.wraps(original)
        def leading(folder: str) -> str | None:
            return self.lead(folder, original(folder))

        leading.leads = True  # type: ignore[attr-defined]
        setattr(module, _CHOICE, leading)

    def lead(self, folder: str, found: str | None) -> str | None:
        """What to resume from in a Trainer's output `folder`, where it `found` the newest; None: nothing fit."""
        resume = handed(self._environ).resume
        if resume is not None and Path(resume.path).parent == _plain(folder):
            return resume.path
        return None if found is not None and self._quarantined(found) else found

    def refusal(self, folder: str) -> QuarantinedCheckpointError | None:
        """What to raise when the checkpoint in `folder`, just loaded, is quarantined."""
        if not self._quarantined(folder):
            return None
        resume = handed(self._environ).resume
        remedy = f"resume from {resume.path or resume.step}" if resume else "start from scratch"
        return QuarantinedCheckpointError(
            f"resume_from_checkpoint: {folder} is quarantined: a NaN came before it was confirmed; {remedy}, as "
            "TelemetryCallback().resume_from() gives it"
        )

    def _quarantined(self, folder: str) -> bool:
        if not self._run_dir:
            return False
        run_dir, place = _plain(self._run_dir), _plain(folder)
        standing = saves.standing(run_dir)
        return any(m.quarantined and saves.located(run_dir, m.save) == place for m in standing)


def _plain(path: str) -> Path:
    """Absolute and without `..`, as paths are kept."""
    return Path(os.path.abspath(path))
