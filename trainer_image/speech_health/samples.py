"""What a detector sees: one report of one rank, from the reporter or read off stdout.

Built by the supervisor (`from_datagram`, `StdoutReader`) and by replay; read by every rule and the exporter.
A value that was not reported is None: never zero, never a guess.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from typing import Final

from speech_contract.phases import Phase
from speech_contract.preflight import PreflightReport
from speech_contract.wire import Codebook, Datagram, Peers, Plan, Weights

HEADLINES: Final = ("total", "loss")
SKIP_SENTENCE: Final = "sentence of a skipped update"  # a form: printed for bad updates alone


class Source(str, enum.Enum):
    """Who said it: the script through our reporter, or its stdout."""

    REPORTER = "Reporter"
    STDOUT = "Stdout"


@dataclasses.dataclass(frozen=True)
class StepSample:
    """One report. Counters are cumulative over the attempt; `now` is the supervisor's monotonic clock."""

    time: float  # epoch seconds
    now: float  # monotonic seconds
    rank: int
    step: int
    source: Source = Source.REPORTER
    losses: dict[str, float] | None = None
    gradient_norm: float | None = None
    learning_rate: float | None = None
    updates: int | None = None
    non_finite_steps: int | None = None
    bad_step: int | None = None
    bad_component: str = ""
    bad_module: str = ""
    skipped: dict[str, int] | None = None
    samples_total: int | None = None
    missing_gradients: list[str] | None = None
    gated: bool = False  # the engine acts on NonFinite itself
    step_seconds: float | None = None
    phase: Phase = Phase.TRAINING
    rollbacks: int | None = None
    active_from: dict[str, int] | None = None  # part → its first step
    weights: Weights | None = None
    plan: Plan | None = None
    planned_rate: float | None = None
    codebooks: dict[str, Codebook] | None = None
    audio_seconds_total: float | None = None
    evaluation: dict[str, float] | None = None  # the newest held-out scores
    device: str = ""  # "cpu", "cuda (…)"; empty: not known
    peers: Peers | None = None  # what the ranks found when they compared themselves
    preflight: PreflightReport | None = None
    reward: float | None = None  # of a policy: its loss is 0 by construction
    reward_spread: float | None = None  # within a group; 0: nothing to learn from, and no gradient
    total_steps: int | None = None  # that the script plans
    report: int | None = None  # read off stdout: how many reports came so far; a redraw is none
    form: str = ""  # the format that was recognised

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

    @property
    def headline(self) -> float | None:
        """The loss that stands for the run: `total`, else `loss`, else the first; None without any."""
        name = self.headline_name
        return None if self.losses is None or name is None else self.losses[name]

    @property
    def headline_name(self) -> str | None:
        """The component that `headline` reads."""
        if not self.losses:
            return None
        return next((name for name in HEADLINES if name in self.losses), next(iter(self.losses)))

    @property
    def zero_loss(self) -> bool:
        """The loss is exactly 0, and honestly so. Without `total` or `loss` every component must be.

        (A discriminator that starts late may be the first component, at 0 for good reason.)
        """
        if not self.losses or self.disguised:
            return False
        if self.headline_name in HEADLINES:
            return self.headline == 0.0
        return all(value == 0.0 for value in self.losses.values())

    @property
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

    @property
    def disguised(self) -> bool:
        """A loss of exactly 0.0 beside a gradient norm of NaN."""
        norm = self.gradient_norm
        return self.headline == 0.0 and norm is not None and math.isnan(norm)


def from_datagram(datagram: Datagram, now: float) -> StepSample:
    """Keep what the rules need of a rank's datagram that arrived at monotonic time `now`."""
    return StepSample(
        time=datagram.time,
        now=now,
        rank=datagram.rank,
        step=datagram.step,
        source=Source.REPORTER,
        losses=datagram.losses,
        gradient_norm=datagram.gradient_norm,
        learning_rate=datagram.learning_rate,
        updates=datagram.updates,
        non_finite_steps=datagram.non_finite_steps,
        bad_step=datagram.bad_step,
        bad_component=datagram.bad_component,
        bad_module=datagram.bad_module,
        skipped=datagram.skipped,
        samples_total=datagram.samples_total,
        missing_gradients=datagram.missing_gradients,
        gated=datagram.gated,
        step_seconds=datagram.step_seconds,
        phase=datagram.phase,
        rollbacks=datagram.rollbacks,
        active_from=datagram.active_from,
        weights=datagram.weights,
        plan=datagram.plan,
        planned_rate=datagram.planned_rate,
        codebooks=datagram.codebooks,
        audio_seconds_total=datagram.audio_seconds_total,
        evaluation=datagram.evaluation,
        device=datagram.device,
        peers=datagram.peers,
        preflight=datagram.preflight,
        total_steps=datagram.total_steps,
    )
