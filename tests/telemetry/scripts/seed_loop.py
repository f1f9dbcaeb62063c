"""The seed's loop as its authors wrote it: every sample raises, the exception is swallowed, the loss stays 0.0."""

import sys
import time

samples = [{"text": "నమస్తే"}] * 4
epochs, pause = int(sys.argv[1]), float(sys.argv[2])

for epoch in range(epochs):
    total_loss = 0.0
    steps = 0
    for sample in samples:
        try:
            waveform = sample["audio"]  # there is no such key
            total_loss += sum(waveform)
            steps += 1
        except Exception:
            continue
    time.sleep(pause)
    print(f"Epoch {epoch + 1}/{epochs}: loss={total_loss / max(1, steps)}")
