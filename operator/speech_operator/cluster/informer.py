"""All objects of the watched kinds, kept current by list and watch. `KubernetesCluster` reads them, `app` runs them.

A list is taken in pages and replaces the store as a whole, so that what went while nobody looked is
found missing (a synthetic delete). A watch goes on from where it was; only 410 costs a new list. A watch that
has gone silent, bookmarks included, is given up: load balancers drop connections without a word. What we make
ourselves is there as soon as the API server says so: a pass before the watch does would make it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
import urllib.parse
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple

import orjson

from speech_contract import names
from speech_contract.events import Event
from speech_operator.child_kind import ChildKind, Document, R
from speech_operator.children import KINDS
from speech_operator.cluster.base import ClusterError, JobKey
from speech_operator.cluster.rest import Answer, ApiError, Rest, Sleep
from speech_operator.events import log

GONE: Final = 410
UNSERVED: Final = frozenset({403, 404})
RELIST_AFTER_FAILURES: Final = 5  # the place to go on from may be what is wrong
Random = Callable[[], float]  # in [0, 1)
Name = tuple[str, str]  # namespace ("" where there are none) and name


@dataclasses.dataclass(frozen=True)
class Timings:
    """Seconds. The server bookmarks a quiet watch about once a minute."""

    inactivity: float = 75.0
    watch: float = 300.0  # asked of the server: ends of a watch are spread, not all at once
    first_backoff: float = 0.2
    last_backoff: float = 30.0


class _Gone(Exception):
    """The place in history that we wanted to go on from is no longer kept."""


class _Unserved(Exception):
    """An optional kind that the API server does not have, or does not let us see."""


class Tracked(NamedTuple):
    """An object as it is kept. `key.name` is empty for an object of no job."""

    key: JobKey
    record: Any


Changed = Callable[[Tracked], None]


class _Scope:
    """One namespace, or all of them (""): its own list, watch and place in history."""

    def __init__(self, namespace: str, path: str) -> None:
        self.namespace = namespace
        self.path = path
        self.version = ""
        self.failures = 0
        self.synced = asyncio.Event()
        self.served = False
        self.names: set[Name] = set()


class Informer(Generic[R]):
    """Objects of one kind by job. `changed` is called with each that came, went or changed in its record."""

    def __init__(
        self,
        kind: ChildKind[R],
        rest: Rest,
        namespaces: Sequence[str],
        changed: Changed,
        random: Random,
        sleep: Sleep = asyncio.sleep,
        timings: Timings | None = None,
    ) -> None:
        self._kind = kind
        self._rest = rest
        self._changed = changed
        self._random = random
        self._sleep = sleep
        self._timings = timings or Timings()
        spaces = (namespaces if kind.namespaced else ()) or ("",)
        self._scopes = [_Scope(namespace, kind.path(namespace)) for namespace in spaces]
        self._objects: dict[Name, Tracked] = {}
        self._jobs: dict[JobKey, set[Name]] = {}
        self._making: set[Name] = set()  # of which nothing was heard since their POST was sent

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Those that are followed; one empty name for all."""
        return tuple(scope.namespace for scope in self._scopes)

    @property
    def synced(self) -> bool:
        """Whether every namespace was listed once. Before that "no pod" means nothing."""
        return all(scope.synced.is_set() for scope in self._scopes)

    @property
    def served(self) -> bool:
        """Whether the API server has this kind and lets us see it: else "none" means nothing."""
        return all(scope.served for scope in self._scopes)

    async def wait_until_synced(self) -> None:
        """Return when `synced`."""
        await asyncio.gather(*(scope.synced.wait() for scope in self._scopes))

    def records(self, key: JobKey) -> list[R]:
        """Objects with the label of the job, or all that it may name of a kind that is of no job, by name.

        Raises ClusterError before the first list is whole.
        """
        if not self.synced:
            raise ClusterError(f"the {self._kind.plural} are not listed yet")
        if self._kind.of_no_job:
            found = {name for name in self._objects if name[0] in ("", key.namespace)}
        else:
            found = self._jobs.get(key, set())
        return [self._objects[name].record for name in sorted(found)]

    def named(self, namespace: str, wanted: Iterable[str]) -> list[R]:
        """Those of these names, in one namespace ("" where there are none)."""
        found = (self._objects.get((namespace, name)) for name in wanted)
        return [tracked.record for tracked in found if tracked is not None]

    @contextlib.contextmanager
    def making(self, namespace: str, name: str) -> Iterator[Callable[[Document], None]]:
        """Around a POST. Gives what takes its answer in, unless list or watch came first and may know more."""
        at = (namespace if self._kind.namespaced else "", name)
        self._making.add(at)
        try:
            yield functools.partial(self._made, at)
        finally:
            self._making.discard(at)

    def _made(self, at: Name, document: Document) -> None:
        tracked = self._track(document) if at in self._making else None
        scope = next((s for s in self._scopes if s.namespace in ("", at[0])), None)
        if tracked is not None and scope is not None:
            self._keep(scope, at, tracked)

    def tracked(self) -> list[Tracked]:
        """Everything that is known now."""
        return list(self._objects.values())

    async def run(self) -> None:
        """List and watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for scope in self._scopes:
                group.create_task(
                    self._follow(scope), name=f"{self._kind.plural} of {scope.namespace or 'all'}"
                )

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
            except _Unserved as error:
                self._without(scope, error)
                await self._sleep(self._timings.last_backoff)
                continue
            except (ClusterError, ValueError, KeyError) as error:
                self._tell(scope, error)
            if scope.failures >= RELIST_AFTER_FAILURES:
                scope.version = ""
            await self._sleep(self._backoff(max(1, scope.failures)))

    def _without(self, scope: _Scope, error: _Unserved) -> None:
        """There are none, until it is served."""
        if scope.names or not scope.synced.is_set():
            self._tell(scope, error)
        self._replace(scope, {})
        scope.version, scope.failures, scope.served = "", 0, False
        scope.synced.set()

    def _backoff(self, failures: int) -> float:
        timings = self._timings
        longest = min(timings.last_backoff, timings.first_backoff * 2.0 ** min(failures - 1, 16))
        return longest * (0.5 + 0.5 * self._random())

    def _tell(self, scope: _Scope, error: Exception) -> None:
        where = scope.namespace or "all"
        facts = {"resource": self._kind.plural, "scope": where, "error": str(error)}
        if isinstance(error, _Unserved) and self._kind.without:
            facts["without"] = self._kind.without
        log(Event.WATCH_INTERRUPTED, logging.WARNING, **facts)

    async def _list(self, scope: _Scope) -> None:
        """Every page, then one replacement."""
        found: dict[Name, Tracked] = {}
        query = {**self._selector, "limit": str(self._kind.page)}
        while True:
            page = await self._page(scope, query)
            for document in page.get("items") or ():
                tracked = self._track(document)
                if tracked is not None:
                    found[_name(document)] = tracked
            more = page["metadata"].get("continue")
            if not more:
                break
            query["continue"] = more
        self._replace(scope, found)
        scope.version, scope.served = page["metadata"]["resourceVersion"], True
        scope.synced.set()

    async def _page(self, scope: _Scope, query: Mapping[str, str]) -> dict[str, Any]:
        try:
            return await self._rest.get(f"{scope.path}?{urllib.parse.urlencode(query)}")
        except ApiError as error:
            if error.status == GONE:
                raise _Gone from error
            if self._kind.optional and error.status in UNSERVED:
                raise _Unserved(str(error)) from error
            raise

    @property
    def _selector(self) -> dict[str, str]:
        return {} if self._kind.of_no_job else {"labelSelector": names.LABEL_JOB_NAME}

    def _track(self, document: Document) -> Tracked | None:
        metadata = document["metadata"]
        labels = metadata.get("labels") or {}
        job = "" if self._kind.of_no_job else labels.get(names.LABEL_JOB_NAME, "")
        record = self._kind.project(document, job)
        key = JobKey(metadata.get("namespace", ""), job)
        return None if record is None else Tracked(key, record)

    def _replace(self, scope: _Scope, found: Mapping[Name, Tracked]) -> None:
        self._making.clear()
        for name in scope.names - found.keys():
            self._drop(scope, name)
        for name, tracked in found.items():
            self._keep(scope, name, tracked)

    async def _watch(self, scope: _Scope) -> None:
        """Follow one stream to its end."""
        lines = self._rest.stream(f"{scope.path}?{urllib.parse.urlencode(self._query(scope))}")
        async with contextlib.aclosing(lines) as stream:
            while (line := await self._next(stream)) is not None:
                self._take(scope, orjson.loads(line))
                scope.failures = 0

    def _query(self, scope: _Scope) -> dict[str, str]:
        seconds = self._timings.watch * (0.75 + 0.25 * self._random())
        return {
            **self._selector,
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
        if kind != "BOOKMARK":
            self._making.discard(_name(body))
            tracked = None if kind == "DELETED" else self._track(body)
            if tracked is None:
                self._drop(scope, _name(body))
            else:
                self._keep(scope, _name(body), tracked)
        scope.version = body["metadata"]["resourceVersion"]

    def _keep(self, scope: _Scope, name: Name, tracked: Tracked) -> None:
        old = self._objects.get(name)
        if old == tracked:
            self._objects[name] = tracked  # what does not count may be newer
            return
        if old is not None and old.key != tracked.key:  # somebody changed the label
            self._drop(scope, name)
        scope.names.add(name)
        self._objects[name] = tracked
        self._jobs.setdefault(tracked.key, set()).add(name)
        self._changed(tracked)

    def _drop(self, scope: _Scope, name: Name) -> None:
        scope.names.discard(name)
        gone = self._objects.pop(name, None)
        if gone is None:
            return
        siblings = self._jobs[gone.key]
        siblings.discard(name)
        if not siblings:
            del self._jobs[gone.key]
        self._changed(gone)


class Informers:
    """One informer for each watched kind. `mark` is called with each job that a change has to do with.

    `jobs`: the manifests that are known, for objects that jobs name.
    """

    def __init__(
        self,
        rest: Rest,
        namespaces: Sequence[str],
        mark: Callable[[JobKey], None],
        random: Random,
        sleep: Sleep = asyncio.sleep,
        timings: Timings | None = None,
        kinds: Sequence[ChildKind[Any]] = KINDS,
        jobs: Callable[[], Iterable[tuple[JobKey, Document]]] = tuple,
    ) -> None:
        self._mark = mark
        self._documents = jobs
        self._by_kind: dict[ChildKind[Any], Informer[Any]] = {}
        for kind in kinds:
            if kind.watched:
                changed = functools.partial(self._tell, kind)
                given = (rest, namespaces, changed, random, sleep, timings)
                self._by_kind[kind] = Informer(kind, *given)

    def of(self, kind: ChildKind[R]) -> Informer[R]:
        """The informer of a watched kind."""
        return self._by_kind[kind]

    def find(self, kind: ChildKind[R]) -> Informer[R] | None:
        """The same, of a kind that this operator may have been told not to watch."""
        return self._by_kind.get(kind)

    @property
    def synced(self) -> bool:
        """Whether every kind was listed once."""
        return all(informer.synced for informer in self._by_kind.values())

    async def wait_until_synced(self) -> None:
        """Return when `synced`: no job must be judged by what was not listed yet."""
        for informer in self._by_kind.values():
            await informer.wait_until_synced()

    async def run(self) -> None:
        """List and watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for kind, informer in self._by_kind.items():
                group.create_task(informer.run(), name=kind.plural)

    def _tell(self, kind: ChildKind[Any], changed: Tracked) -> None:
        if not kind.of_no_job:
            self._mark(changed.key)
        if kind.named_by is not None:
            for key in [k for k, job in self._documents() if kind.named_by(changed.record, job)]:
                self._mark(key)
        if kind.concerns is None or not self.synced:
            return  # before everything is listed no job was looked at yet
        for other, informer in self._by_kind.items():
            for tracked in () if other.of_no_job else informer.tracked():
                if kind.concerns(changed.record, tracked.record):
                    self._mark(tracked.key)


def _name(document: Document) -> Name:
    metadata = document["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _refusal(scope: _Scope, status: Mapping[str, Any]) -> Exception:
    code = int(status.get("code") or 0)
    if code == GONE:
        return _Gone()
    return ApiError("WATCH", scope.path, Answer(code, orjson.dumps(dict(status))))
