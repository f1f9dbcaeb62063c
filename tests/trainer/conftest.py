"""A small voice made of tones, and run configs that train on it: no espeak, no network, milliseconds."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from speech_contract.recipes import Preset, RecipeSpec, VitsRecipe
from speech_contract.run_config import Checkpoint, Data, DataSet, Precision, RunConfig, Training
from speech_trainer.audio.files import write_wav
from speech_trainer.engine.recipe import RecipeContext

RATE = 22050
MakeContext = Callable[..., RecipeContext]


def tone(seconds: float, pitch: float = 220.0) -> torch.Tensor:
    """A waveform with some harmonics, so that mel bins differ."""
    time = torch.arange(int(seconds * RATE)) / RATE
    harmonics = [torch.sin(2 * math.pi * pitch * k * time) / k for k in range(1, 6)]
    return 0.2 * torch.stack(harmonics).sum(dim=0)


def write_voice(folder: Path, name: str, count: int, first: int = 0) -> Path:
    """`count` utterances of growing length; letters stand for pitches."""
    (folder / "wavs").mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(first, first + count):
        letters = "".join("abcdefgh"[(number * 3 + i) % 8] for i in range(4 + number % 5))
        waveform = torch.cat([tone(0.12, 110.0 + 40.0 * "abcdefgh".index(c)) for c in letters])
        write_wav(folder / f"wavs/{number}.wav", waveform, RATE)
        lines.append(
            {
                "audio_filepath": f"wavs/{number}.wav",
                "duration": round(waveform.numel() / RATE, 4),
                "text": letters.upper(),
                "phonemes": letters,
                "speaker": "tones",
                "language": "en",
            }
        )
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors: two threads only wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.jsonl (12 lines) and validation.jsonl (3 lines)."""
    folder = tmp_path_factory.mktemp("voice")
    write_voice(folder, "train", 12)
    write_voice(folder, "validation", 3, first=12)
    return folder


@pytest.fixture
def own_voice(tmp_path: Path, voice: Path) -> Path:
    """A copy, for one test to spoil."""
    return Path(shutil.copytree(voice, tmp_path / "data"))


@pytest.fixture
def make_context(tmp_path: Path, voice: Path) -> MakeContext:
    """`make_context(preset=…, train=…, rank=…, …)` → a RecipeContext on the CPU."""

    def make(
        *,
        train: Path | None = None,
        validation: bool = True,
        rank: int = 0,
        world_size: int = 1,
        max_steps: int = 10,
        batch_size: int | None = 4,
        preset: Preset = Preset.DEBUG,
        pretrained: str = "",
        adversarial_start_step: int | None = None,
        run_dir: Path | None = None,
        precision: Precision = Precision.FP32,
    ) -> RecipeContext:
        run = run_dir or tmp_path / "run"
        run.mkdir(parents=True, exist_ok=True)
        recipe = VitsRecipe(
            preset=preset,
            pretrained=pretrained,
            adversarial_start_step=adversarial_start_step,
        )
        config = RunConfig(
            namespace="default",
            name="voice",
            uid="u",
            attempt=1,
            token="t",
            num_nodes=1,
            ranks_per_node=world_size,
            master_address="127.0.0.1",
            master_port=1,
            supervisor_addresses=[],
            run_dir=str(run),
            recipe=RecipeSpec(vits=recipe),
            training=Training(
                max_steps=max_steps, global_batch_size=batch_size, precision=precision
            ),
            checkpoint=Checkpoint(uri=str(run)),
            data=Data(
                train=DataSet(str(train or voice / "train.jsonl")),
                validation=DataSet(str(voice / "validation.jsonl")) if validation else None,
            ),
        )
        return RecipeContext(config, torch.device("cpu"), rank, world_size, run)

    return make


@pytest.fixture
def seeded() -> Iterator[None]:
    """Fixed random state, put back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
