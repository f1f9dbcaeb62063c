"""All pods of all jobs, kept current by list and watch. `KubernetesCluster` reads it, `app` runs it.

A list is taken in pages and replaces the store as a whole, so that a pod which went while nobody looked is
found missing (a synthetic delete). A watch goes on from where it was; only 410 costs a new list. A watch that
has gone silent, bookmarks included, is given up: load balancers drop connections without a word.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import urllib.parse
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Final

from speech_contract import names
from speech_contract.events import Event
from speech_operator.cluster.base import ClusterError, JobKey
from speech_operator.cluster.pod_record import Tracked, tracked
from speech_operator.cluster.rest import Answer, ApiError, Rest, Sleep
from speech_operator.events import log

PAGE: Final = 500
GONE: Final = 410
RELIST_AFTER_FAILURES: Final = 5  # the place to go on from may be what is wrong
Random = Callable[[], float]  # in [0, 1)


@dataclasses.dataclass(frozen=True)
class Timings:
    """Seconds. The server bookmarks a quiet watch about once a minute."""

    inactivity: float = 75.0
    watch: float = 300.0  # asked of the server: ends of a watch are spread, not all at once
    first_backoff: float = 0.2
    last_backoff: float = 30.0


class _Gone(Exception):
    """The place in history that we wanted to go on from is no longer kept."""


class _Scope:
    """One namespace, or all of them (""): its own list, watch and place in history."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.version = ""
        self.failures = 0
        self.synced = asyncio.Event()
        self.names: set[tuple[str, str]] = set()

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods" if self.namespace else "/api/v1/pods"


