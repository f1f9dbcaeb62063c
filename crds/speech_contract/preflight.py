"""What is checked before the first step, and what it came to: `spec.health.preflight` and its result.

The trainer checks (`speech_trainer.preflight`), rank 0 reports the result to the supervisor, and it goes the
way of everything else: `/progress`, status, log, CLI. `preflight.json` in the run directory holds it whole.
"""

from __future__ import annotations

import enum


class Check(str, enum.Enum):
    """Names of the checks; the same words in status, log, CLI and docs. In the order they are made."""

    RUN_DIRECTORY = "RunDirectory"  # writable, with room for the checkpoints
    EFFECTIVE_CONFIG = "EffectiveConfig"  # what trains is what was asked for
    LEARNING_RATE = "LearningRate"  # the planned curve can move weights
    DATA = "Data"  # durations, silence, duplicates, overlap with the held-out set
    RANKS = "Ranks"  # all ranks agree, and reduce at one pace
    PARAMETERS = "Parameters"  # every parameter trains, in one optimizer, in float32
    INPUTS = "Inputs"  # every modality is there, and varies
    INITIAL_LOSS = "InitialLoss"  # each component lies where its formula puts it
    COMPONENTS = "Components"  # and says something else for another batch
    GRADIENTS = "Gradients"  # every trainable module gets a finite, non-zero gradient
    WEIGHTS = "Weights"  # and is moved by its optimizer
    LOSS_FALLS = "LossFalls"  # when one batch is repeated
    MEMORY = "Memory"  # head-room after the trial steps, and nothing that grows
    TIME = "Time"  # within health.preflight.timeoutSeconds
