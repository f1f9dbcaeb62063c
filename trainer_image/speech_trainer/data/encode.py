"""Codes offline: recordings through a codec into shards, and a manifest that names them. Behind `data encode`.

Shards (`data.shards`) are the same for any number of ranks. Ranks need not know each other: each writes its own,
whoever is done last writes the manifest, and what was killed goes on when it is called again.

Recordings go through the codec together only where they are of one length: zeros behind a clip change its codes, in
some codecs from the first frame on. Each is padded to whole frames of its own, as the codecs' feature extractors do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torch import Tensor
from torch.nn import functional

from speech_contract import codec, paths
from speech_trainer.audio.resampling import resample
from speech_trainer.data import shards
from speech_trainer.data.batches import Batches
from speech_trainer.data.checks import LineChecks
from speech_trainer.data.codes import FIELD, CodesReference, Encoder, check_codes
from speech_trainer.data.errors import BadCodes
from speech_trainer.data.folder import listed_once
from speech_trainer.data.manifest import Manifest, Problem, Utterance, scan_manifest, write_manifest
from speech_trainer.data.references import moved
from speech_trainer.errors import DataError

_READERS: Final = 4  # threads that decode and resample


@dataclass(frozen=True)
class EncodeOptions:
    """`batch_seconds`: audio that goes through the codec at once; `max_seconds`: longest recording that is taken."""

    rank: int = 0
    world: int = 1
    shard_seconds: float = 600.0
    batch_seconds: float = 60.0
    max_seconds: float = 60.0

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise DataError(
                f"rank: {self.rank} is not between 0 and world - 1, {self.world - 1}; ranks count from 0"
            )
        for name in ("shard_seconds", "batch_seconds", "max_seconds"):
            if not getattr(self, name) > 0:
                field = codec.camel(name)
                raise DataError(f"{field}: {getattr(self, name):g} is not above 0; leave it out")

    @property
    def lasting(self) -> dict[str, float]:
        """What a later call must not change: it decides what lies in which shard."""
        return {"shardSeconds": self.shard_seconds, "maxSeconds": self.max_seconds}


@dataclass(frozen=True)
class EncodeReport:
    """`manifest` is None until all ranks are done. `kept`: shards that an earlier call had finished."""

    manifest: Path | None
    utterances: int
    seconds: float
    frames: int
    encoded: int
    kept: int
    missing: int
    one_by_one: bool
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Progress:
    """After each shard of this rank: the `step`-th of its `steps`."""

    step: int
    steps: int
    shard: int
    done: float  # seconds of audio
    total: float


def encode(
    source: Path,
    out: Path,
    encoder: Encoder,
    options: EncodeOptions,
    on_shard: Callable[[Progress], None] = lambda progress: None,
) -> EncodeReport:
    """Write this rank's shards of `source`, a manifest or a folder of audio, below `out`.

    Raises: DataError when nothing can be read, `out` holds codes of something else, or the codec gives codes that it
    can't have; OSError.
    """
    (out / shards.FOLDER).mkdir(parents=True, exist_ok=True)
    manifest, problems = _recordings(source, out)
    shards.agree_on_plan(out, manifest, encoder.facts, options.lasting)
    planned = shards.plan(manifest.utterances, options.shard_seconds)
    own = shards.share(planned, options.rank, options.world)
    work = _Work(manifest, out, encoder, Batches(encoder, options.batch_seconds), options)
    done, kept, total = 0.0, 0, sum(shard.seconds for shard in own)
    for step, shard in enumerate(own, start=1):
        if shards.finished(out, shard, encoder.facts) is None:
            work.write(shard)
        else:
            kept += 1
        done += shard.seconds
        on_shard(Progress(step, len(own), shard.number, done, total))
    parts = [shards.part_of(out, shard) for shard in planned]
    found = _Found(manifest, out, [part for part in parts if part is not None], problems)
    missing = parts.count(None)
    target = None if missing else found.write_manifest(out / _name(source))
    return found.report(target, len(own) - kept, kept, missing, work.batches.one_by_one)


@dataclass
class _Work:
    """One rank's way from recordings to shards."""

    manifest: Manifest
    out: Path
    encoder: Encoder
    batches: Batches
    options: EncodeOptions

    def write(self, shard: shards.Shard) -> None:
        """Encode it, and put it in its place."""
        shards.clear(self.out, shard)
        shards.write(self.out, shard, self.encoder.facts, *self._codes(shard))

    def _codes(self, shard: shards.Shard) -> tuple[dict[int, Tensor], list[Problem]]:
        """Codes [Q, F] by line, and what could not be encoded."""
        with ThreadPoolExecutor(_READERS, thread_name_prefix="audio") as pool:
            read = list(pool.map(self._read, shard.utterances))
        good = {
            u.line: found
            for u, found in zip(shard.utterances, read, strict=True)
            if isinstance(found, Tensor)
        }
        left_out = [problem for found in read if isinstance(found, list) for problem in found]
        codes = self.batches.encode(good)
        for utterance in shard.utterances:
            if utterance.line in codes:
                self._check(codes[utterance.line], utterance)
        return codes, left_out

    def _read(self, utterance: Utterance) -> Tensor | list[Problem]:
        """Waveform [T] at the codec's rate, of whole frames, or what is wrong with it."""
        checks = LineChecks(self.manifest, self.options.max_seconds, needs_text=False)
        problems, found = checks.check(utterance)
        if problems or found is None:
            return problems
        waveform = resample(*found, self.encoder.facts.sample_rate)
        return functional.pad(waveform, (0, -waveform.numel() % self.encoder.facts.hop))

    def _check(self, codes: Tensor, utterance: Utterance) -> None:
        try:
            check_codes(codes, self.encoder.facts, utterance)
        except BadCodes as error:  # the codec's fault, and so of all others: nothing is written
            raise DataError(f"codec, line {utterance.line}: {error}") from error


