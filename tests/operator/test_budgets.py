"""The three budgets of restarts: what each counts, what progress and time give back, and what never may happen."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from speech_contract import codec
from speech_contract.api import JobSpec, read_status
from speech_contract.api.spec import RestartPolicy
from speech_contract.outcome import fingerprint
from speech_contract.reasons import Reason, State
from speech_contract.status import CauseCount, JobStatus, Restarts
from speech_operator import budgets
from speech_operator.reconcile import reconcile
from speech_operator.timestamps import to_epoch, to_text

HOUR = 3600.0
POLICY = RestartPolicy.model_validate(
    {"max": 4, "sameCause": 2, "resetAfterSteps": 100, "perWindow": {"max": 3, "seconds": 21600}}
)


@pytest.fixture
def fail(build: Any) -> Any:
    """A job of one pod whose attempt ends with 1: the status after it."""

    def once(restarts: Restarts, message: str, now: float, step: int | None = None) -> JobStatus:
        told = build.outcome(1, message=message, step=step)
        policy = {"restarts": POLICY.model_dump(by_alias=True)}
        pod = build.failed(0, outcome=told, finished_at=now)
        seen = build.solo(pod, policy=policy, status=build.status(restarts=restarts))
        return reconcile(seen, now).status

    return once


def at(*hours: float) -> tuple[str, ...]:
    return tuple(to_text(hour * HOUR) for hour in hours)


class TestWindow:
    def test_one_more_than_it_holds_ends_the_job(self, build: Any, fail: Any) -> None:
        start = build.now / HOUR
        made = Restarts(3, window_times=at(start - 5, start - 4, start - 1))
        failed = fail(made, "KeyError", build.now)
        assert failed.failure.reason == Reason.RESTART_BUDGET_SPENT.value
        assert "3 within 21600 s, 3 are allowed; last: KeyError" in failed.failure.message
        assert "runPolicy.restarts.perWindow: {max: 3, seconds: 21600}" in failed.failure.remedy
        assert failed.restarts.window_times == made.window_times

    def test_what_is_older_than_it_counts_no_more(self, build: Any, fail: Any) -> None:
        start = build.now / HOUR
        made = Restarts(3, window_times=at(start - 6, start - 4, start - 1))
        again = fail(made, "KeyError", build.now)
        assert again.state is State.RESTARTING
        assert again.restarts.window_times == at(start - 4, start - 1, start)

    def test_progress_gives_none_of_it_back(self, build: Any, fail: Any) -> None:
        start = build.now / HOUR
        made = Restarts(3, (), at(start - 3, start - 2, start - 1), 0, 10, 3)
        assert fail(made, "KeyError", build.now, step=5000).state is State.FAILED


class TestProgress:
    def test_enough_new_steps_reset_the_counts(self) -> None:
        made = Restarts(3, (CauseCount("a", 1),), at(1), 50, 50, 7)
        assert budgets.progressed(made, 149, POLICY).counted == 3
        reset = budgets.progressed(made, 150, POLICY)
        assert reset == Restarts(0, (), at(1), 150, 150, 7)

    def test_steps_that_are_trained_again_are_none(self) -> None:
        made = budgets.count(Restarts(farthest_step=500), "a", POLICY, 0.0)
        back = budgets.progressed(made, 100, POLICY)
        assert budgets.progressed(back, 599, POLICY).counted == 1
        assert budgets.progressed(back, 600, POLICY).counted == 0

    def test_a_fault_at_one_step_is_never_forgiven(self, build: Any, fail: Any) -> None:
        """Each attempt trains more steps than the reset asks for, and all of them again."""
        first = fail(Restarts(), "nan", build.now, step=5000)
        assert first.state is State.RESTARTING
        replayed = budgets.progressed(first.restarts, 4999, POLICY)
        second = fail(replayed, "nan", build.now + HOUR, step=5000)
        assert second.failure.reason == Reason.SAME_CAUSE.value
        assert "nan" in second.failure.message
        assert "without 100 new steps between" in second.failure.message
        assert "runPolicy.restarts.sameCause: 2" in second.failure.message
        assert "sameCause: 2 is the budget: a new job with the same" in second.failure.remedy

    def test_the_same_fault_far_on_is_another_one(self, build: Any, fail: Any) -> None:
        first = fail(Restarts(), "nan", build.now, step=5000)
        second = fail(first.restarts, "nan", build.now + HOUR, step=5100)
        assert (second.state, second.restarts.counted) == (State.RESTARTING, 1)
        assert second.restarts.total == 2

    def test_zero_steps_reset_nothing(self) -> None:
        for_life = POLICY.model_copy(update={"reset_after_steps": 0})
        made = Restarts(3, last_reset_step=0, farthest_step=0)
        assert budgets.progressed(made, 10**9, for_life).counted == 3


class TestOneCause:
    def test_of_a_script_without_steps_time_parts_them(self, build: Any, fail: Any) -> None:
        cause = fingerprint(1, "", "KeyError")
        for hours, state in ((5.9, State.FAILED), (6.1, State.RESTARTING)):
            then = to_text(build.now - hours * HOUR)
            made = Restarts(1, (CauseCount(cause, 1, then),), total=1)
            assert fail(made, "KeyError", build.now).state is state

    def test_of_one_that_tells_steps_time_alone_parts_none(self, build: Any, fail: Any) -> None:
        cause = fingerprint(1, "", "KeyError")
        then = to_text(build.now - 100 * HOUR)
        made = Restarts(1, (CauseCount(cause, 1, then),), (), 50, 50, 1)
        assert fail(made, "KeyError", build.now).state is State.FAILED

    def test_causes_are_bounded_and_the_newest_is_kept(self) -> None:
        restarts = Restarts()
        for number in range(100):
            restarts = budgets.count(restarts, f"cause {number}", POLICY, float(number))
        assert restarts.counted == 100
        assert len(restarts.causes) == budgets.MAX_CAUSES
        assert budgets.cause_count(restarts, "cause 99") == 1


class TestAnOlderStatus:
    """The build before wrote `counted` and `causes` alone."""

    OLD = read_status({"restarts": {"counted": 2, "causes": [{"fingerprint": "a", "count": 1}]}})

    def test_what_it_counted_stays(self) -> None:
        restarts = self.OLD.restarts
        assert (restarts.counted, restarts.causes) == (2, (CauseCount("a", 1),))
        assert budgets.progressed(restarts, None, POLICY).total == 2

    def test_new_steps_count_from_the_first_that_is_heard_of(self) -> None:
        known = budgets.progressed(self.OLD.restarts, 7000, POLICY)
        assert (known.counted, known.last_reset_step) == (2, 7000)
        assert budgets.progressed(known, 7100, POLICY).counted == 0

    def test_its_restarts_are_in_no_window(self, build: Any, fail: Any) -> None:
        again = fail(self.OLD.restarts, "KeyError", build.now)
        assert (again.state, again.restarts.total) == (State.RESTARTING, 3)

    def test_its_causes_lapse_by_progress_alone(self) -> None:
        again = budgets.count(self.OLD.restarts, "a", POLICY, 1e9)
        assert budgets.cause_count(again, "a") == 2


def test_a_count_of_no_restart_at_all(build: Any) -> None:
    policy = {"restarts": {"max": 0}}
    failure = reconcile(build.solo(build.failed(0), policy=policy), build.now).status.failure
    assert failure.message.startswith("the budget of restarts (0) is spent; last: ")


def test_out_of_memory_says_why_its_limit_is_lower(build: Any) -> None:
    policy = {"restarts": {"sameCause": 9}}
    killed = build.failed(0, 137, reason="OOMKilled")
    first = reconcile(build.solo(killed, policy=policy), build.now).status
    status = build.status(restarts=first.restarts)
    failure = reconcile(build.solo(killed, policy=policy, status=status), build.now).status.failure
    assert "met again, whatever sameCause says" in failure.message


# ------------------------------------------------------------------ lives

LIVES = some.lists(
    some.tuples(
        some.sampled_from(["fail a", "fail b", "taken", "trains"]),
        some.integers(0, 9 * 3600),  # seconds later
        some.integers(0, 250),  # steps that it gets on, from its last save
        some.integers(0, 250),  # steps since that save: lost
    ),
    max_size=40,
)


@settings(max_examples=60)
@given(life=LIVES)
def test_no_life_gets_more_than_its_budgets(build: Any, life: list[Any]) -> None:
    """Whatever happens when, whoever restarts the operator in between."""
    now, step, made, farthest = build.now, 0, [], 0
    since_progress, progress_from = 0, 0  # restarts, and the step, since the last 100 new steps
    status = _next_attempt(build, JobStatus(), now)
    for what, seconds, gained, lost in life:
        now += seconds
        step = max(0, step + gained)
        if farthest < step:
            farthest = step
        if farthest - progress_from >= POLICY.reset_after_steps:
            since_progress, progress_from = 0, farthest
        status = _told(build, status, what, step, now)
        status = read_status(json.loads(codec.dumps(status)))  # all that another operator knows
        restarts = status.restarts
        assert 0 <= restarts.counted <= min(restarts.total, POLICY.max)
        assert len(restarts.window_times) <= POLICY.per_window.max
        if status.state is State.FAILED:
            break
        if what.startswith("fail"):
            made.append(now)
            since_progress, progress_from = since_progress + 1, farthest
            assert since_progress <= POLICY.max
            assert restarts.total == len(made)
            window = [t for t in made if int(now) - int(t) < POLICY.per_window.seconds]
            assert len(window) <= POLICY.per_window.max
        if what != "trains":
            status, step = _next_attempt(build, status, now), max(0, step - lost)
    if status.state is State.FAILED:
        for what, *_ in LAST_WORDS:
            assert _told(build, status, what, step, now + HOUR) == status


LAST_WORDS = [("fail a",), ("taken",), ("trains",)]


@functools.cache
def _spec(build: Any) -> JobSpec:
    policy = {"restarts": POLICY.model_dump(by_alias=True), "cleanPodPolicy": "None"}
    spec: JobSpec = build.spec(nodes=1, **policy)
    return spec


def _seen(build: Any, status: JobStatus, *pods: Any, **fields: Any) -> Any:
    return build.seen(*pods, spec=_spec(build), status=status, **fields)


def _next_attempt(build: Any, status: JobStatus, now: float) -> JobStatus:
    """Open it, see its pod, see it train."""
    status = reconcile(_seen(build, status), now).status
    pod = build.pod(0, status.attempt)
    return reconcile(_seen(build, status, pod), now).status


def _told(build: Any, status: JobStatus, what: str, step: int, now: float) -> JobStatus:
    number = status.attempt
    if what == "trains":
        progress = build.progress(number, step=step, running=True, updated_at=now)
        pod = build.pod(0, number)
        return reconcile(_seen(build, status, pod, progress=progress), now).status
    if what == "taken":
        pod = build.failed(0, 137, number, reason="Evicted", finished_at=now)
    else:
        told = build.outcome(1, message=f"Error{what[-1].upper()}", step=step)
        pod = build.failed(0, 1, number, outcome=told, finished_at=now)
    return reconcile(_seen(build, status, pod), now).status


def test_a_status_that_a_life_ends_with_is_whole() -> None:
    """What budgets need travels through the API server as it is."""
    made = Restarts(2, (CauseCount("a", 1, to_text(60)),), (to_text(60),), 5, 9, 4)
    assert read_status(json.loads(codec.dumps(JobStatus(restarts=made)))).restarts == made
    assert to_epoch(made.window_times[0]) == 60
