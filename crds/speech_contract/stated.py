"""What only a person can know of a run: the range of a loss component, and lines that must not be printed.

Members of `thresholds.Thresholds`, judged by rules Expectation and LogPattern; without a statement neither judges.
"""

from __future__ import annotations

import re
from typing import Final

from speech_contract.actions import OnExceeded, only
from speech_contract.checks import check_at_least, check_number
from speech_contract.codec import FORBID
from speech_contract.errors import ContractError
from speech_contract.rules import Severity
from speech_contract.values import Value, frozen

MAX_PATTERNS: Final = 16
MAX_PATTERN: Final = 200  # characters
MAX_LINE: Final = 500  # characters of a line that patterns look at
MAX_WILD: Final = 2  # `.*` and its like: what one more costs is a factor of the line's length
MAX_OPEN: Final = 6  # repeats without an upper end, of whatever
_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,62}", re.ASCII)

# A pattern without what it escapes: W stands for a class of most characters, x for anything else.
_ESCAPE: Final = re.compile(r"\\([SWD])|\\.", re.DOTALL)
_CLASS: Final = re.compile(r"\[(\^?)\]?[^\]]*\]")
_REPEATS: Final = "\0"  # stands for a group that repeats or chooses
_OPENING: Final = re.compile(r"\(\?(?:P?<\w+>|<?[=!]|[aiLmsux-]*:|>)")
_GROUP: Final = re.compile(r"\(([^()]*)\)")
_REPEAT: Final = re.compile(r"[*+]|\{\d*,?\d*\}")
_OPEN: Final = re.compile(r"[*+]|\{\d*,\}")
_WILD: Final = re.compile(rf"[.W](?:{_OPEN.pattern})")


@frozen
class Expectation(Value):
    """A loss component that a person expects within a range."""

    __pydantic_config__ = FORBID
    min: str | None = None
    """Least value that is expected, as a string; unset: no bound."""
    max: str | None = None
    """Largest value that is expected, as a string; unset: no bound."""
    from_step: int = 1
    """First step that is judged."""
    for_reports: int = 3
    """Reports outside of the range in a row until it fires."""
    on_exceeded: OnExceeded = OnExceeded.WARN
    """What is done: Warn or Stop."""

    def __post_init__(self) -> None:
        least = None if self.min is None else check_number("min", self.min)
        most = None if self.max is None else check_number("max", self.max)
        if least is None and most is None:
            raise ContractError(
                "max", None, "is missing, and min too", "write at least one of them"
            )
        if least is not None and most is not None and least > most:
            raise ContractError("min", self.min, "is above max", "write min ≤ max")
        check_at_least(self, 0, "from_step")
        check_at_least(self, 1, "for_reports")
        only(self, OnExceeded.WARN, OnExceeded.STOP)

    def holds(self, value: float) -> bool:
        """Whether a finite value lies within the range, its bounds included."""
        low = self.min is not None and value < float(self.min)
        return not low and (self.max is None or value <= float(self.max))

    @property
    def text(self) -> str:
        """The range as it was stated."""
        bounds = (f"min {self.min}" if self.min else "", f"max {self.max}" if self.max else "")
        return " and ".join(filter(None, bounds))


@frozen
class LogPattern(Value):
    """A line of the script's output that is a finding."""

    __pydantic_config__ = FORBID
    name: str
    """What the finding calls it: letters, digits, `-`, `_` and `.`."""
    pattern: str
    """Regular expression of Python, looked for in the first 500 characters of each line."""
    severity: Severity = Severity.WARNING
    """info, warning or critical; an action other than Warn makes it critical."""
    times: int = 1
    """Matching lines, over all ranks, until it fires."""
    action: OnExceeded = OnExceeded.WARN
    """Warn, Restart (from the newest checkpoint, a counted restart) or Stop (the job has failed)."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            remedy = "write 1 to 63 letters, digits, -, _ or ., the first a letter or digit"
            raise ContractError("name", self.name, "is no name", remedy)
        check_pattern(self.pattern)
        check_at_least(self, 1, "times")
        only(self, OnExceeded.WARN, OnExceeded.RESTART, OnExceeded.STOP, field="action")


def check_pattern(pattern: str) -> None:
    """Hold a pattern to what a supervisor can look for in every line. Raises ContractError.

    Matching is done beside the ranks, in the pod of whoever wrote the pattern: this guards against accidents. A
    repeat within a repeat takes time that doubles with each character of a line that nearly matches.
    """
    if not pattern or len(pattern) > MAX_PATTERN:
        rule = f"is longer than {MAX_PATTERN} characters" if pattern else "is empty"
        raise ContractError("pattern", pattern, rule, "write the words that the line holds")
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ContractError(
            "pattern", pattern, f"is no regular expression ({error})", "escape its signs with \\"
        ) from error
    if compiled.search(""):
        raise ContractError(
            "pattern", pattern, "matches an empty line, so every line", "name what must be there"
        )
    _check_cost(pattern)


def _check_cost(pattern: str) -> None:
    plain = _ESCAPE.sub(lambda found: "W" if found[1] else "x", pattern)
    plain = _OPENING.sub("(", _CLASS.sub(lambda found: "W" if found[1] else "x", plain))
    if len(_WILD.findall(plain)) > MAX_WILD or len(_OPEN.findall(plain)) > MAX_OPEN:
        rule = f"repeats too often: at most {MAX_WILD} times .* or the like, and {MAX_OPEN} repeats in all"
        raise ContractError(
            "pattern", pattern, rule, "leave out .* at its ends, or split it in two"
        )
    while found := _GROUP.search(plain):
        inner, after = found[1], found.end()
        varied = bool(_REPEAT.search(inner) or "|" in inner or _REPEATS in inner)
        if (varied or "?" in inner) and _REPEAT.match(plain, after):
            rule = "repeats a group that itself repeats or chooses"
            raise ContractError("pattern", pattern, rule, "write what is repeated without a group")
        plain = f"{plain[: found.start()]}{_REPEATS if varied else 'x'}{plain[after:]}"
