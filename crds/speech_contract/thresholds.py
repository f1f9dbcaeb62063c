"""Thresholds of the health rules: `spec.health`, with defaults. Read by speech_health, carried by the run config.

Ratios are strings, as every non-integer in the API ("0.01"): a float's text form differs between writers.
"""

from __future__ import annotations

import dataclasses

from speech_contract.actions import HealthMode as HealthMode  # passed on: part of every section
from speech_contract.actions import OnExceeded as OnExceeded
from speech_contract.actions import only
from speech_contract.checks import check_at_least, check_number
from speech_contract.codec import FORBID
from speech_contract.course import GoalUnreachable as GoalUnreachable  # passed on
from speech_contract.course import Plateau, Slowdown
from speech_contract.errors import ContractError
from speech_contract.stated import MAX_PATTERNS, Expectation, LogPattern
from speech_contract.values import Value, frozen


@frozen
class NonFinite(Value):
    """Loss component or gradient norm not finite. Gated off and forgiven are `skip_budget` bad steps in a row, and
    in the last `window_steps` as many, or one per cent of them when that is more; beyond either the run rolls back."""

    __pydantic_config__ = FORBID
    skip_budget: int = 3
    """Bad steps in a row that are gated off and forgiven."""
    window_steps: int = 200
    """Last steps in which bad ones are counted."""
    confirm_steps: int = 100
    """Finite steps after a save until the checkpoint counts as confirmed."""
    bad_evaluations: int = 2
    """Evaluations in a row whose held-out loss is not finite, until it warns."""
    max_rollbacks: int = 2
    """Roll-backs within one attempt; the next one ends it. Of a script that saves by itself: new attempts."""
    on_exceeded: OnExceeded = OnExceeded.ROLLBACK

    def __post_init__(self) -> None:
        check_at_least(self, 0, "skip_budget", "max_rollbacks")
        check_at_least(self, 1, "window_steps", "confirm_steps", "bad_evaluations")
        only(self, OnExceeded.WARN, OnExceeded.ROLLBACK, OnExceeded.STOP)


@frozen
class ZeroLoss(Value):
    """Loss exactly 0 in `for_steps` reports that carry a loss, while steps advance."""

    __pydantic_config__ = FORBID
    for_steps: int = 20
    """Reports with a loss of exactly 0 until it fires."""
    on_exceeded: OnExceeded = OnExceeded.STOP

    def __post_init__(self) -> None:
        check_at_least(self, 1, "for_steps")
        only(self, OnExceeded.WARN, OnExceeded.STOP)


@frozen
class NoGradient(Value):
    """Gradient norm exactly 0 while the learning rate is not, or a module that never has a gradient."""

    __pydantic_config__ = FORBID
    for_updates: int = 2
    """Reports with a gradient norm of exactly 0 until it fires."""
    first_steps: int = 3
    """First steps within which every module must have had a gradient."""
    on_exceeded: OnExceeded = OnExceeded.STOP

    def __post_init__(self) -> None:
        check_at_least(self, 1, "for_updates", "first_steps")
        only(self, OnExceeded.WARN, OnExceeded.STOP)


@frozen
class SkippedSamples(Value):
    """Share of samples that the loader had to replace, over the last `window_samples`; and in a row at start."""

    __pydantic_config__ = FORBID
    warn_ratio: str = "0.01"
    """Share of replaced samples above which it warns, as a string."""
    max_ratio: str = "0.05"
    """Share of replaced samples above which it acts, as a string."""
    window_samples: int = 1000
    """Newest samples over which the share is taken."""
    in_a_row_at_start: int = 8
    """Bad samples in a row, at the start, that mean that nothing can be read."""
    on_exceeded: OnExceeded = OnExceeded.STOP

    def __post_init__(self) -> None:
        warn = check_number("warnRatio", self.warn_ratio, above=0.0, most=1.0)
        top = check_number("maxRatio", self.max_ratio, above=0.0, most=1.0)
        if warn > top:
            rule, remedy = "is above maxRatio", "write warnRatio ≤ maxRatio"
            raise ContractError("warnRatio", self.warn_ratio, rule, remedy)
        check_at_least(self, 1, "window_samples", "in_a_row_at_start")
        only(self, OnExceeded.WARN, OnExceeded.STOP)


