"""The loops that accept_local.py times. argv: deed, file. FILE gets the epoch second of the moment that counts.

zero   prints `loss=0.0` like a script that knows nothing of us; the moment is the 20th line
nan    three-line API; from step 30 on every loss is NaN; the moment is the first of them
steps  three-line API, healthy for ever
"""

import sys
import time
from pathlib import Path

from speech_telemetry.reporter import Reporter

PAUSE = 0.05
deed, moment = sys.argv[1], Path(sys.argv[2])


def note() -> None:
    moment.write_text(repr(time.time()))


def zero() -> None:
    for epoch in range(1, 100_000):
        if epoch == 20:
            note()  # before the line: this process may be ended right after it
        print(f"Epoch {epoch}: loss=0.0", flush=True)
        time.sleep(PAUSE)


def steps(first_nan: int) -> None:
    report = Reporter()
    for step in range(1, 100_000):
        bad = step >= first_nan
        if step == first_nan:
            note()
        loss = float("nan") if bad else 1.0 + 1.0 / step
        report.step(step, loss=loss, grad_norm=0.5, learning_rate=1e-3)
        time.sleep(PAUSE)


if deed == "zero":
    zero()
else:
    steps(30 if deed == "nan" else 10**9)
