"""Whole jobs over a cluster in memory: the operator dies after any write and comes back; nothing changes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from speech_contract.findings import Verdict
from speech_contract.outcome import Outcome
from speech_operator import controller
from speech_operator.apply import Turns, apply
from speech_operator.children import POD
from speech_operator.cluster.base import ClusterError, Conflict, JobKey
from speech_operator.controller import LAST_BACKOFF_SECONDS, Controller, backoff
from speech_operator.observe import observe
from speech_operator.plan import Create, Delete, Plan
from speech_operator.reconcile import reconcile
from speech_operator.snapshot import PodPhase
from speech_operator.timestamps import to_epoch

TIMES = (
    "startTime", "endTime", "completionTime", "lastTransitionTime", "since", "updatedAt", "lastTime", "windowTimes",
    "goodput",
)  # fmt: skip
# What one attempt does: exit codes of its pods, or a pod that vanishes.
SCRIPTS = {
    "error": {0: 1, 1: 1},
    "worker dies": {1: 139},
    "other error": {0: 134},
    "evicted": {1: "Evicted"},
    "gone": {1: "gone"},
    "saved": {0: 75, 1: 75},
    "non-finite": {0: 40},
    "not learning": {0: 41},
    "done": {0: 0, 1: 0},
}


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> Iterator[None]:
    """Thousands of decisions: their log lines would fill the report of a failure."""
    logger = logging.getLogger("speech_operator")
    logger.disabled = True
    yield
    logger.disabled = False


class World:
    """The cluster's other half: starts pods, ends them by the script, finishes deletions."""

    def __init__(self, cluster: Any, attempts: list[str], now: float) -> None:
        self.cluster = cluster
        self.attempts = attempts
        self.now = now
        self.together: dict[int, int] = {}
        self.played: set[int] = set()
        cluster.clock = lambda: self.now

    def step(self) -> None:
        self.now += 11
        cluster = self.cluster
        cluster.finish_deletes()
        for pod in list(cluster.pods.values()):
            if pod.phase is PodPhase.PENDING:
                cluster.set_pod(pod.node_rank, phase=PodPhase.RUNNING, node="n")
        live = [pod for pod in cluster.pods.values() if not pod.deleting]
        numbers = {pod.attempt for pod in live}
        assert len(numbers) <= 1, "two attempts at once"
        running = [pod for pod in live if pod.phase is PodPhase.RUNNING]
        if len(running) == 2:
            self._play(numbers.pop())

    def _play(self, attempt: int) -> None:
        """Only once the operator has seen the gang whole: before that a missing pod is a pod not yet made."""
        conditions = self.cluster.status().get("conditions", [])
        whole = any(c["reason"] == "PodCreated" for c in conditions)
        if attempt in self.played or not whole:
            return
        self.played.add(attempt)
        script = SCRIPTS[self.attempts[min(attempt, len(self.attempts)) - 1]]
        for rank, end in script.items():
            self._end(attempt, rank, end)

    def _end(self, attempt: int, rank: int, end: int | str) -> None:
        cluster = self.cluster
        if end == "gone":
            del cluster.pods["asr-worker-0"]
            return
        code, reason = (137, end) if isinstance(end, str) else (end, "")
        told = Outcome(attempt, rank, "Training", code, step=attempt, last_confirmed_step=attempt)
        phase = PodPhase.SUCCEEDED if code == 0 else PodPhase.FAILED
        cluster.set_pod(
            rank, phase=phase, exit_code=code, reason=reason, outcome=told, finished_at=self.now
        )


def run_job(
    cluster: Any, world: World, crash: type[BaseException], passes: int = 300
) -> dict[str, Any]:
    """Pass, world, pass, world …; a crash is followed by a new operator that knows nothing."""
    quiet = 0
    with asyncio.Runner() as runner:
        for _ in range(passes):
            before = cluster.writes
            try:
                runner.run(one_pass(cluster, world.now))
            except crash:
                continue
            quiet = quiet + 1 if cluster.writes == before else 0
            if quiet == 6:
                return without_times(cluster.status())
            world.step()
    raise AssertionError("the job never comes to rest")


