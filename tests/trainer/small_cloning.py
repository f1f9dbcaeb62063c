"""Backbones of voice cloning at the size of a test, and what they read. Used by tests of models and of the recipe."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
import toy
from safetensors.torch import save_file
from torch import Tensor
from transformers import DacConfig, DacModel

from speech_contract import codec as wire_codec
from speech_contract.recipes import CloningPreset, RecipeSpec, VoiceCloningRecipe
from speech_contract.run_config import Data, DataSet, RunConfig
from speech_trainer.data.codes import METADATA, CodecFacts, CodesReference, digest_of
from speech_trainer.data.delay import Grid
from speech_trainer.data.sequences import Columns, collate, lay
from speech_trainer.engine.distributed import Ranks, World
from speech_trainer.engine.loop import Engine
from speech_trainer.engine.outside import Outside
from speech_trainer.engine.recipe import RecipeContext
from speech_trainer.models import higgs_v2, higgs_v3
from speech_trainer.models.backbone import Backbone, Sizes, Spoken
from speech_trainer.models.tokens import Tokens, byte_tokens
from speech_trainer.preflight import run as preflight
from speech_trainer.recipes.voice_cloning import presets
from speech_trainer.recipes.voice_cloning.recipe import VoiceCloning

M = TypeVar("M", bound=Backbone)
BOOKS, CODES = 4, 16
GRID = Grid(BOOKS, CODES)
SIZES = Sizes(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=16,
)


def tokens_of(model: type[Backbone]) -> Tokens:
    """Bytes and the marks of its prompt."""
    return byte_tokens(model.markers)


def v3(seed: int = 0) -> higgs_v3.HiggsV3:
    """Random weights, norms among them: a norm of ones hides a norm that is left out."""
    torch.manual_seed(seed)
    return _shaken(higgs_v3.HiggsV3.fresh(tokens_of(higgs_v3.HiggsV3), GRID, SIZES))


def v2(seed: int = 0) -> higgs_v2.HiggsV2:
    """The same."""
    torch.manual_seed(seed)
    return _shaken(higgs_v2.HiggsV2.fresh(tokens_of(higgs_v2.HiggsV2), GRID, SIZES))


def codes(frames: int, seed: int = 0) -> Tensor:
    """[Q, F], no two recordings alike."""
    return torch.randint(0, CODES, (BOOKS, frames), generator=torch.Generator().manual_seed(seed))


def columns(model: Backbone) -> Columns:
    """Two rows of unequal length, one with a reference."""
    tokens = tokens_of(type(model))
    spoken = [
        model.prompt(tokens, model.grid, "good morning", Spoken("hello", codes(5, 1)), codes(9, 2)),
        model.prompt(tokens, model.grid, "hi", None, codes(3, 3)),
    ]
    return collate([lay(pieces, model.grid) for pieces in spoken], padding=0)


def _shaken(model: M) -> M:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


# -- the recipe -----------------------------------------------------------------------------------------------------

CPU = torch.device("cpu")
LETTERS = "abcdefgh"
CODEC = CodecFacts("dac", "d", BOOKS, CODES, sample_rate=24000, hop=960)
VOICES = (0, 5, 10)  # what a speaker adds to every code: nothing but the reference tells it
SMALL = dataclasses.replace(
    presets.PRESETS[CloningPreset.DEBUG],
    sizes=SIZES,
    batch_size=8,
    learning_rate=1e-2,
    warmup_steps=4,
    evaluation_samples=12,
)


@contextlib.contextmanager
def settled(**changes: Any) -> Iterator[None]:
    """The Debug preset that small for a while."""
    before = presets.PRESETS
    table = dict(before) | {CloningPreset.DEBUG: dataclasses.replace(SMALL, **changes)}
    presets.PRESETS = table  # type: ignore[misc]
    try:
        yield
    finally:
        presets.PRESETS = before  # type: ignore[misc]


def speak(text: str, voice: int) -> Tensor:
    """[Q, F]: two frames a letter, the same in every book but for a step."""
    letters = torch.tensor([LETTERS.index(letter) for letter in text]).repeat_interleave(2)
    return (2 * letters[None] + voice + torch.arange(BOOKS)[:, None]) % CODES


def write_codec(folder: Path, seed: int = 0) -> Path:
    """A codec of random weights with the sizes of CODEC."""
    torch.manual_seed(seed)
    ratios = [8, 5, 4, 2, 3]
    config = DacConfig(
        encoder_hidden_size=2, decoder_hidden_size=32, downsampling_ratios=ratios, n_codebooks=BOOKS,
        codebook_size=CODES, sampling_rate=CODEC.sample_rate,
    )  # fmt: skip
    DacModel(config).save_pretrained(folder)
    return folder


def write_set(
    folder: Path, name: str, count: int, seed: int, least: int = 3, digest: str = CODEC.digest
) -> Path:
    """A manifest of `count` utterances of `least` to 6 letters, with codes of a codec with this digest; each hears
    another one of its speaker."""
    folder.mkdir(parents=True, exist_ok=True)
    chance, lines, stored = random.Random(seed), [], {}
    for number in range(count):
        voice = number % len(VOICES)
        text = "".join(chance.choices(LETTERS, k=chance.randint(least, 6)))
        stored[str(number)] = codes = speak(text, VOICES[voice])
        place = CodesReference(f"{name}.codes", str(number), codes.size(1), digest_of(codes))
        lines.append(
            {
                "audio_filepath": f"{name}-{number}.wav",
                "duration": codes.size(1) / CODEC.frame_rate,
                "text": text,
                "speaker": f"{name}-{voice}",
                "codes": wire_codec.to_document(place),
                "ref_audio": f"{name}-{(number + len(VOICES)) % count}.wav",
            }
        )
    facts = dataclasses.replace(CODEC, digest=digest)
    save_file(stored, folder / f"{name}.codes", {METADATA: wire_codec.dumps(facts)})
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def config_of(run_dir: Path, data: Path, **changes: Any) -> RunConfig:
    """A run config of a dozen steps."""
    recipe = {"preset": CloningPreset.DEBUG, **changes.pop("recipe", {})}
    return dataclasses.replace(
        toy.make_config(run_dir, **changes),
        recipe=RecipeSpec(voice_cloning=VoiceCloningRecipe(**recipe)),
        data=Data(DataSet(str(data / "train.jsonl")), DataSet(str(data / "validation.jsonl"))),
    )


def recipe_of(run_dir: Path, data: Path, **changes: Any) -> VoiceCloning:
    """One rank's recipe."""
    run_dir.mkdir(parents=True, exist_ok=True)
    config = config_of(run_dir, data, **changes)
    return VoiceCloning(RecipeContext(config, CPU, 0, 1, run_dir))


@dataclasses.dataclass
class Run:
    """An engine round the recipe, and what it said."""

    engine: Engine
    said: toy.Recorder


def make(
    config: RunConfig,
    *,
    world: World | None = None,
    checked: bool = False,
    wrap: Callable[[Any], Any] = lambda recipe: recipe,
    dies_at: int | None = None,
) -> Run:
    """One rank's run. `wrap`: as SPEECHTRAIN_WRAP_RECIPE does. `dies_at`: the step at whose beginning it is killed."""
    run_dir = Path(config.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    world = world or World(Ranks(), CPU)
    recipe = wrap(VoiceCloning(RecipeContext(config, CPU, world.rank, world.size, run_dir)))
    if dies_at is not None:
        recipe = _dying(recipe, dies_at)
    said = toy.Recorder()
    outside = Outside(said, said, said)
    if checked:
        outside = dataclasses.replace(outside, preflight=preflight.run)
    return Run(Engine(config, recipe, world, outside), said)


def _dying(recipe: Any, at: int) -> Any:
    original = recipe.train_step

    def train_step(built: Any, batch: Any, step: int) -> Any:
        if step == at:
            raise KeyboardInterrupt
        return original(built, batch, step)

    recipe.train_step = train_step
    return recipe
