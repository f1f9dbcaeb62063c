"""Condition types, reasons and event reasons. Written by the operator's status code, read by people and tools."""

from __future__ import annotations

import enum
from typing import Final


class Condition(str, enum.Enum):
    """Types of `status.conditions`, in the order they are shown."""

    ACCEPTED = "Accepted"
    QUEUED = "Queued"
    RUNNING = "Running"
    RESTARTING = "Restarting"
    SUSPENDED = "Suspended"
    HEALTHY = "Healthy"
    COMPLETE = "Complete"
    FAILED = "Failed"


class State(str, enum.Enum):
    """`status.state`: derived from the conditions for people; never an input."""

    PENDING = "Pending"
    REFUSED = "Refused"
    QUEUED = "Queued"
    STARTING = "Starting"
    RUNNING = "Running"
    RESTARTING = "Restarting"
    SUSPENDING = "Suspending"
    SUSPENDED = "Suspended"
    COMPLETE = "Complete"
    FAILED = "Failed"
    UNKNOWN = (
        "Unknown"  # told by a reader that finds nobody and nothing behind the others; never written
    )


NO_CHECKPOINT: Final = (
    "no confirmed checkpoint"  # how a message begins to say it, of trainer or operator
)
# Until somebody says so.
AT_REST: Final = frozenset({State.REFUSED, State.SUSPENDED, State.COMPLETE, State.FAILED})


class Reason(str, enum.Enum):
    """Reasons of conditions and Kubernetes Events. Exit causes (outcome.Cause) and health rules are used too."""

    SPEC_VALID = "SpecValid"
    INVALID_SPEC = "InvalidSpec"
    IMMUTABLE_FIELD = "ImmutableField"
    RUNTIME_MISSING = "RuntimeMissing"
    INVALID_RUNTIME = "InvalidRuntime"
    ATTEMPT_STARTED = "AttemptStarted"
    TRAINING_STARTED = "TrainingStarted"
    ATTEMPT_FAILED = "AttemptFailed"
    ATTEMPT_INTERRUPTED = "AttemptInterrupted"
    GANG_RESTART = "GangRestart"
    SUSPENDING = "Suspending"
    SUSPENDED = "Suspended"
    RESUMED = "Resumed"
    RESUMED_FROM_CHECKPOINT = "ResumedFromCheckpoint"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    RESTART_BUDGET_SPENT = "RestartBudgetSpent"
    SAME_CAUSE = "SameCauseAgain"
    NO_CONFIRMED_CHECKPOINT = "NoConfirmedCheckpoint"
    CRITICAL_FINDING = "CriticalFinding"
    TRAINING_SUCCEEDED = "TrainingSucceeded"
    ALL_RULES_QUIET = "AllRulesQuiet"
    NO_TELEMETRY = "NoTelemetry"
    HEALTH_OFF = "HealthOff"
    POD_CREATED = "PodCreated"
    POD_REFUSED = "PodRefused"
    POD_STUCK = "PodStuck"
    POD_ABANDONED = "PodAbandoned"
    NODE_NOT_READY = "NodeNotReady"
    GANG_RELEASED = "GangReleased"
    QUEUED = "Queued"
    QUEUE_MISSING = "QueueMissing"
    QUEUE_REFUSED = "QueueRefused"
    ADMITTED = "Admitted"
    FLAVOR_MISSING = "FlavorMissing"
    EVICTED = "Evicted"
    NAME_TAKEN = "NameTaken"
    RUN_DIRECTORY_IN_USE = "RunDirectoryInUse"
    NODE_EXCLUDED = "NodeExcluded"
    EXCLUSION_DROPPED = "ExclusionDropped"
    OUTDATED_CRD = "OutdatedCRD"
    STATUS_UNREADABLE = "StatusUnreadable"


# Of the condition Running: pods are coming, and nobody has said that anything keeps them.
ON_ITS_WAY: Final = (Reason.ATTEMPT_STARTED, Reason.POD_CREATED)
# Of the condition Accepted: why a job cannot begin.
NO_SPEC: Final = (Reason.INVALID_SPEC, Reason.RUNTIME_MISSING, Reason.INVALID_RUNTIME)
