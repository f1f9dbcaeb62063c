"""The one error of the contract: a document that does not say what it must.

    ContractError(ValueError)    field, value, rule and remedy, in one sentence

Raised by `codec`, `thresholds`, `run_config` and `recipes`; the API turns it into `Accepted=False`, the
trainer and the launcher into exit code 64.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final


class ContractError(ValueError):
    """A field that breaks its rule. `str(error)` is the sentence a user reads."""

    def __init__(self, field: str, value: object, rule: str, remedy: str) -> None:
        self.field = field
        self.value = value
        self.rule = rule
        self.remedy = remedy
        shown = "" if value is None else f"{shorten(value)} "
        super().__init__(f"{field}: {shown}{rule}; {remedy}")


LONGEST_SHOWN: Final = 80  # characters of a value in a sentence


def shorten(value: object, limit: int = LONGEST_SHOWN) -> str:
    """Show a value in a message without letting a huge or hostile one fill the log."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a mistyped one most likely meant, ignoring case."""
    import difflib  # a document that is sound never needs it

    by_folded = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.lower(), by_folded, n=1, cutoff=0.6)
    return by_folded[matches[0]] if matches else None


def unknown_field(path: str, name: str, value: object, known: Iterable[str]) -> ContractError:
    """Build the error for a field that does not exist, with the nearest one that does.

    The value helps to find the line where it is one word; `api.admission` says the same sentence in CEL.
    """
    value = value if isinstance(value, (str, int, float)) else None
    names = sorted(known)
    guess = nearest(name, names)
    remedy = f"did you mean {guess}?" if guess else f"known fields: {', '.join(names)}"
    field = f"{path}.{name}" if path else name
    return ContractError(field, value, "is an unknown field", remedy)
