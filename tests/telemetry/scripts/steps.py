"""Healthy steps through the three-line API. argv: steps, seconds a step, and what one rank does at the end.

The last argument is RANK:DEED, DEED one of `exit40`, `raise`, `sleep`, `kill`, `complain`; the other ranks go on for
ever.
"""

import os
import signal
import sys
import time

from speech_telemetry.reporter import Reporter

steps, pause = int(sys.argv[1]), float(sys.argv[2])
who, _, deed = (sys.argv[3] if len(sys.argv) > 3 else "-1:").partition(":")
rank = int(os.environ["RANK"])


def barrier() -> None:
    time.sleep(3600)


def last_deed() -> None:
    if deed == "exit40":
        sys.exit(40)
    if deed == "raise":
        raise RuntimeError(f"rank {rank} lost its way")
    if deed == "complain":
        print(f"rank {rank} lost its way", flush=True)
        barrier()
    if deed == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if deed == "sleep":
        barrier()


report = Reporter()
for step in range(1, steps + 1):
    report.step(step, loss=2.0 / step + 0.1, grad_norm=1.0, learning_rate=1e-3)
    time.sleep(pause)
if rank == int(who):
    last_deed()
while deed and rank != int(who):
    steps += 1
    report.step(steps, loss=0.1, grad_norm=1.0, learning_rate=1e-3)
    time.sleep(pause)
