"""What the model says by itself of a few held-out sentences: whether it ends, how long it speaks, and what to hear.

Scores of teacher-forced predictions can be good while free speech runs on for ever. `length_error`: frames too many or
too few as a share of the recording's, 0 when it ends where the speaker did; `never_ended`: share of sentences that
were cut at twice their length. With a codec at hand each is written beside the recording and the reference, all three
as the codec gives them back; with a recogniser too, `cer` is the character error rate, and that of the recordings, as
the codec gives them back, is its baseline `recorded`.

The cost is bounded: `generated_samples` sentences, none above `MOST_SECONDS`, and a pass of one row for each of at most
twice their frames. Called by the recipe's evaluation.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Final

from torch import Tensor

from speech_contract.scores import Better, ScoreSpec
from speech_trainer.audio.files import write_takes
from speech_trainer.engine.recipe import Evaluation
from speech_trainer.models.backbone import Backbone
from speech_trainer.models.recognizers import character_error_rate
from speech_trainer.models.sampling import Generated, NonFiniteLogits, Sampling, generate
from speech_trainer.recipes.voice_cloning.listening import Listeners
from speech_trainer.recipes.voice_cloning.material import Material, Sample

LONGEST: Final = 2.0  # of the recording's length; what goes on beyond is cut
MOST_SECONDS: Final = 10.0  # of a recording
FREE: Final = ("length_error", "never_ended")
KINDS: Final = ("generated", "recorded", "reference")
SPECS: Final[Mapping[str, ScoreSpec]] = {
    "length_error": ScoreSpec(Better.LOWER),
    "never_ended": ScoreSpec(Better.LOWER),
    "cer": ScoreSpec(Better.LOWER),
}


class Speaker:
    """Holds the sentences, and what is at hand to listen with."""

    def __init__(self, material: Material, samples: Sequence[Sample], listeners: Listeners) -> None:
        heard = [s for s in samples if s.reference and s.utterance.duration <= MOST_SECONDS]
        self._samples = heard[: material.settings.generated_samples]
        self._material, self._listeners = material, listeners

    def __call__(self, backbone: Backbone, folder: Path) -> Evaluation:
        """Let the model speak, in evaluation mode for the while, and write it below `folder`."""
        if not self._samples:
            return Evaluation({})
        training = backbone.training
        backbone.eval()
        try:
            said = [self._speak(backbone, n, s) for n, s in enumerate(self._samples)]
        except NonFiniteLogits:  # told by every other score too; the rules judge it
            return Evaluation(dict.fromkeys(FREE, math.nan), specs=SPECS)
        finally:
            backbone.train(training)
        pairs = list(zip(said, self._samples, strict=True))
        scores = {
            "length_error": fmean(abs(_length(one, s) - 1.0) for one, s in pairs),
            "never_ended": fmean(not one.ended for one in said),
        }
        return self._listened(Evaluation(scores, specs=SPECS), said, folder)

    def _speak(self, backbone: Backbone, number: int, sample: Sample) -> Generated:
        material, spoken = self._material, sample.spoken
        prompt = material.kind.prompt(
            material.tokens, material.grid, spoken.text, sample.reference, None
        )
        longest = int(LONGEST * spoken.codes.size(1))
        return generate(backbone, prompt, Sampling(longest, seed=number))

    def _listened(self, found: Evaluation, said: Sequence[Generated], folder: Path) -> Evaluation:
        """With files, and with what a recogniser understands, as far as either is at hand."""
        codec = self._listeners.codec
        if codec is None:
            return found
        takes = [
            [codec.decode(codes) for codes in (one.codes, s.spoken.codes, s.reference.codes)]
            for one, s in zip(said, self._samples, strict=True)
            if s.reference is not None
        ]
        rate = codec.facts.sample_rate
        written = write_takes(folder, KINDS, takes, rate)
        found = dataclasses.replace(found, samples=written)
        if self._listeners.recognizer is None:
            return found
        generated, recorded = (self._errors([take[n] for take in takes], rate) for n in (0, 1))
        return dataclasses.replace(
            found,
            scores={**found.scores, "cer": generated},
            baselines={"recorded": {"cer": recorded}},
        )

    def _errors(self, waveforms: Sequence[Tensor], rate: int) -> float:
        understand = self._listeners.recognizer
        assert understand is not None
        understood = [understand(waveform, rate) for waveform in waveforms]
        return character_error_rate(understood, [s.spoken.text for s in self._samples])


def _length(said: Generated, sample: Sample) -> float:
    return said.codes.size(1) / sample.spoken.codes.size(1)
