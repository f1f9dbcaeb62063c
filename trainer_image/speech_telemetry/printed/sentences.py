"""Sentences in which a trainer says that an update was skipped, or that it gives up. Called by `grammar`. Pure.

They stand for the number that is not printed with them: a gradient, or a loss, that is not finite.
"""

from __future__ import annotations

import math
import re
from typing import Final

from speech_telemetry.printed.formats import ENDED, SENTENCE
from speech_telemetry.printed.said import Said

_NOT_FINITE: Final = r"\b(?:nan|inf|non-?finite|not finite)\b"
# ESPnet: "The grad norm is nan. Skipping updating the model."
_SKIPPED: Final = re.compile(rf"{_NOT_FINITE}.*\bskip|\bskip.*{_NOT_FINITE}", re.IGNORECASE)
# pytorch-accelerated: "Stopping training due to NaN loss in training step"; SpeechBrain, which leaves the NaN out of
# the loss that it prints: "ValueError: Loss is not finite and patience is exhausted."; Lightning 1: "ValueError: The
# loss returned in `training_step` is nan."
_ENDED: Final = re.compile(
    rf"\b(?:stop|exit|terminat|abort|halt)\w*\b.*\bdue to\b.*{_NOT_FINITE}"
    rf"|^\w*(?:Error: )?loss is (?:not |non-?)finite\b|^\w+Error: .*{_NOT_FINITE}",
    re.IGNORECASE,
)
_OF_TRAINING: Final = re.compile(r"loss|grad|norm|update|batch|backward", re.IGNORECASE)
_ALL_SKIPPED: Final = re.compile(r"number of (?:skipped|nan) iterations:\s*[1-9]")


def sentence(line: str, folded: str) -> Said | None:
    """What a sentence stands for; None where the line is none. `folded`: the line in lower case."""
    if "skip" in folded and "|" not in line and _SKIPPED.search(line) and _OF_TRAINING.search(line):
        return Said() if _scales(folded) else Said(SENTENCE, norm=math.nan, keys=("skipped",))
    if "due to" in folded or "finite" in folded or "error: " in folded:
        if _ENDED.search(line) and _OF_TRAINING.search(line):
            return Said(ENDED, loss="nan", keys=("ended",))
    return None


def _scales(folded: str) -> bool:
    """A loss scaler at work: its overflows are no fault."""
    return "loss scale" in folded or "loss_scale" in folded or "overflow" in folded


def all_skipped(line: str) -> bool:
    """Of a line of Megatron without a loss: every iteration since the last line was skipped."""
    return bool(_ALL_SKIPPED.search(line))
