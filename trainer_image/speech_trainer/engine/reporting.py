"""What the engine tells the world: datagrams and phase stamps to the supervisor, log events to people.

A report that fails is a warning, shown once per kind of failure, never a crash. `Telemetry` is
`speech_telemetry.reporter.Reporter`, `Events` is `speech_telemetry.logs.EventLog`; tests pass recorders.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from speech_contract.events import Event
from speech_contract.phases import Phase
from speech_contract.preflight import PreflightReport
from speech_contract.report import BadStep, Peers
from speech_contract.scores import ScoreSpec
from speech_contract.wire import Datagram
from speech_trainer.engine.flags import StepFlags
from speech_trainer.engine.state import Counters

log = logging.getLogger(__name__)


class Telemetry(Protocol):
    """The supervisor, as a rank sees it."""

    def send(self, datagram: Datagram, /) -> object:
        """Send one report; never blocks."""
        ...

    def stamp(self, step: int, phase: Phase, /) -> object:
        """Write (step, phase, now) into the phase file."""
        ...


class Events(Protocol):
    """The log."""

    def emit(self, event: Event, /, **fields: Any) -> object:
        """One JSON line."""
        ...


class NoTelemetry:
    """No supervisor, no log: for tests and plain runs."""

    def send(self, datagram: Datagram, /) -> None:
        """Nowhere to send to."""

    def stamp(self, step: int, phase: Phase, /) -> None:
        """Nobody looks."""

    def emit(self, event: Event, /, **fields: Any) -> None:
        """Nobody reads."""


@dataclasses.dataclass
class Facts:
    """What every datagram repeats, cumulative: a lost datagram loses no NaN."""

    non_finite_steps: int = 0
    bad_step: int | None = None
    bad_component: str = ""
    bad_module: str = ""
    first_bad: BadStep | None = None
    rollbacks: int = 0
    discarded_steps: int = 0
    data_wait_seconds: float = 0.0
    checkpoint_seconds: float = 0.0
    evaluation: dict[str, float] | None = None
    score_specs: dict[str, ScoreSpec] | None = None
    last_checkpoint_step: int | None = None
    last_confirmed_step: int | None = None
    resumed_from_step: int | None = None
    resume_note: str = ""
    preflight: PreflightReport | None = None


class Reporting:
    """One rank's voice."""

    def __init__(
        self,
        telemetry: Telemetry,
        events: Events,
        *,
        rank: int,
        total_steps: int,
        device: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.facts = Facts()
        self._telemetry, self._events, self._clock = telemetry, events, clock
        self._rank, self._total, self._device = rank, total_steps, device
        self._phase = Phase.STARTING
        self._message = ""
        self._attached: dict[str, Any] = {}
        self._peers: Peers | None = None
        self._warned: set[str] = set()

    def phase(self, step: int, phase: Phase) -> None:
        """Enter a phase: stamped, and sent with the next datagram."""
        self._phase = phase
        self._try("stamp", lambda: self._telemetry.stamp(step, phase))

    def event(self, event: Event, **fields: Any) -> None:
        """One log line, from rank 0: what the engine decides, all ranks decide alike."""
        if self._rank == 0:
            self._try("event", lambda: self._events.emit(event, **fields))

    def say(self, message: str) -> None:
        """One line worth keeping; goes with the next datagram."""
        self._message = message

    def attach(self, **fields: Any) -> None:
        """Fields that go with the next datagram, once."""
        self._attached |= fields

    def bad_step(self, flags: StepFlags, in_a_row: int, first: StepFlags | None) -> None:
        """A gated step became known. `first`: where the fault began that it belongs to."""
        self.facts.non_finite_steps += 1
        self.facts.bad_step = flags.step
        self.facts.bad_component, self.facts.bad_module = flags.component, flags.module
        self.facts.first_bad = (first or flags).bad_step
        self.event(
            Event.UPDATE_SKIPPED,
            step=flags.step,
            bad_component=flags.component,
            bad_module=flags.module,
            bad_rank=flags.rank,
            consecutive=in_a_row,
        )

    def compared(self, peers: Peers | None) -> None:
        """The ranks compared themselves: rank 0 tells it once, and again and again while they disagree."""
        if self._rank != 0 or peers is None:
            return
        known = self._peers is not None and len(self._peers.groups) > 1
        self._peers = peers
        if len(peers.groups) > 1 and not known:
            self.event(
                Event.RANKS_DISAGREE,
                step=peers.step,
                agreed_step=peers.agreed_step,
                groups=peers.groups,
                module=peers.differs,
            )

    def send(self, counters: Counters, **measured: Any) -> None:
        """One datagram: facts, counters and whatever was measured at this step."""
        message, self._message = self._message, ""
        attached, self._attached = self._attached, {}
        peers = self._peers
        if peers is not None and len(peers.groups) <= 1:
            self._peers = None
        datagram = Datagram(
            rank=self._rank,
            step=counters.step,
            time=self._clock(),
            phase=self._phase,
            updates=counters.updates,
            steps_total=counters.steps_total,
            total_steps=self._total,
            samples_total=counters.samples_total,
            audio_seconds_total=counters.audio_seconds_total,
            tokens_total=counters.tokens_total,
            gated=True,
            message=message,
            device=self._device,
            peers=peers,
            **vars(self.facts),
            **measured,
            **attached,
        )
        self._try("datagram", lambda: self._telemetry.send(datagram))

    def _try(self, kind: str, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:  # telemetry must never end a training run
            if kind not in self._warned:
                self._warned.add(kind)
                log.warning("a %s could not be reported (%r); training goes on", kind, error)
