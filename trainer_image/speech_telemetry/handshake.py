"""One truth per job: worker supervisors join the master's, then send it a summary each second.

`Master` lives on node rank 0 (called by `server`'s threads, read by `supervisor`); `Link` on every other node.
Attempt, world size and token are checked, so that a stale worker of an earlier attempt can never join.
"""

from __future__ import annotations

import dataclasses
import hmac
import http.client
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from speech_contract import codec, wire
from speech_contract.errors import ContractError
from speech_contract.run_config import RunConfig
from speech_contract.saves import Handed
from speech_contract.wire import Summary, SummaryReply

T = TypeVar("T")
SUMMARY_SECONDS = 1.0
REQUEST_TIMEOUT = 5.0
LOST_SECONDS = 10.0  # without an answer from the master a worker ends its ranks
UNHEARD_SECONDS = 8.0  # a worker speaks each second, and waits 5 s for an answer at most
RETRY_FIRST, RETRY_LONGEST = 0.2, 5.0
REPLY_LIMIT = 65536


@dataclasses.dataclass(frozen=True)
class Join:
    """A worker's supervisor is there."""

    node_rank: int
    attempt: int
    world_size: int
    pod: str


@dataclasses.dataclass(frozen=True)
class JoinReply:
    """`ready`: all are there, start the ranks. `handed`: to a stranger's script, the same on every node."""

    ready: bool
    missing: list[int] = dataclasses.field(default_factory=list)
    handed: Handed = dataclasses.field(default_factory=Handed)


class Master:
    """Who joined, what each worker said last, and what it shall be told. Thread-safe."""

    def __init__(
        self, config: RunConfig, wake: Callable[[], None], monotonic: Callable[[], float]
    ) -> None:
        self._config = config
        self._wake = wake
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._told_ready: set[int] = set()
        self._open = False
        self._joined: set[int] = set()
        self._summaries: dict[int, Summary] = {}
        self._heard: dict[int, float] = {}
        self._stacks: dict[int, dict[str, str]] = {}
        self._reply = SummaryReply()
        self.handed = Handed()  # settled before `open`

    def knows(self, token: str) -> bool:
        """Whether the caller belongs to this attempt."""
        return hmac.compare_digest(token.encode(), self._config.token.encode())

    def missing(self) -> list[int]:
        """Node ranks that have not joined."""
        with self._lock:
            return [n for n in range(1, self._config.num_nodes) if n not in self._joined]

    def join(self, join: Join) -> JoinReply:
        """Raises ContractError for a worker of another attempt or shape."""
        self._check("attempt", join.attempt, self._config.attempt)
        self._check("worldSize", join.world_size, self._config.world_size)
        self._check_node(join.node_rank)
        with self._lock:
            self._joined.add(join.node_rank)
            self._heard[join.node_rank] = self._monotonic()
        self._wake()
        missing = self.missing()
        return JoinReply(self._open and not missing, missing, self.handed)

    def open(self) -> None:
        """From now on workers that are all there may start: the run directory is ours."""
        self._open = True

    def summary(self, summary: Summary) -> SummaryReply:
        """Keep a worker's summary; the answer carries our orders. Raises ContractError as `join` does."""
        self._check("attempt", summary.attempt, self._config.attempt)
        self._check_node(summary.node_rank)
        node = summary.node_rank
        with self._lock:
            self._joined.add(node)  # it may have started before it heard our answer
            self._summaries[node] = summary
            self._heard[node] = self._monotonic()
            self._stacks.setdefault(node, {}).update(summary.stacks)
            reply = self._reply
        self._wake()
        return reply

    def order(self, reply: SummaryReply) -> None:
        """What every worker is told from now on."""
        with self._lock:
            self._reply = reply

    def take(self) -> list[Summary]:
        """The newest summary of each worker that sent one since the last call."""
        with self._lock:
            newest = list(self._summaries.values())
            self._summaries = {}
            return newest

    def stacks(self) -> dict[int, str]:
        """Python stacks by rank, as far as they came."""
        with self._lock:
            return {
                int(rank): text
                for stacks in self._stacks.values()
                for rank, text in stacks.items()
                if rank.isdigit()
            }

    def silence(self, node_rank: int) -> float | None:
        """Seconds since a worker was heard of; None when it never was."""
        with self._lock:
            heard = self._heard.get(node_rank)
            return None if heard is None else self._monotonic() - heard

    def unheard(self) -> dict[str, float]:
        """By node rank, the silence of workers that were heard of once and have missed several of their seconds."""
        now = self._monotonic()
        with self._lock:
            silences = {str(node): now - heard for node, heard in self._heard.items()}
        return {node: round(s, 1) for node, s in silences.items() if s >= UNHEARD_SECONDS}

    def _check(self, field: str, value: int, ours: int) -> None:
        if value != ours:
            raise ContractError(field, value, f"is not this job's {ours}", "end this stale worker")

    def _check_node(self, node_rank: int) -> None:
        if not 1 <= node_rank < self._config.num_nodes:
            rule = f"is no worker of {self._config.num_nodes} nodes"
            raise ContractError("nodeRank", node_rank, rule, "correct PET_NODE_RANK")


