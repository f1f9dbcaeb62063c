"""What keeping the numbers of a long run costs, and making its page: CPU of the supervisor, time, memory, size.

    python benchmarks/accept_report.py [--steps 100000] [--repeat 3]

`make accept-report` runs it. The run is drawn: losses of a VITS at every step, a spike of one step, a NaN of one step,
a roll-back, evaluations. The page is made in a process of its own, as the supervisor and a person make it; the least
of the repeated times counts, the largest memory.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import record
from record import Row

from speech_contract import paths
from speech_contract.wire import Datagram
from speech_health.samples import from_datagram
from speech_telemetry.series import LIMIT_BYTES, Series, SeriesFile

SECONDS, MEMORY, PAGE = 10.0, 500.0, 3_000_000
PARTS = ("mel", "kl", "duration", "adversarial", "feature", "discriminator")
SPIKE, WHERE = 1e4, 0.31  # its height, and where in the run it stands
LEFT, TARGET = 0.6, 0.58  # the roll-back, as shares of the run


def drawn(steps: int, seed: int = 1) -> Iterator[Datagram]:
    """A rank's reports, one a step; steps of the stretch that was left come twice."""
    chance = random.Random(seed)
    order = [*range(1, int(steps * LEFT) + 1), *range(int(steps * TARGET) + 1, steps + 1)]
    rollbacks = bad = 0
    for place, step in enumerate(order):
        level = 2 + 40 * math.exp(-step / (steps / 8))
        losses = {name: round(level * (0.5 + 0.1 * chance.random()), 6) for name in PARTS}
        losses = {"total": sum(losses.values()), **losses}
        if step == int(steps * WHERE):
            losses["mel"] = SPIKE
        if step == int(steps * WHERE) + 7:
            losses["mel"], bad = math.nan, 1
        rollbacks += place > 0 and step < order[place - 1]
        yield Datagram(
            rank=0, step=step, time=1.76e9 + place * 0.4, losses=losses, gradient_norm=1 + chance.random(),
            learning_rate=2e-4 * 0.9999**step, planned_rate=2e-4 * 0.9999**step,
            step_seconds=0.4 + 0.01 * chance.random(),
            updates=step - bad, non_finite_steps=bad, bad_step=int(steps * WHERE) + 7 if bad else None,
            rollbacks=rollbacks, message="rolled back" if place and step < order[place - 1] else "",
            data_wait_seconds=place * 0.02, audio_seconds_total=place * 12.0, samples_total=place * 8,
            evaluation={"dtw_mel": 1 + 1 / (1 + step // 5000)} if step >= 5000 else None,
        )  # fmt: skip


def keep(run_dir: Path, steps: int) -> tuple[float, int]:
    """Write the series as the supervisor does, in the ticks that it has. CPU seconds, and the size of the file."""
    datagrams = list(drawn(steps))
    path = paths.series_file(run_dir, 1)
    series = Series(SeriesFile(path, sys.stderr.write), time.time)
    samples = [from_datagram(datagram, place * 0.4) for place, datagram in enumerate(datagrams)]
    began = time.process_time()
    series.opens({"attempt": 1, "job": "drawn", "recipe": "vits"})
    for sample in samples:
        series.take(sample, 0)
        series.flush()
    return time.process_time() - began, path.stat().st_size


def table(path: Path, steps: int) -> None:
    """The same run as somebody's CSV."""
    with path.open("w", encoding="utf-8") as file:
        file.write("step,loss,mel_loss,grad_norm,lr\n")
        for one in drawn(steps):
            assert one.losses is not None
            file.write(
                f"{one.step},{one.losses['total']},{one.losses['mel']},{one.gradient_norm},{one.learning_rate}\n"
            )


def made(command: Sequence[str], page: Path) -> tuple[float, float, str]:
    """Wall seconds and peak MiB of one call, and the page."""
    code = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], stdout=sys.stderr)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)\n"
        "sys.exit(done.returncode)"
    )
    began = time.monotonic()
    said = subprocess.run(
        [sys.executable, "-c", code, *command], check=True, stdout=subprocess.PIPE, text=True
    )
    return time.monotonic() - began, float(said.stdout), page.read_text(encoding="utf-8")


def data_of(page: str) -> dict[str, Any]:
    """What the page's script draws."""
    start = page.index('id="data">') + len('id="data">')
    found: dict[str, Any] = json.loads(page[start : page.index("</script>", start)])
    return found


def lost(page: str, steps: int) -> list[str]:
    """Which of the spike and the NaN the page does not show."""
    lines = [
        line
        for chart in data_of(page)["charts"]
        for line in chart["lines"]
        if "mel" in line["label"]
    ]
    spike = any(y == SPIKE for line in lines for y in line["y"])
    nan = any(stretch[0] == int(steps * WHERE) + 7 for line in lines for stretch in line["bad"])
    return [name for name, there in (("the spike", spike), ("the NaN", nan)) if not there]


def judge(
    name: str, calls: Sequence[tuple[float, float, str]], steps: int
) -> tuple[list[Row], dict[str, Any]]:
    """Rows of one kind of page."""
    seconds, memory = min(one[0] for one in calls), max(one[1] for one in calls)
    page = calls[-1][2]
    size, missing = len(page.encode()), lost(page, steps)
    rows = [
        Row(f"{name}: made in", f"{seconds:.1f} s", f"≤ {SECONDS:.0f} s", seconds <= SECONDS),
        Row(f"{name}: peak memory", f"{memory:.0f} MiB", f"≤ {MEMORY:.0f} MiB", memory <= MEMORY),
        Row(f"{name}: page", f"{size / 1e6:.2f} MB", f"≤ {PAGE / 1e6:.0f} MB", size <= PAGE),
        Row(
            f"{name}: spike and NaN of one step",
            " and ".join(missing) or "shown",
            "shown",
            not missing,
        ),
    ]
    return rows, {"seconds": round(seconds, 2), "memoryMiB": round(memory, 1), "bytes": size}


def main() -> int:
    """Measure, show, keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    steps, before = arguments.steps, record.machine()
    with tempfile.TemporaryDirectory() as name:
        run_dir, log = Path(name, "run"), Path(name, "log.csv")
        cpu, size = keep(run_dir, steps)
        table(log, steps)
        of_run = [sys.executable, "-m", "speech_telemetry.report", str(run_dir)]
        of_log = ["speechtrain", "report", str(log), "--out", str(Path(name, "log.html"))]
        of_log[0] = str(Path(sys.executable).with_name("speechtrain"))
        run_calls = [made(of_run, run_dir / paths.REPORT) for _ in range(arguments.repeat)]
        log_calls = [made(of_log, Path(name, "log.html")) for _ in range(arguments.repeat)]
    run_rows, run_figures = judge(f"{steps:,} steps of a run", run_calls, steps)
    log_rows, log_figures = judge(f"{steps:,} rows of a foreign CSV", log_calls, steps)
    micro = 1e6 * cpu / steps
    rows = [
        *run_rows,
        *log_rows,
        Row(
            "series on disk",
            f"{size / 2**20:.1f} MiB",
            f"≤ {LIMIT_BYTES / 2**20:.0f} MiB",
            size <= LIMIT_BYTES,
        ),
        Row("supervisor: CPU time a report, thinning included", f"{micro:.0f} µs"),
    ]
    record.show(rows)
    figures = {
        "run": run_figures,
        "log": log_figures,
        "seriesBytes": size,
        "microsecondsAReport": round(micro, 1),
    }
    return 0 if record.write("report", before, figures, rows) else 1


if __name__ == "__main__":
    sys.exit(main())
