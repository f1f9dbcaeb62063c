"""Real trainers of others, each twice: sound, and NaN from a step on. Is it named, and is the sound one left alone?

    python benchmarks/accept_trainers.py [--only SCRIPT] [--keep]

`make accept-trainers` runs it, for every entry of trainers/trainers.toml. Each trainer gets an environment of its own
in .cache/trainers, is run by `speechtrain run` as a custom command under default thresholds, with nothing between it
and its output, and what it printed is judged once more by `speechtrain replay`. That output is kept, without places of
this machine, in tests/telemetry/captured: what CI judges without installing any of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import record
from record import ROOT, Row

from speech_contract import env, names
from speech_contract.progress import Rule, Severity
from speech_contract.thresholds import HealthMode, Thresholds
from speech_health.monitor import Monitor
from speech_telemetry.printed import LineReader

SCRIPTS = Path(__file__).parent / "trainers"
ENVIRONMENTS = ROOT / ".cache" / "trainers"
CAPTURED = ROOT / "tests" / "telemetry" / "captured"
UV = ROOT / ".cache" / "bootstrap" / "bin" / "uv"
PLANTED = 21  # the step from which on the loss is NaN
WITHIN, FEWEST = 20, 12  # reports to the alarm; trainers
TORCH = "torch==2.11.0"
LONGEST = 600.0  # seconds of a run
QUIET = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
CALL = "import sys; from speech_cli.main import main; sys.exit(main())"
PATHS = os.pathsep.join(str(ROOT / room) for room in ("crds", "operator", "trainer_image"))


@dataclasses.dataclass(frozen=True)
class Trainer:
    """One entry of the table."""

    name: str
    script: str
    packages: Sequence[str]
    first: int = PLANTED  # the report that holds the first NaN
    torch: str = TORCH

    @property
    def python(self) -> Path:
        """The interpreter of its environment."""
        return ENVIRONMENTS / self.script / "bin" / "python"


@dataclasses.dataclass(frozen=True)
class Run:
    """What one run came to."""

    output: bytes
    exit_code: int
    rules: list[str]  # of the live run, loud ones


def table() -> tuple[list[Trainer], list[dict[str, str]]]:
    """The trainers, and those that can't be run."""
    document = tomllib.loads((SCRIPTS / "trainers.toml").read_text(encoding="utf-8"))
    return [Trainer(**entry) for entry in document["trainer"]], document.get("refused", [])


def install(trainer: Trainer) -> dict[str, str]:
    """Its environment; versions of what it was asked to hold."""
    home = trainer.python.parents[1]
    if not trainer.python.exists():
        _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(home))
        wanted = [*trainer.packages, *([trainer.torch] if trainer.torch else [])]
        _uv("pip", "install", "--quiet", "--python", str(trainer.python), *wanted)
    frozen = _uv("pip", "freeze", "--python", str(trainer.python))
    versions = dict(line.split("==") for line in frozen.splitlines() if "==" in line)
    asked = [re.split(r"[=<>\[ ]", package)[0] for package in trainer.packages]
    return {name: versions[name] for name in [*asked, "torch"] if name in versions}


def _uv(*words: str) -> str:
    done = subprocess.run([str(UV), *words], check=True, capture_output=True, text=True)
    return done.stdout


def run(trainer: Trainer, planted: int, place: Path) -> Run:
    """`speechtrain run` of the script as a custom command."""
    place.mkdir()
    name = "sound" if not planted else "planted"
    command = [str(trainer.python), str(SCRIPTS / f"{trainer.script}.py"), str(planted)]
    variables = [{"name": key, "value": value} for key, value in QUIET.items()]
    job = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name},
        "spec": {
            "recipe": {"custom": {}},
            "trainer": {"command": command, "env": variables},
            "checkpoint": {"uri": "run"},
            "runPolicy": {"restarts": {"max": 0}},
        },
    }
    (place / "job.yaml").write_text(json.dumps(job), encoding="utf-8")
    environ = {**os.environ, "PYTHONPATH": PATHS, env.LOCAL_STATE: str(place / "state")}
    done = subprocess.run(
        [sys.executable, "-c", CALL, "run", "job.yaml", "-o", "json"],
        cwd=place, env=environ, capture_output=True, text=True, timeout=LONGEST, check=False,
    )  # fmt: skip
    status = json.loads(done.stdout)["status"]
    found = status["health"].get("findings", [])
    loud = [f["rule"] for f in found if f["severity"] != Severity.INFO.value]
    output = place / "run" / "logs" / "attempt-1" / "rank-0.log"
    return Run(output.read_bytes(), done.returncode, loud)


