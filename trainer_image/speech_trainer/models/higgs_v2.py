"""Higgs Audio v2: transformers' model, its two feed-forwards routed by places that the host found.

Text and rows of codes share attention; each has norms and a feed-forward of its own in every layer (DualFFN). Stock
code selects by boolean masks: a device has to count them, twice a layer, and the host waits. Here both lists of places
come with the batch, and padding goes through neither. Implements `models.backbone.Backbone`; called by
`recipes.voice_cloning`. Shapes: B batch, L places, D channels, N rows, M text tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import torch
from torch import Tensor, nn
from transformers import Cache, HiggsAudioV2Config, HiggsAudioV2ForConditionalGeneration
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer

from speech_trainer.data.delay import Grid
from speech_trainer.data.sequences import Columns, Piece
from speech_trainer.errors import ConfigError
from speech_trainer.models import backbone
from speech_trainer.models.backbone import Backbone, Fact, Sizes, Spoken, require, rope_base
from speech_trainer.models.eager import attention_of
from speech_trainer.models.tokens import Tokens

MODEL_TYPE: Final = "higgs_audio_v2"
ROPE_BASE: Final = 5e5

_BEGIN, _END_OF_TURN = "<|begin_of_text|>", "<|eot_id|>"
_ROLE, _END_OF_ROLE = "<|start_header_id|>", "<|end_header_id|>"
_SCENE, _END_OF_SCENE = "<|scene_desc_start|>", "<|scene_desc_end|>"
_AUDIO, _ROW, _END_OF_AUDIO = "<|audio_out_bos|>", "<|AUDIO_OUT|>", "<|audio_eos|>"
_DELAYED = "<|reserved_special_token_6|>"  # stands for the rows that the delay adds
_TASK: Final = "Generate audio following instruction.\n\n"
_ROOM: Final = "\nAudio is recorded from a quiet room.\n"


class HiggsV2(Backbone):
    """Text and rows → rows."""

    markers: ClassVar = (
        _BEGIN, _END_OF_TURN, _ROLE, _END_OF_ROLE, _SCENE, _END_OF_SCENE, _AUDIO, _ROW, _END_OF_AUDIO, _DELAYED,
    )  # fmt: skip
    framed: ClassVar = True

    def __init__(self, model: HiggsAudioV2ForConditionalGeneration) -> None:
        super().__init__()
        config = model.config
        assert isinstance(config, HiggsAudioV2Config)
        self.grid = read_grid(config)
        layers = model.model.layers
        for number, layer in enumerate(layers):
            layers[number] = RoutedLayer(layer)
        self.stock = model

    # -- inputs -------------------------------------------------------------------------------------------------

    @classmethod
    def prompt(
        cls, tokens: Tokens, grid: Grid, text: str, reference: Spoken | None, codes: Tensor | None
    ) -> list[Piece]:
        ids = tokens.ids
        scene = [ids[_SCENE], *tokens.plain(_ROOM), ids[_END_OF_SCENE], ids[_END_OF_TURN]]
        pieces = [
            Piece([ids[_BEGIN], *_header(tokens, "system"), *tokens.plain(_TASK), *scene]),
        ]
        if reference is not None:
            rows = grid.delayed(reference.codes)
            pieces += [
                _asked(tokens, reference.text),
                Piece(_places(tokens, grid, rows), rows, reference=True),
                Piece([ids[_END_OF_AUDIO], ids[_END_OF_TURN]]),
            ]
        pieces.append(_asked(tokens, text))
        if codes is not None:
            rows = grid.delayed(codes)
            pieces += [
                Piece(_places(tokens, grid, rows), rows, learned=True),
                Piece([ids[_END_OF_AUDIO], ids[_END_OF_TURN]]),
            ]
        return pieces

    # -- the model ----------------------------------------------------------------------------------------------

    @property
    def table(self) -> nn.Embedding:
        found = self.stock.model.embed_audio_tokens.embed_audio_tokens
        assert isinstance(found, nn.Embedding)
        return found

    @property
    def head(self) -> Tensor:
        weight: Tensor = self.stock.audio_lm_head.weight
        return weight

    @property
    def text_embedding(self) -> nn.Embedding:
        found = self.stock.model.embed_tokens
        assert isinstance(found, nn.Embedding)
        return found

    @property
    def layers(self) -> Sequence[nn.Module]:
        return list(self.stock.model.layers)

    def hidden(self, embedded: Tensor, columns: Columns, past: Cache | None = None) -> Tensor:
        inner = self.stock.model
        first = 0 if past is None else past.get_seq_length()
        places = torch.arange(first, first + embedded.size(1), device=embedded.device)[None]
        mask = create_causal_mask(
            config=self.stock.config,
            inputs_embeds=embedded,
            attention_mask=None,
            past_key_values=past,
            position_ids=places,
        )
        turns = inner.rotary_emb(embedded, places)
        for layer in inner.layers:
            embedded = layer(embedded, columns.row_at, columns.text_at, mask, turns, past)
        found: Tensor = inner.norm(embedded)
        return found

    def attention(self, columns: Columns) -> list[Tensor]:
        return attention_of(self.stock, lambda: self.hidden(self.embed(columns), columns))

    def roles(self) -> dict[str, nn.Module]:
        inner = self.stock.model
        rest = nn.ModuleList([inner.embed_tokens, inner.layers, inner.norm])
        return {"table": self.table, "head": self.stock.audio_lm_head, "backbone": rest}

    def facts(self) -> list[Fact]:
        rows = self.table.num_embeddings
        return [
            Fact(
                "rope base", rope_base(self.stock.model.rotary_emb), ROPE_BASE,
                "restore the published config: another base loads, and speaks garbage",
            ),
            Fact(
                "rows of the table", rows, self.grid.books * self.grid.size,
                "set codebook_size 1026 (1024 codes, BOC and EOC)",
            ),
        ]  # fmt: skip

    def checkpoint_layers(self) -> None:
        self.stock.activation_checkpointing_enable({"use_reentrant": False})

    # -- files --------------------------------------------------------------------------------------------------

    @classmethod
    def grid_of(cls, directory: Path) -> Grid:
        _check_type(backbone.read_config(directory))
        return read_grid(HiggsAudioV2Config.from_pretrained(directory))

    @classmethod
    def fresh(cls, tokens: Tokens, grid: Grid, sizes: Sizes) -> HiggsV2:
        return cls(HiggsAudioV2ForConditionalGeneration(new_config(tokens, grid, sizes)))

    @classmethod
    def load(cls, directory: Path) -> HiggsV2:
        cls.grid_of(directory)
        try:
            found: Any = HiggsAudioV2ForConditionalGeneration.from_pretrained(
                directory, dtype=torch.float32, output_loading_info=True
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError(
                f"{backbone.FIELD}: {str(directory)!r} can't be loaded ({error}); use a whole checkpoint"
            ) from error
        model, info = found
        if info["missing_keys"]:
            raise ConfigError(
                f"{backbone.FIELD}: {str(directory)!r} lacks {backbone.listed(list(info['missing_keys']))}; use a "
                "whole checkpoint"
            )
        return cls(model)

    def save(self, directory: Path, origin: Path | None) -> None:
        self.stock.save_pretrained(directory)


class RoutedLayer(GradientCheckpointingLayer):
    """A layer of the stock model, under its names, without a mask that has to be counted."""

    self_attn: nn.Module
    input_layernorm: nn.Module
    audio_input_layernorm: nn.Module
    post_attention_layernorm: nn.Module
    audio_post_attention_layernorm: nn.Module
    mlp: nn.Module
    audio_mlp: nn.Module

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        for name, child in layer.named_children():
            self.add_module(name, child)

    def forward(
        self,
        hidden: Tensor,
        row_at: Tensor,
        text_at: Tensor,
        mask: Tensor | None,
        turns: object,
        past: Cache | None = None,
    ) -> Tensor:
        """[B, L, D] → [B, L, D]; `row_at` [N] and `text_at` [M] number the places of the whole batch through."""
        flat = hidden.flatten(0, 1)
        rows = self.audio_input_layernorm(flat.index_select(0, row_at))
        text = self.input_layernorm(flat.index_select(0, text_at))
        normed = flat.index_copy(0, row_at, rows.to(flat.dtype))
        normed = normed.index_copy(0, text_at, text.to(flat.dtype)).view_as(hidden)
        attended, _ = self.self_attn(
            hidden_states=normed,
            attention_mask=mask,
            position_embeddings=turns,
            past_key_values=past,
        )
        flat = flat + attended.flatten(0, 1)
        rows, text = flat.index_select(0, row_at), flat.index_select(0, text_at)
        rows = self.audio_mlp(self.audio_post_attention_layernorm(rows))
        text = self.mlp(self.post_attention_layernorm(text))
        flat = flat.index_add(0, row_at, rows.to(flat.dtype))
        found: Tensor = flat.index_add(0, text_at, text.to(flat.dtype)).view_as(hidden)
        return found


def new_config(tokens: Tokens, grid: Grid, sizes: Sizes) -> HiggsAudioV2Config:
    """A v2 of any size, whose books have room for BOC and EOC, as transformers' defaults have not."""
    ids = tokens.ids
    return HiggsAudioV2Config(
        vocab_size=tokens.size,
        pad_token_id=0,
        bos_token_id=ids[_BEGIN],
        eos_token_id=ids[_END_OF_TURN],
        num_codebooks=grid.books,
        codebook_size=grid.size,
        audio_stream_bos_id=grid.boc,
        audio_stream_eos_id=grid.eoc,
        audio_token_id=ids[_ROW],
        audio_bos_token_id=ids[_AUDIO],
        audio_delay_token_id=ids[_DELAYED],
        **dataclasses.asdict(sizes),
    )


