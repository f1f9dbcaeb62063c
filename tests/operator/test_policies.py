"""The other policies, a table each; pods and times in, status and actions out."""

from __future__ import annotations

import dataclasses

import pytest

from speech_contract.findings import Action, FindingStatus, RankRow, Verdict
from speech_contract.progress import Rule, Severity
from speech_contract.reasons import Condition, Reason, State
from speech_contract.run_config import ResumeFrom
from speech_contract.status import Attempt, JobHealth
from speech_operator import status as st
from speech_operator.child_kind import ChildRecord
from speech_operator.children import CONFIG_MAP, POD
from speech_operator.plan import Delete, Draft
from speech_operator.policies.hands_off import hands_off
from speech_operator.policies.health import UNREACHABLE_SECONDS
from speech_operator.reconcile import reconcile
from speech_operator.snapshot import PodPhase
from speech_operator.timestamps import to_epoch, to_text


def reason_of(status, kind):
    return st.condition(status, kind).reason


class TestHandsOff:
    @pytest.mark.parametrize(
        "change", [{"deleting": True}, {"managed_by": "kueue.x-k8s.io/multikueue"}]
    )
    def test_neither_status_nor_pods_are_touched(self, build, change):
        seen = build.seen(build.failed(0))
        seen = dataclasses.replace(seen, job=dataclasses.replace(seen.job, generation=9, **change))
        plan = reconcile(seen, build.now)
        assert plan.status is seen.job.status
        assert (plan.deletes, plan.creates, plan.events) == ((), (), ())

    @pytest.mark.parametrize("deleting", [True, False])
    def test_nothing_more_is_decided_of_such_a_job_and_all_of_ours(self, build, deleting):
        seen = build.seen(build.pod(0))
        seen = dataclasses.replace(seen, job=dataclasses.replace(seen.job, deleting=deleting))
        draft = hands_off(seen, Draft(status=seen.job.status), build.now)
        assert (draft.hands_off, draft.decided) == (deleting, deleting)


class TestValidation:
    def test_a_bad_spec_starts_nothing(self, build):
        job = build.job(None, st.JobStatus(), problems=("spec.numNodes: 0 is below 1; write 1",))
        plan = reconcile(build.seen(job=job), build.now)
        assert plan.creates == ()
        assert plan.status.state is State.REFUSED
        assert (plan.status.reason, plan.status.message) == ("InvalidSpec", job.problems[0])
        assert reason_of(plan.status, Condition.ACCEPTED) == Reason.INVALID_SPEC.value
        assert "numNodes" in plan.events[0].message

    def test_it_is_said_once(self, build):
        job = build.job(None, st.JobStatus(), problems=("spec.x: is wrong",))
        first = reconcile(build.seen(job=job), build.now)
        again = reconcile(
            build.seen(job=dataclasses.replace(job, status=first.status)), build.now + 9
        )
        assert again.status == first.status
        assert again.events == ()

    def test_a_running_job_goes_on_by_what_was_accepted(self, build):
        job = build.job(None, build.status(), problems=("spec.x: is wrong",))
        seen = build.seen(build.pod(0), build.pod(1), job=job, accepted=build.spec())
        plan = reconcile(seen, build.now)
        assert (plan.deletes, plan.creates) == ((), ())
        assert reason_of(plan.status, Condition.ACCEPTED) == Reason.INVALID_SPEC.value

    def test_an_immutable_change_is_refused_and_does_not_apply(self, build):
        job = build.job(build.spec(nodes=3), build.status())
        seen = build.seen(build.pod(0), build.pod(1), job=job, accepted=build.spec(nodes=2))
        plan = reconcile(seen, build.now)
        assert reason_of(plan.status, Condition.ACCEPTED) == Reason.IMMUTABLE_FIELD.value
        assert "spec.numNodes" in st.condition(plan.status, Condition.ACCEPTED).message
        assert plan.creates == ()

    def test_mutable_fields_apply_at_once(self, build):
        wanted = build.spec(restarts={"max": 0})
        job = build.job(wanted, build.status())
        seen = build.seen(build.failed(0), build.pod(1), job=job, accepted=build.spec())
        plan = reconcile(seen, build.now)
        assert plan.status.failure.reason == Reason.RESTART_BUDGET_SPENT.value

    def test_a_good_spec_is_accepted(self, build):
        plan = reconcile(build.seen(status=st.JobStatus()), build.now)
        assert st.is_true(plan.status, Condition.ACCEPTED)
        assert plan.status.observed_generation == 1


