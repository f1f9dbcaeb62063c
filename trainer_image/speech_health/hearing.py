"""How a run's numbers come, and which of them no rule can judge. Kept by the supervisor for status and `why`."""

from __future__ import annotations

from speech_contract.report import MAX_FORM, MAX_PARTS, REPORTER, Reads
from speech_health.samples import Source, StepSample


class Hearing:
    """Of several ranks the lowest that tells something is told of; the reporter goes before stdout."""

    def __init__(self) -> None:
        self._speaker: tuple[bool, int] | None = None  # read off stdout, rank
        self._form = ""
        self._reports = 0
        self._parts: dict[str, None] = {}
        self._whole = False

    def take(self, sample: StepSample) -> None:
        """One report of any rank."""
        speaker = (sample.source is Source.STDOUT, sample.rank)
        if not sample.telling or (self._speaker is not None and speaker > self._speaker):
            return
        if speaker != self._speaker:
            self._speaker, self._reports, self._parts, self._whole = speaker, 0, {}, False
        self._form = sample.form if sample.source is Source.STDOUT else REPORTER
        self._reports = self._reports + 1 if sample.report is None else sample.report
        if sample.losses and not self._whole:
            self._whole = sample.whole
            self._parts.update(dict.fromkeys(sample.losses))

    @property
    def told(self) -> Reads | None:
        """As it is now; None while nothing was heard."""
        if self._speaker is None:
            return None
        parts = () if self._whole else tuple(self._parts)[:MAX_PARTS]
        return Reads(self._form[:MAX_FORM], self._reports, parts)
