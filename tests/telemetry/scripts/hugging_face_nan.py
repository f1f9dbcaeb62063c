"""What a stock Hugging Face Trainer prints once the loss is NaN: the filter shows a loss of '0'."""

import time

for step in range(1, 60):
    bad = step > 5
    line = {
        "loss": "0" if bad else f"{2.0 / step:.4g}",
        "grad_norm": "nan" if bad else "1.5",
        "learning_rate": "4.75e-05",
        "epoch": f"{step / 1000:.4g}",
    }
    print(line)
    time.sleep(0.1)