@frozen
class Stall(Value):
    """No step for max(`step_multiplier` × learned step time, `floor_seconds`); start-up has its own budget."""

    __pydantic_config__ = FORBID
    step_multiplier: int = 3
    """Learned times of a step without a sign of life until it fires."""
    floor_seconds: int = 60
    """Never sooner than this many seconds."""
    startup_seconds: int = 1800
    """Seconds until the first step, and of the first pause of each kind."""
    on_exceeded: OnExceeded = OnExceeded.RESTART

    def __post_init__(self) -> None:
        check_at_least(self, 1, "step_multiplier", "floor_seconds", "startup_seconds")
        only(self, OnExceeded.WARN, OnExceeded.RESTART, OnExceeded.STOP)


@frozen
class NotStarting(Value):
    """Pods that do not start: no node for `scheduling_seconds`, or an image, volume or setting in the way."""

    __pydantic_config__ = FORBID
    scheduling_seconds: int = 600
    """Seconds until all pods have a node; the API server's refusals count as well."""
    pulling_seconds: int = 1200
    """Seconds from there until all run; two minutes where the kubelet says what is wrong."""
    on_exceeded: OnExceeded = OnExceeded.WARN

    def __post_init__(self) -> None:
        check_at_least(self, 1, "scheduling_seconds", "pulling_seconds")
        only(self, OnExceeded.WARN)


@frozen
class Telemetry(Value):
    """No sample at all for `missing_seconds`; registered ranks whose samples stop for `stale_seconds`."""

    __pydantic_config__ = FORBID
    missing_seconds: int = 300
    """Seconds without any sample until it warns."""
    stale_seconds: int = 120
    """Seconds since a rank's last sample until it warns."""
    on_exceeded: OnExceeded = OnExceeded.WARN

    def __post_init__(self) -> None:
        check_at_least(self, 1, "missing_seconds", "stale_seconds")
        only(self, OnExceeded.WARN)


@frozen
class _Spike(Value):
    """A series far above its own running baseline, by both `z_score` and `factor`, that does not heal."""

    z_score: str = "6"
    """Robust deviations above the baseline that count as high, as a string."""
    factor: str = "2.5"
    """Times the median that count as high, as a string."""
    for_steps: int = 10
    """High steps in a row until it warns."""
    window_steps: int = 80
    """Steps from the first high one within which it must heal."""
    on_exceeded: OnExceeded = OnExceeded.RESTART

    def __post_init__(self) -> None:
        check_number("zScore", self.z_score, above=0.0)
        check_number("factor", self.factor, above=1.0)
        check_at_least(self, 1, "for_steps", "window_steps")
        if self.window_steps < self.for_steps:
            rule, remedy = "is below forSteps", "write windowSteps ≥ forSteps"
            raise ContractError("windowSteps", self.window_steps, rule, remedy)
        only(self, OnExceeded.WARN, OnExceeded.RESTART)


@frozen
class LossSpike(_Spike):
    """The headline loss. `window_steps` is below nonFinite.confirmSteps on purpose: no checkpoint saved after
    the first high step is confirmed before the attempt ends."""

    __pydantic_config__ = FORBID


@frozen
class GradientSpike(_Spike):
    """The gradient norm. It may change its level for good reasons while the loss falls: a warning by default."""

    __pydantic_config__ = FORBID
    factor: str = "10"
    on_exceeded: OnExceeded = OnExceeded.WARN


@frozen
class ConstantComponent(Value):
    """A loss component that repeats one value other than 0, bit by bit, while something else changes."""

    __pydantic_config__ = FORBID
    for_reports: int = 20
    """Equal values in a row until it fires."""
    on_exceeded: OnExceeded = OnExceeded.WARN

    def __post_init__(self) -> None:
        check_at_least(self, 2, "for_reports")
        only(self, OnExceeded.WARN, OnExceeded.STOP)


