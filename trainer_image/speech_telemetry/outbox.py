"""A rank's way to its supervisor: what the kernel's queue, some ten datagrams, has no room for waits here, in order.

Called by `reporter`. A step never blocks; the end of the process does, for at most LAST_SECONDS: of a run that is
over, the last step, score and checkpoint are what people look at, and no later report would tell them again.
"""

from __future__ import annotations

import atexit
import collections
import os
import socket
import struct
import time
from typing import Final

WAITING: Final = 64  # datagrams of at most 8 KiB, a second or so of a supervisor that has no CPU
LAST_SECONDS: Final = 5.0


class Outbox:
    """One per `Reporter`. Raises OSError when this system has no Unix datagrams."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._waiting: collections.deque[bytes] = collections.deque()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._process = os.getpid()
        atexit.register(self.close)

    def send(self, payload: bytes) -> int:
        """Send it after what waits, without blocking. The number of datagrams that this cost: the oldest go first."""
        self._waiting.append(payload)
        lost = self._send_waiting()
        if len(self._waiting) > WAITING:
            self._waiting.popleft()
            lost += 1
        return lost

    def close(self) -> None:
        """Wait for room for what is left, and give the socket back."""
        atexit.unregister(self.close)
        if os.getpid() == self._process:  # a fork has copies of what its parent will send
            self._send_last()
        self._socket.close()

    def _send_last(self) -> None:
        deadline = time.monotonic() + LAST_SECONDS
        # No `settimeout`: it polls, and our own end is always writable.
        self._socket.setblocking(True)
        while self._waiting and (left := deadline - time.monotonic()) > 0:
            seconds, fraction = divmod(left, 1.0)
            room = struct.pack("ll", int(seconds), int(fraction * 1e6))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, room)
            self._send_waiting(most=1)

    def _send_waiting(self, most: int = WAITING + 1) -> int:
        """Send of what waits, until there is no room. What it cost: everything when nobody is there."""
        try:
            for _ in range(min(most, len(self._waiting))):
                self._socket.sendto(self._waiting[0], self._address)
                self._waiting.popleft()
        except BlockingIOError:
            return 0
        except OSError:
            lost = len(self._waiting)
            self._waiting.clear()
            return lost
        return 0