def ended(build, kind, reason=Reason.TRAINING_SUCCEEDED):
    status = st.end_attempt(build.status(), reason, build.now)
    status = dataclasses.replace(status, completion_time=to_text(build.now))
    return st.with_condition(status, kind, True, reason, "", build.now)


class TestCleanup:
    @pytest.mark.parametrize("kind", [Condition.COMPLETE, Condition.FAILED])
    @pytest.mark.parametrize(
        ("policy", "gone"),
        [
            ("None", []),
            ("Running", ["asr-worker-0", "asr-worker-1"]),
            ("All", ["asr-master-0", "asr-worker-0", "asr-worker-1"]),
        ],
    )
    def test_clean_pod_policy_holds_on_every_end(self, build, kind, policy, gone):
        spec = build.spec(nodes=3, cleanPodPolicy=policy)
        pods = [build.done(0), build.pod(1), build.pod(2, phase=PodPhase.PENDING)]
        plan = reconcile(build.seen(*pods, spec=spec, status=ended(build, kind)), build.now)
        assert [delete.name for delete in plan.deletes] == gone
        assert plan.creates == ()

    def test_a_deadline_stops_pods_even_under_none_and_lets_them_save(self, build):
        status = ended(build, Condition.FAILED, Reason.DEADLINE_EXCEEDED)
        spec = build.spec(cleanPodPolicy="None", terminationGracePeriodSeconds=77)
        plan = reconcile(
            build.seen(build.pod(0), build.done(1), spec=spec, status=status), build.now
        )
        assert plan.deletes == (Delete(POD, "asr-master-0", "asr-master-0-1", 77),)

    def test_what_is_kept_is_judged_by_the_newest_generation(self, build):
        """`kubectl wait --for=condition=Complete` passes over a condition that an older one was judged by."""
        spec = build.spec(restarts={"max": 9})
        job = build.job(spec, ended(build, Condition.COMPLETE), generation=2)
        status = reconcile(build.seen(job=job), build.now + 9).status
        assert {c.observed_generation for c in status.conditions} == {2}
        kept = st.condition(status, Condition.COMPLETE)
        assert kept.last_transition_time == to_text(build.now)

    def test_an_ended_job_never_starts_again(self, build):
        plan = reconcile(build.seen(status=ended(build, Condition.FAILED)), build.now + 1e6)
        assert (plan.creates, plan.status.state) == ((), State.FAILED)


class TestTtl:
    @pytest.mark.parametrize(
        ("after", "deleted", "requeue"), [(0, False, 60), (59, False, 1), (60, True, None)]
    )
    def test_counts_from_completion_time(self, build, after, deleted, requeue):
        spec = build.spec(ttlSecondsAfterFinished=60)
        seen = build.seen(spec=spec, status=ended(build, Condition.COMPLETE))
        plan = reconcile(seen, build.now + after)
        assert (plan.delete_job, plan.requeue_after) == (deleted, requeue)

    def test_unset_keeps_the_job(self, build):
        plan = reconcile(build.seen(status=ended(build, Condition.COMPLETE)), build.now + 1e9)
        assert not plan.delete_job


