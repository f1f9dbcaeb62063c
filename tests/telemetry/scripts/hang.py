"""Prints a healthy loss for some steps, then waits for ever for something that never comes."""

import time


def all_reduce() -> None:
    while True:
        time.sleep(60)


for step in range(1, 8):
    print(f"step {step} loss={1.0 / step:.4f}")
    time.sleep(0.05)
all_reduce()
