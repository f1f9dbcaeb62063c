"""Held-out scores of a codec beside what trivial answers score, and recordings to listen to.

Scores: `snr` and `si_sdr` in dB, `mel` (the distance that training uses; it tells which checkpoint is the best), and of
the codes of all held-out recordings `perplexity` (the lowest of all books), `dead_codes` (share never chosen) and
`bits_used` (entropy of the codes in bits a second). Baselines: `silence`, `shaped_noise` (noise with the mean spectrum
of the training data) and `nearest_clip` (the piece of the training data that is closest by `mel`). `pesq` and `stoi`
join where their packages are installed (`audio.perceptual`).

Silent recordings have no SNR and are left out, with a warning; scores are means over recordings, each counted once.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from speech_contract.pictures import COLUMNS, Map, Pictures
from speech_contract.scores import Better, ScoreSpec
from speech_trainer.audio import perceptual
from speech_trainer.audio.files import write_takes
from speech_trainer.engine.recipe import Evaluation
from speech_trainer.models.codec import Codec
from speech_trainer.recipes.codec.material import Material

_WRITTEN: Final = 4  # recordings written as audio
_TRAINING_CLIPS: Final = 16  # that the baselines know
_QUIET: Final = 1e-8  # power of a recording without a signal-to-noise ratio
BEST_SCORE: Final = "mel"
SPECS: Final = {
    "snr": ScoreSpec(Better.HIGHER, "dB"),
    "si_sdr": ScoreSpec(Better.HIGHER, "dB"),
    "mel": ScoreSpec(Better.LOWER),
    "perplexity": ScoreSpec(Better.HIGHER),
    "dead_codes": ScoreSpec(Better.LOWER),
    "bits_used": ScoreSpec(None, "bit/s"),
}
Scores = dict[str, float]


def snr(candidate: Tensor, reference: Tensor) -> float:
    """Signal-to-noise ratio in dB of waveforms [T]."""
    return _decibels(reference.square().sum(), (candidate - reference).square().sum())


def si_sdr(candidate: Tensor, reference: Tensor) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019) of waveforms [T]."""
    candidate, reference = candidate - candidate.mean(), reference - reference.mean()
    target = (candidate @ reference) / reference.square().sum() * reference
    return _decibels(target.square().sum(), (candidate - target).square().sum())


def code_scores(codes: Sequence[Tensor], size: int, frames_a_second: float) -> Scores:
    """Of codes [L, F] of several recordings, all books together."""
    usage = _usage(codes, size)
    shares = usage / usage.sum(dim=1, keepdim=True)
    entropy = torch.special.entr(shares).sum(dim=1)
    return {
        "perplexity": float(entropy.min().exp()),
        "dead_codes": float((usage == 0).float().mean()),
        "bits_used": float(entropy.sum()) / math.log(2.0) * frames_a_second,
    }


def _usage(codes: Sequence[Tensor], size: int) -> Tensor:
    """[L, K]: how often each code of each level was chosen."""
    return torch.stack(
        [torch.bincount(book, minlength=size) for book in torch.cat(list(codes), dim=1)]
    )


