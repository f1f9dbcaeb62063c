"""Watches SpeechTrainingJobs with kopf, which does no more than show those that changed. Run by `app`.

kopf lives in a thread with an event loop of its own. It ends on any error event of a watch but 410, and at its
end it cancels every task of its loop that is younger than itself: in ours the workers. Here it costs a restart.
Peering, scanning, handlers with state and event posting are off: it writes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, cast

import kopf

from speech_contract import names
from speech_contract.events import Event
from speech_operator.cluster.base import ClusterError, JobKey
from speech_operator.cluster.job_list import PAGE, list_jobs
from speech_operator.cluster.rest import Clock, Rest, Sleep
from speech_operator.cluster.transport import Credentials
from speech_operator.events import log

RESYNC_SECONDS: Final = 300.0  # a watch that says nothing and does not end is found out by this
FIRST_BACKOFF_SECONDS: Final = 0.5
LAST_BACKOFF_SECONDS: Final = 30.0
STEADY_SECONDS: Final = 60.0  # a run of this length forgives the failures before it
STOP_SECONDS: Final = 3.0
Heard = Callable[[JobKey, Mapping[str, Any] | None], None]  # None: the job is gone
Login = Callable[[], Awaitable[Credentials]]
Run = Callable[[threading.Event], Awaitable[None]]


class JobWatch:
    """Calls `heard` for each job that came, changed or went. `operate` is kopf's part; tests put theirs."""

    def __init__(
        self,
        rest: Rest,
        namespaces: Sequence[str],
        heard: Heard,
        login: Login,
        clock: Clock,
        random: Callable[[], float],
        sleep: Sleep = asyncio.sleep,
        operate: Run | None = None,
    ) -> None:
        self._rest = rest
        self._namespaces = tuple(namespaces)
        self._heard = heard
        self._login = login
        self._clock = clock
        self._random = random
        self._sleep = sleep
        self._operate = operate or self._kopf

    async def run(self) -> None:
        """Watch, and list every few minutes, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch(), name="watch jobs")
            group.create_task(self._resync(), name="list jobs")

    async def _watch(self) -> None:
        failures = 0
        while True:
            began = self._clock()
            error: BaseException | None = None
            try:
                await self._wait_for_kind()
                error = await self._in_thread()
            except ClusterError as failure:
                error = failure
            failures = 1 if self._clock() - began > STEADY_SECONDS else failures + 1
            log(
                Event.WATCH_INTERRUPTED,
                logging.WARNING,
                resource=names.PLURAL,
                error=repr(error),
            )
            await self._sleep(self._backoff(failures))

    def _backoff(self, failures: int) -> float:
        longest = FIRST_BACKOFF_SECONDS * 2.0 ** min(failures - 1, 16)
        return min(LAST_BACKOFF_SECONDS, longest) * (0.5 + 0.5 * self._random())

    async def _wait_for_kind(self) -> None:
        """kopf looks once which kinds there are, and says nothing of one that comes later."""
        served = await self._rest.find(f"/apis/{names.API_VERSION}")
        kinds = {resource.get("name") for resource in (served or {}).get("resources") or ()}
        if names.PLURAL not in kinds:
            raise ClusterError(f"the API server does not serve {names.CRD_NAME}; install the CRD")

    async def _resync(self) -> None:
        while True:
            await self._sleep(RESYNC_SECONDS)
            try:
                async for job in list_jobs(self._rest, self._namespaces):
                    self._heard(_key(job), job)
            except ClusterError as error:
                log(Event.CLUSTER_CALL_FAILED, logging.WARNING, verb="list", error=str(error))

    # ------------------------------------------------------------------ the thread

    async def _in_thread(self) -> BaseException | None:
        """Run kopf until it ends; what it ended with."""
        self._loop = asyncio.get_running_loop()
        ended: asyncio.Future[BaseException | None] = self._loop.create_future()
        stop = threading.Event()
        thread = threading.Thread(target=self._thread, args=(stop, ended), name="kopf", daemon=True)
        thread.start()
        try:
            return await asyncio.shield(ended)
        except asyncio.CancelledError:
            stop.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(ended), STOP_SECONDS)
            raise

    def _thread(self, stop: threading.Event, ended: asyncio.Future[BaseException | None]) -> None:
        error: BaseException | None = None
        try:
            asyncio.run(_run(self._operate, stop))
        except BaseException as failure:  # whatever ends a thread is the watch's to know
            error = failure
        with contextlib.suppress(RuntimeError):  # our loop is closed: nobody asks any more
            self._loop.call_soon_threadsafe(_settle, ended, error)

    async def _kopf(self, stop: threading.Event) -> None:
        await kopf.operator(
            registry=self._registry(),
            settings=_settings(),
            # Found out by itself it needs a passwd entry of the user, which a pod may lack.
            identity=cast("Any", names.MANAGED_BY),
            standalone=True,
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            stop_flag=stop,
        )

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.ConnectionInfo:
            asked = asyncio.run_coroutine_threadsafe(_as_coroutine(self._login), self._loop)
            return _connection(await asyncio.wrap_future(asked))

        @kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=registry)
        async def changed(*, event: kopf.RawEvent, **_: Any) -> None:
            job = cast("Mapping[str, Any]", event["object"])
            gone = event["type"] == "DELETED"
            self._loop.call_soon_threadsafe(self._heard, _key(job), None if gone else job)

        return registry


def _key(job: Mapping[str, Any]) -> JobKey:
    return JobKey(job["metadata"].get("namespace", ""), job["metadata"]["name"])


def _settle(ended: asyncio.Future[BaseException | None], error: BaseException | None) -> None:
    if not ended.done():
        ended.set_result(error)


async def _run(operate: Run, stop: threading.Event) -> None:
    try:
        await operate(stop)
    finally:
        stop.set()  # kopf waits for it in a pool of threads, and no loop closes before its pool is done


async def _as_coroutine(login: Login) -> Credentials:
    return await login()


class _NothingKept(kopf.DiffBaseStorage):
    """kopf copies whole objects to find out what changed in them; none of our handlers asks."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        pass


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.persistence.diffbase_storage = _NothingKept()
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.process.ultimate_exiting_timeout = None  # else it kills the process it is a guest of
    settings.watching.chunk_size = PAGE
    settings.watching.connect_timeout = 10.0
    settings.watching.server_timeout = 270  # no float: the API server parses a whole number
    return settings


def _connection(given: Credentials) -> kopf.ConnectionInfo:
    return kopf.ConnectionInfo(
        server=given.server,
        ca_path=given.ca_file,
        ca_data=None if given.ca_file else given.ca_data,
        insecure=not given.verify,
        token=given.token,
        certificate_path=given.certificate_file,
        private_key_path=given.key_file,
        proxy_url=given.proxy,
    )
