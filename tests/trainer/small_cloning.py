"""Backbones of voice cloning at the size of a test, and what they read. Used by tests of models and of the recipe."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor
from transformers import HiggsAudioV2ForConditionalGeneration

from speech_trainer.data.delay import Grid
from speech_trainer.data.sequences import Columns, collate, lay
from speech_trainer.models import higgs_v2, higgs_v3
from speech_trainer.models.backbone import Backbone, Spoken
from speech_trainer.models.tokens import Tokens, byte_tokens

M = TypeVar("M", bound=Backbone)
BOOKS, CODES = 4, 16
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
}


def tokens_of(model: type[Backbone]) -> Tokens:
    """Bytes and the marks of its prompt."""
    return byte_tokens(model.markers)


def v3(seed: int = 0) -> higgs_v3.HiggsV3:
    """Random weights, norms among them: a norm of ones hides a norm that is left out."""
    torch.manual_seed(seed)
    config = higgs_v3.new_config(tokens_of(higgs_v3.HiggsV3).size, **SIZES)
    return _shaken(higgs_v3.HiggsV3(config, Grid(BOOKS, CODES)))


def v2(seed: int = 0) -> higgs_v2.HiggsV2:
    """The same."""
    torch.manual_seed(seed)
    return _shaken(higgs_v2.HiggsV2(HiggsAudioV2ForConditionalGeneration(v2_config())))


def v2_config() -> higgs_v2.HiggsAudioV2Config:
    """Ids of the marks are the tokenizer's."""
    tokens = tokens_of(higgs_v2.HiggsV2)
    return higgs_v2.new_config(
        tokens.size,
        num_codebooks=BOOKS,
        codebook_size=CODES + 2,
        audio_stream_bos_id=CODES,
        audio_stream_eos_id=CODES + 1,
        audio_token_id=tokens.ids["<|AUDIO_OUT|>"],
        audio_delay_token_id=tokens.ids["<|reserved_special_token_6|>"],
        **SIZES,
    )


def codes(frames: int, seed: int = 0) -> Tensor:
    """[Q, F], no two recordings alike."""
    return torch.randint(0, CODES, (BOOKS, frames), generator=torch.Generator().manual_seed(seed))


def columns(model: Backbone) -> Columns:
    """Two rows of unequal length, one with a reference."""
    tokens = tokens_of(type(model))
    spoken = [
        model.prompt(tokens, "good morning", Spoken("hello", codes(5, 1)), codes(9, 2)),
        model.prompt(tokens, "hi", None, codes(3, 3)),
    ]
    return collate([lay(pieces, model.grid) for pieces in spoken], padding=0)


def _shaken(model: M) -> M:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model
