"""The loop: one asyncio worker a job, each pass observe → reconcile → apply. Run by `local_follow` and `app`.

Level-based: whoever marks a key dirty (a watch, a progress answer, a timer), the pass looks at everything anew.
The marks of the workers are the one queue there is: a key marked twice is one pass, one marked during its pass
is another, and marks from before `run` wait for it.
What pods and our own writes bring comes in bursts: such marks are taken up together, `SETTLE_SECONDS` after the pass
before. What people want is taken up at once.
A failing pass is retried with exponential backoff, a Conflict at once, and every job is looked at again after
`RESYNC_SECONDS` even if nothing was heard of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from speech_contract import codec
from speech_contract.errors import ContractError
from speech_contract.events import Event
from speech_contract.progress import Progress
from speech_operator import status as st
from speech_operator.apply import Turns, apply
from speech_operator.cluster.base import Cluster, ClusterError, Conflict, JobKey
from speech_operator.events import log
from speech_operator.job_document import SpecMemory, read_job
from speech_operator.observe import observe, runtime_of
from speech_operator.plan import Plan
from speech_operator.progress import ProgressReader
from speech_operator.reconcile import reconcile
from speech_operator.resources.config_map import written
from speech_operator.run_directories import RunDirectories
from speech_operator.snapshot import Job, Observed, PodPhase

RESYNC_SECONDS = 300.0
SETTLE_SECONDS = 0.1
FIRST_BACKOFF_SECONDS = 0.5
LAST_BACKOFF_SECONDS = 60.0

OnPass = Callable[[JobKey, Mapping[str, Any], Progress | None], None]


class _Worker:
    """What the controller keeps of one job; nothing of it is needed after a crash."""

    def __init__(self) -> None:
        self.dirty = asyncio.Event()
        self.dirty.set()
        self.busy = False
        self.task: asyncio.Task[None] | None = None
        self.reader: ProgressReader | None = None
        self.reading: asyncio.Task[None] | None = None
        self.gone = False
        self.memory = SpecMemory()
        self._wanted = False  # a pass that can wait
        self._alarm: asyncio.TimerHandle | None = None
        self._rests_until = 0.0

    def wants_a_pass(self) -> None:
        """Soon, together with whatever else comes until then."""
        self._wanted = True
        if not self.busy and self._alarm is None:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_at(self._rests_until, self.dirty.set)

    @property
    def marked(self) -> bool:
        """Whether there is something to look at that no pass has taken up."""
        return self._wanted or self.dirty.is_set()

    def begin(self) -> None:
        """A pass, for all that was marked."""
        self.busy, self._wanted = True, False
        self.dirty.clear()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def end(self) -> None:
        """The pass is over; what was marked meanwhile is another one."""
        self.busy = False
        self._rests_until = asyncio.get_running_loop().time() + SETTLE_SECONDS
        if self._wanted:
            self.wants_a_pass()


class Controller:
    """Keeps every job of a cluster moving towards what its spec says."""

    def __init__(
        self,
        cluster: Cluster,
        clock: Callable[[], float],
        on_pass: OnPass | None = None,
        on_error: Callable[[JobKey, Exception], None] | None = None,
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._on_pass = on_pass
        self._on_error = on_error
        self._workers: dict[JobKey, _Worker] = {}
        self._running = False
        self._closing = False
        self._directories = RunDirectories()
        self._listing = asyncio.Lock()
        self._turns = Turns()
        self._listed = False

    @property
    def known(self) -> frozenset[JobKey]:
        """Jobs that it keeps an eye on."""
        return frozenset(self._workers)

    @property
    def depth(self) -> int:
        """Jobs whose pass is under way or waits to be taken up."""
        return sum(worker.busy or worker.marked for worker in self._workers.values())

    async def drain(self, seconds: float) -> None:
        """Let passes that are under way end, for so long; begin no other. Before `run` is cancelled."""
        self._closing = True
        tasks = [worker.task for worker in self._workers.values() if worker.task is not None]
        for worker in self._workers.values():
            worker.dirty.set()
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    async def run(self) -> None:
        """Work until cancelled, first on what was marked before."""
        self._running = True
        try:
            for key, worker in self._workers.items():
                self._employ(key, worker)
            await asyncio.get_running_loop().create_future()
        finally:
            self._running = False
            await self._stop()

    def mark(self, key: JobKey, *, soon: bool = False) -> None:
        """This job may have changed. `soon`: in a way that can wait for a moment, since more may follow."""
        worker = self._workers.get(key)
        if worker is None:
            worker = self._workers[key] = _Worker()
            if self._running:
                self._employ(key, worker)
        if soon:
            worker.wants_a_pass()
        else:
            worker.dirty.set()

    def _employ(self, key: JobKey, worker: _Worker) -> None:
        worker.task = asyncio.create_task(self._work(key, worker), name=f"worker {key}")

    async def reconcile_once(self, key: JobKey) -> float | None:
        """One pass. Returns the seconds after which to look again; None: at the next change."""
        await self._know_every_job()
        worker = self._workers.get(key) or _Worker()
        reader = worker.reader
        seen = await observe(
            self._cluster,
            key,
            reader.newest if reader else None,
            reader.silent_seconds if reader else None,
            worker.memory,
        )
        worker.gone = seen is None
        if seen is None:
            self._look_again(self._directories.forget(key))
            self._read_progress(key, worker, None)
            return None
        seen = dataclasses.replace(seen, holder=self._directories.look(key, seen))
        plan = reconcile(seen, self._clock())  # nothing may wait from `look` to `decided`
        self._look_again(self._directories.decided(key, seen, plan.status))
        await apply(self._cluster, key, seen, plan, turns=self._turns)
        self._read_progress(key, worker, seen)
        await self._report(key, seen, plan, reader)
        return plan.requeue_after

    async def _know_every_job(self) -> None:
        """Once: a job must not be given a directory before the job that owns it was looked at."""
        async with self._listing:
            if not self._listed:
                self._directories.fill([job async for job in self._every_job()])
                self._listed = True

    async def _every_job(self) -> AsyncIterator[Job]:
        """All that can be read; of the others their own pass says what is wrong with them."""
        for document in await self._cluster.list_jobs():
            metadata = document["metadata"]
            key = JobKey(metadata["namespace"], metadata["name"])
            runtime = await runtime_of(self._cluster, key, document)
            memory = self._workers[key].memory if key in self._workers else None
            local = self._cluster.platform.local
            with contextlib.suppress(ContractError):
                job = read_job(document, local=local, memory=memory, runtime=runtime)
                if job.spec is not None:
                    written(job.spec)  # mostly what it was accepted with: one of the two is parsed
                yield job

    def _look_again(self, keys: list[JobKey]) -> None:
        for key in keys:
            if key in self._workers:
                self.mark(key)

    async def _report(
        self, key: JobKey, seen: Observed, plan: Plan, reader: ProgressReader | None
    ) -> None:
        if self._on_pass is None:
            return
        document = await self._cluster.get_job(key)
        if document is None:
            return
        shown = {**document, "status": codec.to_document(plan.status)}
        self._on_pass(key, shown, reader.newest if reader else None)

    async def _work(self, key: JobKey, worker: _Worker) -> None:
        wait, failures = 0.0, 0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await worker.dirty.wait()
            if self._closing:
                return
            worker.begin()
            try:
                requeue = await self.reconcile_once(key)
                wait, failures = min(RESYNC_SECONDS, _or(requeue, RESYNC_SECONDS)), 0
                if worker.gone and not worker.marked:
                    self._workers.pop(key, None)
                    return
            except Conflict:
                worker.dirty.set()
                await asyncio.sleep(0)
            except Exception as error:  # one job's fault must not stop the others; logged, retried
                failures += 1
                wait = backoff(failures)
                self._failed(key, error, wait)
            finally:
                worker.end()

    def _failed(self, key: JobKey, error: Exception, wait: float) -> None:
        if self._on_error is not None:
            self._on_error(key, error)
        expected = isinstance(error, ClusterError)
        facts = {"namespace": key.namespace, "job": key.name, "retry_seconds": wait}
        event = Event.CLUSTER_CALL_FAILED if expected else Event.RECONCILE_FAILED
        log(event, logging.WARNING if expected else logging.ERROR, error=repr(error), **facts)

    def _read_progress(self, key: JobKey, worker: _Worker, seen: Observed | None) -> None:
        """Ask the master of the open attempt while it runs; stop asking anybody else."""
        wanted = _attempt_to_ask(seen)
        if worker.reader is not None and worker.reader.attempt != wanted:
            assert worker.reading is not None
            worker.reading.cancel()
            worker.reader = worker.reading = None
        if worker.reader is None and wanted is not None and seen is not None:
            assert seen.run_config is not None
            worker.reader = ProgressReader(
                self._cluster, key, seen.run_config, self._clock, self.mark
            )
            worker.reading = asyncio.create_task(worker.reader.run(), name=f"progress {key}")

    async def _stop(self) -> None:
        tasks = [t for w in self._workers.values() for t in (w.task, w.reading) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return min(LAST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(failures - 1, 16))


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _attempt_to_ask(seen: Observed | None) -> int | None:
    """The attempt whose master can answer now."""
    if seen is None or seen.run_config is None or st.finished(seen.job.status):
        return None
    master = seen.master
    if master is None or master.phase is not PodPhase.RUNNING:
        return None
    return seen.run_config.attempt
