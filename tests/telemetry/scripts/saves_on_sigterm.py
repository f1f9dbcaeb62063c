"""Reports steps until SIGTERM, then saves for a moment and exits 75. argv: directory, seconds to save."""

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from speech_telemetry.reporter import Reporter

stopped = False


def stop(number: int, frame: FrameType | None) -> None:
    global stopped
    stopped = True


signal.signal(signal.SIGTERM, stop)
report = Reporter()
step = 0
while not stopped:
    step += 1
    report.step(step, loss=1.0 + 1.0 / step, grad_norm=0.5)
    time.sleep(0.02)
time.sleep(float(sys.argv[2]))
Path(sys.argv[1], f"saved-{os.environ['RANK']}").write_text(str(step))
sys.exit(75)
