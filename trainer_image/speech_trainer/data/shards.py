"""Shards of codes as files: what goes into which, who writes it, and when one counts. Called by `data.encode`.

<out>/plan.json                 of which recordings, by which codec, by which settings; written first
<out>/codes/00003.safetensors   codes of some recordings, see `data.codes`
<out>/codes/00003.json          what the shard holds, with its digest: without it a shard counts for nothing
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors.torch import save_file
from torch import Tensor

from speech_contract import codec
from speech_contract.errors import ContractError
from speech_telemetry.files import replace_text, sync
from speech_trainer.data.checks import digest
from speech_trainer.data.codes import METADATA, CodecFacts, CodesReference, digest_of, facts_of
from speech_trainer.data.manifest import Manifest, Problem, Utterance
from speech_trainer.engine.files import as_ordinary
from speech_trainer.errors import DataError

FOLDER: Final = "codes"
PLAN: Final = "plan.json"


@dataclass(frozen=True)
class Shard:
    """Some recordings, shortest first."""

    number: int
    utterances: tuple[Utterance, ...]

    @property
    def seconds(self) -> float:
        """Of audio, by the manifest."""
        return sum(utterance.duration for utterance in self.utterances)


@dataclass(frozen=True)
class Part:
    """What is kept of a shard that is whole. `codes`: line of the source → reference; `sha256`: of the shard."""

    sha256: str
    codes: dict[str, CodesReference]
    left_out: list[Problem]


def plan(utterances: Sequence[Utterance], shard_seconds: float) -> list[Shard]:
    """All recordings, shortest first, in shards of about `shard_seconds`: clips of one length lie together."""
    shards: list[Shard] = []
    taken: list[Utterance] = []
    seconds = 0.0
    for utterance in sorted(utterances, key=lambda u: (u.duration, u.line)):
        taken.append(utterance)
        seconds += utterance.duration
        if seconds >= shard_seconds:
            shards.append(Shard(len(shards), tuple(taken)))
            taken, seconds = [], 0.0
    return [*shards, Shard(len(shards), tuple(taken))] if taken else shards


def share(shards: Sequence[Shard], rank: int, world: int) -> list[Shard]:
    """This rank's: the longest first, each to the rank that has the least audio so far."""
    loads = [0.0] * world
    own = []
    for shard in sorted(shards, key=lambda s: (-s.seconds, s.number)):
        taker = loads.index(min(loads))
        loads[taker] += shard.seconds
        if taker == rank:
            own.append(shard)
    return sorted(own, key=lambda s: s.number)


def finished(out: Path, shard: Shard, facts: CodecFacts) -> Part | None:
    """What an earlier call wrote of this shard; None when it is not whole, not as it was, or of another codec."""
    path, part = path_of(out, shard), part_of(out, shard)
    try:
        whole = part and digest(path) == part.sha256 and facts_of(path) == facts
    except OSError:
        return None
    return part if whole else None


def part_of(out: Path, shard: Shard) -> Part | None:
    """What a shard was said to hold when it was written, by whatever rank."""
    try:
        return codec.loads(
            Part, path_of(out, shard).with_suffix(".json").read_text(encoding="utf-8")
        )
    except (OSError, ContractError):
        return None


def write(
    out: Path,
    shard: Shard,
    facts: CodecFacts,
    codes: Mapping[int, Tensor],
    left_out: list[Problem],
) -> None:
    """Codes [Q, F] by line: beside, then in place, then the part that makes them count. Raises: OSError."""
    path = path_of(out, shard)
    beside = path.with_name(f".{path.stem}.{os.getpid()}")
    stored = {str(line): found.to(facts.dtype) for line, found in codes.items()}
    save_file(stored, beside, {METADATA: codec.dumps(facts)})
    as_ordinary(beside)
    sync(beside)
    beside.replace(path)
    file = f"{FOLDER}/{path.name}"
    references = {
        str(line): CodesReference(file, str(line), found.size(1), digest_of(found))
        for line, found in codes.items()
    }
    part = Part(digest(path), references, left_out)
    replace_text(path.with_suffix(".json"), codec.dumps(part))
    sync(path.parent)


def clear(out: Path, shard: Shard) -> None:
    """Take away what a call that was killed, or a disk, left of a shard. Raises: OSError."""
    path = path_of(out, shard)
    for left in path.parent.glob(f".{path.stem}.*"):
        left.unlink(missing_ok=True)
    path.with_suffix(".json").unlink(missing_ok=True)


def path_of(out: Path, shard: Shard) -> Path:
    return out / FOLDER / f"{shard.number:05d}.safetensors"


def agree_on_plan(
    out: Path, manifest: Manifest, facts: CodecFacts, settings: Mapping[str, float]
) -> None:
    """The first call writes what all others must find. Raises: DataError when they want something else."""
    wanted = {
        "recordings": _digest_of(manifest.utterances),
        "codec": codec.to_document(facts),
        **settings,
    }
    path = out / PLAN
    if not path.exists():  # ranks that start together write the same, each a whole file
        replace_text(path, json.dumps(wanted, indent=1))
    there = _read_plan(path)
    for field, value in wanted.items():
        if there.get(field) != value:
            raise DataError(
                f"out: {str(out)!r} was begun with another {field} ({there.get(field)!r}, now {value!r}); "
                "name another folder, or delete this one"
            )


def _read_plan(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _digest_of(utterances: Sequence[Utterance]) -> str:
    """Of what shards are cut by and read from."""
    rows = [[u.line, u.audio_filepath, u.duration, u.sha256] for u in utterances]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
