"""The metric catalogue: every series that speechtrain exports. The exporter registers these and no others.

Job name, namespace and team come from the scrape target's labels, never from the code. Counters are pre-initialised;
gauges appear with their first value, so that nothing reads as a loss of 0.0 before step 1.
"""

from __future__ import annotations

import enum
from typing import Final

from speech_contract.values import Value, frozen


class Kind(str, enum.Enum):
    """Prometheus metric types."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@frozen
class Metric(Value):
    """One metric family. A counter's exported name ends in `_total`.

    `source`: the field that the exporter reads it from, of `progress.Progress`, else of the reports of the ranks
    (`wire.Report`): of the leading rank for a gauge, of all of them for a counter. With a dot, a field of the record
    or of the records there. A mapping gives one series for each key. "": the exporter knows how it comes about.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    source: str = ""
    summed: bool = False  # a counter that adds up over the ranks; another is the same on each


STEP_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
P: Final = "speech_training_"

LOSS: Final = Metric(
    P + "loss",
    Kind.GAUGE,
    "Last reported loss by component (may be NaN)",
    ("name",),
    source="losses",
)
LOSS_FINITE: Final = Metric(
    P + "loss_finite", Kind.GAUGE, "0 as soon as loss or gradient norm is not finite"
)
GRADIENT_NORM: Final = Metric(
    P + "gradient_norm", Kind.GAUGE, "Gradient norm before clipping", source="gradient_norm"
)
LEARNING_RATE: Final = Metric(
    P + "learning_rate", Kind.GAUGE, "Learning rate of the last update", source="learning_rate"
)
STEP: Final = Metric(
    P + "step", Kind.GAUGE, "Current step: batches taken; goes back at a roll-back", source="step"
)
PLANNED_STEPS: Final = Metric(
    P + "planned_steps",
    Kind.GAUGE,
    "Steps the run is to take; absent where nobody said",
    source="total_steps",
)
STEPS: Final = Metric(P + "steps_total", Kind.COUNTER, "Steps taken, never going back")
UPDATES: Final = Metric(
    P + "updates_total", Kind.COUNTER, "Optimizer updates committed", source="updates"
)
ROLLBACKS: Final = Metric(
    P + "rollbacks_total", Kind.COUNTER, "Roll-backs to a confirmed checkpoint", source="rollbacks"
)
NON_FINITE: Final = Metric(
    P + "nonfinite_steps_total",
    Kind.COUNTER,
    "Steps with a non-finite value, by kind: loss or gradient",
    ("kind",),
)
ZERO_LOSS: Final = Metric(
    P + "zero_loss_steps_total", Kind.COUNTER, "Reported steps with a loss of exactly 0"
)
SKIPPED: Final = Metric(
    P + "samples_skipped_total",
    Kind.COUNTER,
    "Samples the loader had to replace, by reason",
    ("reason",),
)
SAMPLES: Final = Metric(
    P + "samples_total", Kind.COUNTER, "Samples trained on", source="samples_total", summed=True
)
AUDIO_SECONDS: Final = Metric(
    P + "audio_seconds_total",
    Kind.COUNTER,
    "Seconds of audio trained on",
    source="audio_seconds_total",
    summed=True,
)
TOKENS: Final = Metric(
    P + "tokens_total", Kind.COUNTER, "Tokens trained on", source="tokens_total", summed=True
)
STEP_DURATION: Final = Metric(
    P + "step_duration_seconds", Kind.HISTOGRAM, "Duration of a step", (), STEP_BUCKETS
)
DATA_WAIT: Final = Metric(
    P + "data_wait_seconds_total",
    Kind.COUNTER,
    "Seconds spent waiting for the next batch",
    source="data_wait_seconds",
)
LAST_STEP: Final = Metric(
    P + "last_step_timestamp_seconds", Kind.GAUGE, "Unix time of the last step"
)
LAST_CHECKPOINT: Final = Metric(
    P + "last_checkpoint_timestamp_seconds",
    Kind.GAUGE,
    "Unix time of the last committed checkpoint",
)
CHECKPOINT_STEP: Final = Metric(
    P + "checkpoint_step",
    Kind.GAUGE,
    "Step of the newest checkpoint",
    source="last_checkpoint_step",
)
CHECKPOINT_INTERVAL: Final = Metric(
    P + "checkpoint_interval_steps",
    Kind.GAUGE,
    "Steps between two checkpoints: as set, else as a script of yours saved last",
)
WEIGHTS_UNCHANGED: Final = Metric(
    P + "weights_unchanged_ratio",
    Kind.GAUGE,
    "Share of a module's weights that are bit-identical in the two newest checkpoints",
    ("module",),
    source="weights.unchanged",
)
WEIGHTS_MOVEMENT: Final = Metric(
    P + "weights_movement_ratio",
    Kind.GAUGE,
    "Norm of a module's change between the two newest checkpoints over its norm",
    ("module",),
    source="weights.movement",
)
HOST_MEMORY: Final = Metric(
    P + "host_memory_bytes",
    Kind.GAUGE,
    "Anonymous memory of the ranks and their children on a host, by node rank",
    ("node",),
    source="memory.used",
)
HOST_MEMORY_ROOM: Final = Metric(
    P + "host_memory_room_bytes",
    Kind.GAUGE,
    "Memory left on a host below its closest limit, by node rank",
    ("node",),
    source="memory.room",
)
CODEBOOK_PERPLEXITY: Final = Metric(
    P + "codebook_perplexity",
    Kind.GAUGE,
    "Perplexity of the codes in use",
    ("codebook",),
    source="codebooks.perplexity",
)
CODEBOOK_DEAD: Final = Metric(
    P + "codebook_dead_ratio",
    Kind.GAUGE,
    "Share of a codebook's codes without use",
    ("codebook",),
    source="codebooks.dead",
)
EVALUATION: Final = Metric(
    P + "evaluation", Kind.GAUGE, "Last evaluation by name", ("name",), source="evaluation"
)
HEALTH_FINDING: Final = Metric(
    P + "health_finding",
    Kind.GAUGE,
    "1 while a finding of this rule and severity is active",
    ("rule", "severity"),
)
INFO: Final = Metric(
    P + "info",
    Kind.GAUGE,
    "Always 1; facts of the attempt as labels",
    ("recipe", "attempt", "world_size", "source"),
)
RANK_GRADIENT_NORM: Final = Metric(
    P + "rank_gradient_norm",
    Kind.GAUGE,
    "Norm of each rank's own gradient before the all-reduce, as last sampled",
    ("rank",),
)
RANK_WAIT: Final = Metric(
    P + "rank_wait_ratio",
    Kind.GAUGE,
    "Share of the last sampled step that each rank waited for its peers; the slow rank waits least",
    ("rank",),
)
RANKS_AGREED: Final = Metric(
    P + "ranks_agreed_step", Kind.GAUGE, "Newest step at which all ranks had the same weights"
)

