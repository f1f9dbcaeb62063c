"""What the master says of the current attempt, newest first. Called by `numbers` and the `health` policy. Pure.

The one place that weighs the record of an ended pod against the last answer to a poll.
"""

from __future__ import annotations

from speech_contract.outcome import Outcome
from speech_contract.progress import Progress
from speech_operator import status as st
from speech_operator.snapshot import Observed


def accounts(seen: Observed) -> tuple[Outcome | Progress, ...]:
    """The outcome once the master's pod has ended, then the newest answer of `/progress`.

    A master that was killed left the record of some seconds before: none at all where more is known already.
    """
    answer = () if seen.current_progress is None else (seen.current_progress,)
    master = seen.master
    if master is None or not master.ended or master.outcome is None:
        return answer
    if master.outcome.exit_code is None and _behind(master.outcome.step, _known_step(seen)):
        return answer
    return master.outcome, *answer


def _known_step(seen: Observed) -> int | None:
    """The newest step of this attempt in status and answer."""
    status, answer = seen.job.status, seen.current_progress
    attempt = st.open_attempt(status)
    steps = (st.step_of(status, attempt) if attempt else None, answer.step if answer else None)
    return max((step for step in steps if step is not None), default=None)


def _behind(step: int | None, other: int | None) -> bool:
    return other is not None and (step is None or step < other)
