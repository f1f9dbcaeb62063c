"""Whether the codec Debug learns, beside trivial answers and beside what doesn't learn: `make accept-codec`.

    python benchmarks/accept_codec.py [--steps 300] [--seeds 0 1] [--quiet-seeds 2 3 4] [--at-once 2]

Synthesizes speech of four languages, holds out speakers that training never hears, trains through the command line's
own controller, and scores the held-out recordings. Beside it: silence, noise with the mean spectrum, the nearest
training clip, the same codec with frozen random codebooks, and with the quantiser of the Telugu codec whose six fixes
docs/codec.md tells of. Writes results/codec.json. Eight runs, two at once, each on cores of its own: about
forty-five minutes on two quiet cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import queue
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import record
from record import Row

from speech_contract import env, names, paths
from speech_contract.outcome import EXIT_INTERRUPTED
from speech_operator.cluster.local_state import JobFolder
from speech_operator.local_run import run_local
from speech_trainer.data.manifest import Utterance, read_manifest, write_manifest
from speech_trainer.data.synthesize import SynthesisPlan, synthesize

Run = tuple[Path, str, int, int, Mapping[str, Any]]  # the arguments of `train`
HERE = Path(__file__).resolve().parent
SNR_BOUND, PERPLEXITY_BOUND, CODES = 1.4, 90, 256
CPU_BOUND = 12  # minutes: six on each of two cores
PLAN = SynthesisPlan(
    languages=("te", "hi", "en", "de"), speakers=6, utterances=12, validation=0,
    min_words=5, max_words=9, seed=0,
)  # fmt: skip
HELD_OUT = 2  # speakers of each language, one sentence each
FROZEN, TELUGU, TELUGU_OURS = (
    "frozen random codebooks",
    "Telugu codec: its quantiser, rate and 33 files",
    "Telugu codec: its quantiser, our rate and data",
)
RIVALS: Mapping[str, Mapping[str, Any]] = {
    FROZEN: {"wrap": "codec_rivals:frozen_random_books"},
    TELUGU: {
        "wrap": "codec_rivals:telugu_codec",
        "recipe": {"learningRate": "1e-5"},
        "data": {"maxSamples": 33},
    },
    TELUGU_OURS: {"wrap": "codec_rivals:telugu_codec"},
}
SHOWN = {"snr": "SNR, dB", "si_sdr": "SI-SDR, dB", "mel": "mel distance",
         "perplexity": f"perplexity of {CODES}", "dead_codes": "dead codes"}  # fmt: skip


def main() -> int:
    """Measure, print, write."""
    options = _parse()
    record.be_quiet()
    if options.one:
        return _one(options.one, options.cores)
    before = record.machine()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        heard = speech(place / "data")
        ours: list[Run] = [
            (place, f"ours, seed {seed}", seed, options.steps, {}) for seed in options.seeds
        ]
        others: list[Run] = [(place, name, 0, options.steps, how) for name, how in RIVALS.items()]
        more: list[Run] = [(place, f"quiet, seed {seed}", seed, options.steps, {})
                for seed in options.quiet_seeds]  # fmt: skip
        trained = iter(at_once(options.at_once, [*ours, *others, *more]))
        codecs, rivals = [next(trained) for _ in ours], [next(trained) for _ in others]
    figures = {"data": heard, "codecs": codecs, "rivals": rivals, "quiet": list(trained)}
    record.show(list(side_by_side(codecs, rivals)))
    rows = table(figures)
    record.show(rows)
    return 0 if record.write("codec", before, figures, rows) else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--quiet-seeds", type=int, nargs="*", default=[2, 3, 4])
    parser.add_argument("--at-once", type=int, default=2, help="runs, each on cores of its own")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--cores", type=int, nargs="*", default=[], help=argparse.SUPPRESS)
    return parser.parse_args()


def speech(folder: Path) -> dict[str, Any]:
    """Two manifests that share no speaker; what is in them."""
    report = synthesize(PLAN, folder)
    spoken = read_manifest(report.train).utterances
    voices = list(dict.fromkeys(u.speaker for u in spoken))
    unheard = {v for n, v in enumerate(voices) if n % PLAN.speakers >= PLAN.speakers - HELD_OUT}
    first = {u.speaker: u for u in reversed(spoken) if u.speaker in unheard}
    parts = {"train": [u for u in spoken if u.speaker not in unheard],
             "validation": list(first.values())}  # fmt: skip
    for name, utterances in parts.items():
        write_manifest(folder / f"{name}.jsonl", utterances)
    return {name: _contents(utterances) for name, utterances in parts.items()}


def _contents(utterances: Sequence[Utterance]) -> dict[str, Any]:
    return {
        "recordings": len(utterances),
        "seconds": round(sum(u.duration for u in utterances), 1),
        "languages": sorted({str(u.language) for u in utterances}),
        "speakers": sorted({str(u.speaker) for u in utterances}),
    }


def at_once(count: int, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """`train` of each in a process of its own, so many at the same time; in the order of `runs`."""
    ours = sorted(os.sched_getaffinity(0))
    count = min(count, len(ours))
    free: queue.Queue[list[int]] = queue.Queue()
    for number in range(count):
        free.put(ours[number::count])  # two runs that share cores wait for each other's threads
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda run: _apart(run, free), runs))


def _apart(run: Run, free: queue.Queue[list[int]]) -> dict[str, Any]:
    cores = free.get()
    try:
        asked = json.dumps([str(run[0]), *run[1:]])
        command = [sys.executable, __file__, "--one", asked, "--cores", *map(str, cores)]
        answer = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    finally:
        free.put(cores)
    found: dict[str, Any] = json.loads(answer.splitlines()[-1])
    print(
        f"{run[1]}: {found['scores']}, {found['seconds']} s, {found['cpuSeconds']} CPU s",
        flush=True,
    )
    return found


def _one(asked: str, cores: Sequence[int]) -> int:
    """What `_apart` starts: the answer is the last line."""
    os.sched_setaffinity(0, cores)
    place, *run = json.loads(asked)
    print(json.dumps(train(Path(place), *run)))
    return 0


def train(place: Path, name: str, seed: int, steps: int, how: Mapping[str, Any]) -> dict[str, Any]:
    """One run through the command line's controller; what was scored and said of it, and what it cost."""
    run = "-".join(re.findall(r"[a-z0-9]+", name.lower()))  # a job's name
    document = job(place, run, seed, steps, how)
    began, used = time.monotonic(), _cpu_seconds()
    code = asyncio.run(run_local(document, place / "job.yaml", place / "state"))
    if code == EXIT_INTERRUPTED:
        sys.exit(f"{name}: interrupted; nothing was written")
    status = (JobFolder(place / "state", "default", run).read_job() or {})["status"]
    written = place / run / paths.RESULT
    result = json.loads(written.read_text(encoding="utf-8")) if written.is_file() else {}
    preflight, health = status.get("preflight", {}), status.get("health", {})
    seconds, used = time.monotonic() - began, _cpu_seconds() - used
    return {
        "name": name,
        "seed": seed,
        "steps": status.get("progress", {}).get("step"),
        "exitCode": code,
        "scores": result.get("scores", {}),
        "baselines": result.get("baselines", {}),
        "preflight": list(dict.fromkeys(str(row["check"]) for row in preflight.get("failed", []))),
        "findings": [f"{f['rule']}: {f['evidence']}" for f in health.get("findings", [])],
        "seconds": round(seconds, 1),
        "cpuSeconds": round(used, 1),
    }


