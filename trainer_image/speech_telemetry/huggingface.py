"""A Hugging Face Trainer, heard exactly: one callback that reports what its log hides. Standard library only.

    from speech_telemetry.huggingface import TelemetryCallback
    trainer = Trainer(..., callbacks=[TelemetryCallback()])

Used by people's scripts, under `speechtrain-launch`; without a supervisor it does nothing. What the host hides,
and where it is found instead:

* NaN is filtered out of the logged loss (`logging_nan_inf_filter`): the loss is read where the model returns it.
* Callbacks see no inputs and outputs: a forward hook on the model does.
* Gradients are clipped before any callback runs: the norm is what the clipping call itself returned.
* What a step is trained on the sampler's order tells (`sampled`); what it resumes from is led (`steering`).

Neither torch nor transformers is imported: the script that builds a Trainer has loaded both, and images whose
packages are not ours carry this file beside the reporter. Nothing here raises into training.
"""

from __future__ import annotations

import functools
import math
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from speech_contract.phases import Phase
from speech_contract.saves import handed
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
from speech_telemetry.sampled import Sampled, pass_over, sampled
from speech_telemetry.steering import QuarantinedCheckpointError, Steering

_NO_SCORE = re.compile(r"(^|_)(runtime|epoch|per_second|time)$")  # how long an evaluation took
_ITEMS = "num_items_in_batch"  # given to the model: its loss is a share of the step's, not a mean


