"""An attempt ends: by which cause, when, and what the job's end says of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from speech_contract.api import parse
from speech_contract.outcome import EXIT_CODES, Next
from speech_contract.progress import Rule
from speech_contract.reasons import Condition, Reason, State
from speech_contract.report import BadStep
from speech_contract.status import Restarts
from speech_operator import status as st
from speech_operator.ending import ending_of, gone_pod
from speech_operator.plan import Draft
from speech_operator.policies.failure import failure
from speech_operator.reconcile import reconcile
from speech_operator.resources.config_map import build_run_config
from speech_operator.snapshot import NodeRecord, PodPhase

FREE = [
    pytest.param({"code": 75}, id="saved itself"),
    pytest.param({"code": 137, "reason": "Evicted"}, id="evicted"),
    pytest.param({"code": 143, "reason": "Preempted"}, id="preempted"),
    pytest.param({"code": None, "reason": "NodeLost"}, id="node lost"),
    pytest.param({"code": 143, "deleting": True}, id="drained"),
    pytest.param({"code": 1, "deleting": True}, id="died while drained"),
]


@pytest.mark.parametrize("code", sorted(EXIT_CODES.keys() - {0, 40}))
def test_exit_code_table_decides_what_follows(build, code):
    plan = reconcile(build.seen(build.failed(0, code), build.pod(1)), build.now)
    meaning = EXIT_CODES[code]
    if meaning.next is Next.FAIL:
        assert plan.status.state is State.FAILED
        assert plan.status.failure.reason == meaning.cause.value
        assert plan.status.failure.remedy == meaning.remedy
        assert plan.deletes == ()  # the status that holds the cause is written first
        assert plan.requeue_after == 0
    else:
        assert plan.status.state is State.RESTARTING
        assert plan.status.restarts.counted == int(meaning.counted)
        assert {delete.name for delete in plan.deletes} == {"asr-master-0", "asr-worker-0"}
    assert plan.status_first
    assert plan.status.attempts[-1].exit_code == code


@pytest.mark.parametrize(("code", "like"), [(3, 1), (99, 1), (200, 139)])
def test_an_unlisted_code_reads_as_its_neighbour(build, code, like):
    ending = ending_of([build.failed(0, code)])
    assert ending.cause == EXIT_CODES[like].cause.value
    assert ending.exit_code == code


@pytest.mark.parametrize("pod", FREE)
def test_interruptions_are_free(build, pod):
    spent = Restarts(counted=20, total=20)
    status = build.status(restarts=spent)
    plan = reconcile(
        build.seen(build.failed(1, **pod), build.pod(0), status=status), build.now + 60
    )
    assert plan.status.state is State.RESTARTING
    assert plan.status.restarts == spent
    assert plan.status.attempts[-1].reason == Reason.ATTEMPT_INTERRUPTED.value
    assert all(d.grace_seconds == 120 for d in plan.deletes)
    (told,) = [event for event in plan.events if event.reason == "AttemptInterrupted"]
    assert not told.warning


@pytest.mark.parametrize(
    ("asked", "ended", "state"),
    [
        (-1.0, 0.0, State.RESTARTING),
        (0.0, 0.0, State.RESTARTING),  # a second is all that Kubernetes tells apart
        (None, 0.0, State.RESTARTING),
        (1.0, 0.0, State.COMPLETE),
    ],
)
def test_a_script_that_ends_well_because_it_was_asked_to_is_not_done(build, asked, ended, state):
    """Drained, evicted, deleted: the next attempt goes on, and no budget pays for it."""
    when = None if asked is None else build.now + asked
    master = build.done(0, deleting=True, asked_at=when, finished_at=build.now + ended)
    plan = reconcile(build.seen(master, build.pod(1)), build.now + 60)
    assert plan.status.state is state
    if state is State.RESTARTING:
        assert plan.status.attempts[-1].reason == Reason.ATTEMPT_INTERRUPTED.value
        assert (plan.status.attempts[-1].cause, plan.status.restarts.counted) == ("Drained", 0)


def test_a_script_that_is_suspended_and_ends_well_is_suspended(build):
    master = build.done(0, deleting=True, asked_at=build.now, finished_at=build.now + 5)
    seen = build.seen(master, spec=build.spec(nodes=1, suspend=True))
    assert reconcile(seen, build.now + 6).status.state is State.SUSPENDING


def test_a_recipe_of_ours_ends_with_0_only_when_it_is_done(build):
    document = build.document(nodes=1)
    document["spec"] |= {
        "recipe": {"vits": {}},
        "data": {"train": {"manifest": "a"}},
        "trainer": {},
    }
    master = build.done(0, deleting=True, asked_at=build.now - 5, finished_at=build.now)
    seen = build.seen(master, spec=parse(document, local=True).spec)
    assert reconcile(seen, build.now + 60).status.state is State.COMPLETE


def test_a_counted_restart_is_told_as_a_warning(build):
    plan = reconcile(build.seen(build.failed(0, 45), build.pod(1)), build.now)
    (told,) = [event for event in plan.events if event.message.startswith("attempt 1 ended by")]
    assert told.warning


def test_a_pod_gone_without_a_terminal_state_is_an_interruption(build):
    plan = reconcile(build.seen(build.pod(0)), build.now)
    attempt = plan.status.attempts[-1]
    assert attempt.reason == Reason.ATTEMPT_INTERRUPTED.value
    assert (attempt.cause, attempt.pod) == ("PodGone", "asr-worker-0")
    assert plan.status.restarts.counted == 0


def test_a_pod_that_was_never_made_is_no_interruption(build):
    plan = reconcile(build.seen(build.pod(0), status=build.status(whole=False)), build.now)
    assert plan.status.attempts[-1].end_time is None
    assert [create.manifest["metadata"]["name"] for create in plan.creates[1:]] == ["asr-worker-0"]


def test_a_failure_gives_peers_five_seconds(build):
    plan = reconcile(build.seen(build.failed(0, 45), build.pod(1)), build.now)
    assert {delete.grace_seconds for delete in plan.deletes} == {5}


def test_pods_already_under_deletion_are_not_deleted_again(build):
    plan = reconcile(build.seen(build.failed(0), build.pod(1, deleting=True)), build.now)
    assert [delete.name for delete in plan.deletes] == ["asr-master-0"]


class TestCause:
    def test_the_masters_outcome_names_it(self, build):
        told = build.outcome(139, message="rank 9 died: segmentation fault", rank=0)
        told = dataclasses.replace(told, rank=9)
        master = build.failed(0, 139, outcome=told, finished_at=9.0)
        ending = ending_of([build.failed(1, 139, finished_at=1.0), master])
        assert (ending.pod, ending.rank) == ("asr-master-0", 9)

    def test_what_a_worker_does_not_know_the_master_s_record_does(self, build):
        running = build.outcome(None, step=16, resumed_from_step=10, last_confirmed_step=10)
        worker = build.failed(1, 137, finished_at=build.now - 60)
        plan = reconcile(build.seen(build.pod(0, outcome=running), worker), build.now)
        attempt = plan.status.attempts[-1]
        assert (attempt.pod, attempt.exit_code) == ("asr-worker-0", 137)
        assert (attempt.last_step, attempt.resumed_from_step) == (16, 10)

    def test_else_the_pod_with_a_code_other_than_one(self, build):
        pods = [build.failed(0, 1, finished_at=1.0), build.failed(1, 134, finished_at=2.0)]
        assert ending_of(pods).pod == "asr-worker-0"

    def test_else_the_earliest(self, build):
        pods = [build.failed(0, 1, finished_at=3.0), build.failed(1, 1, finished_at=2.0)]
        assert ending_of(pods).pod == "asr-worker-0"

    def test_an_outcome_without_an_end_reads_as_killed(self, build):
        ending = ending_of([build.failed(0, None, outcome=build.outcome(None, step=7))])
        assert (ending.exit_code, ending.cause, ending.step) == (137, "Killed", 7)

    def test_what_peers_of_a_lost_pod_die_of_is_no_cause(self, build):
        stalled = build.outcome(45, rule=Rule.STALLED.value)
        gone = gone_pod("asr-worker-0", 1, 1, build.uid)
        assert ending_of([build.failed(0, 45, outcome=stalled), gone]).interrupted

    def test_a_health_rule_is_a_cause_even_when_a_pod_is_taken(self, build):
        judged = build.outcome(41, rule=Rule.ZERO_LOSS.value, message="loss is 0")
        ending = ending_of(
            [build.failed(0, 41, outcome=judged), build.failed(1, 137, reason="Evicted")]
        )
        assert (ending.cause, ending.next) == ("NotLearning", Next.FAIL)

    def test_component_and_module_are_in_the_sentence(self, build):
        bad = BadStep(2, "mel", "decoder")
        told = build.outcome(
            40, message="loss is nan", rule=Rule.NON_FINITE.value, first_bad=bad, step=3
        )
        message = ending_of([build.failed(0, 40, outcome=told)]).message
        assert message == "loss is nan (step 3, first bad step 2, component mel, module decoder)"

    def test_without_an_outcome_the_log_is_kept_but_is_no_cause(self, build):
        one = ending_of([build.failed(0, 1, message="Traceback 1\nKeyError: a")])
        two = ending_of([build.failed(0, 1, message="other text")])
        assert one.log_tail.endswith("KeyError: a")
        assert one.fingerprint == two.fingerprint


class TestWaitingForTheMaster:
    def test_a_worker_fails_first(self, build):
        seen = build.seen(build.pod(0), build.failed(1, 1))
        plan = reconcile(seen, build.now + 4)
        assert plan.status.attempts[-1].end_time is None
        assert plan.requeue_after == pytest.approx(6)

    def test_the_master_never_speaks(self, build):
        seen = build.seen(build.pod(0), build.failed(1, 134))
        plan = reconcile(seen, build.now + 10)
        assert plan.status.attempts[-1].exit_code == 134
        assert plan.status.state is State.RESTARTING

    def test_nine_seconds_of_ten_are_not_over(self, build: Any) -> None:
        seen = build.seen(build.pod(0), build.failed(1, 134))
        draft = failure(seen, Draft(seen.job.status), build.now + 9)
        assert (draft.requeue_after, draft.ending) == (1.0, None)

    def test_of_a_pod_that_is_gone_nobody_knows_since_when(self, build: Any) -> None:
        draft = ended(build, build.pod(0))
        assert draft.ending is not None
        assert draft.ending.cause == "PodGone"


def ended(build: Any, *pods: Any, **fields: Any) -> Draft:
    """What the policy `failure` by itself makes of such pods."""
    seen = build.seen(*pods, **fields)
    return failure(seen, Draft(seen.job.status), build.now)


class TestWhetherItHasEnded:
    @pytest.mark.parametrize("case", ["between attempts", "given back", "all run", "a worker done"])
    def test_what_has_not_failed_is_left_alone(self, build: Any, case: str) -> None:
        status, pods = build.status(), [build.pod(0), build.failed(1)]
        if case == "between attempts":
            status = st.end_attempt(status, Reason.ATTEMPT_FAILED, build.now)
        elif case == "given back":
            status = st.with_condition(
                status, Condition.RUNNING, False, Reason.GANG_RELEASED, "", build.now
            )
        elif case == "all run":
            pods[1] = build.pod(1)
        else:
            pods[1] = build.done(1)
        assert ended(build, *pods, status=status) == Draft(status)

    @pytest.mark.parametrize(
        ("overdue", "again"), [(59, 1.0), (60, None), (61, None), (None, None)]
    )
    def test_a_pod_that_stays_beyond_its_grace_ends_it(
        self, build: Any, overdue: float | None, again: float | None
    ) -> None:
        gone_by = None if overdue is None else build.now - overdue
        draft = ended(build, build.pod(0), build.pod(1, deleting=True, gone_by=gone_by))
        over = overdue is not None and overdue >= 60
        assert (draft.requeue_after, draft.ending is not None) == (again, over)

    def test_the_first_that_may_be_lost_says_when_to_look_again(self, build: Any) -> None:
        down = {"node-1": NodeRecord("node-1", "u", not_ready_since=build.now - 25)}
        late = build.pod(0, deleting=True, gone_by=build.now)
        pods = [late, build.pod(1, phase=PodPhase.PENDING)]
        assert ended(build, *pods, nodes=down).requeue_after == 5.0

    def test_what_the_others_die_of_is_for_want_of_one_that_is_taken(self, build: Any) -> None:
        stalled = build.outcome(45, rule=Rule.STALLED.value)
        pods = [build.failed(0, 45, outcome=stalled), build.pod(1, deleting=True)]
        draft = ended(build, *pods)
        assert draft.ending is not None
        assert (draft.ending.cause, draft.ending.pod) == ("Drained", "asr-worker-0")
        assert draft.status.attempts[-1].cause == "Drained"

    @pytest.mark.parametrize(("per_node", "pod"), [(2, "asr-worker-0"), (4, "asr-master-0")])
    def test_its_place_is_that_of_the_rank_that_the_master_names(
        self, build: Any, per_node: int, pod: str
    ) -> None:
        told = dataclasses.replace(build.outcome(46), rank=3)
        seen = build.seen(build.failed(0, 46, outcome=told), build.pod(1))
        config = build_run_config(seen, seen.job.status)
        config = dataclasses.replace(config, ranks_per_node=per_node)
        draft = ended(build, *seen.pods, run_config=config)
        assert draft.ending is not None
        assert draft.ending.pod == pod


def test_failure_carries_all_a_person_asks_for(build):
    told = build.outcome(65, message="line 7 is no JSON", log_tail="…\nline 7", rank=0)
    told = dataclasses.replace(told, rank=3)
    plan = reconcile(build.seen(build.failed(0, 65, outcome=told), build.pod(1)), build.now)
    failure = plan.status.failure
    assert (failure.pod, failure.rank, failure.node) == ("asr-master-0", 3, "node-0")
    assert (failure.exit_code, failure.log_tail) == (65, "…\nline 7")
    assert "speechtrain data validate" in failure.remedy
    assert st.is_true(plan.status, Condition.FAILED)
    assert not st.is_true(plan.status, Condition.RUNNING)
    assert plan.status.completion_time is not None
    assert plan.events[-1].warning


def test_a_hostile_log_tail_is_cut(build):
    told = build.outcome(65, log_tail="x" * 100_000, message="y" * 100_000)
    failure = reconcile(build.solo(build.failed(0, 65, outcome=told)), build.now).status.failure
    assert len(failure.log_tail) <= st.LIMITS["log_tail"]
    assert len(failure.message) <= st.LIMITS["message"]