class PodInformer:
    """Pods by job. `changed` is called with the job of every pod that came, went or changed in its record."""

    def __init__(
        self,
        rest: Rest,
        namespaces: Sequence[str],
        changed: Callable[[JobKey], None],
        random: Random,
        sleep: Sleep = asyncio.sleep,
        timings: Timings | None = None,
    ) -> None:
        self._rest = rest
        self._changed = changed
        self._random = random
        self._sleep = sleep
        self._timings = timings or Timings()
        self._scopes = [_Scope(namespace) for namespace in namespaces or ("",)]
        self._pods: dict[tuple[str, str], Tracked] = {}  # by namespace and name
        self._jobs: dict[JobKey, set[tuple[str, str]]] = {}

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Those that are followed; one empty name for all."""
        return tuple(scope.namespace for scope in self._scopes)

    @property
    def synced(self) -> bool:
        """Whether every namespace was listed once. Before that "no pod" means nothing."""
        return all(scope.synced.is_set() for scope in self._scopes)

    async def wait_until_synced(self) -> None:
        """Return when `synced`."""
        await asyncio.gather(*(scope.synced.wait() for scope in self._scopes))

    def pods(self, key: JobKey) -> list[Tracked]:
        """Pods that carry the label of the job. Raises ClusterError before the first list is whole."""
        if not self.synced:
            raise ClusterError("the pods are not listed yet")
        return [self._pods[name] for name in sorted(self._jobs.get(key, ()))]

    async def run(self) -> None:
        """List and watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for scope in self._scopes:
                group.create_task(self._follow(scope), name=f"pods of {scope.namespace or 'all'}")

    async def _follow(self, scope: _Scope) -> None:
        while True:
            scope.failures += 1  # taken back by the first line that a watch says
            try:
                if not scope.version:
                    await self._list(scope)
                await self._watch(scope)
                if scope.failures == 0:
                    continue
            except _Gone:
                scope.version = ""
            except (ClusterError, ValueError, KeyError) as error:
                self._tell(scope, error)
            if scope.failures >= RELIST_AFTER_FAILURES:
                scope.version = ""
            await self._sleep(self._backoff(max(1, scope.failures)))

    def _backoff(self, failures: int) -> float:
        timings = self._timings
        longest = min(timings.last_backoff, timings.first_backoff * 2.0 ** min(failures - 1, 16))
        return longest * (0.5 + 0.5 * self._random())

    def _tell(self, scope: _Scope, error: Exception) -> None:
        where = scope.namespace or "all"
        log(
            Event.WATCH_INTERRUPTED, logging.WARNING, resource="pods", scope=where, error=str(error)
        )

    async def _list(self, scope: _Scope) -> None:
        """Every page, then one replacement."""
        found: dict[tuple[str, str], Tracked] = {}
        query = {"labelSelector": names.LABEL_JOB_NAME, "limit": str(PAGE)}
        while True:
            page = await self._page(scope, query)
            for pod in page.get("items") or ():
                found[_name(pod)] = tracked(pod)
            more = page["metadata"].get("continue")
            if not more:
                break
            query["continue"] = more
        self._replace(scope, found)
        scope.version = page["metadata"]["resourceVersion"]
        scope.synced.set()

    async def _page(self, scope: _Scope, query: Mapping[str, str]) -> dict[str, Any]:
        try:
            return await self._rest.get(f"{scope.path}?{urllib.parse.urlencode(query)}")
        except ApiError as error:
            if error.status == GONE:
                raise _Gone from error
            raise

    def _replace(self, scope: _Scope, found: Mapping[tuple[str, str], Tracked]) -> None:
        for name in scope.names - found.keys():
            self._drop(scope, name)
        for name, pod in found.items():
            self._keep(scope, name, pod)

    async def _watch(self, scope: _Scope) -> None:
        """Follow one stream to its end."""
        lines = self._rest.stream(f"{scope.path}?{urllib.parse.urlencode(self._query(scope))}")
        async with contextlib.aclosing(lines) as stream:
            while (line := await self._next(stream)) is not None:
                self._take(scope, json.loads(line))
                scope.failures = 0

    def _query(self, scope: _Scope) -> dict[str, str]:
        seconds = self._timings.watch * (0.75 + 0.25 * self._random())
        return {
            "labelSelector": names.LABEL_JOB_NAME,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": scope.version,
            "timeoutSeconds": str(max(1, int(seconds))),
        }

    async def _next(self, stream: AsyncGenerator[bytes, None]) -> bytes | None:
        try:
            async with asyncio.timeout(self._timings.inactivity):
                return await anext(stream, None)
        except TimeoutError as error:
            seconds = f"{self._timings.inactivity:g} s"
            raise ClusterError(f"the watch said nothing for {seconds}") from error

    def _take(self, scope: _Scope, event: Mapping[str, Any]) -> None:
        kind, body = event.get("type"), event.get("object") or {}
        if kind == "ERROR" or event.get("kind") == "Status":
            raise _refusal(scope, body if kind else event)
        if kind == "DELETED":
            self._drop(scope, _name(body))
        elif kind != "BOOKMARK":
            self._keep(scope, _name(body), tracked(body))
        scope.version = body["metadata"]["resourceVersion"]

    def _keep(self, scope: _Scope, name: tuple[str, str], pod: Tracked) -> None:
        old = self._pods.get(name)
        if old == pod:
            return
        if old is not None and old.key != pod.key:  # somebody changed the label
            self._drop(scope, name)
        scope.names.add(name)
        self._pods[name] = pod
        self._jobs.setdefault(pod.key, set()).add(name)
        self._changed(pod.key)

    def _drop(self, scope: _Scope, name: tuple[str, str]) -> None:
        scope.names.discard(name)
        pod = self._pods.pop(name, None)
        if pod is None:
            return
        siblings = self._jobs[pod.key]
        siblings.discard(name)
        if not siblings:
            del self._jobs[pod.key]
        self._changed(pod.key)


def _name(pod: Mapping[str, Any]) -> tuple[str, str]:
    return pod["metadata"]["namespace"], pod["metadata"]["name"]


def _refusal(scope: _Scope, status: Mapping[str, Any]) -> Exception:
    code = int(status.get("code") or 0)
    if code == GONE:
        return _Gone()
    return ApiError("WATCH", scope.path, Answer(code, json.dumps(dict(status)).encode()))
