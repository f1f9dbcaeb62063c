"""Trains nothing: reports healthy steps until it is ended, or leaves at once with --exit CODE or --raise TEXT."""

import argparse
import sys
import time

from speech_telemetry.reporter import Reporter

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--exit", type=int, default=0)
parser.add_argument("--raise", dest="text", default="")
options = parser.parse_args()
if options.text:
    raise RuntimeError(options.text)
if options.exit:
    sys.exit(options.exit)
report = Reporter()
for step in range(1, 36_000):
    report.step(step, loss=1.0 + 1.0 / step, grad_norm=0.5, learning_rate=1e-3)
    time.sleep(0.1)
