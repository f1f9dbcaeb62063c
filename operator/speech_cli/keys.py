"""A pause that a key ends, on a terminal. Called by `commands.top`.

Where standard input is no terminal nobody is listened to: what is piped in is not ours to read.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator


@contextlib.contextmanager
def listening() -> Iterator[int | None]:
    """Keys come one by one and unseen; the descriptor that they come from, None where there is none."""
    if not sys.stdin.isatty():
        yield None
        return
    keys = sys.stdin.fileno()
    before = termios.tcgetattr(keys)
    tty.setcbreak(keys)
    try:
        yield keys
    finally:
        termios.tcsetattr(keys, termios.TCSADRAIN, before)


def pause(keys: int | None, seconds: float, stops: bytes = b"qQ") -> None:
    """Wait so long. Raises KeyboardInterrupt as soon as one of `stops` is typed."""
    if keys is None:
        time.sleep(seconds)
        return
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        if not select.select([keys], [], [], left)[0]:
            return
        typed = os.read(keys, 64)
        if not typed or any(key in stops for key in typed):  # nothing: the terminal hung up
            raise KeyboardInterrupt
