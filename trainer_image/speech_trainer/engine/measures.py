"""What the loop measures: times, losses and norms on log steps, modules without gradient in the first steps.

Everything but log steps and the first few steps leaves the device alone. Used by `engine.loop`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from speech_contract.report import Plan
from speech_trainer.engine import codebooks
from speech_trainer.engine.distributed import World
from speech_trainer.engine.gate import Judgement
from speech_trainer.engine.recipe import Batch, Built, OptimizerPlan, RunFacts, StepRecord
from speech_trainer.engine.schedules import LateSchedules

FIRST_STEPS = (
    5  # steps of each part, in each attempt, that are searched for modules without gradient
)


class Measures:
    """One rank's stopwatch and readings."""

    def __init__(
        self,
        built: Built,
        world: World,
        schedules: LateSchedules,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plans, self._world, self._schedules, self._clock = (
            built.optimizers,
            world,
            schedules,
            clock,
        )
        self._main = next(iter(built.optimizers), "")
        self._start_step = 0
        self._began = self._arrived = clock()
        self.waited = 0.0  # seconds for the other ranks' batches, this step
        self._rate = torch.zeros(())

    def start(self, step: int) -> None:
        """Training starts after `step` in this attempt."""
        self._start_step = step

    def sizes(self) -> dict[str, int]:
        """Number of parameters, all and trainable."""
        parameters = {
            id(p): p
            for plan in self._plans.values()
            for module in plan.modules.values()
            for p in module.parameters()
        }.values()
        return {
            "parameters": sum(p.numel() for p in parameters),
            "trainable": sum(p.numel() for p in parameters if p.requires_grad),
        }

    def plan(self, total_steps: int, facts: RunFacts) -> Plan:
        """What this run intends, before its first step."""
        return Plan(
            total_steps=total_steps,
            rate_sum=self._schedules.run_ahead(self._main, total_steps) if self._main else None,
            fresh=facts.fresh,
            parameters=self.sizes()["trainable"],
            samples=facts.samples,
            audio_seconds=facts.audio_seconds,
            batch_samples=facts.global_batch_size,
            held_out=facts.held_out,
            goal_snr=facts.goal_snr,
            bits_per_second=facts.bits_per_second,
        )

    # -- time --------------------------------------------------------------------------------------------------

    def step_begins(self) -> None:
        """The clock of this step runs from here."""
        self._began = self._clock()

    @property
    def began(self) -> float:
        """When this step began, on this clock."""
        return self._began

    def batch_arrived(self) -> float:
        """Seconds waited for the batch."""
        self._arrived = self._clock()
        return self._arrived - self._began

    def peers_arrived(self) -> None:
        """Every rank has its batch."""
        self.waited = self._clock() - self._arrived

    def step_ends(self) -> float:
        """Seconds since `step_begins`."""
        return self._clock() - self._began

    # -- values ------------------------------------------------------------------------------------------------

    def read(self, judgement: Judgement, record: StepRecord) -> dict[str, Any]:
        """Losses averaged over ranks, codebooks, gradient norm, rate: one reduction, one transfer; late parts."""
        books = record.codebooks or {}
        losses, *summed = self._over_ranks([judgement.losses, *codebooks.pack(books)])
        if self._world.size > 1:
            losses = losses / self._world.size
        extra = torch.stack([judgement.gradient_norm.float(), self._rate_now()])
        measured = codebooks.measure(summed, self._world.size)
        norm, rate, *values = torch.cat([extra, losses, *measured]).tolist()
        count = len(judgement.loss_names)
        return {
            "losses": dict(zip(judgement.loss_names, values[:count], strict=True)),
            "codebooks": codebooks.told(books, values[count:]) or None,
            "gradient_norm": norm,
            "learning_rate": rate,
            "planned_rate": self._schedules.planned(self._main) if self._main else None,
            "active_from": self._late_parts(),
        }

    def _over_ranks(self, parts: list[torch.Tensor]) -> list[torch.Tensor]:
        """The sum of each part over all ranks, in one reduction."""
        if self._world.size == 1:
            return parts
        joined = torch.cat(parts)
        dist.all_reduce(joined)
        return list(joined.split([part.numel() for part in parts]))

    def _late_parts(self) -> dict[str, int] | None:
        """Parts that start after the others: their losses before that say nothing."""
        late = {n: plan.active_from for n, plan in self._plans.items() if plan.active_from > 1}
        return late or None

    def _rate_now(self) -> torch.Tensor:
        """What lies in the optimizer, whoever put it there."""
        if not self._main:
            return self._rate
        rate = self._plans[self._main].optimizer.param_groups[0]["lr"]
        return torch.as_tensor(rate, dtype=torch.float32, device=self._world.device)

    def missing_gradients(
        self, judgement: Judgement, batches: Sequence[Batch], step: int
    ) -> list[str] | None:
        """Trainable, active modules that got no gradient at this step; None when not looked for.

        A step without a sample on this rank (all weights 0) has no gradient by design and is not looked at.
        """
        searched = [
            name
            for name in judgement.active
            if step - max(self._start_step, self._plans[name].active_from - 1) <= FIRST_STEPS
        ]
        if not searched or not any(batch.weight for batch in batches):
            return None
        norms = dict(zip(judgement.module_names, judgement.module_norms.tolist(), strict=True))
        return [
            module_name
            for name in searched
            for module_name, module in self._trainable(self._plans[name])
            if norms[module_name] == 0
        ]

    @staticmethod
    def _trainable(plan: OptimizerPlan) -> list[tuple[str, nn.Module]]:
        return [
            (name, module)
            for name, module in plan.modules.items()
            if any(p.requires_grad for p in module.parameters())
        ]
