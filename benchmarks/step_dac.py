"""The training step of descript-audio-codec 1.0.0 at the sizes of its 24 kHz model. Used by step_watch.py.

Network, discriminators and losses are the package's own; the package holds no training script, so the order of the step
is that of the repository's `scripts/train.py` with `conf/final/24khz.yml`: discriminators first, both sides judged
anew for the generator, two clips, two AdamW; the STFT and waveform losses are computed for the log and weigh nothing.
"""

from __future__ import annotations

import warnings

import dac
import torch
from audiotools import AudioSignal
from dac.nn import loss as losses
from step_watch import SAMPLE_RATE, Step, Watch
from torch import Tensor

warnings.filterwarnings("ignore")
WEIGHTS = {"mel": 15.0, "feature_matching": 2.0, "adversarial": 1.0, "commitment": 0.25, "codebook": 1.0}  # fmt: skip
WINDOWS = [32, 64, 128, 256, 512, 1024, 2048]
MELS = [5, 10, 20, 40, 80, 160, 320]
CUT = 40  # samples: behind odd strides the network gives a few less than it takes, and its losses want equal lengths
BANDS = [(0.0, 0.1), (0.1, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0)]


def make(batch: Tensor, watch: Watch) -> Step:
    """One update of everything on `batch` [B, 1, T]."""
    codec = dac.model.DAC(
        encoder_dim=64, encoder_rates=[2, 4, 5, 8], decoder_dim=1536, decoder_rates=[8, 5, 4, 2],
        n_codebooks=32, codebook_size=1024, codebook_dim=8, quantizer_dropout=0.5, sample_rate=SAMPLE_RATE,
    ).train()  # fmt: skip
    judges = dac.model.Discriminator(
        rates=[], periods=[2, 3, 5, 7, 11], fft_sizes=[2048, 1024, 512], sample_rate=SAMPLE_RATE, bands=BANDS,
    ).train()  # fmt: skip
    adams = [torch.optim.AdamW(m.parameters(), lr=1e-4, betas=(0.8, 0.99)) for m in (codec, judges)]
    mel = losses.MelSpectrogramLoss(
        n_mels=MELS, window_lengths=WINDOWS, mel_fmin=[0] * 7, mel_fmax=[None] * 7,
        pow=1.0, clamp_eps=1e-5, mag_weight=0.0,
    )  # fmt: skip
    stft, l1, gan = losses.MultiScaleSTFTLoss(), losses.L1Loss(), losses.GANLoss(judges)
    watch.module("encoder", codec.encoder, lambda found: found)
    watch.module("quantiser", codec.quantizer, lambda found: found[0])
    watch.module("decoder", codec.decoder, lambda found: found)

    def judge(decoded: AudioSignal, real: AudioSignal) -> None:
        loss = gan.discriminator_loss(decoded, real)
        adams[1].zero_grad()
        loss.backward()

    def update(which: int, module: torch.nn.Module, norm: float) -> None:
        torch.nn.utils.clip_grad_norm_(module.parameters(), norm)
        adams[which].step()

    def step() -> None:
        real = AudioSignal(batch[..., :-CUT].clone(), SAMPLE_RATE)  # padded back inside
        found = codec(real.audio_data, SAMPLE_RATE)
        decoded = AudioSignal(found["audio"], SAMPLE_RATE)
        with watch.stage("discriminators, their update"):
            judge(decoded, real)
        with watch.stage("optimizers"):
            update(1, judges, 10.0)
        with watch.stage("losses without a weight, forward"):
            stft(decoded, real), l1(decoded, real)
        with watch.stage("losses, forward"):
            terms = {"mel": mel(decoded, real)}
        with watch.stage("discriminators for the codec"):
            terms["adversarial"], terms["feature_matching"] = gan.generator_loss(decoded, real)
        terms |= {"commitment": found["vq/commitment_loss"], "codebook": found["vq/codebook_loss"]}
        total = sum(WEIGHTS[name] * term for name, term in terms.items())
        adams[0].zero_grad()
        watch.begins("discriminators and losses, backward")
        total.backward()
        watch.ends()
        with watch.stage("optimizers"):
            update(0, codec, 1e3)

    return step