HEALTH_ACTIONS: Final = Metric(
    P + "health_actions_total",
    Kind.COUNTER,
    "Actions on findings; in mode Notify what would have been done (WouldHave...)",
    ("action",),
)

TRAINING_METRICS: Final = (
    LOSS, LOSS_FINITE, GRADIENT_NORM, LEARNING_RATE, STEP, PLANNED_STEPS, STEPS, UPDATES, ROLLBACKS,
    NON_FINITE, ZERO_LOSS, SKIPPED, SAMPLES, AUDIO_SECONDS, TOKENS, STEP_DURATION, DATA_WAIT, LAST_STEP,
    LAST_CHECKPOINT, CHECKPOINT_STEP, CHECKPOINT_INTERVAL, EVALUATION, HEALTH_FINDING, INFO,
    WEIGHTS_UNCHANGED, WEIGHTS_MOVEMENT,
    HOST_MEMORY, HOST_MEMORY_ROOM, CODEBOOK_PERPLEXITY, CODEBOOK_DEAD,
    HEALTH_ACTIONS, RANK_GRADIENT_NORM, RANK_WAIT, RANKS_AGREED,
)  # fmt: skip

OPERATOR: Final = "speech_operator_"
TEAM: Final = "team"  # whom the alerts of a job go to: names.LABEL_TEAM of the job
JOB: Final = ("namespace", "job_name", TEAM)
RECONCILE_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

