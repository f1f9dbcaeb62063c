"""Half-scheduled gangs: given back in time, asked for again later, and no two of them wait for each other for ever."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from speech_contract.phases import Phase
from speech_contract.reasons import Condition, Reason, State
from speech_contract.status import JobStatus, PartialGang, Startup
from speech_operator import status as st
from speech_operator.apply import apply
from speech_operator.children import POD
from speech_operator.cluster.base import JobKey
from speech_operator.observe import observe
from speech_operator.plan import Draft
from speech_operator.policies.release import release, seconds_away
from speech_operator.reconcile import reconcile
from speech_operator.refusals import refusal
from speech_operator.snapshot import PodPhase, PodRecord
from speech_operator.timestamps import to_epoch, to_text

KEY = JobKey("speech", "asr")


def waiting(build: Any, rank: int, age: float = 0.0, node: str = "", **fields: Any) -> PodRecord:
    """A pod that has not started; with a node it has found room."""
    made: PodRecord = build.pod(
        rank, phase=PodPhase.PENDING, node=node, created_at=build.now - age, **fields
    )
    return made


def begun(build: Any, seconds: float, **fields: Any) -> JobStatus:
    """Of an attempt that began so long ago, and whose pods lack room since then."""
    status = build.status(**fields)
    last = dataclasses.replace(status.attempts[-1], start_time=to_text(build.now - seconds))
    startup = Startup(Phase.SCHEDULING, to_text(build.now - seconds))
    made: JobStatus = dataclasses.replace(
        status, attempts=(*status.attempts[:-1], last), startup=startup
    )
    return made


def released(build: Any, seconds: float = 60.0, times: int = 1) -> JobStatus:
    """Of a job whose pods were given back, and that asks for them again so many seconds from now."""
    status = begun(build, 700)
    status = st.with_condition(
        status, Condition.RUNNING, False, Reason.GANG_RELEASED, "given back", build.now - 30
    )
    gang = PartialGang(times, to_text(build.now + seconds))
    return dataclasses.replace(status, partial_gang=gang)


class TestGivingBack:
    @pytest.mark.parametrize(("age", "left"), [(599, 1.0), (600, None)])
    def test_when_its_time_is_over_and_not_before(
        self, build: Any, age: float, left: float | None
    ) -> None:
        pods = [waiting(build, 0, age, "node-0"), waiting(build, 1, age)]
        plan = reconcile(build.seen(*pods, status=begun(build, age)), build.now)
        assert bool(plan.deletes) is (left is None)
        if left is not None:
            assert plan.requeue_after == left
            return
        assert {(d.name, d.grace_seconds) for d in plan.deletes} == {
            ("asr-master-0", 5),
            ("asr-worker-0", 5),
        }
        assert plan.status_first
        assert not plan.creates

    def test_it_is_told_and_costs_no_restart(self, build: Any) -> None:
        pods = [waiting(build, 0, 700, "node-0"), waiting(build, 1, 700)]
        plan = reconcile(build.seen(*pods, status=begun(build, 700)), build.now)
        status = plan.status
        assert (status.state, status.reason) == (State.STARTING, "GangReleased")
        assert status.partial_gang is not None
        assert status.partial_gang.releases == 1
        assert status.message is not None
        assert status.message.startswith("1 of 2 pods have a node after 600 s; all are given back")
        assert status.message.endswith(f"asked for again at {status.partial_gang.next_try}")
        assert [(e.reason, e.warning) for e in plan.events if e.reason == "GangReleased"] == [
            ("GangReleased", True)
        ]
        assert (status.attempt, status.restarts.counted) == (1, 0)
        assert st.open_attempt(status) is not None

    @pytest.mark.parametrize(
        ("before", "releases"), [(None, 1), (PartialGang(1), 2), (PartialGang(7), 8)]
    )
    def test_each_time_is_counted(
        self, build: Any, before: PartialGang | None, releases: int
    ) -> None:
        status = dataclasses.replace(begun(build, 700), partial_gang=before)
        pods = [waiting(build, 0, 700, "node-0"), waiting(build, 1, 700)]
        draft = release(build.seen(*pods, status=status), Draft(status), build.now)
        assert draft.status.partial_gang is not None
        assert draft.status.partial_gang.releases == releases
        away = to_epoch(str(draft.status.partial_gang.next_try)) - build.now
        assert away == int(seconds_away(build.uid, releases))
        running = st.condition(draft.status, Condition.RUNNING)
        assert running is not None
        assert (running.status.value, draft.decided) == ("False", True)

    def test_an_attempt_waits_no_longer_than_it_lasts(self, build: Any) -> None:
        """The clock of who made the pods may be behind ours."""
        pods = [waiting(build, 0, 700, "node-0"), waiting(build, 1, 700)]
        status = begun(build, 590)
        draft = release(build.seen(*pods, status=status), Draft(status), build.now)
        assert (draft.deletes, draft.requeue_after) == ((), 10.0)

    def test_pods_of_an_older_attempt_are_no_part_of_it(self, build: Any) -> None:
        pods = [build.pod(n, attempt=1, created_at=build.now - 700) for n in (0, 1)]
        status = build.status(attempt=2)
        draft = Draft(status)
        assert release(build.seen(pods[0], status=status), draft, build.now) is draft
        young = build.pod(1, attempt=2, created_at=build.now - 5, phase=PodPhase.PENDING)
        found = release(build.seen(pods[0], young, status=status), draft, build.now)
        assert found.requeue_after == 595.0

    def test_the_time_is_the_jobs(self, build: Any) -> None:
        spec = build.spec(schedulingPolicy={"scheduleTimeoutSeconds": 7})
        pods = [waiting(build, 0, 7, "node-0"), waiting(build, 1, 7)]
        plan = reconcile(build.seen(*pods, spec=spec, status=begun(build, 7)), build.now)
        assert plan.status.reason == "GangReleased"

    @pytest.mark.parametrize(("age", "given"), [(29, False), (30, True)])
    def test_a_refusal_is_believed_sooner(self, build: Any, age: float, given: bool) -> None:
        status = st.with_condition(
            begun(build, age, whole=False),
            Condition.RUNNING, False, Reason.POD_REFUSED, "exceeded quota: pods", build.now,
        )  # fmt: skip
        seen = build.seen(waiting(build, 0, age), status=status)
        plan = reconcile(seen, build.now)
        assert (plan.status.reason == "GangReleased") is given
        if given:
            assert str(plan.status.message).endswith("; exceeded quota: pods")
            assert "0 of 2 pods have a node after 30 s, 1 are made;" in str(plan.status.message)
        else:
            assert build.created(plan, POD)

    @pytest.mark.parametrize(
        "case", ["placed", "alone", "running", "no pod", "no node", "made a moment ago"]
    )
    def test_what_is_not_half_there_is_left_alone(self, build: Any, case: str) -> None:
        spec, status = build.spec(), begun(build, 1e5)
        pods = [waiting(build, 0, 1e5, "node-0"), waiting(build, 1, 1e5)]
        if case == "placed":
            pods[1] = waiting(build, 1, 1e5, "node-1")
        elif case == "alone":
            spec, pods = build.spec(nodes=1), [waiting(build, 0, 1e5)]
        elif case == "running":
            status = st.with_condition(
                status, Condition.RUNNING, True, Reason.TRAINING_STARTED, "", build.now
            )
        elif case == "no node":
            # An autoscaler may bring them, a gang scheduler has them in its queue.
            pods[0] = waiting(build, 0, 1e5)
        elif case == "no pod":
            pods, status = [], begun(build, 1e5, whole=False)
        else:  # of a later try
            pods = [waiting(build, 0, 5, "node-0"), waiting(build, 1, 5)]
        plan = reconcile(build.seen(*pods, spec=spec, status=status), build.now)
        assert plan.status.reason != "GangReleased"
        assert not plan.deletes


class TestAway:
    def test_no_pod_is_made_before_its_time(self, build: Any) -> None:
        plan = reconcile(build.seen(status=released(build, 60)), build.now)
        assert (plan.creates, plan.deletes) == ((), ())
        assert "GangReleased" not in [event.reason for event in plan.events]
        assert plan.requeue_after == 60
        assert plan.status.reason == "GangReleased"
        assert reconcile(build.seen(status=released(build, 1)), build.now).requeue_after == 1

    def test_pods_that_a_crash_left_go_too(self, build: Any) -> None:
        pods = [waiting(build, 0, 700, deleting=True), waiting(build, 1, 700)]
        plan = reconcile(build.seen(*pods, status=released(build, -5)), build.now)
        assert [d.name for d in plan.deletes] == ["asr-worker-0"]
        assert not plan.creates

    def test_all_are_asked_for_again_in_the_same_attempt(self, build: Any) -> None:
        plan = reconcile(build.seen(status=released(build, 0)), build.now)
        assert len(build.created(plan, POD)) == 2
        assert plan.status_first
        assert (plan.status.attempt, plan.status.reason) == (1, "AttemptStarted")
        assert plan.status.state is State.STARTING
        assert plan.status.partial_gang == released(build, 0).partial_gang

    def test_a_time_that_nobody_wrote_is_now(self, build: Any) -> None:
        status = released(build, 60)
        gang = dataclasses.replace(status.partial_gang, next_try=None)
        seen = build.seen(status=dataclasses.replace(status, partial_gang=gang))
        assert reconcile(seen, build.now).status.reason == "AttemptStarted"

    def test_what_ends_while_it_is_given_back_has_not_failed(self, build: Any) -> None:
        pods = [build.failed(0, 143, deleting=True), waiting(build, 1, 700, deleting=True)]
        plan = reconcile(build.seen(*pods, status=released(build)), build.now)
        assert plan.status.reason == "GangReleased"
        assert st.open_attempt(plan.status) is not None

    def test_a_refusal_that_comes_late_changes_nothing(self, build: Any) -> None:
        job = build.job(build.spec(), released(build))
        assert refusal(job, "exceeded quota: pods", build.now) is None

    def test_suspending_ends_it(self, build: Any) -> None:
        seen = build.seen(spec=build.spec(suspend=True), status=released(build))
        plan = reconcile(seen, build.now)
        assert plan.status.state is State.SUSPENDED
        again = reconcile(build.seen(status=plan.status), build.now)
        assert (again.status.attempt, again.status.partial_gang) == (2, None)

    def test_how_long_grows_to_a_limit_and_is_each_jobs_own(self) -> None:
        for times, length in enumerate((60, 120, 240, 480, 960, 960, 960), 1):
            found = [seconds_away(f"uid-{job}", times) for job in range(500)]
            assert 0.5 * length <= min(found) < 0.51 * length
            assert 1.49 * length < max(found) < 1.5 * length
            assert len({int(seconds) for seconds in found[:50]}) > 20
            assert found == [seconds_away(f"uid-{job}", times) for job in range(500)]
        assert seconds_away("uid", 10_000) < 1440.0


class TestClock:
    def test_time_without_room_does_not_count(self, build: Any) -> None:
        spec = build.spec(activeDeadlineSeconds=101)
        status = begun(build, 5000)
        pods = [waiting(build, 0, 50, "node-0"), waiting(build, 1, 50)]
        plan = reconcile(build.seen(*pods, spec=spec, status=status), build.now)
        assert plan.status.state is State.STARTING
        placed = [waiting(build, 0, 50, "node-0"), waiting(build, 1, 50, "node-1")]
        plan = reconcile(build.seen(*placed, spec=spec, status=plan.status), build.now)
        assert plan.status.start_time == to_text(to_epoch(str(status.start_time)) + 5000)
        late = reconcile(build.seen(*placed, spec=spec, status=plan.status), build.now + 5002)
        assert late.status.state is State.FAILED

    def test_nor_does_it_when_it_ends_by_suspending(self, build: Any) -> None:
        status = begun(build, 300)
        seen = build.seen(spec=build.spec(suspend=True), status=status)
        plan = reconcile(seen, build.now)
        assert plan.status.start_time == to_text(to_epoch(str(status.start_time)) + 300)


def test_dying_after_any_write_gives_back_once(make_cluster: Any, crash: Any) -> None:
    """One pod has a node, the other none: given back, and asked for again, whatever the operator died of."""
    wanted = asked_again(make_cluster(), crash)
    assert wanted == (["asr-master-0", "asr-worker-0"] * 2, 1, 1)
    for write in range(1, 12):
        assert asked_again(make_cluster(crash_after=frozenset({write})), crash) == wanted


def asked_again(cluster: Any, crash: type[BaseException]) -> tuple[list[str], int, int]:
    """Names of the pods that were made until all are there a second time; the attempt; times given back."""
    now = [1_800_000_000.0]
    cluster.clock = lambda: now[0]
    for _ in range(60):
        try:
            asyncio.run(one_pass(cluster, now[0]))
        except crash:
            continue
        if len(cluster.created) == 4 and len(cluster.pods) == 2:
            break
        now[0] += 31
        cluster.finish_deletes()
        if "asr-master-0" in cluster.pods:
            cluster.set_pod(0, node="n")
    status = cluster.status()
    made = [name for name, _ in cluster.created]
    return made, status["attempt"], status["partialGang"]["releases"]


async def one_pass(cluster: Any, now: float) -> None:
    cluster.dead = False
    seen = await observe(cluster, KEY, None, None)
    assert seen is not None
    await apply(cluster, KEY, seen, reconcile(seen, now), at_once=1)
