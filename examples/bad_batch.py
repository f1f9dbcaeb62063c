"""A training loop that saves by itself and meets a bad stretch of data; run through examples/bad-batch.yaml.

Fits a line to points, one batch after another, and keeps its state in a JSON file every ten steps. Three batches are
NaN. The lines marked `<-` are all it takes to come back: a new attempt goes on from the newest file that was followed
by enough finite steps, and passes over these batches.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from pathlib import Path

from speech_telemetry.reporter import Reporter

BAD = range(60, 63)  # numbers of the batches


def batch(number: int) -> list[tuple[float, float]]:
    """Eight noisy points of the line y = 3x + 1: the same for a number, whoever asks."""
    rng = random.Random(number)
    points = [(x, 3 * x + 1 + rng.gauss(0, 0.1)) for x in (rng.uniform(-1, 1) for _ in range(8))]
    return [(x, float("nan")) for x, _ in points] if number in BAD else points


def descend(state: dict[str, float], points: list[tuple[float, float]], rate: float) -> float:
    """One step of gradient descent; returns the loss before it."""
    errors = [(state["slope"] * x + state["offset"] - y, x) for x, y in points]
    state["slope"] -= rate * 2 * sum(error * x for error, x in errors) / len(errors)
    state["offset"] -= rate * 2 * sum(error for error, _ in errors) / len(errors)
    return sum(error * error for error, _ in errors) / len(errors)


def train(steps: int, folder: Path, pause: float) -> dict[str, float]:
    """Train to the end; returns the state there."""
    report = Reporter()
    state = {"step": 0, "next_batch": 0, "slope": 0.0, "offset": 0.0}
    start = report.resume_from()  # <- None in the first attempt
    if start is not None:
        state = json.loads(Path(start.path).read_text())
        report.resumed(int(state["step"]))  # <-
    while state["step"] < steps:
        number = int(state["next_batch"])
        state["next_batch"] += 1
        if report.skips(number):  # <-
            continue
        loss = descend(state, batch(number), 0.1)
        state["step"] += 1
        report.step(int(state["step"]), loss=loss, window=(number, number + 1))  # <- what it had
        if state["step"] % 10 == 0:
            path = folder / f"step-{int(state['step'])}.json"
            path.write_text(json.dumps(state))
            report.checkpoint(int(state["step"]), path)  # <- once it is whole
        time.sleep(pause)  # a real step takes longer than this one
    return state


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--pause", type=float, default=0.03, help="seconds a step")
    options = parser.parse_args()
    folder = Path(os.environ.get("SPEECHTRAIN_RUN_DIR", "out/bad-batch"), "saved")
    folder.mkdir(parents=True, exist_ok=True)
    state = train(options.steps, folder, options.pause)
    print(f"y = {state['slope']:.2f} x + {state['offset']:.2f}")


if __name__ == "__main__":
    main()
