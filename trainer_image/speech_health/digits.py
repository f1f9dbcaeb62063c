"""What the digits of a value tell: whether a printer or half precision rounded it. Pure."""

from __future__ import annotations

import math
from typing import Final

HALF_BITS: Final = 2048.0  # 2 ** 11: the significand of float16; bfloat16 has fewer
ROUNDED: Final = 10  # significant decimal digits that a printer may have left


PRINTED_DIGITS: Final = 6  # of a printed value: as fine as float32 all but one


def exact(value: float) -> bool:
    """The value carries more digits than half precision or a printer's rounding would leave."""
    text = repr(value)
    if len(text) <= ROUNDED + 1 or not math.isfinite(value):
        return False
    if (math.frexp(value)[0] * HALF_BITS).is_integer():
        return False
    digits = text.lstrip("-").partition("e")[0].replace(".", "").strip("0")
    return len(digits) > ROUNDED


def decimals(value: float) -> int:
    """Decimal places that the shortest text of a value needs: 4 of 0.0025, 10 of 2.5e-09."""
    mantissa, _, exponent = repr(value).partition("e")
    fraction = mantissa.partition(".")[2].rstrip("0")
    return max(0, len(fraction) - int(exponent or 0))


def printed_decimals(value: float) -> int:
    """Decimal places that a printer left of a value; 0 where half precision may have held it, or nothing rounded it."""
    if value == 0.0 or not math.isfinite(value) or (math.frexp(value)[0] * HALF_BITS).is_integer():
        return 0
    places = decimals(value)
    return places if places < ROUNDED else 0


def fine(value: float, places: int) -> bool:
    """Printed with so many decimal places, the value shows six digits: rounding does not hold it still."""
    return places > 0 and abs(value) * 10.0**places >= 10.0 ** (PRINTED_DIGITS - 1)
