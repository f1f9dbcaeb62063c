"""Held-out scores of a voice beside what a trivial answer would score, and sentences to listen to.

Scores: `dtw_mel` (synthesized speech against the recording), `length_ratio` (frames per recorded frame) and
`posterior_mel` (decoder fed from the recording). Baselines for `dtw_mel`: `constant_frame`, the median frame
of the training data, and `other_sentence`, a recording of the same voice that says something else.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Final

import torch
from torch import Tensor

from speech_contract.pictures import Line, Pictures, Plot
from speech_contract.scores import Better, ScoreSpec
from speech_trainer.audio.distance import (
    constant_distance,
    dtw_mel,
    length_ratio,
    median_frame,
)
from speech_trainer.audio.files import write_takes
from speech_trainer.audio.spectrograms import Spectrograms
from speech_trainer.data.samples import Sample
from speech_trainer.engine.recipe import Evaluation
from speech_trainer.models.vits import MAX_TOKEN_FRAMES, VitsGenerator
from speech_trainer.recipes.vits.presets import VitsSettings

_WRITTEN: Final = 4  # sentences written as audio
_NOTE: Final = 160  # characters of a sentence under its alignment
BEST_SCORE: Final = "dtw_mel"  # tells which checkpoint is the best
SPECS: Final = {
    "dtw_mel": ScoreSpec(Better.LOWER),
    "length_ratio": ScoreSpec(Better.TARGET, target=1.0),
    "posterior_mel": ScoreSpec(Better.LOWER),
}


class Evaluator:
    """Holds the held-out recordings; called with a generator as often as wanted."""

    def __init__(
        self,
        training: Sequence[Sample],
        held_out: Sequence[Sample],
        speakers: dict[str, int],
        settings: VitsSettings,
    ) -> None:
        self._training = training
        self._held_out = held_out
        self._speakers = speakers
        self._rate = settings.spectrogram.sample_rate
        self._hop = settings.spectrogram.hop_length
        self._spectrograms = Spectrograms(settings.spectrogram)

    def __call__(self, generator: VitsGenerator, folder: Path) -> Evaluation:
        """Scores, baselines and written files. Training mode and random state are as before after it."""
        training = generator.training
        devices = [generator.vits.device] if generator.vits.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            generator.eval()
            try:
                return self._evaluate(generator, folder)
            finally:
                generator.train(training)

    @cached_property
    def baselines(self) -> dict[str, dict[str, float]]:
        """What trivial answers score; empty without held-out data."""
        if not self._held_out:
            return {}
        frame = median_frame([self._log_mel(s.waveform) for s in self._training])
        others = self._targets[1:] + self._targets[:1]
        return {
            "constant_frame": {
                "dtw_mel": fmean(constant_distance(frame, mel) for mel in self._targets)
            },
            "other_sentence": {
                "dtw_mel": fmean(
                    dtw_mel(other, mel) for other, mel in zip(others, self._targets, strict=True)
                )
            },
        }

    @cached_property
    def _targets(self) -> list[Tensor]:
        return [self._log_mel(sample.waveform) for sample in self._held_out]

    def _evaluate(self, generator: VitsGenerator, folder: Path) -> Evaluation:
        samples = self._held_out or self._training[:_WRITTEN]
        spoken = [self._speak(generator, sample) for sample in samples]
        recorded = [sample.waveform for sample in samples]
        listened = list(zip(spoken, recorded, strict=True))[:_WRITTEN]
        written = write_takes(folder, ("synthesized", "recorded"), listened, self._rate)
        plots = [
            self._alignment(generator, sample, number)
            for number, sample in enumerate(samples[:_WRITTEN], start=1)
        ]
        drawn = Pictures(plots=plots)
        if not self._held_out:
            return Evaluation(scores={}, samples=written, pictures=drawn)
        mels = [self._log_mel(waveform) for waveform in spoken]
        pairs = list(zip(mels, self._targets, strict=True))
        scores = {
            "dtw_mel": fmean(dtw_mel(mel, target) for mel, target in pairs),
            "length_ratio": fmean(length_ratio(mel, target) for mel, target in pairs),
            "posterior_mel": fmean(self._posterior_mel(generator, s) for s in self._held_out),
        }
        return Evaluation(scores, self.baselines, written, SPECS, drawn)

    def _speak(self, generator: VitsGenerator, sample: Sample) -> Tensor:
        device = generator.vits.device
        tokens = torch.tensor([sample.tokens], device=device)
        return generator.synthesize(tokens, self._speaker(sample, device)).cpu()

    def _alignment(self, generator: VitsGenerator, sample: Sample, number: int) -> Plot:
        """Which token each frame of the recording belongs to, beside the durations that synthesis would give."""
        device = generator.vits.device
        tokens = torch.tensor([sample.tokens], device=device)
        linear = self._spectrograms.linear(self._whole_frames(sample.waveform)).to(device)
        speaker = self._speaker(sample, device)
        length = torch.tensor([tokens.size(1)], device=device)
        found = generator.aligned_durations(tokens, linear, speaker)
        predicted = generator.predicted_durations(tokens, length, speaker)
        spoken = predicted[0].nan_to_num(0.0).clamp(0, MAX_TOKEN_FRAMES)  # diverged it is anything
        lines = [_path("aligned", found[0]), _path("predicted", spoken)]
        text = sample.utterance.text
        note = text if len(text) <= _NOTE else f"{text[:_NOTE]}…"
        return Plot(f"{number}: alignment", "frame", "token", lines, note)

    def _posterior_mel(self, generator: VitsGenerator, sample: Sample) -> float:
        device = generator.vits.device
        linear = self._spectrograms.linear(self._whole_frames(sample.waveform)).to(device)
        waveform = generator.reconstruct(linear, self._speaker(sample, device)).cpu()
        target = self._log_mel(sample.waveform)
        return float((self._log_mel(waveform[0]) - target).abs().mean())

    def _speaker(self, sample: Sample, device: torch.device) -> Tensor:
        number = self._speakers.get(sample.utterance.speaker, 0)
        return torch.tensor([number], device=device)

    def _whole_frames(self, waveform: Tensor) -> Tensor:
        return waveform[: waveform.numel() // self._hop * self._hop].unsqueeze(0)

    def _log_mel(self, waveform: Tensor) -> Tensor:
        """[M, F] of waveform [T]; speech too short for one FFT frame is padded with silence."""
        short = self._spectrograms.settings.fft_size - waveform.numel()
        padded = torch.nn.functional.pad(waveform, (0, max(0, short)))
        mel: Tensor = self._spectrograms(self._whole_frames(padded))
        return mel.squeeze(0)


def _path(label: str, durations: Tensor) -> Line:
    """Through the end of each token, from durations [L] in frames."""
    ends = [0.0, *durations.double().cumsum(dim=0).tolist()]
    return Line(label, ends, list(map(float, range(len(ends)))))
