"""What a detector sees: one report of one rank, from the reporter or read off stdout.

Built by the supervisor (`from_datagram`, `printed.LineReader`) and by replay; read by every rule and the exporter.
A value that was not reported is None: never zero, never a guess.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from speech_contract.losses import HEADLINES, headline
from speech_contract.phases import Phase
from speech_contract.report import Report

if TYPE_CHECKING:
    from speech_contract.wire import Datagram

SKIP_SENTENCE: Final = "sentence of a skipped update"  # a form: printed for bad updates alone


T = TypeVar("T")


class once(Generic[T]):  # noqa: N801 - reads as a decorator, as functools.cached_property
    """functools.cached_property without the lock that it takes before Python 3.12: a third of its cost."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    def __get__(self, owner: Any, kind: type | None = None) -> T:
        value = self._compute(owner)
        owner.__dict__[self._name] = value
        return value


class Source(str, enum.Enum):
    """Who said it: the script through our reporter, or its stdout."""

    REPORTER = "Reporter"
    STDOUT = "Stdout"

    # Part of every stream's key: the name's own hash, without a call of Python's.
    __hash__ = str.__hash__


@dataclasses.dataclass(frozen=True, eq=False, repr=False)  # as a `Report` is
class StepSample(Report):
    """A report with its moment; `now` is the supervisor's monotonic clock."""

    time: float  # epoch seconds
    now: float  # monotonic seconds
    rank: int
    step: int
    source: Source = Source.REPORTER
    phase: Phase = Phase.TRAINING
    reward: float | None = None  # of a policy: its loss is 0 by construction
    reward_spread: float | None = None  # within a group; 0: nothing to learn from, and no gradient
    report: int | None = None  # read off stdout: how many reports came so far; a redraw is none
    form: str = ""  # the format that was recognised
    parts: dict[str, float] | None = None  # printed beside a whole loss; for few rules
    opens: bool = False  # the first report of another run in the same file
    evaluated: bool = False  # `evaluation` is of one since the report before, equal or not
    unrated: bool = False  # the learning rate is 0 as printed without rounding: `0.00e+00`
    stands: str = ""  # component that stands for the whole loss where a file names none

    def __eq__(self, other: object) -> bool:
        # By fields alone: `once` keeps what it worked out beside them.
        if not isinstance(other, StepSample):
            return NotImplemented
        return all(
            getattr(self, name) == getattr(other, name) for name in StepSample.__dataclass_fields__
        )

    @property
    def turn(self) -> int:
        """What tells one report from a repetition: the step, or what its reader counted."""
        return self.step if self.report is None else self.report

    @property
    def telling(self) -> bool:
        """Says more of learning than that a step was made: a loss, a norm, an update, a comparison of weights."""
        told = (self.gradient_norm, self.updates, self.non_finite_steps, self.weights)
        named = self.losses or self.codebooks or self.bad_component or self.bad_module
        return self.gated or bool(named) or any(value is not None for value in told)

    @once
    def headline(self) -> float | None:
        """The loss that stands for the run; None without any."""
        name = self.headline_name
        return None if self.losses is None or name is None else self.losses[name]

    @once
    def headline_name(self) -> str | None:
        """The component that `headline` reads."""
        if self.stands and self.losses and self.stands in self.losses:
            return self.stands
        return headline(self.losses) if self.losses else None

    @property
    def whole(self) -> bool:
        """The headline is the whole loss, or stands for it: not just the first component."""
        return self.headline_name in HEADLINES or (
            bool(self.stands) and self.headline_name == self.stands
        )

    @once
    def zero_loss(self) -> bool:
        """The loss is exactly 0, and honestly so. Without `total` or `loss` every component must be.

        (A discriminator that starts late may be the first component, at 0 for good reason.)
        """
        if not self.losses or self.disguised:
            return False
        if self.headline_name in HEADLINES:
            return self.headline == 0.0
        return all(value == 0.0 for value in self.losses.values())

    @once
    def bad_loss(self) -> str | None:
        """The first loss component that is not finite, or that hides a NaN; None when all are sound.

        A logger that filters NaN out of its average prints 0.0 beside a gradient norm of NaN (Hugging Face
        Trainer's `logging_nan_inf_filter`): that zero is a NaN in disguise.
        """
        for name, value in (self.losses or {}).items():
            if not math.isfinite(value):
                return name
        return self.headline_name if self.disguised else None

    @property
    def bad_gradient(self) -> bool:
        """The gradient norm was reported and is not finite."""
        return self.gradient_norm is not None and not math.isfinite(self.gradient_norm)

    @once
    def disguised(self) -> bool:
        """A loss of exactly 0.0 beside a gradient norm of NaN."""
        norm = self.gradient_norm
        return norm is not None and math.isnan(norm) and self.headline == 0.0


def from_fields(fields: Mapping[str, Any]) -> StepSample:
    """A sample of fields that its maker vouches for, at a twentieth of the constructor's cost: a file holds 100,000.

    What is not among them reads as its default, from the class.
    """
    sample = object.__new__(StepSample)
    vars(sample).update(fields)
    return sample


_REPORTED: Final = tuple(field.name for field in dataclasses.fields(Report))


def from_datagram(datagram: Datagram, now: float) -> StepSample:
    """A rank's datagram that arrived at monotonic time `now`."""
    reported = {name: getattr(datagram, name) for name in _REPORTED}
    place = (datagram.time, now, datagram.rank, datagram.step, Source.REPORTER, datagram.phase)
    return StepSample(*place, **reported)
