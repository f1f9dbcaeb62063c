"""What the time of a job goes into: `status.goodput`. Called by `reconcile` at the end of a pass. Pure.

Time is counted from one change of the status to the next, as what the status before it said: whoever wrote that, and
whatever operator was alive meanwhile, the seconds add up. Time that runs is parted by steps. Steps that no attempt had
trained are productive, others recomputed; a roll-back takes what it left behind out of the productive ones, at their
mean time. As long as no step comes nothing is decided: a step may be slow, the next one ends the doubt.

A pass that changes nothing else writes no account, so that none is written for the sake of the clock.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Final, NamedTuple

from speech_contract.findings import FindingStatus
from speech_contract.goodput import Goodput, GoodputMark, held_seconds
from speech_contract.phases import PAUSES, Phase
from speech_contract.progress import Rule
from speech_contract.reasons import Condition, State
from speech_contract.status import JobStatus
from speech_operator import status as st
from speech_operator.accounts import accounts
from speech_operator.snapshot import Observed
from speech_operator.timestamps import to_epoch, to_text

SAVES: Final = frozenset({Phase.CHECKPOINT, Phase.SAVING})


class Part(enum.StrEnum):
    """Fields of `Goodput` that hold seconds."""

    QUEUED = "queued_seconds"
    STARTUP = "startup_seconds"
    PRODUCTIVE = "productive_seconds"
    STALLED = "stalled_seconds"
    RECOMPUTED = "recomputed_seconds"
    DISCARDED = "discarded_seconds"
    CHECKPOINT = "checkpoint_seconds"


class _Heard(NamedTuple):
    """What the open attempt's master has said up to now; of its saves whole seconds."""

    step: int | None
    rollbacks: int
    discarded: int
    saving: int


class _Stretch(NamedTuple):
    """The time since the mark, and what it is judged by."""

    before: JobStatus
    after: JobStatus
    heard: _Heard
    seconds: int
    phase: Phase | None  # as last heard

    @property
    def ended(self) -> bool:
        """The attempt is over."""
        return st.open_attempt(self.after) is None or self.after.attempt != self.before.attempt

    @property
    def stalled(self) -> bool:
        """No step came for longer than the rule allows, and this was known when the stretch began."""
        found = self.before.health.findings
        return any(f.rule is Rule.STALLED and f.status is FindingStatus.ACTIVE for f in found)


def accounted(seen: Observed, status: JobStatus, now: float) -> JobStatus:
    """The status with all time up to now in its parts, where it has changed and the job was not over before."""
    before = seen.job.status
    if st.finished(before) or status == before:
        return status
    return dataclasses.replace(status, goodput=_counted(seen, before, status, now))


def _counted(seen: Observed, before: JobStatus, after: JobStatus, now: float) -> Goodput:
    goodput, here = before.goodput, to_text(now)
    heard = _heard(seen, before)
    mark = goodput.mark or _first_mark(seen, before, heard, here)
    goodput = dataclasses.replace(goodput, mark=mark)
    seconds = max(0, int(to_epoch(here) - to_epoch(mark.time)))
    if _runs(before) and mark.step is not None:
        phase = seen.current_progress.phase if seen.current_progress else None
        goodput, settled = _ran(goodput, mark, _Stretch(before, after, heard, seconds, phase))
        if not settled:
            return goodput
    elif (part := _idle(before)) is not None:
        goodput = _plus(goodput, part, seconds)
    return _with_ratio(_marked(goodput, heard, here, after))


def _heard(seen: Observed, before: JobStatus) -> _Heard:
    """The newest word, or what was known at the mark."""
    told, mark = next(iter(accounts(seen)), None), before.goodput.mark
    if told is None:
        known = mark or GoodputMark("")
        return _Heard(known.step, known.rollbacks, known.discarded_steps, known.checkpoint_seconds)
    step = told.step if told.step is not None or mark is None else mark.step
    saving = told.checkpoint_seconds or 0.0
    whole = int(saving) if 0 <= saving < 2**53 else 0  # an answer may hold anything
    return _Heard(step, max(0, told.rollbacks), max(0, told.discarded_steps), whole)


def _first_mark(seen: Observed, before: JobStatus, heard: _Heard, here: str) -> GoodputMark:
    """From the job's creation on; of a job that an older build ran, or refused, from now on."""
    new = before.state is State.PENDING and not before.attempt
    step = before.progress.step if heard.step is None else heard.step
    return GoodputMark(
        time=seen.job.created or here if new else here,
        step=step,
        farthest_step=step,
        rollbacks=heard.rollbacks,
        discarded_steps=heard.discarded,
        checkpoint_seconds=heard.saving,
    )


def _marked(goodput: Goodput, heard: _Heard, here: str, after: JobStatus) -> Goodput:
    """Counted up to here. What the next attempt says of itself begins anew."""
    mark = goodput.mark
    assert mark is not None, "set before time is counted"
    here = max(here, mark.time)  # as texts: another operator's clock may be behind
    farthest = mark.farthest_step
    if not _runs(after):
        return dataclasses.replace(
            goodput, mark=GoodputMark(here, None, farthest, mark.productive_steps)
        )
    if mark.step is None:
        # Its first step: that was time to start up, but it need not be trained again.
        farthest = max((s for s in (farthest, heard.step) if s is not None), default=None)
    mark = GoodputMark(here, heard.step, farthest, mark.productive_steps, *heard[1:])
    return dataclasses.replace(goodput, mark=mark)


