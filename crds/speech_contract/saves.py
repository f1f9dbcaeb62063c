"""Checkpoints that a `custom` script saves by itself: what is kept of each, and what an attempt is handed.

Kept by the master's supervisor (`speech_telemetry.marks`), handed to every rank through the environment, read there by
the reporter and the callbacks. The checkpoints themselves are the script's: nobody of us changes or prunes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from speech_contract import env
from speech_contract.values import Value, frozen

Window = tuple[int, int]  # positions of data in the order that the script draws it, [first, last)


@frozen
class Save(Value):
    """One checkpoint that the script told of. `path` is relative where it lies in the run directory; "": not told."""

    step: int
    path: str = ""
    attempt: int = 1
    uid: str = ""  # of the job

    @property
    def place(self) -> str:
        """What a later save must not share with it: who writes to the same place has replaced it."""
        return self.path or f"step {self.step}"

    @property
    def shown(self) -> str:
        """Its place for a sentence: on one line, whatever the script calls its files."""
        return self.place if self.place.isprintable() else repr(self.place)

    def __str__(self) -> str:
        return f"step {self.step}" + (f" ({self.shown})" if self.path else "")


@frozen
class Resume(Value):
    """The checkpoint to go on from. `path` is absolute; "": the script told the step alone."""

    step: int
    path: str = ""


@frozen
class Handed(Value):
    """What every rank of an attempt is told before it starts."""

    resume: Resume | None = None  # None: from scratch, for all that is known
    windows: tuple[Window, ...] = ()  # data to pass over, rising

    def environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        """`environ` with this attempt's variables, and without another's."""
        ours = {
            env.RESUME_STEP: "" if self.resume is None else str(self.resume.step),
            env.RESUME_PATH: "" if self.resume is None else self.resume.path,
            env.SKIP_WINDOWS: json.dumps(self.windows, separators=(",", ":")),
        }
        kept = {name: value for name, value in environ.items() if name not in ours}
        return kept | {name: value for name, value in ours.items() if value}


def handed(environ: Mapping[str, str]) -> Handed:
    """What `Handed.environ` wrote; nothing where nobody did, or somebody wrote something else."""
    step = environ.get(env.RESUME_STEP, "")
    resume = Resume(int(step), environ.get(env.RESUME_PATH, "")) if step.isdigit() else None
    try:
        pairs = json.loads(environ.get(env.SKIP_WINDOWS) or "[]")
        return Handed(resume, joined((int(first), int(last)) for first, last in pairs))
    except (ValueError, TypeError):
        return Handed(resume)


def joined(windows: Iterable[Window]) -> tuple[Window, ...]:
    """In rising order, empty ones left out, neighbours and overlaps made one."""
    found: list[Window] = []
    for first, last in sorted(w for w in windows if w[0] < w[1]):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return tuple(found)
