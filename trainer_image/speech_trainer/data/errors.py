"""What can be wrong with one sample. The loader replaces it, counts it by reason and goes on.

    SampleError                 base; `reason` is one of `metrics.SKIP_REASONS`
    ├── MissingFile             the audio file is not there
    ├── DecodeError             the file is no audio, or broken
    ├── EmptyText               nothing to say
    ├── NonFiniteAudio          NaN or Inf among the samples
    ├── TooShort                fewer frames than tokens, or than the recipe needs
    ├── TooLong                 beyond the preset's limit
    ├── Silent                  nothing to hear
    ├── BadCodes                codes of a codec that are missing, damaged or of something else
    └── OtherSampleError        anything else that loading this one sample raised

Raised by `data.samples` and `data.codes`; `data.validate` shows them, `data.loader` counts them. A manifest that can't
be used at all is `speech_trainer.errors.DataError`.
"""

from typing import ClassVar


class SampleError(Exception):
    """A sample that can't be trained on. `str(error)` names field, value, rule and remedy."""

    reason: ClassVar[str] = "Other"

    def __init__(self, field: str, value: object, rule: str, remedy: str) -> None:
        self.field = field
        self.value = value
        self.rule = rule
        self.remedy = remedy
        super().__init__(f"{field}: {value!r} {rule}; {remedy}")


class MissingFile(SampleError):
    """The audio file can't be opened."""

    reason = "MissingFile"


class DecodeError(SampleError):
    """The audio file can't be decoded."""

    reason = "DecodeError"


class EmptyText(SampleError):
    """No token is left of the text."""

    reason = "EmptyText"


class NonFiniteAudio(SampleError):
    """NaN or Inf among the samples."""

    reason = "NonFiniteAudio"


class TooShort(SampleError):
    """Fewer frames than tokens (no alignment exists), or than the recipe needs."""

    reason = "TooShort"


class TooLong(SampleError):
    """Longer than the preset allows."""

    reason = "TooLong"


class Silent(SampleError):
    """Quieter than -60 dB."""

    reason = "Silent"


class BadCodes(SampleError):
    """Codes that are missing, damaged, out of their codebook or of another length than the recording."""

    reason = "BadCodes"


class OtherSampleError(SampleError):
    """Loading raised something none of the above covers."""