def _runs(status: JobStatus) -> bool:
    return st.open_attempt(status) is not None and st.is_true(status, Condition.RUNNING)


def _idle(status: JobStatus) -> Part | None:
    """What a job does that does not run; None: a person wants it so, and no time is counted."""
    if st.is_true(status, Condition.SUSPENDED) or status.state is State.REFUSED:
        return None
    if _runs(status):  # of its steps nothing is known yet
        return Part.STARTUP
    if st.open_attempt(status) is None:
        waits = st.is_true(status, Condition.QUEUED) or not status.attempt
        return Part.QUEUED if waits else Part.STARTUP
    startup = status.startup
    placed = startup is not None and startup.phase is not Phase.SCHEDULING
    return Part.STARTUP if placed else Part.QUEUED


# ------------------------------------------------------------------ time that runs


def _ran(goodput: Goodput, mark: GoodputMark, stretch: _Stretch) -> tuple[Goodput, bool]:
    """The stretch in its parts, and whether it is settled: without a step it may yet turn out to be one."""
    heard, left = stretch.heard, stretch.seconds
    moved = (heard.step, heard.discarded) != (mark.step, mark.discarded_steps)
    if not moved and not stretch.ended and not stretch.stalled:
        return goodput, False
    saving = min(left, max(0, heard.saving - mark.checkpoint_seconds))
    goodput, left = _plus(goodput, Part.CHECKPOINT, saving), left - saving
    trained = _trained(mark, heard)
    if stretch.stalled and trained > 0:
        still = max(0, left - _mean_time(goodput, trained))
        goodput, left = _plus(goodput, Part.STALLED, still), left - still
    if trained > 0:
        goodput = _with_steps(goodput, mark, trained, left)
    else:
        goodput = _plus(goodput, _without_steps(stretch, trained), left)
    return _with_discarded(goodput, heard.discarded - mark.discarded_steps), True


def _trained(mark: GoodputMark, heard: _Heard) -> int:
    """Steps since the mark; a roll-back has taken the step back, the end with code 40 has not."""
    if heard.step is None or mark.step is None:
        return 0
    back = heard.discarded - mark.discarded_steps if heard.rollbacks > mark.rollbacks else 0
    return heard.step - mark.step + back


def _without_steps(stretch: _Stretch, trained: int) -> Part:
    if trained < 0:  # a script went back by itself and does not say what for
        return Part.DISCARDED
    if stretch.before.state is State.SUSPENDING or stretch.phase in SAVES:
        return Part.CHECKPOINT
    if stretch.phase in PAUSES or st.is_true(stretch.after, Condition.COMPLETE):
        return Part.PRODUCTIVE
    return Part.STALLED


def _with_steps(goodput: Goodput, mark: GoodputMark, trained: int, seconds: int) -> Goodput:
    """Part time by steps that were trained before and those that were not."""
    assert mark.step is not None, "else nothing counts as trained"
    farthest = mark.step if mark.farthest_step is None else mark.farthest_step
    again = min(trained, max(0, farthest - mark.step))
    recomputed = seconds * again // trained
    goodput = _plus(goodput, Part.RECOMPUTED, recomputed)
    goodput = _plus(goodput, Part.PRODUCTIVE, seconds - recomputed)
    mark = dataclasses.replace(
        mark,
        farthest_step=max(farthest, mark.step + trained),
        productive_steps=mark.productive_steps + trained - again,
    )
    return dataclasses.replace(goodput, mark=mark)


def _with_discarded(goodput: Goodput, steps: int) -> Goodput:
    """Take so many steps, and their mean time, out of the productive ones."""
    mark = goodput.mark
    if steps <= 0 or mark is None:
        return goodput
    lost, seconds = min(steps, mark.productive_steps), _mean_time(goodput, steps)
    mark = dataclasses.replace(
        mark,
        farthest_step=max(0, (mark.farthest_step or 0) - steps),
        productive_steps=mark.productive_steps - lost,
    )
    goodput = _plus(_plus(goodput, Part.PRODUCTIVE, -seconds), Part.DISCARDED, seconds)
    return dataclasses.replace(goodput, mark=mark)


def _mean_time(goodput: Goodput, steps: int) -> int:
    """Seconds that so many productive steps took, at most all of them."""
    known = goodput.mark.productive_steps if goodput.mark else 0
    if not known:
        return 0
    return goodput.productive_seconds * min(steps, known) // known


def _plus(goodput: Goodput, part: Part, seconds: int) -> Goodput:
    return dataclasses.replace(goodput, **{part.value: getattr(goodput, part.value) + seconds})


def _with_ratio(goodput: Goodput) -> Goodput:
    """Three digits; unset as long as no step was productive. Steps of less than a second count: 0.000."""
    held = held_seconds(goodput)
    steps = goodput.mark.productive_steps if goodput.mark else 0
    known = goodput.ratio is not None or goodput.productive_seconds > 0 or steps > 0
    ratio = f"{goodput.productive_seconds / held:.3f}" if known and held > 0 else None
    return dataclasses.replace(goodput, ratio=ratio)
