"""A plain training loop over the stock models, as public trainers of the family have it. Used by step_watch.py.

Batches are drawn without a look at lengths and padded to the longest; codes and labels are found by boolean masks;
logits in float32 exist at every place; each book's loss is taken in a loop. v3 has no stock model: its parts are
transformers' Qwen3 and one table, put together as its published port does. v2 is transformers' own.
"""

from __future__ import annotations

from typing import Any

import cloning_steps
import torch
from step_watch import Step, Watch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from speech_trainer.data.delay import IGNORED
from speech_trainer.data.sequences import Sequence
from speech_trainer.models.backbone import Backbone


class PlainV3(nn.Module):
    """Qwen3 with one table for reading and predicting codes."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.body, self.codes = backbone.body, backbone.codes
        self.books, self.size = backbone.grid.books, backbone.grid.size

    def forward(self, tokens: Tensor, real: Tensor, rows: Tensor, is_row: Tensor) -> Tensor:
        """[B, L] → logits [B, L, Q, V]."""
        embedded = self.body.embed_tokens(tokens)
        offsets = torch.arange(self.books) * self.size
        embedded = embedded.clone()
        embedded[is_row] = self.codes(rows + offsets).sum(dim=-2)
        hidden = self.body(inputs_embeds=embedded, attention_mask=real.long()).last_hidden_state
        return functional.linear(hidden, self.codes.weight).unflatten(-1, (self.books, self.size))


class StockV2(nn.Module):
    """Transformers' model under its own forward."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        stock = backbone.stock
        self.model = type(stock)(stock.config)  # with its own layers: ours are routed
        self.model.load_state_dict(stock.state_dict())
        self.books = backbone.grid.books

    def forward(self, tokens: Tensor, real: Tensor, rows: Tensor, is_row: Tensor) -> Tensor:
        """The same; rows are handed over sample by sample."""
        own = [rows[n : n + k] for n, k in _cuts(is_row.sum(dim=1).tolist())]
        padded = pad_sequence(own, batch_first=True)
        there = pad_sequence(
            [torch.ones(len(one), dtype=torch.bool) for one in own], batch_first=True
        )
        out = self.model(
            input_ids=tokens,
            attention_mask=real.long(),
            audio_input_ids=padded,
            audio_input_ids_mask=there,
        )
        found: Tensor = out.logits.unflatten(-1, (self.books, -1))
        return found


def make(data: dict[str, Any], watch: Watch) -> Step:
    """One epoch of `data["utterances"]` for `data["backbone"]`."""
    kind = cloning_steps.kind_of(data["backbone"])
    sequences = [cloning_steps.laid(kind, one) for one in data["utterances"]]
    _, order = cloning_steps.orders(data["utterances"])
    model = plain(data["backbone"], cloning_steps.fresh(kind)).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), cloning_steps.LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.1
    )

    def train(members: list[Sequence]) -> None:
        with watch.stage("batch"):
            tokens, real, labels, rows, is_row = padded(members)
        with watch.stage("forward and losses"):
            logits = model(tokens, real, rows, is_row).float()
            loss = loss_of(logits, labels)
        with watch.stage("backward"):
            loss.backward()
        with watch.stage("optimizer"):
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return cloning_steps.stepping(cloning_steps.batches(sequences, order), train)


def plain(name: str, backbone: Backbone) -> nn.Module:
    """The stock model with the same weights."""
    return PlainV3(backbone) if name == "V3" else StockV2(backbone)


def padded(members: list[Sequence]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Tokens, what is no padding, labels where they are predicted from, all rows, and where they lie."""
    tokens = pad_sequence([one.tokens for one in members], batch_first=True)
    labels = pad_sequence([one.labels for one in members], batch_first=True, padding_value=IGNORED)
    real = torch.zeros(tokens.shape, dtype=torch.bool)
    is_row = torch.zeros(tokens.shape, dtype=torch.bool)
    for number, one in enumerate(members):
        real[number, : one.length] = True
        is_row[number, one.row_at] = True
    return tokens, real, labels, torch.cat([one.rows for one in members]), is_row


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean of the books' means."""
    total = logits.new_zeros(())
    for book in range(logits.size(2)):
        asked = labels[..., book] != IGNORED
        total = total + functional.cross_entropy(
            logits[:, :, book][asked], labels[..., book][asked]
        )
    return total / logits.size(2)


def _cuts(counts: list[int]) -> list[tuple[int, int]]:
    """Where each sample's rows begin, and how many they are."""
    starts = [sum(counts[:n]) for n in range(len(counts))]
    return list(zip(starts, counts, strict=True))