@frozen
class NotUpdating(Value):
    """Weights bit-identical in two checkpoints; or, as a warning, a rate of 0, planned learning rates that add up to
    nothing, or a held-out loss that is the same to the bit."""

    __pydantic_config__ = FORBID
    min_updates: int = 10
    """Updates between two checkpoints from which on equal weights count."""
    min_rate_sum: str = "0.02"
    """Least sum of planned learning rates, as a string; a hundredth of it for a pretrained model."""
    zero_rate_reports: int = 20
    """Reports in a row with a learning rate of exactly 0 until it warns; three times as many before it was above 0."""
    equal_evaluations: int = 4
    """Evaluations in a row with a held-out loss that is the same to the bit, until it warns."""
    on_exceeded: OnExceeded = OnExceeded.STOP

    def __post_init__(self) -> None:
        check_at_least(self, 1, "min_updates", "zero_rate_reports")
        check_at_least(self, 2, "equal_evaluations")
        check_number("minRateSum", self.min_rate_sum, above=0.0)
        only(self, OnExceeded.WARN, OnExceeded.STOP)


@frozen
class ScheduleMismatch(Value):
    """The learning rate off by more than `tolerance` of the planned one in `for_reports` reports in a row."""

    __pydantic_config__ = FORBID
    tolerance: str = "0.01"
    """Allowed share of the planned rate, as a string."""
    for_reports: int = 5
    """Reports off the plan in a row until it fires."""
    on_exceeded: OnExceeded = OnExceeded.WARN

    def __post_init__(self) -> None:
        check_number("tolerance", self.tolerance, above=0.0)
        check_at_least(self, 1, "for_reports")
        only(self, OnExceeded.WARN, OnExceeded.STOP)


@frozen
class MemoryGrowth(Value):
    """The ranks' memory on a host rising steadily over a window, by `share` of the room that is left."""

    __pydantic_config__ = FORBID
    share: str = "0.2"
    """Share of the room left that growth may take within the window, as a string."""
    window_seconds: int = 60
    """Seconds of steady growth until it warns."""
    on_exceeded: OnExceeded = OnExceeded.WARN

    def __post_init__(self) -> None:
        check_number("share", self.share, above=0.0)
        check_at_least(self, 30, "window_seconds")
        only(self, OnExceeded.WARN)


@frozen
class CodebookCollapse(Value):
    """Signs of a dying quantiser that last; steps count from a codebook's first report."""

    __pydantic_config__ = FORBID
    min_perplexity_share: str = "0.1"
    """Least perplexity, as a share of the codes, as a string."""
    max_dead_share: str = "0.8"
    """Largest share of codes that nothing uses, as a string."""
    min_movement: str = "0.001"
    """Least relative change of a codebook early in a run, as a string."""
    max_residual_ratio: str = "1"
    """Largest norm of what a level leaves, over what it got, as a string."""
    grace_steps: int = 200
    """Steps from a codebook's first report in which only its movement is judged."""
    after_steps: int = 1000
    """Steps from the first report until perplexity and dead codes are judged in full."""
    for_steps: int = 20
    """Steps that a sign must last."""
    stop_perplexity: str = "2"
    """Perplexity below which a level counts as collapsed, as a string."""
    stop_levels: int = 3
    """Collapsed levels that end the run."""
    on_exceeded: OnExceeded = OnExceeded.STOP

    def __post_init__(self) -> None:
        check_number("minPerplexityShare", self.min_perplexity_share, above=0.0, most=1.0)
        check_number("maxDeadShare", self.max_dead_share, above=0.0, most=1.0)
        check_number("minMovement", self.min_movement, above=0.0)
        check_number("maxResidualRatio", self.max_residual_ratio, above=0.0)
        check_number("stopPerplexity", self.stop_perplexity, above=1.0)
        check_at_least(self, 0, "grace_steps", "after_steps")
        check_at_least(self, 1, "for_steps", "stop_levels")
        only(self, OnExceeded.WARN, OnExceeded.STOP)


@frozen
class Implausible(Value):
    """More seconds of audio a second and rank than any machine trains on, in two windows in a row."""

    __pydantic_config__ = FORBID
    max_real_time_factor: str = "20000"
    """Seconds of audio a second and rank, at most, as a string."""
    window_seconds: int = 10
    """Length in seconds of each of the two windows."""
    on_exceeded: OnExceeded = OnExceeded.STOP

    def __post_init__(self) -> None:
        check_number("maxRealTimeFactor", self.max_real_time_factor, above=0.0)
        check_at_least(self, 1, "window_seconds")
        only(self, OnExceeded.WARN, OnExceeded.STOP)


