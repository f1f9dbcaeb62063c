"""A Lightning Trainer, heard exactly: one callback that reports every step. Standard library only.

    from speech_telemetry.lightning import TelemetryCallback
    trainer = Trainer(..., callbacks=[TelemetryCallback()])

Used by people's scripts, under `speechtrain-launch`; without a supervisor it does nothing. What the host hides, and
where it is found instead:

* Losses are logged every `log_every_n_steps`, rounded in the bar, averaged in the logger: here they are what
  `training_step` returned, at every step; other losses in its dict are components.
* Gradients are clipped in the optimizer step: the norm is taken before, and after a loss scaler undid its scale.
* `metrics.csv` of CSVLogger begins anew with every start of a script.

Neither torch nor Lightning is imported: the script that builds a Trainer has loaded both, under either of Lightning's
two names. Nothing here raises into training.
"""

from __future__ import annotations

import math
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from speech_contract.phases import Phase
from speech_contract.scores import Better, ScoreSpec
from speech_contract.wire import Datagram
from speech_telemetry.hearing import (
    FIRST_STEPS,
    Guarded,
    Hears,
    batch_size,
    norm_of,
    number_of,
    scaler_at_work,
    without_gradient,
)
from speech_telemetry.planned import plan_of, rate_sum
from speech_telemetry.reporter import Reporter

_PACKAGES: Final = ("lightning.pytorch", "pytorch_lightning")
_HELD_OUT: Final = re.compile(r"(?:^|[_/])(?:val|valid|validation|eval|test|dev)(?:$|[_/])", re.I)
_LOSS: Final = re.compile(r"loss|(?:^|[_/])(?:kl|nll|vq|mel|commit\w*|adv)(?:$|[_/])", re.I)
_SHARDED: Final = ("deepspeed", "fsdp", "modelparallel")  # no rank holds a whole gradient
_NO_WINDOW: Final = "Lightning gives a callback no way to pass over a batch"
_BETTER: Final = {"min": Better.LOWER, "max": Better.HIGHER}


