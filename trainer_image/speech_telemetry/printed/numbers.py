"""Numbers as printers write them. Called by `grammar` and `names`.

`nan.0` and `inf.0` are how Lightning pads a number of its bar to five characters (`format_num` in
lightning/pytorch/callbacks/progress/tqdm_progress.py); `nan.` is numpy's. Thousands are parted by commas where
somebody formats with `{:,}`; `0,5` may be a decimal or two numbers, and is left out.
"""

from __future__ import annotations

import re
from typing import Final

# The first character comes first, the look behind it second: the engine can then skip to it. Nothing may stick to a
# number: `1.2.3`, `0.5it` and `12k` are none of ours. A sign is taken in by `signed`.
NUMBER: Final = (
    r"[\d.niNI](?<![\w.].)(?:"
    r"(?<=[nN])[aA][nN](?:\.0*)?"
    r"|(?<=[iI])[nN][fF](?:inity|INITY)?(?:\.0*)?"
    r"|(?<=[1-9])\d{0,2}(?:,\d{3})+(?:\.\d+)?"
    r"|(?<=\d)\d*(?:\.\d*(?:[eE][-+]?\d+)?|[eE][-+]?\d+|(?!,\d))"
    r"|(?<=\.)\d+(?:[eE][-+]?\d+)?"
    r")(?![\w.]*\w)"
)
TOKEN: Final = re.compile(NUMBER)
_HIGHEST_STEP: Final = 10**12


def signed(text: str, start: int) -> int:
    """Where the number at `start` begins with its sign: `-0.5`, but not the 150 of `100-150`."""
    if start and text[start - 1] in "-+" and not text[start - 2 : start - 1].isalnum():
        return start - 1
    return start


def value_of(text: str) -> float | None:
    """The number; None for a whole number with thousands separators, which may be a decimal comma."""
    try:
        return float(text)
    except ValueError:
        folded = text.lower().rstrip("0").rstrip(".")  # `nan.0`, `nan.`
        if "n" in folded:
            return float(folded)
        return float(text.replace(",", "")) if "." in text else None


def count_of(text: str) -> int | None:
    """A counter: `12`, `1,200`, and `9.000` as Lightning's bar pads it; None when it is none."""
    if text.isdigit() and len(text) < 13:
        return int(text)
    whole, _, rest = text.replace(",", "").partition(".")
    if not whole.isdigit() or rest.strip("0"):
        return None
    number = int(whole)
    return number if number < _HIGHEST_STEP else None


def is_word(text: str) -> bool:
    """`nan` or `inf`, which may as well be words of a sentence."""
    return "n" in text.lower()


def decimals(text: str) -> int:
    """Digits behind the point."""
    return len(text.partition(".")[2].lower().partition("e")[0])
