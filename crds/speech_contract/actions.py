"""What a health rule does when its threshold is passed. Read by every section of the thresholds."""

from __future__ import annotations

import enum
from typing import Any

from speech_contract.codec import camel
from speech_contract.errors import ContractError


class HealthMode(str, enum.Enum):
    """Enforce acts; Notify judges and says what it would have done; Off does not judge."""

    ENFORCE = "Enforce"
    NOTIFY = "Notify"
    OFF = "Off"


class OnExceeded(str, enum.Enum):
    """What a rule does when its threshold is passed. Rollback is for nonFinite alone."""

    WARN = "Warn"
    ROLLBACK = "Rollback"
    RESTART = "Restart"
    STOP = "Stop"


def only(owner: Any, *allowed: OnExceeded, field: str = "on_exceeded") -> None:
    """Hold the action of a section to what its rule may do. Raises ContractError."""
    action = getattr(owner, field)
    if action not in allowed:
        remedy = f"use one of {', '.join(choice.value for choice in allowed)}"
        raise ContractError(camel(field), action.value, "is no action of this rule", remedy)
