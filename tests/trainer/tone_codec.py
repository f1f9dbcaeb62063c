"""A toy recipe of audio alone: a codec of two codebooks on tones, through everything that the engine asks of a recipe.

Reads a manifest without text, keeps its codebooks as staged buffers (EMA of the vectors that chose each code) and
reports their usage. Stands for a recipe that is no voice: it shares no line with one.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from speech_contract import paths
from speech_contract.recipes import CustomRecipe, RecipeSpec
from speech_contract.run_config import Data, DataSet, RunConfig
from speech_contract.scores import Better, ScoreSpec
from speech_trainer.data.loader import Place, Quarantine, TrainingStream
from speech_trainer.data.manifest import read_manifest
from speech_trainer.data.sampler import Sampler
from speech_trainer.data.samples import Sample, SampleLimits, load_sample
from speech_trainer.engine.expectations import Expectations
from speech_trainer.engine.recipe import (
    BookRecord,
    Built,
    Evaluation,
    RecipeContext,
    RunFacts,
    Section,
    StepRecord,
    unwrap,
)
from speech_trainer.preflight import manifests
from speech_trainer.recipes.optimizers import AdamSettings, adamw_plan

FRAME: Final = 64  # samples that one code stands for
FRAMES: Final = 16  # of a sample in a batch
CODES: Final = 8
DECAY: Final = 0.9
RATE: Final = 22050


@dataclasses.dataclass(frozen=True)
class AudioBatch:
    frames: Tensor  # [B, FRAMES, FRAME]
    positions: tuple[str, ...]
    weight: float
    audio_seconds: float

    @property
    def samples(self) -> int:
        return len(self.positions)

    @property
    def count(self) -> int:
        return self.samples

    def to(self, device: torch.device) -> AudioBatch:
        return dataclasses.replace(self, frames=self.frames.to(device, non_blocking=True))


def collate(samples: Sequence[Sample]) -> AudioBatch:
    size = FRAME * FRAMES
    waves = [F.pad(s.waveform[:size], (0, max(0, size - s.waveform.numel()))) for s in samples]
    stacked = torch.stack(waves or [torch.zeros(size)])
    return AudioBatch(
        frames=stacked.view(-1, FRAMES, FRAME),
        positions=tuple(s.utterance.audio_filepath for s in samples),
        weight=1.0 if samples else 0.0,
        audio_seconds=len(samples) * size / RATE,
    )


class Codec(nn.Module):
    """Encoder and decoder; what lies between is the recipe's."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(FRAME, 8)
        self.decoder = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, FRAME))


@dataclasses.dataclass
class Faults:
    """`nan_steps`: NaN at these steps, the first time they are taken. `scores`: what evaluations say, in order."""

    nan_steps: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()
    one_code: bool = False  # every vector gets code 0: collapse


