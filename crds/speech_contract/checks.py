"""Checks of single numbers, each with field, value, rule and remedy. Called by the dataclasses of the run config."""

from __future__ import annotations

import math

from speech_contract.codec import camel
from speech_contract.errors import ContractError


def check_number(
    field: str, value: str, *, above: float | None = None, most: float | None = None
) -> float:
    """Parse a number that travels as a string. Raises ContractError outside (above, most]."""
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise ContractError(
            field, value, "is no number", 'write a number as a string, as in "0.01"'
        ) from error
    if not math.isfinite(number):
        raise ContractError(field, value, "is not finite", "write a finite number")
    if above is not None and number <= above:
        raise ContractError(
            field, value, f"is not above {above:g}", f"write a number above {above:g}"
        )
    if most is not None and number > most:
        raise ContractError(
            field, value, f"is above {most:g}", f"write a number of at most {most:g}"
        )
    return number


def check_at_least(owner: object, minimum: int, *names: str) -> None:
    """Hold whole numbers of a dataclass to a minimum; None means unset. Raises ContractError."""
    for name in names:
        value = getattr(owner, name)
        if value is not None and value < minimum:
            rule = f"is below {minimum}"
            raise ContractError(
                camel(name), value, rule, f"write a whole number of at least {minimum}"
            )