class TestSuspend:
    def test_created_suspended_starts_nothing(self, build):
        seen = build.seen(spec=build.spec(suspend=True), status=st.JobStatus())
        plan = reconcile(seen, build.now)
        assert plan.creates == ()
        assert (plan.status.state, plan.status.start_time) == (State.SUSPENDED, None)

    def test_running_pods_get_the_whole_grace_and_status_goes_first(self, build):
        spec = build.spec(suspend=True, terminationGracePeriodSeconds=33)
        plan = reconcile(build.seen(build.pod(0), build.pod(1), spec=spec), build.now)
        assert plan.status.state is State.SUSPENDING
        assert plan.status_first
        assert [(d.name, d.grace_seconds) for d in plan.deletes] == [
            ("asr-master-0", 33),
            ("asr-worker-0", 33),
        ]

    def test_what_the_pods_said_while_saving_is_kept(self, build):
        told = build.outcome(75, step=42, last_checkpoint_step=42)
        pods = [build.failed(0, 75, deleting=True, outcome=told), build.pod(1, deleting=True)]
        plan = reconcile(build.seen(*pods, spec=build.spec(suspend=True)), build.now)
        assert plan.status.attempts[-1].last_step == 42
        assert plan.status.attempts[-1].end_time is None
        assert plan.status.progress.last_checkpoint_step == 42

    def test_suspended_once_all_are_gone(self, build):
        status = suspending(build)
        plan = reconcile(build.seen(spec=build.spec(suspend=True), status=status), build.now)
        assert plan.status.state is State.SUSPENDED
        assert plan.status.attempts[-1].reason == Reason.SUSPENDED.value
        assert plan.status.restarts.counted == 0
        again = reconcile(
            build.seen(spec=build.spec(suspend=True), status=plan.status), build.now + 9
        )
        assert again.status == plan.status
        assert again.requeue_after is None

    def test_an_attempt_that_ended_well_says_from_where_to_where_it_went(self, build):
        told = build.outcome(0, step=40, resumed_from_step=15)
        plan = reconcile(build.seen(build.done(0, outcome=told), build.pod(1)), build.now)
        assert plan.status.state is State.COMPLETE
        assert plan.status.attempts[-1].resumed_from_step == 15
        assert plan.status.attempts[-1].last_step == 40

    def test_a_job_that_was_done_first_completes(self, build):
        seen = build.seen(build.done(0), build.pod(1), spec=build.spec(suspend=True))
        assert reconcile(seen, build.now).status.state is State.COMPLETE

    def test_resume_moves_the_start_and_opens_the_next_attempt(self, build):
        status = suspending(build)
        suspended = reconcile(
            build.seen(spec=build.spec(suspend=True), status=status), build.now
        ).status
        plan = reconcile(build.seen(status=suspended), build.now + 1000)
        assert to_epoch(plan.status.start_time) == to_epoch(status.start_time) + 1000
        assert plan.status.attempt == 2
        assert plan.status_first
        assert reason_of(plan.status, Condition.SUSPENDED) == Reason.RESUMED.value
        assert build.config_of(plan).resume_from is ResumeFrom.NEWEST

    def test_suspended_time_does_not_count_for_the_deadline(self, build):
        spec = build.spec(activeDeadlineSeconds=150)
        asleep = build.spec(activeDeadlineSeconds=150, suspend=True)
        status = reconcile(build.seen(spec=asleep, status=suspending(build)), build.now).status
        late = build.now + 1e6
        assert (
            reconcile(build.seen(spec=asleep, status=status), late).status.state is State.SUSPENDED
        )
        plan = reconcile(build.seen(spec=spec, status=status), late)
        assert plan.status.state is not State.FAILED
        assert plan.requeue_after == pytest.approx(50)

    def test_taken_back_while_saving_is_a_free_restart(self, build):
        pods = [build.failed(0, 75, deleting=True), build.failed(1, 75, deleting=True)]
        plan = reconcile(build.seen(*pods, status=suspending(build)), build.now)
        assert plan.status.state is State.RESTARTING
        assert plan.status.restarts.counted == 0


def suspending(build):
    status = build.status()
    return st.with_condition(status, Condition.SUSPENDED, False, Reason.SUSPENDING, "", build.now)


