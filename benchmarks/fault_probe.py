"""The loop that accept_cluster.py times, run in a pod. argv: file, seconds of health, seconds a step, loss, number.

After the seconds of health every loss is the one named, `nan` or `0`; FILE gets the epoch second just before the
`number`-th of them is reported.
"""

import sys
import time
from pathlib import Path

from speech_telemetry.reporter import Reporter

moment, healthy, pause = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
bad_loss, wanted = float(sys.argv[4]), int(sys.argv[5])
report = Reporter()
began = time.monotonic()
told = 0
for step in range(1, 1_000_000):
    bad = time.monotonic() - began > healthy
    told += bad
    if told == wanted and not moment.exists():
        moment.write_text(repr(time.time()))
    loss = bad_loss if bad else 1.0 + 1.0 / step
    report.step(step, loss=loss, grad_norm=0.5 + 0.1 / step, learning_rate=1e-3)
    time.sleep(pause)
