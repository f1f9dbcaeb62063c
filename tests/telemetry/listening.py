"""A supervisor's ear for tests of the callbacks of Hugging Face and Lightning."""

from __future__ import annotations

from speech_contract.phases import Phase
from speech_contract.wire import Datagram


class Recorder:
    """A supervisor that only listens."""

    rank = 0

    def __init__(self, *, connected: bool = True) -> None:
        self.connected = connected
        self.dropped = 0
        self.sent: list[Datagram] = []
        self.stamps: list[tuple[int, Phase]] = []

    def send(self, datagram: Datagram) -> None:
        self.sent.append(datagram)

    def stamp(self, step: int, phase: Phase) -> None:
        self.stamps.append((step, phase))
