"""`python -m speech_operator`: settings, log, login, then `app`. What the operator's image runs.

Exit codes: 0 stopped by a signal, 1 the Lease or a part was lost (the Deployment starts it again), 64 settings.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import sys
from typing import Any, Final, TextIO

from speech_contract.events import MESSAGES, Event
from speech_contract.outcome import EXIT_BAD_CONFIG
from speech_operator.app import EXIT_LOST, Operator
from speech_operator.cluster.transport import LoginError, connect
from speech_operator.events import JsonFormatter, log
from speech_operator.settings import Settings, SettingsError, read_settings

OURS = "speech_operator"
# As gc.set_threshold takes it; by default twice as much piles up, and the dearest search reads all imports as well.
GARBAGE: Final = (700, 5, 1)


class _Strangers(logging.Filter):
    """Lines of libraries become the one event that the catalogue has for them."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite in place; nothing is dropped."""
        if not hasattr(record, "event"):
            fields: dict[str, Any] = {"logger": record.name, "text": record.getMessage()}
            record.event, record.fields = Event.LIBRARY_MESSAGE.value, fields
            record.msg, record.args = MESSAGES[Event.LIBRARY_MESSAGE], ()
        return True


def log_to(stream: TextIO, level: str) -> None:
    """JSON lines: ours from `level` on, those of libraries from WARNING on."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(_Strangers())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(OURS).setLevel(level)
    # kopf warns of the signals that we leave it no part in.
    logging.getLogger("kopf").setLevel(logging.ERROR)


def open_as_many_files_as_we_may() -> None:
    """Raise the soft limit to the hard one: a running job takes a connection, and many systems begin with 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The hard limit may be more than the kernel takes.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def keep_little_garbage() -> None:
    """Look for cycles often, and never among what was imported, which makes it cheap.

    What kopf makes of an event (body, metadata, patch) holds itself in cycles and with it the whole document, as does
    each closed connection of asyncio: it lives for a while, and is then found by the dearest kind of search alone.
    """
    gc.collect()
    gc.freeze()
    # CPython waits for a quarter of what its last search of this kind left: that is nothing from now on.
    gc.collect()
    gc.set_threshold(*GARBAGE)


async def operate(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    transport = await connect(settings.kubeconfig, settings.in_flight)
    try:
        return await Operator(settings, transport, transport.credentials).run(stop)
    finally:
        await transport.close()


def main() -> int:
    """The process."""
    try:
        settings = read_settings(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_BAD_CONFIG
    log_to(sys.stdout, settings.log_level)
    open_as_many_files_as_we_may()
    keep_little_garbage()
    try:
        return asyncio.run(operate(settings))
    except LoginError as error:
        log(Event.OPERATOR_STOPPED, logging.ERROR, error=str(error))
        return EXIT_LOST


if __name__ == "__main__":
    sys.exit(main())
