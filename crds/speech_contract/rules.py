"""The health rules, a record each: whatever else says something of a rule derives from here.

`speech_health.monitor` builds the detectors, the supervisor reads which rule is behind an exit code, the operator
takes the remedy, the CRD the names, `docs/generate.py` writes the tables. Thresholds stand in `thresholds`.
"""

from __future__ import annotations

import enum

from speech_contract.exit_codes import (
    EXIT_DIVERGED,
    EXIT_DO_NOT_CONTINUE,
    EXIT_NON_FINITE,
    EXIT_NOT_LEARNING,
    EXIT_PREFLIGHT,
    EXIT_RANK_DISAGREES,
    EXIT_SKIP_BUDGET,
    EXIT_STALLED,
)
from speech_contract.values import Value, frozen


class Severity(str, enum.Enum):
    """How much a finding matters. Order: info < warning < critical."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@frozen
class Record(Value):
    """One rule; its page is docs/rules/<name>.md. Its sentences stand in tables, status and logs: no full stop."""

    meaning: str  # what it fires on
    follows: str  # under default thresholds
    remedy: str  # what to do, shown with every finding
    detector: str = ""  # `module:Class` in speech_health; "": the operator judges
    section: str = ""  # field of `thresholds.Thresholds`; several rules may share one
    exit_code: int | None = None  # of an attempt that ends for it; None: it only warns
    trainer_ends: bool = (
        False  # our trainer exits with that code by itself, maybe before any report told why
    )
    blind: bool = False  # while it is active nobody can say how the run is
    gives_way_to: tuple[str, ...] = ()  # rules that tell of the same cause: one cause pages once

    @property
    def severity(self) -> Severity:
        """The worst that it can get."""
        return Severity.WARNING if self.exit_code is None else Severity.CRITICAL


class Rule(str, enum.Enum):
    """Health rules; the same words in status, events, metrics, logs, CLI and docs."""

    _value_: str
    record: Record

    def __new__(cls, value: str, record: Record) -> Rule:
        """The member is its name; the record hangs on it."""
        member = str.__new__(cls, value)
        member._value_, member.record = value, record
        return member

    NON_FINITE = (
        "NonFinite",
        Record(
            detector="non_finite:NonFinite",
            section="non_finite",
            exit_code=EXIT_NON_FINITE,
            trainer_ends=True,
            meaning="a loss component or a gradient norm is NaN or infinite; also a loss of exactly 0 "
            "beside a NaN norm, and a held-out loss",
            follows="the update is gated off; over budget: back to the last confirmed checkpoint and "
            "past that data; then exit 40",
            remedy="lower the learning rate or mend the batch that the evidence names; look for log(0), "
            "a division by zero or fp16 where bf16 or fp32 is needed",
        ),
    )
    ZERO_LOSS = (
        "ZeroLoss",
        Record(
            detector="zero_loss:ZeroLoss",
            section="zero_loss",
            exit_code=EXIT_NOT_LEARNING,
            gives_way_to=("NonFinite",),
            meaning="a loss of exactly 0 in 20 reports, or in every report of a script that ended",
            follows="stop, exit 41",
            remedy="look for a swallowed exception (except: continue), a loss that is never added up, "
            "or labels that are all masked",
        ),
    )
    NO_GRADIENT = (
        "NoGradient",
        Record(
            detector="no_gradient:NoGradient",
            section="no_gradient",
            exit_code=EXIT_NOT_LEARNING,
            gives_way_to=("NonFinite",),
            meaning="a gradient norm of exactly 0, or a module that gets no gradient in the first steps",
            follows="stop, exit 41",
            remedy="look for a missing backward(), a detached loss, a frozen module, or an objective "
            "that does not reach the named modules",
        ),
    )
    SKIPPED_SAMPLES = (
        "SkippedSamples",
        Record(
            detector="skipped_samples:SkippedSamples",
            section="skipped_samples",
            exit_code=EXIT_SKIP_BUDGET,
            trainer_ends=True,
            meaning="more samples had to be replaced than the budget allows",
            follows="warning, then stop with 42",
            remedy="mend or remove the files listed in quarantine.jsonl, or raise "
            "health.skippedSamples.maxRatio",
        ),
    )
    CONSTANT_COMPONENT = (
        "ConstantComponent",
        Record(
            detector="constant_component:ConstantComponent",
            section="constant_component",
            exit_code=EXIT_NOT_LEARNING,
            gives_way_to=("NonFinite",),
            meaning="a loss component repeats one value for 20 reports while the rest changes",
            follows="warning",
            remedy="look for a clamp, min(), max() or free bits round the named component: beyond the "
            "bound it has no gradient",
        ),
    )
    LOSS_SPIKE = (
        "LossSpike",
        Record(
            detector="spike:LossSpike",
            section="loss_spike",
            exit_code=EXIT_NON_FINITE,
            gives_way_to=("NonFinite",),
            meaning="the loss stands 2.5 times and 6 robust deviations above its running median, for 10 "
            "steps; or it rose as much within the first reports and stayed there",
            follows="warning; not healed in 80 steps: exit 40, restart from the last confirmed checkpoint",
            remedy="lower the learning rate or lengthen the warm-up; look at the data of the first high "
            "step; if the task got harder on purpose, raise health.lossSpike.factor",
        ),
    )
    GRADIENT_SPIKE = (
        "GradientSpike",
        Record(
            detector="spike:GradientSpike",
            section="gradient_spike",
            exit_code=EXIT_NON_FINITE,
            gives_way_to=(
                "NonFinite",
                "LossSpike",
            ),
            meaning="the same for the gradient norm, at 10 times its median",
            follows="warning",
            remedy="clip the gradient, or lower the learning rate; look at the data of the first high "
            "step",
        ),
    )
    STALLED = (
        "Stalled",
        Record(
            detector="stalled:Stalled",
            section="stall",
            exit_code=EXIT_STALLED,
            meaning="no step for three times the usual step time, at least a minute",
            follows="Python stacks are taken, restart with 45",
            remedy="read the Python stacks of the named rank; raise health.stall.floorSeconds if steps "
            "are that long, or report.phase() around long pauses",
        ),
    )
    TELEMETRY_MISSING = (
        "TelemetryMissing",
        Record(
            detector="telemetry:TelemetryMissing",
            section="telemetry",
            blind=True,
            gives_way_to=("Stalled",),
            meaning="never a number, though the script runs",
            follows="warning; health is `Unknown`",
            remedy="call speech_telemetry.reporter from the script, or print a line such as 'step 12 "
            "loss=0.5', unbuffered",
        ),
    )
    TELEMETRY_STALE = (
        "TelemetryStale",
        Record(
            detector="telemetry:TelemetryStale",
            section="telemetry",
            blind=True,
            gives_way_to=("Stalled",),
            meaning="numbers stopped, though the rank lives",
            follows="warning; health is `Unknown`",
            remedy="the rank lives but no longer reports: look for an exception around the report, or a "
            "full socket (dropped datagrams)",
        ),
    )
    TELEMETRY_UNREACHABLE = (
        "TelemetryUnreachable",
        Record(
            blind=True,
            meaning="the supervisor gives no answer",
            follows="warning; health is `Unknown`",
            remedy="see whether the master's node and network are there, and read its log",
        ),
    )
    NOT_STARTING = (
        "NotStarting",
        Record(
            section="not_starting",
            blind=True,
            meaning="pods of an attempt do not start: no node, no quota, an image, a volume or a setting",
            follows="warning; health is `Unknown`",
            remedy="mend what the sentence names; it comes from the API server, the scheduler or the kubelet, "
            "which try again by themselves",
        ),
    )
    NOT_UPDATING = (
        "NotUpdating",
        Record(
            detector="not_updating:NotUpdating",
            section="not_updating",
            exit_code=EXIT_NOT_LEARNING,
            gives_way_to=(
                "ZeroLoss",
                "NoGradient",
            ),
            meaning="two checkpoints, or four held-out losses, are bit-identical though updates were "
            "committed; the learning rate is 0 while steps go on, or the planned ones add up to "
            "next to nothing",
            follows="stop, exit 41; warning",
            remedy="look for parameters that the optimizer does not hold, weights kept in bf16, or a "
            "learning rate too small to move them; train longer or raise the rate",
        ),
    )
    SCHEDULE_MISMATCH = (
        "ScheduleMismatch",
        Record(
            detector="schedule_mismatch:ScheduleMismatch",
            section="schedule_mismatch",
            exit_code=EXIT_NOT_LEARNING,
            meaning="the learning rate is off its plan by more than 1 % in 5 reports",
            follows="warning",
            remedy="look for code that sets the optimizer's lr, a schedule stepped twice or never, or a "
            "checkpoint that restored another one; if the rate adapts on purpose, report no plan",
        ),
    )
    MEMORY_GROWTH = (
        "MemoryGrowth",
        Record(
            detector="memory_growth:MemoryGrowth",
            section="memory_growth",
            meaning="the ranks' memory on a host rises steadily and will be used up before the run ends",
            follows="warning with the time that is left",
            remedy="look for losses that are kept with their graph (use .detach() or .item()), lists "
            "that grow with every batch, and caches without a bound; or raise the memory limit",
        ),
    )
    CODEBOOK_COLLAPSE = (
        "CodebookCollapse",
        Record(
            detector="codebook_collapse:CodebookCollapse",
            section="codebook_collapse",
            exit_code=EXIT_DIVERGED,
            meaning="a codec's codebook uses few codes, stands still, or adds to the residual; three of "
            "them at a perplexity below 2",
            follows="warning; stop, exit 43",
            remedy="start the codebooks by k-means on real latents, revive dead codes, take the moving "
            "averages of the residual, and let the commitment loss reach the encoder; lower the "
            "learning rate",
        ),
    )
    IMPLAUSIBLE = (
        "Implausible",
        Record(
            detector="implausible:Implausible",
            section="implausible",
            exit_code=EXIT_NOT_LEARNING,
            meaning="more audio a second, or more updates, than any machine can train",
            follows="stop, exit 41",
            remedy="look for batches that are dropped in silence (except: continue), an empty loop over "
            "the data, or counters that count too much; or raise "
            "health.implausible.maxRealTimeFactor",
        ),
    )
    GOAL_UNREACHABLE = (
        "GoalUnreachable",
        Record(
            detector="goal_unreachable:GoalUnreachable",
            section="goal_unreachable",
            meaning="far more weights than the audio can pin down, an epoch of a few steps, a handful of "
            "held-out samples, a fidelity beyond the bit rate, a held-out score that gets worse while the "
            "loss falls, or a loss far below the same one held out",
            follows="warning",
            remedy="start from a pretrained model, collect more audio or take a smaller model or batch; "
            "hold more out; set a goal below the bound; where the held-out score falls behind, mend the objective or "
            "stop at the best checkpoint",
        ),
    )
    PLATEAU = (
        "Plateau",
        Record(
            detector="plateau:Plateau",
            section="plateau",
            gives_way_to=(
                "NonFinite",
                "ZeroLoss",
                "NoGradient",
                "ConstantComponent",
                "LossSpike",
                "NotUpdating",
                "Implausible",
            ),
            meaning="the loss was flat over half of the run and 200 reports, or since its start; at the "
            "level of a guess among a known number of classes it was never learned",
            follows="information; warning at the level of a guess",
            remedy="if it is good enough, stop here; else lower the learning rate, take more or other "
            "data or a larger model; one that never learned: look whether inputs and labels "
            "belong together, and at the learning rate",
        ),
    )
    SLOWDOWN = (
        "Slowdown",
        Record(
            detector="slowdown:Slowdown",
            section="slowdown",
            gives_way_to=("Stalled", "RankDivergence"),
            meaning="a step takes three times as long as it used to, over 50 reports",
            follows="warning",
            remedy="look at the waiting time for data, at clocks and temperature of the GPU, at who else "
            "uses the node, and at lists that grow; if the task got larger on purpose, raise "
            "health.slowdown.factor",
        ),
    )
    RANK_DIVERGENCE = (
        "RankDivergence",
        Record(
            detector="rank_divergence:RankDivergence",
            section="rank_divergence",
            exit_code=EXIT_RANK_DISAGREES,
            meaning="one rank's weights, step counter, own gradient or pace is off from its peers",
            follows="different weights or counters: restart, exit 46, the node is left out; else a "
            "warning",
            remedy="test the GPU memory and the network of the named node; if it comes back on another "
            "node, look for an update that differs between ranks; a slow rank: look at its "
            "node's clocks and data path",
        ),
    )
    EXPECTATION = (
        "Expectation",
        Record(
            detector="expectation:Expectation",
            section="expect",
            exit_code=EXIT_DIVERGED,
            gives_way_to=("NonFinite",),
            meaning="a loss component leaves the range that health.expect states for it",
            follows="warning; or stop, exit 43, where it says so",
            remedy="look at what changed at the step that is named; if the range was a guess, correct "
            "health.expect",
        ),
    )
    LOG_PATTERN = (
        "LogPattern",
        Record(
            detector="log_pattern:LogPattern",
            section="log_patterns",
            exit_code=EXIT_DO_NOT_CONTINUE,
            meaning="the script prints a line that health.logPatterns describes",
            follows="what the pattern says: its severity; restart, exit 1; or stop, exit 17",
            remedy="read the line that the evidence quotes, in the log of its rank",
        ),
    )
    PREFLIGHT = (
        "Preflight",
        Record(
            detector="preflight:Preflight",
            section="preflight",
            exit_code=EXIT_PREFLIGHT,
            meaning="a check before the first step failed",
            follows="exit 44",
            remedy="mend what the evidence names; `speechtrain preflight FILE` shows every check, on a "
            "laptop too",
        ),
    )


def rules_of(exit_code: int) -> list[Rule]:
    """The rules that end an attempt with this code."""
    return [rule for rule in Rule if rule.record.exit_code == exit_code]
