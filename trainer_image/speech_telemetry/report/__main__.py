"""`python -m speech_telemetry.report RUN_DIR`: write its report.html. The supervisor starts it (`report_process`).

`--told JSON`: of which job, and what its trackers are (`tracking.Told`); `--last`: the attempt is over.

Gives way to whatever trains: lowest priority, and the first to go where memory runs out.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from speech_contract import codec
from speech_telemetry.report.tracking import NotToldError
from speech_telemetry.report.writing import NotOursError, write_run
from speech_telemetry.told import Told


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m speech_telemetry.report")
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--told", type=lambda text: codec.loads(Told, text))
    parser.add_argument("--last", action="store_true")
    options = parser.parse_args(argv)
    _give_way()
    try:
        write_run(options.run_dir, time.time(), options.told, last=options.last)
    except (NotOursError, NotToldError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _give_way() -> None:
    with contextlib.suppress(OSError):
        os.nice(19)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


if __name__ == "__main__":
    sys.exit(main())