async def one_pass(cluster: Any, now: float, turns: Turns | None = None) -> None:
    cluster.dead = False
    key = cluster_key(cluster)
    seen = await observe(cluster, key, None, None)
    if seen is not None:
        await apply(cluster, key, seen, reconcile(seen, now), at_once=1, turns=turns)


def cluster_key(cluster: Any) -> Any:
    metadata = cluster.document["metadata"]
    return JobKey(metadata["namespace"], metadata["name"])


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    if isinstance(value, list):
        return [without_times(item) for item in value]
    return value


@pytest.mark.parametrize(
    ("attempts", "state", "attempt", "counted"),
    [
        (["done"], "Complete", 1, 0),
        (["error", "done"], "Complete", 2, 1),
        (["evicted", "gone", "saved", "done"], "Complete", 4, 0),
        (["error", "other error", "done"], "Complete", 3, 2),
        (["error", "error", "error"], "Failed", 3, 2),
        (["non-finite", "worker dies", "done"], "Complete", 3, 2),
        (["not learning"], "Failed", 1, 0),
    ],
)
def test_whole_jobs(build, make_cluster, crash, attempts, state, attempt, counted):
    cluster = make_cluster()
    status = run_job(cluster, World(cluster, attempts, build.now), crash)
    assert (status["state"], status["attempt"]) == (state, attempt)
    assert status["restarts"]["counted"] == counted
    assert all(cluster.created.count(pod) == 1 for pod in cluster.created)


def test_conditions_after_each_step_of_a_life(build, make_cluster, crash):
    cluster = make_cluster()
    world = World(cluster, ["error"], build.now)
    seen = []
    for _ in range(20):
        asyncio.run(one_pass(cluster, world.now))
        state = cluster.status()["state"]
        if not seen or seen[-1] != state:
            seen.append(state)
        world.step()
    assert seen == ["Starting", "Restarting", "Failed"]


@settings(max_examples=60, deadline=None)
@given(
    attempts=some.lists(some.sampled_from(sorted(SCRIPTS)), min_size=1, max_size=5),
    crashes=some.frozensets(some.integers(1, 60), max_size=25),
    policy=some.sampled_from(["None", "Running", "All"]),
)
def test_a_crash_after_any_write_changes_nothing(
    build, make_cluster, crash, attempts, crashes, policy
):
    rules = {"cleanPodPolicy": policy, "restarts": {"max": 3, "sameCause": 3}}
    attempts = [*attempts, "done"]
    calm, rough = make_cluster(policy=rules), make_cluster(policy=rules, crash_after=crashes)
    expected = run_job(calm, World(calm, attempts, build.now), crash)
    got = run_job(rough, World(rough, attempts, build.now), crash)
    assert got == expected
    assert seconds_told(rough) == seconds_passed(rough, build.now)
    assert pods_of(rough) == pods_of(calm)
    assert sorted(rough.configs) == sorted(calm.configs)
    assert sorted(rough.created) == sorted(calm.created)


def seconds_told(cluster: Any) -> int:
    """All that the parts of goodput hold."""
    goodput = cluster.status()["goodput"]
    return sum(value for name, value in goodput.items() if name.endswith("Seconds"))


def seconds_passed(cluster: Any, start: float) -> float:
    """From the first pass to the newest account."""
    return to_epoch(cluster.status()["goodput"]["mark"]["time"]) - start


def pods_of(cluster: Any) -> dict[str, Any]:
    return {name: (pod.attempt, pod.phase, pod.deleting) for name, pod in cluster.pods.items()}


