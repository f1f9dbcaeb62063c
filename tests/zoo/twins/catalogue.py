"""The broken twins of working recipes: what each breaks, and who must name it. Data for tests, docs and figures.

A twin is the working recipe, wrapped through the documented fault hook: `SPEECHTRAIN_WRAP_RECIPE=<twin.hook>`
with tests/zoo on PYTHONPATH. The engine can't tell it from the real one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from twins import codec_books, codec_data, codec_step, vits_build, vits_data, vits_step

from speech_contract.preflight import Check
from speech_contract.progress import Rule
from speech_contract.recipes import CodecPreset
from speech_trainer.recipes.codec.presets import PRESETS

STEPS = 24  # of a run, from the first step at which a twin does anything


@dataclasses.dataclass(frozen=True)
class Twin:
    """One way to train wrongly.

    `check`: the preflight check that names it before step 1; None: a rule does at step 1. `warned`: the check warns
    and the run goes on, for it may be meant. `rules`: the rules that name it at step time when preflight is off; empty:
    no step shows it, and `later` says what does. `acts_from`: the first step at which it does anything, in the Debug
    preset. `speakers`, `ranks`: how many it needs to do harm. `recipe`, `training`: fields it needs. `emulated`: why it
    isn't what it was.
    """

    wrap: Callable[[Any], Any]
    check: Check | None
    rules: tuple[Rule, ...] = ()
    warned: bool = False
    acts_from: int = 1
    speakers: int = 1
    ranks: int = 1
    recipe: dict[str, Any] = dataclasses.field(default_factory=dict)
    training: dict[str, Any] = dataclasses.field(default_factory=dict)
    emulated: str = ""
    later: str = ""

    @property
    def name(self) -> str:
        """As people write it."""
        return self.wrap.__name__.replace("_", " ")

    @property
    def breaks(self) -> str:
        """The first line of its docstring."""
        return (self.wrap.__doc__ or "").strip().splitlines()[0]

    @property
    def last(self) -> int:
        """The last step of a run that shows it."""
        return self.acts_from - 1 + STEPS

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

START = PRESETS[CodecPreset.DEBUG].quantizer.start_step  # of the codebooks
PLANNED = {"maxSteps": 300}  # a shorter run is a trial, of which nothing is expected
CODEC: tuple[Twin, ...] = (
    # what the step does
    Twin(
        codec_step.half_precision_mel,
        Check.INITIAL_LOSS,
        (Rule.NON_FINITE,),
        emulated="a CPU has no half-precision STFT: power, root and logarithm are rounded to float16",
    ),
    Twin(
        codec_step.clamp_over_a_nan,
        Check.COMPONENTS,
        (Rule.NON_FINITE,),
        emulated="as half precision mel",
    ),
    Twin(
        codec_step.nan_skipped,
        Check.INITIAL_LOSS,
        (Rule.ZERO_LOSS, Rule.NO_GRADIENT),
        emulated="as half precision mel",
    ),
    Twin(codec_step.clamped_loss, Check.GRADIENTS, (Rule.NO_GRADIENT,)),
    Twin(codec_step.clamped_mel, Check.COMPONENTS, (Rule.CONSTANT_COMPONENT,)),
    Twin(
        codec_step.clamped_commitment, Check.COMPONENTS, (Rule.CONSTANT_COMPONENT,), acts_from=START
    ),
    # what becomes of codes and codebooks
    Twin(
        codec_books.decoder_hears_latents,
        Check.CODEBOOKS,
        later="held-out scores of the exported model, decoded from codes",
    ),
    Twin(codec_books.decoder_ignores_codes, Check.GRADIENTS, (Rule.NO_GRADIENT,)),
    Twin(
        codec_books.no_straight_through,
        Check.CODEBOOKS,
        later="the held-out `mel`, which stands where the codebooks started",
    ),
    Twin(
        codec_books.commitment_detached,
        Check.CODEBOOKS,
        later="the held-out `snr`, which hardly rises",
    ),
    Twin(
        codec_books.books_from_normal, Check.CODEBOOKS, (Rule.CODEBOOK_COLLAPSE,), acts_from=START
    ),
    Twin(
        codec_books.averages_of_the_rounded,
        Check.CODEBOOKS,
        (Rule.CODEBOOK_COLLAPSE,),
        acts_from=START,
    ),
    Twin(
        codec_books.too_few_latents,
        Check.CODEBOOKS,
        later="nothing, where dead codes are revived, which heals it",
    ),
    Twin(
        codec_books.revival_keeps_counts,
        Check.CODEBOOKS,
        later="the held-out `dead_codes`, which do not get fewer",
    ),
    Twin(
        codec_books.two_writers,
        Check.CODEBOOKS,
        later="nothing that is reported",
    ),
    Twin(
        codec_books.books_not_staged,
        Check.CODEBOOKS,
        later="NonFinite, after the first NaN, or a resumed run that starts over",
    ),
    Twin(
        codec_books.each_rank_its_own_books, Check.CODEBOOKS, (Rule.RANK_DIVERGENCE,), ranks=2
    ),
    # what is fed and planned
    Twin(codec_data.frozen_encoder, Check.PARAMETERS, later="a checkpoint's bits (NotUpdating)"),
    Twin(codec_data.silent_audio, Check.INPUTS, later="held-out scores"),
    Twin(codec_data.constant_audio, Check.INPUTS, later="held-out scores"),
    Twin(codec_data.one_batch_for_ever, Check.INPUTS, later="held-out scores (GoalUnreachable)"),
    Twin(
        codec_data.rate_that_moves_nothing,
        None,
        (Rule.NOT_UPDATING,),
        recipe={"learningRate": "1e-5"},
        training=PLANNED,
    ),
    Twin(
        codec_data.three_steps_an_epoch,
        Check.DATA,
        (Rule.GOAL_UNREACHABLE,),
        warned=True,
        training=PLANNED,
    ),
    Twin(
        codec_data.one_batch_of_validation,
        Check.DATA,
        (Rule.GOAL_UNREACHABLE,),
        warned=True,
        training=PLANNED,
    ),
)  # fmt: skip
