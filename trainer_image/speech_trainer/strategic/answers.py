"""Prediction against label, for the section *Output* of a Hugging Face model. Called by `strategic.callbacks`."""

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from speech_trainer.strategic.facts import ends
from speech_trainer.strategic.hearing import field
from speech_trainer.strategic.words import IGNORED, Words

_PAIRS: Final = (("logits", "labels"), ("audio_logits", "audio_labels"))


def answer_facts(
    inputs: Mapping[str, Any], output: Any, words: Words, *, shifted: bool
) -> dict[str, Any]:
    """Loss, and for each pair of logits and labels what was predicted and how much of it is right.

    Raises ValueError when the answer holds no logits at all.
    """
    facts: dict[str, Any] = {}
    loss = field(output, "loss")
    if loss is not None:
        # Not "loss: …": under a supervisor that reads stdout it would count as one more report.
        facts["loss of this batch"] = round(float(loss), 4)
    for name, labelled in _PAIRS:
        logits = field(output, name)
        if logits is None:
            continue
        labels = inputs.get(labelled)
        prediction = logits.argmax(dim=-1)
        facts[name] = {"shape": " × ".join(map(str, logits.shape))} | (
            _compared(prediction, labels, words, shifted=shifted, text=labelled == "labels")
            if isinstance(labels, Tensor)
            else {"compared": f"no {labelled} in the batch"}
        )
    if not any(name in facts for name, _ in _PAIRS):
        raise ValueError("the model's answer holds no logits")
    return facts


def _compared(
    prediction: Tensor, labels: Tensor, words: Words, *, shifted: bool, text: bool
) -> dict[str, Any]:
    if prediction.shape != labels.shape:
        sizes = f"{tuple(prediction.shape)} against labels of {tuple(labels.shape)}"
        return {"compared": f"not position by position: {sizes}"}
    if shifted and labels.ndim > 1:
        prediction, labels = prediction[:, :-1], labels[:, 1:]
    asked = labels != IGNORED
    right = prediction == labels
    facts: dict[str, Any] = {
        "targets": int(asked.sum()),
        "accuracy": _share(right, asked),
    }
    if text:
        audio = words.audio_positions(labels.clamp_min(0)) & asked
        facts["text accuracy"] = _share(right, asked & ~audio)
        facts["audio accuracy"] = _share(right, audio)
        facts["end of sequence"] = _ends_of(right, labels, words)
    return facts | {"first sample": _sample(prediction, labels, asked, words, text=text)}


def _share(right: Tensor, where: Tensor) -> float | str:
    return round(float(right[where].float().mean()), 4) if bool(where.any()) else "no such target"


def _ends_of(right: Tensor, labels: Tensor, words: Words) -> str:
    if words.end is None:
        return "no end mark is known"
    where = labels == words.end
    if not bool(where.any()):
        return "never a target: the model can't learn to stop"
    return f"{int(right[where].sum())} of {int(where.sum())} right"


def _sample(
    prediction: Tensor, labels: Tensor, asked: Tensor, words: Words, *, text: bool
) -> dict[str, Any]:
    """The first sample that has a target, at its targets alone."""
    has = asked.flatten(1).any(dim=1) if asked.ndim > 1 else asked
    if not bool(has.any()):
        return {"targets": "every label is masked: nothing is learned"}
    index = int(torch.nonzero(has)[0])
    where = asked[index]
    said: list[int] = prediction[index][where].flatten().tolist()
    wanted: list[int] = labels[index][where].flatten().tolist()
    shown: dict[str, Any] = {"predicted": ends(said), "label": ends(wanted)}
    if text:
        shown |= {"predicted text": words.decode(said), "label text": words.decode(wanted)}
    return shown
