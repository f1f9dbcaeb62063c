"""What the voice-cloning recipe asks of a language model that reads text and codes and predicts codes.

Implemented by `models.higgs_v3` and `models.higgs_v2`; a third one is one file and one line of `recipes.voice_cloning.
backbones`. Shapes: B batch, L places, D channels, Q books, V values of a book, N rows of codes, P places.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional
from transformers import Cache

from speech_trainer.data.delay import Grid
from speech_trainer.data.sequences import Columns, Piece
from speech_trainer.errors import ConfigError
from speech_trainer.models.tokens import Tokens

WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
FIELD: Final = "recipe.voiceCloning.pretrained"


@dataclass(frozen=True)
class Spoken:
    """A recording in words and codes: `codes` [Q, F], not delayed."""

    text: str
    codes: Tensor


@dataclass(frozen=True)
class Sizes:
    """Of a model that begins at random weights."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int


@dataclass(frozen=True)
class Fact:
    """What a built model is in one respect, what it must be, and what to do when it is not."""

    name: str
    found: object
    wanted: object
    remedy: str


class Backbone(nn.Module, ABC):
    """A causal model over text tokens and rows of codes. Its parameters fall into named parts: see `roles`."""

    markers: ClassVar[tuple[str, ...]]  # tokens of the prompt, which the tokenizer must know
    framed: ClassVar[bool]  # of its grid
    grid: Grid

    # -- inputs -------------------------------------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def prompt(
        cls, tokens: Tokens, grid: Grid, text: str, reference: Spoken | None, codes: Tensor | None
    ) -> list[Piece]:
        """Text that is to be spoken, in the voice of `reference`, and the codes [Q, F] that speak it; None: to come.

        Raises: SampleError for a text that holds a marker.
        """

    # -- the model ----------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def table(self) -> nn.Embedding:
        """[Q · V, D]: book c's value v at c · V + v."""

    @property
    @abstractmethod
    def head(self) -> Tensor:
        """[Q · V, D]: what hidden states are multiplied by; the table itself where they are tied."""

    @property
    @abstractmethod
    def text_embedding(self) -> nn.Embedding:
        """Of text tokens."""

    @property
    @abstractmethod
    def layers(self) -> Sequence[nn.Module]:
        """Blocks, each gathered for itself where weights are split over ranks."""

    @abstractmethod
    def hidden(self, embedded: Tensor, columns: Columns, past: Cache | None = None) -> Tensor:
        """[B, L, D] → [B, L, D] after the last norm. No place sees a later one.

        `past`: what earlier calls kept of the places before these, of one sequence; these are added to it.
        """

    @abstractmethod
    def attention(self, columns: Columns) -> list[Tensor]:
        """Weights [B, heads, L, L] of each layer, by plain matrix products: for looking at, outside of training."""

    @abstractmethod
    def roles(self) -> dict[str, nn.Module]:
        """Name in findings → module; together they hold every parameter once. One is "table"."""

    @abstractmethod
    def checkpoint_layers(self) -> None:
        """Keep no activations inside of layers: compute them again in backward."""

    @abstractmethod
    def facts(self) -> list[Fact]:
        """Measured on the modules that run: what loads and speaks garbage when it is another."""

    def embed(self, columns: Columns) -> Tensor:
        """Text by its table, rows as the sum of their codes': [B, L, D]."""
        embedded: Tensor = self.text_embedding(columns.tokens)
        offsets = torch.arange(self.grid.books, device=columns.rows.device) * self.grid.size
        rows = functional.embedding_bag(columns.rows + offsets, self.table.weight, mode="sum")
        flat = embedded.flatten(0, 1).index_copy(0, columns.row_at, rows.to(embedded.dtype))
        return flat.view_as(embedded)

    def forward(self, columns: Columns) -> Tensor:
        """Hidden states [P, D] where something is to be predicted; `logits` makes predictions of them."""
        hidden = self.hidden(self.embed(columns), columns)
        found: Tensor = hidden.flatten(0, 1).index_select(0, columns.label_at)
        return found

    def logits(self, hidden: Tensor) -> Tensor:
        """[P, D] → [P, Q, V]."""
        found: Tensor = functional.linear(hidden, self.head).unflatten(1, (self.grid.books, -1))
        return found

    # -- files --------------------------------------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def grid_of(cls, directory: Path) -> Grid:
        """Sizes of a published checkpoint's books. Raises: ConfigError as `load` does."""

    @classmethod
    @abstractmethod
    def fresh(cls, tokens: Tokens, grid: Grid, sizes: Sizes) -> Backbone:
        """Random weights."""

    @classmethod
    @abstractmethod
    def load(cls, directory: Path) -> Backbone:
        """A published checkpoint, in float32. Raises: ConfigError naming field, value found and remedy."""

    @abstractmethod
    def save(self, directory: Path, origin: Path | None) -> None:
        """Write config.json and weights under the published names. `origin`: the checkpoint that was trained on, whose
        other tensors (a bundled codec) go along."""


def read_config(directory: Path) -> dict[str, Any]:
    """config.json of a checkpoint. Raises: ConfigError."""
    path = directory / "config.json"
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{FIELD}: {str(directory)!r} has no readable config.json ({error}); name a directory with config.json, "
            "tokenizer.json and model.safetensors"
        ) from error
    if not isinstance(found, dict):
        raise ConfigError(f"{FIELD}: {str(path)!r} holds no JSON object; restore the file")
    return found


def require(found: object, wanted: object, field: str, remedy: str) -> None:
    """Raises: ConfigError when a value of a checkpoint's config is another."""
    if found != wanted:
        raise ConfigError(f"{FIELD}: config.json, {field}: {found!r} is not {wanted!r}; {remedy}")


def rope_base(rotary: nn.Module) -> float:
    """Of rotary embeddings as they are applied: their second frequency is base^(-2/D), rounded to three digits."""
    frequencies: Tensor = rotary.get_buffer("inv_freq")
    size = 2 * frequencies.numel()
    return float(f"{float(frequencies[1]) ** (-size / 2):.3g}")


def tensor_files(directory: Path) -> dict[str, Path]:
    """Name of every tensor of a checkpoint → its file. Raises: ConfigError."""
    index, single = directory / INDEX, directory / WEIGHTS
    try:
        if index.is_file():
            names: Mapping[str, str] = json.loads(index.read_text("utf-8"))["weight_map"]
            return {name: directory / file for name, file in names.items()}
        with safe_open(str(single), "pt") as file:
            return dict.fromkeys(file.keys(), single)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ConfigError(
            f"{FIELD}: {str(directory)!r} holds no weights ({error}); name a directory with {WEIGHTS}, or with {INDEX} "
            "and the files that it names"
        ) from error


def read_tensors(files: Mapping[str, Path]) -> dict[str, Tensor]:
    """Some tensors of a checkpoint, one file after the other, as they were stored. Raises: ConfigError."""
    found: dict[str, Tensor] = {}
    for path in sorted(set(files.values())):
        try:
            with safe_open(str(path), "pt") as file:
                found |= {name: file.get_tensor(name) for name, at in files.items() if at == path}
        except (OSError, SafetensorError) as error:
            raise ConfigError(
                f"{FIELD}: {str(path)!r} can't be read ({error}); restore the file"
            ) from error
    return found


def listed(names: Sequence[str]) -> str:
    """The first few."""
    return ", ".join(sorted(names)[:3]) + (", …" if len(names) > 3 else "")
