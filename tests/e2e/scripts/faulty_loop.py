"""A loop in plain Python that reports to its supervisor, and has one fault: `faulty_loop.py FAULT`."""

import math
import sys
import time

from speech_telemetry.reporter import Reporter

FAULT = sys.argv[1]
PAUSE, STEPS = 0.1, 4000
report = Reporter()

for step in range(1, STEPS + 1):
    loss = 2.0 + 0.05 * math.sin(step * 2.4)
    skipped, parts = {}, {"mel": loss, "vq": 0.5 + 0.01 * math.sin(step)}
    # It outlives a scrape: once the job is told to be Failed, RestartLoop is told no more.
    if FAULT == "crashes" and step == 80:
        raise RuntimeError("the corpus is not where the script looks for it")
    if FAULT == "skips" and step % 20 == 0:
        skipped = {"DecodeError": 3}  # of 83: warned of, and not yet stopped for
    if FAULT == "spikes" and step > 120:
        loss *= 15.0
    if FAULT == "hangs" and step == 30:
        time.sleep(3600)
    if FAULT == "drifts" and step > 20:
        parts["vq"] += 3.0
    report.step(
        step, loss=loss, components=parts, grad_norm=1.0 + 0.1 * math.cos(step), learning_rate=1e-4,
        samples=4, skipped=skipped,
    )  # fmt: skip
    time.sleep(PAUSE)