def job(place: Path, run: str, seed: int, steps: int, how: Mapping[str, Any]) -> dict[str, Any]:
    """As people write it; rivals are judged and let go on."""
    wrap = how.get("wrap")
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": run},
        "spec": {
            "recipe": {"codec": {"preset": "Debug", **how.get("recipe", {})}},
            "data": {
                "train": {"manifest": str(place / "data/train.jsonl")},
                "validation": {"manifest": str(place / "data/validation.jsonl")},
                **how.get("data", {}),
            },
            "training": {"maxSteps": steps, "seed": seed, "device": "CPU"},
            "checkpoint": {"uri": run, "everySteps": steps},
            "strategicLogging": {"enabled": False},
            **({"trainer": {"env": [{"name": env.WRAP_RECIPE, "value": wrap}]}} if wrap else {}),
            **({"health": {"mode": "Notify"}} if wrap else {}),
        },
    }


def _cpu_seconds() -> float:
    """Of all processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def side_by_side(codecs: Sequence[Any], rivals: Sequence[Any]) -> Iterator[Row]:
    """One line a codec or trivial answer, all scores in it."""
    trivial = codecs[0]["baselines"] if codecs else {}
    scored = [*((one["name"], one["scores"]) for one in [*codecs, *rivals]), *trivial.items()]
    for name, scores in scored:
        cells = [f"{title} {scores[key]:.3g}" for key, title in SHOWN.items() if key in scores]
        yield Row(name, "; ".join(cells))


def table(figures: Mapping[str, Any]) -> list[Row]:
    """The worst seed beside the bounds and beside what it must beat."""
    codecs, rivals = figures["codecs"], {one["name"]: one for one in figures["rivals"]}
    if not codecs:
        return quiet_rows(figures["quiet"])
    scores = {key: [one["scores"].get(key, float("nan")) for one in codecs] for key in SHOWN}
    snr, mel, used = min(scores["snr"]), max(scores["mel"]), min(scores["perplexity"])
    who, dearest = f"codec, worst of {len(codecs)} seeds", max(c["cpuSeconds"] for c in codecs)
    trivial = dict(codecs[0]["baselines"]) | {FROZEN: rivals[FROZEN]["scores"]}
    return [
        Row(f"{who}: SNR", f"{snr:+.2f} dB", f"≥ +{SNR_BOUND} dB", snr >= SNR_BOUND),
        Row(f"{who}: perplexity of the poorest book", f"{used:.0f} of {CODES}",
            f"≥ {PERPLEXITY_BOUND}", used >= PERPLEXITY_BOUND),
        *(_beaten(f"{who}: beside {name}", snr, mel, other) for name, other in trivial.items()),
        *(_beaten(f"{who}: beside {name}", snr, mel, rivals[name]["scores"])
          for name in (TELUGU, TELUGU_OURS)),
        Row(f"{who}: CPU minutes", f"{dearest / 60:.1f}", f"≤ {CPU_BOUND}", dearest <= 60 * CPU_BOUND),
        *quiet_rows([*codecs, *figures["quiet"]]),
    ]  # fmt: skip


def _beaten(name: str, snr: float, mel: float, other: Mapping[str, float]) -> Row:
    """Better in both scores; a rival that died has none, and is beaten."""
    other_snr, other_mel = other.get("snr", float("-inf")), other.get("mel", float("inf"))
    said = f"{snr:+.2f} > {other_snr:+.2f} dB, mel {mel:.2f} < {other_mel:.2f}"
    return Row(name, said, "both", snr > other_snr and mel < other_mel)


def quiet_rows(runs: Sequence[Mapping[str, Any]]) -> list[Row]:
    """A correct recipe passes its preflight, ends and raises nothing."""
    loud = [one for one in runs if one["findings"] or one["preflight"] or one["exitCode"]]
    said = "; ".join(f"{one['name']}: {one['findings'] or one['preflight']}" for one in loud)
    return [Row(f"codec, {len(runs)} correct runs: findings", said or "none", "none", not loud)]


if __name__ == "__main__":
    sys.exit(main())
