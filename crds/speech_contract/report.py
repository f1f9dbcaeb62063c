"""What a report of one rank can hold, however it came: a datagram, printed lines, a file that is replayed.

Sent as `wire.Datagram`, judged as `speech_health.samples.StepSample`; parts of it stand in progress and status too.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from speech_contract.preflight import PreflightReport
from speech_contract.scores import ScoreSpec
from speech_contract.values import Value, frozen

MAX_PEERS: Final = (
    128  # ranks whose samples fit a datagram; of larger worlds only the agreement is told
)


@frozen
class Peers(Value):
    """What the ranks found when they compared themselves at `step`; told by rank 0 alone.

    `groups`: ranks with equal weights and counters, the largest group first, each in rising order; one group =
    all agree. The other lists are by rank, empty where nothing was sampled.
    """

    step: int
    groups: list[list[int]]
    agreed_step: int | None = None  # newest step at which all agreed
    differs: str = ""  # what differs first: a module, or "step counter"
    gradient_norms: list[float] = dataclasses.field(default_factory=list)  # own, before all-reduce
    losses: list[float] = dataclasses.field(default_factory=list)  # own headline
    wait_ratios: list[float] = dataclasses.field(default_factory=list)  # waiting for peers / step


MAX_BAD_SAMPLES: Final = 3  # of a first bad step; the whole batch is in its replay record
MAX_SAMPLE_NAME: Final = 160  # characters kept, from the end: a file's name says more than its root


@frozen
class BadStep(Value):
    """The first of the non-finite steps that count against the budget, or that spent it."""

    step: int
    """Its number."""
    component: str = ""
    """Loss component that was not finite."""
    module: str = ""
    """Module whose gradient was not finite."""
    rank: int | None = None
    """First rank whose own loss was bad; unset when only gradients were."""
    samples: tuple[str, ...] = ()
    """Some of its batch."""


MAX_PARTS: Final = 6  # losses named in a sentence
MAX_FORM: Final = 80  # characters of a format's name
REPORTER: Final = (
    "reporter"  # the form of a rank that calls it; others are names of printed formats
)


@frozen
class Reads(Value):
    """How an attempt's numbers come, and what of them no rule can judge. Made by the supervisor and by `replay`."""

    form: str = ""
    """Format that was recognised in the output, or reporter."""
    reports: int = 0
    """Reports that it held so far."""
    parts: tuple[str, ...] = ()
    """Losses of which none is known to be the whole one."""
    folded: tuple[str, ...] = ()
    """Numbers with more names than are kept, each with the first that has no place of its own."""

    @property
    def gap(self) -> str:
        """What is not judged, in a sentence; "" when nothing is left out."""
        parts, folded = ", ".join(self.parts[:MAX_PARTS]), ", ".join(self.folded)
        unknown = f"loss not recognised among {parts}: spikes not judged" if parts else ""
        many = (
            f"too many names of {folded}: not judged by name; give each one name for the whole run"
            if folded
            else ""
        )
        return "; ".join(filter(None, [unknown, many]))

    def __str__(self) -> str:
        where = "" if self.form == REPORTER else " (stdout)"
        said = f"{self.form}{where}, {self.reports} report{'' if self.reports == 1 else 's'}"
        return "; ".join(filter(None, [said, self.gap]))


@frozen
class Weights(Value):
    """Two checkpoints compared, by module: only what is trained and had a learning rate above 0 between them."""

    step: int  # of the newer one
    since: int  # step of the older one
    updates: int  # committed between them
    unchanged: dict[str, float]  # share of the module's weights that are bit-identical
    movement: dict[str, float]  # norm of the difference over the norm before
    rate_sum: float | None = None  # learning rates between them, added up


