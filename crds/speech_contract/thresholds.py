"""Thresholds of the health rules: `spec.health`, with defaults. Read by speech_health, carried by the run config.

Ratios are strings, as every non-integer in the API ("0.01"): a float's text form differs between writers.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

from speech_contract.checks import check_at_least, check_number
from speech_contract.codec import camel
from speech_contract.errors import ContractError

_FORBID: dict[str, Any] = {"extra": "forbid", "alias_generator": camel, "populate_by_name": True}


class HealthMode(str, enum.Enum):
    """Enforce acts; Notify judges and says what it would have done; Off does not judge."""

    ENFORCE = "Enforce"
    NOTIFY = "Notify"
    OFF = "Off"


class OnExceeded(str, enum.Enum):
    """What a rule does when its threshold is passed. Rollback is for nonFinite alone."""

    WARN = "Warn"
    ROLLBACK = "Rollback"
    RESTART = "Restart"
    STOP = "Stop"


def _only(owner: Any, *allowed: OnExceeded) -> None:
    if owner.on_exceeded not in allowed:
        choices = ", ".join(choice.value for choice in allowed)
        value = owner.on_exceeded.value
        raise ContractError(
            "onExceeded", value, "is no action of this rule", f"use one of {choices}"
        )


@dataclasses.dataclass(frozen=True)
class NonFinite:
    """Loss component or gradient norm not finite. Gated off and forgiven are `skip_budget` bad steps in a row, and
    in the last `window_steps` as many, or one per cent of them when that is more; beyond either the run rolls back."""

    __pydantic_config__ = _FORBID
    skip_budget: int = 3
    window_steps: int = 200
    confirm_steps: int = 100  # finite steps after a save until the checkpoint counts as confirmed
    max_rollbacks: int = 2
    on_exceeded: OnExceeded = OnExceeded.ROLLBACK

    def __post_init__(self) -> None:
        check_at_least(self, 0, "skip_budget", "max_rollbacks")
        check_at_least(self, 1, "window_steps", "confirm_steps")
        _only(self, OnExceeded.WARN, OnExceeded.ROLLBACK, OnExceeded.STOP)


@dataclasses.dataclass(frozen=True)
class ZeroLoss:
    """Loss exactly 0 in `for_steps` reports that carry a loss, while steps advance."""

    __pydantic_config__ = _FORBID
    for_steps: int = 20
    on_exceeded: OnExceeded = OnExceeded.STOP

    def __post_init__(self) -> None:
        check_at_least(self, 1, "for_steps")
        _only(self, OnExceeded.WARN, OnExceeded.STOP)


@dataclasses.dataclass(frozen=True)
class NoGradient:
    """Gradient norm exactly 0 for `for_updates` reports with lr > 0, or a module without gradient in all of
    the first `first_steps` steps."""

    __pydantic_config__ = _FORBID
    for_updates: int = 2
    first_steps: int = 3
    on_exceeded: OnExceeded = OnExceeded.STOP

    def __post_init__(self) -> None:
        check_at_least(self, 1, "for_updates", "first_steps")
        _only(self, OnExceeded.WARN, OnExceeded.STOP)


@dataclasses.dataclass(frozen=True)
class SkippedSamples:
    """Share of samples that the loader had to replace, over the last `window_samples`; and in a row at start."""

    __pydantic_config__ = _FORBID
    warn_ratio: str = "0.01"
    max_ratio: str = "0.05"
    window_samples: int = 1000
    in_a_row_at_start: int = 8
    on_exceeded: OnExceeded = OnExceeded.STOP

    def __post_init__(self) -> None:
        warn = check_number("warnRatio", self.warn_ratio, above=0.0, most=1.0)
        top = check_number("maxRatio", self.max_ratio, above=0.0, most=1.0)
        if warn > top:
            raise ContractError(
                "warnRatio", self.warn_ratio, "is above maxRatio", "write warnRatio ≤ maxRatio"
            )
        check_at_least(self, 1, "window_samples", "in_a_row_at_start")
        _only(self, OnExceeded.WARN, OnExceeded.STOP)


@dataclasses.dataclass(frozen=True)
class Stall:
    """No step for max(`step_multiplier` × learned step time, `floor_seconds`); start-up has its own budget."""

    __pydantic_config__ = _FORBID
    step_multiplier: int = 3
    floor_seconds: int = 60
    startup_seconds: int = 1800
    on_exceeded: OnExceeded = OnExceeded.RESTART

    def __post_init__(self) -> None:
        check_at_least(self, 1, "step_multiplier", "floor_seconds", "startup_seconds")
        _only(self, OnExceeded.WARN, OnExceeded.RESTART, OnExceeded.STOP)


@dataclasses.dataclass(frozen=True)
class Telemetry:
    """No sample at all for `missing_seconds`; registered ranks whose samples stop for `stale_seconds`."""

    __pydantic_config__ = _FORBID
    missing_seconds: int = 300
    stale_seconds: int = 120
    on_exceeded: OnExceeded = OnExceeded.WARN

    def __post_init__(self) -> None:
        check_at_least(self, 1, "missing_seconds", "stale_seconds")
        _only(self, OnExceeded.WARN)


@dataclasses.dataclass(frozen=True)
class _Spike:
    """A series far above its own running baseline: `z_score` robust deviations and `factor` times the median,
    for `for_steps` steps in a row; not healed `window_steps` after its first step → `on_exceeded`."""

    z_score: str = "6"
    factor: str = "2.5"
    for_steps: int = 10
    window_steps: int = 80
    on_exceeded: OnExceeded = OnExceeded.RESTART

    def __post_init__(self) -> None:
        check_number("zScore", self.z_score, above=0.0)
        check_number("factor", self.factor, above=1.0)
        check_at_least(self, 1, "for_steps", "window_steps")
        if self.window_steps < self.for_steps:
            raise ContractError(
                "windowSteps",
                self.window_steps,
                "is below forSteps",
                "write windowSteps ≥ forSteps",
            )
        _only(self, OnExceeded.WARN, OnExceeded.RESTART)


@dataclasses.dataclass(frozen=True)
class LossSpike(_Spike):
    """The headline loss. `window_steps` is below nonFinite.confirmSteps on purpose: no checkpoint saved after
    the first high step is confirmed before the attempt ends."""

    __pydantic_config__ = _FORBID


@dataclasses.dataclass(frozen=True)
class GradientSpike(_Spike):
    """The gradient norm. It may change its level for good reasons while the loss falls: a warning by default."""

    __pydantic_config__ = _FORBID
    factor: str = "10"
    on_exceeded: OnExceeded = OnExceeded.WARN


@dataclasses.dataclass(frozen=True)
class ConstantComponent:
    """A loss component that repeats one value other than 0, bit by bit, in `for_reports` reports in a row
    while something else in the report changes."""

    __pydantic_config__ = _FORBID
    for_reports: int = 20
    on_exceeded: OnExceeded = OnExceeded.WARN

    def __post_init__(self) -> None:
        check_at_least(self, 2, "for_reports")
        _only(self, OnExceeded.WARN, OnExceeded.STOP)


@dataclasses.dataclass(frozen=True)
class NotUpdating:
    """Weights bit-identical in two checkpoints with at least `min_updates` updates between; or, as a warning, planned
    learning rates that add up to less than `min_rate_sum` (a hundredth of it when a pretrained model is adapted)."""

    __pydantic_config__ = _FORBID
    min_updates: int = 10
    min_rate_sum: str = "0.02"
    on_exceeded: OnExceeded = OnExceeded.STOP

    def __post_init__(self) -> None:
        check_at_least(self, 1, "min_updates")
        check_number("minRateSum", self.min_rate_sum, above=0.0)
        _only(self, OnExceeded.WARN, OnExceeded.STOP)


@dataclasses.dataclass(frozen=True)
class ScheduleMismatch:
    """The learning rate off by more than `tolerance` of the planned one in `for_reports` reports in a row."""

    __pydantic_config__ = _FORBID
    tolerance: str = "0.01"
    for_reports: int = 5
    on_exceeded: OnExceeded = OnExceeded.WARN

    def __post_init__(self) -> None:
        check_number("tolerance", self.tolerance, above=0.0)
        check_at_least(self, 1, "for_reports")
        _only(self, OnExceeded.WARN, OnExceeded.STOP)


@dataclasses.dataclass(frozen=True)
class MemoryGrowth:
    """The ranks' memory on a host rising steadily over a window, by `share` of the room that is left."""

    __pydantic_config__ = _FORBID
    share: str = "0.2"
    window_seconds: int = 60
    on_exceeded: OnExceeded = OnExceeded.WARN

    def __post_init__(self) -> None:
        check_number("share", self.share, above=0.0)
        check_at_least(self, 30, "window_seconds")
        _only(self, OnExceeded.WARN)