@dataclass(frozen=True)
class _Found:
    """All shards that are there, of all ranks."""

    manifest: Manifest
    out: Path
    parts: Sequence[shards.Part]
    problems: Sequence[Problem]  # lines of the source that are none

    @property
    def _codes(self) -> dict[str, CodesReference]:
        return {key: one for part in self.parts for key, one in part.codes.items()}

    def write_manifest(self, path: Path) -> Path:
        """In the order of the source. Raises: DataError when nothing could be encoded."""
        lines = list(self._lines())
        if not lines:
            first = next(iter(self.report(None, 0, 0, 0, False).problems), "")
            raise DataError(
                f"manifest: {str(self.manifest.path)!r} has no usable line, first: {first}"
            )
        write_manifest(path, lines)
        return path

    def _lines(self) -> Iterator[Utterance]:
        codes = self._codes
        for utterance in moved(self.manifest, self.out):
            reference = codes.get(str(utterance.line))
            if reference is not None:
                extra = {**utterance.extra, FIELD: codec.to_document(reference)}
                yield dataclasses.replace(utterance, extra=extra)

    def report(
        self, target: Path | None, encoded: int, kept: int, missing: int, one_by_one: bool
    ) -> EncodeReport:
        """What there is by now."""
        codes = self._codes
        there = [u for u in self.manifest.utterances if str(u.line) in codes]
        left_out = [problem for part in self.parts for problem in part.left_out]
        return EncodeReport(
            manifest=target,
            utterances=len(there),
            seconds=sum(u.duration for u in there),
            frames=sum(reference.frames for reference in codes.values()),
            encoded=encoded,
            kept=kept,
            missing=missing,
            one_by_one=one_by_one,
            problems=tuple(sorted([*self.problems, *left_out], key=lambda p: p.line)),
        )


def _recordings(source: Path, out: Path) -> tuple[Manifest, list[Problem]]:
    """A folder is listed once, so that all calls see the same files."""
    if source.is_dir():
        return listed_once(source, out / paths.RECORDINGS).manifest(), []
    manifest, problems = scan_manifest(source, needs_text=False)
    if (out / source.name).resolve() == source.resolve():
        raise DataError(f"out: {str(out)!r} holds the source manifest; name another folder")
    return manifest, problems


def _name(source: Path) -> str:
    return f"{source.name}.jsonl" if source.is_dir() else source.name
