"""The VITS generator: transformers' `VitsModel` sub-modules with the training forward it lacks.

`VitsModel.forward(labels=...)` raises NotImplementedError, so the pass of the paper (Kim, Kong and Son 2021,
"Conditional Variational Autoencoder with Adversarial Learning") is put together here: posterior → flow →
alignment search → durations → expanded prior → a random segment → decoder. Parameters keep their names, so an
export loads with `VitsModel.from_pretrained`. Called by `recipes.vits`.
Shapes: B batch, L tokens, F frames, D flow channels, H hidden channels, N linear bins, T samples.
"""

import math
from pathlib import Path
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from transformers import VitsConfig, VitsModel

from speech_trainer.errors import ConfigError
from speech_trainer.modules.alignment import alignment_path

MODULES: Final = (
    "text_encoder",
    "posterior_encoder",
    "flow",
    "duration_predictor",
    "decoder",
)
MAX_TOKEN_FRAMES: Final = 200
_SMALL_GAIN: Final = 0.1
_NEAR_ZERO: Final = (
    "posterior_encoder.conv_proj.weight",
    "text_encoder.project.weight",
    "duration_predictor.proj.weight",  # of the plain predictor
)


class GeneratorOutput(NamedTuple):
    """What the losses need. `start` is where each segment begins, in frames."""

    waveform: Tensor  # [B, 1, segment samples], generated from the posterior
    start: Tensor  # [B] int64
    flowed: Tensor  # z_p [B, D, F]: posterior sample through the flow
    prior_mean: Tensor  # [B, D, F], expanded by the alignment
    prior_log_scale: Tensor  # [B, D, F]
    posterior_log_scale: Tensor  # [B, D, F]
    frame_mask: Tensor  # [B, 1, F]
    duration_loss: Tensor  # scalar: negative log-likelihood per token
    alignment: Tensor  # [B, F, L], 0/1