@settings(max_examples=30, deadline=None)
@given(crashes=some.frozensets(some.integers(1, 30), max_size=15), asleep=some.integers(1, 6))
def test_suspend_and_resume_survive_crashes(build, make_cluster, crash, crashes, asleep):
    cluster = make_cluster(crash_after=crashes)
    world = World(cluster, ["done"], build.now)
    set_suspend(cluster, True, after=asleep, world=world, crash=crash)
    status = run_job(cluster, world, crash)
    assert status["state"] in ("Suspended", "Complete")
    if status["state"] == "Suspended":
        assert cluster.pods == {}
        set_suspend(cluster, False, after=0, world=world, crash=crash)
        status = run_job(cluster, world, crash)
    assert status["state"] == "Complete"
    assert status["restarts"]["counted"] == 0


def set_suspend(cluster: Any, value: bool, after: int, world: World, crash: Any) -> None:
    for _ in range(after):
        try:
            asyncio.run(one_pass(cluster, world.now))
        except crash:
            continue
        world.step()
    spec = cluster.document["spec"]
    policy = {**spec["runPolicy"], "suspend": value}
    metadata = cluster.document["metadata"]
    version = str(int(metadata["resourceVersion"]) + 1)
    cluster.document = {
        **cluster.document,
        "metadata": {**metadata, "resourceVersion": version},
        "spec": {**spec, "runPolicy": policy},
    }


class TestApply:
    def test_status_first_when_it_holds_intent(self, build, make_cluster):
        cluster = make_cluster()
        asyncio.run(one_pass(cluster, build.now))
        assert cluster.calls[:2] == ["status", "config 1"]
        assert sorted(cluster.calls[2:]) == ["create asr-master-0", "create asr-worker-0"]

    def test_children_first_otherwise(self, build, make_cluster, crash):
        cluster = make_cluster(crash_after=frozenset({3}))
        with pytest.raises(crash):
            asyncio.run(one_pass(cluster, build.now))
        cluster.calls.clear()
        asyncio.run(one_pass(cluster, build.now))
        assert len(cluster.created) == 2
        assert cluster.calls[0].startswith("create")

    def test_an_outdated_status_is_a_conflict_and_nothing_is_told(self, build, make_cluster):
        cluster = make_cluster()

        async def late() -> None:
            seen = await observe(cluster, build.key, None, None)
            cluster.document["metadata"]["resourceVersion"] = "7"
            await apply(cluster, build.key, seen, reconcile(seen, build.now))

        with pytest.raises(Conflict):
            asyncio.run(late())
        assert (cluster.events, cluster.created) == ([], [])

    def test_a_pod_that_an_earlier_pass_made_is_no_error(self, build, make_cluster):
        cluster = make_cluster()

        async def twice() -> None:
            seen = await observe(cluster, build.key, None, None)
            plan = reconcile(seen, build.now)
            await apply(cluster, build.key, seen, plan)
            again = dataclasses.replace(plan, status=seen.job.status, events=())
            await apply(cluster, build.key, seen, again)

        asyncio.run(twice())
        assert len(cluster.created) == 2

    def test_no_manifest_is_built_before_its_turn(self, build, make_cluster):
        """A thousand gangs may wait at once; what they are to post would be hundreds of MiB."""
        cluster, built, turns = make_cluster(), [], Turns(creates=0)

        def counting(create: Create) -> Create:
            return Create(create.kind, lambda: built.append(create.kind) or create.manifest)

        async def in_turn() -> None:
            seen = await observe(cluster, build.key, None, None)
            plan = reconcile(seen, build.now)
            plan = dataclasses.replace(plan, creates=tuple(map(counting, plan.creates)))
            applied = asyncio.create_task(apply(cluster, build.key, seen, plan, turns=turns))
            for _ in range(50):
                await asyncio.sleep(0)
            assert (built, cluster.created) == ([], [])
            turns.of_creates.release()
            await applied
            assert len(built) == len(plan.creates)

        asyncio.run(in_turn())

    def test_a_job_whose_turn_has_not_come_has_created_nothing(self, build, make_cluster):
        """Gangs come whole one after the other: of two that wait the first is done before the next begins."""
        turns, ended = Turns(jobs=1, creates=1), list[int]()

        async def one(number: int) -> None:
            await one_pass(make_cluster(), build.now, turns)
            ended.append(number)

        async def both() -> None:
            await turns.of_jobs.acquire()
            waiting = [asyncio.create_task(one(number)) for number in range(3)]
            for _ in range(50):
                await asyncio.sleep(0)
            assert ended == []
            turns.of_jobs.release()
            await asyncio.gather(*waiting)

        asyncio.run(both())
        assert ended == [0, 1, 2]

    def test_of_a_thousand_gangs_that_go_only_some_are_under_way(self, build, make_cluster):
        """Each delete under way is a task with its request; a storm has ten thousand."""
        clusters, turns = [make_cluster() for _ in range(3)], Turns(jobs=1)

        async def going(cluster: Any) -> None:
            seen = await observe(cluster, build.key, None, None)
            deletes = tuple(Delete(POD, pod.name, pod.uid, 0) for pod in cluster.pods.values())
            await apply(
                cluster, build.key, seen, Plan(seen.job.status, deletes=deletes), turns=turns
            )

        async def all_at_once() -> None:
            for cluster in clusters:
                await one_pass(cluster, build.now)
                assert len(cluster.pods) == 2
            await turns.of_leavers.acquire()
            waiting = [asyncio.create_task(going(cluster)) for cluster in clusters]
            for _ in range(50):
                await asyncio.sleep(0)
            assert [len(cluster.pods) for cluster in clusters] == [2, 2, 2]
            assert len(asyncio.all_tasks()) == len(waiting) + 1
            turns.of_leavers.release()
            await asyncio.gather(*waiting)

        asyncio.run(all_at_once())
        assert [len(cluster.pods) for cluster in clusters] == [0, 0, 0]

    def test_a_lost_event_is_no_failure(self, build, make_cluster):
        cluster = make_cluster()

        async def refuse(*args: Any) -> None:
            raise ClusterError("no events today")

        cluster.post_event = refuse
        asyncio.run(one_pass(cluster, build.now))
        assert cluster.status()["attempt"] == 1

    def test_an_unchanged_status_is_not_written(self, build, make_cluster):
        cluster = make_cluster()

        async def nothing() -> None:
            seen = await observe(cluster, build.key, None, None)
            await apply(cluster, build.key, seen, Plan(status=seen.job.status))

        asyncio.run(nothing())
        assert cluster.writes == 0


