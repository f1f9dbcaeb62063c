"""Waiting for a job: what was asked for, whether it has come, whether it still can.

Called by `commands.wait` and `client`. `judge` decides from one document; `until` looks again and again. Clock and
sleep come in, so that tests wait for nothing.
"""

from __future__ import annotations

import dataclasses
import enum
import time
from collections.abc import Callable
from typing import Final

from speech_cli.cluster_client import Forbidden, NotFound
from speech_cli.errors import ClusterProblem, NoSuchJob, UserError
from speech_cli.place import Place
from speech_cli.rendering import live, words
from speech_cli.rendering.view import Document, JobView, mapping, status_of, uid_of, view_of, whole
from speech_contract.errors import nearest
from speech_contract.reasons import Condition, State
from speech_contract.status import ConditionStatus
from speech_contract.unattended import NOBODY

CONDITION: Final = "condition"
STEP: Final = "step"
FORMS: Final = f"{CONDITION}=NAME or {STEP}=NUMBER"
EXIT_LOST: Final = 3  # it cannot come any more
EXIT_TIMEOUT: Final = 124  # as of timeout(1)
LOOK_SECONDS: Final = 1.0


@dataclasses.dataclass(frozen=True)
class Goal:
    """What is waited for: a condition that is True, or a step that is reached. One of the two is set."""

    condition: Condition | None = None
    step: int = 0

    def __str__(self) -> str:
        named = self.condition
        return f"{STEP}={self.step}" if named is None else f"{CONDITION}={named.value}"


class Prospect(enum.Enum):
    """How it stands, and the exit code of a command that ends so."""

    CAME = 0
    OPEN = EXIT_TIMEOUT
    LOST = EXIT_LOST


@dataclasses.dataclass(frozen=True)
class Standing:
    """Whether a goal has come; `why` says of one that has not what is known."""

    prospect: Prospect
    why: str
    document: Document
    gone: bool = False  # there is no such job any more


def goal(text: str) -> Goal:
    """`condition=Complete` or `step=200`. Raises UserError for anything else, without the name of what was given."""
    kind, separator, value = text.partition("=")
    if kind == STEP and value.isdecimal() and int(value) > 0:
        return Goal(step=int(value))
    if kind == STEP:
        raise UserError(f"{text!r} names no step; write a whole number from 1, as in step=200")
    known = [condition.value for condition in Condition]
    found = next((c for c in Condition if c.value.lower() == value.lower()), None)
    if kind == CONDITION and found is not None:
        return Goal(found)
    guess = nearest(value if separator else kind, known)
    remedy = f"did you mean {CONDITION}={guess}?" if guess else f"conditions: {', '.join(known)}"
    raise UserError(f"{text!r} is not {FORMS}; {remedy}")


def judge(document: Document, wanted: Goal) -> Standing:
    """Whether the goal has come, may come, or cannot come unless somebody changes the job."""
    view = view_of(document)
    if _came(document, view, wanted):
        return Standing(Prospect.CAME, _as_it_is(view), document)
    if why := _lost(document, view, wanted):
        return Standing(Prospect.LOST, why, document)
    return Standing(Prospect.OPEN, _as_it_is(view), document)


def _came(document: Document, view: JobView, wanted: Goal) -> bool:
    if wanted.condition is None:
        return view.step is not None and view.step >= wanted.step
    return any(
        item.type is wanted.condition and item.status is ConditionStatus.TRUE
        for item in status_of(document).conditions
    )


def _lost(document: Document, view: JobView, wanted: Goal) -> str:
    """Why it cannot come any more; "" when it can."""
    if view.finished or (view.state == State.REFUSED.value and _seen(document)):
        return _as_it_is(view)
    alone = [f.evidence for f in view.findings if f.active and f.evidence.startswith(NOBODY)]
    if alone or view.state == State.UNKNOWN.value:  # its processes may go on: nobody writes it down
        return "; ".join([_as_it_is(view), *alone[:1]])
    if wanted.condition is None and view.total_steps and wanted.step > view.total_steps:
        return f"it is planned to end at step {view.total_steps}"
    return ""


def _seen(document: Document) -> bool:
    """Whether a refusal speaks of the spec as it is now."""
    generation = whole(mapping(document, "metadata").get("generation"))
    seen = status_of(document).observed_generation
    return generation is None or (seen is not None and seen >= generation)


def _as_it_is(view: JobView) -> str:
    """`it is Failed at step 15/800, NonFiniteBudgetSpent: non-finite beyond the budget`."""
    at = f" at step {words.steps(view.step, view.total_steps)}" if view.step is not None else ""
    reason = ": ".join(part for part in (view.reason, view.message) if part)
    return f"it is {live.stage(view)}{at}" + (f", {reason}" if reason else "")


def until(
    found: Place,
    document: Document,
    wanted: Goal,
    timeout: float | None = None,
    notice: Callable[[str], None] = lambda sentence: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Standing:
    """Look at the job until the goal comes or cannot, or `timeout` seconds are over (OPEN; None: no limit).

    An API server that does not answer for a while is waited for, and told once. Raises Forbidden.
    """
    ends = None if timeout is None else clock() + timeout
    name, uid = str(mapping(document, "metadata").get("name")), uid_of(document)
    standing, silent = judge(document, wanted), False
    while standing.prospect is Prospect.OPEN:
        left = LOOK_SECONDS if ends is None else ends - clock()
        if left <= 0:
            return standing
        sleep(min(left, LOOK_SECONDS))
        try:
            document = found.find(name)
        except (NotFound, NoSuchJob):
            return Standing(Prospect.LOST, "it was deleted", document, gone=True)
        except Forbidden:
            raise
        except ClusterProblem as error:
            if not silent:
                notice(f"{error.message}; it is asked again")
            silent = True
            continue
        silent = False
        if uid_of(document) != uid:
            return Standing(Prospect.LOST, "it was deleted, and made anew", document)
        standing = judge(document, wanted)
    return standing
