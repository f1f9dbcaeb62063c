"""Higgs Audio v3: Qwen3 with one table of codes, which is the head as well. Implements `models.backbone.Backbone`.

The published checkpoint (`model_type` higgs_multimodal_qwen3, which transformers has no class for) names its tensors

    body.*                                              Qwen3 without its embedding
    tied.embedding.text_embedding.weight                that embedding
    tied.embedding.modality_embeddings.0.embedding.*    the table [Q · V, D], by which codes are predicted too
    tied.embedding.modality_embeddings.0.model.*        a codec; never trained, carried along
    tied.head.*                                         a head of text, which nothing here uses; carried along

Called by `recipes.voice_cloning`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import Cache, Qwen3Config, Qwen3Model

from speech_telemetry.files import replace_text
from speech_trainer.data.delay import Grid
from speech_trainer.data.sequences import Columns, Piece
from speech_trainer.errors import ConfigError
from speech_trainer.models import backbone
from speech_trainer.models.backbone import Backbone, Fact, Sizes, Spoken, require, rope_base
from speech_trainer.models.eager import attention_of
from speech_trainer.models.tokens import Tokens

MODEL_TYPE: Final = "higgs_multimodal_qwen3"
ROPE_BASE: Final = (
    1e6  # that Qwen3 was trained at; the published config says null, transformers' default is 1e4
)
BODY: Final = "body."
TEXT: Final = "tied.embedding.text_embedding.weight"
TABLE: Final = "tied.embedding.modality_embeddings.0.embedding.weight"
HEAD: Final = (
    "tied.head.modality_heads.0.weight"  # of a checkpoint whose audio head is not the table
)
CARRIED: Final = ("tied.embedding.modality_embeddings.0.model.", "tied.head.")

_TTS, _REF_TEXT, _REF_AUDIO = "<|tts|>", "<|ref_text|>", "<|ref_audio|>"
_TEXT, _AUDIO = "<|text|>", "<|audio|>"


class HiggsV3(Backbone):
    """Text and rows → rows."""

    markers: ClassVar = (_TTS, _REF_TEXT, _REF_AUDIO, _TEXT, _AUDIO)
    framed: ClassVar = False

    def __init__(self, config: Qwen3Config, grid: Grid) -> None:
        super().__init__()
        self.config, self.grid = config, grid
        self.body = Qwen3Model(config)
        self.codes = nn.Embedding(grid.books * grid.size, config.hidden_size)
        # Qwen3's own deviation, by the number of books that a row adds up: as loud as text, and logits near 0.
        nn.init.normal_(self.codes.weight, std=config.initializer_range * grid.books**-0.5)

    @classmethod
    def prompt(
        cls, tokens: Tokens, grid: Grid, text: str, reference: Spoken | None, codes: Tensor | None
    ) -> list[Piece]:
        ids = tokens.ids
        pieces = [Piece([ids[_TTS]])]
        if reference is not None:
            rows = grid.delayed(reference.codes)
            pieces += [
                Piece([ids[_REF_TEXT], *tokens.encode(reference.text), ids[_REF_AUDIO]]),
                Piece([ids[_REF_AUDIO]] * rows.size(0), rows, reference=True),
            ]
        pieces.append(Piece([ids[_TEXT], *tokens.encode(text), ids[_AUDIO]]))
        if codes is not None:
            rows = grid.delayed(codes)
            pieces.append(Piece([ids[_AUDIO]] * rows.size(0), rows, learned=True))
        return pieces

    @property
    def table(self) -> nn.Embedding:
        return self.codes

    @property
    def head(self) -> Tensor:
        return self.codes.weight

    @property
    def text_embedding(self) -> nn.Embedding:
        found = self.body.embed_tokens
        assert isinstance(found, nn.Embedding)
        return found

    @property
    def layers(self) -> Sequence[nn.Module]:
        return list(self.body.layers)

    def hidden(self, embedded: Tensor, columns: Columns, past: Cache | None = None) -> Tensor:
        found: Tensor = self.body(
            inputs_embeds=embedded, past_key_values=past, use_cache=past is not None
        ).last_hidden_state
        return found

    def attention(self, columns: Columns) -> list[Tensor]:
        return attention_of(self.body, lambda: self.hidden(self.embed(columns), columns))

    def roles(self) -> dict[str, nn.Module]:
        return {"table": self.codes, "backbone": self.body}

    def facts(self) -> list[Fact]:
        tied = self.head is self.table.weight
        return [
            Fact(
                "rope base", rope_base(self.body.rotary_emb), ROPE_BASE,
                f"build Qwen3 with rope_theta {ROPE_BASE:g}: another base loads, and speaks garbage",
            ),
            Fact(
                "head", "the table" if tied else "another tensor", "the table",
                "v3 predicts codes by the table that reads them: two copies drift apart, and the export keeps one",
            ),
        ]  # fmt: skip

    def checkpoint_layers(self) -> None:
        self.body.activation_checkpointing_enable({"use_reentrant": False})

    @classmethod
    def grid_of(cls, directory: Path) -> Grid:
        return read_settings(backbone.read_config(directory))[1]

    @classmethod
    def fresh(cls, tokens: Tokens, grid: Grid, sizes: Sizes) -> HiggsV3:
        return cls(new_config(tokens.size, sizes), grid)

    @classmethod
    def load(cls, directory: Path) -> HiggsV3:
        config, grid = read_settings(backbone.read_config(directory))
        files = backbone.tensor_files(directory)
        own = {name: path for name, path in files.items() if not name.startswith(CARRIED)}
        tensors = backbone.read_tensors(own)
        _check_tied(files, tensors)
        model = cls(config, grid)
        wanted = _published(model)
        _check_names(wanted, tensors, directory)
        with torch.no_grad():
            for name, parameter in wanted.items():
                parameter.copy_(tensors[name])
        return model

    def save(self, directory: Path, origin: Path | None) -> None:
        tensors = {name: p.detach().cpu().contiguous() for name, p in _published(self).items()}
        if origin is not None:
            files = backbone.tensor_files(origin)
            kept = {n: path for n, path in files.items() if n.startswith(CARRIED) and n != HEAD}
            tensors |= backbone.read_tensors(kept)
        directory.mkdir(parents=True, exist_ok=True)
        save_file(tensors, directory / backbone.WEIGHTS, metadata={"format": "pt"})
        replace_text(directory / "config.json", _document(self.config, self.grid))


def new_config(vocabulary: int, sizes: Sizes) -> Qwen3Config:
    """A Qwen3 of any size at the base it was trained with."""
    return Qwen3Config(
        vocab_size=vocabulary,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_BASE},
        tie_word_embeddings=False,
        **dataclasses.asdict(sizes),
    )


def read_settings(document: dict[str, Any]) -> tuple[Qwen3Config, Grid]:
    """Sizes of a published checkpoint. Raises: ConfigError for one that would load and speak garbage."""
    require(document.get("model_type"), MODEL_TYPE, "model_type", "set backbone: V2 for a Higgs v2")
    audio, text = document.get("audio_encoder_config", {}), dict(document.get("text_config", {}))
    books, size = audio.get("num_codebooks"), audio.get("vocab_size")
    require(
        audio.get("tie_word_embeddings"), True, "audio_encoder_config.tie_word_embeddings",
        "v3 predicts codes by the table that reads them: a head beside it would begin at random weights",
    )  # fmt: skip
    require(
        audio.get("use_delay_pattern", True), True, "audio_encoder_config.use_delay_pattern",
        "v3 was trained on delayed codes",
    )  # fmt: skip
    if not isinstance(books, int) or not isinstance(size, int) or books < 1 or size < 3:
        raise ConfigError(
            f"{backbone.FIELD}: config.json, audio_encoder_config: num_codebooks {books!r} and vocab_size {size!r} are "
            "no sizes; restore the published config (8 and 1026: 1024 codes, BOC and EOC)"
        )
    require(
        audio.get("out_dim"), text.get("hidden_size"), "audio_encoder_config.out_dim",
        "the table is as wide as Qwen3: restore the published config",
    )  # fmt: skip
    rope = dict(text.pop("rope_parameters", None) or {})
    base = rope.get("rope_theta", text.pop("rope_theta", None))
    if base is not None:
        require(
            float(base), ROPE_BASE, "text_config.rope_theta",
            f"set {ROPE_BASE:g}, or null: another base loads, and speaks garbage",
        )  # fmt: skip
    text.pop("model_type", None)
    text["rope_parameters"] = {"rope_type": "default", **rope, "rope_theta": ROPE_BASE}
    return Qwen3Config(**text), Grid(books, size - 2)


def _document(config: Qwen3Config, grid: Grid) -> str:
    audio = {
        "model_type": "higgs_audio_encoder",
        "num_codebooks": grid.books,
        "vocab_size": grid.size,
        "out_dim": config.hidden_size,
        "tie_word_embeddings": True,
        "use_delay_pattern": True,
    }
    text = config.to_dict() | {"rope_theta": ROPE_BASE}
    document = {"model_type": MODEL_TYPE, "audio_encoder_config": audio, "text_config": text}
    return json.dumps(document, indent=2) + "\n"


def _published(model: HiggsV3) -> dict[str, nn.Parameter]:
    """Every parameter by its name in the checkpoint."""
    found: dict[str, nn.Parameter] = {
        BODY + name: p for name, p in model.body.named_parameters() if name != "embed_tokens.weight"
    }
    found[TEXT] = model.body.get_parameter("embed_tokens.weight")
    found[TABLE] = model.get_parameter("codes.weight")
    return found


def _check_tied(files: dict[str, Path], tensors: dict[str, Tensor]) -> None:
    if HEAD in files and TABLE in tensors:
        head = backbone.read_tensors({HEAD: files[HEAD]})[HEAD]
        if not torch.equal(head, tensors[TABLE]):
            raise ConfigError(
                f"{backbone.FIELD}: {HEAD} is not the table {TABLE}, as in v3 it must be; two copies of it were "
                "trained apart (modules_to_save lists both): export the adapted model anew, from one of them"
            )


def _check_names(wanted: dict[str, nn.Parameter], found: dict[str, Tensor], place: Path) -> None:
    missing = [name for name in wanted if name not in found]
    unknown = [name for name in found if name not in wanted]
    if missing or unknown:
        what = f"lacks {backbone.listed(missing)}" if missing else ""
        more = f"holds {backbone.listed(unknown)} besides" if unknown else ""
        raise ConfigError(
            f"{backbone.FIELD}: {str(place)!r} {' and '.join(filter(None, (what, more)))}; use a whole checkpoint of "
            "Higgs v3, with adapters merged into it"
        )
    for name, parameter in wanted.items():
        if parameter.shape != found[name].shape:
            raise ConfigError(
                f"{backbone.FIELD}: {name}: {list(found[name].shape)} is not {list(parameter.shape)}, which "
                "config.json says; restore the config of this checkpoint"
            )
