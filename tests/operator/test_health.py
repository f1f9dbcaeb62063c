"""What the supervisors found, as status has it: verdict, findings, condition Healthy and Events; no pod is touched."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from speech_contract.findings import Action, FindingStatus, Verdict
from speech_contract.phases import Phase
from speech_contract.progress import Rule, Severity
from speech_contract.reasons import Condition, Reason, State
from speech_contract.status import JobFinding, JobHealth, Startup
from speech_operator import status as st
from speech_operator.plan import Draft
from speech_operator.policies.health import health, worst
from speech_operator.reconcile import reconcile
from speech_operator.resources.config_map import build_run_config
from speech_operator.timestamps import to_text


def gang(build: Any, **fields: Any) -> Any:
    return build.seen(build.pod(0), build.pod(1), **fields)


def alone(build: Any, *pods: Any, **fields: Any) -> Draft:
    """What the policy by itself makes of a job of two pods, unless others are given."""
    seen = build.seen(*(pods or (build.pod(0), build.pod(1))), **fields)
    return health(seen, Draft(seen.job.status), build.now)


def healthy(draft: Any) -> tuple[str, str, str]:
    found = st.condition(draft.status, Condition.HEALTHY)
    assert found is not None
    return found.status.value, found.reason, found.message


def rules(draft: Any) -> list[tuple[str, str]]:
    return [(f.rule.value, f.status.value) for f in draft.status.health.findings]


def kept(rule: Rule, status: FindingStatus = FindingStatus.ACTIVE, **fields: Any) -> JobFinding:
    """A finding as status has it."""
    fields.setdefault("severity", Severity.WARNING)
    return JobFinding(rule=rule, status=status, **fields)


class TestVerdict:
    def test_verdict_findings_condition_and_event(self, build: Any) -> None:
        found = [build.finding(severity=Severity.WARNING), build.finding(Rule.NON_FINITE, step=7)]
        told = build.progress(verdict=Verdict.CRITICAL, findings=found, running=True, step=7)
        plan = reconcile(gang(build, progress=told), build.now)
        assert plan.status.health.verdict is Verdict.CRITICAL
        assert healthy(plan)[:2] == ("False", "NonFinite")
        assert [event.reason for event in plan.events if event.warning] == ["NonFinite", "ZeroLoss"]

    @pytest.mark.parametrize("action", list(Action))
    def test_no_finding_ever_deletes_a_pod(self, build: Any, action: Action) -> None:
        told = build.progress(verdict=Verdict.CRITICAL, findings=[build.finding(action=action)])
        assert reconcile(gang(build, progress=told), build.now).deletes == ()

    @pytest.mark.parametrize(
        ("verdict", "condition"),
        [
            (Verdict.HEALTHY, ("True", "AllRulesQuiet", "no rule has anything to say")),
            (Verdict.WARNING, ("True", "AllRulesQuiet", "no rule has anything to say")),
            (Verdict.UNKNOWN, ("Unknown", "NoTelemetry", "no loss or gradient norm of this attempt yet")),
            ("Splendid", ("Unknown", "NoTelemetry", "no loss or gradient norm of this attempt yet")),
        ],
    )  # fmt: skip
    def test_condition_healthy(
        self, build: Any, verdict: Any, condition: tuple[str, str, str]
    ) -> None:
        seen = gang(build, progress=build.progress(verdict=verdict))
        assert healthy(reconcile(seen, build.now)) == condition

    def test_an_answer_of_another_attempt_is_not_read(self, build: Any) -> None:
        told = build.progress(attempt=2, verdict=Verdict.CRITICAL, findings=[build.finding()])
        plan = reconcile(gang(build, progress=told), build.now)
        assert plan.status.health == JobHealth()

    def test_without_a_word_what_is_known_stays(self, build: Any) -> None:
        before = JobHealth(Verdict.WARNING, (kept(Rule.LOSS_SPIKE),))
        draft = alone(build, status=build.status(health=before))
        assert (draft.status.health, draft.events) == (before, ())

    def test_off_says_nothing(self, build: Any) -> None:
        spec = build.spec(health={"mode": "Off"})
        told = build.progress(verdict=Verdict.CRITICAL, findings=[build.finding()])
        plan = reconcile(gang(build, spec=spec, progress=told), build.now)
        assert healthy(plan)[1] == Reason.HEALTH_OFF.value
        assert plan.status.health == JobHealth()

    def test_the_verdict_that_ended_the_job_is_in_its_status(self, build: Any) -> None:
        told = build.outcome(41, rule="ZeroLoss", findings=[build.finding()], verdict="Critical")
        plan = reconcile(build.seen(build.failed(0, 41, outcome=told)), build.now)
        assert plan.status.state is State.FAILED
        assert plan.status.health.verdict is Verdict.CRITICAL
        assert plan.status.health.findings[0].rule is Rule.ZERO_LOSS

    def test_a_new_attempt_begins_unknown_and_heals_what_was(self, build: Any) -> None:
        told = build.progress(verdict=Verdict.CRITICAL, findings=[build.finding()])
        status = reconcile(gang(build, progress=told), build.now).status
        status = st.end_attempt(status, Reason.ATTEMPT_FAILED, build.now)
        plan = reconcile(build.seen(status=status), build.now)
        assert plan.status.health.verdict is Verdict.UNKNOWN
        assert plan.status.health.findings[0].status is FindingStatus.HEALED


class TestFindings:
    def test_what_an_answer_says_of_one_is_cut_and_checked(self, build: Any) -> None:
        """A script may answer anything."""
        long = build.finding(evidence="e" * 2000, remedy="r" * 2000, step=7, rank=3, since=1.0)
        (found,) = alone(build, progress=build.progress(findings=[long])).status.health.findings
        assert (found.evidence, found.remedy) == ("e" * 1024, "r" * 1024)
        assert (found.step, found.rank) == (7, 3)

    @pytest.mark.parametrize(
        ("epoch", "text"),
        [
            (-1.0, None),
            (0.0, None),
            (60.0, "1970-01-01T00:01:00Z"),
            (2.0**33 - 1, "2242-03-16T12:56:31Z"),
            (2.0**33, None),
            (1e300, None),
        ],
    )
    def test_a_time_that_cannot_be_is_none(
        self, build: Any, epoch: float, text: str | None
    ) -> None:
        told = build.progress(findings=[build.finding(since=epoch)])
        assert alone(build, progress=told).status.health.findings[0].since == text

    @pytest.mark.parametrize(
        ("rank", "config", "node"),
        [
            (0, True, "node-0"),
            (1, True, "node-0"),
            (2, True, "node-1"),
            (4, True, None),  # no pod has it
            (None, True, None),
            (2, False, None),
        ],
    )
    def test_its_node_is_where_the_cluster_has_the_ranks_pod(
        self, build: Any, rank: int | None, config: bool, node: str | None
    ) -> None:
        told = build.progress(findings=[build.finding(rank=rank)])
        seen = gang(build, progress=told)
        made = build_run_config(seen, seen.job.status)
        given = dataclasses.replace(made, ranks_per_node=2) if config else None
        seen = dataclasses.replace(seen, run_config=given)
        draft = health(seen, Draft(seen.job.status), build.now)
        assert draft.status.health.findings[0].node == node

    def test_a_pod_without_a_node_names_none(self, build: Any) -> None:
        told = build.progress(findings=[build.finding(rank=0)])
        seen = build.seen(build.pod(0, node=""), progress=told)
        config = build_run_config(seen, seen.job.status)
        seen = dataclasses.replace(seen, run_config=config)
        draft = health(seen, Draft(seen.job.status), build.now)
        assert draft.status.health.findings[0].node is None

    def test_the_worst_that_is_active_is_the_first_of_the_highest_severity(self) -> None:
        spike, drift = kept(Rule.LOSS_SPIKE), kept(Rule.STALLED)
        info = kept(Rule.RANK_DIVERGENCE, severity=Severity.INFO)
        healed = kept(Rule.ZERO_LOSS, FindingStatus.HEALED, severity=Severity.CRITICAL)
        newer = kept(Rule.NON_FINITE, severity="Fatal")  # of an operator that is newer
        assert worst([newer, info, healed, spike, drift]) is spike
        assert worst([newer, info]) is newer
        assert worst([healed]) is None


class TestEvents:
    def test_the_same_finding_is_told_once(self, build: Any) -> None:
        told = build.progress(verdict=Verdict.CRITICAL, findings=[build.finding()])
        first = reconcile(gang(build, progress=told), build.now)
        seen = gang(build, progress=told, status=first.status)
        assert reconcile(seen, build.now + 5).events == ()

    @pytest.mark.parametrize(
        ("before", "severity", "events"),
        [
            (kept(Rule.ZERO_LOSS, rank=2), Severity.CRITICAL, []),
            (kept(Rule.ZERO_LOSS, rank=1), Severity.CRITICAL, [("ZeroLoss", True)]),
            (kept(Rule.STALLED, rank=2), Severity.WARNING, [("ZeroLoss", True)]),
            (kept(Rule.STALLED, rank=2), Severity.INFO, [("ZeroLoss", False)]),
            (kept(Rule.ZERO_LOSS, FindingStatus.HEALED, rank=2), Severity.WARNING, [("ZeroLoss", True)]),
        ],
    )  # fmt: skip
    def test_one_that_was_not_active_before_is_told(
        self, build: Any, before: JobFinding, severity: Severity, events: Any
    ) -> None:
        status = build.status(health=JobHealth(Verdict.WARNING, (before,)))
        told = build.progress(findings=[build.finding(severity=severity, rank=2)])
        draft = alone(build, status=status, progress=told)
        assert [(event.reason, event.warning) for event in draft.events] == events

    def test_one_that_healed_is_not(self, build: Any) -> None:
        told = build.progress(findings=[build.finding(status=FindingStatus.HEALED)])
        assert alone(build, progress=told).events == ()


class TestSilence:
    @pytest.mark.parametrize(
        ("seconds", "unreachable", "again"),
        [(None, False, None), (20.0, False, 40.0), (59.0, False, 1.0), (60.0, True, None)],
    )
    def test_a_minute_of_it_is_a_finding(
        self, build: Any, seconds: float | None, unreachable: bool, again: float | None
    ) -> None:
        draft = alone(build, silent_seconds=seconds)
        assert (draft.requeue_after, bool(rules(draft))) == (again, unreachable)
        if unreachable:
            assert healthy(draft) == (
                "Unknown",
                "TelemetryUnreachable",
                "the master's /progress gave no answer for 60 s",
            )
            assert [event.warning for event in draft.events] == [True]

    @pytest.mark.parametrize("before", [Verdict.HEALTHY, Verdict.WARNING, Verdict.CRITICAL])
    def test_nothing_is_healthy_in_it_and_what_was_critical_stays_so(
        self, build: Any, before: Verdict
    ) -> None:
        draft = alone(build, progress=build.progress(verdict=before), silent_seconds=60.0)
        critical = before is Verdict.CRITICAL
        assert draft.status.health.verdict is (Verdict.CRITICAL if critical else Verdict.UNKNOWN)
        assert healthy(draft)[:2] == ("False" if critical else "Unknown", "TelemetryUnreachable")

    @pytest.mark.parametrize(
        ("master", "outcome", "silent"),
        [
            ("ended", True, False),
            ("ended", False, True),
            ("runs", True, True),  # the record that it keeps while it runs
            ("is not there", True, True),
        ],
    )
    def test_of_a_master_that_has_said_its_last_word_no_answer_is_expected(
        self, build: Any, master: str, outcome: bool, silent: bool
    ) -> None:
        said = build.outcome(0, verdict="Healthy") if outcome else None
        make = build.done if master == "ended" else build.pod
        pod = make(1 if master == "is not there" else 0, outcome=said)
        draft = alone(build, pod, silent_seconds=60.0)
        assert (("TelemetryUnreachable", "Active") in rules(draft)) is silent


class TestStarting:
    def late(self, build: Any, age: float) -> Any:
        """An attempt that pulls its image for so long; it may do so for 1200 s."""
        return dataclasses.replace(
            build.status(), startup=Startup(Phase.PULLING, to_text(build.now - age))
        )

    @pytest.mark.parametrize(
        ("age", "speaks", "found", "again"),
        [
            (1199, False, [], 1.0),
            (1200, False, [("NotStarting", "Active")], None),
            (1200, True, [], None),  # who speaks has started
        ],
    )
    def test_who_has_not_started_in_time_and_says_nothing_is_late(
        self, build: Any, age: float, speaks: bool, found: Any, again: float | None
    ) -> None:
        progress = build.progress() if speaks else None
        draft = alone(build, status=self.late(build, age), progress=progress)
        assert (rules(draft), draft.requeue_after) == (found, again)

    @pytest.mark.parametrize("ended", [False, True])
    def test_it_alone_heals_when_nobody_says_it_any_more(self, build: Any, ended: bool) -> None:
        before = JobHealth(Verdict.UNKNOWN, (kept(Rule.NOT_STARTING), kept(Rule.LOSS_SPIKE)))
        status = dataclasses.replace(build.status(), health=before)
        if ended:
            status = st.end_attempt(status, Reason.ATTEMPT_FAILED, build.now)
        draft = alone(build, status=status, silent_seconds=90.0 if ended else None)
        assert rules(draft) == [("NotStarting", "Healed"), ("LossSpike", "Active")]
        assert draft.status.health.verdict is Verdict.UNKNOWN
