"""What a run was set to when a checkpoint was written, and what has been changed since. Called by `engine.loop`.

A checkpoint gives progress: weights, moments, counters. Every setting is the manifest's; a run that goes on by other
ones than it was saved with says which.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from speech_contract import codec
from speech_contract.events import Event
from speech_contract.run_config import RunConfig
from speech_trainer.engine.reporting import Reporting
from speech_trainer.engine.state import config_digest

SHOWN: Final = 6  # changes that a sentence names
LONGEST: Final = 40  # characters of a value that is shown


@dataclasses.dataclass(frozen=True)
class Change:
    """One setting. None: it was not there, or is not there any more."""

    field: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.field} {_shown(self.old)} → {_shown(self.new)}"


class Settings:
    """What this attempt is set to. `digest`: of the recipe's effective configuration."""

    def __init__(self, config: RunConfig, effective: Mapping[str, Any]) -> None:
        self.digest = config_digest(effective)
        self._now = settings_of(config, effective)
        self._changed: list[Change] = []
        self._same = True

    def document(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"configDigest": self.digest, "settings": self._now}

    def compare(self, document: Mapping[str, Any]) -> None:
        """Learn from a checkpoint's document what has been changed; older ones keep the digest alone."""
        self._same = document["configDigest"] == self.digest
        self._changed = changes(document.get("settings", self._now), self._now)

    def tell(self, reporting: Reporting, name: str, step: int, source: str, seconds: float) -> None:
        """A checkpoint was restored: the log, and a note for everybody who looks at the job."""
        reporting.event(
            Event.CHECKPOINT_RESTORED, step=step, name=name, seconds=round(seconds, 3),
            source=source or None, same_config=self._same,
        )  # fmt: skip
        if self._changed:
            fields = {change.field: [change.old, change.new] for change in self._changed}
            reporting.event(Event.SETTINGS_CHANGED, step=step, changes=fields)
        reporting.facts.resume_note = resume_note(step, source, self._changed)


def settings_of(config: RunConfig, effective: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's effective configuration and the manifest's training section, flat: `field.path` → value."""
    training = codec.to_document(config.training)
    return {
        **dict(_flat(codec.to_document(effective), "")),
        **dict(_flat({k: v for k, v in training.items() if v is not None}, "training.")),
        "worldSize": config.world_size,
    }


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """What differs, by name."""
    names = sorted(old.keys() | new.keys())
    return [Change(n, old.get(n), new.get(n)) for n in names if old.get(n) != new.get(n)]


def resume_note(step: int, source: str, changed: Sequence[Change]) -> str:
    """A sentence for people; empty when an attempt goes on with what its own job wrote, by the same settings."""
    parts = [f"goes on from {source}'s step {step}"] if source else []
    if changed:
        named = ", ".join(map(str, changed[:SHOWN]))
        more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
        parts.append(f"changed since step {step}: {named}{more}")
    return "; ".join(parts)


def _flat(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _shown(value: Any) -> str:
    if value is None:
        return "unset"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
