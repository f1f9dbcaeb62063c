"""The numbers of a run for TensorBoard and Weights & Biases. Called by `__main__`, beside the page.

What is told is what the page draws: the steps that were kept, every column, scores at the steps that were scored.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from speech_contract import codec, paths
from speech_contract.run_config import WeightsAndBiases
from speech_telemetry.files import replace_text
from speech_telemetry.report import event_file
from speech_telemetry.report.curves import Curves
from speech_telemetry.report.story import Story
from speech_telemetry.told import Told
from speech_telemetry.trackers import missing

SENT: Final = "sent.json"
KEY, MODE = "WANDB_API_KEY", "WANDB_MODE"  # Weights & Biases' own names
STEP: Final = "step"  # steps go back at a roll-back, and their own counter may not


class NotToldError(Exception):
    """Why a tracker did not get the numbers; a sentence."""


def tell(story: Story, run_dir: Path, job: Told, *, last: bool) -> None:
    """TensorBoard's file each time; Weights & Biases at an attempt's end. Raises NotToldError, OSError."""
    if job.tracking.tensorboard:
        event_file.write(story.curves, run_dir / paths.TENSORBOARD)
    if job.tracking.wandb is not None and last:
        _send(story, run_dir, job, job.tracking.wandb)


def _send(story: Story, run_dir: Path, job: Told, where: WeightsAndBiases) -> None:
    """What came since it was last told. One run of theirs for all attempts, by the job's uid."""
    if reason := missing(wandb=True):
        raise NotToldError(reason)
    import wandb

    folder = run_dir / paths.WANDB
    folder.mkdir(exist_ok=True)
    since = _sent(folder)
    try:
        run = wandb.init(
            project=where.project, entity=where.entity or None, id=job.uid or job.name, name=job.name,
            resume="allow", dir=str(run_dir), config=_config(story, job), mode=_mode(os.environ),
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True, disable_git=True),
        )  # fmt: skip
        run.define_metric("*", step_metric=STEP)
        newest = _log(run, story.curves, since)
        run.finish()
    except (
        Exception
    ) as error:  # a foreign library on a network: whatever it is, training has ended well
        raise NotToldError(f"Weights & Biases: {error}") from error
    replace_text(folder / SENT, codec.dumps({"time": newest}))


def _log(run: Any, curves: Curves, since: float) -> float:
    newest = since
    for step, time, scalars in event_file.rows(curves):
        if time > since:
            run.log({STEP: step, **scalars})
            newest = max(newest, time)
    return newest


def _mode(environ: Mapping[str, str]) -> str | None:
    """Without a key nobody can be told: kept on disk then, for `wandb sync`. None: as their settings say."""
    return None if environ.get(MODE) or environ.get(KEY) else "offline"


def _sent(folder: Path) -> float:
    """Epoch seconds of the newest row that was told."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return float(json.loads((folder / SENT).read_text(encoding="utf-8"))["time"])
    return 0.0


def _config(story: Story, job: Told) -> dict[str, Any]:
    own = {"job": job.name, "namespace": job.namespace, "recipe": job.recipe}
    return {**(story.config if isinstance(story.config, dict) else {}), "speechtrain": own}