@frozen
class Plan(Value):
    """What a run intends, told once at its start. None: not known."""

    total_steps: int | None = None
    rate_sum: float | None = None  # planned learning rates of Adam, added up over the whole run
    fresh: bool | None = None  # from random weights; False: a pretrained model is adapted
    parameters: int | None = None  # trainable
    samples: int | None = None  # of the training data
    audio_seconds: float | None = None  # of the training data
    batch_samples: int | None = None  # of a step, over all ranks
    held_out: int | None = None  # samples that are scored and never trained on; 0: none
    goal_snr: float | None = None  # dB: what a codec is meant to reach
    bits_per_second: float | None = None  # of a codec


@frozen
class Codebook(Value):
    """One level of a codec's quantiser. None: not measured."""

    perplexity: float | None = None  # of the codes used
    size: int | None = None  # codes, or vectors of the measurement if those are fewer
    dead: float | None = None  # share of codes without use
    movement: float | None = None  # change over the last 100 steps over the norm
    residual: float | None = None  # variance left after this level over the variance it was given
    age: int | None = None  # steps since data gave it its codes (k-means): judged from the first on


@frozen
class Memory(Value):
    """A host's memory in bytes, read by its supervisor."""

    used: int  # anonymous memory of its ranks and their children
    room: int  # left below the closest limit


@frozen
class Match(Value):
    """Lines of one pod's ranks that one pattern of `health.logPatterns` found, so far."""

    count: int
    line: str  # the first of them, cut
    rank: int  # that printed it
    step: int | None = None  # that this rank was at


# Not `frozen`: a sample is made of every row, and `Value` would set its forty fields by a call of Python's each.
# Nobody makes one by itself, so it is spared the methods that every kind of it has: imports are fast for it.
@dataclasses.dataclass(frozen=True, kw_only=True, init=False, repr=False, eq=False)
class Report(Value):
    """What one report of one rank can hold, however it came. What was not reported is None or "".

    Counters are cumulative, so that a report that is lost loses no NaN. `bad_*` describe the newest non-finite step
    that the rank knows of (flags are read one step late). A metric names its field here as its source.
    """

    updates: int | None = None  # committed optimizer steps
    steps_total: int | None = None  # never goes back
    total_steps: int | None = None  # where the run wants to go
    non_finite_steps: int | None = None
    bad_step: int | None = None
    bad_component: str = ""
    bad_module: str = ""
    first_bad: BadStep | None = None  # of those that count now, or that spent the budget last
    rollbacks: int | None = None
    discarded_steps: int | None = None
    samples_total: int | None = None
    audio_seconds_total: float | None = None
    tokens_total: int | None = None
    step_seconds: float | None = None
    data_wait_seconds: float | None = None  # cumulative
    checkpoint_seconds: float | None = None  # cumulative: training stood still for a save
    skipped: dict[str, int] | None = None  # cumulative, by reason
    losses: dict[str, float] | None = (
        None  # `total` or `loss` is the headline; others are components
    )
    gradient_norm: float | None = None
    learning_rate: float | None = None
    missing_gradients: list[str] | None = (
        None  # trainable, active modules without gradient this step
    )
    active_from: dict[str, int] | None = None  # part (`group` of `group/name`) → its first step
    evaluation: dict[str, float] | None = None
    score_specs: dict[str, ScoreSpec] | None = None  # how to read `evaluation`, where known
    last_checkpoint_step: int | None = None
    checkpoint_path: str = ""  # where that one lies; of a script that saves by itself
    window: tuple[int, int] | None = None  # data positions since the last report, [first, last)
    no_window: str = ""  # why they can't be told
    last_confirmed_step: int | None = None
    resumed_from_step: int | None = None
    resume_note: str = ""  # from whose step it goes on, and which settings changed since
    gated: bool = False  # the engine acts on NonFinite itself (our recipes)
    message: str = ""  # one line worth keeping: a roll-back, a save
    device: str = ""
    dropped: int = 0  # datagrams this reporter could not send
    weights: Weights | None = None  # with the first report after a checkpoint
    plan: Plan | None = None
    planned_rate: float | None = None  # what the schedule gives for this update
    codebooks: dict[str, Codebook] | None = None
    peers: Peers | None = None  # after each comparison, and at every step while the ranks disagree
    preflight: PreflightReport | None = None  # repeated, bounded, from its end on
