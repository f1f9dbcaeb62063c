"""Whether the codec Debug learns, beside trivial answers and beside what doesn't learn: `make accept-codec`.

    python benchmarks/accept_codec.py [--steps 300] [--seeds 0 1] [--quiet-seeds 2 3 4] [--at-once 2]

Synthesizes speech of four languages, holds out speakers that training never hears, trains through the command line's
own controller, and scores the held-out recordings. Beside it: silence, noise with the mean spectrum, the nearest
training clip, the same codec with frozen random codebooks, and with the quantiser of the Telugu codec whose six fixes
docs/codec.md tells of. Writes results/codec.json. Eight runs, two at once, each on cores of its own: about
twenty minutes on two quiet cores.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import learning_runs
import record
from learning_runs import Planned, quiet_rows
from record import Row

from speech_trainer.data.manifest import read_manifest, write_manifest
from speech_trainer.data.synthesize import SynthesisPlan, synthesize

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
    before = record.machine()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        heard = speech(place / "data")

        def planned(name: str, seed: int, how: Mapping[str, Any]) -> Planned:
            return Planned(
                name, seed, learning_runs.spec(place, {"codec": {}}, options.steps, seed, how)
            )

        ours = [planned(f"ours, seed {seed}", seed, {}) for seed in options.seeds]
        others = [planned(name, 0, how) for name, how in RIVALS.items()]
        more = [planned(f"quiet, seed {seed}", seed, {}) for seed in options.quiet_seeds]
        runs = [*ours, *others, *more]
        trained = iter(learning_runs.at_once(place, options.at_once, runs, _said))
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
    return parser.parse_args()


def _said(run: Mapping[str, Any]) -> str:
    return str(run["scores"])


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
    return {name: learning_runs.contents(utterances) for name, utterances in parts.items()}


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
        return quiet_rows("codec", figures["quiet"])
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
        *quiet_rows("codec", [*codecs, *figures["quiet"]]),
    ]  # fmt: skip


def _beaten(name: str, snr: float, mel: float, other: Mapping[str, float]) -> Row:
    """Better in both scores; a rival that died has none, and is beaten."""
    other_snr, other_mel = other.get("snr", float("-inf")), other.get("mel", float("inf"))
    said = f"{snr:+.2f} > {other_snr:+.2f} dB, mel {mel:.2f} < {other_mel:.2f}"
    return Row(name, said, "both", snr > other_snr and mel < other_mel)


if __name__ == "__main__":
    sys.exit(main())
