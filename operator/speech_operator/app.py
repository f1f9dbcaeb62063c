"""The operator process, put together: informer, Lease, job watch, controller, probes. Run by `__main__`.

Before it leads it keeps the pods current, so that taking over costs one look at each job. It stops in this
order: no new pass, passes under way end, watches end, the Lease is let go.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, Final

from speech_contract import wire
from speech_contract.errors import ContractError
from speech_contract.events import Event
from speech_operator.children import NODE, kinds
from speech_operator.cluster.base import ClusterError, Conflict, JobKey, Unsatisfiable
from speech_operator.cluster.informer import Informers
from speech_operator.cluster.known_jobs import KnownJobs
from speech_operator.cluster.kubernetes import KubernetesCluster
from speech_operator.cluster.lease import Lease, LeaseLost, LeaseTimes
from speech_operator.cluster.rest import Pace, Rest, TokenBucket, Transport
from speech_operator.controller import Controller
from speech_operator.events import log
from speech_operator.metrics import CONTENT_TYPE, OperatorMetrics
from speech_operator.probes import Pages, Pulse, Reply, serve
from speech_operator.refusals import Unreadable, tell_refusal
from speech_operator.settings import Settings
from speech_operator.snapshot import Platform
from speech_operator.watch import JobWatch, Login

DRAIN_SECONDS: Final = 5.0
END_SECONDS: Final = 4.0
EXIT_STOPPED: Final = 0
EXIT_LOST: Final = 1  # the Lease, or a part that must not end
LEASE_PACE: Final = Pace(
    writes_per_second=10.0, write_burst=10.0, in_flight=2, timeout_seconds=LeaseTimes.request
)


class MeteredController(Controller):
    """A controller that counts its passes and says which are under way."""

    def __init__(
        self,
        cluster: KubernetesCluster,
        clock: Callable[[], float],
        metrics: OperatorMetrics,
        pulse: Pulse,
        on_error: Callable[[JobKey, Exception], None],
    ) -> None:
        super().__init__(cluster, clock, on_error=on_error)
        self._metrics = metrics
        self._pulse = pulse

    async def reconcile_once(self, key: JobKey) -> float | None:
        """One pass, measured."""
        began, result = time.monotonic(), "failed"
        try:
            with self._pulse.beat(key):
                requeue = await super().reconcile_once(key)
            result = "done"
        except Conflict:
            result = "conflict"
            raise
        except Unsatisfiable:
            result = "refused"
            raise
        finally:
            self._metrics.passed(result, time.monotonic() - began)
        return requeue


class Operator:
    """One operator over one transport. `run` returns the exit code."""

    def __init__(self, settings: Settings, transport: Transport, login: Login) -> None:
        self.settings = settings
        self.metrics_port = self.probes_port = 0  # known once it runs
        self._pulse = Pulse(time.monotonic, settings.stuck_seconds)
        self._metrics = OperatorMetrics(self._queue_depth)
        rest = Rest(transport, time.monotonic, pace=_pace(settings))
        spaces = settings.watch_namespaces
        looked_at = kinds(kueue=settings.kueue) + ((NODE,) if settings.node_watch else ())
        self._known = KnownJobs(time.monotonic)
        self._informers = Informers(
            rest, spaces, self._mark, random.random, kinds=looked_at, jobs=self._known.documents
        )
        self._cluster = KubernetesCluster(
            rest,
            self._informers,
            Platform(
                default_image=settings.trainer_image,
                launcher_image=settings.launcher_image,
                kueue=settings.kueue,
            ),
            time.time,
            _progress_writes(settings),
            self._metrics,
            self._known,
        )
        self._controller = MeteredController(
            self._cluster, time.time, self._metrics, self._pulse, self._on_error
        )
        self._jobs = JobWatch(rest, spaces, self._heard, login, time.monotonic, random.random)
        self._lease = _lease(settings, transport) if settings.leader_election else None
        self._telling: set[asyncio.Task[None]] = set()
        self._unreadable = Unreadable(self._cluster)

    async def run(self, stop: asyncio.Event) -> int:
        """Work until `stop` is set (0) or something ends that must not (1)."""
        async with self._servers():
            log(
                Event.OPERATOR_STARTED,
                namespaces=list(self.settings.watch_namespaces),
                metrics_port=self.metrics_port,
                probes_port=self.probes_port,
            )
            parts: set[asyncio.Task[Any]] = {
                asyncio.create_task(self._informers.run(), name="informers"),
                asyncio.create_task(self._lead(), name="leading"),
            }
            waiting: asyncio.Task[Any] = asyncio.create_task(stop.wait(), name="stop")
            done, _ = await asyncio.wait({*parts, waiting}, return_when=asyncio.FIRST_COMPLETED)
            code = EXIT_STOPPED
            if waiting not in done:
                code = EXIT_LOST
                _tell_end(done)
            else:
                await self._controller.drain(DRAIN_SECONDS)
            await _end({*parts, waiting, *self._telling})
            await self._let_go()
        log(Event.OPERATOR_STOPPED, code=code)
        return code

    async def _lead(self) -> None:
        """Wait for one's turn, then work. Returns or raises only when it cannot go on."""
        if self._lease is not None:
            await self._lease.acquire()
        self._metrics.leader.set(1.0)
        log(Event.LEADERSHIP_GAINED, holder=self.settings.pod_name)
        try:
            async with asyncio.TaskGroup() as group:
                if self._lease is not None:
                    group.create_task(self._lease.hold(), name="lease")
                group.create_task(self._work(), name="controller")
                group.create_task(self._jobs.run(), name="jobs")
        finally:
            self._metrics.leader.set(0.0)
            log(Event.LEADERSHIP_LOST, holder=self.settings.pod_name)

    async def _work(self) -> None:
        """A job must not be judged by pods that were not listed yet."""
        await self._informers.wait_until_synced()
        await self._controller.run()

    async def _let_go(self) -> None:
        if self._lease is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS / 2):
                await self._lease.release()

    # ------------------------------------------------------------------ what is marked, told, shown

    def _mark(self, key: JobKey) -> None:
        self._controller.mark(key, soon=True)

    def _heard(self, key: JobKey, job: Mapping[str, Any] | None) -> None:
        if job is None:
            self._unreadable.forget(key)
        self._controller.mark(key, soon=not self._known.told(key, job))

    def _queue_depth(self) -> float:
        return float(self._controller.depth)

    def _on_error(self, key: JobKey, error: Exception) -> None:
        if isinstance(error, Unsatisfiable):
            telling = tell_refusal(self._cluster, key, str(error), time.time())
        elif isinstance(error, ContractError):
            telling = self._unreadable.tell(key, str(error))
        else:
            return
        task = asyncio.create_task(self._tell(key, telling), name=f"fault of {key}")
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self, key: JobKey, telling: Coroutine[Any, Any, None]) -> None:
        facts = {"namespace": key.namespace, "job": key.name}
        try:
            await telling
        except ClusterError as error:  # the next refusal tells it
            log(Event.CLUSTER_CALL_FAILED, logging.WARNING, error=str(error), **facts)

    @contextlib.asynccontextmanager
    async def _servers(self) -> AsyncIterator[None]:
        probes: Pages = {wire.PATH_HEALTHZ: self._pulse.healthz, wire.PATH_READYZ: self._readyz}
        metrics: Pages = {wire.PATH_METRICS: self._exposition}
        async with (
            serve(self.settings.metrics_port, metrics) as self.metrics_port,
            serve(self.settings.probes_port, probes) as self.probes_port,
        ):
            yield

    def _readyz(self) -> Reply:
        if not self._informers.synced:
            return Reply(False, b"the pods are not listed yet")
        alone = self._lease is None or self._lease.held
        return Reply(True, b"ok: at work" if alone else b"ok: standing by")

    def _exposition(self) -> Reply:
        return Reply(True, self._metrics.render(), CONTENT_TYPE)


