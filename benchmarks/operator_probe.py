"""`python -m speech_operator` that says on SIGUSR1 what it holds. Started by accept_soak.py and accept_scale.py.

One JSON line among those of its log: tasks of all event loops by the first word of their name, threads, objects.
"""

from __future__ import annotations

import asyncio
import collections
import gc
import json
import os
import signal
import sys
import threading
from typing import Any

from speech_operator.__main__ import main

EVENT = "counted"


def count(*_: Any) -> None:
    """Write the line at once, past the buffer of a log that may be in the middle of one of its own."""
    gc.collect()
    every = gc.get_objects()
    alive = [one for one in every if isinstance(one, asyncio.Task) and not one.done()]
    tasks = collections.Counter(one.get_name().partition(" ")[0].partition("-")[0] for one in alive)
    line = {
        "event": EVENT,
        "tasks": dict(tasks),
        "threads": sorted(one.name for one in threading.enumerate()),
        "objects": len(every),
    }
    os.write(sys.stdout.fileno(), f"{json.dumps(line)}\n".encode())


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, count)
    sys.exit(main())