class VitsGenerator(nn.Module):
    """One forward for all five modules, so that DDP can wrap it and every parameter gets gradient."""

    def __init__(self, model: VitsModel, segment_frames: int) -> None:
        super().__init__()
        self.vits = model
        self.segment_frames = segment_frames

    def forward(
        self,
        tokens: Tensor,
        token_lengths: Tensor,
        linear: Tensor,
        frame_lengths: Tensor,
        speakers: Tensor,
    ) -> GeneratorOutput:
        """Training pass.

        Args:
            tokens: [B, L] ids with blanks.
            token_lengths: [B].
            linear: [B, N, F] magnitudes, F ≥ `segment_frames`.
            frame_lengths: [B], each at least its token length.
            speakers: [B] ids; ignored by single-speaker models.
        """
        vits = self.vits
        token_mask = length_mask(token_lengths, tokens.size(1))
        frame_mask = length_mask(frame_lengths, linear.size(2))
        voice = self.voice(speakers)
        hidden, mean, log_scale = self.encode_text(tokens, token_mask)
        latent, _, posterior_log_scale = vits.posterior_encoder(linear, frame_mask, voice)
        flowed = vits.flow(latent, frame_mask, voice)
        alignment = align(flowed, mean, log_scale, token_mask, frame_mask)
        start = random_starts(frame_lengths, self.segment_frames)
        return GeneratorOutput(
            waveform=vits.decoder(segments(latent, start, self.segment_frames), voice),
            start=start,
            flowed=flowed,
            prior_mean=expand(mean, alignment),
            prior_log_scale=expand(log_scale, alignment),
            posterior_log_scale=posterior_log_scale,
            frame_mask=frame_mask,
            duration_loss=self.duration_loss(hidden, token_mask, voice, alignment),
            alignment=alignment,
        )

    def encode_text(self, tokens: Tensor, token_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden states [B, H, L], prior mean and log scale [B, D, L]."""
        encoded = self.vits.text_encoder(
            tokens, token_mask.transpose(1, 2), attention_mask=token_mask.squeeze(1).long()
        )
        # transformers calls them log-variances; they are used as log standard deviations.
        return (
            encoded.last_hidden_state.transpose(1, 2),
            encoded.prior_means.transpose(1, 2),
            encoded.prior_log_variances.transpose(1, 2),
        )

    def duration_loss(
        self, hidden: Tensor, token_mask: Tensor, voice: Tensor | None, alignment: Tensor
    ) -> Tensor:
        """Mean over tokens of how unlikely the durations are that the alignment gave; in float32.

        In bfloat16 the splines of the stochastic predictor leave their domain.
        """
        durations = alignment.sum(dim=1, keepdim=True)
        predictor = self.vits.duration_predictor
        with torch.autocast(hidden.device.type, enabled=False):
            hidden = hidden.float()
            if not self.vits.config.use_stochastic_duration_prediction:
                log_duration = predictor(hidden, token_mask, voice)
                return gamma_deviance(log_duration, durations, token_mask)
            loss: Tensor = predictor(hidden, token_mask, voice, durations=durations, reverse=False)
            return loss.sum() / token_mask.sum()

    def voice(self, speakers: Tensor) -> Tensor | None:
        """Speaker embeddings [B, S, 1], or None for a model with one speaker."""
        if self.vits.config.num_speakers < 2:
            return None
        embedded: Tensor = self.vits.embed_speaker(speakers)
        return embedded.unsqueeze(-1)

    @torch.no_grad()
    def synthesize(self, tokens: Tensor, speakers: Tensor) -> Tensor:
        """Waveform [T] of one sentence, tokens [1, L], at its most likely: no noise, so scores compare.

        The same as `VitsModel.forward` with both noise scales 0, except that a token lasts at most
        `MAX_TOKEN_FRAMES`: a diverged duration predictor must not fill the memory.
        """
        token_mask = torch.ones_like(tokens, dtype=torch.float32).unsqueeze(1)
        voice = self.voice(speakers)
        hidden, mean, _ = self.encode_text(tokens, token_mask)
        log_duration = self._log_duration(hidden, token_mask, voice)
        durations = torch.exp(log_duration).ceil().clamp(0, MAX_TOKEN_FRAMES)
        frames = durations.nan_to_num(1.0).long().flatten()
        if int(frames.sum()) == 0:
            frames[0] = 1
        prior = mean.repeat_interleave(frames, dim=2)
        latent = self.vits.flow(prior, torch.ones_like(prior[:, :1]), voice, reverse=True)
        waveform: Tensor = self.vits.decoder(latent, voice)
        return waveform.flatten().float()

    def _log_duration(self, hidden: Tensor, token_mask: Tensor, voice: Tensor | None) -> Tensor:
        """[B, 1, L], the most likely."""
        predictor = self.vits.duration_predictor
        if self.vits.config.use_stochastic_duration_prediction:
            result: Tensor = predictor(hidden, token_mask, voice, reverse=True, noise_scale=0.0)
            return result
        result = predictor(hidden, token_mask, voice)
        return result

    @torch.no_grad()
    def predicted_durations(
        self, tokens: Tensor, token_lengths: Tensor, speakers: Tensor
    ) -> Tensor:
        """Frames [B, L] that synthesis would give each token, before rounding up."""
        token_mask = length_mask(token_lengths, tokens.size(1))
        hidden, _, _ = self.encode_text(tokens, token_mask)
        return torch.exp(self._log_duration(hidden, token_mask, self.voice(speakers))).squeeze(1)

    @torch.no_grad()
    def aligned_durations(self, tokens: Tensor, linear: Tensor, speakers: Tensor) -> Tensor:
        """Frames [B, L] that the alignment gives each token of magnitudes [B, N, F]: all whole, no noise."""
        frame_mask = torch.ones_like(linear[:, :1])
        token_mask = torch.ones_like(tokens, dtype=torch.float32).unsqueeze(1)
        voice = self.voice(speakers)
        _, mean, log_scale = self.encode_text(tokens, token_mask)
        _, latent, _ = self.vits.posterior_encoder(linear, frame_mask, voice)
        flowed = self.vits.flow(latent, frame_mask, voice)
        return align(flowed, mean, log_scale, token_mask, frame_mask).sum(dim=1)

    @torch.no_grad()
    def reconstruct(self, linear: Tensor, speakers: Tensor) -> Tensor:
        """Waveform [B, T] decoded from the posterior mean of magnitudes [B, N, F]."""
        mask = torch.ones_like(linear[:, :1])
        voice = self.voice(speakers)
        _, mean, _ = self.vits.posterior_encoder(linear, mask, voice)
        waveform: Tensor = self.vits.decoder(mean, voice)
        return waveform.squeeze(1).float()


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """[B, 1, size] float32: 1 inside, 0 beyond each length."""
    inside = torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)
    return inside.float().unsqueeze(1)


@torch.no_grad()
def align(
    flowed: Tensor, mean: Tensor, log_scale: Tensor, token_mask: Tensor, frame_mask: Tensor
) -> Tensor:
    """Monotonic alignment [B, F, L] of frames under each token's Gaussian, in float32.

    The squares are multiplied out, so that the table comes from two matrix products.
    """
    with torch.autocast(flowed.device.type, enabled=False):
        flowed, mean, log_scale = flowed.float(), mean.float(), log_scale.float()
        precision = torch.exp(-2 * log_scale)
        constant = -0.5 * math.log(2 * math.pi) - log_scale - 0.5 * mean.square() * precision
        frames = flowed.transpose(1, 2)
        scores = (
            constant.sum(dim=1).unsqueeze(1)
            - 0.5 * frames.square() @ precision
            + frames @ (mean * precision)
        )
        mask = (frame_mask.transpose(1, 2) * token_mask).bool()
        return alignment_path(scores, mask)


def expand(per_token: Tensor, alignment: Tensor) -> Tensor:
    """[B, D, L] along the alignment [B, F, L]: [B, D, F], in float32."""
    with torch.autocast(per_token.device.type, enabled=False):
        return per_token.float() @ alignment.transpose(1, 2)


def gamma_deviance(log_duration: Tensor, durations: Tensor, token_mask: Tensor) -> Tensor:
    """Mean over tokens of log(p/d) + d/p - 1 for predicted p and found d, both minus half a frame.

    VITS fits the logarithm by squares, whose optimum is the geometric mean: speech comes out too short
    until durations are certain, and too long afterwards because synthesis rounds up (`ceil`). This loss has
    the arithmetic mean as its optimum, and the half frame cancels the rounding.
    """
    target = (durations - 0.5).clamp_min(0.5)
    log_duration = log_duration.float()
    deviance = log_duration - target.log() + target * torch.exp(-log_duration) - 1.0
    return (deviance * token_mask).sum() / token_mask.sum()


def random_starts(frame_lengths: Tensor, size: int) -> Tensor:
    """A uniform start [B] for a segment of `size` frames inside each utterance; 0 if it is shorter."""
    room = (frame_lengths - size + 1).clamp_min(1)
    return (torch.rand(room.shape, device=room.device) * room).long()


def segments(sequence: Tensor, start: Tensor, size: int) -> Tensor:
    """[B, D, F] → [B, D, size] from each start, without asking the host."""
    index = start.unsqueeze(1) + torch.arange(size, device=start.device)
    return sequence.gather(2, index.unsqueeze(1).expand(-1, sequence.size(1), -1))


def new_model(config: VitsConfig) -> VitsModel:
    """Random weights, with the starts that the original gives them and transformers leaves out.

    Flows begin as the identity and the two encoders near zero (KL starts near 1, not 1,300); the residual
    blocks of the decoder keep torch's own start.
    """
    model = VitsModel(config)
    for name, parameter in model.named_parameters():
        if name.startswith("flow.") and ".conv_post." in name:
            nn.init.zeros_(parameter)
        elif name in _NEAR_ZERO:
            nn.init.xavier_uniform_(parameter, gain=_SMALL_GAIN)
        elif name.startswith("decoder.resblocks.") and name.endswith(".weight"):
            nn.init.kaiming_uniform_(parameter, a=math.sqrt(5))
    return model


def pretrained_config(directory: Path) -> VitsConfig:
    """Sizes of a pretrained model. Raises: ConfigError when the directory holds none."""
    if not (directory / "config.json").is_file():
        remedy = "name a directory with config.json and model.safetensors of a VitsModel"
        raise ConfigError(
            f"recipe.vits.pretrained: {str(directory)!r} has no config.json; {remedy}"
        )
    config = VitsConfig.from_pretrained(directory, local_files_only=True)
    config.layerdrop = 0.0  # it would leave parameters without gradient
    return config


def load_pretrained(directory: Path) -> VitsModel:
    """Weights and sizes from a local directory, as float32 masters.

    Raises: ConfigError when it is no directory of a VitsModel in safetensors form.
    """
    try:
        model = VitsModel.from_pretrained(
            directory,
            config=pretrained_config(directory),
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        remedy = "it must hold config.json and model.safetensors of a VitsModel"
        raise ConfigError(
            f"recipe.vits.pretrained: {str(directory)!r} can't be loaded ({error}); {remedy}"
        ) from error
    assert isinstance(model, VitsModel)
    return model
