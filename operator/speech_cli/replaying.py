"""Runs `speech_trainer.replay_batch` beside us and reads its answer: torch stays out of the command line.

Called by `commands.why`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from speech_cli.errors import MissingExtra, UserError
from speech_cli.rendering.view import Document, mapping, objects
from speech_contract import env

MODULE: Final = "speech_trainer.replay_batch"
EXTRA: Final = "trainer,cli"


def replay(run_dir: Path, attempt: int | None, hook: str = "") -> Mapping[str, Any]:
    """The answer of a replay. `hook`: what `trainer.env` gives as SPEECHTRAIN_WRAP_RECIPE. Raises UserError."""
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra(EXTRA, "torch")
    command = [sys.executable, "-m", MODULE, "--run-dir", str(run_dir)]
    command += [] if attempt is None else ["--attempt", str(attempt)]
    environment = {**os.environ, **({env.WRAP_RECIPE: hook} if hook else {})}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        lines = [line for line in ended.stderr.splitlines() if line.strip()]
        raise UserError(f"replay: {lines[-1] if lines else f'ended with {ended.returncode}'}")
    answer: Mapping[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return answer


def hook_of(document: Document) -> str:
    """The fault hook of a job, as its manifest sets it."""
    given = {
        str(e.get("name")): e.get("value") for e in objects(document, "spec", "trainer", "env")
    }
    return str(given.get(env.WRAP_RECIPE) or "")


def where_mounted(document: Document) -> str:
    """How to replay a cluster's job: its run directory lies on a volume of its pods."""
    metadata, uri = (
        mapping(document, "metadata"),
        mapping(document, "spec", "checkpoint").get("uri"),
    )
    name, namespace = metadata.get("name"), metadata.get("namespace")
    return (
        f"--replay-batch: the run directory {uri} of {name} lies on a volume of the cluster; run "
        f"`kubectl exec -n {namespace} {name}-master-0 -c pytorch -- python3 -m {MODULE} --run-dir {uri}` while "
        "the job trains, or the same in a pod of the trainer's image with the job's volumes"
    )
