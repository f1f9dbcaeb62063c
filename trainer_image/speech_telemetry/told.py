"""Of which job the process that writes the page is told.

Made by `master`, carried by `report_process`, read by `report.tracking`; kept small, for supervisors import it.
"""

from __future__ import annotations

from speech_contract.run_config import RunConfig, Tracking
from speech_contract.values import Value, frozen


@frozen
class Told(Value):
    """What trackers are told of the job itself; travels to the process that writes the page."""

    name: str
    namespace: str
    uid: str
    recipe: str
    tracking: Tracking


def told_of(config: RunConfig) -> Told:
    """Of an attempt's configuration."""
    return Told(config.name, config.namespace, config.uid, config.recipe.name, config.tracking)
