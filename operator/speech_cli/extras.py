"""Imports of packages that only some commands need, with a sentence when they are not installed; and their errors."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

from speech_cli.errors import BadData, MissingExtra, UserError
from speech_contract import outcome

TRAINER: Final = "trainer,cli"
OURS = ("speech_cli", "speech_contract", "speech_operator", "speech_telemetry", "speech_trainer")


def lazily(module: str, extra: str) -> ModuleType:
    """Import one of our modules when its command runs. Raises MissingExtra naming the absent package."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = (error.name or module).partition(".")[0]
        if package in OURS:  # a fault of the installation, not a choice of extras
            raise
        raise MissingExtra(extra, package) from error


def told(work: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the trainer's own errors into a sentence and their exit code."""

    @functools.wraps(work)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        errors = lazily("speech_trainer.errors", TRAINER)
        try:
            return work(*args, **kwargs)
        except errors.TrainerError as error:
            refused = BadData if error.exit_code == outcome.EXIT_BAD_DATA else UserError
            raise refused(str(error)) from error
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            raise UserError(
                f"{place}cannot be written or read ({error.strerror}); check path, rights and free space"
            ) from error

    return wrapper
