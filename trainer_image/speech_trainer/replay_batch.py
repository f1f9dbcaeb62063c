"""`python -m speech_trainer.replay_batch --run-dir DIR`: train once more on the batch of the first non-finite step.

Same batch, same weights, same generators, as `engine.bad_steps` kept them; every module is watched, forwards and
backwards. Prints one JSON document: what was not finite, in the order in which it came about. Changes nothing in
the run directory. Started by `speechtrain why --replay-batch`, or by hand where the run directory is mounted.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from speech_contract import codec, env
from speech_contract.run_config import RunConfig
from speech_trainer import recipes
from speech_trainer.__main__ import Create, wrap_recipe
from speech_trainer.engine import accumulation
from speech_trainer.engine.bad_steps import RECORD, STATE, records
from speech_trainer.engine.batch_fields import Fields, below, join
from speech_trainer.engine.distributed import prepare_torch
from speech_trainer.engine.files import Files, read_json
from speech_trainer.engine.layout import Replicated
from speech_trainer.engine.randomness import set_random_state
from speech_trainer.engine.recipe import Batch, Built, Recipe, RecipeContext
from speech_trainer.engine.state import restore_models
from speech_trainer.errors import CheckpointError, TrainerError

SHOWN: Final = 12  # places; the first ones tell where it began


@dataclasses.dataclass(frozen=True)
class Place:
    """One tensor that was not finite. `what`: Batch, Output, Loss or Gradient; counts of NaN and infinity.

    `inputs_finite`: an Output out of finite inputs is where it began; None where nothing is known of inputs.
    """

    what: str
    name: str
    kind: str = ""
    nan: int = 0
    infinite: int = 0
    of: int = 0
    inputs_finite: bool | None = None


@dataclasses.dataclass(frozen=True)
class Replayed:
    """What a replay found. `first` of `places` is where it began."""

    step: int
    attempt: int
    rank: int
    exact: bool  # the very weights of the bad step, not one update later
    reproduced: bool
    component: str  # first non-finite loss; what the run itself named when the replay was finite
    module: str  # first module whose output, else whose gradient, was not finite
    places: list[Place]
    recorded_component: str
    recorded_module: str
    window: list[int]
    samples: list[str]
    device: str


class Watch:
    """Looks at every output of every module, and at the gradient of each, without touching either."""

    def __init__(self, built: Built) -> None:
        self.places: list[Place] = []
        self._handles = [
            module.register_forward_hook(self._on_output(f"{model}.{path}".rstrip(".")))
            for model, whole in built.models.items()
            for path, module in whole.named_modules()
        ]

    def close(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()

    def _on_output(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            kind = type(module).__name__
            for tensor in _tensors(output):
                finite = all(bool(t.isfinite().all()) for t in _tensors(inputs))
                self.look("Output", name, tensor, kind, finite)
                if tensor.requires_grad:
                    tensor.register_hook(lambda gradient: self._on_gradient(name, kind, gradient))

        return hook

    def _on_gradient(self, name: str, kind: str, gradient: Tensor) -> None:
        self.look("Gradient", name, gradient, kind)

    def look(
        self,
        what: str,
        name: str,
        tensor: Tensor,
        kind: str = "",
        inputs_finite: bool | None = None,
    ) -> None:
        """Note a tensor that is not finite."""
        if not tensor.is_floating_point() or bool(tensor.isfinite().all()):
            return
        nan, infinite = int(tensor.isnan().sum()), int(tensor.isinf().sum())
        self.places.append(Place(what, name, kind, nan, infinite, tensor.numel(), inputs_finite))


def _tensors(value: Any) -> Iterator[Tensor]:
    """Floating tensors in whatever a module takes or gives."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from _tensors([getattr(value, f.name) for f in dataclasses.fields(value)])


def replay(run_dir: Path, attempt: int | None, create: Create = recipes.create) -> Replayed:
    """Train once more on the recorded batch. Raises TrainerError when there is no record to replay."""
    folder = find(run_dir, attempt)
    record = read_json(folder / RECORD)
    if record is None:
        raise CheckpointError(f"{folder / RECORD}: cannot be read; the record was damaged")
    if not record["state"]:
        raise CheckpointError(
            f"{folder}: the model was too large for its weights to be kept; the record names step "
            f"{record['step']}, loss {record['component']!r}, module {record['module']!r}"
        )
    config = codec.from_document(RunConfig, record["runConfig"])
    device = torch.device(
        "cuda" if record["device"] == "cuda" and torch.cuda.is_available() else "cpu"
    )
    prepare_torch(config, device)
    with tempfile.TemporaryDirectory() as scratch:  # whatever a recipe writes when it builds
        context = RecipeContext(config, device, record["rank"], 1, Path(scratch))
        recipe = wrap_recipe(
            create(config.recipe.name, context), os.environ.get(env.WRAP_RECIPE, "")
        )
        return _train(recipe, folder, record, device)


