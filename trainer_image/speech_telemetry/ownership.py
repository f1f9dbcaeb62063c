"""One job at a time in a run directory, whatever clusters share the volume. Called by `master`, read by the CLI.

    owners/owner-N.json       created exclusively before an attempt writes anything; the highest N is the owner
    owners/owner-N.stopping   it was asked to stop and still saves
    owners/owner-N.ended      it has ended, its ranks too
    previous/owner-N/         what the job of owner N left for people to read, once another job took over

Whether an owner lives is seen, not calculated: it touches its file every BEAT_SECONDS, and who wants the directory
watches that file by its own clock. No two clocks are compared. Taking over creates the next number, so of two that
saw the same owner die one wins. Attempts of one job follow each other without waiting.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

from speech_contract import codec, paths
from speech_contract.errors import ContractError
from speech_contract.owner import Owner
from speech_contract.values import Value, frozen
from speech_telemetry.files import create_text

BEAT_SECONDS = 10.0
STALE_SECONDS = 60.0  # without a sign of life; a file server may well be away for half of it
LOOK_SECONDS = 1.0
FENCE_SECONDS = 2.0  # between two looks for who took over; one stat
_NAME = re.compile(r"owner-(\d+)\.json")
_UNKNOWN = Owner("", "?", "of a cut-off owner file")
_REPORTS = (paths.EVENTS, paths.QUARANTINE, paths.RESULT, paths.PREFLIGHT, paths.REPORT)
_LOGS = "attempt-*"  # below logs/; whatever else lies there is not ours


class OccupiedError(Exception):
    """Another job lives in the directory."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        super().__init__(str(owner))


@frozen
class Record(Value):
    """One owner file as it lies there."""

    number: int
    owner: Owner
    touched: int  # mtime in ns, by the file server's clock
    stopping: bool
    ended: bool


def records(run_dir: Path) -> list[Record]:
    """Every owner of a run directory, oldest first. One that was cut off while it was written has no name."""
    found = []
    for path in (run_dir / paths.OWNERS).glob("owner-*.json"):
        match = _NAME.fullmatch(path.name)
        if match:
            found.append(_read(path, int(match[1])))
    return sorted(found, key=lambda record: record.number)


def _read(path: Path, number: int) -> Record:
    try:
        owner = codec.loads(Owner, path.read_bytes())
    except (ContractError, UnicodeDecodeError):
        owner = _UNKNOWN
    with open(path, "rb") as file:  # network file systems look anew when a file is opened
        touched = os.fstat(file.fileno()).st_mtime_ns
    marks = path.with_suffix(".stopping").exists(), path.with_suffix(".ended").exists()
    return Record(number, owner, touched, *marks)


def place_of(run_dir: Path, uid: str) -> Path:
    """Where logs and reports of a job lie: in the directory itself while nobody took it over.

    A job that never owned it has a place where nothing is: what lies there is another's.
    """
    found = records(run_dir)
    if not found or not uid or found[-1].owner.uid == uid:
        return run_dir
    own = [record.number for record in found if record.owner.uid == uid]
    return paths.previous_dir(run_dir, own[-1] if own else 0)


def mark_ended(run_dir: Path, record: Record) -> None:
    """Write down that an owner's processes are gone. Raises OSError."""
    paths.owner_file(run_dir, record.number).with_suffix(".ended").touch()


