"""A loop with the three-line API whose loss is exactly zero: every sample fails and nobody says so."""

import sys
import time

from speech_telemetry.reporter import Reporter

report = Reporter()
for step in range(1, int(sys.argv[1]) + 1):
    report.step(step, loss=0.0, learning_rate=1e-4)
    time.sleep(0.01)
