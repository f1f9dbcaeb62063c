"""What both builds of accept_cloning_speed.py train on, and how large. Used by step_cloner.py and step_stock.py.

Utterances as people's are: a few seconds, some long ones, each with a reference. Shapes: Q books, F frames.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from step_watch import WARM, Step

from speech_trainer.data.delay import Grid
from speech_trainer.data.sampler import Sampler
from speech_trainer.data.sequences import Sequence as Places
from speech_trainer.data.sequences import lay
from speech_trainer.models.backbone import Backbone, Sizes, Spoken
from speech_trainer.models.tokens import byte_tokens
from speech_trainer.recipes.voice_cloning.backbones import BACKBONES

BOOKS, CODES, RATE = 8, 1024, 25  # frames a second, as the Higgs tokenizer's
BATCH: Final = 8
SIZES: Final = Sizes(
    hidden_size=256,
    intermediate_size=768,
    num_hidden_layers=4,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=32,
)
LEARNING_RATE: Final = 1e-4


def utterances(count: int, seed: int) -> list[dict[str, Any]]:
    """Texts and codes [Q, F] of so many, and of what each is spoken like. Lengths are log-normal, 1 to 12 s."""
    chance = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        own, heard = (min(12.0, max(1.0, chance.lognormvariate(1.1, 0.6))) for _ in range(2))
        found.append({
            "text": "".join(chance.choices("abcdefgh ", k=int(12 * own))),
            "codes": torch.randint(CODES, (BOOKS, int(own * RATE)), generator=generator),
            "heardText": "".join(chance.choices("abcdefgh ", k=int(12 * heard))),
            "heard": torch.randint(CODES, (BOOKS, int(heard * RATE)), generator=generator),
        })  # fmt: skip
    return found


def kind_of(name: str) -> type[Backbone]:
    """V3 or V2."""
    return next(kind for backbone, kind in BACKBONES.items() if backbone.value == name)


def grid_of(kind: type[Backbone]) -> Grid:
    """Of the published sizes."""
    return Grid(BOOKS, CODES, kind.framed)


def fresh(kind: type[Backbone]) -> Backbone:
    """The same random weights for both builds."""
    torch.manual_seed(0)
    return kind.fresh(byte_tokens(kind.markers), grid_of(kind), SIZES)


def laid(kind: type[Backbone], one: dict[str, Any]) -> Places:
    """The sequence that both train on."""
    heard = Spoken(one["heardText"], one["heard"])
    tokens, grid = byte_tokens(kind.markers), grid_of(kind)
    return lay(kind.prompt(tokens, grid, one["text"], heard, one["codes"]), grid)


def orders(spoken: Sequence[dict[str, Any]]) -> tuple[list[int], list[int]]:
    """An epoch as our sampler has it, by length; and one that is only shuffled."""
    sampler = Sampler(
        [one["codes"].size(1) + one["heard"].size(1) for one in spoken], BATCH, seed=0
    )
    shuffled = list(range(len(spoken)))
    random.Random(0).shuffle(shuffled)
    return [sampler.index(place) for place in range(len(spoken))], shuffled


def batches(sequences: Sequence[Places], order: Sequence[int]) -> list[list[Places]]:
    """Cut an order into batches; the first one again in front, for every step that warms up."""
    cut = [[sequences[i] for i in order[n : n + BATCH]] for n in range(0, len(order), BATCH)]
    return [*cut[:1] * WARM, *cut]


def stepping(cut: list[list[Places]], train: Callable[[list[Places]], None]) -> Step:
    """A step a batch; it gives back how many places it trained on, padding left out."""
    coming = iter(cut)

    def step() -> int:
        members = next(coming)
        train(members)
        return sum(one.length for one in members)

    return step