class TestSuccess:
    def test_the_masters_word_is_enough(self, build):
        plan = reconcile(build.seen(build.done(0), build.pod(1)), build.now)
        assert plan.status.state is State.COMPLETE
        assert plan.status.completion_time == to_text(build.now)
        assert plan.requeue_after == 0

    def test_a_workers_word_is_not(self, build):
        plan = reconcile(build.seen(build.pod(0), build.done(1)), build.now)
        assert plan.status.state is State.STARTING

    def test_a_worker_that_fails_after_the_master_is_done_changes_nothing(self, build):
        plan = reconcile(build.seen(build.done(0), build.failed(1)), build.now)
        assert plan.status.state is State.COMPLETE

    @pytest.mark.parametrize(
        ("mode", "finding", "state"),
        [
            ("Enforce", {}, State.FAILED),
            ("Enforce", {"status": FindingStatus.HEALED}, State.COMPLETE),
            ("Enforce", {"severity": Severity.WARNING}, State.COMPLETE),
            ("Notify", {}, State.COMPLETE),
        ],
    )
    def test_an_open_critical_finding_stands_against_exit_code_0(self, build, mode, finding, state):
        told = build.outcome(0, findings=[build.finding(**finding)], verdict="Critical")
        spec = build.spec(health={"mode": mode})
        plan = reconcile(build.seen(build.done(0, outcome=told), spec=spec), build.now)
        assert plan.status.state is state
        if state is State.FAILED:
            assert plan.status.failure.reason == Reason.CRITICAL_FINDING.value
            assert "ZeroLoss" in plan.status.failure.message


class TestDeadline:
    @pytest.mark.parametrize(
        ("limit", "state", "requeue"), [(101, State.STARTING, 1), (100, State.FAILED, 0)]
    )
    def test_fires_without_any_other_event(self, build, limit, state, requeue):
        spec = build.spec(activeDeadlineSeconds=limit)
        plan = reconcile(build.seen(build.pod(0), build.pod(1), spec=spec), build.now)
        assert plan.status.state is state
        assert plan.requeue_after == requeue
        if state is State.FAILED:
            assert plan.status.failure.reason == Reason.DEADLINE_EXCEEDED.value
            assert plan.events[-1].warning

    def test_has_not_begun_before_the_first_attempt(self, build):
        spec = build.spec(activeDeadlineSeconds=1)
        plan = reconcile(build.seen(spec=spec, status=st.JobStatus()), build.now)
        assert plan.status.state is not State.FAILED


