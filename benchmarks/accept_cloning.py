"""Whether the voice-cloning Debug learns and listens, beside trivial answers: `make accept-cloning`.

    python benchmarks/accept_cloning.py [--steps 900] [--seeds 0 1] [--quiet-seeds] [--at-once 2] [--keep FOLDER]

The whole chain on this machine: synthesizes Telugu by many speakers, holds some of them out, trains a codec on the
rest, encodes all with what it exported, gives every line another recording of its speaker, and trains both backbones
on the codes through the command line's own controller. Scored are held-out speakers. Beside it: chance, how often
each code occurs, the frame before, and the same model to which the reference says nothing, which must be caught by
name. Writes results/cloning.json.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import learning_runs
import record
import torch
from learning_runs import Planned, quiet_rows
from record import Row

from speech_contract import paths
from speech_contract.preflight import Check
from speech_trainer.data import encode as encoding
from speech_trainer.data.manifest import read_manifest, write_manifest
from speech_trainer.data.pairs import PairOptions, pair
from speech_trainer.data.synthesize import SynthesisPlan, synthesize
from speech_trainer.models import encoders

BOUND, ENDS = 0.75, 0.9  # of chance, nats a code; of ends
EVERY = 25  # steps between evaluations
# So much that little of it is heard twice: a fifth of it, or ten voices alone, is learned by heart.
PLAN = SynthesisPlan(
    languages=("te",), speakers=48, utterances=150, validation=0, min_words=2, max_words=4, seed=0
)
HELD_OUT = 4  # speakers, all their sentences
CODEC = "codec"
QUIET = 300  # steps of a run that has only to raise nothing
BACKBONES = ("V3", "V2")
DEAF = "reference ignored"
TRIVIAL = ("chance", "unigram", "previous_frame")


def main() -> int:
    """Measure, print, write."""
    options = _parse()
    record.be_quiet()
    before = record.machine()
    with tempfile.TemporaryDirectory() as folder:
        place = options.keep or Path(folder)
        figures = measure(place, options)
    rows = table(figures)
    record.show(rows)
    return 0 if record.write("cloning", before, figures, rows) else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--codec-steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--quiet-seeds", type=int, nargs="*", default=[2, 3, 4])
    parser.add_argument("--at-once", type=int, default=2, help="runs, each on cores of its own")
    parser.add_argument("--keep", type=Path, help="a folder for data, codec and runs; used again")
    return parser.parse_args()


def measure(place: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All of it."""
    heard = speech(place, options.codec_steps)
    runs = [_planned(place, options, b, s) for b in BACKBONES for s in options.seeds]
    deaf = [_planned(place, options, b, options.seeds[0], deaf=True) for b in BACKBONES]
    stopped = [_checked(run) for run in deaf]
    more = [_planned(place, options, BACKBONES[0], s, steps=QUIET) for s in options.quiet_seeds]
    trained = learning_runs.at_once(
        place, options.at_once, [*runs, *deaf, *stopped, *more], _best_said
    )
    parts = {"cloned": len(runs), "deaf": len(deaf), "stopped": len(stopped), "quiet": len(more)}
    cut, figures = iter(trained), {"data": heard}
    return figures | {name: [next(cut) for _ in range(count)] for name, count in parts.items()}


def _planned(
    place: Path,
    options: argparse.Namespace,
    backbone: str,
    seed: int,
    *,
    deaf: bool = False,
    steps: int = 0,
) -> Planned:
    how: dict[str, Any] = {"training": {"evaluateEverySteps": EVERY}}
    if deaf:
        how["wrap"] = "twins.cloning_build:deaf_to_the_reference"
    name = f"{DEAF}, {backbone}" if deaf else f"{backbone}, seed {seed}"
    recipe = {"voiceCloning": {"backbone": backbone}}
    return Planned(name, seed, learning_runs.spec(place, recipe, steps or options.steps, seed, how))


def _checked(run: Planned) -> Planned:
    """As people run it: what the preflight finds stops it."""
    spec = {key: value for key, value in run.spec.items() if key != "health"}
    return Planned(f"{run.name}, as people run it", run.seed, spec)


# -- data -----------------------------------------------------------------------------------------------------------


