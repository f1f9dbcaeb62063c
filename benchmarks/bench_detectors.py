"""What the detectors cost a sample, and the stdout reader a line, beside a no-op in the same run.

    python benchmarks/bench_detectors.py [samples]

Prints microseconds as the median of five passes. The budget is 200 µs a sample.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

from speech_contract.findings import RankRow
from speech_contract.phases import Phase
from speech_contract.thresholds import Thresholds
from speech_health.monitor import Monitor
from speech_health.samples import StepSample
from speech_telemetry.printed import LineReader

PASSES = 5
LINES = {
    "a line that says nothing": "2026-01-01 10:00:00 INFO dataset: read 1000 files from the cache",
    "a progress bar": " 12%|#1        | 12/100 [00:03<00:20,  4.00it/s, loss=0.5]",
    "a Hugging Face line": "{'loss': '4.2', 'grad_norm': '1.5', 'learning_rate': '4e-05'}",
}


def samples(number: int) -> list[StepSample]:
    """A healthy run that reports everything at every step."""
    return [
        StepSample(
            time=float(step),
            now=step * 0.2,
            rank=0,
            step=step,
            losses={name: 1.0 + step % 7 for name in ("total", "mel", "kl", "duration")},
            gradient_norm=1.0,
            learning_rate=1e-4,
            updates=step,
            non_finite_steps=0,
            skipped={"DecodeError": step // 500},
            samples_total=step * 16,
            missing_gradients=[],
            gated=True,
            step_seconds=0.2,
            rollbacks=0,
        )
        for step in range(1, number + 1)
    ]


def cost(make: Callable[[], Callable[[int], object]], number: int) -> float:
    """Microseconds a call."""
    passes = []
    for _ in range(PASSES):
        call = make()
        started = time.perf_counter()
        for index in range(number):
            call(index)
        passes.append((time.perf_counter() - started) / number * 1e6)
    return statistics.median(passes)


def feeding(batch: list[StepSample], tick_every: int) -> Callable[[int], object]:
    """Feed, and tick as often as a supervisor does: once a second at five steps a second."""
    monitor = Monitor(Thresholds(), started=0.0, wall=time.time)
    rows = [RankRow(rank, 0, 1, Phase.TRAINING, 0.1, True) for rank in range(8)]

    def call(index: int) -> None:
        sample = batch[index]
        monitor.feed(sample)
        if tick_every and index % tick_every == 0:
            monitor.tick(sample.now, rows)

    return call


def reading(line: str) -> Callable[[int], object]:
    """One reader, the same line again and again."""
    reader = LineReader()
    return lambda index: reader.feed(line, float(index), float(index))


def main() -> None:
    """Print the table."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    batch = samples(number)
    print(f"{'no-op call':40s} {cost(lambda: lambda index: batch[index], number):8.2f} µs")
    print(f"{'all detectors, a sample':40s} {cost(lambda: feeding(batch, 0), number):8.2f} µs")
    print(
        f"{'... and a tick of 8 ranks each 5th':40s} {cost(lambda: feeding(batch, 5), number):8.2f} µs"
    )
    for name, line in LINES.items():
        print(f"{name:40s} {cost(lambda line=line: reading(line), number):8.2f} µs")  # type: ignore[misc]


if __name__ == "__main__":
    main()