class TestHealth:
    def test_verdict_findings_condition_and_event(self, build):
        found = [build.finding(severity=Severity.WARNING), build.finding(Rule.NON_FINITE, step=7)]
        told = build.progress(verdict=Verdict.CRITICAL, findings=found, running=True, step=7)
        plan = reconcile(build.seen(build.pod(0), build.pod(1), progress=told), build.now)
        assert plan.status.health.verdict is Verdict.CRITICAL
        healthy = st.condition(plan.status, Condition.HEALTHY)
        assert (healthy.status.value, healthy.reason) == ("False", "NonFinite")
        assert [event.reason for event in plan.events if event.warning] == ["NonFinite", "ZeroLoss"]

    @pytest.mark.parametrize("action", list(Action))
    def test_no_finding_ever_deletes_a_pod(self, build, action):
        told = build.progress(verdict=Verdict.CRITICAL, findings=[build.finding(action=action)])
        plan = reconcile(build.seen(build.pod(0), build.pod(1), progress=told), build.now)
        assert plan.deletes == ()

    @pytest.mark.parametrize(
        ("verdict", "status", "reason"),
        [
            (Verdict.HEALTHY, "True", "AllRulesQuiet"),
            (Verdict.WARNING, "True", "AllRulesQuiet"),
            (Verdict.UNKNOWN, "Unknown", "NoTelemetry"),
        ],
    )
    def test_condition_healthy(self, build, verdict, status, reason):
        seen = build.seen(build.pod(0), build.pod(1), progress=build.progress(verdict=verdict))
        healthy = st.condition(reconcile(seen, build.now).status, Condition.HEALTHY)
        assert (healthy.status.value, healthy.reason) == (status, reason)

    def test_the_same_finding_is_told_once(self, build):
        told = build.progress(verdict=Verdict.CRITICAL, findings=[build.finding()])
        first = reconcile(build.seen(build.pod(0), build.pod(1), progress=told), build.now)
        seen = build.seen(build.pod(0), build.pod(1), progress=told, status=first.status)
        assert reconcile(seen, build.now + 5).events == ()

    def test_an_answer_of_another_attempt_is_not_read(self, build):
        told = build.progress(attempt=2, verdict=Verdict.CRITICAL, findings=[build.finding()])
        plan = reconcile(build.seen(build.pod(0), build.pod(1), progress=told), build.now)
        assert plan.status.health == JobHealth()

    def test_off_says_nothing(self, build):
        spec = build.spec(health={"mode": "Off"})
        told = build.progress(verdict=Verdict.CRITICAL, findings=[build.finding()])
        plan = reconcile(
            build.seen(build.pod(0), build.pod(1), spec=spec, progress=told), build.now
        )
        assert reason_of(plan.status, Condition.HEALTHY) == Reason.HEALTH_OFF.value
        assert plan.status.health == JobHealth()

    def test_silence_is_a_finding_and_no_healthy(self, build):
        told = build.progress()
        seen = build.seen(
            build.pod(0), build.pod(1), progress=told, silent_seconds=UNREACHABLE_SECONDS
        )
        plan = reconcile(seen, build.now)
        assert plan.status.health.verdict is Verdict.UNKNOWN
        assert reason_of(plan.status, Condition.HEALTHY) == Rule.TELEMETRY_UNREACHABLE.value

    def test_short_silence_asks_to_be_looked_at_again(self, build):
        seen = build.seen(build.pod(0), build.pod(1), silent_seconds=20.0)
        assert reconcile(seen, build.now).requeue_after == pytest.approx(UNREACHABLE_SECONDS - 20)

    def test_the_verdict_that_ended_the_job_is_in_its_status(self, build):
        told = build.outcome(41, rule="ZeroLoss", findings=[build.finding()], verdict="Critical")
        plan = reconcile(build.seen(build.failed(0, 41, outcome=told)), build.now)
        assert plan.status.state is State.FAILED
        assert plan.status.health.verdict is Verdict.CRITICAL
        assert plan.status.health.findings[0].rule is Rule.ZERO_LOSS

    def test_a_new_attempt_begins_unknown_and_heals_what_was(self, build):
        told = build.progress(verdict=Verdict.CRITICAL, findings=[build.finding()])
        status = reconcile(build.seen(build.pod(0), build.pod(1), progress=told), build.now).status
        status = st.end_attempt(status, Reason.ATTEMPT_FAILED, build.now)
        plan = reconcile(build.seen(status=status), build.now)
        assert plan.status.health.verdict is Verdict.UNKNOWN
        assert plan.status.health.findings[0].status is FindingStatus.HEALED


