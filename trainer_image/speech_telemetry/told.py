"""Of which job the process that writes the page is told, and whether its trackers can be reached.

Made by `master`, carried by `report_process`, read by `report.tracking`; kept small, for supervisors import it.
"""

from __future__ import annotations

import dataclasses
import importlib.util

from speech_contract.run_config import RunConfig, Tracking


@dataclasses.dataclass(frozen=True)
class Told:
    """What trackers are told of the job itself; travels to the process that writes the page."""

    name: str
    namespace: str
    uid: str
    recipe: str
    tracking: Tracking


def told_of(config: RunConfig) -> Told:
    """Of an attempt's configuration."""
    return Told(config.name, config.namespace, config.uid, config.recipe.name, config.tracking)


def missing(*, wandb: bool) -> str:
    """What a tracker lacks that the job asks for, as Weights & Biases; "" when nothing. Asked before any training."""
    if not wandb or importlib.util.find_spec("wandb") is not None:
        return ""
    return (
        "spec.tracking.wandb needs the Python package wandb, which is not installed where the job runs: install it "
        "there (in the image), or remove the field; the numbers stay in the run directory meanwhile"
    )
