"""Rows about training data that need no audio read: durations, duplicates, overlap with the held-out set. Pure.

Called by recipes' own preflight; a recipe adds what its kind of data must look like.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from speech_contract.preflight import Check, CheckResult
from speech_contract.thresholds import GoalUnreachable
from speech_trainer.data.manifest import Manifest, Utterance, symbols
from speech_trainer.preflight.rows import number, row, skipped, warning

SHARE_OF_HELD_OUT: Final = 0.01  # that may lie in the training set by accident
SHARE_OF_DUPLICATES: Final = 0.01
SECONDS_PER_SYMBOL: Final = (0.01, 1.0)  # of the median utterance; speech has 0.05 to 0.15
EPOCH_STEPS: Final = GoalUnreachable().min_epoch_steps
HELD_OUT: Final = GoalUnreachable().min_held_out
ENOUGH: Final = 20  # utterances before "all of one length" means anything


def duration_rows(utterances: Sequence[Utterance], max_seconds: float) -> list[CheckResult]:
    """Utterances beyond the recipe's limit, and a set of files that are all of one length."""
    durations = [utterance.duration for utterance in utterances]
    total, median = sum(durations), sorted(durations)[len(durations) // 2]
    too_long = sum(duration > max_seconds for duration in durations)
    alike = len(durations) >= ENOUGH and len(set(durations)) == 1
    return [
        warning(
            Check.DATA, "durations", not too_long,
            f"{len(durations)} utterances, {total / 3600:.3g} h, median {number(median)} s, {too_long} too long",
            f"at most {max_seconds:g} s each", "cut them into sentences: longer ones are left out",
        ),
        warning(
            Check.DATA, "lengths", not alike, "all the same" if alike else "varied", "varied",
            "look whether files that could not be read were replaced by silence of one length",
        ),
    ]  # fmt: skip


def pace_row(utterances: Sequence[Utterance]) -> CheckResult:
    """Seconds of audio for a symbol of text (or phonemes), for recipes that need text."""
    paces = sorted(u.duration / max(1, len(u.phonemes or u.text)) for u in utterances)
    pace, (low, high) = paces[len(paces) // 2], SECONDS_PER_SYMBOL
    return warning(
        Check.DATA, "seconds a symbol", low <= pace <= high, number(pace), f"{low:g} to {high:g}",
        "look whether text and audio belong together",
    )  # fmt: skip


def texts_row(utterances: Sequence[Utterance], most: float) -> CheckResult:
    """Lines with nothing to say, for recipes that need text. `most`: share above which training would be ended."""
    count, empty = len(utterances), sum(not symbols(u) for u in utterances)
    return row(
        Check.DATA, "texts", empty <= most * count, f"{empty} of {count} without a letter",
        f"at most {most:.0%} (health.skippedSamples.maxRatio)",
        "write what is spoken, or leave the lines out: `speechtrain data validate` lists them",
    )  # fmt: skip


def epoch_row(training: Manifest, batch: int) -> CheckResult:
    """A pass over the data that is a few steps long."""
    count = len(training.utterances)
    return warning(
        Check.DATA, "steps an epoch", count >= EPOCH_STEPS * batch, f"{count} utterances in batches of {batch}",
        f"at least {EPOCH_STEPS} steps", "record more, or take smaller batches: so few are learned by heart",
    )  # fmt: skip


def held_out_row(held_out: Manifest | None) -> CheckResult:
    """Scores of a handful of recordings follow chance; without any nothing is scored, which is told elsewhere."""
    count = len(held_out.utterances) if held_out else None
    return warning(
        Check.DATA, "held-out recordings", count is None or count >= HELD_OUT, "none" if count is None else count,
        f"at least {HELD_OUT}", "hold more out: scores of so few follow chance, and so does the best checkpoint",
    )  # fmt: skip


def duplicates_row(training: Manifest) -> CheckResult:
    """Files that are named more than once."""
    count = len(training.utterances)
    files = Counter(training.audio_path(u) for u in training.utterances)
    again = sum(times - 1 for times in files.values())
    return warning(
        Check.DATA, "duplicates", again <= SHARE_OF_DUPLICATES * count, f"{again} of {count}",
        f"at most {SHARE_OF_DUPLICATES:.0%}", "drop lines that name one file twice: `speechtrain data validate`",
    )  # fmt: skip


def overlap_row(training: Manifest, held_out: Manifest | None) -> CheckResult:
    """Held-out files that are trained on."""
    if held_out is None:
        return skipped(Check.DATA, "no held-out set: nothing will tell learning by heart apart")
    paths = {training.audio_path(u).resolve() for u in training.utterances}
    digests = {u.sha256 for u in training.utterances if u.sha256}
    seen = sum(
        held_out.audio_path(u).resolve() in paths or u.sha256 in digests
        for u in held_out.utterances
    )
    count = len(held_out.utterances)
    return row(
        Check.DATA, "held-out files in training", seen <= SHARE_OF_HELD_OUT * count, f"{seen} of {count}",
        f"at most {SHARE_OF_HELD_OUT:.0%}", "take them out of one of the two: their scores would mean nothing",
    )  # fmt: skip


def strangers_row(training: Manifest, held_out: Manifest, remedy: str) -> CheckResult:
    """Voices that are held out alone, for recipes that learn speakers by name."""
    strangers = {u.speaker for u in held_out.utterances} - {u.speaker for u in training.utterances}
    shown = f"{len(strangers)} not in training" if strangers else "all in training"
    return warning(
        Check.DATA, "held-out speakers", not strangers, shown, "all in training", remedy
    )  # fmt: skip
