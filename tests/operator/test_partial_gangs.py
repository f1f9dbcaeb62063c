"""Many jobs that share too little room, in virtual time: each finishes, whoever the scheduler or a quota favours."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from speech_contract.reasons import State
from speech_contract.status import JobStatus
from speech_operator import reconcile as reconciling
from speech_operator.children import POD
from speech_operator.controller import backoff
from speech_operator.policies.release import release
from speech_operator.reconcile import reconcile
from speech_operator.refusals import refusal
from speech_operator.snapshot import PodPhase, PodRecord


class World:
    """Jobs that share room in virtual time. `quota`: no more pods are taken than fit; else they wait for nodes.

    Passes, POSTs and the scheduler's turns at one moment come in an order that `chance` chooses.
    """

    RUNS_SECONDS = 300.0
    GRACE_SECONDS = 5.0

    def __init__(self, build: Any, sizes: list[int], room: int, quota: bool, seed: int) -> None:
        self.build, self.room, self.quota = build, room, quota
        self.chance = random.Random(seed)
        self.now: float = build.now
        self.specs = [build.spec(nodes=size) for size in sizes]
        self.status = [JobStatus() for _ in sizes]
        self.pods: list[dict[int, PodRecord]] = [{} for _ in sizes]
        self.failures = [0 for _ in sizes]
        self.agenda: list[tuple[float, int, str, int]] = []
        self.numbers = itertools.count()
        self.wanted: list[tuple[int, int]] = []  # pods that are POSTed at this moment
        for job in range(len(sizes)):
            self.plan_for(0.0, "pass", job)

    def plan_for(self, seconds: float, what: str, job: int) -> None:
        heapq.heappush(self.agenda, (self.now + seconds, next(self.numbers), what, job))

    def run(self, seconds: float) -> None:
        """Until every job is done, or so long."""
        end = self.now + seconds
        while self.agenda and self.now < end and not self.done:
            self.now = self.agenda[0][0]
            due = []
            while self.agenda and self.agenda[0][0] <= self.now:
                due.append(heapq.heappop(self.agenda))
            self.chance.shuffle(due)
            for _, _, what, job in due:
                getattr(self, f"on_{what}")(job)
            self.post()
            self.place()

    @property
    def done(self) -> bool:
        return all(status.state is State.COMPLETE for status in self.status)

    def on_pass(self, job: int) -> None:
        if self.status[job].state is State.COMPLETE:
            return
        document = self.build.job(self.specs[job], self.status[job], uid=f"uid-{job}")
        pods = self.pods[job].values()
        seen = self.build.seen(*pods, spec=self.specs[job], job=document)
        plan = reconcile(seen, self.now)
        changed = plan.status != self.status[job]
        self.status[job] = plan.status
        for delete in plan.deletes:
            rank = next(r for r, pod in self.pods[job].items() if pod.name == delete.name)
            self.pods[job][rank] = dataclasses.replace(self.pods[job][rank], deleting=True)
            self.plan_for(self.GRACE_SECONDS, "gone", job)
        ranks = [self.rank_of(m["metadata"]["name"]) for m in self.build.created(plan, POD)]
        self.wanted += [(job, rank) for rank in ranks]
        if not ranks:
            self.failures[job] = 0
        if changed and not ranks:
            self.plan_for(0.0, "pass", job)
        elif plan.requeue_after is not None:
            self.plan_for(max(0.01, plan.requeue_after), "pass", job)

    @staticmethod
    def rank_of(name: str) -> int:
        return 0 if name == "asr-master-0" else int(name.rpartition("-")[2]) + 1

    def post(self) -> None:
        """The POSTs of this moment; what a quota refuses is tried again after a while, as the controller does."""
        self.wanted, wanted = [], self.wanted
        self.chance.shuffle(wanted)
        refused = set()
        for job, rank in wanted:
            if self.quota and sum(map(len, self.pods)) >= self.room:
                refused.add(job)
            else:
                self.pods[job][rank] = self.build.pod(
                    rank,
                    phase=PodPhase.PENDING,
                    node="",
                    owner_uid=f"uid-{job}",
                    created_at=self.now,
                )
        for job in {job for job, _ in wanted} - refused:
            self.failures[job] = 0
            self.plan_for(0.0, "pass", job)
        for job in refused:
            document = self.build.job(self.specs[job], self.status[job], uid=f"uid-{job}")
            told = refusal(document, "exceeded quota", self.now)
            self.status[job] = told.status if told else self.status[job]
            self.failures[job] += 1
            self.plan_for(backoff(self.failures[job]), "pass", job)

    def place(self) -> None:
        """The scheduler: pods that wait find nodes as long as there is room."""
        taken = sum(pod.placed for pods in self.pods for pod in pods.values())
        for job, rank in self.waiting_pods()[: max(0, self.room - taken)]:
            self.pods[job][rank] = dataclasses.replace(self.pods[job][rank], node="node")
            self.plan_for(0.0, "pass", job)
            pods = self.pods[job].values()
            if len(pods) == self.specs[job].num_nodes and all(pod.placed for pod in pods):
                self.plan_for(self.RUNS_SECONDS, "end", job)

    def waiting_pods(self) -> list[tuple[int, int]]:
        found = [
            (job, rank)
            for job, pods in enumerate(self.pods)
            for rank, pod in pods.items()
            if not pod.placed and not pod.deleting
        ]
        self.chance.shuffle(found)
        return found

    def on_end(self, job: int) -> None:
        """A gang that is still whole has done its work."""
        pods = self.pods[job]
        whole = [pod for pod in pods.values() if pod.placed and not pod.deleting]
        if len(whole) < self.specs[job].num_nodes:
            return
        master = dataclasses.replace(pods[0], phase=PodPhase.SUCCEEDED, exit_code=0)
        self.pods[job] = {**pods, 0: master}
        self.on_pass(job)
        assert self.status[job].state is State.COMPLETE
        self.pods[job] = {}

    def on_gone(self, job: int) -> None:
        self.pods[job] = {r: pod for r, pod in self.pods[job].items() if not pod.deleting}
        self.plan_for(0.0, "pass", job)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sizes=some.lists(some.integers(1, 4), min_size=2, max_size=5),
    spare=some.integers(0, 2),
    quota=some.booleans(),
    seed=some.integers(0, 2**16),
)
def test_every_job_comes_to_its_turn(
    build: Any, sizes: list[int], spare: int, quota: bool, seed: int
) -> None:
    world = World(build, sizes, max(sizes) + spare, quota, seed)
    world.run(8 * 3600)
    assert world.done, [(s.state, s.reason, s.partial_gang) for s in world.status]
    assert [(s.attempt, s.restarts.counted) for s in world.status] == [(1, 0)] * len(sizes)


@pytest.mark.parametrize("quota", [True, False])
def test_without_giving_back_they_wait_for_ever(
    build: Any, quota: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The world of the test above is one in which jobs do block each other."""
    policies = [policy for policy in reconciling.AFTER_HEALTH if policy is not release]
    monkeypatch.setattr(reconciling, "AFTER_HEALTH", tuple(policies))
    assert not _ends(build, quota, hours=1)
    monkeypatch.undo()
    assert _ends(build, quota, hours=8)


def _ends(build: Any, quota: bool, hours: int) -> bool:
    world = World(build, [4, 4, 4, 4], 4, quota, seed=1)
    world.run(hours * 3600)
    return world.done
