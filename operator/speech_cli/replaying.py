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

MODULE: Final = "speech_trainer.replay_batch"
EXTRA: Final = "trainer,cli"
PATH: Final = "PYTHONPATH"


def replay(
    run_dir: Path, attempt: int | None, given: Mapping[str, str] | None = None
) -> Mapping[str, Any]:
    """The answer of a replay. `given`: the job's `trainer.env`; a fault hook may read it. Raises UserError."""
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra(EXTRA, "torch")
    command = [sys.executable, "-m", MODULE, "--run-dir", str(run_dir)]
    command += [] if attempt is None else ["--attempt", str(attempt)]
    environment = {**os.environ, **(given or {})}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        lines = [line for line in ended.stderr.splitlines() if line.strip()]
        raise UserError(f"replay: {lines[-1] if lines else f'ended with {ended.returncode}'}")
    answer: Mapping[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return answer


def environment_of(document: Document) -> dict[str, str]:
    """The plain variables of a job's `trainer.env`; its PYTHONPATH goes before ours."""
    entries = objects(document, "spec", "trainer", "env")
    given = {str(e["name"]): str(e["value"]) for e in entries if e.get("name") and e.get("value")}
    if PATH in given and os.environ.get(PATH):
        given[PATH] = f"{given[PATH]}{os.pathsep}{os.environ[PATH]}"
    return given


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
