"""Whether what a job tells its numbers to can be reached. Asked by supervisors and by who drives a job of this machine.

By itself, for the list of a machine's jobs comes by here and needs nothing else of a run.
"""

from __future__ import annotations

import importlib.util


def missing(*, wandb: bool) -> str:
    """What a tracker lacks that the job asks for, as Weights & Biases; "" when nothing. Asked before any training."""
    if not wandb or importlib.util.find_spec("wandb") is not None:
        return ""
    return (
        "spec.tracking.wandb needs the Python package wandb, which is not installed where the job runs: install it "
        "there (in the image), or remove the field; the numbers stay in the run directory meanwhile"
    )
