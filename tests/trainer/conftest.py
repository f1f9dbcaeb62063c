"""A small voice made of tones, and run configs that train on it: no espeak, no network, milliseconds."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tones import write_voice

from speech_contract.recipes import Preset, RecipeSpec, VitsRecipe
from speech_contract.run_config import Checkpoint, Data, DataSet, Precision, RunConfig, Training
from speech_trainer.engine.recipe import RecipeContext

MakeContext = Callable[..., RecipeContext]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors: two threads only wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def torch_as_before() -> Iterator[None]:
    """A test may start the trainer's entry points, which set up their process; here it is everybody's."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


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