class TestController:
    def test_backoff_doubles_up_to_a_minute(self):
        assert [backoff(n) for n in (1, 2, 3)] == [0.5, 1.0, 2.0]
        assert backoff(10_000) == LAST_BACKOFF_SECONDS

    def test_a_conflict_is_observed_again_and_a_fault_is_told_and_retried(
        self, build, make_cluster
    ):
        cluster = make_cluster()
        errors: list[Exception] = []
        faults = [Conflict("a"), ClusterError("b"), ValueError("c")]
        real = cluster.put_status

        async def put_status(*args: Any) -> None:
            if faults:
                raise faults.pop(0)
            await real(*args)

        cluster.put_status = put_status
        documents = asyncio.run(until_pass(cluster, errors))
        assert [type(error) for error in errors] == [ClusterError, ValueError]
        assert documents[0]["status"]["attempt"] == 1

    def test_progress_of_the_master_reaches_the_status(self, build, make_cluster):
        cluster = make_cluster()
        asyncio.run(one_pass(cluster, build.now))
        for rank in (0, 1):
            cluster.set_pod(rank, phase=PodPhase.RUNNING)
        cluster.say(build.progress(verdict=Verdict.HEALTHY, running=True, step=5))
        documents = asyncio.run(
            until_pass(cluster, [], lambda d: d["status"]["health"]["verdict"] == "Healthy")
        )
        assert documents[-1]["status"]["state"] == "Running"
        assert documents[-1]["status"]["progress"]["step"] == 5

    def test_marks_wait_for_run_and_a_mark_during_a_pass_is_another_pass(self, build, make_cluster):
        cluster = make_cluster()
        gate, entered = asyncio.Event(), asyncio.Event()
        passes: list[str] = []
        look = cluster.get_job

        async def slow(key: Any) -> Any:
            passes.append("begins")
            entered.set()
            await gate.wait()
            return await look(key)

        cluster.get_job = slow

        async def play() -> list[int]:
            controller = Controller(cluster, cluster.clock)
            for _ in range(3):
                controller.mark(build.key)
            await asyncio.sleep(0)
            depths = [controller.depth, len(passes)]
            async with asyncio.timeout(10), running(controller):
                await entered.wait()
                depths += [controller.depth, len(passes)]
                for _ in range(3):
                    controller.mark(build.key)
                depths += [controller.depth, len(passes)]  # one job, and one pass at a time
                gate.set()
                while controller.depth:  # noqa: ASYNC110 - turns of the loop, not time
                    await asyncio.sleep(0)
            return [*depths, len(passes)]

        assert asyncio.run(play()) == [1, 0, 1, 1, 1, 1, 2]

    def test_what_can_wait_is_taken_up_together_and_what_people_want_at_once(
        self, build, make_cluster, monkeypatch
    ):
        """Pods come in bursts; a suspension must not wait for them to calm down."""
        monkeypatch.setattr(controller, "SETTLE_SECONDS", 3600.0)
        cluster = make_cluster()
        passes: list[int] = []
        errors: list[Exception] = []

        async def play() -> list[list[int]]:
            told = Controller(
                cluster, cluster.clock, lambda *_: passes.append(1), lambda _, e: errors.append(e)
            )
            told.mark(build.key, soon=True)
            found = []
            async with asyncio.timeout(10), running(told):
                await rests(told)
                found.append([len(passes), told.depth])
                for _ in range(3):
                    told.mark(build.key, soon=True)
                await turns(100)
                found.append([len(passes), told.depth])
                told.mark(build.key)
                await rests(told)
                found.append([len(passes), told.depth])
            return found

        assert asyncio.run(play()) == [[1, 0], [1, 1], [2, 0]]
        assert errors == []

    def test_what_can_wait_does_not_wait_for_ever(self, build, make_cluster, monkeypatch):
        monkeypatch.setattr(controller, "SETTLE_SECONDS", 0.0)
        cluster = make_cluster()
        passes: list[int] = []

        async def play() -> int:
            told = Controller(cluster, cluster.clock, lambda *_: passes.append(1))
            told.mark(build.key)
            async with asyncio.timeout(10), running(told):
                await rests(told)
                told.mark(build.key, soon=True)
                await rests(told)
            return len(passes)

        assert asyncio.run(play()) == 2

    def test_a_job_that_is_gone_is_forgotten(self, build, make_cluster):
        cluster = make_cluster(gone=True)

        async def run() -> bool:
            controller = Controller(cluster, cluster.clock)
            controller.mark(build.key)
            async with asyncio.timeout(5):
                async with running(controller):
                    while controller.known:  # noqa: ASYNC110 - turns of the loop, not time
                        await asyncio.sleep(0)
            return True

        assert asyncio.run(run())


async def turns(count: int) -> None:
    """Turns of the loop, not time."""
    for _ in range(count):
        await asyncio.sleep(0)


async def rests(told: Controller) -> None:
    """Until every pass that is due has been made."""
    while told.depth:
        await turns(1)


async def until_pass(
    cluster: Any, errors: list[Exception], done: Any = lambda d: True
) -> list[Any]:
    """Run a real controller until a pass left the job as wanted."""
    documents: list[Any] = []
    reached = asyncio.Event()

    def passed(key: Any, document: Any, progress: Any) -> None:
        documents.append(document)
        if done(document):
            reached.set()

    controller = Controller(cluster, cluster.clock, passed, lambda key, error: errors.append(error))
    controller.mark(cluster_key(cluster))
    async with asyncio.timeout(30), running(controller):
        await reached.wait()
    return documents


@contextlib.asynccontextmanager
async def running(controller: Controller) -> AsyncIterator[None]:
    """A controller that works as long as the block."""
    task = asyncio.create_task(controller.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
