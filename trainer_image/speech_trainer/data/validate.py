"""Everything that is wrong with a manifest, or a folder, and its audio. Behind `speechtrain data validate`.

Reads every file once. Changes nothing.
"""

import dataclasses
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from speech_trainer.data.checks import MAX_SECONDS, LineChecks
from speech_trainer.data.manifest import Problem, Utterance
from speech_trainer.data.recordings import scan_recordings


@dataclass(frozen=True)
class ValidationReport:
    """What `data validate` prints. `seconds` counts good lines only; what is hidden or no audio lies in a folder."""

    path: Path
    lines: int
    seconds: float
    speakers: int
    languages: int
    problems: tuple[Problem, ...]
    hidden: int = 0
    other: int = 0

    @property
    def ok(self) -> bool:
        return not self.problems

    def by_reason(self) -> dict[str, int]:
        """Number of problems of each reason, most frequent first."""
        return dict(Counter(problem.reason for problem in self.problems).most_common())


def validate_manifest(
    path: Path, max_seconds: float = MAX_SECONDS, *, needs_text: bool = True
) -> ValidationReport:
    """Check every line and its audio. `max_seconds`: longest utterance to be trained on; text where it is needed.

    Raises: DataError when the manifest can't be read at all, or is a folder without audio.
    """
    found_there, problems = scan_recordings(path, needs_text=needs_text)
    manifest, listing = found_there.manifest, found_there.listing
    checks = LineChecks(manifest, max_seconds, needs_text)
    good: list[Utterance] = []
    for utterance in manifest.utterances:
        found, _ = checks.check(utterance)
        file = utterance.audio_filepath if listing else ""
        problems.extend(dataclasses.replace(problem, file=file) for problem in found)
        if not found:
            good.append(utterance)
    if not manifest.utterances and not problems:
        problems.append(_no_lines(path))
    return ValidationReport(
        path=path,
        lines=len(manifest.utterances),
        seconds=sum(utterance.duration for utterance in good),
        speakers=len({utterance.speaker for utterance in good}),
        languages=len({utterance.language for utterance in good}),
        problems=tuple(sorted(problems, key=lambda problem: problem.line)),
        hidden=listing.hidden if listing else 0,
        other=listing.other if listing else 0,
    )


def _no_lines(path: Path) -> Problem:
    return Problem(0, "manifest", str(path), "has no lines", "write one JSON object per line")