@dataclasses.dataclass(frozen=True)
class CodebookCollapse:
    """Signs of a dying quantiser that last `for_steps` steps; `stop_levels` codebooks with a perplexity below
    `stop_perplexity` end the run. Steps count from a codebook's first report."""

    __pydantic_config__ = _FORBID
    min_perplexity_share: str = "0.1"
    max_dead_share: str = "0.8"
    min_movement: str = "0.001"
    max_residual_ratio: str = "1"
    grace_steps: int = 200
    after_steps: int = 1000
    for_steps: int = 20
    stop_perplexity: str = "2"
    stop_levels: int = 3
    on_exceeded: OnExceeded = OnExceeded.STOP

    def __post_init__(self) -> None:
        check_number("minPerplexityShare", self.min_perplexity_share, above=0.0, most=1.0)
        check_number("maxDeadShare", self.max_dead_share, above=0.0, most=1.0)
        check_number("minMovement", self.min_movement, above=0.0)
        check_number("maxResidualRatio", self.max_residual_ratio, above=0.0)
        check_number("stopPerplexity", self.stop_perplexity, above=1.0)
        check_at_least(self, 0, "grace_steps", "after_steps")
        check_at_least(self, 1, "for_steps", "stop_levels")
        _only(self, OnExceeded.WARN, OnExceeded.STOP)