class TestGang:
    def test_the_intent_is_written_before_the_first_pod(self, build):
        plan = reconcile(build.seen(status=st.JobStatus()), build.now)
        assert plan.status_first
        assert (plan.status.attempt, plan.status.state) == (1, State.STARTING)
        kinds = [create.kind for create in plan.creates]
        assert kinds == [CONFIG_MAP, POD, POD]

    def test_a_pass_that_was_cut_short_is_taken_up(self, build):
        status = build.status(whole=False)
        begun = reconcile(build.seen(status=status), build.now)
        config = build.config_of(begun)
        plan = reconcile(build.seen(build.pod(1), status=status, run_config=config), build.now)
        assert [c.manifest["metadata"]["name"] for c in plan.creates] == ["asr-master-0"]
        assert plan.status.attempt == 1

    def test_the_next_attempt_waits_for_the_old_uids(self, build):
        status = st.end_attempt(build.status(), Reason.ATTEMPT_FAILED, build.now)
        plan = reconcile(build.seen(build.pod(1, deleting=True), status=status), build.now)
        assert (plan.creates, plan.deletes, plan.status.attempt) == ((), (), 1)
        plan = reconcile(build.seen(build.pod(1), status=status), build.now)
        assert plan.deletes == (Delete(POD, "asr-worker-0", "asr-worker-0-1", 5),)

    def test_then_all_come_back(self, build):
        status = st.end_attempt(build.status(), Reason.ATTEMPT_FAILED, build.now)
        plan = reconcile(build.seen(status=status), build.now)
        assert plan.status.attempt == 2
        pods = build.created(plan, POD)
        assert [p["metadata"]["labels"]["speechtrain.dev/attempt"] for p in pods] == ["2", "2"]

    def test_run_configs_of_old_attempts_go(self, build):
        status = build.status(attempt=3, whole=False)
        old = tuple(ChildRecord(f"asr-attempt-{n}", f"uid-{n}", build.uid, n) for n in (1, 2))
        opened = build.seen(status=status, stale_run_configs=old)
        plan = reconcile(opened, build.now)
        assert plan.deletes == ()  # what the job was accepted with is never in none of them
        seen = dataclasses.replace(opened, run_config=build.config_of(plan))
        assert reconcile(seen, build.now).deletes == tuple(
            Delete(CONFIG_MAP, one.name, one.uid) for one in old
        )

    def test_a_name_that_is_taken_is_said_and_nothing_is_adopted(self, build):
        foreign = build.pod(1, owner_uid="somebody")
        plan = reconcile(build.seen(foreign, status=st.JobStatus()), build.now)
        assert (plan.deletes, plan.creates) == ((), ())
        assert reason_of(plan.status, Condition.RUNNING) == Reason.NAME_TAKEN.value
        assert plan.requeue_after == 10
        again = reconcile(build.seen(foreign, status=plan.status), build.now)
        assert again.events == ()
        freed = reconcile(build.seen(status=plan.status), build.now)
        assert len(freed.creates) == 3

    def test_a_whole_gang_is_noted(self, build):
        seen = build.seen(build.pod(0), build.pod(1), status=build.status(whole=False))
        assert reason_of(reconcile(seen, build.now).status, Condition.RUNNING) == "PodCreated"

    @pytest.mark.parametrize(
        ("history", "expected"),
        [
            ([], ResumeFrom.NEWEST),
            ([(1, 5)], ResumeFrom.NEWEST),
            ([(40, 5)], ResumeFrom.CONFIRMED),
            ([(40, 5), (75, None)], ResumeFrom.CONFIRMED),
            ([(40, 5), (75, 9)], ResumeFrom.NEWEST),
            ([(1, None), (1, None)], ResumeFrom.NEWEST),
        ],
    )
    def test_where_an_attempt_resumes(self, build, history, expected):
        past = to_text(build.now - 50)
        attempts = tuple(
            Attempt(number, past, past, exit_code=code, last_step=step)
            for number, (code, step) in enumerate(history, 1)
        )
        status = build.status(attempt=len(history), attempts=attempts)
        plan = reconcile(build.seen(status=status), build.now)
        assert build.config_of(plan).resume_from is expected

    def test_a_spike_that_ended_an_attempt_bounds_what_the_next_resumes_from(self, build):
        spike = build.finding(Rule.LOSS_SPIKE, step=61)
        nan = build.finding(Rule.NON_FINITE, step=3)  # the trainer's own marks tell of this one
        for finding, expected in ((spike, 61), (nan, None)):
            end = build.outcome(
                40, rule=finding.rule.value, findings=[nan, spike], last_confirmed_step=60
            )
            seen = build.solo(build.failed(0, 40, outcome=end))
            ended = reconcile(seen, build.now).status
            assert ended.attempts[-1].first_bad_step == expected
            plan = reconcile(build.solo(status=ended), build.now + 1)
            assert build.config_of(plan).resume_from is ResumeFrom.CONFIRMED
            assert build.config_of(plan).resume_before == expected

    def test_only_the_newest_ten_attempts_are_kept(self, build):
        status = st.JobStatus()
        for _ in range(15):
            status = st.end_attempt(
                st.begin_attempt(status, build.now), Reason.ATTEMPT_FAILED, build.now
            )
        assert [attempt.number for attempt in status.attempts] == list(range(6, 16))


