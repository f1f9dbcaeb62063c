"""Thresholds of the rules about how a run comes along, whatever it trains. Members of `thresholds.Thresholds`."""

from __future__ import annotations

from speech_contract.actions import OnExceeded, only
from speech_contract.checks import check_at_least, check_number
from speech_contract.codec import FORBID
from speech_contract.values import Value, frozen


@frozen
class Plateau(Value):
    """The loss no longer falls, or never did. Told as information; a warning at the level of a blind guess."""

    __pydantic_config__ = FORBID
    for_reports: int = 200
    """Reports, and half of the run, over which the loss must be flat."""
    on_exceeded: OnExceeded = OnExceeded.WARN

    def __post_init__(self) -> None:
        check_at_least(self, 16, "for_reports")
        only(self, OnExceeded.WARN)


@frozen
class Slowdown(Value):
    """Steps that take `factor` times as long as they used to, for `for_reports` reports."""

    __pydantic_config__ = FORBID
    factor: str = "3"
    """Times the usual time of a step that count as slow, as a string."""
    for_reports: int = 50
    """Newest reports of which nine in ten must be slow until it warns."""
    on_exceeded: OnExceeded = OnExceeded.WARN

    def __post_init__(self) -> None:
        check_number("factor", self.factor, above=1.0)
        check_at_least(self, 2, "for_reports")
        only(self, OnExceeded.WARN)


@frozen
class GoalUnreachable(Value):
    """Too little data for the model, the batch or the scores; or a held-out score that worsens while the loss falls."""

    __pydantic_config__ = FORBID
    max_parameters_per_second: str = "100000"
    """Weights for each second of training audio, at most, as a string."""
    min_epoch_steps: int = 4
    """Steps of one pass over the data, at least."""
    min_held_out: int = 4
    """Samples that held-out scores are taken from, at least, where there are any."""
    worsening_evaluations: int = 3
    """Worse evaluations in a row until it warns."""
    worsening_ratio: str = "0.2"
    """Worsening against the best score that counts, as a share and a string."""
    on_exceeded: OnExceeded = OnExceeded.WARN

    def __post_init__(self) -> None:
        check_number("maxParametersPerSecond", self.max_parameters_per_second, above=0.0)
        check_number("worseningRatio", self.worsening_ratio, above=0.0)
        check_at_least(self, 1, "worsening_evaluations", "min_epoch_steps", "min_held_out")
        only(self, OnExceeded.WARN)