@dataclasses.dataclass(frozen=True)
class Implausible:
    """More seconds of audio a second and rank than any machine trains on, in two windows in a row."""

    __pydantic_config__ = _FORBID
    max_real_time_factor: str = "20000"
    window_seconds: int = 10
    on_exceeded: OnExceeded = OnExceeded.STOP

    def __post_init__(self) -> None:
        check_number("maxRealTimeFactor", self.max_real_time_factor, above=0.0)
        check_at_least(self, 1, "window_seconds")
        _only(self, OnExceeded.WARN, OnExceeded.STOP)


@dataclasses.dataclass(frozen=True)
class GoalUnreachable:
    """Too many weights for the audio; or a held-out score that gets worse in `worsening_evaluations` evaluations in a
    row, by `worsening_ratio` of its best, while the loss falls."""

    __pydantic_config__ = _FORBID
    max_parameters_per_second: str = "100000"
    worsening_evaluations: int = 3
    worsening_ratio: str = "0.2"
    on_exceeded: OnExceeded = OnExceeded.WARN

    def __post_init__(self) -> None:
        check_number("maxParametersPerSecond", self.max_parameters_per_second, above=0.0)
        check_number("worseningRatio", self.worsening_ratio, above=0.0)
        check_at_least(self, 1, "worsening_evaluations")
        _only(self, OnExceeded.WARN)


@dataclasses.dataclass(frozen=True)
class RankDivergence:
    """One rank is off from its peers. Every `every_steps` steps, and before each checkpoint, the ranks compare
    weights and counters: those must be the same. Warnings alone: a rank's own gradient norm `gradient_factor`
    times above or below its peers', or peers that wait for it `wait_ratio` of a step longer than it waits, in
    `for_samples` samples in a row; a step counter `skew_steps` apart."""

    __pydantic_config__ = _FORBID
    every_steps: int = 100
    gradient_factor: str = "20"
    wait_ratio: str = "0.3"
    for_samples: int = 3
    skew_steps: int = 100
    on_exceeded: OnExceeded = OnExceeded.RESTART

    def __post_init__(self) -> None:
        check_number("gradientFactor", self.gradient_factor, above=1.0)
        check_number("waitRatio", self.wait_ratio, above=0.0, most=1.0)
        check_at_least(self, 1, "every_steps", "for_samples", "skew_steps")
        _only(self, OnExceeded.WARN, OnExceeded.RESTART)


@dataclasses.dataclass(frozen=True)
class Preflight:
    """Checks on the real model and real batches before step 1. `mode` here can only weaken `health.mode`; what takes
    longer than `timeout_seconds` is stopped and has failed."""

    __pydantic_config__ = _FORBID
    mode: HealthMode = HealthMode.ENFORCE
    timeout_seconds: int = 300

    def __post_init__(self) -> None:
        check_at_least(self, 1, "timeout_seconds")


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """`spec.health`."""

    __pydantic_config__ = _FORBID
    mode: HealthMode = HealthMode.ENFORCE
    non_finite: NonFinite = dataclasses.field(default_factory=NonFinite)
    zero_loss: ZeroLoss = dataclasses.field(default_factory=ZeroLoss)
    no_gradient: NoGradient = dataclasses.field(default_factory=NoGradient)
    skipped_samples: SkippedSamples = dataclasses.field(default_factory=SkippedSamples)
    constant_component: ConstantComponent = dataclasses.field(default_factory=ConstantComponent)
    loss_spike: LossSpike = dataclasses.field(default_factory=LossSpike)
    gradient_spike: GradientSpike = dataclasses.field(default_factory=GradientSpike)
    stall: Stall = dataclasses.field(default_factory=Stall)
    telemetry: Telemetry = dataclasses.field(default_factory=Telemetry)
    not_updating: NotUpdating = dataclasses.field(default_factory=NotUpdating)
    schedule_mismatch: ScheduleMismatch = dataclasses.field(default_factory=ScheduleMismatch)
    memory_growth: MemoryGrowth = dataclasses.field(default_factory=MemoryGrowth)
    codebook_collapse: CodebookCollapse = dataclasses.field(default_factory=CodebookCollapse)
    implausible: Implausible = dataclasses.field(default_factory=Implausible)
    goal_unreachable: GoalUnreachable = dataclasses.field(default_factory=GoalUnreachable)
    rank_divergence: RankDivergence = dataclasses.field(default_factory=RankDivergence)
    preflight: Preflight = dataclasses.field(default_factory=Preflight)

    @property
    def preflight_mode(self) -> HealthMode:
        """The weaker of `mode` and `preflight.mode`."""
        strength = list(HealthMode)
        return max(self.mode, self.preflight.mode, key=strength.index)
