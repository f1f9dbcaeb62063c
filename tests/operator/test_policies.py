"""The other policies, a table each; pods and times in, status and actions out."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from speech_contract.findings import RankRow, Verdict
from speech_contract.phases import Phase
from speech_contract.reasons import Condition, Reason, State
from speech_contract.status import JobStatus, Startup
from speech_operator import status as st
from speech_operator.child_kind import ChildRecord
from speech_operator.children import CONFIG_MAP, POD
from speech_operator.plan import Delete, Draft
from speech_operator.policies.cleanup import cleanup
from speech_operator.policies.deadline import deadline
from speech_operator.policies.hands_off import hands_off
from speech_operator.policies.ttl import ttl
from speech_operator.policies.validation import validation
from speech_operator.reconcile import reconcile
from speech_operator.snapshot import PodPhase
from speech_operator.timestamps import to_text


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
        job = build.job(None, JobStatus(), problems=("spec.numNodes: 0 is below 1; write 1",))
        plan = reconcile(build.seen(job=job), build.now)
        assert plan.creates == ()
        assert plan.status.state is State.REFUSED
        assert (plan.status.reason, plan.status.message) == ("InvalidSpec", job.problems[0])
        assert reason_of(plan.status, Condition.ACCEPTED) == Reason.INVALID_SPEC.value
        assert "numNodes" in plan.events[0].message

    def test_it_is_said_once(self, build):
        job = build.job(None, JobStatus(), problems=("spec.x: is wrong",))
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

    def test_refusing_is_told_as_a_warning_and_accepting_only_what_was_refused(
        self, build: Any
    ) -> None:
        job = build.job(None, JobStatus(), problems=("spec.x: is wrong", "spec.y: too"))
        refused = validation(build.seen(job=job), Draft(job.status), build.now)
        assert [(e.message, e.warning) for e in refused.events] == [
            ("spec.x: is wrong; spec.y: too", True)
        ]
        assert (refused.decided, st.is_true(refused.status, Condition.ACCEPTED)) == (True, False)
        mended = validation(build.seen(status=refused.status), Draft(refused.status), build.now)
        assert [(e.reason, e.warning) for e in mended.events] == [("SpecValid", False)]
        for status in (mended.status, JobStatus()):
            draft = validation(build.seen(status=status), Draft(status), build.now)
            assert (draft.events, draft.decided) == ((), False)
            assert st.is_true(draft.status, Condition.ACCEPTED)

    def test_a_good_spec_is_accepted(self, build):
        plan = reconcile(build.seen(status=JobStatus()), build.now)
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

    def test_what_goes_has_five_seconds_once_and_old_run_configs_go_too(self, build: Any) -> None:
        old = ChildRecord("asr-attempt-1", "uid-1", build.uid, 1)
        pods = [build.pod(0), build.pod(1, deleting=True)]
        status = ended(build, Condition.FAILED, Reason.SAME_CAUSE)
        draft = cleanup(
            build.seen(*pods, status=status, stale_run_configs=(old,)), Draft(status), build.now
        )
        assert draft.deletes == (
            Delete(POD, "asr-master-0", "asr-master-0-1", 5),
            Delete(CONFIG_MAP, "asr-attempt-1", "uid-1"),
        )
        assert draft.decided

    def test_a_job_that_goes_on_keeps_all(self, build: Any) -> None:
        draft = Draft(build.status())
        spec = build.spec(cleanPodPolicy="All", ttlSecondsAfterFinished=0)
        seen = build.seen(build.pod(0), spec=spec)
        assert cleanup(seen, draft, build.now) is draft
        assert ttl(seen, draft, build.now) is draft

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

    def test_a_job_that_nobody_knows_the_end_of_is_kept(self, build: Any) -> None:
        status = dataclasses.replace(ended(build, Condition.COMPLETE), completion_time=None)
        seen = build.seen(spec=build.spec(ttlSecondsAfterFinished=0), status=status)
        assert ttl(seen, Draft(status), build.now) == Draft(status)

    def test_unset_keeps_the_job(self, build):
        plan = reconcile(build.seen(status=ended(build, Condition.COMPLETE)), build.now + 1e9)
        assert not plan.delete_job


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

    @pytest.mark.parametrize(
        ("limit", "again"), [(150, 130.0), (31, 11.0), (29, 10.0), (5, 10.0), (None, None)]
    )
    def test_time_without_room_does_not_count_and_may_end_at_any_moment(
        self, build: Any, limit: int | None, again: float | None
    ) -> None:
        """Of its 100 s the attempt had room for the first 20."""
        waits = Startup(Phase.SCHEDULING, to_text(build.now - 80))
        status = dataclasses.replace(build.status(), startup=waits)
        spec = build.spec(**({} if limit is None else {"activeDeadlineSeconds": limit}))
        draft = deadline(build.seen(spec=spec, status=status), Draft(status), build.now)
        assert (draft.requeue_after, draft.decided, draft.events) == (again, False, ())

    def test_it_decides_the_pass_and_the_next_one_deletes_the_pods(self, build: Any) -> None:
        seen = build.seen(build.pod(0), spec=build.spec(activeDeadlineSeconds=100))
        draft = deadline(seen, Draft(seen.job.status), build.now)
        assert (draft.decided, draft.deletes) == (True, ())
        assert draft.status.attempts[-1].reason == "DeadlineExceeded"

    def test_has_not_begun_before_the_first_attempt(self, build):
        spec = build.spec(activeDeadlineSeconds=1)
        plan = reconcile(build.seen(spec=spec, status=JobStatus()), build.now)
        assert plan.status.state is not State.FAILED


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
        status = st.with_condition(JobStatus(), Condition.HEALTHY, True, "A", "", build.now)
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
