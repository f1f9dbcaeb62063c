"""`speechtrain-train`, one process per rank: read the run config, build the recipe, train, exit with a code.

Started by the supervisor (`speech_telemetry.launch`), which reads the exit code and, for the reason in one line,
TORCHELASTIC_ERROR_FILE.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

import torch

from speech_contract import codec, env, outcome, paths
from speech_contract.errors import ContractError
from speech_contract.events import Event
from speech_contract.phases import Phase
from speech_contract.run_config import RunConfig
from speech_telemetry.logs import EventLog, records_into
from speech_telemetry.reporter import Reporter
from speech_trainer import recipes
from speech_trainer.engine.distributed import World, choose_device, prepare_torch, read_ranks
from speech_trainer.engine.files import explain, is_full
from speech_trainer.engine.loop import Engine
from speech_trainer.engine.outside import Outside
from speech_trainer.engine.recipe import Recipe, RecipeContext
from speech_trainer.errors import CheckpointError, ConfigError, TrainerError
from speech_trainer.preflight import run as preflight
from speech_trainer.strategic.log import StrategicLog

Create = Callable[[str, RecipeContext], Recipe]


class RunLog:
    """Log events to stdout and to `<run>/events.jsonl`, to which every rank appends whole lines."""

    def __init__(self, config: RunConfig, rank: int) -> None:
        base: dict[str, Any] = {
            "namespace": config.namespace,
            "job": config.name,
            "uid": config.uid,
            "attempt": config.attempt,
            "rank": rank,
        }
        self._file = _open_log(Path(config.run_dir) / paths.EVENTS)
        streams = (sys.stdout, self._file)
        self._logs = [EventLog("trainer", stream, time.time, **base) for stream in streams]

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def emit(self, event: Event, /, **fields: Any) -> None:
        """One line in each."""
        for log in self._logs:
            log.emit(event, **fields)

    def emit_mapping(self, event: Event, fields: Mapping[str, Any]) -> None:
        """The strategic log hands its fields over as a mapping."""
        self.emit(event, **fields)


def _open_log(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"checkpoint.uri: {path.parent} cannot be written ({error}); name a directory that this "
            "user may write to"
        ) from error


def command() -> NoReturn:
    """`speechtrain-train`: `main`, then `leave`."""
    leave(main())


def leave(code: int) -> NoReturn:
    """End the process with `code`, past the interpreter's own end.

    Everything is written by now. Threads of gloo and NCCL may still hold Python objects; a thread that wants the
    interpreter's lock while it ends aborts the process, and 134 would stand for a run that is done.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # whoever read it is gone
            stream.flush()
    os._exit(code)


def main(arguments: Sequence[str] | None = None, create: Create = recipes.create) -> int:
    """Train as the environment says. Returns the exit code of the table in `speech_contract.outcome`."""
    options = _parse(arguments)
    try:
        return run(_read_config(options), os.environ, create)
    except (TrainerError, ContractError) as error:
        code = error.exit_code if isinstance(error, TrainerError) else outcome.EXIT_BAD_CONFIG
        _tell(f"{type(error).__name__}: {error}")
        return code
    except Exception as error:
        traceback.print_exc()
        _tell(_explained(error))
        return outcome.EXIT_ERROR


def run(config: RunConfig, environment: Mapping[str, str], create: Create) -> int:
    """One attempt of this rank."""
    ranks = read_ranks(environment, config)
    device = choose_device(config, ranks, torch.cuda.device_count())
    prepare_torch(config, device)
    reporter = Reporter(environment)
    reporter.stamp(0, Phase.RENDEZVOUS)
    world = World(ranks, device)
    with RunLog(config, ranks.rank) as log, records_into(log.emit, "speech_trainer"):
        if world.leads:
            facts = _surroundings(config, device)
            log.emit(Event.RUN_CONFIGURED, recipe=config.recipe.name, **facts)
        reporter.stamp(0, Phase.DATA)
        run_dir = Path(config.run_dir)
        context = RecipeContext(config, device, world.rank, world.size, run_dir, world.lead)
        hook = environment.get(env.WRAP_RECIPE, "")
        with _unswept():
            recipe = wrap_recipe(create(config.recipe.name, context), hook)
        strategic = StrategicLog(sys.stdout, log.emit_mapping)
        only = bool(environment.get(env.PREFLIGHT_ONLY))
        outside = Outside(
            reporter, log, strategic, None, sys.stdout.write, _abort, only, preflight.run
        )
        code = Engine(config, recipe, world, outside).run()
    world.close()
    return code


@contextlib.contextmanager
def _unswept() -> Iterator[None]:
    """No garbage collection meanwhile, nor ever of what is there afterwards.

    A recipe imports torch's and transformers' modules, objects by the million that stay: to look through them while
    they come takes a tenth of a rank's start, and again with each full collection while it trains.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _abort(code: int, message: str) -> NoReturn:
    """From a thread beside a rank that hangs: say why, and end at once."""
    _tell(message)
    leave(code)


def _explained(error: Exception) -> str:
    """Scores, samples and exports fill disks too, and say nothing of the field that names the disk."""
    if is_full(error):
        place = Path(str(getattr(error, "filename", None) or "the run directory"))
        return f"{CheckpointError.__name__}: {explain(error, place, 0, 0)}"
    return f"{type(error).__name__}: {error}"


def wrap_recipe(recipe: Recipe, hook: str) -> Recipe:
    """Apply SPEECHTRAIN_WRAP_RECIPE=module:callable, for experiments and injected faults."""
    if not hook:
        return recipe
    module, _, name = hook.partition(":")
    try:
        wrapper = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{env.WRAP_RECIPE}: {hook!r} cannot be imported ({error}); write module:callable, with "
            "the module on PYTHONPATH"
        ) from error
    wrapped: Recipe = wrapper(recipe)
    return wrapped


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("speechtrain-train", description=__doc__)
    parser.add_argument(
        "--enable_strategic_logging",
        action="store_true",
        help="show what goes in and what comes out, whatever the job says",
    )
    parser.add_argument(
        "--strategic_logging_steps",
        type=_positive,
        default=None,
        metavar="N",
        help="steps between strategic logs",
    )
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _read_config(options: argparse.Namespace) -> RunConfig:
    path = Path(os.environ.get(env.RUN_CONFIG, paths.RUN_CONFIG_FILE))
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{env.RUN_CONFIG}: {path} cannot be read ({error}); start training with "
            "`speechtrain run` or speechtrain-launch"
        ) from error
    config = codec.loads(RunConfig, text)
    logging = config.strategic_logging
    logging = dataclasses.replace(
        logging,
        enabled=logging.enabled or options.enable_strategic_logging,
        every_steps=options.strategic_logging_steps or logging.every_steps,
    )
    return dataclasses.replace(config, strategic_logging=logging)


def _surroundings(config: RunConfig, device: torch.device) -> dict[str, Any]:
    return {
        "world_size": config.world_size,
        "device": str(device),
        "precision": config.training.precision.value,
        "torch": torch.__version__,
        "run_dir": config.run_dir,
    }


def _tell(message: str) -> None:
    """One clear line for people, and the same for the supervisor."""
    sys.stderr.write(f"speechtrain-train: {message}\n")
    sys.stderr.flush()
    path = os.environ.get(env.TORCHELASTIC_ERROR_FILE)
    if not path:
        return
    try:
        Path(path).write_text(json.dumps({"message": {"message": message}}), encoding="utf-8")
    except OSError as error:
        sys.stderr.write(f"speechtrain-train: {path} could not be written ({error})\n")


if __name__ == "__main__":
    command()
