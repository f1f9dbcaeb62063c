"""Learns, and keeps every batch in a list: 7.5 MiB a second, for so many seconds."""

import math
import sys
import time

from speech_telemetry.reporter import Reporter

STEPS_A_SECOND = 20
report, kept = Reporter(), []
for step in range(1, int(sys.argv[1]) * STEPS_A_SECOND):
    kept.append(b"x" * 3 * 2**17)
    loss = 1.0 + math.exp(-step / 500) + 0.02 * math.sin(step)
    report.step(step, loss=loss, grad_norm=1.0 + 0.1 * math.sin(3 * step), learning_rate=1e-4)
    time.sleep(1 / STEPS_A_SECOND)
