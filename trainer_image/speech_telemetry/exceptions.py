"""The exception that ended a rank, found in what it printed. Called by `output` with each line.

Launchers put the rank before each line (`[rank0]: `, torch's excepthook of a process group; `[default0]:`,
torchrun's --tee) and print a traceback of their own behind the cause (ChildFailedError and its banner). Such a
stand-in never replaces an exception.
"""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Final

_PREFIX: Final = re.compile(
    r"^(?:\[(?:rank|default|trainer|worker)?\d+\](?:\[\w+\])?:? ?|\(\w+ pid=\d+[^)]*\) |\d+: )"
)
_TRACEBACK: Final = "Traceback (most recent call last)"
_CHAINS: Final = {
    "The above exception was the direct cause of the following exception:": "caused by",
    "During handling of the above exception, another exception occurred:": "after",
}
_ERROR_LINE: Final = re.compile(
    r"^[A-Za-z_][\w.]*(Error|Exception|Spent|Exit|Interrupt|Timeout)\b.*"
)
# A launcher's word that one of its ranks failed.
_STAND_IN: Final = re.compile(
    r"^[\w.]*(?:ChildFailedError|CalledProcessError|ProcessExitedException)\b|^SystemExit\b"
)
# What the others say when a peer is gone.
_CONSEQUENCE: Final = re.compile(
    r"Connection (?:closed|reset) by peer|ncclRemoteError|remote process exited|Broken pipe|"
    r"DataLoader worker .* exited unexpectedly",
    re.IGNORECASE,
)


@dataclasses.dataclass
class _Voice:
    """One rank among several in one output."""

    inside: bool = False  # a traceback
    error: str = ""  # its newest
    link: str = ""  # how the next traceback hangs together with `error`


class ErrorFinder:
    """Remembers the error that explains the end best: the newest that is no stand-in and no consequence."""

    def __init__(self) -> None:
        self.error = ""  # with what caused it; "" while nothing was found
        self._weight = 0
        self._voices: dict[str, _Voice] = {}

    def take(self, line: str) -> None:
        """One line that is not blank."""
        prefix = _PREFIX.match(line)
        who = prefix[0] if prefix else ""
        text = line[len(who) :]
        voice = self._voices.get(who)
        if _TRACEBACK in text:
            voice = self._voices.setdefault(who, _Voice())
            voice.inside = True
        elif text.strip() in _CHAINS and voice is not None:
            voice.link = _CHAINS[text.strip()]
        elif voice is not None and voice.inside and text.strip() and not text[0].isspace():
            self._raised(voice, text.rstrip())
        elif _ERROR_LINE.match(text):
            self._keep(text.rstrip())
        elif line[0] == "{" and '"error"' in line:
            self._keep(_logged_error(line))

    def _raised(self, voice: _Voice, text: str) -> None:
        """The line below a traceback: the exception. Of a chain both ends are told."""
        link, first = voice.link, voice.error.partition("; ")[0]
        whole = f"{text}; {link} {first}" if link and first else text
        voice.inside, voice.link, voice.error = False, "", whole
        if link and _CONSEQUENCE.search(text):
            whole = f"{first}; then {text}"
        self._keep(whole)

    def _keep(self, error: str) -> None:
        if not error:
            return
        weight = (
            1
            if _STAND_IN.search(error)
            else 2
            if _CONSEQUENCE.search(error.partition(";")[0])
            else 3
        )
        if weight >= self._weight:
            self.error, self._weight = error, weight

    @property
    def is_stand_in(self) -> bool:
        """A launcher's word is all there is."""
        return self._weight == 1


def _logged_error(line: str) -> str:
    """The sentence in a JSON log line of level error; "" when it is none."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return ""
    if document.get("level") != "error":
        return ""
    return str(document.get("error") or document.get("msg") or "")
