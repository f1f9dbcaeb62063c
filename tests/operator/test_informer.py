"""Informers against a scripted API server: pages, 410, bookmarks, drops, silence, synthetic deletes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import urllib.parse
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import pytest

from speech_contract import names
from speech_contract.values import frozen
from speech_operator import children
from speech_operator.child_kind import ChildKind, ChildRecord, Record
from speech_operator.children import KINDS, POD
from speech_operator.cluster.base import ClusterError, JobKey
from speech_operator.cluster.informer import Informers, Timings
from speech_operator.cluster.nodes import known_nodes
from speech_operator.cluster.rest import Answer, Rest
from speech_operator.snapshot import PodRecord

KEY = JobKey("speech", "asr")
HANG: Any = object()


def pod(name: str, version: int = 1, phase: str = "Pending", job: str = "asr") -> dict[str, Any]:
    labels = {names.LABEL_JOB_NAME: job, names.LABEL_ATTEMPT: "1"}
    metadata = {"name": name, "namespace": "speech", "uid": f"{name}-uid", "labels": labels}
    metadata["resourceVersion"] = str(version)
    return {"metadata": metadata, "status": {"phase": phase}}


def event(kind: str, body: Mapping[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": body}).encode()


def bookmark(version: int) -> bytes:
    return event("BOOKMARK", {"metadata": {"resourceVersion": str(version)}})


def gone() -> bytes:
    return event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"})


class Script:
    """Lists and watches in the order in which they will be asked for; the last watch hangs."""

    def __init__(self, lists: list[Any], watches: list[list[Any]]) -> None:
        self._lists = lists
        self._watches = watches
        self.asked: list[dict[str, str]] = []
        self.idle = asyncio.Event()

    def _note(self, path: str) -> None:
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(path).query)
        self.asked.append({name: values[0] for name, values in query.items()})

    async def send(self, method: str, path: str, body: Any, timeout_seconds: float) -> Answer:
        self._note(path)
        found = self._lists.pop(0)
        if isinstance(found, int):
            return Answer(found, json.dumps({"kind": "Status", "code": found}).encode())
        items, version, more = found
        page = {"items": items, "metadata": {"resourceVersion": str(version), "continue": more}}
        return Answer(200, json.dumps(page).encode())

    async def stream(self, path: str, timeout_seconds: float) -> AsyncGenerator[bytes, None]:
        self._note(path)
        for line in self._watches.pop(0) if self._watches else [HANG]:
            if line is HANG:
                self.idle.set()
                await asyncio.Event().wait()
            if isinstance(line, Exception):
                raise line
            if isinstance(line, asyncio.Event):
                await line.wait()
                continue
            yield line


class Watched:
    """Running informers and what they told."""

    def __init__(
        self,
        script: Any,
        inactivity: float,
        kinds: Sequence[ChildKind[Any]] = KINDS,
        jobs: Callable[[], Any] = tuple,
    ) -> None:
        self.script = script
        self.marked: list[JobKey] = []
        self.naps: list[float] = []
        rest = Rest(script, lambda: 0.0)
        timings = Timings(inactivity=inactivity)
        given = (rest, (), self.marked.append, lambda: 1.0, self._sleep, timings)
        self.informers = Informers(*given, kinds, jobs)

    async def _sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        await asyncio.sleep(0)

    @property
    def names(self) -> list[str]:
        return [record.name for record in self.informers.of(POD).records(KEY)]


@contextlib.asynccontextmanager
async def watching(
    lists: list[Any], watches: list[list[Any]], inactivity: float = 60.0
) -> AsyncIterator[Watched]:
    watched = Watched(Script(lists, watches), inactivity)
    task = asyncio.create_task(watched.informers.run())
    try:
        async with asyncio.timeout(10.0):
            await watched.script.idle.wait()
        yield watched
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_pages_make_one_list_and_the_watch_goes_on_from_it() -> None:
    pages = [([pod("asr-master-0")], 7, "more"), ([pod("asr-worker-0")], 7, "")]
    async with watching(pages, [[HANG]]) as watched:
        assert watched.names == ["asr-master-0", "asr-worker-0"]
    first, second, watch = watched.script.asked
    assert (first["limit"], second["continue"]) == (str(POD.page), "more")
    assert watch["resourceVersion"] == "7"
    assert watch["allowWatchBookmarks"] == "true"
    assert all(asked["labelSelector"] == names.LABEL_JOB_NAME for asked in watched.script.asked)


def test_before_the_first_list_no_pod_means_nothing() -> None:
    watched = Watched(Script([], []), 1.0)
    with pytest.raises(ClusterError, match="not listed yet"):
        _ = watched.names


async def test_changes_mark_the_job_and_what_changes_nothing_does_not() -> None:
    lines = [
        event("ADDED", pod("asr-worker-0", 2)),
        event("MODIFIED", pod("asr-worker-0", 3)),  # a heartbeat: the same record
        event("MODIFIED", pod("asr-worker-0", 4, "Running")),
        event("DELETED", pod("asr-worker-0", 5, "Running")),
        HANG,
    ]
    async with watching([([], 1, "")], [lines]) as watched:
        assert watched.marked == [KEY] * 3
        assert watched.names == []


async def test_what_we_made_is_there_before_the_watch_says_so() -> None:
    async with watching([([], 1, "")], [[HANG]]) as watched:
        with watched.informers.of(POD).making("speech", "asr-worker-0") as take:
            take(pod("asr-worker-0", 2))
        assert (watched.names, watched.marked) == (["asr-worker-0"], [KEY])
        take(pod("asr-worker-0", 2, "Running"))
        assert len(watched.marked) == 1, "an answer counts once"


async def test_what_the_watch_said_meanwhile_counts() -> None:
    """A pod that was made and deleted before its answer came would else be there for ever."""
    asked = asyncio.Event()
    lines = [event("ADDED", pod("asr-worker-0", 2)), event("DELETED", pod("asr-worker-0", 3))]
    watched = Watched(Script([([], 1, "")], [[asked, *lines, HANG]]), 60.0)
    task = asyncio.create_task(watched.informers.run())
    async with asyncio.timeout(10.0):
        await watched.informers.wait_until_synced()
        with watched.informers.of(POD).making("speech", "asr-worker-0") as take:
            asked.set()
            await watched.script.idle.wait()
            take(pod("asr-worker-0", 2))
    assert watched.names == []
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_pod_that_went_unseen_is_found_missing_by_the_next_list() -> None:
    lists = [([pod("asr-master-0"), pod("asr-worker-0")], 1, ""), ([pod("asr-master-0")], 9, "")]
    async with watching(lists, [[gone()], [HANG]]) as watched:
        assert watched.names == ["asr-master-0"]
        assert watched.marked[-1] == KEY
        assert watched.script.asked[-1]["resourceVersion"] == "9"


async def test_410_in_the_middle_of_a_list_begins_it_anew() -> None:
    lists = [([pod("asr-master-0")], 1, "more"), 410, ([pod("asr-worker-0")], 2, "")]
    async with watching(lists, [[HANG]]) as watched:
        assert watched.names == ["asr-worker-0"]


async def test_a_dropped_watch_goes_on_from_the_newest_bookmark() -> None:
    watches = [[bookmark(5), ClusterError("reset")], [bookmark(6)], [HANG]]
    async with watching([([], 1, "")], watches) as watched:
        assert [a["resourceVersion"] for a in watched.script.asked[1:]] == ["1", "5", "6"]


async def test_a_silent_watch_is_given_up() -> None:
    async with watching([([], 1, "")], [[HANG], [HANG]], inactivity=0.01) as watched:
        async with asyncio.timeout(10.0):
            while len(watched.script.asked) < 3:  # noqa: ASYNC110 - turns of the loop, not time
                await asyncio.sleep(0)
        assert {a["resourceVersion"] for a in watched.script.asked[1:]} == {"1"}


async def test_failures_back_off_with_a_limit_and_end_in_a_new_list() -> None:
    failing: list[list[Any]] = [[ClusterError("down")] for _ in range(10)]
    lists = [([], 1, "")] * 12
    async with watching(lists, [*failing, [HANG]]) as watched:
        assert watched.naps == sorted(watched.naps)
        assert watched.naps[0] < 1.0
        assert watched.naps[-1] <= Timings().last_backoff
        relists = [asked for asked in watched.script.asked if "limit" in asked]
        assert len(relists) > 1


async def test_a_watch_that_is_refused_with_a_status_is_no_pod() -> None:
    status = json.dumps({"kind": "Status", "code": 500, "message": "etcd"}).encode()
    async with watching([([], 1, "")], [[status], [b"<html>"], [HANG]]) as watched:
        assert watched.names == []
        assert len(watched.naps) == 2


async def test_a_pod_whose_label_changes_leaves_its_job() -> None:
    lines = [event("MODIFIED", pod("asr-worker-0", 2, job="tts")), HANG]
    async with watching([([pod("asr-worker-0")], 1, "")], [lines]) as watched:
        assert watched.names == []
        assert watched.marked[-2:] == [KEY, JobKey("speech", "tts")]


@frozen
class NodeRecord(ChildRecord):
    ready: bool = True


def node_record(document: Mapping[str, Any], job: str) -> NodeRecord:
    metadata = document["metadata"]
    ready = document["status"]["phase"] == "Ready"
    return NodeRecord(metadata["name"], metadata["uid"], "", ready=ready)


def runs_on(node: NodeRecord, child: Record) -> bool:
    return isinstance(child, PodRecord) and child.node == node.name


NODE = ChildKind(
    "Node", "nodes", "node", node_record, namespaced=False, watched=True, concerns=runs_on
)
WORKLOAD = ChildKind(
    "Workload", "workloads", "workload",
    lambda d, job: ChildRecord(d["metadata"]["name"], d["metadata"]["uid"], job),
    api_version="kueue.x-k8s.io/v1beta1", watched=True,
)  # fmt: skip


class Split:
    """One script a kind."""

    def __init__(self, **scripts: Script) -> None:
        self._scripts = scripts
        self.paths: list[str] = []

    def _of(self, path: str) -> Script:
        self.paths.append(path.partition("?")[0])
        return self._scripts[self.paths[-1].rpartition("/")[2]]

    async def send(self, method: str, path: str, body: Any, timeout_seconds: float) -> Answer:
        return await self._of(path).send(method, path, body, timeout_seconds)

    def stream(self, path: str, timeout_seconds: float) -> AsyncGenerator[bytes, None]:
        return self._of(path).stream(path, timeout_seconds)


def node(name: str, version: int, phase: str) -> dict[str, Any]:
    metadata = {"name": name, "uid": f"{name}-uid", "resourceVersion": str(version)}
    return {"metadata": metadata, "status": {"phase": phase}}


async def test_another_kind_is_a_row() -> None:
    """Of jobs or of none, of any group: listed, watched and marked by what the row says."""
    running = pod("asr-master-0")
    running["spec"] = {"nodeName": "n1"}
    go = asyncio.Event()
    changes = [("n1", 2, "Ready"), ("n1", 3, "Ready"), ("n2", 4, "Ready"), ("n1", 5, "NotReady")]
    lines = [go, *(event("MODIFIED", node(*change)) for change in changes), HANG]
    scripts = {
        "pods": Script([([running], 1, "")], [[HANG]]),
        "nodes": Script([([], 1, "")], [lines]),
        "workloads": Script([([pod("queued", job="tts")], 1, "")], [[HANG]]),
    }
    split = Split(**scripts)
    watched = Watched(split, 60.0, (*KINDS, NODE, WORKLOAD))
    task = asyncio.create_task(watched.informers.run())
    async with asyncio.timeout(10.0):
        await scripts["pods"].idle.wait()
        await scripts["workloads"].idle.wait()
        watched.marked.clear()
        go.set()
        await scripts["nodes"].idle.wait()
    assert watched.marked == [KEY] * 2  # a heartbeat of n1 is no news, and nobody runs on n2
    nodes, workloads = (watched.informers.of(kind) for kind in (NODE, WORKLOAD))
    assert [(n.name, n.ready) for n in nodes.records(KEY)] == [("n1", False), ("n2", True)]
    assert [w.name for w in workloads.records(JobKey("speech", "tts"))] == ["queued"]
    assert workloads.records(KEY) == []
    assert {"/api/v1/nodes", "/apis/kueue.x-k8s.io/v1beta1/workloads"} < set(split.paths)
    assert not any("labelSelector" in asked for asked in scripts["nodes"].asked)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_runtime_marks_the_jobs_that_name_it() -> None:
    """Also one that no pod carries the label of: it waits for just this."""

    def naming(name: str) -> dict[str, Any]:
        ref = {"kind": names.RUNTIME_KIND, "name": name}
        return {"metadata": {"namespace": "speech"}, "spec": {"runtimeRef": ref}}

    jobs = {KEY: naming("team"), JobKey("speech", "tts"): naming("other"), JobKey("asr", "asr"): {
        **naming("team"), "metadata": {"namespace": "asr"}}}  # fmt: skip
    made = {"metadata": {**pod("team")["metadata"], "labels": {}}, "spec": {"accelerator": "a"}}
    script = Script([([], 1, "")], [[event("ADDED", made), HANG]])
    watched = Watched(script, 60.0, (children.RUNTIME,), jobs.items)
    task = asyncio.create_task(watched.informers.run())
    async with asyncio.timeout(10.0):
        await script.idle.wait()
    assert watched.marked == [KEY]
    informer = watched.informers.of(children.RUNTIME)
    assert [one.spec for one in informer.records(KEY)] == [{"accelerator": "a"}]
    assert informer.records(JobKey("asr", "asr")) == []  # another namespace has none
    assert not any("labelSelector" in asked for asked in script.asked)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("refusal", [404, 403])
async def test_a_kind_of_another_project_may_be_missing_and_come_later(refusal: int) -> None:
    """The operator goes to work without it; one of ours is waited for."""
    listed = {"metadata": pod("speechtrainingjob-asr")["metadata"], "spec": {"queueName": "q"}}
    script = Script([refusal, refusal, ([listed], 2, "")], [[HANG]])
    watched = Watched(script, 60.0, (children.WORKLOAD,))
    task = asyncio.create_task(watched.informers.run())
    async with asyncio.timeout(10.0):
        await script.idle.wait()
    (found,) = watched.informers.of(children.WORKLOAD).records(KEY)
    assert (found.queue, watched.marked) == ("q", [KEY])
    assert watched.naps == [30.0, 30.0]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    for kind, at_work in ((children.WORKLOAD, True), (POD, False)):
        assert await _works_after_a_refusal(kind, refusal) is at_work


async def test_nodes_are_asked_for_by_name_and_a_refusal_is_not_taken_for_their_end() -> None:
    """A node that a watch does not have is gone only when the API server says so."""
    listed = {"metadata": {"name": "n1", "uid": "u1", "resourceVersion": "1"}}
    script = Script([([listed], 1, ""), 404, 403], [[HANG]])
    watched = Watched(script, 60.0, (children.NODE,))
    task = asyncio.create_task(watched.informers.run())
    async with asyncio.timeout(10.0):
        await script.idle.wait()
    rest = Rest(script, lambda: 0.0)
    found = await known_nodes(rest, watched.informers, ["n1", "n2"])
    assert {name: one.gone for name, one in found.items()} == {"n1": False, "n2": True}
    assert list(await known_nodes(rest, watched.informers, ["n1", "n3"])) == ["n1"]
    assert (script.asked[0]["limit"], watched.marked) == ("50", [])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_who_may_not_see_nodes_knows_of_none_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    script = Script([403, 403, ([], 1, "")], [[HANG]])
    watched = Watched(script, 60.0, (children.NODE,))
    rest = Rest(script, lambda: 0.0)
    known: list[Any] = []
    sleep = watched._sleep

    async def nap(seconds: float) -> None:
        known.append(await known_nodes(rest, watched.informers, ["n1"]))  # no request: none is left
        await sleep(seconds)

    watched.informers.of(children.NODE)._sleep = nap
    task = asyncio.create_task(watched.informers.run())
    async with asyncio.timeout(10.0):
        await script.idle.wait()
    assert known == [{}, {}]
    told = [record for record in caplog.records if "nodeWatch.enabled" in str(vars(record))]
    assert len(told) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _works_after_a_refusal(kind: ChildKind[Any], status: int) -> bool:
    napping, never = asyncio.Event(), asyncio.Event()

    async def nap(seconds: float) -> None:
        napping.set()
        await never.wait()

    rest = Rest(Script([status], []), lambda: 0.0)
    informers = Informers(rest, (), lambda key: None, lambda: 1.0, nap, Timings(), (kind,))
    task = asyncio.create_task(informers.run())
    async with asyncio.timeout(10.0):
        await napping.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return informers.synced