def usage_map(codes: Sequence[Tensor], size: int) -> Pictures:
    """How often each code was chosen, the most frequent first, of codes [L, F] of several recordings.

    In shares of what even use would give; neighbours by rank are joined where there are more codes than columns.
    """
    usage = _usage(codes, size)
    ranked = usage.sort(dim=1, descending=True).values / usage.sum(dim=1, keepdim=True) * size
    group = -(-size // COLUMNS)
    padded = functional.pad(ranked, (0, -size % group))
    together = padded.unflatten(1, (-1, group)).mean(dim=2)
    rows = [f"q{book}: {int((own > 0).sum())} of {size}" for book, own in enumerate(usage)]
    values = together.tolist()
    across = "codes by how often they are chosen" + (f", {group} together" if group > 1 else "")
    note = "1 = as often as if all were; the rows say how many are in use"
    return Pictures(
        maps=[Map("Codebooks: how often each code is chosen", across, rows, values, note)]
    )


class Evaluator:
    """Holds the held-out recordings; called with a codec as often as wanted."""

    def __init__(self, material: Material, mel: nn.Module) -> None:
        self._material, self._mel = material, mel
        settings = material.settings
        clips = material.clips(material.validation, settings.evaluation_clips)
        self._held_out = [clip for clip in clips if float(clip.square().mean()) > _QUIET]
        if len(self._held_out) < len(clips):
            logging.getLogger(__name__).warning(
                "%d held-out recordings are silent and not scored", len(clips) - len(self._held_out)
            )

    def __call__(self, codec: Codec, folder: Path, *, coded: bool) -> Evaluation:
        """Scores, baselines and written files. Training mode is as before after it."""
        training = codec.training
        codec.eval()
        try:
            with torch.no_grad():
                return self._evaluate(codec, folder, coded)
        finally:
            codec.train(training)

    @cached_property
    def baselines(self) -> Mapping[str, Scores]:
        """What trivial answers score; empty without held-out data."""
        if not self._held_out:
            return {}
        training = self._material.clips(self._material.manifest, _TRAINING_CLIPS)
        spectrum = _mean_spectrum(training)
        answers = {
            "silence": [torch.zeros_like(clip) for clip in self._held_out],
            "shaped_noise": [_noise(spectrum, clip.numel()) for clip in self._held_out],
            "nearest_clip": [self._nearest(clip, training) for clip in self._held_out],
        }
        return {
            name: self._compare(list(zip(found, self._held_out, strict=True)), sdr=False)
            for name, found in answers.items()
        }

    def _evaluate(self, codec: Codec, folder: Path, coded: bool) -> Evaluation:
        clips = self._held_out or self._material.clips(self._material.manifest, _WRITTEN)
        device = next(codec.parameters()).device
        pairs, codes = [], []
        for clip in clips:
            output, quantized = codec(clip.to(device)[None, None], coded=coded)
            decoded = output[0, 0].cpu()
            pairs.append((decoded, clip[: decoded.numel()]))
            codes += [quantized.codes[0].cpu()] if coded else []
        rate = self._material.settings.sample_rate
        written = write_takes(folder, ("decoded", "recorded"), pairs[:_WRITTEN], rate)
        settings = self._material.settings
        drawn = usage_map(codes, settings.quantizer.codes) if coded else Pictures()
        if not self._held_out:
            return Evaluation(scores={}, samples=written, pictures=drawn)
        scores = self._compare(pairs, sdr=True) | perceptual.scores(pairs, rate)
        if coded:
            frames = settings.sample_rate / settings.hop
            scores |= code_scores(codes, settings.quantizer.codes, frames)
        specs = {**SPECS, **perceptual.SPECS}
        return Evaluation(scores, self.baselines, written, specs, drawn)

    def _compare(self, pairs: Sequence[tuple[Tensor, Tensor]], *, sdr: bool) -> Scores:
        """Means over (candidate, reference) pairs of waveforms [T]."""
        scores = {
            "snr": fmean(snr(a, b) for a, b in pairs),
            "mel": fmean(self._distance(a, b) for a, b in pairs),
        }
        return scores | ({"si_sdr": fmean(si_sdr(a, b) for a, b in pairs)} if sdr else {})

    def _distance(self, candidate: Tensor, reference: Tensor) -> float:
        device = next(self._mel.buffers()).device
        return float(self._mel(candidate[None].to(device), reference[None].to(device)))

    def _nearest(self, clip: Tensor, training: Sequence[Tensor]) -> Tensor:
        fitted = [_fitted(other, clip.numel()) for other in training]
        return min(fitted, key=lambda other: self._distance(other, clip))


def _decibels(signal: Tensor, noise: Tensor) -> float:
    """Of two energies; a perfect copy is bounded, not infinite."""
    return float(10.0 * torch.log10(signal / noise.clamp_min(1e-12)).clamp(-120.0, 120.0))


def _mean_spectrum(clips: Sequence[Tensor]) -> Tensor:
    """Mean magnitude [bins] over all frames of 1024 samples."""
    window = torch.hann_window(1024)
    spectra = [torch.stft(clip, 1024, window=window, return_complex=True).abs() for clip in clips]
    mean: Tensor = torch.cat(spectra, dim=1).mean(dim=1) / window.square().sum().sqrt()
    return mean


def _noise(spectrum: Tensor, size: int) -> Tensor:
    """[T] of the same noise every time, with this spectrum."""
    white = torch.randn(size, generator=torch.Generator().manual_seed(0))
    bins = torch.fft.rfft(white)
    shape = functional.interpolate(spectrum[None, None], size=bins.numel(), mode="linear")[0, 0]
    noise: Tensor = torch.fft.irfft(bins * shape, n=size)
    return noise


def _fitted(clip: Tensor, size: int) -> Tensor:
    return functional.pad(clip[:size], (0, max(0, size - clip.numel())))
