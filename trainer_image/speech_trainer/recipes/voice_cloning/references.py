"""The same recordings with the reference of another voice, with none, or with one whose frames are out of order.

Called by the recipe's evaluation and its strategic log. Each answer stands in the place of its recording; None where
there is nothing to change.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from speech_trainer.data.manifest import Utterance
from speech_trainer.recipes.voice_cloning.material import Material, Sample


def swapped(material: Material, samples: Sequence[Sample]) -> list[Sample | None]:
    """Each with another's reference, words and codes: another speaker's where lines name speakers."""
    return [_swapped(material, samples, number) for number in range(len(samples))]


def muted(material: Material, samples: Sequence[Sample]) -> list[Sample | None]:
    """Each without its reference."""
    return [
        material.sample(s.utterance, s.spoken, None, None) if s.reference else None for s in samples
    ]


def shuffled(material: Material, samples: Sequence[Sample]) -> list[Sample | None]:
    """Each with the frames of its own reference in another order, the same every time: the words stay."""
    return [_shuffled(material, sample) for sample in samples]


def _swapped(material: Material, samples: Sequence[Sample], number: int) -> Sample | None:
    sample = samples[number]
    if sample.reference is None or sample.heard is None:
        return None
    following = [*samples[number + 1 :], *samples[:number]]
    for other in following:
        if other.heard is not None and _different(other.heard, sample.heard):
            return material.sample(sample.utterance, sample.spoken, other.heard, other.reference)
    return None


def _shuffled(material: Material, sample: Sample) -> Sample | None:
    if sample.reference is None:
        return None
    codes = sample.reference.codes
    order = torch.randperm(codes.size(1), generator=torch.Generator().manual_seed(0))
    reference = dataclasses.replace(sample.reference, codes=codes[:, order])
    return material.sample(sample.utterance, sample.spoken, sample.heard, reference)


def _different(one: Utterance, other: Utterance) -> bool:
    """Of two references' lines."""
    named = one.speaker and other.speaker
    return one.speaker != other.speaker if named else one != other