class ToneCodec:
    """Implements `speech_trainer.engine.recipe.Recipe`."""

    name = "toneCodec"

    def __init__(self, context: RecipeContext, faults: Faults | None = None) -> None:
        data = context.config.data
        assert data is not None
        self.context, self.faults = context, faults or Faults()
        self.manifest = read_manifest(Path(data.train.manifest), needs_text=False)
        self._nan = set(self.faults.nan_steps)
        self._scores = list(self.faults.scores)

    def effective_config(self) -> dict[str, Any]:
        return {"recipe": self.name, "globalBatchSize": 4}

    def run_facts(self) -> RunFacts:
        return RunFacts(
            global_batch_size=4,
            log_every_steps=1,
            samples=len(self.manifest.utterances),
            audio_seconds=sum(u.duration for u in self.manifest.utterances),
            best_score="snr",
            goal_snr=5.0,
            bits_per_second=6 * RATE / FRAME,
        )

    def data(self) -> TrainingStream[AudioBatch]:
        training, limits = self.context.config.training, SampleLimits(RATE, FRAME, FRAME, 60.0)
        return TrainingStream(
            Sampler([u.duration for u in self.manifest.utterances], 4, training.seed),
            load=lambda i, _: load_sample(self.manifest, self.manifest.utterances[i], None, limits),
            collate=collate,
            place=Place(self.context.rank, self.context.world_size, training.micro_batch_size),
            on_skip=Quarantine(self.context.run_dir / paths.QUARANTINE, self.manifest.utterances),
        )

    def build(self) -> Built:
        codec, training = Codec(), self.context.config.training
        modules = {"encoder": codec.encoder, "decoder": codec.decoder}
        plan = adamw_plan(modules, 3e-3, training.max_steps, AdamSettings(clip_norm=10.0))
        staged = {f"book{n}": torch.randn(CODES, 8) * 0.3 for n in range(2)}
        staged |= {f"used{n}": torch.ones(CODES) for n in range(2)}
        ema = {name: p.detach().clone() for name, p in codec.named_parameters()}
        return Built({"codec": codec}, {"codec": plan}, staged, ema)

    def preflight_checks(self, built: Built) -> Expectations:
        return Expectations(
            components={},
            weights={},
            objectives={"codec": "codec/reconstruction"},
            learning_rates={},
            data=lambda: [
                *manifests.duration_rows(self.manifest.utterances, 60.0),
                manifests.duplicates_row(self.manifest),
                manifests.overlap_row(self.manifest, None),
            ],
            inputs=lambda batches: [],
        )

    def train_step(self, built: Built, batch: AudioBatch, step: int) -> StepRecord:
        codec = unwrap(built.models["codec"])  # one rank: no DDP to go through
        latent = codec.encoder(batch.frames)
        quantised, books = self._quantise(built, latent, learn=batch.weight > 0)
        decoded = codec.decoder(latent + (quantised - latent).detach())
        reconstruction = F.mse_loss(decoded, batch.frames)
        commitment = F.mse_loss(latent, quantised)
        total = (reconstruction + 0.1 * commitment) * batch.weight
        if step in self._nan:
            self._nan.discard(step)
            total = total * float("nan")
        total.backward()
        losses = {"codec/reconstruction": reconstruction, "codec/commitment": commitment}
        told = {name: (loss * batch.weight).detach() for name, loss in losses.items()}
        return StepRecord({"total": total.detach(), **told}, books, batch.samples * FRAMES)

    @torch.no_grad()
    def _quantise(
        self, built: Built, latent: Tensor, *, learn: bool
    ) -> tuple[Tensor, dict[str, BookRecord]]:
        """Two levels, each on what the one before left; codebooks move towards what chose them."""
        left, total = latent.detach().reshape(-1, 8), torch.zeros_like(latent).reshape(-1, 8)
        records = {}
        for level in range(2):
            book, used = built.staged[f"book{level}"], built.staged[f"used{level}"]
            codes = torch.cdist(left, book).argmin(1)
            if self.faults.one_code:
                codes = torch.zeros_like(codes)
            chosen = F.one_hot(codes, CODES).float()
            usage = chosen.sum(0)
            if learn:
                used.lerp_(usage, 1 - DECAY)
                means = chosen.T @ left / usage.clamp(min=1).unsqueeze(1)
                book.copy_(torch.where(usage.unsqueeze(1) > 0, torch.lerp(book, means, 0.1), book))
            before = left.square().sum()
            total, left = total + book[codes], left - book[codes]
            records[f"q{level}"] = BookRecord(
                usage=usage,
                dead=(used < 0.01).float().mean(),
                residual=left.square().sum() / before.clamp(min=1e-12),
            )
        return total.view_as(latent), records

    def after_update(self, built: Built, step: int, gate: Tensor) -> None:
        for name, parameter in unwrap(built.models["codec"]).named_parameters():
            built.ema[name].lerp_(parameter.detach(), 0.1)

    def evaluate(self, built: Built, step: int) -> Evaluation:
        score = self._scores.pop(0) if self._scores else float(step)
        return Evaluation(
            {"snr": score}, {"silence": {"snr": 0.0}}, specs={"snr": ScoreSpec(Better.HIGHER, "dB")}
        )

    def strategic_sections(self, built: Built, batch: AudioBatch, step: int) -> list[Section]:
        return [Section("Input", {"files": list(batch.positions)})]

    def export(self, built: Built, directory: Path) -> None:
        codec = unwrap(built.models["codec"])
        tensors = {**codec.state_dict(), **{k: v for k, v in built.staged.items() if k[0] == "b"}}
        save_file(tensors, directory / "model.safetensors")
        (directory / "config.json").write_text(json.dumps(self.effective_config()))


def without_text(manifest: Path) -> Path:
    """The manifest of a voice as audio alone."""
    lines = [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]
    kept = [{k: line[k] for k in ("audio_filepath", "duration")} for line in lines]
    path = manifest.with_name("audio.jsonl")
    path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
    return path


def of(config: RunConfig, manifest: Path) -> RunConfig:
    """A toy run config on audio alone."""
    return dataclasses.replace(
        config, recipe=RecipeSpec(custom=CustomRecipe()), data=Data(DataSet(str(manifest)))
    )
