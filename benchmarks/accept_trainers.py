"""Real trainers of others, each twice: sound, and NaN from a step on. Is it named, and is the sound one left alone?

    python benchmarks/accept_trainers.py [--only SCRIPT] [--keep] [--resume] [--captured]

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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "telemetry"))

import environments  # noqa: E402
import record  # noqa: E402
from captured_runs import CAPTURED, WITHIN, Trainer, read, table  # noqa: E402
from record import Row  # noqa: E402

from speech_contract import env, names  # noqa: E402
from speech_contract.progress import Rule, Severity  # noqa: E402

SCRIPTS = Path(__file__).parent / "trainers"
ENVIRONMENTS = ROOT / ".cache" / "trainers"
KEPT = ENVIRONMENTS / "measured.json"  # of a run that was cut off
FEWEST = 12  # trainers
LONGEST = 600.0  # seconds of a run
QUIET = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
CALL = "import sys; from speech_cli.main import main; sys.exit(main())"
PATHS = os.pathsep.join(str(ROOT / room) for room in ("crds", "operator", "trainer_image"))


@dataclasses.dataclass(frozen=True)
class Run:
    """What one run came to."""

    output: bytes
    exit_code: int
    rules: list[str]  # of the live run, loud ones


def python_of(trainer: Trainer) -> Path:
    """The interpreter of its environment."""
    return ENVIRONMENTS / trainer.script / "bin" / "python"


def install(trainer: Trainer) -> dict[str, str]:
    """Its environment; versions of what it was asked to hold."""
    wanted = [*trainer.packages, *([trainer.torch] if trainer.torch else [])]
    versions = environments.versions(environments.install(python_of(trainer).parents[1], wanted))
    asked = [re.split(r"[=<>\[ ]", package)[0] for package in trainer.packages]
    return {name: versions[name] for name in [*asked, "torch"] if name in versions}


def pinned(trainer: Trainer) -> dict[str, str]:
    """Versions as the table pins them."""
    wanted = [*trainer.packages, *([trainer.torch] if trainer.torch else [])]
    return dict(package.split("==") for package in wanted)


def run(trainer: Trainer, planted: int, place: Path) -> Run:
    """`speechtrain run` of the script as a custom command."""
    place.mkdir()
    name = "sound" if not planted else "planted"
    command = [str(python_of(trainer)), str(SCRIPTS / f"{trainer.script}.py"), str(planted)]
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
    status = json.loads(done.stdout)["job"]["status"]
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


def replayed(output: Path) -> list[str]:
    """Rules of `speechtrain replay`, loud ones."""
    environ = {**os.environ, "PYTHONPATH": PATHS}
    command = [sys.executable, "-c", CALL, "replay", str(output), "-o", "json"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    (found,) = json.loads(done.stdout).values()
    return [one["rule"] for one in found if one["severity"] != Severity.INFO.value]


def measure(trainer: Trainer, place: Path | None) -> dict[str, Any]:
    """Both runs of a trainer, judged live, afterwards and line by line; without a place those that were kept."""
    figures: dict[str, Any] = {"name": trainer.name, "script": trainer.script}
    figures["versions"] = install(trainer) if place is not None else pinned(trainer)
    for kind, planted in (("sound", 0), ("planted", trainer.planted)):
        kept = CAPTURED / f"{trainer.script}-{kind}.log"
        live, code = None, None
        if place is not None:
            done = run(trainer, planted, place / f"{trainer.script}-{kind}")
            live, code = done.rules, done.exit_code
            CAPTURED.mkdir(exist_ok=True)
            kept.write_bytes(cleaned(done.output))
        seen = dataclasses.asdict(read(kept.read_bytes(), trainer.first))
        figures[kind] = {**seen, "live": live, "replayed": replayed(kept), "exitCode": code}
    return figures


def holds(figures: Mapping[str, Any]) -> dict[str, bool]:
    """What must be true of a trainer."""
    sound, planted = figures["sound"], figures["planted"]
    rule = Rule.NON_FINITE.value
    return {
        "silent": not (sound["live"] or sound["rules"] or sound["replayed"])
        and sound["reports"] > 0,
        "named": rule in planted["replayed"]
        and (planted["live"] is None or rule in planted["live"]),
        "soon": planted["after"] is not None and planted["after"] <= WITHIN,
    }


def rows(measured: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The promises, over all trainers."""
    kept = [holds(one) for one in measured]
    loud, unnamed = (sum(not one[what] for one in kept) for what in ("silent", "named"))
    live = sum(one["planted"]["live"] is not None for one in measured)
    worst = max((one["planted"]["after"] or 0 for one in measured), default=0)
    return [
        Row("real trainers run", str(len(measured)), f"≥ {FEWEST}", len(measured) >= FEWEST),
        Row("of them: under `speechtrain run` this time", str(live)),
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
    parser.add_argument(
        "--captured",
        action="store_true",
        help="run nothing more: judge what was captured of the others",
    )
    parser.add_argument("--resume", action="store_true", help="go on where a run was cut off")
    options = parser.parse_args()
    trainers, refused = table()
    before = record.machine()
    measured = json.loads(KEPT.read_text(encoding="utf-8")) if options.resume else []
    done = {one["script"] for one in measured}
    with tempfile.TemporaryDirectory() as folder:
        for trainer in trainers:
            if trainer.script in done or (options.only and trainer.script not in options.only):
                continue
            figures = measure(trainer, None if options.captured else Path(folder))
            print(json.dumps(figures | holds(figures), ensure_ascii=False), flush=True)
            measured.append(figures)
            if options.captured:
                continue
            KEPT.write_text(json.dumps(measured), encoding="utf-8")
            if not options.keep:
                shutil.rmtree(python_of(trainer).parents[1])
    record.show(rows(measured))
    if options.only:
        return 0
    result = {"trainers": measured, "refused": refused}
    return 0 if record.write("trainers", before, result, rows(measured)) else 1


if __name__ == "__main__":
    sys.exit(main())
