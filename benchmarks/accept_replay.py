"""`speechtrain replay` on public runs, and what it costs beside another build: alarms, misses, CPU, memory, start-up.

    python benchmarks/accept_replay.py [--base 61e9c39] [--rows 84000] [--bytes 4000000] [--repeat 3]

`make accept-replay` runs it. The other build is taken out of the repository's own history into a temporary folder;
both are timed in turns, in processes of their own, and the least CPU time of each counts: the machine may be shared.
"""

from __future__ import annotations

import argparse
import math
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "zoo"))

import builds  # noqa: E402
import record  # noqa: E402
from public_runs import BEYOND, HEALTHY, Told, first_judged, judge_all  # noqa: E402
from public_runs import SETS as PUBLIC_SETS  # noqa: E402
from record import Row  # noqa: E402
from shares import bound  # noqa: E402

from speech_contract import env  # noqa: E402

CALL = """
import resource, sys
from speech_cli.main import cli
code = cli.main(sys.argv[1:], standalone_mode=False)
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, code or 0, file=sys.stderr)
"""
FASTER, STARTS, MEMORY, FILES = 4.0, 0.5, 150.0, 200


def called(build: Path, folder: Path, words: Sequence[object]) -> str:
    """Runs it with state and bytecode below `folder`; what it printed to stderr."""
    environ = builds.environ(build) | {env.LOCAL_STATE: str(folder / "state")}
    # Both as installed: the least of several has bytecode.
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    environ["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stderr


def cost(build: Path, folder: Path, words: Sequence[object]) -> tuple[float, float]:
    """CPU seconds and MiB of one call of the command line."""
    said = called(build, folder, ["-c", CALL, *words])
    seconds, memory, code = said.split()[-3:]
    assert code == "0", (words, code)
    return float(seconds), float(memory)


def least(both: Sequence[Path], folder: Path, words: Sequence[object], repeat: int) -> list[float]:
    """CPU seconds of each build, measured in turns."""
    times = [[cost(build, folder, words)[0] for build in both] for _ in range(repeat)]
    return [min(column) for column in zip(*times, strict=True)]


def drawn(rows: int, seed: int = 1) -> list[dict[str, float]]:
    """A healthy run."""
    chance = random.Random(seed)
    return [
        {
            "loss": round(2 + math.exp(-i / 9000) + 0.05 * chance.random(), 6),
            "grad_norm": round(1 + 0.2 * chance.random(), 5),
            "learning_rate": 1e-4,
            "epoch": round(i / 10000, 2),
        }
        for i in range(rows)
    ]


def write_files(folder: Path, rows: int, size: int) -> dict[str, Path]:
    """What is timed: a table, a log as printed, and next to nothing."""
    table, log, small = folder / "rows.csv", folder / "train.log", folder / "small.csv"
    lines = [
        f"{i},{r['loss']},{r['grad_norm']},{r['learning_rate']}\n"
        for i, r in enumerate(drawn(rows))
    ]
    table.write_text("step,loss,grad_norm,learning_rate\n" + "".join(lines))
    small.write_text("step,loss,grad_norm,learning_rate\n" + "".join(lines[:50]))
    line = len(str(drawn(1)[0])) + 1
    log.write_text("".join(f"{row}\n" for row in drawn(size // line)))
    return {"table": table, "log": log, "small": small}


def run_a_job(folder: Path) -> None:
    """What `status` has to show: the loop of the examples, to its end."""
    for name in ("custom.yaml", "custom_loop.py"):
        shutil.copy(ROOT / "examples" / name, folder / name)
    manifest = folder / "custom.yaml"
    manifest.write_text(manifest.read_text().replace("uri: ../out/custom/run", "uri: run"))
    called(ROOT, folder, ["-m", "speech_cli", "run", manifest])


def starts(both: Sequence[Path], folder: Path, small: Path, repeat: int) -> dict[str, list[float]]:
    """CPU seconds of what is asked often and does little, in each build."""
    run_a_job(folder)
    asked: dict[str, list[object]] = {
        "--help": ["--help"],
        "status": ["status", "--local"],
        "replay": ["replay", small],
    }
    return {name: least(both, folder, words, repeat) for name, words in asked.items()}


def speed(arguments: argparse.Namespace) -> tuple[list[Row], dict[str, Any]]:
    """Both builds on the same files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        both = [ROOT, builds.unpack(arguments.base, folder / "base")]
        files = write_files(folder, arguments.rows, arguments.bytes)
        started = starts(both, folder, files["small"], arguments.repeat)
        rows = [
            Row(f"start-up of `{asked}`, CPU", _of(times, "s"), f"≤ {STARTS} ×",
                times[0] <= STARTS * times[1])
            for asked, times in started.items()
        ]  # fmt: skip
        figures: dict[str, Any] = {"startSeconds": started}
        for kind in ("table", "log"):
            times = least(both, folder, ["replay", files[kind]], arguments.repeat)
            ratio = times[1] / times[0]
            rows.append(Row(f"{kind}: reports per CPU second", f"{ratio:.2f} × ({_of(times, 's')})",
                            f"≥ {FASTER} ×", ratio >= FASTER))  # fmt: skip
            figures[kind] = {"seconds": times, "times": round(ratio, 2)}
        many = [files["table"], files["log"], *[files["small"]] * FILES]
        memory = cost(ROOT, folder, ["replay", *many])[1]
        rows.append(
            Row(
                f"memory of {FILES + 2} files",
                f"{memory:.0f} MiB",
                f"≤ {MEMORY:.0f} MiB",
                memory <= MEMORY,
            )
        )
        return rows, figures | {"memoryMiB": round(memory, 1)}


def _of(times: Sequence[float], unit: str) -> str:
    return f"{times[0]:.2f} {unit}, before {times[1]:.2f} {unit}"


SETS = {  # of the public runs → what a row of it is called
    "tuned": "",  # rules and readers were made with these at hand
    "fresh": "fresh runs: ",  # gathered and labelled later, and mended after since
    "first": "fresh runs, first judgement: ",  # the same before anything was mended: the honest figure
    "sought": "sought runs: ",  # later still, and only such as went wrong
    "soughtFirst": "sought runs, first judgement: ",
}


def judged() -> tuple[list[Row], dict[str, Any]]:
    """The public sets: a row for each promise."""
    with tempfile.TemporaryDirectory() as name:
        told = judge_all(Path(name))
    sets = {name: [one for one in told if one.run.set == name] for name in PUBLIC_SETS}
    sets |= {"first": list(first_judged("fresh")), "soughtFirst": list(first_judged("sought"))}
    rows, figures = [], {}
    for name, title in SETS.items():
        more, figures[name] = promises(sets[name], title, bounded=name in PUBLIC_SETS)
        rows += more
    return rows, figures | {"beyond": BEYOND}


def promises(told: list[Told], title: str, *, bounded: bool) -> tuple[list[Row], dict[str, Any]]:
    """A row for each promise of one set. What happened before it was mended has no bound to keep."""
    healthy = [one for one in told if one.run.label == HEALTHY]
    promised = [one for one in told if one.promised]
    counts = {
        "critical on healthy": ([one for one in healthy if one.critical], healthy, 0.0),
        "warned on healthy": ([one for one in healthy if one.warned], healthy, 0.01),
        "faults missed": ([one for one in promised if one.missed], promised, 0.05),
        "files not read": ([one for one in told if one.result is None], told, 0.05),
    }
    rows = [_share(f"{title}{name}", *entry, bounded) for name, entry in counts.items()]
    return rows, {name: _figures(bad, of) for name, (bad, of, _) in counts.items()}


def _share(name: str, bad: list[Told], of: list[Told], most: float, bounded: bool) -> Row:
    value = f"{len(bad)} of {len(of)} (95 % bound {bound(len(bad), len(of)):.1%})"
    if not bounded:
        return Row(name, value, "", None)
    return Row(name, value, f"≤ {most:.0%}", len(bad) <= most * len(of))


def _figures(bad: list[Told], of: list[Told]) -> dict[str, Any]:
    named = [{"run": one.run.name, "source": one.run.source} for one in bad]
    return {"n": len(of), "bad": named, "bound": round(bound(len(bad), len(of)), 4)}


def main() -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="61e9c39", help="commit of the other build")
    parser.add_argument("--rows", type=int, default=84_000)
    parser.add_argument("--bytes", type=int, default=4_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    before = record.machine()
    rows, figures = judged()
    times, measured = speed(arguments)
    rows += times
    record.show(rows)
    result = {"public": figures, "speed": measured, "base": arguments.base}
    return 0 if record.write("replay", before, result, rows) else 1


if __name__ == "__main__":
    sys.exit(main())
