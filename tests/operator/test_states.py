"""Whatever happens to a job, in whatever order: what must hold of the pure core after every single step.

hypothesis plays people, kubelets, Kueue and an operator that may die after any write, over a cluster in memory.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from speech_contract import names
from speech_contract.outcome import Outcome
from speech_operator.apply import apply
from speech_operator.children import FLAVOR, POD, SERVICE, WORKLOAD
from speech_operator.cluster.base import Conflict, JobKey
from speech_operator.cluster.kueue_records import workload
from speech_operator.cluster.marks import marked
from speech_operator.job_document import SpecMemory
from speech_operator.observe import observe
from speech_operator.reconcile import reconcile
from speech_operator.snapshot import FlavorRecord, Platform, PodPhase, PodRecord

KEY = JobKey("speech", "asr")
START = 1_800_000_000.0
NODES = 2
CODES = (0, 1, 40, 41, 75, 134, 137, 139)
STEPS, EXAMPLES = 20, 16
TURNS = some.integers(0, 3)  # in which everybody does what is expected of them, after each surprise
LONGEST = 40  # looks until a job that nobody disturbs is at rest
POLICY = {"suspend": False, "restarts": {"max": 1, "sameCause": 3}}
QUEUED = {**POLICY, "schedulingPolicy": {"gang": "Kueue", "queue": "team"}}


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> Iterator[None]:
    """Thousands of decisions: their log lines would fill the report of a failure."""
    logger = logging.getLogger("speech_operator")
    logger.disabled = True
    yield
    logger.disabled = False


class Life(RuleBasedStateMachine):
    """One job. Every create is checked as it arrives, everything else after each step."""

    def __init__(self, cluster: Any, crash: type[BaseException]) -> None:
        super().__init__()
        self.cluster, self.crash, self.now = cluster, crash, START
        self.loop, self.memory = asyncio.new_event_loop(), SpecMemory()
        self.ended: dict[str, Any] | None = None  # the status that ended the job
        self.attempt = self.most = 0
        cluster.clock = lambda: self.now
        self.create, cluster.create = cluster.create, self.checked_create

    def teardown(self) -> None:
        """Every life ends in peace."""
        try:
            self.comes_to_rest()
        finally:
            self.loop.close()

    async def checked_create(self, key: JobKey, kind: Any, manifest: Any) -> None:
        assert self.ended is None, "something is made for a job that has ended"
        if kind is POD:
            attempt = manifest["metadata"]["labels"][names.LABEL_ATTEMPT]
            older = [p.name for p in self.pods if str(p.attempt) != attempt]
            assert not older, f"attempt {attempt} begins beside {older}"
        await self.create(key, kind, manifest)

    @property
    def pods(self) -> list[PodRecord]:
        return list(self.cluster.pods.values())

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.status()
        return found

    def says(self, *reasons: str) -> bool:
        """Whether a condition carries one of these reasons."""
        return any(c["reason"] in reasons for c in self.status.get("conditions", ()))

    # ------------------------------------------------------------------ the operator

    def passes(self, between: Callable[[], None] = lambda: None) -> None:
        """One pass; `between`: what happens after it has looked and before it writes."""

        async def one() -> None:
            seen = await observe(self.cluster, KEY, None, None, self.memory)
            assert seen is not None
            plan = reconcile(seen, self.now)
            between()
            await apply(self.cluster, KEY, seen, plan, at_once=1)

        self.cluster.dead = False
        self.loop.run_until_complete(one())

    def goes_on(self, turns: int) -> None:
        for _ in range(turns):
            self.passes()
            self.now += 11
            self.deletions_end()
            self.pods_run()

    @rule(turns=TURNS)
    def looks(self, turns: int) -> None:
        self.passes()
        self.goes_on(turns)

    @rule(writes=some.integers(1, 4), turns=TURNS)
    def dies_after(self, writes: int, turns: int) -> None:
        self.cluster.crash_after = frozenset({self.cluster.writes + writes})
        try:
            self.passes()
        except self.crash:
            self.memory = SpecMemory()
        self.cluster.crash_after = frozenset()
        self.goes_on(turns)

    # ------------------------------------------------------------------ people

    def edit(self, **policy: Any) -> None:
        document = self.cluster.document
        metadata, spec = document["metadata"], document["spec"]
        version = str(int(metadata["resourceVersion"]) + 1)
        metadata = {**metadata, "resourceVersion": version, "generation": int(version)}
        spec = {**spec, "runPolicy": {**spec["runPolicy"], **policy}}
        self.cluster.document = {**document, "metadata": metadata, "spec": spec}

    @rule(value=some.sampled_from((False, False, True)), turns=TURNS)
    def suspends(self, value: bool, turns: int) -> None:
        self.edit(suspend=value)
        self.goes_on(turns)

    @rule(most=some.integers(0, 2), same=some.integers(1, 3))
    def changes_budgets(self, most: int, same: int) -> None:
        self.edit(restarts={"max": most, "sameCause": same})

    @rule(value=some.booleans())
    def edits_while_it_looks(self, value: bool) -> None:
        """A write by what was seen before the edit does not arrive; the edit stands."""
        before = self.status
        try:
            self.passes(lambda: self.edit(suspend=value))
        except Conflict:
            assert self.status == before
        assert self.cluster.document["spec"]["runPolicy"]["suspend"] is value

    # ------------------------------------------------------------------ kubelets

    def set(self, pod: PodRecord, **fields: Any) -> None:
        self.cluster.pods[pod.name] = dataclasses.replace(pod, **fields)

    @rule()
    def pods_run(self) -> None:
        for pod in self.pods:
            if pod.phase is PodPhase.PENDING:
                self.set(pod, phase=PodPhase.RUNNING, node="n", ready=True)

    @precondition(lambda self: self.cluster.pods)
    @rule(which=some.integers(0, NODES - 1), code=some.sampled_from(CODES), turns=TURNS)
    def a_pod_ends(self, which: int, code: int, turns: int) -> None:
        pod = self.pods[which % len(self.pods)]
        if pod.phase is PodPhase.RUNNING:
            self.end(pod, code)
        self.goes_on(turns)

    def end(self, pod: PodRecord, code: int) -> None:
        phase = PodPhase.FAILED if code else PodPhase.SUCCEEDED
        told = Outcome(pod.attempt, pod.node_rank, "Training", code, step=3, last_confirmed_step=2)
        self.set(pod, phase=phase, exit_code=code, outcome=told, finished_at=self.now)

    @precondition(lambda self: self.cluster.pods)
    @rule(which=some.integers(0, NODES - 1), turns=TURNS)
    def a_pod_vanishes(self, which: int, turns: int) -> None:
        del self.cluster.pods[self.pods[which % len(self.pods)].name]
        self.goes_on(turns)

    @rule()
    def deletions_end(self) -> None:
        self.cluster.finish_deletes()

    @rule(seconds=some.sampled_from((1, 11, 61, 700, 4000)))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    # ------------------------------------------------------------------ left alone

    @rule()
    def comes_to_rest(self) -> None:
        """Nobody disturbs it: the gang is whole, or it waits for something that somebody else must do, or has ended."""
        quiet = 0
        for _ in range(LONGEST):
            before = self.cluster.writes
            self.passes()
            quiet = quiet + 1 if self.cluster.writes == before else 0
            if quiet == 2:
                break
            self.now += 11
            self.deletions_end()
            self.pods_run()
        assert quiet == 2, "it never comes to rest"
        self.is_at_rest()

    def is_at_rest(self) -> None:
        suspended = self.cluster.document["spec"]["runPolicy"].get("suspend")
        if suspended and self.status["state"] != "Complete":
            assert all(pod.deleting for pod in self.pods) or self.ended, self.status["state"]
        elif self.ended is None:
            assert self.says("PodCreated") or self.pods, self.status["state"]

    # ------------------------------------------------------------------ what must hold

    @invariant()
    def never_two_attempts_nor_more_pods_than_asked(self) -> None:
        assert len({pod.attempt for pod in self.pods}) <= 1
        assert len(self.pods) <= NODES

    @invariant()
    def attempts_follow_one_another(self) -> None:
        attempt = self.status.get("attempt", 0)
        assert self.attempt <= attempt <= self.attempt + LONGEST
        numbers = [one["number"] for one in self.status.get("attempts", ())]
        assert numbers == list(range(attempt - len(numbers) + 1, attempt + 1))
        still_open = [one for one in self.status.get("attempts", ()) if "endTime" not in one]
        assert still_open in ([], self.status.get("attempts", [])[-1:])
        assert all(pod.attempt <= attempt for pod in self.pods)
        self.attempt = attempt

    @invariant()
    def what_has_ended_stays_so(self) -> None:
        if self.ended is None and self.status.get("state") in ("Complete", "Failed"):
            self.ended = self.status
        for field in ("state", "reason", "attempt", "failure", "completionTime", "restarts"):
            if self.ended is not None:
                assert self.status.get(field) == self.ended.get(field)

    @invariant()
    def budgets_are_kept(self) -> None:
        allowed = self.cluster.document["spec"]["runPolicy"]["restarts"]["max"]
        self.most = max(self.most, allowed)
        found = self.status.get("restarts", {})
        counted, total = found.get("counted", 0), found.get("total", 0)
        assert 0 <= counted <= min(self.most, total)
        assert all(cause["count"] >= 1 for cause in found.get("causes", ()))


class QueuedLife(Life):
    """The same job before Kueue. A pod is made with quota alone, and none is held for nothing."""

    def __init__(self, cluster: Any, crash: type[BaseException]) -> None:
        super().__init__(cluster, crash)
        self.document: dict[str, Any] | None = None
        self.others = cluster.list_children, cluster.delete
        cluster.platform = Platform(default_image="trainer:1", launcher_image="op:1", kueue=True)
        spec = {**cluster.document["spec"], "checkpoint": {"uri": "/runs/asr", "ephemeral": True}}
        cluster.document = {**cluster.document, "spec": spec}
        cluster.list_children, cluster.delete = self.list_children, self.delete
        cluster.mark = self.mark

    async def list_children(self, key: JobKey, kind: Any, uid: str) -> Any:
        if kind is WORKLOAD:
            return [workload(self.document, "asr")] if self.document else []
        return (
            [FlavorRecord("pool", "f")] if kind is FLAVOR else await self.others[0](key, kind, uid)
        )

    async def checked_create(self, key: JobKey, kind: Any, manifest: Any) -> None:
        if kind is SERVICE:
            return  # the fake knows none but that it is there
        if kind is not WORKLOAD:
            assert kind is not POD or self.holds(), "a pod without quota"
            await super().checked_create(key, kind, manifest)
            return
        self.cluster.check_alive()
        assert self.ended is None
        metadata = {**manifest["metadata"], "uid": f"w{self.cluster.writes}"}
        self.document = {**manifest, "metadata": {**metadata, "resourceVersion": "1"}}
        self.cluster._wrote("create workload")

    async def delete(self, key: JobKey, kind: Any, *rest: Any) -> None:
        if kind is not WORKLOAD:
            await self.others[1](key, kind, *rest)
            return
        self.cluster.check_alive()
        self.document = None
        self.cluster._wrote("delete workload")

    async def mark(self, key: JobKey, mark: Any) -> None:
        self.cluster.check_alive()
        if self.document is None or workload(self.document, "asr") != mark.record:
            return
        assert not any(fact.type == "QuotaReserved" for fact in mark.facts) or not self.alive()
        status = marked(self.document.get("status") or {}, mark, 1, "2026-01-01T00:00:00Z")
        self.document = {**self.document, "status": status}
        self.cluster._wrote(f"mark {mark.facts[0].type}")

    def alive(self) -> list[str]:
        return [pod.name for pod in self.pods if not pod.ended]

    def holds(self) -> bool:
        return self.document is not None and workload(self.document, "asr").holds

    def told(self, kind: str) -> bool:
        conditions = ((self.document or {}).get("status") or {}).get("conditions") or []
        return any(c["type"] == kind and c["status"] == "True" for c in conditions)

    def kueue_says(self, **facts: bool) -> None:
        assert self.document is not None
        status = dict(self.document.get("status") or {})
        kept = [c for c in status.get("conditions") or () if c["type"] not in facts]
        new = [
            {"type": kind, "status": str(value), "reason": "Preempted", "message": "to make room"}
            for kind, value in facts.items()
        ]
        if facts.get("Admitted"):
            sets = [{"name": n, "flavors": {"cpu": "pool"}} for n in ("master", "worker")]
            status["admission"] = {"clusterQueue": "gpus", "podSetAssignments": sets}
        self.document = {**self.document, "status": {**status, "conditions": [*kept, *new]}}

    @precondition(lambda self: self.document and not self.told("QuotaReserved"))
    @rule(turns=TURNS)
    def kueue_admits(self, turns: int) -> None:
        if not self.told("Finished"):
            self.kueue_says(QuotaReserved=True, Admitted=True, Evicted=False)
        self.goes_on(turns)

    @precondition(lambda self: self.holds())
    @rule(turns=TURNS)
    def kueue_evicts(self, turns: int) -> None:
        self.kueue_says(Evicted=True)
        self.goes_on(turns)

    @precondition(lambda self: self.document)
    @rule(turns=TURNS)
    def somebody_deletes_the_workload(self, turns: int) -> None:
        self.document = None
        self.goes_on(turns)

    def is_at_rest(self) -> None:
        """Who waits in the queue has neither pods nor quota; who has ended gave it back."""
        if self.status["state"] == "Queued":
            assert not self.alive()
            assert not self.told("QuotaReserved")
        elif self.ended is not None:
            assert self.alive() or not self.told("QuotaReserved")
        elif self.alive():
            assert self.holds()


@pytest.mark.parametrize(
    ("machine", "policy"),
    [
        pytest.param(Life, POLICY, id="by itself"),
        pytest.param(QueuedLife, QUEUED, id="before Kueue"),
    ],
)
def test_what_must_hold_after_every_step(
    make_cluster: Any, crash: Any, machine: type[Life], policy: dict[str, Any]
) -> None:
    run_state_machine_as_test(
        lambda: machine(  # type: ignore[arg-type]
            make_cluster(NODES, policy=policy), crash
        ),
        settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None),
    )
