"""The broken twins of working recipes: what each breaks, and who must name it. Data for tests, docs and figures.

A twin is the working recipe, wrapped through the documented fault hook: `SPEECHTRAIN_WRAP_RECIPE=<twin.hook>`
with tests/zoo on PYTHONPATH. The engine can't tell it from the real one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from twins import (
    cloning_build,
    cloning_data,
    cloning_step,
    codec_books,
    codec_data,
    codec_step,
    vits_build,
    vits_data,
    vits_step,
)

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
    Twin(
        codec_data.frozen_encoder,
        Check.PARAMETERS,
        later="held-out scores; what is frozen is not watched by NotUpdating",
    ),
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

SCORES = "held-out scores"
CLONING: tuple[Twin, ...] = (
    # what is made of a batch and of its loss
    Twin(cloning_step.codes_missing, Check.INPUTS, (Rule.ZERO_LOSS, Rule.NO_GRADIENT)),
    Twin(cloning_step.no_backward, Check.GRADIENTS, (Rule.NO_GRADIENT,)),
    Twin(cloning_step.labels_shifted_twice, Check.INPUTS, later=SCORES),
    Twin(cloning_step.labels_not_shifted, Check.INPUTS, later="a loss below what codes allow"),
    Twin(cloning_step.ends_masked, Check.INPUTS, later="the held-out `eoc_accuracy`"),
    Twin(cloning_step.begin_is_learned, Check.INPUTS, later="nothing: the loss looks better than it is"),
    Twin(cloning_step.reference_is_learned, Check.INPUTS, later=SCORES),
    Twin(cloning_step.frames_of_the_neighbour, Check.INPUTS, later="nothing that is reported"),
    Twin(cloning_step.mean_of_means, Check.INPUTS, later=SCORES),
    Twin(cloning_step.divided_by_words, Check.INITIAL_LOSS, later="the level of the loss"),
    # what is built
    Twin(cloning_build.table_frozen, Check.PARAMETERS, later=SCORES),
    Twin(cloning_build.backbone_frozen, Check.PARAMETERS, later=SCORES),
    Twin(cloning_build.table_without_optimizer, Check.PARAMETERS, later=SCORES),
    Twin(cloning_build.backbone_detached, Check.GRADIENTS, (Rule.NO_GRADIENT,)),
    Twin(cloning_build.rows_detached, Check.GRADIENTS, later=SCORES),
    Twin(cloning_build.deaf_to_the_reference, Check.INPUTS, later="the held-out `swap_gain`"),
    Twin(cloning_build.sees_the_future, Check.INPUTS, later="a loss below what codes allow"),
    Twin(
        cloning_build.wrong_rope_base,
        Check.EFFECTIVE_CONFIG,
        later="nothing: from random weights it is as good; a pretrained model is refused",
    ),
    Twin(cloning_build.untied_table, Check.EFFECTIVE_CONFIG, later="the exported model"),
    Twin(cloning_build.books_too_close, Check.INPUTS, later="the exported model"),
    Twin(
        cloning_build.adapters_do_nothing,
        Check.GRADIENTS,
        (Rule.NO_GRADIENT,),
        emulated="adapters beside random weights: no pretrained model is at hand",
    ),
    Twin(
        cloning_build.half_precision_weights,
        Check.WEIGHTS,
        recipe={"learningRate": "2e-5"},
        emulated="weights are rounded to bfloat16 after each update: the engine's gate wants float32 ones",
        later=SCORES,
    ),
    Twin(cloning_build.schedule_stepped_per_process, None, (Rule.SCHEDULE_MISMATCH,)),
    Twin(
        cloning_build.schedule_that_ended,
        Check.LEARNING_RATE,
        (Rule.NOT_UPDATING,),
        warned=True,
        acts_from=cloning_build.ENDS_AFTER + 1,
        training=PLANNED,
    ),
    Twin(
        cloning_build.warm_up_for_ever,
        Check.LEARNING_RATE,
        (Rule.NOT_UPDATING,),
        warned=True,
        training=PLANNED,
    ),
    # what is fed and planned
    Twin(cloning_data.reference_is_the_target, Check.DATA, later="the held-out `swap_gain`"),
    Twin(
        cloning_data.lines_without_a_reference,
        Check.DATA,
        warned=True,
        later="the held-out `swap_gain` and `mute_gain`",
    ),
    Twin(cloning_data.held_out_copies, Check.DATA, later="nothing: scores look better than they are"),
    Twin(
        cloning_data.held_out_sentences_known,
        Check.DATA,
        warned=True,
        later="nothing: scores look better than they are",
    ),
    Twin(cloning_data.audio_features_empty, Check.INPUTS, later="a loss below what codes allow"),
    Twin(cloning_data.delay_undone, Check.INPUTS, later="what it speaks"),
    Twin(cloning_data.reference_text_without_audio, Check.INPUTS, later="the held-out `swap_gain`"),
    Twin(cloning_data.one_batch_for_ever, Check.INPUTS, later="held-out scores (GoalUnreachable)"),
    Twin(
        cloning_data.three_steps_an_epoch,
        Check.DATA,
        (Rule.GOAL_UNREACHABLE,),
        warned=True,
        training=PLANNED,
    ),
    Twin(
        cloning_data.batches_of_a_fixed_number,
        Check.INPUTS,
        recipe={"microBatchTokens": 200},
        later="the memory of the longest batch",
    ),
    Twin(
        cloning_data.never_scored,
        Check.DATA,
        warned=True,
        training={**PLANNED, "evaluateEverySteps": 0},
        later="nothing until the run is over",
    ),
    Twin(
        cloning_data.evaluates_another_model,
        None,
        (Rule.NOT_UPDATING,),
        training={"evaluateEverySteps": 4},
    ),
)  # fmt: skip
