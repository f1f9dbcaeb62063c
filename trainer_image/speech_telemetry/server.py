"""The pod's HTTP server: probes everywhere; metrics, progress, join and summary on the master.

Started by `supervisor`; its threads read the `Board` and call the `Master`'s two handlers. Standard library only.
Bad clients get a status and a sentence, never a stack trace, and never reach the training.
"""

from __future__ import annotations

import errno
import http.server
import logging
import math
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from speech_contract import codec, wire
from speech_contract.errors import ContractError
from speech_contract.wire import Summary
from speech_telemetry.board import Board
from speech_telemetry.handshake import Join, Master
from speech_telemetry.pod import LOCAL_HOSTS, Pod, address

CLIENT_TIMEOUT = 10.0  # seconds for a client to send its request
LAST_ANSWERS = 1.0  # seconds that the end waits for readers
BODY_LIMIT = wire.PROGRESS_LIMIT_BYTES
_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"
_LOG = logging.getLogger(__name__)


class SupervisorServer(http.server.ThreadingHTTPServer):
    """One per pod. `master` and `metrics` are None on workers."""

    daemon_threads = True
    request_queue_size = 128  # every worker joins at once

    def __init__(
        self,
        host: str,
        port: int,
        board: Board,
        master: Master | None,
        metrics: Callable[[], bytes] | None,
    ) -> None:
        self.board = board
        self.master = master
        self.metrics = metrics
        self.answering = 0
        self._idle = threading.Condition()
        name, self.address_family = _bind_address(host)
        super().__init__((name, port), _Handler)

    @property
    def port(self) -> int:
        """The port that was bound."""
        return int(self.server_address[1])

    def server_bind(self) -> None:
        """Take IPv4 too when bound to all IPv6 addresses; skip the base class's slow name look-up."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "supervisor", self.port

    def start(self) -> None:
        """Serve in a thread of its own."""
        threading.Thread(target=self.serve_forever, args=(0.2,), name="http", daemon=True).start()

    def stop(self) -> None:
        """Let the answers under way be read, then give the port back."""
        self.shutdown()
        self.board.close()
        with self._idle:
            self._idle.wait_for(lambda: self.answering == 0, LAST_ANSWERS)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Count it; `stop` waits for it."""
        with self._idle:
            self.answering += 1
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """In the request's own thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._idle:
                self.answering -= 1
                self._idle.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no event; the default would print a traceback."""
        _LOG.debug("A request failed", exc_info=True)


def open_server(
    pod: Pod, board: Board, master: Master | None, metrics: Callable[[], bytes] | None
) -> SupervisorServer:
    """Bind the pod's own address. A run that nobody described takes any free port when the usual one is taken.

    Raises OSError.
    """
    host, port = address(pod.config.supervisor_addresses[pod.node_rank])
    try:
        return SupervisorServer(host, port, board, master, metrics)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or pod.described or pod.config.num_nodes > 1:
            raise
    return SupervisorServer(host, 0, board, master, metrics)


def _bind_address(host: str) -> tuple[str, socket.AddressFamily]:
    if host in LOCAL_HOSTS:
        return host, socket.AF_INET6 if ":" in host else socket.AF_INET
    if socket.has_dualstack_ipv6():
        return "::", socket.AF_INET6
    return "0.0.0.0", socket.AF_INET  # noqa: S104 - the pod's network is the job's


class _Handler(http.server.BaseHTTPRequestHandler):
    server: SupervisorServer
    timeout = CLIENT_TIMEOUT
    server_version = "speechtrain"
    sys_version = ""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == wire.PATH_HEALTHZ:
            self._answer(HTTPStatus.OK, "ok\n")
        elif url.path == wire.PATH_READYZ:
            self._ready()
        elif url.path == wire.PATH_METRICS and self.server.metrics is not None:
            self._answer(HTTPStatus.OK, self.server.metrics(), _METRICS)
            self.server.board.count_scrape()
        elif url.path == wire.PATH_PROGRESS and self.server.master is not None:
            self._progress(parse_qs(url.query))
        else:
            self._answer(HTTPStatus.NOT_FOUND, "no such path here\n")

    def do_POST(self) -> None:
        master, path = self.server.master, urlsplit(self.path).path
        if master is None or path not in (wire.PATH_JOIN, wire.PATH_SUMMARY):
            self._answer(HTTPStatus.NOT_FOUND, "no such path here\n")
            return
        if not master.knows(self.headers.get(wire.TOKEN_HEADER, "")):
            self._answer(HTTPStatus.FORBIDDEN, "the token is of another job or attempt\n")
            return
        body = self._body()
        if body is not None:
            self._call(master, path, body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Requests are not logged."""

    def _call(self, master: Master, path: str, body: bytes) -> None:
        try:
            if path == wire.PATH_JOIN:
                reply: object = master.join(codec.loads(Join, body, "join"))
            else:
                reply = master.summary(codec.loads(Summary, body, "summary"))
        except ContractError as error:
            self._answer(HTTPStatus.CONFLICT, f"{error}\n")
            return
        self._answer(HTTPStatus.OK, codec.dumps(reply), _JSON)

    def _ready(self) -> None:
        if self.server.board.ready:
            self._answer(HTTPStatus.OK, "ready\n")
        else:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "not every rank reported a step yet\n")

    def _progress(self, query: dict[str, list[str]]) -> None:
        since = query.get("since", [""])[0]
        try:
            wait = float(query.get("wait", ["0"])[0])
        except ValueError:
            wait = math.nan
        if not math.isfinite(wait):
            self._answer(HTTPStatus.BAD_REQUEST, "wait is no number; write seconds\n")
            return
        self._answer(HTTPStatus.OK, self.server.board.read(since, wait), _JSON)

    def _body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            self._answer(HTTPStatus.LENGTH_REQUIRED, "send Content-Length\n")
            return None
        if int(length) > BODY_LIMIT:
            text = f"at most {BODY_LIMIT} bytes\n"
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
            return None
        return self.rfile.read(int(length))

    def _answer(self, status: HTTPStatus, body: str | bytes, kind: str = _TEXT) -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
