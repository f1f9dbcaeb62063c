"""What one printed line says, whatever its format. Made by `grammar`, `columns` and `shapes`; judged by `reader`."""

from __future__ import annotations

import dataclasses

from speech_telemetry.printed.formats import PLAIN, Format


@dataclasses.dataclass
class Said:
    """What a line says. Losses are as printed: the zero `0.0000` may be 0.00004."""

    format: Format = PLAIN
    loss: str | None = None  # the whole
    average: bool = False  # `loss` is an epoch's
    stepwise: bool = False  # `loss` says that it is a step's: set anew at each
    parts: dict[str, float] = dataclasses.field(default_factory=dict)
    bad: dict[str, float] = dataclasses.field(default_factory=dict)  # terms that are not finite
    terms: dict[str, float] = dataclasses.field(default_factory=dict)  # others, finite
    held: dict[str, float] = dataclasses.field(default_factory=dict)  # losses on held-out data
    norm: float | None = None
    rate: float | None = None
    unrated: bool = False  # the rate is 0 in a form that rounds nothing to 0
    reward: float | None = None
    spread: float | None = None
    step: int | None = None
    total: int | None = None  # where the counter ends
    epoch: float | None = None
    rank: int | None = None
    elapsed: str = ""  # of a bar
    bar: str | None = None  # its own words and values, without counters and times; None: no bar
    foreign: bool = False  # a bar that is not the training loop's
    held_out: bool = False  # says that (some of) it was measured on held-out data
    batch: bool = False  # of an evaluation, by its counter
    keys: tuple[str, ...] = ()  # names of what was read
    prose: bool = False  # a number between words

    @property
    def values(self) -> bool:
        """Says more than where the run is."""
        if self.loss is not None or self.norm is not None or self.parts or self.bad:
            return True
        return bool(self.terms) and self.step is not None