class TelemetryCallback(Guarded):
    """Give it to `Trainer(callbacks=[...])`; reports losses, raw gradient norm, learning rate, step, samples,
    evaluations, checkpoints and the plan. It is a `Callback` of whichever Lightning the script has loaded.

    Costs one copy of two numbers from the device a step.
    """

    def __new__(cls, *arguments: Any, **named: Any) -> TelemetryCallback:
        """A Trainer may ask whether it is one of its own."""
        loaded = [getattr(sys.modules.get(name), "Callback", None) for name in _PACKAGES]
        bases = [base for base in loaded if base is not None and not issubclass(cls, base)]
        kind = type(cls.__name__, (cls, *dict.fromkeys(bases)), {}) if bases else cls
        return object.__new__(kind)

    def __reduce__(self) -> tuple[Any, ...]:
        """A process that is spawned talks to the supervisor by itself."""
        return TelemetryCallback, ()

    def __init__(
        self, reporter: Hears | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._reporter: Hears = Reporter() if reporter is None else reporter
        self._clock = clock
        self._rank = self._reporter.rank
        self._step = self._updates = self._samples = self._bad = 0
        self._kept: dict[str, Any] = {}  # facts that every report repeats
        self._saved: int | None = None  # a checkpoint that is being written
        self._savers: list[Any] = []  # callbacks, one of which may write it
        self._trained: set[str] | None = None  # names that were logged before the first evaluation
        self._began: float | None = None
        self._forget()

    # ---- the Trainer's hooks, in the order of a step ----

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """The model and its data are there."""
        self._guard(self._begin, trainer)
        self._guard(self._tell_plan, trainer, module)

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
        """A micro-batch: before its forward pass."""
        self._guard(self._batch_begins)

    def on_before_backward(self, trainer: Any, module: Any, loss: Any) -> None:
        """A loss is about to be derived; of manual optimization it is all there is to hear."""
        self._guard(self._derived, trainer, loss)

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        """The gradients are there, unscaled and not yet clipped."""
        self._guard(self._measure, trainer, module, optimizer)

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        """Report the step, when this micro-batch completed one."""
        self._guard(self._batch_ended, trainer, outputs, batch)

    def on_sanity_check_start(self, trainer: Any, module: Any) -> None:
        """A few held-out batches before the first step."""
        self._guard(self._reporter.stamp, self._step, Phase.DATA)

    def on_validation_start(self, trainer: Any, module: Any) -> None:
        """A pause with a name is no stall."""
        self._guard(self._evaluation_begins, trainer)

    def on_validation_batch_end(self, trainer: Any, module: Any, *rest: Any) -> None:
        """A sign of life."""
        if not getattr(trainer, "sanity_checking", False):
            self._guard(self._reporter.stamp, self._step, Phase.EVALUATION)

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """Held-out scores."""
        self._guard(self._evaluated, trainer)

    def on_save_checkpoint(self, trainer: Any, module: Any, checkpoint: Any) -> None:
        """A checkpoint is about to be written; it lies on the disk when the next hook is called."""
        self._guard(self._saving, trainer)

    def on_train_end(self, trainer: Any, module: Any) -> None:
        """What follows (a last checkpoint, an export) is no training."""
        self._guard(self._tell, Phase.FINISHING)

    def teardown(self, trainer: Any, module: Any, stage: str) -> None:
        """The last hook of all."""
        self._guard(self._has_saved, Phase.FINISHING)

    # ---- what they do ----

    def _begin(self, trainer: Any) -> None:
        self._rank = int(getattr(trainer, "global_rank", self._rank))
        self._step = int(trainer.global_step)
        if self._step:
            self._kept["resumed_from_step"] = self._step
        self._tell(Phase.DATA, no_window=_NO_WINDOW)

    def _tell_plan(self, trainer: Any, module: Any) -> None:
        if not self._reporter.connected or len(trainer.optimizers) != 1:
            return  # of several optimizers each step counts as several
        total = trainer.estimated_stepping_batches
        if not 0 < total < math.inf:
            return
        self._kept["total_steps"] = total = int(total)
        rates = _rates(trainer, total)
        plan = plan_of(module, total, rates, getattr(trainer, "train_dataloader", None))
        self._tell(Phase.DATA, plan=plan)

    def _forget(self) -> None:
        """A new step begins."""
        self._losses: list[dict[str, float]] = []  # of each micro-batch
        self._heard: list[float] = []  # losses that were derived, unscaled
        self._derivations = 0
        self._squares: float | None = None  # of the gradient norms of all optimizers
        self._rate: float | None = None
        self._missing: list[str] | None = None
        self._scaled = False

    def _batch_begins(self) -> None:
        self._has_saved(self._phase)
        if not self._losses and not self._derivations:
            self._began = self._clock()
        self._reporter.stamp(self._step, self._phase)

    @property
    def _phase(self) -> Phase:
        return Phase.TRAINING if self._updates else Phase.FIRST_STEP

    def _derived(self, trainer: Any, loss: Any) -> None:
        self._derivations += 1
        if getattr(trainer.lightning_module, "automatic_optimization", True):
            return  # what the step returned is told at its end
        scaler = _scaler(trainer)
        scale = float(scaler.get_scale()) if scaler is not None else 1.0
        self._heard.append(float(loss.detach()) / scale)

    def _measure(self, trainer: Any, module: Any, optimizer: Any) -> None:
        if not self._reporter.connected or not self._derivations:
            return  # a step that was skipped has no gradient by intention
        self._scaled = _scaler(trainer) is not None
        self._rate = number_of(optimizer.param_groups[0].get("lr"))
        norm = None if _sharded(trainer) else norm_of(_Held(optimizer))
        if norm is not None:
            self._squares = (self._squares or 0.0) + norm * norm
        self._updates += not (self._scaled and norm is not None and not math.isfinite(norm))
        if self._updates <= FIRST_STEPS and len(trainer.optimizers) == 1:
            self._missing = without_gradient(module)

    def _batch_ended(self, trainer: Any, outputs: Any, batch: Any) -> None:
        self._samples += batch_size(_values(batch))
        if not self._reporter.connected:
            return
        parts = max(1, int(getattr(trainer, "accumulate_grad_batches", 1)))
        self._losses.append(_numbers(outputs, parts))
        if int(trainer.global_step) == self._step:
            self._reporter.stamp(self._step, self._phase)
            return
        self._step = int(trainer.global_step)
        self._report_step(one=len(trainer.optimizers) == 1)
        self._forget()

    def _report_step(self, *, one: bool) -> None:
        losses = _mean(self._losses) or self._derived_losses(one)
        norm = None if self._squares is None else math.sqrt(self._squares)
        before = self._bad
        bad_norm = norm is not None and not math.isfinite(norm) and not self._scaled
        self._bad += bad_norm or not all(map(math.isfinite, losses.values()))
        self._tell(
            Phase.TRAINING,
            losses=losses or None,
            gradient_norm=norm,
            learning_rate=self._rate,
            missing_gradients=self._missing,
            # Trails the values by one report. None while a scaler may skip: the rule knows bursts.
            non_finite_steps=before if (losses or norm is not None) and not self._scaled else None,
            step_seconds=None if self._began is None else max(0.0, self._clock() - self._began),
        )

    def _derived_losses(self, one: bool) -> dict[str, float]:
        """Of manual optimization: what one optimizer is given adds up, what several are given stays apart."""
        if one and self._heard:
            return {"loss": sum(self._heard)}
        return {f"backward_{n}": value for n, value in enumerate(self._heard, start=1)}

    def _evaluation_begins(self, trainer: Any) -> None:
        self._has_saved(self._phase)
        if getattr(trainer, "sanity_checking", False):
            return
        if self._trained is None:
            self._trained = set(trainer.callback_metrics)
        self._tell(Phase.EVALUATION)

    def _evaluated(self, trainer: Any) -> None:
        if getattr(trainer, "sanity_checking", False):
            return
        trained = self._trained or set()
        metrics = {str(name): number_of(v) for name, v in trainer.callback_metrics.items()}
        scores = {
            name: value
            for name, value in metrics.items()
            if value is not None and (_HELD_OUT.search(name) or name not in trained)
        }
        self._kept["evaluation"] = {**self._kept.get("evaluation", {}), **scores}
        self._kept["score_specs"] = _specs(trainer) or None
        self._tell(Phase.EVALUATION)
        self._reporter.stamp(self._step, self._phase)

    def _saving(self, trainer: Any) -> None:
        self._has_saved(self._phase)
        self._saved = int(trainer.global_step)
        self._savers = list(getattr(trainer, "callbacks", ()))
        self._tell(Phase.CHECKPOINT)

    def _has_saved(self, phase: Phase) -> None:
        if self._saved is not None:
            self._kept["last_checkpoint_step"], self._saved = self._saved, None
            self._kept["checkpoint_path"] = _path(self._savers, self._kept["last_checkpoint_step"])
            self._tell(Phase.CHECKPOINT)
            self._reporter.stamp(self._step, phase)

    def _tell(self, phase: Phase, **values: Any) -> None:
        self._reporter.stamp(self._step, phase)
        report = Datagram(
            rank=self._rank,
            step=self._step,
            time=self._clock(),
            phase=phase,
            updates=self._updates or None,  # without one there is nothing to trust
            samples_total=self._samples or None,
            **{**self._kept, **values},
        )
        self._reporter.send(report)


def _path(callbacks: list[Any], step: int) -> str:
    """Where a ModelCheckpoint wrote this step; "" when it was the script, which then tells the path itself."""
    for callback in callbacks:
        told = str(getattr(callback, "_last_checkpoint_saved", ""))
        if (
            told
            and getattr(callback, "_last_global_step_saved", None) == step
            and os.path.exists(told)
        ):
            return os.path.abspath(told)
    return ""


class _Held:
    """The weights that an optimizer holds, looked at as a model's."""

    def __init__(self, optimizer: Any) -> None:
        self._groups = optimizer.param_groups

    def parameters(self) -> list[Any]:
        return [weight for group in self._groups for weight in group["params"]]


def _scaler(trainer: Any) -> Any:
    """The loss scaler at work; None without one."""
    plugin = getattr(trainer, "precision_plugin", None)
    return getattr(plugin, "scaler", None) if scaler_at_work(plugin) else None


def _sharded(trainer: Any) -> bool:
    name = type(getattr(trainer, "strategy", None)).__name__.lower()
    return any(word in name for word in _SHARDED)


def _values(batch: Any) -> list[Any]:
    if isinstance(batch, Mapping):
        return list(batch.values())
    return list(batch) if isinstance(batch, (list, tuple)) else [batch]


def _numbers(outputs: Any, parts: int) -> dict[str, float]:
    """The losses that a training step returned. The whole was divided by the micro-batches of a step, others not."""
    given = outputs if isinstance(outputs, Mapping) else {"loss": outputs}
    found = {}
    for name, value in given.items():
        if name == "loss" or _LOSS.search(str(name)):
            number = None if _size(value) != 1 else number_of(value)
            if number is not None:
                found[str(name)] = number * parts if name == "loss" else number
    return found


def _size(value: Any) -> int:
    return int(value.numel()) if hasattr(value, "numel") else 1


def _mean(batches: list[dict[str, float]]) -> dict[str, float]:
    """Over the micro-batches that have it; the whole first."""
    names = dict.fromkeys(name for batch in batches for name in ("loss", *batch))
    found = {name: [batch[name] for batch in batches if name in batch] for name in names}
    return {name: sum(values) / len(values) for name, values in found.items() if values}


def _rates(trainer: Any, total: int) -> float | None:
    """Of the one optimizer, by the step or by the epoch, as its schedule is stepped."""
    (optimizer,) = trainer.optimizers
    configs = list(getattr(trainer, "lr_scheduler_configs", []))
    if len(configs) > 1:
        return None
    scheduler = configs[0].scheduler if configs else None
    every = max(1, int(configs[0].frequency)) if configs else 1
    if configs and configs[0].interval == "epoch":
        batches = float(trainer.num_training_batches)
        if not math.isfinite(batches):
            return None
        every *= max(1, math.ceil(batches / max(1, trainer.accumulate_grad_batches)))
    added = rate_sum(optimizer, scheduler, math.ceil(total / every))
    return None if added is None else added * every


def _specs(trainer: Any) -> dict[str, ScoreSpec]:
    """Which way a score gets better, as the script told its own checkpoints and its early stopping."""
    told = ((getattr(c, "monitor", None), getattr(c, "mode", "")) for c in trainer.callbacks)
    return {str(name): ScoreSpec(_BETTER[mode]) for name, mode in told if name and mode in _BETTER}