# Of jobs, by the operator: they outlive the pods, so an alert on a dead job still fires. Gone with the job.
JOB_STATE: Final = Metric(
    OPERATOR + "job_state", Kind.GAUGE, "1 for the state that the job is in", (*JOB, "state")
)
JOB_WAITING: Final = Metric(
    OPERATOR + "job_waiting",
    Kind.GAUGE,
    "1 for the reason why the job does not run yet or again: Pending, Refused, Starting, Restarting",
    (*JOB, "reason"),
)
JOB_HEALTHY: Final = Metric(
    OPERATOR + "job_healthy",
    Kind.GAUGE,
    "1 Healthy or Warning, 0 Critical; absent while Unknown",
    JOB,
)
JOB_HEALTH_FINDING: Final = Metric(
    OPERATOR + "job_health_finding",
    Kind.GAUGE,
    "1 while a finding of this rule and severity is active in status",
    (*JOB, "rule", "severity"),
)
JOB_ATTEMPT: Final = Metric(
    OPERATOR + "job_attempt", Kind.GAUGE, "Number of the newest attempt, from 1 on", JOB
)
JOB_GOODPUT: Final = Metric(
    OPERATOR + "job_goodput_ratio",
    Kind.GAUGE,
    "Share of the time with devices that went into steps which count; absent before the first step",
    JOB,
)
JOB_ENDED: Final = Metric(
    OPERATOR + "job_ended_timestamp_seconds",
    Kind.GAUGE,
    "Unix time at which a finished job ended; absent before",
    JOB,
)
JOB_SEEN: Final = Metric(
    OPERATOR + "job_seen",
    Kind.GAUGE,
    "1 on a finished job that somebody acknowledged: its alerts end",
    JOB,
)
JOB_RESTARTS: Final = Metric(
    OPERATOR + "job_restarts_total",
    Kind.COUNTER,
    "Gang restarts over all jobs, by cause",
    ("reason",),
)
# Of the operator itself.
RECONCILES: Final = Metric(
    OPERATOR + "reconcile_total", Kind.COUNTER, "Passes over jobs, by their end", ("result",)
)
RECONCILE_DURATION: Final = Metric(
    OPERATOR + "reconcile_duration_seconds",
    Kind.HISTOGRAM,
    "Duration of a pass",
    (),
    RECONCILE_BUCKETS,
)
QUEUE_DEPTH: Final = Metric(
    OPERATOR + "queue_depth", Kind.GAUGE, "Jobs whose pass is under way or waits to be taken up"
)
LEADER: Final = Metric(OPERATOR + "leader", Kind.GAUGE, "1 while this operator is the one at work")

OPERATOR_METRICS: Final = (
    JOB_STATE, JOB_WAITING, JOB_HEALTHY, JOB_HEALTH_FINDING, JOB_ATTEMPT, JOB_GOODPUT, JOB_ENDED, JOB_SEEN,
    JOB_RESTARTS, RECONCILES, RECONCILE_DURATION, QUEUE_DEPTH, LEADER,
)  # fmt: skip

SKIP_REASONS: Final = (
    "DecodeError",
    "MissingFile",
    "EmptyText",
    "NonFiniteAudio",
    "TooShort",
    "TooLong",
    "Silent",
    "BadCodes",
    "Other",
)