class TestNumbers:
    def test_running_once_every_rank_stepped(self, build):
        rows = [RankRow(rank=0, node_rank=0, step=3), RankRow(rank=1, node_rank=1)]
        told = build.progress(ranks=rows, step=3, total_steps=10, loss=float("nan"))
        pods = (build.pod(0), build.pod(1))
        status = reconcile(build.seen(*pods, progress=told), build.now).status
        assert (status.nodes, status.replicas.ready) == ("1/2", 1)
        assert status.state is State.STARTING
        assert (status.progress.percent, status.progress.loss) == (30, "nan")
        told = dataclasses.replace(told, running=True)
        status = reconcile(build.seen(*pods, progress=told, status=status), build.now).status
        assert status.state is State.RUNNING
        assert status.startup is None

    def test_numbers_alone_are_written_every_ten_seconds(self, build):
        pods = (build.pod(0), build.pod(1))
        told = build.progress(step=1, running=True)
        status = reconcile(build.seen(*pods, progress=told), build.now).status
        status = reconcile(build.seen(*pods, progress=told, status=status), build.now).status
        for seconds, step in ((9, 1), (10, 2)):
            later = dataclasses.replace(told, step=2, updated_at=build.now + seconds)
            plan = reconcile(build.seen(*pods, progress=later, status=status), build.now + seconds)
            assert plan.status.progress.step == step
            assert (plan.status == status) is (seconds == 9)

    def test_a_sign_that_somebody_listens_is_renewed_each_minute_without_numbers(self, build):
        """An evaluation of an hour brings no number; an old sign says that the operator is gone."""
        pods = (build.pod(0), build.pod(1))
        told = build.progress(step=1, running=True)

        def at(seconds, status=None, silent=0.0):
            given = {} if status is None else {"status": status}
            seen = build.seen(*pods, progress=told, silent_seconds=silent, **given)
            return reconcile(seen, build.now + seconds)

        status = at(0, at(0).status).status
        assert status.progress.heard_at == to_text(build.now)
        early = at(59, status)
        assert early.status == status
        assert early.requeue_after is not None
        assert early.requeue_after <= 1.0
        assert at(70, status, silent=30.0).status == status, "heard before the minute was over"
        assert at(60, status).status.progress.heard_at == to_text(build.now + 60)

    def test_the_last_numbers_before_a_silence_are_written_too(self, build):
        pods = (build.pod(0), build.pod(1))
        told = build.progress(step=26, running=True)
        status = reconcile(build.seen(*pods, progress=told), build.now).status
        status = reconcile(build.seen(*pods, progress=told, status=status), build.now).status
        held = dataclasses.replace(told, step=31, updated_at=build.now + 4)
        seen = build.seen(*pods, progress=held, status=status)
        early = reconcile(seen, build.now + 4)
        assert early.status == status
        assert early.requeue_after is not None
        assert early.requeue_after <= 6.0
        written = reconcile(seen, build.now + 10).status
        assert written.progress.step == 31
        seen = build.seen(*pods, progress=held, status=written)
        assert reconcile(seen, build.now + 500).status == written

    def test_numbers_of_a_pod_whose_clock_is_ahead_are_written_as_often(self, build):
        pods = (build.pod(0), build.pod(1))
        told = build.progress(step=1, running=True, updated_at=build.now + 300)
        status = reconcile(build.seen(*pods, progress=told), build.now).status
        status = reconcile(build.seen(*pods, progress=told, status=status), build.now).status
        later = dataclasses.replace(told, step=2, updated_at=build.now + 310)
        seen = build.seen(*pods, progress=later, status=status)
        assert reconcile(seen, build.now + 10).status.progress.step == 2

    def test_the_last_words_are_newer_than_any_answer(self, build):
        told = build.outcome(0, step=100, last_checkpoint_step=100, last_confirmed_step=90)
        progress = build.progress(step=97, total_steps=100)
        seen = build.seen(build.done(0, outcome=told), build.pod(1), progress=progress)
        numbers = reconcile(seen, build.now).status.progress
        assert (numbers.step, numbers.percent, numbers.last_checkpoint_step) == (100, 100, 100)

    def test_the_last_words_hold_the_last_numbers(self, build):
        """A run that ends in half a second was asked once; its five bad steps read as three."""
        told = build.outcome(
            40, step=8, total_steps=9, loss=float("nan"), gradient_norm=2.5, learning_rate=1e-4,
            audio_seconds_per_second=20.5, samples_skipped=4, non_finite_steps=5,
        )  # fmt: skip
        early = build.progress(
            step=6, loss=1.5, gradient_norm=1.0, learning_rate=2e-4, non_finite_steps=3
        )
        seen = build.seen(build.failed(0, 40, outcome=told), build.pod(1), progress=early)
        numbers = reconcile(seen, build.now).status.progress
        assert (numbers.non_finite_steps, numbers.samples_skipped) == (5, 4)
        assert (numbers.loss, numbers.gradient_norm) == ("nan", "2.5")
        assert (numbers.learning_rate, numbers.audio_seconds_per_second) == ("0.0001", "20.5")
        assert (numbers.total_steps, numbers.percent) == (9, 88)

    def test_the_record_of_a_killed_master_is_no_last_word(self, build):
        stale = build.outcome(None, step=20, non_finite_steps=0)
        answer = build.progress(step=31, non_finite_steps=1)
        seen = build.seen(build.failed(0, 137, outcome=stale), build.pod(1), progress=answer)
        numbers = reconcile(seen, build.now).status.progress
        assert (numbers.step, numbers.non_finite_steps) == (31, 1)

    def test_where_an_attempt_went_on_from_outlives_pods_that_vanish(self, build):
        pods = (build.pod(0), build.pod(1))
        told = build.progress(step=31, running=True, resumed_from_step=20)
        status = reconcile(build.seen(*pods, progress=told), build.now).status
        assert status.attempts[-1].resumed_from_step == 20
        status = reconcile(build.seen(build.pod(0), status=status), build.now).status
        assert status.attempts[-1].end_time is not None
        assert status.attempts[-1].resumed_from_step == 20

    def test_roll_backs_and_discarded_steps_are_summed_over_attempts_and_counted_once(self, build):
        pods = (build.pod(0), build.pod(1))
        told = build.progress(step=9, running=True, rollbacks=2, discarded_steps=14)
        status = reconcile(build.seen(*pods, progress=told), build.now).status
        again = reconcile(build.seen(*pods, progress=told, status=status), build.now + 60).status
        assert (again.progress.rollbacks, again.progress.discarded_steps) == (2, 14)
        end = build.outcome(40, step=9, rollbacks=2, discarded_steps=21, last_confirmed_step=5)
        failed = build.seen(
            build.failed(0, 40, outcome=end), build.pod(1), progress=told, status=again
        )
        ended = reconcile(failed, build.now + 61).status
        assert (ended.progress.rollbacks, ended.progress.discarded_steps) == (2, 21)
        assert (ended.attempts[-1].rollbacks, ended.attempts[-1].discarded_steps) == (2, 21)
        second = st.begin_attempt(ended, build.now + 62)
        pods = (build.pod(0, 2), build.pod(1, 2))
        told = build.progress(2, step=7, running=True, rollbacks=1, discarded_steps=3)
        seen = build.seen(*pods, progress=told, status=second)
        sums = reconcile(seen, build.now + 90).status
        assert (sums.progress.rollbacks, sums.progress.discarded_steps) == (3, 24)
        assert (sums.attempts[0].discarded_steps, sums.attempts[1].discarded_steps) == (21, 3)

    def test_transition_times_move_only_on_flips(self, build):
        status = st.with_condition(st.JobStatus(), Condition.HEALTHY, True, "A", "", build.now)
        same = st.with_condition(status, Condition.HEALTHY, True, "B", "new", build.now + 9)
        assert st.condition(same, Condition.HEALTHY).last_transition_time == to_text(build.now)
        flipped = st.with_condition(same, Condition.HEALTHY, None, "C", "", build.now + 20)
        assert st.condition(flipped, Condition.HEALTHY).last_transition_time == to_text(
            build.now + 20
        )

    def test_a_pass_over_an_unchanged_job_changes_nothing(self, build):
        pods = (build.pod(0), build.pod(1))
        told = build.progress(
            step=1, running=True, findings=[build.finding()], verdict=Verdict.CRITICAL
        )
        status = build.status()
        for _ in range(2):
            status = reconcile(build.seen(*pods, progress=told, status=status), build.now).status
        plan = reconcile(build.seen(*pods, progress=told, status=status), build.now + 500)
        assert plan.status == status
        assert plan.events == ()
