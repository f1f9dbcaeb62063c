"""Which ids of a sequence are text, and how they read. Called by `strategic.callbacks`.

Ids that are no text never reach the text tokenizer: -100 is a mask, audio codes are another alphabet, and a fast
tokenizer raises on both ("out of range integral type conversion attempted").
"""

import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

import torch
from torch import Tensor

IGNORED: Final = -100  # what a loss leaves out, by the convention of torch and transformers
TEXT: Final = "text"
SPECIAL: Final = "special"
AUDIO: Final = "audio"
MASKED: Final = "masked"
_CONFIG_DEPTH: Final = 3


class Words:
    """The alphabet of one run: a tokenizer, where the host has one, and the ids that mean audio."""

    def __init__(self, processing: Any, config: Any, audio_ids: Collection[int] = ()) -> None:
        """`processing`: a tokenizer, or a processor that holds one; `config`: the model's, or None."""
        self._tokenizer = getattr(processing, "tokenizer", processing)
        self.size = _vocabulary(self._tokenizer)
        self.special = frozenset(getattr(self._tokenizer, "all_special_ids", None) or ())
        self.audio = frozenset(audio_ids) | _audio_ids_of(config)
        self.end = getattr(self._tokenizer, "eos_token_id", None)

    def kind(self, token: int) -> str:
        """What an id is: text, special, audio or masked."""
        if token < 0:
            return MASKED
        if token in self.audio or (self.size is not None and token >= self.size):
            return AUDIO
        return SPECIAL if token in self.special else TEXT

    def audio_positions(self, ids: Tensor) -> Tensor:
        """A mask of the shape of `ids`: True where the id is audio."""
        audio = torch.zeros_like(ids, dtype=torch.bool)
        if self.size is not None:
            audio |= ids >= self.size
        if self.audio:
            audio |= torch.isin(ids, torch.tensor(sorted(self.audio), device=ids.device))
        return audio & (ids >= 0)

    def decode(self, ids: Sequence[int]) -> str:
        """`⟦<s>⟧ good morning ⟨audio × 25⟩ ⟨masked × 7⟩`; without a tokenizer text reads as its ids."""
        return " ".join(self._pieces(ids))

    def segments(self, ids: Sequence[int]) -> list[str]:
        """Where audio lies in a sequence: `["12 to 37"]`, the end not included."""
        found, at = [], 0
        for kind, run in itertools.groupby(ids, self.kind):
            length = len(list(run))
            if kind == AUDIO:
                found.append(f"{at} to {at + length}")
            at += length
        return found

    def _pieces(self, ids: Sequence[int]) -> Iterator[str]:
        for kind, run in itertools.groupby(ids, self.kind):
            tokens = list(run)
            if kind in (AUDIO, MASKED):
                yield f"⟨{kind} × {len(tokens)}⟩"
            elif kind == SPECIAL:
                yield from (f"⟦{self._text([token])}⟧" for token in tokens)
            else:
                yield self._text(tokens)

    def _text(self, tokens: list[int]) -> str:
        if self.size is None:
            return " ".join(map(str, tokens))
        return str(self._tokenizer.decode(tokens, skip_special_tokens=False))


def _vocabulary(tokenizer: Any) -> int | None:
    """Number of ids that the tokenizer can decode; None when there is no tokenizer."""
    if not hasattr(tokenizer, "decode"):
        return None
    try:
        return len(tokenizer)
    except TypeError:
        size = getattr(tokenizer, "vocab_size", None)
        return int(size) if isinstance(size, int) else None


def _audio_ids_of(config: Any, depth: int = _CONFIG_DEPTH) -> frozenset[int]:
    """Ids that a model's config calls audio: `audio_token_id`, `audio_bos_token_id`, nested ones too."""
    found: set[int] = set()
    for name, value in vars(config).items() if hasattr(config, "__dict__") else ():
        if isinstance(value, int) and "audio" in name and "token" in name and "num" not in name:
            found.add(value)
        elif depth and name.endswith("_config"):
            found |= _audio_ids_of(value, depth - 1)
    return frozenset(found)
