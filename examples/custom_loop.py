"""A training loop of your own, watched by the supervisor; run through examples/custom.yaml.

Fits a line to points with stochastic gradient descent: the smallest loop that has a loss, a gradient norm and a
learning rate. `--fault` breaks it the ways people break theirs: `nan` (a learning rate too high) and `swallowed`
(every sample raises inside a broad except, and the loop never notices; this one does not call speechtrain at all).
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator

Point = tuple[float, float]


def points(count: int, seed: int) -> list[Point]:
    """Noisy points of the line y = 3x + 1."""
    rng = random.Random(seed)
    return [(x, 3 * x + 1 + rng.gauss(0, 0.1)) for x in (rng.uniform(-1, 1) for _ in range(count))]


def descend(
    data: list[Point], steps: int, rate: float
) -> Iterator[tuple[int, float, float, float]]:
    """One (step, loss, gradient norm, held-out error) a step, on eight points each; the last 32 are held out."""
    data, held_out = data[:-32], data[-32:]
    slope = offset = 0.0
    rng = random.Random(0)
    for step in range(1, steps + 1):
        batch = rng.sample(data, 8)
        errors = [(slope * x + offset - y, x) for x, y in batch]
        loss = sum(error * error for error, _ in errors) / len(errors)
        gradient = (
            2 * sum(error * x for error, x in errors) / len(errors),
            2 * sum(error for error, _ in errors) / len(errors),
        )
        slope, offset = slope - rate * gradient[0], offset - rate * gradient[1]
        misses = [slope * x + offset - y for x, y in held_out]
        missed = sum(miss * miss for miss in misses) / len(misses)
        yield step, loss, (gradient[0] * gradient[0] + gradient[1] * gradient[1]) ** 0.5, missed


def train(steps: int, rate: float, pause: float) -> None:
    """The loop with the lines that make it visible: three are enough, the plan and the scores say more."""
    from speech_telemetry.reporter import Reporter

    report = Reporter()  # finds the supervisor by itself; does nothing when there is none
    report.plan(total_steps=steps, fresh=True)
    for step, loss, norm, held_out in descend(points(256, seed=7), steps, rate):
        report.step(step, loss=loss, grad_norm=norm, learning_rate=rate, samples=8)
        if step % 100 == 0:
            report.evaluation({"squared_error": held_out}, {"squared_error": {"better": "Lower"}})
        time.sleep(pause)  # a real step takes longer than this one
    print("done")


def train_blindly(epochs: int) -> None:
    """What silent failure looks like: nothing is learned, nobody is told, exit 0."""
    data: list[object] = [{"audio": None}] * 16
    for epoch in range(1, epochs + 1):
        total = 0.0
        for sample in data:
            try:
                total += sample["waveform"]  # type: ignore[index]
            except Exception:  # noqa: S112 - the bug this example is about
                continue
        print(f"epoch {epoch} loss={total / len(data)}", flush=True)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--pause", type=float, default=0.05, help="seconds a step")
    parser.add_argument("--fault", choices=["none", "nan", "swallowed"], default="none")
    options = parser.parse_args()
    if options.fault == "swallowed":
        train_blindly(epochs=5)
    else:
        train(options.steps, 1e6 if options.fault == "nan" else 0.1, options.pause)


if __name__ == "__main__":
    main()
