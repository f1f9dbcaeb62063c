"""The tokenizer of a backbone: a checkpoint's own, or bytes for models that begin at random weights.

Both are files of the `tokenizers` library, so an exported model is read the same way whichever it was. Called by
`models.backbone` and `recipes.voice_cloning`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from speech_trainer.data.errors import EmptyText, OtherSampleError
from speech_trainer.errors import ConfigError

FILE: Final = "tokenizer.json"
_TOGETHER: Final = 1000  # texts whose ids are held at a time, where only their number is asked for


class Tokens:
    """Text to ids, and the ids of the markers that a prompt is built of."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, markers: Sequence[str]) -> None:
        """Raises: ConfigError when the tokenizer does not know a marker."""
        self._tokenizer = tokenizer
        known = tokenizer.get_vocab()
        missing = [name for name in markers if name not in known]
        if missing:
            raise ConfigError(
                f"recipe.voiceCloning.pretrained: {FILE} lacks {', '.join(missing[:3])}; use the tokenizer that the "
                "model was trained with"
            )
        self.ids = {name: int(known[name]) for name in markers}
        self._structure = set(self.ids.values())

    @property
    def size(self) -> int:
        """Ids, added tokens included."""
        return len(self._tokenizer)

    def plain(self, text: str) -> list[int]:
        """Ids of a text of ours."""
        found: Any = self._tokenizer.encode(text, add_special_tokens=False)
        return [int(token) for token in found]

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """How many ids `encode` gives of each, or would without its faults: many at once, which is faster."""
        found: list[int] = []
        for first in range(0, len(texts), _TOGETHER):
            part = [text.strip() for text in texts[first : first + _TOGETHER]]
            encoded: Any = self._tokenizer(
                part, add_special_tokens=False, return_attention_mask=False
            )
            found += map(len, encoded["input_ids"])
        return found

    def encode(self, text: str) -> list[int]:
        """Ids of what is to be spoken. Raises: EmptyText, OtherSampleError for a text that holds marks of a prompt."""
        ids = self.plain(text.strip())
        if not ids:
            raise EmptyText("text", text, "has nothing to say", "write what is spoken")
        inside = self._structure.intersection(ids)
        if inside:
            rule = f"holds {self.decode(sorted(inside))}, a mark of the prompt"
            raise OtherSampleError("text", text, rule, "take it out: it is not spoken")
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """For people: special tokens stay visible."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def save(self, directory: Path) -> None:
        """What `load_tokens` reads."""
        self._tokenizer.save_pretrained(directory)


def load_tokens(directory: Path, markers: Sequence[str]) -> Tokens:
    """The tokenizer beside a checkpoint. Raises: ConfigError."""
    if not (directory / FILE).is_file():
        raise ConfigError(
            f"recipe.voiceCloning.pretrained: {str(directory)!r} has no {FILE}; copy the tokenizer of the model there"
        )
    return Tokens(PreTrainedTokenizerFast.from_pretrained(directory), markers)


def byte_tokens(markers: Sequence[str]) -> Tokens:
    """Every byte of UTF-8 is a token, and every marker."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(markers))
    return Tokens(PreTrainedTokenizerFast(tokenizer_object=tokenizer), markers)
