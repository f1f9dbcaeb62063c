"""Imports of packages that only some commands need, with a sentence when they are not installed."""

from __future__ import annotations

import importlib
from types import ModuleType

from speech_cli.errors import MissingExtra

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
