"""Answers of `/progress` can be anything; the controller lives on."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as some

from speech_contract import codec, wire
from speech_contract.findings import Verdict
from speech_operator.cluster import http
from speech_operator.cluster.base import ClusterError
from speech_operator.progress import ProgressReader, parse_progress
from speech_operator.reconcile import reconcile

GOOD = {"version": "1.1", "attempt": 1}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xfe\x00", id="no text"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[" * 200_000, id="deep"),
        pytest.param(b'{"version":' + b'"x"' * 90_000 + b"}", id="huge"),
        pytest.param(json.dumps({**GOOD, "attempt": "one"}).encode(), id="wrong type"),
        pytest.param(json.dumps({**GOOD, "step": 2**60}).encode(), id="a step beyond JSON"),
        pytest.param(json.dumps({**GOOD, "updatedAt": "inf"}).encode(), id="a time that never was"),
        pytest.param(
            json.dumps({**GOOD, "updatedAt": 10**400}).encode(), id="a number beyond floats"
        ),
        pytest.param(
            json.dumps({**GOOD, "samplesSkipped": {"a": -1}}).encode(), id="negative count"
        ),
        pytest.param(
            json.dumps({**GOOD, "unheard": {"1": "nan"}}).encode(), id="a silence of no length"
        ),
        pytest.param(
            json.dumps({**GOOD, "verdict": "Splendid"}).encode(), id="a verdict of its own"
        ),
    ],
)
def test_a_hostile_answer_is_no_progress(body):
    assert parse_progress(body) is None


def test_a_newer_trainer_may_say_more():
    """Taken for silence it would be `TelemetryUnreachable` of a job that trains well."""
    told = parse_progress(json.dumps({**GOOD, "surprise": 1, "step": 7}).encode())
    assert told is not None
    assert told.step == 7


@given(some.binary(max_size=400))
def test_no_bytes_raise(body):
    parse_progress(body)


@given(
    loss=some.floats(),
    norm=some.floats(),
    eta=some.floats(),
    moment=some.floats(),
    since=some.floats(),
)
def test_no_number_breaks_the_status(build, loss, norm, eta, moment, since):
    finding = build.finding(since=since)
    told = build.progress(
        loss=loss,
        gradient_norm=norm,
        eta_seconds=eta,
        updated_at=moment,
        findings=[finding],
        step=1,
    )
    progress = parse_progress(codec.dumps(told).encode())
    if progress is not None:
        seen = build.seen(build.pod(0), build.pod(1), progress=progress)
        document = codec.to_document(reconcile(seen, build.now).status)
        json.dumps(document, allow_nan=False)


class TestReader:
    def reader(self, build, cluster, clock):
        seen = build.seen(status=build.status(whole=False))
        config = build.config_of(reconcile(seen, build.now))
        changed = []
        return ProgressReader(cluster, build.key, config, clock, changed.append), changed

    def test_it_keeps_the_newest_and_says_so_once(self, build, make_cluster):
        cluster = make_cluster()
        now = [0.0]
        reader, changed = self.reader(build, cluster, lambda: now[0])
        cluster.say(build.progress(step=3))
        now[0] = 30.0
        assert reader.silent_seconds == 30
        asyncio.run(reader.ask())
        asyncio.run(reader.ask())
        assert (reader.newest.step, reader.silent_seconds, changed) == (3, 0, [build.key])

    @pytest.mark.parametrize(
        "body", [b"junk", codec.dumps({"version": "2.1", "attempt": 2}).encode()]
    )
    def test_junk_and_other_attempts_are_silence(self, build, make_cluster, body):
        cluster = make_cluster(progress=body)
        now = [0.0]
        reader, changed = self.reader(build, cluster, lambda: now[0])
        now[0] = 5.0
        asyncio.run(reader.ask())
        assert (reader.newest, reader.silent_seconds, changed) == (None, 5.0, [])

    def test_an_error_is_silence(self, build, make_cluster):
        cluster = make_cluster()

        async def refuse(*args):
            raise ClusterError("connection refused")

        cluster.get_progress = refuse
        reader, _ = self.reader(build, cluster, lambda: 0.0)
        assert asyncio.run(reader.ask()) is False

    @pytest.mark.parametrize(
        ("silent", "local", "wait"),
        [(0.0, False, 1.0), (40.0, False, 4.0), (900.0, False, 10.0), (900.0, True, 1.0)],
    )
    def test_who_is_silent_for_long_is_asked_less_often(
        self, build, make_cluster, silent, local, wait
    ):
        cluster = make_cluster()
        cluster.platform = type(cluster.platform)(local=local)
        now = [0.0]
        reader, _ = self.reader(build, cluster, lambda: now[0])
        now[0] = silent
        assert reader.retry_seconds == wait

    def test_a_cluster_is_asked_for_news_and_one_machine_for_the_present(self, build, make_cluster):
        asked = []
        for local in (True, False):
            cluster = make_cluster()
            cluster.platform = type(cluster.platform)(local=local)

            async def answer(key, config, since, wait):
                asked.append((since, wait > 0))
                return codec.dumps(build.progress()).encode()

            cluster.get_progress = answer
            reader, _ = self.reader(build, cluster, lambda: 0.0)
            asyncio.run(reader.ask())
            asyncio.run(reader.ask())
        assert asked == [("", False), ("", False), ("", True), ("1.1", True)]


async def served(
    answer: bytes, timeout: float = 5.0, limit: int = 1000, linger: bool = False
) -> bytes:
    over = asyncio.Event()

    async def handle(reader, writer):
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            if linger:
                await reader.read()
        except ConnectionError:
            pass  # the asker had enough
        finally:
            writer.transport.abort()
            over.set()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        try:
            return await http.get(f"127.0.0.1:{port}", wire.PATH_PROGRESS, timeout, limit)
        finally:
            await over.wait()


class TestGet:
    def test_a_body(self):
        assert asyncio.run(served(b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n{}")) == b"{}"

    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(b"HTTP/1.1 302 Found\r\nLocation: http://else/\r\n\r\n", id="redirect"),
            pytest.param(b"HTTP/1.1 500 No\r\n\r\n", id="fault"),
            pytest.param(b"", id="nothing"),
            pytest.param(b"garbage", id="garbage"),
            pytest.param(b"HTTP/1.0 200 OK\r\n" + b"A: b\r\n" * 20_000, id="endless header"),
            pytest.param(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 1001, id="too large"),
        ],
    )
    def test_anything_else_is_a_cluster_error(self, answer):
        with pytest.raises(ClusterError):
            asyncio.run(served(answer))

    def test_a_server_that_never_ends_is_left(self):
        with pytest.raises(ClusterError, match="Timeout"):
            asyncio.run(served(b"HTTP/1.0 200 OK\r\n\r\n{", timeout=0.2, linger=True))

    @pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "127.0.0.1:port"])
    def test_nobody_there(self, address):
        with pytest.raises(ClusterError):
            asyncio.run(http.get(address, "/", 2.0, 10))


def test_verdict_survives_the_journey(build):
    told = build.progress(verdict=Verdict.CRITICAL, loss=float("nan"))
    got = parse_progress(codec.dumps(told).encode())
    assert got.verdict is Verdict.CRITICAL
    assert got.loss != got.loss