class LinkError(Exception):
    """The master did not answer, or refused."""


class Link:
    """A worker's line to the master: plain requests, names resolved anew each time."""

    def __init__(self, host: str, port: int, token: str) -> None:
        self._host = host
        self._port = port
        self._token = token

    def post(self, path: str, body: object, kind: type[T]) -> T:
        """One request. Raises LinkError."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=REQUEST_TIMEOUT)
        try:
            headers = {wire.TOKEN_HEADER: self._token, "Content-Type": "application/json"}
            connection.request("POST", path, codec.dumps(body).encode(), headers)
            response = connection.getresponse()
            text = response.read(REPLY_LIMIT)
            if response.status != 200:
                reason = text.decode("utf-8", "replace").strip()[:300]
                raise LinkError(f"the master answered {response.status}: {reason}")
            return codec.loads(kind, text, path)
        except (OSError, http.client.HTTPException, ContractError) as error:
            raise LinkError(f"{type(error).__name__}: {error}") from error
        finally:
            connection.close()


class SummarySender:
    """Sends the newest offered summary each second from a thread of its own.

    `on_reply` runs in that thread. `silence` tells for how long the master has not answered.
    """

    def __init__(
        self,
        link: Link,
        on_reply: Callable[[SummaryReply], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link = link
        self._summary: Summary | None = None
        self._on_reply = on_reply
        self._monotonic = monotonic
        self._now = threading.Event()
        self._sent = threading.Condition()
        self._asked = 0
        self._done = 0
        self._stopped = False
        self._answered = monotonic()
        self.last_error = ""

    @property
    def silence(self) -> float:
        """Seconds since the master's last answer."""
        return self._monotonic() - self._answered

    def start(self) -> None:
        """Begin; the silence counts from here."""
        self._answered = self._monotonic()
        threading.Thread(target=self._run, name="summaries", daemon=True).start()

    def offer(self, summary: Summary) -> None:
        """What the next request says."""
        self._summary = summary

    def flush(self, summary: Summary, seconds: float) -> bool:
        """Send `summary` at once and wait for the answer. False when none came in time."""
        with self._sent:
            self._summary = summary
            self._asked += 1
            ticket = self._asked
            self._now.set()
            return self._sent.wait_for(lambda: self._done >= ticket, seconds)

    def stop(self) -> None:
        """Send nothing more."""
        self._stopped = True
        self._now.set()

    def _run(self) -> None:
        while not self._stopped:
            self._now.wait(SUMMARY_SECONDS)
            self._now.clear()
            if not self._stopped:
                self._send()

    def _send(self) -> None:
        with self._sent:
            ticket, summary = self._asked, self._summary
        if summary is None:
            return
        try:
            reply = self._link.post(wire.PATH_SUMMARY, summary, SummaryReply)
        except LinkError as error:
            self.last_error = str(error)
            return
        self._answered = self._monotonic()
        with self._sent:
            self._done = max(self._done, ticket)
            self._sent.notify_all()
        self._on_reply(reply)