class TelemetryCallback(Guarded):
    """Give it to `Trainer(callbacks=[...])`; reports loss, raw gradient norm, learning rate, step, samples,
    evaluations and checkpoints at every optimizer step, whatever `logging_steps` says.

    Costs one copy of two numbers from the device a step, which the Trainer's own NaN filter costs as well.
    """

    def __init__(
        self, reporter: Hears | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._reporter: Hears = Reporter() if reporter is None else reporter
        self._clock = clock
        self._ears = _Ears()
        self._clipping = _Clipping()
        self._steering = Steering(os.environ)
        self._refusal: QuarantinedCheckpointError | None = None
        self._sampled: Sampled | None = None
        self._step = 0
        self._bad = 0  # non-finite steps so far
        self._updates = 0
        self._kept: dict[str, Any] = {}  # facts that every report repeats
        self._rate: float | None = None
        self._norm: float | None = None
        self._missing: list[str] | None = None
        self._scaled = False  # a loss scaler is at work: it skips overflows on purpose
        self._began: float | None = None

    # ---- the Trainer's events, in the order of a step ----

    def on_init_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Whatever it resumes from is chosen after this."""
        if self._reporter.connected:
            self._guard(self._steering.listen)

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Listen to the model and to the clipping. Raises QuarantinedCheckpointError, and nothing else."""
        self._guard(self._look_back, args, state)
        if self._refusal is not None:
            raise self._refusal
        self._guard(self._begin, state, given)
        self._guard(self._know_data, args, given.get("train_dataloader"))
        self._guard(self._tell_plan, state, given)

    def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """A new optimizer step: before its first forward pass."""
        self._guard(self._step_begins, state)

    def on_substep_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """One of several micro-batches: a sign of life."""
        self._guard(self._reporter.stamp, self._step, self._phase)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """The gradients are there, clipped; what they were before, the clipping told."""
        self._guard(self._measure, args, given)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """An update that a loss scaler skipped is none."""
        self._updates += not getattr(given.get("optimizer"), "step_was_skipped", False)

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Report the step."""
        self._guard(self._report_step, state)
        self._announce(state, control)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **given: Any) -> None:
        """What the forward hook or the clipping could not tell is taken from the log, the second-best source."""
        self._guard(self._from_log, state, logs or {})

    def on_prediction_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """One batch of an evaluation: a sign of life."""
        self._guard(self._reporter.stamp, self._step, Phase.EVALUATION)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **given: Any
    ) -> None:
        """Held-out scores."""
        self._guard(self._evaluated, metrics or {})
        self._announce(state, control, evaluated=True)

    def on_save(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """A checkpoint is on the disk."""
        self._guard(self._saved, args, state)
        self._guard(self._tell, Phase.CHECKPOINT)
        self._guard(self._reporter.stamp, self._step, self._phase)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Strategies by epoch evaluate and save after this."""
        self._announce(state, control)

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Let go of the model; what follows (a last evaluation, an export) is no training."""
        self._ears.close()
        self._clipping.close()
        self._guard(self._tell, Phase.FINISHING)

    # ---- what they do ----

    def _look_back(self, args: Any, state: Any) -> None:
        """A resumed run stands at the step of its checkpoint."""
        if self._reporter.connected and state.global_step:
            self._refusal = self._steering.refusal(_checkpoint(args, state))

    def _saved(self, args: Any, state: Any) -> None:
        self._kept["last_checkpoint_step"] = int(state.global_step)
        self._kept["checkpoint_path"] = _checkpoint(args, state)

    def _begin(self, state: Any, given: Mapping[str, Any]) -> None:
        self._ears.close()
        self._clipping.close()
        if not self._reporter.connected:
            return
        self._step = int(state.global_step)
        self._kept["total_steps"] = int(state.max_steps)
        if self._step:
            self._kept["resumed_from_step"] = self._step
        self._ears.listen(given.get("model"))
        self._clipping.listen()
        self._tell(Phase.DATA)

    def _know_data(self, args: Any, loader: Any) -> None:
        """What a step is trained on; and what a NaN was trained on before is not trained on again."""
        if not self._reporter.connected:
            return
        found = sampled(loader, args)
        if isinstance(found, str):
            self._tell(Phase.DATA, no_window=found)
            return
        self._sampled = found
        windows = handed(os.environ).windows
        if windows:
            pass_over(loader, windows)

    def _tell_plan(self, state: Any, given: Mapping[str, Any]) -> None:
        """What the Trainer intends. Whether its model is pretrained it does not say."""
        total = int(state.max_steps)
        if total > 0 and self._reporter.connected:
            rates = rate_sum(given.get("optimizer"), given.get("lr_scheduler"), total)
            plan = plan_of(given.get("model"), total, rates, given.get("train_dataloader"))
            self._tell(Phase.DATA, plan=plan)

    def _step_begins(self, state: Any) -> None:
        self._began = self._clock()
        self._ears.forget()
        self._clipping.norm = self._norm = self._missing = None
        self._reporter.stamp(int(state.global_step), self._phase)

    @property
    def _phase(self) -> Phase:
        return Phase.TRAINING if self._updates else Phase.FIRST_STEP

    def _measure(self, args: Any, given: Mapping[str, Any]) -> None:
        if not self._reporter.connected:
            return
        model, optimizer = given.get("model"), given.get("optimizer")
        self._scaled = scaler_at_work(optimizer)
        groups = getattr(optimizer, "param_groups", None) or [{}]
        self._rate = number_of(groups[0].get("lr"))
        self._norm = number_of(self._clipping.norm)
        clipped = bool(getattr(args, "max_grad_norm", 0.0))
        if self._norm is None and not clipped and not self._scaled:
            self._norm = norm_of(model)
        if self._updates < FIRST_STEPS:
            self._missing = without_gradient(model)

    def _report_step(self, state: Any) -> None:
        self._step = int(state.global_step)
        if not self._reporter.connected:
            return
        loss = self._ears.loss()
        before = self._bad
        bad_norm = self._norm is not None and not math.isfinite(self._norm)
        if (loss is not None and not math.isfinite(loss)) or (bad_norm and not self._scaled):
            self._bad += 1
        took = None if self._began is None else max(0.0, self._clock() - self._began)
        self._tell(
            Phase.TRAINING,
            losses=None if loss is None else {"loss": loss},
            gradient_norm=self._norm,
            learning_rate=self._rate,
            missing_gradients=self._missing,
            non_finite_steps=self._counted(before),
            step_seconds=took,
            window=self._sampled.window(self._step) if self._sampled else None,
        )

    def _from_log(self, state: Any, logs: Mapping[str, Any]) -> None:
        loss, norm = number_of(logs.get("loss")), number_of(logs.get("grad_norm"))
        heard = self._ears.heard > 0
        if (loss is None and norm is None) or (heard and self._norm is not None):
            return  # both are known exactly
        before = self._bad
        if self._norm is None and norm is not None and not math.isfinite(norm):
            self._bad += not self._scaled and (not heard or self._ears.finite)
        self._tell(
            Phase.TRAINING,
            losses=None if heard or loss is None else {"loss": loss},
            gradient_norm=norm if self._norm is None else self._norm,
            learning_rate=number_of(logs.get("learning_rate")),
            non_finite_steps=self._counted(before),
        )

    def _counted(self, bad: int) -> int | None:
        """The counter trails the values by one report. None while a scaler may skip: the rule knows bursts."""
        return None if self._scaled else bad

    def _evaluated(self, metrics: Mapping[str, Any]) -> None:
        scores = {str(name).removeprefix("eval_"): number_of(v) for name, v in metrics.items()}
        fresh = {
            name: v for name, v in scores.items() if v is not None and not _NO_SCORE.search(name)
        }
        self._kept["evaluation"] = {**self._kept.get("evaluation", {}), **fresh}
        self._tell(Phase.EVALUATION)

    def _announce(self, state: Any, control: Any, *, evaluated: bool = False) -> None:
        """The Trainer evaluates, then saves, right after this event: a pause with a name is no stall."""
        if getattr(control, "should_evaluate", False) and not evaluated:
            self._guard(self._tell, Phase.EVALUATION)
        elif getattr(control, "should_save", False):
            self._guard(self._tell, Phase.CHECKPOINT)
        elif evaluated:
            self._guard(self._reporter.stamp, self._step, self._phase)

    def _tell(self, phase: Phase, **values: Any) -> None:
        self._reporter.stamp(self._step, phase)
        report = Datagram(
            rank=self._reporter.rank,
            step=self._step,
            time=self._clock(),
            phase=phase,
            updates=self._updates,
            samples_total=self._ears.samples or None,
            **{**self._kept, **values},
        )
        self._reporter.send(report)


class _Ears:
    """A forward hook on the model: what it is given, and the loss that it returns."""

    def __init__(self) -> None:
        self._hook: Any = None
        self._losses: list[Any] = []
        self._share = False
        self.samples = 0
        self.heard = 0  # micro-batches of this step whose loss the model returned
        self.finite = True

    def listen(self, model: Any) -> None:
        if model is not None:
            self._hook = model.register_forward_hook(self._hear, with_kwargs=True)

    def forget(self) -> None:
        self._losses, self._share, self.heard, self.finite = [], False, 0, True

    def close(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def loss(self) -> float | None:
        """Of the whole step, on this rank: shares add up, means are averaged."""
        if not self._losses:
            return None
        numbers = [float(loss) for loss in self._losses]
        self._losses = []
        total = math.fsum(numbers) if all(map(math.isfinite, numbers)) else sum(numbers)
        self.finite = math.isfinite(total)
        return total if self._share else total / len(numbers)

    def _hear(self, model: Any, positional: Any, named: Mapping[str, Any], output: Any) -> None:
        try:
            self._take(model, positional, named, output)
        except Exception:  # never raises into somebody's forward pass; the log is left as a source
            self.heard = 0

    def _take(self, model: Any, positional: Any, named: Mapping[str, Any], output: Any) -> None:
        if not model.training:
            return
        self.samples += batch_size([*positional, *named.values()])
        loss = _loss_of(output)
        if loss is None:
            return
        self.heard += 1
        self._share = named.get(_ITEMS) is not None
        self._losses.append(loss.detach())


class _Clipping:
    """What `Accelerator.clip_grad_norm_` returned: the norm before clipping, whatever backend measures it."""

    def __init__(self) -> None:
        self.norm: Any = None
        self._undo: Callable[[], None] | None = None

    def listen(self) -> None:
        """The callback is not given the accelerator, so its class is listened to; the call itself is unchanged."""
        accelerator = getattr(sys.modules.get("accelerate"), "Accelerator", None)
        original = getattr(accelerator, "clip_grad_norm_", None)
        if accelerator is None or original is None:
            return

        @functools.wraps(original)
        def listening(*arguments: Any, **named: Any) -> Any:
            self.norm = original(*arguments, **named)
            return self.norm

        def undo() -> None:
            if accelerator.clip_grad_norm_ is listening:
                accelerator.clip_grad_norm_ = original

        accelerator.clip_grad_norm_ = listening
        self._undo = undo

    def close(self) -> None:
        if self._undo is not None:
            self._undo()
            self._undo = None


def _checkpoint(args: Any, state: Any) -> str:
    """Where the Trainer keeps the checkpoint of the step that it is at."""
    return os.path.abspath(os.path.join(args.output_dir, f"checkpoint-{int(state.global_step)}"))


def _loss_of(output: Any) -> Any:
    """The scalar that a model returns as its loss; None when it returns none."""
    loss: Any = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if loss is None and isinstance(output, tuple) and output:
        loss = output[0] if getattr(output[0], "ndim", 1) == 0 else None
    if loss is None or not hasattr(loss, "detach"):
        return None
    return loss if loss.numel() == 1 else None
