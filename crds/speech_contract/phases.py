"""Phases of an attempt. The rank stamps its phase into a mmap; status shows the start-up ones."""

from __future__ import annotations

import enum
from typing import Final


class Phase(str, enum.Enum):
    """Where a rank (or the whole attempt) is. The order is part of the wire format: append only."""

    STARTING = "Starting"
    SCHEDULING = "Scheduling"
    PULLING = "Pulling"
    RENDEZVOUS = "Rendezvous"  # supervisors meet, then torch's process group
    DATA = "Data"  # manifests, vocabulary, first batch
    RESTORING = "Restoring"
    FIRST_STEP = "FirstStep"
    TRAINING = "Training"
    EVALUATION = "Evaluation"
    CHECKPOINT = "Checkpoint"
    STRATEGIC_LOG = "StrategicLog"
    SAVING = "Saving"  # after SIGTERM
    FINISHING = "Finishing"
    DONE = "Done"
    PREFLIGHT = "Preflight"  # before the first step: see speech_contract.preflight


PHASES: Final = tuple(Phase)
STARTUP: Final = frozenset({*PHASES[: PHASES.index(Phase.TRAINING)], Phase.PREFLIGHT})
PAUSES: Final = frozenset(
    {Phase.EVALUATION, Phase.CHECKPOINT, Phase.STRATEGIC_LOG, Phase.SAVING, Phase.FINISHING}
)
