"""The pod's HTTP server: what it answers, and that bad clients get a status and nothing else."""

from __future__ import annotations

import http.client
import socket
import threading

import pytest

from speech_contract import codec, wire
from speech_contract.phases import Phase
from speech_contract.progress import Progress
from speech_contract.wire import Datagram, RankSummary, Summary, SummaryReply
from speech_telemetry.board import Board
from speech_telemetry.handshake import Join, JoinReply, Link, LinkError, Master, SummarySender
from speech_telemetry.server import BODY_LIMIT, SupervisorServer


@pytest.fixture
def config(launcher):
    return launcher.config(nodes=3, ranks=2)


@pytest.fixture
def master(config):
    master = Master(config, lambda: None, lambda: 5.0)
    master.open()
    return master


@pytest.fixture
def board():
    return Board(1)


@pytest.fixture
def server(board, master):
    opened = SupervisorServer("127.0.0.1", 0, board, master, lambda: b"metric 1\n")
    opened.start()
    yield opened
    opened.stop()


@pytest.fixture
def worker_server(board):
    opened = SupervisorServer("127.0.0.1", 0, board, None, None)
    opened.start()
    yield opened
    opened.stop()


def link(server, config, token=None):
    return Link("127.0.0.1", server.port, token or config.token)


def ask(server, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def summary(node=1, **fields):
    rank = RankSummary(2, 4, Phase.TRAINING, 0.1, True, newest=Datagram(2, 4, 0.0))
    return Summary(**{
        "node_rank": node, "attempt": 1, "pod": "p", "node": "n", "ranks": [rank], **fields
    })  # fmt: skip


def test_probes(server, worker_server, board):
    for one in (server, worker_server):
        assert ask(one, "GET", "/healthz") == (200, "ok\n")
        assert ask(one, "GET", "/readyz")[0] == 503
    board.set_ready(True)
    assert ask(worker_server, "GET", "/readyz")[0] == 200


def test_metrics_are_counted_as_scrapes(server, board, eventually):
    assert ask(server, "GET", "/metrics") == (200, "metric 1\n")
    eventually(lambda: board.scrapes == 1, "the count")


def test_progress_is_the_board(server, board):
    board.publish(Progress(version="", attempt=1, step=8))
    status, body = ask(server, "GET", "/progress")
    assert status == 200
    assert codec.loads(Progress, body).step == 8


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/progress?wait=soon", 400),
        ("GET", "/progress?wait=nan", 400),
        ("POST", "/progress", 404),
        ("POST", "/join", 403),
        ("DELETE", "/progress", 501),
    ],
)
def test_wrong_requests(server, method, path, status):
    assert ask(server, method, path)[0] == status


@pytest.mark.parametrize("path", ["/metrics", "/progress"])
def test_workers_hold_no_truth(worker_server, path):
    assert ask(worker_server, "GET", path)[0] == 404
    assert ask(worker_server, "POST", "/join", "{}")[0] == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param("{}", 409, id="a missing field"),
        pytest.param("[" * 5000, 409, id="deep"),
        pytest.param("no json", 409, id="no JSON"),
        pytest.param("x" * (BODY_LIMIT + 1), 413, id="huge"),
    ],
)
def test_bad_bodies_are_refused(server, config, body, status):
    headers = {wire.TOKEN_HEADER: config.token}
    try:
        answer = ask(server, "POST", "/join", body, headers)[0]
    except ConnectionError:  # it may close before it has read all that was sent
        answer = 413
    assert answer == status
    assert ask(server, "GET", "/healthz")[0] == 200


def test_a_client_that_hangs_up_harms_nobody(server):
    with socket.create_connection(("127.0.0.1", server.port)) as half:
        half.sendall(b"GET /progress HT")
    assert ask(server, "GET", "/healthz")[0] == 200