def _check_type(document: dict[str, Any]) -> None:
    require(document.get("model_type"), MODEL_TYPE, "model_type", "set backbone: V3 for a v3")


def read_grid(config: HiggsAudioV2Config) -> Grid:
    """Raises: ConfigError for sizes that would load and speak garbage."""
    grid = Grid(config.num_codebooks, config.codebook_size - 2, framed=True)
    require(
        config.codebook_size, config.audio_stream_eos_id + 1, "codebook_size",
        "set 1026 (1024 codes, BOC and EOC): with fewer, BOC of a book reads the next book's first code",
    )  # fmt: skip
    require(config.audio_stream_bos_id, grid.boc, "audio_stream_bos_id", "BOC follows the codes")
    rope = dict(config.rope_parameters or {})
    require(
        rope.get("rope_theta"), ROPE_BASE, "rope_parameters.rope_theta",
        "restore the published config: another base loads, and speaks garbage",
    )  # fmt: skip
    return grid


def _asked(tokens: Tokens, text: str) -> Piece:
    """A user's turn, and the beginning of the answer."""
    said = [*_header(tokens, "user"), *tokens.encode(text), tokens.ids[_END_OF_TURN]]
    return Piece([*said, *_header(tokens, "assistant"), tokens.ids[_AUDIO]])


def _places(tokens: Tokens, grid: Grid, rows: Tensor) -> list[int]:
    delayed = grid.books - 1
    return [tokens.ids[_ROW]] * (rows.size(0) - delayed) + [tokens.ids[_DELAYED]] * delayed


def _header(tokens: Tokens, role: str) -> list[int]:
    ids = tokens.ids
    return [ids[_ROLE], *tokens.plain(role), ids[_END_OF_ROLE], *tokens.plain("\n\n")]
