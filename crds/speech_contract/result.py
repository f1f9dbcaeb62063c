"""What an evaluation came to, and the lists that a run leaves for people: `result.json`, rows of `quarantine.jsonl`.

Written by the trainer (`engine.cadence`, `engine.best`, `data.loader`), read by the command line. A score says which
way is better, so that nobody has to guess it from its name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from speech_contract.scores import ScoreSpec
from speech_contract.values import Value, frozen


@frozen
class Best(Value):
    """The best evaluated checkpoint by the score that the recipe names. Also what its mark BEST holds."""

    score: str
    value: float
    step: int
    checkpoint: str  # `step-40.a2`, below `checkpoints/`


@frozen
class Result(Value):
    """`result.json`: the last evaluation. `baselines`: name of a trivial answer → score → its value.

    `samples`: files to listen to, relative to the run directory where they lie in it.
    """

    step: int | None = None
    scores: dict[str, float] = dataclasses.field(default_factory=dict)
    specs: dict[str, ScoreSpec] = dataclasses.field(default_factory=dict)
    baselines: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    samples: list[str] = dataclasses.field(default_factory=list)
    best: Best | None = None

    def spec(self, score: str) -> ScoreSpec:
        """How to read a score; of unknown direction where nobody said."""
        return self.specs.get(score, ScoreSpec())

    def trivial(self, score: str) -> dict[str, float]:
        """Trivial answer → what it scores."""
        return {name: own[score] for name, own in self.baselines.items() if score in own}


@frozen
class BadSample(Value):
    """One row of `quarantine.jsonl`. Its keys are the manifest's, so that a script can take the lines out of it."""

    reason: str = "Other"  # one of `metrics.SKIP_REASONS`
    audio_filepath: str = ""
    message_text: str = ""
    line: int | None = None  # of the manifest, from 1
    position: int | None = None  # global sampler position

    def row(self) -> dict[str, Any]:
        """As it is written."""
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> BadSample:
        """As far as the row says so: half a file is what a crash leaves behind."""
        line, position = row.get("line"), row.get("position")
        return cls(
            reason=str(row.get("reason") or "Other"),
            audio_filepath=str(row.get("audio_filepath") or ""),
            message_text=str(row.get("message_text") or ""),
            line=line if isinstance(line, int) else None,
            position=position if isinstance(position, int) else None,
        )