def _pace(settings: Settings) -> Pace:
    return Pace(
        writes_per_second=settings.write_rate,
        write_burst=settings.write_burst,
        in_flight=settings.in_flight,
        timeout_seconds=settings.request_timeout_seconds,
    )


def _progress_writes(settings: Settings) -> TokenBucket:
    rate = settings.progress_write_rate
    return TokenBucket(rate, max(1.0, rate), time.monotonic, asyncio.sleep)


def _lease(settings: Settings, transport: Transport) -> Lease:
    """On a pace of its own: its renewal must not queue behind a thousand pods."""
    return Lease(
        Rest(transport, time.monotonic, pace=LEASE_PACE),
        settings.pod_namespace,
        settings.lease_name,
        settings.pod_name,
        time.monotonic,
        time.time,
        random.random,
    )


def _tell_end(done: set[asyncio.Task[Any]]) -> None:
    for task in done:
        error = None if task.cancelled() else task.exception()
        causes = error.exceptions if isinstance(error, BaseExceptionGroup) else (error,)
        lost = any(isinstance(cause, LeaseLost) for cause in causes)
        event = Event.LEADERSHIP_LOST if lost else Event.RECONCILE_FAILED
        log(event, logging.ERROR, part=task.get_name(), error=[repr(cause) for cause in causes])


async def _end(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=END_SECONDS)
