"""VITS engines that stop at their preflight or after a few steps. Shared by the preflight's tests and their workers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import toy

from speech_contract import paths
from speech_contract.preflight import Mark
from speech_contract.recipes import Preset, RecipeSpec, VitsRecipe
from speech_contract.run_config import Data, DataSet, RunConfig
from speech_contract.thresholds import HealthMode, Preflight
from speech_trainer.engine.distributed import Ranks, World
from speech_trainer.engine.loop import Engine
from speech_trainer.engine.outside import Outside
from speech_trainer.engine.recipe import RecipeContext
from speech_trainer.errors import PreflightFailed
from speech_trainer.preflight import run as preflight
from speech_trainer.recipes.vits.recipe import Vits, create


@dataclasses.dataclass
class Desk:
    """One engine with everything it said. `config` can be changed before `engine` is first asked for."""

    engine: Engine
    recipe: Vits
    said: toy.Recorder
    shown: list[str]
    aborted: list[tuple[int, str]]

    def run(self) -> str:
        """Empty when the preflight (or the run) passed, else why it failed."""
        try:
            self.engine.run()
        except PreflightFailed as error:
            return str(error)
        return ""

    @property
    def table(self) -> list[dict[str, Any]]:
        """The rows of preflight.json."""
        path = Path(self.engine.config.run_dir) / paths.PREFLIGHT
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["results"]
        return rows

    def marked(self, mark: Mark) -> list[str]:
        """Checks with this mark, each once."""
        return list(dict.fromkeys(r["check"] for r in self.table if r["mark"] == mark.value))


def make_config(run_dir: Path, voice: Path, **changes: Any) -> RunConfig:
    """A small VITS run on `voice`; `recipe`, `training`, `preflight` take mappings."""
    recipe = VitsRecipe(**{"preset": Preset.DEBUG, **changes.pop("recipe", {})})
    preflight = Preflight(**changes.pop("preflight", {}))
    data = Data(DataSet(str(voice / "train.jsonl")), DataSet(str(voice / "validation.jsonl")))
    training = {"max_steps": 4, "global_batch_size": 2, "seed": 3, **changes.pop("training", {})}
    return dataclasses.replace(
        toy.make_config(run_dir, training=training, health={"preflight": preflight}, **changes),
        recipe=RecipeSpec(vits=recipe),
        data=data,
    )


def sit(
    config: RunConfig,
    wrap: Callable[[Any], Any] = lambda recipe: recipe,
    *,
    only: bool = True,
    world: World | None = None,
) -> Desk:
    """An engine on the CPU, alone unless a world is given."""
    world = world or World(Ranks(), torch.device("cpu"))
    run_dir = Path(config.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    recipe = wrap(create(RecipeContext(config, world.device, world.rank, world.size, run_dir)))
    said, shown, aborted = toy.Recorder(), [], []
    outside = Outside(
        said,
        said,
        None,
        None,
        shown.append,
        lambda *told: aborted.append(told),
        only,
        preflight.run,
    )
    return Desk(Engine(config, recipe, world, outside), recipe, said, shown, aborted)


NOTIFY = {"mode": HealthMode.NOTIFY}
OFF = {"mode": HealthMode.OFF}
