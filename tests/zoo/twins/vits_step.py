"""Broken twins of the VITS recipe, by what they do in a step. Listed in twins.catalogue.

Each takes the built recipe and returns one that the engine can't tell from it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from twins.hooks import nothing

from speech_trainer.audio.spectrograms import Spectrograms
from speech_trainer.engine.recipe import Built, StepRecord, unwrap
from speech_trainer.models.vits import GeneratorOutput, length_mask
from speech_trainer.recipes import adversarial
from speech_trainer.recipes.vits.batch import VitsBatch
from speech_trainer.recipes.vits.recipe import Vits

BOUND = 1.0  # of the clamped loss: below what a voice starts with


def labels_error_swallowed(recipe: Vits) -> Vits:
    """Calls the stock model with labels, which raises for every sample, and passes over it: loss 0.0.

    `VitsModel.forward(labels=…)` raises NotImplementedError; `except: continue` makes an epoch of it in seconds.
    """

    def train_step(built: Built, batch: VitsBatch, step: int) -> StepRecord:
        vits = unwrap(built.models[adversarial.GENERATOR]).vits
        total = torch.zeros(())
        for tokens, waveform in zip(batch.tokens, batch.waveform, strict=True):
            try:
                output = vits(input_ids=tokens.unsqueeze(0), labels=waveform.unsqueeze(0))
                output.loss.backward()
                total += output.loss.detach()
            except Exception:
                continue
        return StepRecord({**nothing().losses, "total": total})

    recipe.train_step = train_step  # type: ignore[method-assign]
    return recipe


def errors_swallowed(recipe: Vits) -> Vits:
    """Any error in the step is passed over, here a shape that never fits: loss 0.0."""
    original = recipe.train_step

    def train_step(built: Built, batch: VitsBatch, step: int) -> StepRecord:
        try:
            built.models[adversarial.GENERATOR](batch.tokens, batch.token_lengths, batch.waveform)
            return original(built, batch, step)
        except Exception:
            return nothing()

    recipe.train_step = train_step  # type: ignore[method-assign]
    return recipe


def half_of_the_batches_swallowed(recipe: Vits) -> Vits:
    """Every second batch raises; the first ten errors are printed, and training goes on without it."""
    original = recipe.train_step
    calls = {"all": 0, "printed": 0}

    def train_step(built: Built, batch: VitsBatch, step: int) -> StepRecord:
        calls["all"] += 1
        try:
            if calls["all"] % 2 == 0:
                raise ValueError("a sample that this loop can't read")
            return original(built, batch, step)
        except ValueError as error:
            calls["printed"] += 1
            if calls["printed"] <= 10:
                print(f"skipped: {error}")
            return nothing()

    recipe.train_step = train_step  # type: ignore[method-assign]
    return recipe


def no_backward(recipe: Vits) -> Vits:
    """Computes every loss and never calls backward."""
    original = recipe.train_step

    def train_step(built: Built, batch: VitsBatch, step: int) -> StepRecord:
        losses = original(built, batch, step)
        for plan in built.optimizers.values():
            plan.optimizer.zero_grad(set_to_none=True)
        return losses

    recipe.train_step = train_step  # type: ignore[method-assign]
    return recipe


def detached_loss(recipe: Vits) -> Vits:
    """Calls backward on a number: `torch.tensor(loss.item(), requires_grad=True)` raises nothing and trains nothing."""
    original = recipe._reconstruction

    def reconstruction(real: Tensor, output: GeneratorOutput, terms: dict[str, Tensor]) -> Tensor:
        loss = original(real, output, terms)
        return loss.detach().requires_grad_()

    recipe._reconstruction = reconstruction  # type: ignore[method-assign]
    return recipe


def dead_modules(recipe: Vits) -> Vits:
    """L1 between the mel of freely synthesized speech and of the recording, unaligned: two modules never learn.

    The posterior encoder is never used, and `ceil` cuts the gradient of the durations, while the loss falls nicely.
    """

    def train_step(built: Built, batch: VitsBatch, step: int) -> StepRecord:
        generator = unwrap(built.models[adversarial.GENERATOR])
        waveform = _synthesize(generator, batch)
        size = min(waveform.size(1), batch.waveform.size(1))
        generated = recipe.spectrograms(waveform[:, :size])
        recorded = recipe.spectrograms(batch.waveform[:, :size])
        loss = (generated - recorded).abs().mean()
        loss.backward()
        return StepRecord({"total": loss.detach(), "generator/mel": loss.detach()})

    recipe.train_step = train_step  # type: ignore[method-assign]
    return recipe


def clamped_loss(recipe: Vits) -> Vits:
    """min(mel loss, 1.0) "for stability": the component stands at its bound and has no gradient there."""
    original = recipe._reconstruction

    def reconstruction(real: Tensor, output: GeneratorOutput, terms: dict[str, Tensor]) -> Tensor:
        loss = original(real, output, terms)
        mel = terms["generator/mel"]
        terms["generator/mel"] = mel.clamp(max=BOUND)
        return loss + recipe.settings.weights.mel * (terms["generator/mel"] - mel)

    recipe._reconstruction = reconstruction  # type: ignore[method-assign]
    return recipe


class HalfSpectrograms(Spectrograms):
    """The spectrograms under autocast to float16: power above 65504 is Inf, 1e-8 is 0, and its logarithm -Inf."""

    def linear(self, waveform: Tensor) -> Tensor:
        """Magnitudes [B, N, F]."""
        padded = torch.nn.functional.pad(
            waveform.float().unsqueeze(1), (self._pad, self._pad), mode="reflect"
        ).squeeze(1)
        power = self._power(padded) / self._power.window.square().sum()  # a normalised STFT
        return power.half().float().sqrt()

    def log_mel(self, linear: Tensor) -> Tensor:
        """log(mel + 1e-8) [B, M, F]."""
        return (self._to_mel(linear).half() + torch.tensor(1e-8).half()).float().log()


def half_precision_spectrogram(recipe: Vits) -> Vits:
    """The spectrogram is computed in half precision: power overflows or vanishes, log(0), NaN at once."""
    recipe.spectrograms = HalfSpectrograms(recipe.settings.spectrogram)
    return recipe


def hidden_nan(recipe: Vits) -> Vits:
    """As above, and the logger filters NaN: the log says loss 0.0, only the gradient tells."""
    original = half_precision_spectrogram(recipe).train_step

    def train_step(built: Built, batch: VitsBatch, step: int) -> StepRecord:
        losses = original(built, batch, step).losses
        filtered = {n: torch.nan_to_num(loss, 0.0, 0.0, 0.0) for n, loss in losses.items()}
        return StepRecord(filtered)

    recipe.train_step = train_step  # type: ignore[method-assign]
    return recipe


def attached_loss(recipe: Vits) -> Vits:
    """Sums up losses that still hold their graph: memory grows with every step."""
    original = recipe.train_step
    kept: list[Tensor] = []

    def train_step(built: Built, batch: VitsBatch, step: int) -> StepRecord:
        losses = dict(original(built, batch, step).losses)
        linear = recipe.spectrograms.linear(batch.waveform)
        output = unwrap(built.models[adversarial.GENERATOR])(
            batch.tokens, batch.token_lengths, linear, batch.frame_lengths, batch.speakers
        )
        kept.append(output.duration_loss)
        losses["total"] = losses["total"] + 0.0 * sum(kept)
        return StepRecord(losses)

    recipe.train_step = train_step  # type: ignore[method-assign]
    return recipe


def loss_upside_down(recipe: Vits) -> Vits:
    """A sign is lost: the optimizers climb."""
    build = recipe.build

    def built() -> Built:
        made = build()
        for plan in made.optimizers.values():
            for group in plan.optimizer.param_groups:
                group["maximize"] = True
        return made

    recipe.build = built  # type: ignore[method-assign]
    return recipe


def one_rank_skips(recipe: Vits) -> Vits:
    """The last rank passes over each second batch on its own; the others wait for its gradients, for ever."""
    original = recipe.train_step
    last, calls = recipe.context.world_size - 1, [0]

    def train_step(built: Built, batch: VitsBatch, step: int) -> StepRecord:
        calls[0] += 1
        if recipe.context.rank == last and calls[0] % 2 == 0:
            return nothing()
        return original(built, batch, step)

    recipe.train_step = train_step  # type: ignore[method-assign]
    return recipe


def _synthesize(generator: torch.nn.Module, batch: VitsBatch) -> Tensor:
    """Waveform [B, T] of whole utterances, batched, with gradient where there can be one."""
    vits = generator.vits
    token_mask = length_mask(batch.token_lengths, batch.tokens.size(1))
    hidden, mean, _ = generator.encode_text(batch.tokens, token_mask)
    durations = torch.exp(vits.duration_predictor(hidden, token_mask, None)).ceil() * token_mask
    ends = durations.cumsum(dim=2)
    frames = torch.arange(int(ends.max()), device=ends.device).view(1, -1, 1)
    path = ((frames < ends) & (frames >= ends - durations)).float()
    prior = mean @ path.transpose(1, 2)
    latent = vits.flow(prior, torch.ones_like(prior[:, :1]), None, reverse=True)
    return vits.decoder(latent, None).squeeze(1)
