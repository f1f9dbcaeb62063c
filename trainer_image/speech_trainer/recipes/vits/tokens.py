"""Text to token ids with blanks, from a vocabulary that is stored with the run.

The vocabulary is made of the training manifest: its IPA phonemes where every line has them, else its
characters; or it comes with a pretrained model. Id 0 is the blank between any two symbols.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from speech_telemetry.files import replace_text
from speech_trainer.data.manifest import Manifest, Utterance
from speech_trainer.errors import ConfigError, DataError

VOCABULARY_FILE: Final = "vocabulary.json"
BLANK: Final = "<blank>"
BLANK_ID: Final = 0


@dataclass(frozen=True)
class Vocabulary:
    """Symbols by id, and how an utterance becomes symbols."""

    ids: dict[str, int]
    phonemes: bool  # take the manifest's IPA, not its text
    lower_case: bool = False
    add_blank: bool = True

    @property
    def size(self) -> int:
        """Rows the embedding needs."""
        return max(self.ids.values()) + 1

    def source(self, utterance: Utterance) -> str:
        """The string that is tokenized."""
        text = utterance.phonemes if self.phonemes else utterance.text
        return (text.lower() if self.lower_case else text).strip()

    def encode(self, utterance: Utterance) -> list[int]:
        """Token ids, blanks included; symbols out of the vocabulary are left out. [] = nothing to say."""
        known = [self.ids[symbol] for symbol in self.source(utterance) if symbol in self.ids]
        if not known or not self.add_blank:
            return known
        tokens = [BLANK_ID]
        for token in known:
            tokens += [token, BLANK_ID]
        return tokens

    def decode(self, tokens: Iterable[int]) -> str:
        """Readable symbols for a person; the blank shows as `·`."""
        symbols = {number: symbol for symbol, number in self.ids.items()}
        return "".join("·" if t == BLANK_ID else symbols.get(t, "�") for t in tokens)

    def unknown(self, utterances: Iterable[Utterance]) -> set[str]:
        """Symbols of these utterances that the vocabulary lacks."""
        return {s for utterance in utterances for s in self.source(utterance)} - set(self.ids)


def from_manifest(manifest: Manifest) -> Vocabulary:
    """The vocabulary of a training manifest. Raises: DataError when it has nothing to say."""
    phonemes = all(utterance.phonemes for utterance in manifest.utterances)
    probe = Vocabulary({BLANK: BLANK_ID}, phonemes)
    symbols = sorted(probe.unknown(manifest.utterances))
    if not symbols:
        raise DataError(f"text: every line of {str(manifest.path)!r} is empty; write transcripts")
    return Vocabulary({BLANK: BLANK_ID} | {s: i for i, s in enumerate(symbols, start=1)}, phonemes)


def from_pretrained(directory: Path) -> Vocabulary:
    """The vocabulary of a pretrained VitsTokenizer. Raises: ConfigError when it can't be used."""
    ids = _read_json(directory / "vocab.json")
    config = _read_json(directory / "tokenizer_config.json")
    if config.get("is_uroman"):
        raise ConfigError(
            f"recipe.vits.pretrained: {str(directory)!r} expects romanized text (is_uroman); "
            "use a checkpoint whose vocabulary is in the script of the data"
        )
    return Vocabulary(
        {str(symbol): int(number) for symbol, number in ids.items()},
        phonemes=bool(config.get("phonemize", False)) or bool(config.get("speechtrain_phonemes")),
        lower_case=bool(config.get("normalize", False)),
        add_blank=bool(config.get("add_blank", True)),
    )


def store(vocabulary: Vocabulary, run_dir: Path) -> None:
    """Keep the vocabulary with the run; a run directory of other data is refused.

    Raises: DataError when the directory holds another vocabulary; OSError.
    """
    path = run_dir / VOCABULARY_FILE
    document = {
        "ids": vocabulary.ids,
        "phonemes": vocabulary.phonemes,
        "lowerCase": vocabulary.lower_case,
        "addBlank": vocabulary.add_blank,
    }
    if path.is_file():
        if _read_json(path) != document:
            raise DataError(
                f"data.train: its symbols are not those of {str(path)!r}; "
                "restore the manifest, or start a new run directory (checkpoint.uri)"
            )
        return
    replace_text(path, json.dumps(document, ensure_ascii=False, indent=1))


def export_tokenizer(vocabulary: Vocabulary, directory: Path) -> None:
    """Write what `VitsTokenizer.from_pretrained` reads: feed it IPA when `speechtrain_phonemes`."""
    config = {
        "tokenizer_class": "VitsTokenizer",
        "pad_token": BLANK,
        "unk_token": BLANK,
        "add_blank": vocabulary.add_blank,
        "normalize": vocabulary.lower_case,
        "phonemize": False,
        "is_uroman": False,
        "speechtrain_phonemes": vocabulary.phonemes,
    }
    (directory / "vocab.json").write_text(
        json.dumps(vocabulary.ids, ensure_ascii=False), encoding="utf-8"
    )
    (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"recipe.vits.pretrained: {str(path)!r} can't be read ({error}); "
            "name a directory with the model and its tokenizer"
        ) from error
    assert isinstance(document, dict)
    return document
