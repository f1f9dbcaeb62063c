"""A loop whose last steps go by while the supervisor is stopped, as one is that gets no CPU."""

import os
import signal
import subprocess

from speech_telemetry.reporter import Reporter

STEPS = 30  # the kernel queues ten reports

report, supervisor = Reporter(), os.getppid()
os.kill(supervisor, signal.SIGSTOP)
for step in range(1, STEPS + 1):
    report.step(step, loss=1.0 / step)
report.checkpoint(STEPS, "last")
subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -CONT {supervisor}"], start_new_session=True)
