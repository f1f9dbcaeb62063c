"""Where a job's time went: a scripted run against sums made by hand, and the rules that the sums follow."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from speech_contract import codec
from speech_contract.api import JobSpec, JobStatus, read_status
from speech_contract.findings import FindingStatus
from speech_contract.goodput import Goodput, seconds_of
from speech_contract.phases import Phase
from speech_contract.progress import Rule, Severity
from speech_contract.reasons import State
from speech_contract.status import JobFinding, JobHealth
from speech_operator.reconcile import reconcile
from speech_operator.snapshot import PodPhase, PodRecord
from speech_operator.timestamps import to_epoch, to_text


class Run:
    """A job of one pod on a clock of its own; each call is a pass of an operator that knows the status alone."""

    def __init__(self, build: Any, **policy: Any) -> None:
        self.build, self.spec, self.start = build, build.spec(nodes=1, **policy), build.now
        self.now, self.pod, self.progress = self.start, None, None
        self.status = JobStatus()

    def at(self, seconds: float, *, spec: JobSpec | None = None, **fields: Any) -> JobStatus:
        """What was changed before is seen so many seconds after the job was made."""
        self.now = self.start + seconds
        build, pods = self.build, [self.pod] if self.pod else []
        job = build.job(spec or self.spec, self.status, created=to_text(self.start))
        seen = build.seen(*pods, spec=spec or self.spec, job=job, progress=self.progress, **fields)
        written = codec.dumps(reconcile(seen, self.now).status)
        self.status = read_status(json.loads(written))
        return self.status

    def waits(self) -> None:
        self.pod = self._pod(phase=PodPhase.PENDING, node="", created_at=self.now)

    def placed(self) -> None:
        self.pod = self._pod(phase=PodPhase.RUNNING)

    def tells(self, step: int | None, phase: Phase = Phase.TRAINING, **fields: Any) -> None:
        running = step is not None
        self.progress = self.build.progress(
            self.status.attempt,
            step=step,
            phase=phase,
            running=running,
            updated_at=self.now,
            **fields,
        )

    def ends(self, code: int, step: int, **fields: Any) -> None:
        told = self.build.outcome(code, step=step, **fields)
        told = dataclasses.replace(told, attempt=self.status.attempt)
        make = self.build.failed if code else self.build.done
        more = {"code": code} if code else {}
        self.pod = make(0, attempt=self.status.attempt, outcome=told, finished_at=self.now, **more)

    def killed(self, reason: str) -> None:
        """Without a word."""
        pod = self.build.failed(0, 137, self.status.attempt, reason=reason, finished_at=self.now)
        self.pod = pod

    def gone(self) -> None:
        self.pod = self.progress = None

    def _pod(self, **fields: Any) -> PodRecord:
        pod: PodRecord = self.build.pod(0, self.status.attempt, **fields)
        return pod

    @property
    def seconds(self) -> dict[str, int]:
        return {part: s for part, s in seconds_of(self.status.goodput).items() if s}


@pytest.fixture
def run(build: Any) -> Run:
    return Run(build)


def started(run: Run, step: int = 1) -> None:
    """Queued for 20 s, start-up of 30 s, and its first step at 50 s."""
    run.at(0)
    run.waits()
    run.at(10)
    run.placed()
    run.at(20)
    run.tells(step)
    run.at(50)


def test_a_whole_life_by_hand(run: Run) -> None:
    """Queue, start, train, roll back, be killed, start again, train again, end: a second for every one that passed."""
    started(run)
    assert run.seconds == {"queued": 20, "startup": 30}
    assert run.status.goodput.ratio is None

    run.tells(101)  # a second for each step
    run.at(150)
    assert run.seconds == {"queued": 20, "startup": 30, "productive": 100}

    # NaN at 161; back to the save of step 121 took nothing: 60 steps went by, 40 of them for nothing. 10 s to save.
    run.tells(141, rollbacks=1, discarded_steps=40, checkpoint_seconds=10.9)
    run.at(240)
    assert run.seconds == {
        "queued": 20, "startup": 30, "productive": 140, "discarded": 40, "checkpoint": 10,
    }  # fmt: skip

    run.killed("OOMKilled")  # 12 s after the last word
    run.at(252)
    assert run.seconds["stalled"] == 12
    run.gone()
    run.at(260)  # attempt 2, from the save of step 121
    run.waits()
    run.at(262)
    run.placed()
    run.at(265)
    run.tells(122, Phase.TRAINING)
    run.at(295)
    assert run.seconds == {
        "queued": 25, "startup": 68, "productive": 140, "discarded": 40, "checkpoint": 10, "stalled": 12,
    }  # fmt: skip

    run.tells(147)  # 19 steps again, 6 new ones
    run.at(320)
    assert (run.seconds["recomputed"], run.seconds["productive"]) == (19, 146)

    run.ends(0, 200, checkpoint_seconds=5.5)
    run.at(380)
    assert run.status.state is State.COMPLETE
    assert run.seconds == {
        "queued": 25, "startup": 68, "productive": 201, "recomputed": 19, "discarded": 40,
        "checkpoint": 15, "stalled": 12,
    }  # fmt: skip
    assert sum(run.seconds.values()) == 380
    assert run.status.goodput.ratio == f"{201 / 355:.3f}"


def test_a_pass_without_news_writes_nothing(run: Run) -> None:
    run.at(0)
    before = run.status
    assert run.at(9) == before
    started(run)
    before = run.status
    assert run.at(57) == before


def test_a_slow_step_is_no_stall(run: Run) -> None:
    started(run)
    run.at(650)
    run.tells(2)
    run.at(700)
    assert (run.seconds["productive"], run.seconds.get("stalled")) == (650, None)


def test_an_operator_that_was_away_counts_what_it_missed(run: Run) -> None:
    started(run)
    run.tells(5000, checkpoint_seconds=100.0)
    run.at(7250)
    assert (run.seconds["productive"], run.seconds["checkpoint"]) == (7100, 100)


def test_time_without_steps_is_a_stall_once_the_rule_says_so(run: Run) -> None:
    started(run)
    run.tells(101)
    run.at(150)
    found = run.build.finding(Rule.STALLED, severity=Severity.WARNING, since=run.now)
    run.tells(101, findings=[found])
    run.at(450)  # known from here on, and not settled yet
    assert "stalled" not in run.seconds
    run.tells(111)
    run.at(460)  # ten steps, a second for each
    assert (run.seconds["stalled"], run.seconds["productive"]) == (300, 110)


def test_a_stall_that_nobody_ends_is_counted_while_it_lasts(run: Run) -> None:
    started(run)
    run.tells(101)
    run.at(150)
    stalled = JobFinding(Rule.STALLED, FindingStatus.ACTIVE, Severity.WARNING)
    run.status = dataclasses.replace(run.status, health=JobHealth(findings=(stalled,)))
    run.tells(101, last_checkpoint_step=100)
    run.at(500)
    assert run.seconds["stalled"] == 350


def test_the_end_with_code_40_has_taken_no_step_back(run: Run) -> None:
    """It says what it discarded and stops where it is; the next attempt goes on from before that."""
    started(run)
    run.tells(101)
    run.at(150)
    run.ends(40, 141, discarded_steps=41, last_confirmed_step=100)
    run.at(190)
    assert (run.seconds["productive"], run.seconds["discarded"]) == (99, 41)
    run.gone()
    run.at(200)
    run.placed()
    run.at(210)
    run.tells(101)
    run.at(220)
    run.tells(141)
    run.at(260)
    assert (run.seconds["productive"], run.seconds.get("recomputed")) == (139, None)


def test_what_was_discarded_with_no_new_step_is_discarded_all_the_same(run: Run) -> None:
    started(run)
    run.tells(101)
    run.at(150)
    run.ends(40, 101, discarded_steps=30, last_confirmed_step=70)
    run.at(153)
    assert run.seconds == {
        "queued": 20, "startup": 30, "productive": 70, "discarded": 30, "stalled": 3,
    }  # fmt: skip


def test_a_clock_that_is_behind_counts_nothing_twice(run: Run) -> None:
    started(run)
    run.tells(101)
    run.at(150)
    run.tells(102)
    run.at(145)
    run.tells(112)
    run.at(160)
    assert sum(run.seconds.values()) == 160


def test_suspended_time_is_no_part(run: Run) -> None:
    asleep = run.build.spec(nodes=1, suspend=True)
    started(run)
    run.tells(101)
    run.at(150)
    run.at(160, spec=asleep)
    run.ends(75, 111, checkpoint_seconds=4.0)
    run.at(170, spec=asleep)
    run.gone()
    run.at(175, spec=asleep)
    assert run.status.state is State.SUSPENDED
    assert sum(run.seconds.values()) == 175
    assert (run.seconds["productive"], run.seconds["checkpoint"]) == (116, 9)
    run.at(5000)
    run.waits()
    run.at(5010)
    assert sum(run.seconds.values()) == 185


def test_what_an_older_build_ran_counts_from_now_on(run: Run) -> None:
    started(run)
    run.status = dataclasses.replace(run.status, goodput=Goodput())
    run.tells(3000)
    run.at(3050)
    assert run.seconds == {}
    run.tells(3100)
    run.at(3150)
    assert run.seconds == {"productive": 100}
    assert run.status.goodput.ratio == "1.000"


def test_an_answer_that_makes_no_sense_breaks_no_sum(run: Run) -> None:
    started(run)
    run.tells(101, checkpoint_seconds=float("inf"), discarded_steps=-5)
    run.at(150)
    run.tells(50, checkpoint_seconds=1e30, rollbacks=1, discarded_steps=10**9)
    run.at(250)
    assert sum(run.seconds.values()) == 250
    assert all(seconds >= 0 for seconds in run.seconds.values())


HAPPENS = some.lists(
    some.tuples(
        some.sampled_from(["steps", "saves", "back", "killed", "taken", "quiet", "code 40"]),
        some.integers(0, 400),
    ),
    max_size=25,
)


@settings(max_examples=20)
@given(life=HAPPENS)
def test_every_second_is_in_one_part(build: Any, life: list[tuple[str, int]]) -> None:
    budget = {"max": 100, "sameCause": 100, "perWindow": {"max": 100}}
    run = Run(build, restarts=budget)
    started(run)
    now, step, lost, saved, backs = 50, 1, 0, 0.0, 0
    for what, seconds in life:
        now += seconds
        if what in ("steps", "saves", "back"):
            gone = min(step - 1, seconds // 3) if what == "back" else 0
            step, lost, backs = step + seconds - gone, lost + gone, backs + (what == "back")
            saved += seconds / 7 if what == "saves" else 0.0
            run.tells(step, rollbacks=backs, discarded_steps=lost, checkpoint_seconds=saved)
        elif what == "killed":
            run.killed("OOMKilled")
        elif what == "taken":
            run.killed("Evicted")
        elif what == "code 40":
            run.ends(40, step, discarded_steps=lost + step // 2, last_confirmed_step=1)
        run.at(now)
        if run.pod is not None and run.pod.ended:
            step, lost, saved, backs = max(1, step - seconds // 2), 0, 0.0, 0
            run.gone()
            run.at(now := now + 5)
            run.placed()
            run.at(now := now + 5)
            run.tells(step)
            run.at(now := now + 5)
        parts = seconds_of(run.status.goodput)
        assert min(parts.values()) >= 0
        mark = run.status.goodput.mark
        assert mark is not None
        assert run.start + sum(parts.values()) == to_epoch(mark.time)
