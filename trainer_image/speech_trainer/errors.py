"""Errors that a user can cause, and the exit code of each.

    TrainerError                 base; message = field, value, rule, remedy
    ├── ConfigError              64  the run config or a preset
    ├── DataError                65  a manifest, or all of its samples
    ├── CheckpointError          1   a checkpoint could not be written or read (a retry may help)
    │   └── FencedOffError       47  a newer attempt has taken over (of `engine.fence`)
    ├── HardwareError            16  fewer devices than asked for
    ├── NonFiniteBudgetSpent     40  raised by the engine when roll-backs are spent
    ├── RanksDisagree            46  the ranks disagree at the end of a run: nothing was saved, it is not complete
    └── PreflightFailed          44  raised by the preflight, before the first step

`__main__` turns them into exit codes; nothing else catches them.
"""

from __future__ import annotations

from speech_contract import outcome


class TrainerError(Exception):
    """A failure with a known exit code."""

    exit_code: int = outcome.EXIT_ERROR


class ConfigError(TrainerError):
    """The run config or a preset was refused."""

    exit_code = outcome.EXIT_BAD_CONFIG


class DataError(TrainerError):
    """The manifest or its samples were refused."""

    exit_code = outcome.EXIT_BAD_DATA


class CheckpointError(TrainerError):
    """A checkpoint could not be written or read."""

    exit_code = outcome.EXIT_ERROR


class HardwareError(TrainerError):
    """The machine has not what the job asked for."""

    exit_code = outcome.EXIT_OTHER_HARDWARE


class NonFiniteBudgetSpent(TrainerError):
    """Non-finite steps beyond the budget and no roll-back left."""

    exit_code = outcome.EXIT_NON_FINITE


class RanksDisagree(TrainerError):
    """The ranks' weights differ after the last step; before it the supervisor ends the attempt."""

    exit_code = outcome.EXIT_RANK_DISAGREES


class PreflightFailed(TrainerError):
    """A check before the first step failed."""

    exit_code = outcome.EXIT_PREFLIGHT
