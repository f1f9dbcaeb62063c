"""What the digits of a value tell: whether a printer or half precision rounded it. Pure."""

from __future__ import annotations

import math
from typing import Final

HALF_BITS: Final = 2048.0  # 2 ** 11: the significand of float16; bfloat16 has fewer
ROUNDED: Final = 10  # significant decimal digits that a printer may have left
PRINTED_DIGITS: Final = 6  # of a printed value: as fine as float32 all but one


def exact(value: float) -> bool:
    """The value carries more digits than half precision or a printer's rounding would leave."""
    digits = repr(value).lstrip("-").partition("e")[0].replace(".", "").strip("0")
    return len(digits) > ROUNDED and not _half(value)


def decimals(value: float) -> int:
    """Decimal places that the shortest text of a value needs: 4 of 0.0025, 10 of 2.5e-09."""
    mantissa, _, exponent = repr(value).partition("e")
    fraction = mantissa.partition(".")[2].rstrip("0")
    return max(0, len(fraction) - int(exponent or 0))


def printed_decimals(value: float) -> int:
    """Decimal places that a printer left of a value; 0 where half precision may have held it, or nothing rounded it."""
    places = decimals(value)
    return places if places < ROUNDED and not _half(value) else 0


def fine(value: float, places: int) -> bool:
    """Printed with so many decimal places, the value shows six digits: rounding does not hold it still."""
    return places > 0 and abs(value) * 10.0**places >= 10.0 ** (PRINTED_DIGITS - 1)


def _half(value: float) -> bool:
    """Half precision holds it as it is."""
    return (math.frexp(value)[0] * HALF_BITS).is_integer()