def speech(place: Path, codec_steps: int) -> dict[str, Any]:
    """Two manifests of codes that share no speaker and no sentence; what is in them."""
    raw, data = place / "speech", place / "data"
    if not (data / "validation.jsonl").is_file():
        report = synthesize(PLAN, raw)
        spoken = read_manifest(report.train).utterances
        voices = list(dict.fromkeys(u.speaker for u in spoken))
        unheard = set(voices[:: len(voices) // HELD_OUT][:HELD_OUT])
        known = {u.text for u in spoken if u.speaker not in unheard}
        write_manifest(raw / "train.jsonl", [u for u in spoken if u.speaker not in unheard])
        write_manifest(raw / "validation.jsonl",
                       [u for u in spoken if u.speaker in unheard and u.text not in known])  # fmt: skip
        coded(place, train_codec(place, codec_steps))
    return {
        name: learning_runs.contents(read_manifest(data / f"{name}.jsonl").utterances)
        for name in ("train", "validation")
    }


def train_codec(place: Path, steps: int) -> Path:
    """The codec Debug on the training speakers; its export."""
    spec = learning_runs.spec(place, {"codec": {}}, steps, 0, {})
    spec["data"] = {
        name: {"manifest": str(place / f"speech/{name}.jsonl")} for name in ("train", "validation")
    }
    (found,) = learning_runs.at_once(
        place, 1, [Planned(CODEC, 0, spec)], lambda run: str(run["scores"])
    )
    if found["exitCode"]:
        sys.exit(f"the codec ended with {found['exitCode']}: {found['findings']}")
    return place / CODEC / paths.EXPORT


def coded(place: Path, codec: Path) -> None:
    """Codes of both manifests, each line with another recording of its speaker."""
    encoder = encoders.load_encoder(codec, torch.device("cpu"))
    for name in ("train", "validation"):
        source, out = place / f"speech/{name}.jsonl", place / "data" / name
        encoding.encode(source, out, encoder, encoding.EncodeOptions())
        pair(out / source.name, place / "data" / source.name, PairOptions())


# -- the table ------------------------------------------------------------------------------------------------------


def best(run: Mapping[str, Any]) -> dict[str, Any]:
    """The evaluation with the lowest cross-entropy."""
    course = run["course"] or [{"step": 0, "scores": run["scores"]}]
    return min(course, key=lambda one: _score(one["scores"], "cross_entropy", math.inf))


def _score(scores: Mapping[str, Any], name: str, missing: float = math.nan) -> float:
    found = float(scores.get(name, missing))
    return missing if math.isnan(found) else found


def _best_said(run: Mapping[str, Any]) -> str:
    found, chance = best(run), run["baselines"].get("chance", {}).get("cross_entropy", math.nan)
    nats = _score(found["scores"], "cross_entropy")
    shown = {k: round(v, 3) for k, v in found["scores"].items() if "_q" not in k}
    return f"best at step {found['step']}: {nats / chance:.1%} of chance, {shown}; {run['preflight']} {run['findings']}"


def table(figures: Mapping[str, Any]) -> list[Row]:
    """The worst seed of each backbone beside the bounds and beside what it must beat."""
    rows: list[Row] = []
    for number, backbone in enumerate(BACKBONES):
        runs = [run for run in figures["cloned"] if run["name"].startswith(backbone)]
        deaf = figures["deaf"][number] if figures["deaf"] else None
        rows += backbone_rows(backbone, runs, deaf)
    rows += [_named(run) for run in figures["stopped"]]
    return rows + quiet_rows("voice cloning", [*figures["cloned"], *figures["quiet"]])


def backbone_rows(
    backbone: str, runs: Sequence[Mapping[str, Any]], deaf: Mapping[str, Any] | None
) -> Iterator[Row]:
    """Of one backbone."""
    found = [best(run)["scores"] for run in runs]
    chance = runs[0]["baselines"]["chance"]["cross_entropy"]
    nats = max(_score(one, "cross_entropy", math.inf) for one in found)
    ends = min(_score(one, "eoc_accuracy", 0.0) for one in found)
    who = f"{backbone}, worst of {len(runs)} seeds"
    share = nats / chance
    yield Row(
        f"{who}: held-out cross-entropy, of chance",
        f"{share:.1%}",
        f"≤ {BOUND:.0%}",
        share <= BOUND,
    )
    yield Row(f"{who}: ends found", f"{ends:.2f}", f"≥ {ENDS}", ends >= ENDS)
    for name in TRIVIAL:
        yield _beside(f"{who}: beside {name}", nats, runs[0]["baselines"][name]["cross_entropy"])
    for name in ("swap", "mute"):
        gain = min(_score(one, f"{name}_gain", 0.0) for one in found)
        low = min(_score(one, f"{name}_gain_low", 0.0) for one in found)
        told = f"{gain:+.3f} nat/code, 95 % interval from {low:+.3f}"
        yield Row(f"{who}: what it costs to {name} the reference", told, "> 0", low > 0)
    if deaf:
        yield from deaf_rows(backbone, runs, deaf)


def _beside(what: str, nats: float, other: float) -> Row:
    return Row(what, f"{nats:.3f} < {other:.3f} nat/code", "lower", nats < other)


def deaf_rows(
    backbone: str, runs: Sequence[Mapping[str, Any]], deaf: Mapping[str, Any]
) -> Iterator[Row]:
    """Beside the run of the same seed: two seeds differ by as much as a reference is worth."""
    seed, heard_nothing = deaf["seed"], best(deaf)["scores"]
    heard = best(next(run for run in runs if run["seed"] == seed))["scores"]
    ours, without = (_score(one, "cross_entropy", math.inf) for one in (heard, heard_nothing))
    yield _beside(f"{backbone}, seed {seed}: beside {DEAF}, same seed", ours, without)
    swap, mute = (_score(heard_nothing, f"{name}_gain") for name in ("swap", "mute"))
    told = f"{swap:+.3f} and {mute:+.3f} nat/code: muted, its words and its length are gone too"
    yield Row(f"{backbone}, {DEAF}: what it costs to swap and to mute it", told)


def _named(run: Mapping[str, Any]) -> Row:
    """Stopped before step 1, by a check of what comes in."""
    said = ", ".join(run["preflight"]) or "nothing"
    holds = not run["steps"] and Check.INPUTS.value in run["preflight"]
    return Row(f"{run['name']}: stopped by", said, f"{Check.INPUTS.value}, before step 1", holds)


if __name__ == "__main__":
    sys.exit(main())
