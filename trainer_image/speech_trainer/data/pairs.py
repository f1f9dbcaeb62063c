"""Another recording of the same speaker for every line, to be spoken like. Behind `speechtrain data pair`.

A reference is never the same audio (path, digest of the file, digest of its codes), has other words where there are
some, and lies in the same manifest, so that no split looks into another. Recordings are heard about equally often; one
outside of the useful range of durations is taken when those inside have been heard `_OUTSIDE` times more.
The same seed gives the same pairs.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from speech_trainer.data.checks import digest
from speech_trainer.data.codes import FIELD
from speech_trainer.data.manifest import (
    Manifest,
    Problem,
    Utterance,
    plain,
    read_manifest,
    write_manifest,
)
from speech_trainer.data.references import REF_AUDIO, moved, named_by, with_reference
from speech_trainer.errors import DataError

_OUTSIDE: Final = 4  # times that a recording of useful length is heard before one that is not


@dataclass(frozen=True)
class PairOptions:
    """`shortest` and `longest`: seconds of a useful reference. Shorter ones tell little of a voice, longer ones cost
    as many places as they have frames. `again`: lines that have a sound reference get another one too."""

    seed: int = 0
    shortest: float = 3.0
    longest: float = 10.0
    again: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.shortest <= self.longest:
            raise DataError(
                f"preferSeconds: {self.shortest:g} to {self.longest:g} is no range; write the shorter one first"
            )

    def useful(self, utterance: Utterance) -> bool:
        """Its length is that of a good reference."""
        return self.shortest <= utterance.duration <= self.longest


@dataclass(frozen=True)
class Alone:
    """A speaker of whom there is one recording, on so many lines."""

    speaker: str
    lines: int


@dataclass(frozen=True)
class PairReport:
    """`manifest` is None when nothing was to be written. Lines: `given` a reference now, `kept` theirs, `unnamed`: no
    speaker. Of the references: `same_words` as their target, `outside` of the useful range; `most_heard`: how often one
    recording is, at most. `unproved`: lines without a digest whose file is not there. `problems`: references of before
    that were none, and what became of them."""

    manifest: Path | None
    lines: int
    given: int
    kept: int
    alone: tuple[Alone, ...]
    unnamed: int
    same_words: int
    outside: int
    most_heard: int
    unproved: int
    problems: tuple[Problem, ...]


def pair(source: Path, target: Path, options: PairOptions, *, dry_run: bool = False) -> PairReport:
    """Write `target`: the lines of the manifest `source`, each with its reference.

    Raises: DataError when `source` is no whole manifest, is `target`, or holds no two recordings of any speaker.
    """
    if target.resolve() == source.resolve():
        raise DataError(f"out: {str(target)!r} is the source manifest; name another file")
    manifest = read_manifest(source)
    found = _Pairing(manifest, options)
    if not found.chosen:
        raise DataError(
            f"manifest: {str(source)!r} has no two recordings of one speaker; fill in `speaker`, or record more"
        )
    if not dry_run:
        lines = {u.line: u for u in moved(manifest, target.parent)}
        pairs = {line: lines[heard.line].audio_filepath for line, heard in found.chosen.items()}
        target.parent.mkdir(parents=True, exist_ok=True)
        write_manifest(target, [with_reference(u, pairs.get(u.line)) for u in lines.values()])
    return found.report(None if dry_run else target)


@dataclass(frozen=True)
class _Line:
    """`marks`: what its audio is known by; two lines that share one are the same audio."""

    utterance: Utterance
    marks: frozenset[str]
    words: str
    useful: bool


class _Pairing:
    """Who is heard for whom. `chosen`: number of a line → the line that is its reference."""

    def __init__(self, manifest: Manifest, options: PairOptions) -> None:
        self._manifest, self._options = manifest, options
        self.chosen: dict[int, Utterance] = {}
        self._alone: list[Alone] = []
        self._unproved = 0
        lines = self._looked_at()
        self._by_path = {self._path(line.utterance): line for line in lines}
        wrong = dict(filter(None, map(self._keep, lines)))
        self._kept = len(self.chosen)
        by_speaker: dict[str, list[_Line]] = defaultdict(list)
        for line in lines:
            by_speaker[line.utterance.speaker].append(line)
        for speaker, own in by_speaker.items():
            self._pair(speaker, own)
        told = (u for u in manifest.utterances if u.line in wrong)
        self._problems = [self._problem(u, wrong[u.line]) for u in told]

    def report(self, target: Path | None) -> PairReport:
        """In numbers."""
        lines = self._manifest.utterances
        heard = Counter(reference.line for reference in self.chosen.values())
        pairs = [(u, self.chosen[u.line]) for u in lines if u.line in self.chosen]
        return PairReport(
            manifest=target,
            lines=len(lines),
            given=len(self.chosen) - self._kept,
            kept=self._kept,
            alone=tuple(self._alone),
            unnamed=sum(not u.speaker and u.line not in self.chosen for u in lines),
            same_words=sum(plain(u.text) == plain(r.text) for u, r in pairs),
            outside=sum(not self._options.useful(r) for _, r in pairs),
            most_heard=max(heard.values(), default=0),
            unproved=self._unproved,
            problems=tuple(self._problems),
        )

    def _keep(self, line: _Line) -> tuple[int, str] | None:
        """Keep the reference that a line has, or say why it is none."""
        own = line.utterance
        named = named_by(self._manifest, own)
        if named is None:
            return None
        heard = self._by_path.get(named)
        if heard is None:
            return own.line, "is the audio of no line here"
        if own.speaker and heard.utterance.speaker != own.speaker:
            return own.line, "is of another speaker"
        if heard.marks & line.marks:
            return own.line, "is the same audio"
        if not (self._options.again and own.speaker):
            self.chosen[own.line] = heard.utterance
        return None

    def _pair(self, speaker: str, own: Sequence[_Line]) -> None:
        if not speaker:
            return
        chance = random.Random(f"{self._options.seed}/{speaker}")
        order = list(range(len(own)))
        chance.shuffle(order)
        kept = [self.chosen.get(line.utterance.line) for line in own]
        heard_before = Counter(reference.line for reference in kept if reference)
        offered = _Offered(own, order, heard_before)
        for place in order:
            line = own[place].utterance.line
            heard = None if line in self.chosen else offered.take_for(own[place])
            if heard is not None:
                self.chosen[line] = heard
        left = sum(line.utterance.line not in self.chosen for line in own)
        self._alone += [Alone(speaker, left)] if left else []

    def _problem(self, utterance: Utterance, rule: str) -> Problem:
        remedy = "another was given" if utterance.line in self.chosen else "it was taken away"
        value = utterance.extra[REF_AUDIO]
        return Problem(utterance.line, REF_AUDIO, value, rule, remedy, reason="Reference")

    def _looked_at(self) -> list[_Line]:
        """Files are read only where another one of the speaker is as large: else they differ."""
        utterances = self._manifest.utterances
        sizes = {u.line: (u.speaker, _size(self._manifest.audio_path(u))) for u in utterances}
        count = Counter(sizes.values())
        return [self._line(u, sizes[u.line][1], count[sizes[u.line]]) for u in utterances]

    def _line(self, utterance: Utterance, size: int | None, alike: int) -> _Line:
        path = self._path(utterance)
        codes = utterance.extra.get(FIELD)
        told = codes.get("sha256") if isinstance(codes, Mapping) else None
        file = utterance.sha256 or (digest(path) if size is not None and alike > 1 else None)
        self._unproved += size is None and not (told or file)
        marks = {f"path {path}", f"codes {told}", f"file {file}"}
        return _Line(
            utterance,
            frozenset(marks - {"codes None", "file None"}),
            plain(utterance.text),
            self._options.useful(utterance),
        )

    def _path(self, utterance: Utterance) -> Path:
        return self._manifest.audio_path(utterance).resolve()


def _size(path: Path) -> int | None:
    """Bytes; None for a file that is not there: its codes may be all that is left of it."""
    try:
        return path.stat().st_size
    except OSError:
        return None


class _Offered:
    """Recordings of one speaker, those that were heard least in front; among equals in the random `order`."""

    def __init__(
        self, lines: Sequence[_Line], order: Sequence[int], heard: Mapping[int, int]
    ) -> None:
        self._lines = lines
        self._heap = [
            (
                heard.get(lines[place].utterance.line, 0) + (not lines[place].useful) * _OUTSIDE,
                rank,
                place,
            )
            for rank, place in enumerate(order)
        ]
        heapq.heapify(self._heap)

    def take_for(self, target: _Line) -> Utterance | None:
        """The first that is other audio and other words, else other audio; None where there is none."""
        passed: list[tuple[int, int, int]] = []
        second = chosen = None
        while self._heap and chosen is None:
            entry = heapq.heappop(self._heap)
            candidate = self._lines[entry[2]]
            other = not candidate.marks & target.marks
            if other and candidate.words != target.words:
                chosen = entry
                continue
            passed.append(entry)
            if second is None and other:
                second = entry
        if chosen is None and second is not None:
            passed.remove(second)
            chosen = second
        for entry in passed:
            heapq.heappush(self._heap, entry)
        if chosen is None:
            return None
        uses, rank, place = chosen
        heapq.heappush(self._heap, (uses + 1, rank, place))
        return self._lines[place].utterance
