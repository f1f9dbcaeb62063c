"""Checks of this machine: what a local run needs. Called by `commands.doctor`."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from speech_cli.doctor.row import Row, fail, ok, warn
from speech_contract import env

DISTRIBUTION: Final = "speechtrain"
GIB: Final = 2**30
LITTLE: Final = 5 * GIB  # runs keep several checkpoints, each with the states of its optimizers
NOTHING_LEFT: Final = GIB // 2
TRAINER: Final = "pip install 'speechtrain[trainer,operator,cli]'"


def version() -> str:
    """Of the installed command line."""
    from importlib.metadata import version  # which brings parsers of mail along

    return version(DISTRIBUTION)


def rows(state: Path, load: Callable[[str], Any] = importlib.import_module) -> Iterator[Row]:
    """Every check of this machine. `state`: where local runs keep their state; it need not be there."""
    yield ok("speechtrain", f"{version()} on Python {platform.python_version()}")
    yield torch(load)
    yield disk(state)


def torch(load: Callable[[str], Any]) -> Row:
    """Whether torch is there, loads, and sees a GPU. `load`: imports a module by name."""
    name = "torch"
    try:
        found = load("torch")
    except ModuleNotFoundError as error:
        needs = f"{error.name} is not installed: `run`, `preflight` and `speak` need it here, a cluster does not"
        return warn(name, needs, TRAINER)
    except (
        ImportError,
        OSError,
    ) as error:  # a library of its own that is missing or of another machine
        return fail(name, f"cannot be loaded: {error}", f"install it anew: {TRAINER}")
    if not found.cuda.is_available():
        built = found.version.cuda or "no CUDA"
        return warn(
            name,
            f"{found.__version__} (built for {built}) sees no GPU: jobs train on the CPU here",
            "look at `nvidia-smi`, and install a torch built for the CUDA of that driver; or train in a cluster",
        )
    devices = [found.cuda.get_device_name(i) for i in range(found.cuda.device_count())]
    return ok(name, f"{found.__version__} sees {', '.join(devices)}")


def disk(state: Path) -> Row:
    """Whether local runs can write, and have room."""
    name = "state directory"
    there = next(path for path in (state, *state.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        remedy = (
            f"choose another folder with {env.LOCAL_STATE}, or give yourself the right to write"
        )
        return fail(name, f"{there} is no folder that you may write to", remedy)
    free = shutil.disk_usage(there).free
    told = f"{free / GIB:.1f} GiB free for {state}"
    remedy = f"delete what old runs left, or choose a larger disk with {env.LOCAL_STATE}"
    if free < NOTHING_LEFT:
        return fail(name, told, remedy)
    return warn(name, told, remedy) if free < LITTLE else ok(name, told)
