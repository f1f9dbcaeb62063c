"""The closed catalogue of log events: one JSON line at each decision or transition a person would ask about.

Every line carries ts, level, event, msg, component; job lines add namespace, job, uid; rank lines rank and step.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from typing import Any

from speech_contract.codec import to_document


class Event(str, enum.Enum):
    """Names are API. The message of each is constant: see MESSAGES."""

    # operator
    JOB_ACCEPTED = "job_accepted"
    JOB_REJECTED = "job_rejected"
    CHILDREN_APPLIED = "children_applied"
    CONDITION_CHANGED = "condition_changed"
    ATTEMPT_STARTED = "attempt_started"
    ATTEMPT_FAILED = "attempt_failed"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    JOB_SUSPENDED = "job_suspended"
    JOB_RESUMED = "job_resumed"
    CLUSTER_CALL_FAILED = "cluster_call_failed"
    RECONCILE_FAILED = "reconcile_failed"
    OPERATOR_STARTED = "operator_started"
    OPERATOR_STOPPED = "operator_stopped"
    LEADERSHIP_GAINED = "leadership_gained"
    LEADERSHIP_LOST = "leadership_lost"
    WATCH_INTERRUPTED = "watch_interrupted"
    POD_REFUSED = "pod_refused"
    STATUS_CUT = "status_cut"
    LIBRARY_MESSAGE = "library_message"
    # supervisor
    SUPERVISOR_STARTED = "supervisor_started"
    OWNER_AWAITED = "owner_awaited"
    OWNER_FOLLOWED = "owner_followed"
    OWNER_UNWRITABLE = "owner_unwritable"
    RESUME_CHOSEN = "resume_chosen"
    RESUMED_OTHERWISE = "resumed_otherwise"
    WINDOWS_KEPT = "windows_kept"
    MARKS_UNWRITABLE = "marks_unwritable"
    RANKS_STARTED = "ranks_started"
    RANK_ENDED = "rank_ended"
    FINDING_RAISED = "finding_raised"
    FINDING_HEALED = "finding_healed"
    STACKS_TAKEN = "stacks_taken"
    NAMES_FOLDED = "names_folded"
    STOP_REQUESTED = "stop_requested"
    SUPERVISOR_STOPPED = "supervisor_stopped"
    # trainer
    RUN_CONFIGURED = "run_configured"
    MODEL_BUILT = "model_built"
    CHECKPOINT_RESTORED = "checkpoint_restored"
    CHECKPOINT_REFUSED = "checkpoint_refused"
    SETTINGS_CHANGED = "settings_changed"
    TRAINING_STARTED = "training_started"
    EVALUATION_FINISHED = "evaluation_finished"
    CHECKPOINT_SAVED = "checkpoint_saved"
    CHECKPOINT_FAILED = "checkpoint_failed"
    CHECKPOINT_CONFIRMED = "checkpoint_confirmed"
    CHECKPOINT_UNSEEN = "checkpoint_unseen"
    CHECKPOINT_QUARANTINED = "checkpoint_quarantined"
    CHECKPOINT_BEST = "checkpoint_best"
    UPDATE_SKIPPED = "update_skipped"
    ROLLED_BACK = "rolled_back"
    SAMPLE_REPLACED = "sample_replaced"
    STRATEGIC_LOG = "strategic_log"
    STRATEGIC_LOG_FAILED = "strategic_log_failed"
    REPORT_FAILED = "report_failed"
    INTERRUPTED = "interrupted"
    TRAINING_FINISHED = "training_finished"
    CHECKPOINTS_COMPARED = "checkpoints_compared"
    RANKS_DISAGREE = "ranks_disagree"
    PREFLIGHT_FINISHED = "preflight_finished"


MESSAGES: dict[Event, str] = {
    Event.JOB_ACCEPTED: "The job was accepted",
    Event.JOB_REJECTED: "The job was refused",
    Event.CHILDREN_APPLIED: "Children were created or deleted",
    Event.CONDITION_CHANGED: "A condition changed",
    Event.ATTEMPT_STARTED: "An attempt starts",
    Event.ATTEMPT_FAILED: "An attempt failed",
    Event.DEADLINE_EXCEEDED: "The deadline passed",
    Event.JOB_SUSPENDED: "The job is suspended",
    Event.JOB_RESUMED: "The job resumes",
    Event.CLUSTER_CALL_FAILED: "A call to the cluster failed",
    Event.RECONCILE_FAILED: "A reconcile pass failed and will be retried",
    Event.OPERATOR_STARTED: "The operator started",
    Event.OPERATOR_STOPPED: "The operator stops",
    Event.LEADERSHIP_GAINED: "This operator is at work",
    Event.LEADERSHIP_LOST: "This operator is no longer at work",
    Event.WATCH_INTERRUPTED: "A watch was interrupted and is taken up again",
    Event.POD_REFUSED: "The cluster refused a pod",
    Event.STATUS_CUT: "The API server did not keep all of a status",
    Event.LIBRARY_MESSAGE: "A library said something",
    Event.SUPERVISOR_STARTED: "The supervisor started",
    Event.OWNER_AWAITED: "The run directory is another job's; it is watched for a sign of life",
    Event.OWNER_FOLLOWED: "The run directory of a job that has ended was taken over",
    Event.OWNER_UNWRITABLE: "The owner file of the run directory can't be written",
    Event.RESUME_CHOSEN: "What the script is to go on from was chosen",
    Event.RESUMED_OTHERWISE: "The script went on from another checkpoint than it was given",
    Event.WINDOWS_KEPT: "The script can't pass over the data that a NaN was trained on",
    Event.MARKS_UNWRITABLE: "Marks of the script's checkpoints can't be written; no NaN can be gone back from",
    Event.RANKS_STARTED: "All supervisors met; the ranks start",
    Event.RANK_ENDED: "A rank ended",
    Event.FINDING_RAISED: "A health finding was raised",
    Event.FINDING_HEALED: "A health finding healed",
    Event.STACKS_TAKEN: "Python stacks were taken",
    Event.NAMES_FOLDED: "The numbers have more names than are kept; the others are looked at for NaN alone",
    Event.STOP_REQUESTED: "The ranks are asked to stop",
    Event.SUPERVISOR_STOPPED: "The supervisor stops",
    Event.RUN_CONFIGURED: "The run is configured",
    Event.MODEL_BUILT: "The model was built",
    Event.CHECKPOINT_RESTORED: "A checkpoint was restored",
    Event.CHECKPOINT_REFUSED: "A checkpoint was refused",
    Event.SETTINGS_CHANGED: "Settings changed since the checkpoint was written",
    Event.TRAINING_STARTED: "Training starts",
    Event.EVALUATION_FINISHED: "An evaluation finished",
    Event.CHECKPOINT_SAVED: "A checkpoint was committed",
    Event.CHECKPOINT_FAILED: "A checkpoint could not be written; training goes on",
    Event.CHECKPOINT_CONFIRMED: "A checkpoint was confirmed",
    Event.CHECKPOINT_UNSEEN: "A checkpoint is not where the script said, as far as this pod sees; it is not confirmed",
    Event.CHECKPOINT_QUARANTINED: "A checkpoint was quarantined",
    Event.CHECKPOINT_BEST: "A checkpoint is the best by its held-out score so far",
    Event.UPDATE_SKIPPED: "A non-finite update was gated off",
    Event.ROLLED_BACK: "Rolled back to a confirmed checkpoint",
    Event.SAMPLE_REPLACED: "A bad sample was replaced",
    Event.STRATEGIC_LOG: "Strategic log",
    Event.STRATEGIC_LOG_FAILED: "A strategic log section failed",
    Event.REPORT_FAILED: "A report could not be written",
    Event.INTERRUPTED: "Interrupted; saving",
    Event.TRAINING_FINISHED: "Training finished",
    Event.CHECKPOINTS_COMPARED: "The newest two checkpoints were compared",
    Event.RANKS_DISAGREE: "Ranks that must be the same are not",
    Event.PREFLIGHT_FINISHED: "The preflight is done",
}


def log_line(
    ts: float, level: str, event: str, msg: str, component: str, fields: Mapping[str, Any]
) -> str:
    """One line of strict JSON, as every component logs; `ts` in epoch seconds. Fields override the head."""
    head = {"ts": round(ts, 3), "level": level, "event": event, "msg": msg, "component": component}
    document = to_document({**head, **fields})
    return json.dumps(document, ensure_ascii=False, allow_nan=False, default=str)
