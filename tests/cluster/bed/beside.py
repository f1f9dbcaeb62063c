"""A controller of others as a plain process beside a test cluster. Used by `kueue` and `training_operator`."""

import os
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bed.api import wait_for
from bed.cluster import Bed

_LAST_WORDS = 3000  # characters of its log


@contextmanager
def beside(bed: Bed, name: str, command: Sequence[str], ready: str) -> Iterator[tuple[int, Path]]:
    """At work from when the URL `ready` answers: its process id and its log. Raises TimeoutError, RuntimeError."""
    log = bed.layout.logs / f"{name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=os.environ | {"KUBECONFIG": str(bed.kubeconfig)},
            stdout=output,
            stderr=output,
        )

    def answers() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"{name} ended with {process.returncode}")
        with urllib.request.urlopen(ready) as answer:
            return bool(answer.status == 200)

    try:
        wait_for(name, answers, seconds=120.0)
        yield process.pid, log
    except Exception as error:
        error.add_note(log.read_text(errors="replace")[-_LAST_WORDS:])
        raise
    finally:
        process.terminate()
        process.wait(30)