def find(run_dir: Path, attempt: int | None) -> Path:
    """The newest record, or the one of an attempt."""
    found = [p for p in records(run_dir) if attempt is None or p.name.endswith(f".a{attempt}")]
    if not found:
        which = "" if attempt is None else f" of attempt {attempt}"
        raise CheckpointError(
            f"{run_dir}: holds no record of a non-finite step{which}; our recipes write one at the first "
            "non-finite step of an attempt"
        )
    return found[-1]


def _train(
    recipe: Recipe, folder: Path, record: Mapping[str, Any], device: torch.device
) -> Replayed:
    try:
        tensors = Files().read_tensors(folder / STATE)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder / STATE}: {error}; the record was damaged") from error
    built = recipe.build()
    _restore(built, tensors, folder)
    batches = [
        _batch(document, tensors, f"batch/{number}", folder).to(device)
        for number, document in enumerate(record["batches"])
    ]
    for model in built.models.values():
        model.train()
    watch = Watch(built)
    for batch in batches:
        for field in dataclasses.fields(batch):  # type: ignore[arg-type]
            for tensor in _tensors(getattr(batch, field.name)):
                watch.look("Batch", field.name, tensor)
    set_random_state(record["random"], device)
    losses = accumulation.train(recipe, built, Replicated(), batches, int(record["step"])).losses
    watch.close()
    bad_losses = [name for name, value in losses.items() if not bool(value.isfinite().all())]
    for name in bad_losses:
        watch.look("Loss", name, losses[name])
    return _told(record, watch.places, bad_losses, _bad_modules(built, watch), device)


def _restore(built: Built, tensors: Mapping[str, Tensor], folder: Path) -> None:
    try:
        restore_models(built, tensors, str(folder))
    except CheckpointError as error:
        raise CheckpointError(
            f"{folder}: does not fit the recipe as it is now ({error}); replay with the code that wrote it"
        ) from error


def _batch(
    document: Mapping[str, Any], tensors: Mapping[str, Tensor], place: str, folder: Path
) -> Batch:
    """The classes must be those that the recipe brought along: a file is no reason to import anything."""

    def kind_of(document: Mapping[str, Any]) -> type[Any]:
        module = sys.modules.get(str(document["module"]))
        kind = getattr(module, str(document["type"]), None)
        if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
            raise CheckpointError(f"{folder}: batch {document['type']!r} is none of this recipe's")
        return kind

    batch: Batch = join(Fields(below(place, tensors), dict(document)), kind_of)
    return batch


def _bad_modules(built: Built, watch: Watch) -> list[str]:
    """Named modules of the optimizers with a parameter whose gradient is not finite."""
    bad = []
    for plan in built.optimizers.values():
        for name, module in plan.modules.items():
            gradients = [p.grad for p in module.parameters() if p.grad is not None]
            if any(not bool(g.isfinite().all()) for g in gradients):
                bad.append(name)
    return bad


def _told(
    record: Mapping[str, Any],
    places: list[Place],
    losses: list[str],
    modules: list[str],
    device: torch.device,
) -> Replayed:
    outputs = [place.name for place in places if place.what == "Output"]
    gradients = [place.name for place in places if place.what == "Gradient"]
    return Replayed(
        step=record["step"],
        attempt=record["attempt"],
        rank=record["rank"],
        exact=record["exact"],
        reproduced=bool(losses or modules),
        component=losses[0] if losses else "",
        module=next(iter([*outputs, *gradients, *modules]), ""),
        places=places[:SHOWN],
        recorded_component=record["component"],
        recorded_module=record["module"],
        window=list(record["window"]),
        samples=[sample for batch in record["batches"] for sample in batch["samples"]],
        device=str(device),
    )


def main(arguments: Sequence[str] | None = None, create: Create = recipes.create) -> int:
    """Print what a replay found as JSON. Errors are one line on standard error, with their exit code."""
    parser = argparse.ArgumentParser("replay_batch", description=__doc__)
    parser.add_argument("--run-dir", type=Path, required=True, help="checkpoint.uri of the job")
    parser.add_argument(
        "--attempt", type=int, default=None, help="else the newest that has a record"
    )
    options = parser.parse_args(arguments)
    try:
        found = replay(options.run_dir, options.attempt, create)
    except TrainerError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(codec.to_document(found), ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
