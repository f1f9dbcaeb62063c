"""The broken twins of working recipes: what each breaks, and who must name it. Data for tests, docs and figures.

A twin is the working recipe, wrapped through the documented fault hook: `SPEECHTRAIN_WRAP_RECIPE=<twin.hook>`
with tests/zoo on PYTHONPATH. The engine can't tell it from the real one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from twins import vits_build, vits_data, vits_step

from speech_contract.preflight import Check
from speech_contract.progress import Rule


@dataclasses.dataclass(frozen=True)
class Twin:
    """One way to train wrongly.

    `check`: the preflight check that names it before step 1. `rules`: the rules that name it at step time when
    preflight is off; empty: no step shows it, a look at the weights or a held-out score does. `speakers`, `ranks`:
    how many it needs to do harm. `recipe`: fields of the recipe it needs. `emulated`: why it isn't what it was.
    """

    wrap: Callable[[Any], Any]
    check: Check
    rules: tuple[Rule, ...] = ()
    speakers: int = 1
    ranks: int = 1
    recipe: dict[str, Any] = dataclasses.field(default_factory=dict)
    emulated: str = ""

    @property
    def name(self) -> str:
        """As people write it."""
        return self.wrap.__name__.replace("_", " ")

    @property
    def breaks(self) -> str:
        """The first line of its docstring."""
        return (self.wrap.__doc__ or "").strip().splitlines()[0]

    @property
    def hook(self) -> str:
        """The value of SPEECHTRAIN_WRAP_RECIPE."""
        return f"{self.wrap.__module__}:{self.wrap.__name__}"


VITS: tuple[Twin, ...] = (
    # what the step does
    Twin(vits_step.labels_error_swallowed, Check.INITIAL_LOSS, (Rule.ZERO_LOSS, Rule.NO_GRADIENT)),
    Twin(vits_step.errors_swallowed, Check.INITIAL_LOSS, (Rule.ZERO_LOSS, Rule.NO_GRADIENT)),
    Twin(vits_step.half_of_the_batches_swallowed, Check.INITIAL_LOSS),
    Twin(vits_step.no_backward, Check.GRADIENTS, (Rule.NO_GRADIENT,)),
    Twin(vits_step.detached_loss, Check.GRADIENTS, (Rule.NO_GRADIENT,)),
    Twin(vits_step.dead_modules, Check.GRADIENTS, (Rule.NO_GRADIENT,)),
    Twin(vits_step.clamped_loss, Check.COMPONENTS, (Rule.CONSTANT_COMPONENT, Rule.NO_GRADIENT)),
    Twin(
        vits_step.half_precision_spectrogram,
        Check.INITIAL_LOSS,
        (Rule.NON_FINITE,),
        emulated="a CPU has no half-precision STFT: power is rounded to float16 after a float32 one",
    ),
    Twin(
        vits_step.hidden_nan,
        Check.INITIAL_LOSS,
        (Rule.NON_FINITE,),
        emulated="as half precision spectrogram",
    ),
    Twin(vits_step.attached_loss, Check.MEMORY),
    Twin(vits_step.loss_upside_down, Check.LOSS_FALLS),
    Twin(vits_step.one_rank_skips, Check.INITIAL_LOSS, (Rule.STALLED,), ranks=2),
    # what is built
    Twin(vits_build.frozen_module, Check.PARAMETERS),
    Twin(vits_build.module_without_optimizer, Check.PARAMETERS),
    Twin(vits_build.optimizer_over_a_copy, Check.PARAMETERS, (Rule.NO_GRADIENT,)),
    Twin(
        vits_build.half_precision_weights,
        Check.WEIGHTS,
        recipe={"learningRate": "2e-5"},
        emulated="weights are rounded to bfloat16 after each update: the engine's gate wants float32 ones",
    ),
    Twin(vits_build.learning_rate_rewritten, Check.EFFECTIVE_CONFIG, recipe={"learningRate": "1e-3"}),
    Twin(vits_build.learning_rate_lost, Check.LEARNING_RATE),
    Twin(vits_build.speaker_never_used, Check.GRADIENTS, (Rule.NO_GRADIENT,), speakers=2),
    # what is fed
    Twin(vits_data.text_lost, Check.INPUTS),
    Twin(vits_data.audio_lost, Check.INPUTS),
    Twin(vits_data.one_voice_for_all, Check.INPUTS, speakers=2),
    Twin(vits_data.one_batch_for_ever, Check.INPUTS),
)  # fmt: skip
