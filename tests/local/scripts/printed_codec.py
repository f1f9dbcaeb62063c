"""A codec's loop that only prints: the loss falls, its commitment part rises, and once the loader falls back."""

import math
import sys
import time

for step in range(1, int(sys.argv[1]) + 1):
    loss = 2.0 + math.exp(-step / 20) + 0.01 * math.sin(step)
    print(
        f"step {step} | loss: {loss:.4f} | vq_loss: {1.0 + 0.15 * step:.4f} | lr: 0.0001",
        flush=True,
    )
    if step == 5:
        print("WARNING decoder: falling back to cpu", flush=True)
    time.sleep(0.02)