class Ownership:
    """One attempt's claim to its run directory; `monotonic` in seconds.

    `custom`: a stranger's script may keep files there under the names of our reports.
    """

    def __init__(
        self, run_dir: Path, me: Owner, monotonic: Callable[[], float], *, custom: bool
    ) -> None:
        self._run_dir, self._me, self._monotonic = run_dir, me, monotonic
        self._reports = () if custom else _REPORTS
        self._number = 0
        self._watched: tuple[int, int, float] | None = None  # number, mtime, seen unchanged since
        self._leaving = threading.Event()
        self._beating: threading.Thread | None = None
        self.before: Owner | None = None  # another job that was taken over from
        self.lost: Owner | None = None  # who took over from us

    def claim(self) -> bool:
        """One look, every LOOK_SECONDS: True once the directory is ours. Raises OccupiedError, OSError."""
        found = records(self._run_dir)
        newest = found[-1] if found else None
        if newest is not None and not self._may_follow(newest):
            return False
        number = newest.number + 1 if newest else 1
        if not self._create(number):
            return False
        self._number = number
        self._set_aside(found)
        return True

    @property
    def watched(self) -> Owner | None:
        """The owner whose sign of life is waited for."""
        if self._watched is None:
            return None
        number = self._watched[0]
        return next((r.owner for r in records(self._run_dir) if r.number == number), None)

    def _may_follow(self, newest: Record) -> bool:
        if newest.ended or (newest.owner.uid == self._me.uid and newest.owner is not _UNKNOWN):
            return True
        now, seen = self._monotonic(), self._watched
        if seen is None or seen[0] != newest.number:
            self._watched = (newest.number, newest.touched, now)
            return False
        if newest.touched != seen[1]:
            if not newest.stopping:
                raise OccupiedError(newest.owner)
            self._watched = (newest.number, newest.touched, now)
            return False
        return now - seen[2] >= STALE_SECONDS

    def _create(self, number: int) -> bool:
        path = paths.owner_file(self._run_dir, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            create_text(path, codec.dumps(self._me))
        except FileExistsError:  # somebody else saw the same
            return False
        return True

    def _set_aside(self, found: list[Record]) -> None:
        """Move what the last other job left for people, whole or not at all: a crash before this is made good."""
        others = [r for r in found if r.owner.uid != self._me.uid or r.owner is _UNKNOWN]
        if found and found[-1] in others:
            self.before = found[-1].owner
        if not others and (found or self._me.attempt > 1):
            return  # what lies there is our own
        target = paths.previous_dir(self._run_dir, others[-1].number if others else 0)
        left = [p for p in self._left() if p.exists()]
        if target.exists() or not left:
            return
        moving = target.with_name(f".moving-{target.name}")
        for path in left:
            place = moving / path.relative_to(self._run_dir)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, place)
        os.replace(moving, target)

    def _left(self) -> list[Path]:
        logs = sorted((self._run_dir / paths.LOGS).glob(_LOGS))
        return [*logs, *(self._run_dir / name for name in self._reports)]

    # ---- while it lives ----

    def start(self, tell: Callable[[str], None]) -> None:
        """Give signs of life until `release`; `tell` gets the reason of the first that failed."""
        self._beating = threading.Thread(target=self._beat, args=(tell,), name="owner", daemon=True)
        self._beating.start()

    def beat(self) -> None:
        """One sign of life, and a look at whether the directory is still ours. Raises OSError."""
        os.utime(paths.owner_file(self._run_dir, self._number))
        self.look()

    def look(self) -> bool:
        """Whether the directory is still ours: who takes over has our number and one more. Raises OSError.

        Whose it is now is known once that file is written.
        """
        if not self._number or not paths.owner_file(self._run_dir, self._number + 1).exists():
            return self.lost is None
        newer = [r.owner for r in records(self._run_dir) if r.number > self._number]
        self.lost = next((o for o in reversed(newer) if o is not _UNKNOWN), self.lost)
        return False

    @property
    def superseded(self) -> bool:
        """Whether it was a newer attempt of our own job that took over."""
        return self.lost is not None and self.lost.uid == self._me.uid

    def _beat(self, tell: Callable[[str], None]) -> None:
        told, due = False, self._monotonic() + BEAT_SECONDS
        while not self._leaving.wait(FENCE_SECONDS):
            try:
                if self._monotonic() < due:
                    self.look()
                    continue
                due = self._monotonic() + BEAT_SECONDS
                self.beat()
            except OSError as error:  # the file server is away, or somebody deleted the directory
                if not told:
                    tell(str(error))
                told = True

    def stopping(self) -> None:
        """Asked to stop: who waits for the directory may wait for us. Raises OSError."""
        if self._number:
            paths.owner_file(self._run_dir, self._number).with_suffix(".stopping").touch()

    def release(self) -> None:
        """The ranks are gone. Raises OSError."""
        self._leaving.set()
        if self._beating is not None:
            self._beating.join(BEAT_SECONDS)  # a file server that is away must not keep the pod
        if self._number:
            paths.owner_file(self._run_dir, self._number).with_suffix(".ended").touch()
