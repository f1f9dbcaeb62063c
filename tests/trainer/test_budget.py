"""Who acts and who judges act at the same step: the engine's budget beside rule NonFinite."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from speech_contract.findings import Action
from speech_contract.progress import Rule, Severity
from speech_contract.thresholds import NonFinite, OnExceeded, Thresholds
from speech_health.monitor import Monitor
from speech_health.samples import StepSample
from speech_trainer.engine.budget import Decision, NonFiniteBudget
from speech_trainer.engine.flags import StepFlags

LIMITS = st.builds(
    NonFinite,
    skip_budget=st.integers(0, 5),
    window_steps=st.sampled_from([1, 3, 10, 200, 600, 1000]),
    on_exceeded=st.sampled_from([OnExceeded.ROLLBACK, OnExceeded.STOP]),
)
# Long rows, and bad steps few and far between.
FLAGS = st.lists(
    st.tuples(st.booleans(), st.integers(1, 7)).map(lambda run: [run[0]] * run[1]), max_size=12
).map(lambda runs: [flag for run in runs for flag in run])


def acts_at(flags: list[bool], limits: NonFinite) -> int | None:
    """The step whose flag makes the engine roll back or stop."""
    budget = NonFiniteBudget(limits)
    for step, bad in enumerate(flags, start=1):
        decision = budget.feed(StepFlags(step, (step, step + 1), bad, False, not bad))
        if decision is not Decision.GO_ON:
            return step
    return None


@settings(deadline=None)
@given(flags=FLAGS, limits=LIMITS)
def test_a_stranger_is_ended_at_the_step_at_which_the_engine_would_act(
    flags: list[bool], limits: NonFinite
) -> None:
    monitor = Monitor(Thresholds(non_finite=limits), started=0.0, wall=lambda: 0.0)
    ended = None
    for step, bad in enumerate(flags, start=1):
        losses = {"loss": math.nan if bad else 1.0 + step}
        monitor.feed(StepSample(time=0.0, now=float(step), rank=0, step=step, losses=losses))
        if monitor.decision is not None:
            ended = step
            break
    assert ended == acts_at(flags, limits)


@settings(deadline=None)
@given(flags=FLAGS, limits=LIMITS, log_every=st.integers(1, 9), save_every=st.integers(1, 9))
def test_our_engine_is_told_critical_with_the_step_it_acts_upon(
    flags: list[bool], limits: NonFinite, log_every: int, save_every: int
) -> None:
    """Counters trail by a step, values come with some reports, and at a save the counter has caught up."""
    monitor = Monitor(Thresholds(non_finite=limits), started=0.0, wall=lambda: 0.0)

    def critical(step: int, counted: int, losses: dict[str, float] | None = None) -> bool:
        monitor.feed(
            StepSample(time=0.0, now=float(step), rank=0, step=step, losses=losses,
                       gated=True, non_finite_steps=counted, rollbacks=0)
        )  # fmt: skip
        found = next((f for f in monitor.findings if f.rule is Rule.NON_FINITE), None)
        assert found is None or found.action is Action.GATED
        return found is not None and found.severity is Severity.CRITICAL

    for step, bad in enumerate([*flags, False], start=1):
        shown = step % log_every == 0
        losses = {"loss": math.nan if bad else 1.0} if shown else None
        saved = step % save_every == 0
        told = critical(step, sum(flags[: step - 1]), losses)
        told = told or (saved and critical(step, sum(flags[:step])))
        through = step if shown or saved else step - 1  # the last flag that the reports hold
        assert told == (acts_at(flags[:through], limits) is not None)
        if told:
            break