def cleaned(output: bytes) -> bytes:
    """Without this machine's places and name."""
    for place, stands in (
        (str(ROOT), "."),
        (tempfile.gettempdir(), "/tmp"),
        (socket.gethostname(), "host"),
    ):
        output = output.replace(place.encode(), stands.encode())
    return output


@dataclasses.dataclass(frozen=True)
class Read:
    """What the reader makes of an output, and when NonFinite first warned."""

    format: str
    reports: int
    step: int | None  # at which it did
    after: int | None  # the how many-th report from the first planted step on that was


def read(output: bytes, first: int) -> Read:
    """Line by line, as a supervisor does. `first`: the step that was planted, or its epoch."""
    reader = LineReader()
    monitor = Monitor(Thresholds(mode=HealthMode.NOTIFY), started=0.0, wall=lambda: 0.0)
    told, late = set[int](), set[int]()
    step, after = None, None
    lines = re.split(r"[\r\n]+", output.decode("utf-8", "replace"))
    for number, line in enumerate(lines):
        sample = reader.feed(line, number * 0.05)
        if sample is None:
            continue
        monitor.feed(sample)
        if sample.losses is not None or sample.gradient_norm is not None:
            told.add(sample.turn)
            if sample.step >= first:
                late.add(sample.turn)
        if after is None and named(monitor):
            step, after = sample.step, len(late)
    return Read(reader.form, len(told), step, after)


def named(monitor: Monitor) -> bool:
    """NonFinite warns or stops."""
    return any(
        f.rule is Rule.NON_FINITE and f.severity is not Severity.INFO for f in monitor.findings
    )


def replayed(output: Path) -> list[str]:
    """Rules of `speechtrain replay`, loud ones."""
    environ = {**os.environ, "PYTHONPATH": PATHS}
    command = [sys.executable, "-c", CALL, "replay", str(output), "-o", "json"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    (found,) = json.loads(done.stdout).values()
    return [one["rule"] for one in found if one["severity"] != Severity.INFO.value]


def measure(trainer: Trainer, place: Path) -> dict[str, Any]:
    """Both runs of a trainer, read live, afterwards and line by line."""
    versions = install(trainer)
    figures: dict[str, Any] = {"name": trainer.name, "script": trainer.script, "versions": versions}
    for kind, planted in (("sound", 0), ("planted", PLANTED)):
        done = run(trainer, planted, place / f"{trainer.script}-{kind}")
        CAPTURED.mkdir(exist_ok=True)
        kept = CAPTURED / f"{trainer.script}-{kind}.log"
        kept.write_bytes(cleaned(done.output))
        seen = dataclasses.asdict(read(done.output, trainer.first))
        figures[kind] = {
            **seen, "live": done.rules, "replayed": replayed(kept), "exitCode": done.exit_code,
        }  # fmt: skip
    return figures


def holds(figures: Mapping[str, Any]) -> dict[str, bool]:
    """What must be true of a trainer."""
    sound, planted = figures["sound"], figures["planted"]
    rule = Rule.NON_FINITE.value
    return {
        "silent": not sound["live"] and not sound["replayed"] and sound["reports"] > 0,
        "named": rule in planted["live"] and rule in planted["replayed"],
        "soon": planted["after"] is not None and planted["after"] <= WITHIN,
    }


def rows(measured: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The promises, over all trainers."""
    kept = [holds(one) for one in measured]
    loud, unnamed = (sum(not one[what] for one in kept) for what in ("silent", "named"))
    worst = max((one["planted"]["after"] or 0 for one in measured), default=0)
    return [
        Row("real trainers run", str(len(measured)), f"≥ {FEWEST}", len(measured) >= FEWEST),
        Row("of them: something said of the sound run", str(loud), "0", not loud),
        Row("of them: NaN not named", str(unnamed), "0", not unnamed),
        Row("reports from the NaN to its name, worst trainer", str(worst), f"≤ {WITHIN}",
            all(one["soon"] for one in kept)),
    ]  # fmt: skip


def main() -> int:
    """Install, run, judge, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", help="scripts; nothing is written then")
    parser.add_argument("--keep", action="store_true", help="leave the environments, gigabytes")
    options = parser.parse_args()
    trainers, refused = table()
    chosen = [t for t in trainers if not options.only or t.script in options.only]
    before = record.machine()
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        for trainer in chosen:
            figures = measure(trainer, Path(folder))
            print(json.dumps(figures | holds(figures), ensure_ascii=False), flush=True)
            measured.append(figures)
            if not options.keep:
                shutil.rmtree(trainer.python.parents[1])
    record.show(rows(measured))
    if options.only:
        return 0
    result = {"trainers": measured, "refused": refused, "plantedStep": PLANTED}
    return 0 if record.write("trainers", before, result, rows(measured)) else 1


if __name__ == "__main__":
    sys.exit(main())
