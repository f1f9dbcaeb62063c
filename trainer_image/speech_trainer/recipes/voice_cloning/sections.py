"""What a batch of voice cloning holds and what the model makes of it: the sections Input and Output.

Called through `VoiceCloning.strategic_sections`, outside the step, on rank 0. Codes never reach the text tokenizer.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from speech_trainer.data.delay import IGNORED
from speech_trainer.models.cloner import Cloner
from speech_trainer.recipes.voice_cloning.batch import CloningBatch
from speech_trainer.recipes.voice_cloning.material import Lines, Material, Sample
from speech_trainer.strategic.facts import ends, shape

_SHOWN: Final = 2  # utterances of the batch


def describe_input(material: Material, batch: CloningBatch, step: int) -> Mapping[str, Any]:
    """Shapes, the prompt as tokens and stretches of codes, and what is learned of it."""
    columns = batch.columns
    facts: dict[str, Any] = {
        "tokens": shape(columns.tokens, "batch places"),
        "rows of codes": shape(columns.rows, "rows books"),
        "labels": f"{batch.count} of {columns.labels.numel()} books at {columns.labels.size(0)} places",
        "padding": f"{1.0 - batch.tokens / columns.tokens.numel():.0%} of all places",
        "weight": round(batch.weight, 4),
        "utterances": [_utterance(material, sample) for sample in batch.members[:_SHOWN]],
    }
    if step > 1:
        return facts
    received = {"training": _received(material.training), "held out": _received(material.held_out)}
    return {"data received": received, **facts}


@torch.no_grad()
def describe_output(material: Material, cloner: Cloner, batch: CloningBatch) -> Mapping[str, Any]:
    """Prediction beside label for each book of the first utterance, and the ends."""
    training = cloner.training
    cloner.eval()
    try:
        logits = cloner(batch.columns, predict=True)
    finally:
        cloner.train(training)
    assert isinstance(logits, Tensor)
    labels, said = batch.columns.labels, logits.argmax(dim=-1)
    first = batch.columns.label_at < batch.columns.tokens.size(1)
    end, counted = labels == material.grid.eoc, labels != IGNORED
    return {
        "logits": shape(logits, "places books values"),
        "right": f"{_share((said == labels)[counted])} of codes",
        "ends": f"{_share((said == labels)[end])} of {int(end.sum())} predicted",
        "books": [
            {
                "book": f"q{book}",
                "right": _share((said == labels)[:, book][counted[:, book]]),
                "label": ends(labels[first, book].tolist()),
                "said": ends(said[first, book].tolist()),
            }
            for book in range(material.grid.books)
        ],
    }


def prompt_of(material: Material, sample: Sample) -> str:
    """A sequence for people: text decoded with its marks, stretches of codes as their length."""
    sequence = sample.sequence
    heard = dict(zip(sequence.row_at.tolist(), sequence.reference.tolist(), strict=True))
    kinds = {None: "text", True: "reference", False: "target"}
    places = itertools.groupby(range(sequence.length), lambda place: kinds[heard.get(place)])
    shown = []
    for kind, stretch in places:
        ids = sequence.tokens[list(stretch)].tolist()
        rows = f"[{len(ids)} rows of the {kind}]"
        shown.append(material.tokens.decode(ids) if kind == "text" else rows)
    return "".join(shown)


def _utterance(material: Material, sample: Sample) -> dict[str, Any]:
    labels = sample.sequence.labels
    return {
        "line": sample.utterance.line,
        "speaker": sample.utterance.speaker,
        "prompt": prompt_of(material, sample),
        "reference": "none" if sample.heard is None else sample.heard.audio_filepath,
        "frames": sample.spoken.codes.size(1),
        "labels": int((labels != IGNORED).sum()),
    }


def _received(lines: Lines) -> dict[str, Any]:
    utterances = lines.utterances
    return {
        "recordings": len(utterances),
        "hours": round(lines.manifest.seconds / 3600, 3),
        "with a reference": sum(reference is not None for reference in lines.references),
        "speakers": len({u.speaker for u in utterances if u.speaker}),
        "languages": sorted({u.language for u in utterances if u.language}),
    }


def _share(right: Tensor) -> str:
    return f"{float(right.float().mean()):.1%}" if right.numel() else "none"
