"""Our training step of voice cloning, as the engine takes it. Used by step_watch.py for accept_cloning_speed.py.

Utterances of about one length go together, as the recipe's sampler has it; the host finds the places of codes, text and
labels; logits exist where there is a label, a chunk at a time.
"""

from __future__ import annotations

from typing import Any

import cloning_steps
import torch
from step_watch import Step, Watch

from speech_trainer.data.sequences import Sequence, collate
from speech_trainer.engine.gate import Gate
from speech_trainer.engine.recipe import Built
from speech_trainer.models.cloner import Cloner
from speech_trainer.recipes.optimizers import AdamSettings, adamw_plan


def make(data: dict[str, Any], watch: Watch) -> Step:
    """One epoch of `data["utterances"]` for `data["backbone"]`."""
    kind = cloning_steps.kind_of(data["backbone"])
    sequences = [cloning_steps.laid(kind, one) for one in data["utterances"]]
    order, _ = cloning_steps.orders(data["utterances"])
    model = Cloner(cloning_steps.fresh(kind), 0.0).train()
    settings = AdamSettings(betas=(0.9, 0.95), weight_decay=0.1, clip_norm=1.0)
    plan = adamw_plan(model.backbone.roles(), cloning_steps.LEARNING_RATE, 10_000, settings)
    built = Built(models={"cloner": model}, optimizers={"cloner": plan})
    gate = Gate(built, torch.device("cpu"), 0, 1)

    def train(members: list[Sequence]) -> None:
        with watch.stage("batch"):
            columns = collate(members, padding=0)
        gate.begin()
        with watch.stage("forward and losses"):
            found = model(columns)
            loss = found.total / (columns.labels >= 0).sum()
        with watch.stage("backward"):
            loss.backward()
        with watch.stage("optimizer"):
            verdict = gate.judge({"total": loss.detach()}, 1, interrupt=False)
            gate.commit(verdict, lambda bad: None)

    return cloning_steps.stepping(cloning_steps.batches(sequences, order), train)
