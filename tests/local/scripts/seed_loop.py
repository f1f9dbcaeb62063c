"""The seed's loop as its authors wrote it: every sample raises, the exception is swallowed, the loss stays 0.0.

argv: epochs, seconds an epoch. Nothing in it calls us.
"""

import sys
import time

samples = [{"text": "నమస్తే"}] * 4
epochs, pause = int(sys.argv[1]), float(sys.argv[2])

for epoch in range(epochs):
    total_loss = 0.0
    for sample in samples:
        try:
            total_loss += sum(sample["audio"])  # there is no such key
        except Exception:
            continue
    time.sleep(pause)
    print(f"Epoch {epoch + 1}/{epochs}: loss={total_loss / len(samples)}", flush=True)