@frozen
class RankDivergence(Value):
    """One rank is off from its peers: in weights or counters; or, as a warning, in norm, pace or step."""

    __pydantic_config__ = FORBID
    every_steps: int = 100
    """Steps between two comparisons of weights and counters, made before each checkpoint too."""
    gradient_factor: str = "20"
    """Times the peers' gradient norm, up or down, as a string."""
    wait_ratio: str = "0.3"
    """Share of a step that peers wait for a rank, as a string."""
    for_samples: int = 3
    """Samples in a row until one of the warnings is given."""
    skew_steps: int = 100
    """Steps that the counters of two ranks may be apart."""
    on_exceeded: OnExceeded = OnExceeded.RESTART

    def __post_init__(self) -> None:
        check_number("gradientFactor", self.gradient_factor, above=1.0)
        check_number("waitRatio", self.wait_ratio, above=0.0, most=1.0)
        check_at_least(self, 1, "every_steps", "for_samples", "skew_steps")
        only(self, OnExceeded.WARN, OnExceeded.RESTART)


@frozen
class Preflight(Value):
    """Checks on the real model and real batches before step 1."""

    __pydantic_config__ = FORBID
    mode: HealthMode = HealthMode.ENFORCE
    """Can weaken `health.mode` for these checks, never strengthen it."""
    timeout_seconds: int = 300
    """Seconds after which the preflight is stopped and has failed."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "timeout_seconds")


@frozen
class Thresholds(Value):
    """Rules that watch the run, each with its thresholds."""

    __pydantic_config__ = FORBID
    mode: HealthMode = HealthMode.ENFORCE
    """Enforce acts; Notify says what it would have done; Off does not judge."""
    non_finite: NonFinite = dataclasses.field(default_factory=NonFinite)
    zero_loss: ZeroLoss = dataclasses.field(default_factory=ZeroLoss)
    no_gradient: NoGradient = dataclasses.field(default_factory=NoGradient)
    skipped_samples: SkippedSamples = dataclasses.field(default_factory=SkippedSamples)
    constant_component: ConstantComponent = dataclasses.field(default_factory=ConstantComponent)
    loss_spike: LossSpike = dataclasses.field(default_factory=LossSpike)
    gradient_spike: GradientSpike = dataclasses.field(default_factory=GradientSpike)
    stall: Stall = dataclasses.field(default_factory=Stall)
    not_starting: NotStarting = dataclasses.field(default_factory=NotStarting)
    telemetry: Telemetry = dataclasses.field(default_factory=Telemetry)
    not_updating: NotUpdating = dataclasses.field(default_factory=NotUpdating)
    schedule_mismatch: ScheduleMismatch = dataclasses.field(default_factory=ScheduleMismatch)
    memory_growth: MemoryGrowth = dataclasses.field(default_factory=MemoryGrowth)
    codebook_collapse: CodebookCollapse = dataclasses.field(default_factory=CodebookCollapse)
    implausible: Implausible = dataclasses.field(default_factory=Implausible)
    goal_unreachable: GoalUnreachable = dataclasses.field(default_factory=GoalUnreachable)
    plateau: Plateau = dataclasses.field(default_factory=Plateau)
    slowdown: Slowdown = dataclasses.field(default_factory=Slowdown)
    rank_divergence: RankDivergence = dataclasses.field(default_factory=RankDivergence)
    expect: dict[str, Expectation] = dataclasses.field(default_factory=dict)
    """Loss component → the range that it must keep; names match without case, signs and the word loss."""
    log_patterns: tuple[LogPattern, ...] = ()
    """Lines of the script's output that are a finding."""
    preflight: Preflight = dataclasses.field(default_factory=Preflight)

    def __post_init__(self) -> None:
        names = [pattern.name for pattern in self.log_patterns]
        if len(set(names)) < len(names):
            raise ContractError("logPatterns", names, "name one twice", "give each its own name")
        if len(names) > MAX_PATTERNS:
            rule, remedy = f"are more than {MAX_PATTERNS}", "join some by |"
            raise ContractError("logPatterns", len(names), rule, remedy)

    @property
    def preflight_mode(self) -> HealthMode:
        """The weaker of `mode` and `preflight.mode`."""
        strength = list(HealthMode)
        return max(self.mode, self.preflight.mode, key=strength.index)
