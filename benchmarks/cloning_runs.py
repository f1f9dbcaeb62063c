"""Whole training runs of voice cloning's Debug preset under the real supervisor: correct ones, and broken twins.

Used by accept_health.py. The data come the way that users take: sentences are spoken, coded by a codec (of random
weights here: what codes say does not matter, that they follow the sound does), and paired. A correct run is checked and
evaluated on the way, and must raise nothing. Twins run as those of VITS do (voice_runs.py).

    python benchmarks/cloning_runs.py [--seeds 0 1 2 3 4] [--twins NAME …]    # alone, a line a run, nothing written
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "zoo"))

import torch
import voice_runs
from record import Row
from transformers import DacConfig, DacModel
from twins.catalogue import CLONING, Twin

from speech_trainer.data.encode import EncodeOptions, encode
from speech_trainer.data.pairs import PairOptions, pair
from speech_trainer.data.synthesize import SynthesisPlan, synthesize
from speech_trainer.models.encoders import load_encoder

STEPS = 80  # of a correct run
KIND = "voiceCloning"
SPEAKERS = 3


def speech(place: Path) -> Path:
    """A folder with train.jsonl and validation.jsonl: spoken, coded, paired."""
    plan = SynthesisPlan(
        languages=("te",), speakers=SPEAKERS, utterances=24, validation=8, min_words=3, seed=1
    )
    synthesize(plan, place / "spoken")
    torch.manual_seed(0)
    sizes = {"encoder_hidden_size": 4, "decoder_hidden_size": 16, "downsampling_ratios": [8, 8, 10]}
    DacModel(DacConfig(**sizes, n_codebooks=8)).save_pretrained(place / "codec")
    encoder = load_encoder(place / "codec", torch.device("cpu"))
    for name in ("train", "validation"):
        source = place / "spoken" / f"{name}.jsonl"
        coded = encode(source, place / f"coded-{name}", encoder, EncodeOptions()).manifest
        assert coded is not None
        pair(coded, place / "paired" / f"{name}.jsonl", PairOptions())
    return place / "paired"


def sound(place: Path, data: Path, seed: int) -> dict[str, Any]:
    """One correct run, evaluated on the way."""
    name = f"cloning-{seed}"
    document = voice_runs.job(
        name, data, seed, kind=KIND, held_out=True,
        training={"maxSteps": STEPS, "evaluateEverySteps": STEPS // 2},
        checkpoint={"uri": name, "everySteps": 30},
    )  # fmt: skip
    return {"seed": seed, **voice_runs.watch(document, place)}


def measure(place: Path, seeds: Sequence[int], twins: Sequence[Twin] = CLONING) -> dict[str, Any]:
    """All of it; a line of progress a run."""
    return voice_runs.sound_and_twins(place, speech(place), KIND, sound, seeds, twins)


def table(result: Mapping[str, Any]) -> list[Row]:
    """Correct runs raise nothing; each twin is named, in time."""
    return voice_runs.sound_and_twins_table("cloning", result)


if __name__ == "__main__":
    sys.exit(voice_runs.alone("cloning", CLONING, measure))
