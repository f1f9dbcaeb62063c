"""The loop that accept_cluster.py times, run in a pod. argv: file, seconds of health, seconds a step.

From then on every loss is NaN; FILE gets the epoch second just before the first of them is reported.
"""

import sys
import time
from pathlib import Path

from speech_telemetry.reporter import Reporter

moment, healthy, pause = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
report = Reporter()
began = time.monotonic()
for step in range(1, 1_000_000):
    bad = time.monotonic() - began > healthy
    if bad and not moment.exists():
        moment.write_text(repr(time.time()))
    loss = float("nan") if bad else 1.0 + 1.0 / step
    report.step(step, loss=loss, grad_norm=0.5, learning_rate=1e-3)
    time.sleep(pause)