def test_no_worker_starts_before_the_run_directory_is_ours(config):
    master = Master(config, lambda: None, lambda: 5.0)
    replies = [master.join(Join(node, 1, 6, "w")) for node in (1, 2)]
    assert replies == [JoinReply(False, [2]), JoinReply(False, [])]
    master.open()
    assert master.join(Join(1, 1, 6, "w")).ready


def test_workers_that_fell_silent_are_named_with_the_time(config):
    now = 100.0
    master = Master(config, lambda: None, lambda: now)
    assert master.unheard() == {}  # of those that never came there is nothing to miss
    for node in (1, 2):
        master.join(Join(node, 1, 6, "w"))
    now = 105.0
    master.summary(summary())
    assert master.unheard() == {}
    now = 109.0
    assert master.unheard() == {"2": 9.0}
    master.join(Join(2, 1, 6, "w"))
    assert master.unheard() == {}


def test_all_workers_must_join_before_any_is_told_to_start(server, config, master):
    post = link(server, config).post
    assert post("/join", Join(1, 1, 6, "a"), JoinReply) == JoinReply(False, [2])
    assert post("/join", Join(2, 1, 6, "b"), JoinReply) == JoinReply(True, [])
    assert post("/join", Join(1, 1, 6, "a"), JoinReply).ready
    assert master.missing() == []


@pytest.mark.parametrize(
    ("join", "token", "sentence"),
    [
        pytest.param(Join(1, 1, 6, "a"), "0" * 32, "403", id="token"),
        pytest.param(Join(1, 2, 6, "a"), None, "attempt", id="attempt"),
        pytest.param(Join(1, 1, 8, "a"), None, "worldSize", id="world size"),
        pytest.param(Join(0, 1, 6, "a"), None, "nodeRank", id="a second master"),
        pytest.param(Join(3, 1, 6, "a"), None, "nodeRank", id="one node too many"),
    ],
)
def test_strays_do_not_join(server, config, master, join, token, sentence):
    with pytest.raises(LinkError, match=sentence):
        link(server, config, token).post("/join", join, JoinReply)
    assert master.missing() == [1, 2]


def test_summaries_arrive_and_answers_carry_orders(server, config, master):
    post = link(server, config).post
    assert post("/summary", summary(), SummaryReply) == SummaryReply()
    assert master.take() == [summary()]
    assert master.take() == []
    master.order(SummaryReply(stop=45, grace_seconds=5.0))
    stacks = summary(stacks={"2": "File x"})
    assert post("/summary", stacks, SummaryReply).stop == 45
    assert master.stacks() == {2: "File x"}
    assert (master.silence(1), master.silence(2)) == (0.0, None)


def test_a_summary_of_another_attempt_is_refused(server, config):
    with pytest.raises(LinkError, match="attempt"):
        link(server, config).post("/summary", summary(attempt=2), SummaryReply)


def test_the_sender_flushes_and_hands_on_the_orders(server, config, master):
    master.order(SummaryReply(stacks=True))
    replies = []
    sender = SummarySender(link(server, config), replies.append)
    sender.start()
    assert sender.flush(summary(final=True), 60.0)
    sender.stop()
    assert master.take()[0].final
    assert replies[0].stacks


def test_a_sender_without_a_master_says_why(config):
    sender = SummarySender(Link("127.0.0.1", 1, config.token), lambda reply: None)
    sender.start()
    assert not sender.flush(summary(), 0.5)
    sender.stop()
    assert sender.last_error
    assert sender.silence > 0.0


def test_the_end_answers_a_waiting_reader(board, master, eventually):
    server = SupervisorServer("127.0.0.1", 0, board, master, None)
    server.start()
    answers = []
    version = board.progress.version
    reader = threading.Thread(
        target=lambda: answers.append(ask(server, "GET", f"/progress?since={version}&wait=60"))
    )
    reader.start()
    eventually(lambda: server.answering, "the request")
    server.stop()
    reader.join(60)
    assert answers[0][0] == 200
