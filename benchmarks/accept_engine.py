"""What the engine costs beside the recipe: the share of a VITS step that is spent outside `train_step`.

    python benchmarks/accept_engine.py [--base 61e9c39] [--steps 300] [--repeat 3]

`make accept-engine` runs it. A sampling profiler (py-spy) looks at whole runs of the Debug preset, of this build and
of an earlier one in turns, so that a busy machine disturbs both alike; the median of each counts. Saves, evaluations
and strategic logs come on their own cadence and are told apart. Writes results/engine.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import builds
import record
from record import Row

from speech_contract import env, names
from speech_trainer.data.synthesize import SynthesisPlan, synthesize

PY_SPY = Path(sys.executable).with_name("py-spy")
RUN = "import sys; from speech_cli.main import cli; cli.main(['run', sys.argv[1]])"
STEP, RECIPE, CADENCE = "_one_step (", "train_step (", "_on_cadence ("


@dataclasses.dataclass(frozen=True)
class Shares:
    """Of the samples below the engine's step."""

    outside: float  # neither in the recipe's step nor on a cadence
    cadence: float
    samples: int


def manifest(folder: Path, data: Path, steps: int) -> Path:
    """As the quickstart, shorter."""
    job = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "share"},
        "spec": {
            "recipe": {"vits": {"preset": "Debug"}},
            "data": {"train": {"manifest": str(data / "train.jsonl")}},
            "training": {"maxSteps": steps, "device": "CPU", "seed": 7},
            "checkpoint": {"uri": str(folder / "run"), "everySteps": steps},
        },
    }
    path = folder / "job.yaml"
    path.write_text(json.dumps(job), encoding="utf-8")
    return path


def profile(build: Path, data: Path, steps: int) -> Shares:
    """One run under the profiler."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stacks = folder / "stacks"
        watch = ["record", "--subprocesses", "--rate", "200", "--format", "raw"]
        job = str(manifest(folder, data, steps))
        command = [str(PY_SPY), *watch, "--output", str(stacks), "--", sys.executable, "-c", RUN]
        environ = builds.environ(build) | {env.LOCAL_STATE: str(folder / "state")}
        done = subprocess.run([*command, job], env=environ, capture_output=True, text=True)
        if not stacks.exists():
            raise SystemExit(f"no profile: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return shares(stacks.read_text(encoding="utf-8").splitlines())


def shares(lines: Sequence[str]) -> Shares:
    """Count collapsed stacks (`frame;frame;… number`) below a step."""
    below = [(stack, int(number)) for stack, number in _split(lines) if STEP in stack]
    total = sum(number for _, number in below)
    if not total:
        raise SystemExit("the profiler saw no step: more --steps are needed")
    cadence = sum(number for stack, number in below if CADENCE in stack)
    inside = sum(number for stack, number in below if RECIPE in stack and CADENCE not in stack)
    return Shares((total - cadence - inside) / (total - cadence), cadence / total, total)


def _split(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        stack, _, number = line.rpartition(" ")
        yield stack, number


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--base", default="61e9c39")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    before = record.machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        both = {"now": builds.ROOT, "before": builds.unpack(arguments.base, folder / "base")}
        synthesize(SynthesisPlan(languages=("te",), utterances=48, validation=4), folder / "data")
        seen: dict[str, list[Shares]] = {key: [] for key in both}
        for _ in range(arguments.repeat):
            for key, build in both.items():
                seen[key].append(profile(build, folder / "data", arguments.steps))
                print(key, seen[key][-1], flush=True)
    median = {key: statistics.median(one.outside for one in runs) for key, runs in seen.items()}
    cadence = {key: statistics.median(one.cadence for one in runs) for key, runs in seen.items()}
    rows = [
        Row("share of a step outside train_step", f"{median['now']:.2%}, before {median['before']:.2%}",
            "not above before", median["now"] <= median["before"]),
        Row("share of saves and logs on cadence", f"{cadence['now']:.2%}, before {cadence['before']:.2%}"),
    ]  # fmt: skip
    record.show(rows)
    figures = {key: [dataclasses.asdict(one) for one in runs] for key, runs in seen.items()}
    return not record.write("engine", before, figures | {"base": arguments.base}, rows)


if __name__ == "__main__":
    sys.exit(main())
