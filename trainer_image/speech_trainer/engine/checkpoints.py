"""Checkpoints on a file system that survive any crash.

    checkpoints/step-N.aM/{*.safetensors, state.json, COMMIT, CONFIRMED?, QUARANTINED?, BEST?}

A checkpoint exists once COMMIT (digests of its files) is there; it is written once, last. Marks are empty files
created exclusively; QUARANTINED wins; neither mark = provisional. Whatever an older attempt commits after a newer
one listed the directory (`engine.fence`) is not in that list, hence ignored for good. Used by `engine.saver`, on
rank 0; the tensors are written, by whichever rank has them, into the folder of a `Draft`: how many files they are is
`engine.layout`'s.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from torch import Tensor

from speech_contract import paths
from speech_contract.run_config import ResumeFrom, ResumePolicy
from speech_trainer.engine.fence import Fence
from speech_trainer.engine.files import Files, explain, read_json
from speech_trainer.engine.layout import TENSORS
from speech_trainer.errors import CheckpointError, ConfigError

DOCUMENT = "state.json"
_NAME = re.compile(r"step-(\d+)\.a(\d+)")
_TEMPORARY = ".writing-"
_MARKS = {paths.COMMIT, paths.CONFIRMED, paths.QUARANTINED, paths.BEST}

T = TypeVar("T")

# (name, reason): told of every checkpoint that was passed over.
Refused = Callable[[str, str], None]


@dataclasses.dataclass(frozen=True, order=True)
class Saved:
    """One committed checkpoint. Ordered by step, then attempt."""

    step: int
    attempt: int
    confirmed: bool = dataclasses.field(compare=False, default=False)
    quarantined: bool = dataclasses.field(compare=False, default=False)
    best: bool = dataclasses.field(compare=False, default=False)  # marked so by `engine.best`

    @property
    def name(self) -> str:
        """`step-40.a2`."""
        return f"step-{self.step}.a{self.attempt}"

    @property
    def trusted(self) -> bool:
        """Confirmed, and never quarantined."""
        return self.confirmed and not self.quarantined


@dataclasses.dataclass(frozen=True)
class Draft:
    """A checkpoint that is being written, and the folder that its tensors go to."""

    saved: Saved
    folder: Path


@dataclasses.dataclass(frozen=True)
class Opened:
    """What the fence of an attempt decided. `number` names this attempt's checkpoints."""

    number: int
    target: Saved | None
    source: str = ""  # the other job that wrote the target


class CheckpointStore:
    """All checkpoints of one run directory, as rank 0 sees and writes them."""

    def __init__(self, run_dir: Path, keep_last: int, files: Files | None = None) -> None:
        self._run_dir = run_dir
        self._root = run_dir / paths.CHECKPOINTS
        self._keep_last = max(1, keep_last)
        self._files = files or Files()
        self.fence = Fence(run_dir, self._files)

    # -- the fence ---------------------------------------------------------------------------------------------

    def open_attempt(
        self,
        attempt: int,
        uid: str,
        wanted: ResumeFrom,
        policy: ResumePolicy,
        refused: Refused,
        before: int | None = None,
        job: str = "",
    ) -> Opened:
        """Fence older attempts off, choose what to resume from. `before`: of an earlier step only; `job`: for people.

        Raises ConfigError when `policy` is Never and another job used the directory, CheckpointError when this
        very attempt is already running, or when the directory cannot be written.
        """
        records = self.fence.records()
        self._check_policy(policy, uid, records)
        for record in records.values():
            if (record.get("uid"), record.get("attempt")) == (uid, attempt):
                raise self.fence.already_running(attempt)
        # Another job may have used the directory: its numbers are taken, so count on from the highest.
        number = max([attempt, *(n + 1 for n in records)])
        valid = self._valid(records)
        corrupt: list[str] = []

        def refuse(name: str, reason: str) -> None:
            corrupt.append(name)
            refused(name, reason)

        early = [saved for saved in valid if before is None or saved.step < before]
        target = self._choose(early, wanted, refuse)
        self._check_any_left(target, corrupt)
        record = {
            "number": number,
            "attempt": attempt,
            "uid": uid,
            "job": job,
            "resumeFrom": wanted.value,
            "target": None if target is None else target.name,
            "committed": [saved.name for saved in self.committed()],
        }
        self.fence.raise_(number, record)
        self._clean_up(valid, corrupt)
        self._abandon(valid, target, wanted, before)
        return Opened(number, target, _stranger(target, uid, records))

    def _check_any_left(self, target: Saved | None, corrupt: list[str]) -> None:
        """Starting over because every checkpoint is corrupt would throw a run away in silence."""
        if target is None and corrupt:
            raise CheckpointError(
                f"checkpoint.uri: none of {', '.join(corrupt)} in {self._root} can be read; restore "
                "one from a backup, or delete them to start over"
            )

    def _clean_up(self, valid: list[Saved], corrupt: list[str]) -> None:
        """Take corrupt checkpoints out of the count, and what earlier attempts left half written."""
        for saved in valid:
            if saved.name in corrupt:
                self.mark(saved, paths.QUARANTINED)
        for path in self._root.iterdir():
            if path.name.startswith(_TEMPORARY) or not (path / paths.COMMIT).exists():
                self._files.remove_tree(path)

    def _check_policy(
        self, policy: ResumePolicy, uid: str, records: Mapping[int, Mapping[str, Any]]
    ) -> None:
        if policy is not ResumePolicy.NEVER:
            return
        strangers = any(record.get("uid") != uid for record in records.values())
        if strangers or (not records and self.committed()):
            raise ConfigError(
                f"checkpoint.resume: Never, but {self._run_dir} holds another run; give a new "
                "checkpoint.uri, or write resume: Auto to continue it"
            )

    # -- reading -----------------------------------------------------------------------------------------------

    def committed(self) -> list[Saved]:
        """Every committed checkpoint, oldest first, whoever wrote it."""
        found = []
        for path in self._root.glob("step-*"):
            match = _NAME.fullmatch(path.name)
            if match and (path / paths.COMMIT).exists():
                confirmed = (path / paths.CONFIRMED).exists()
                quarantined = (path / paths.QUARANTINED).exists()
                best = (path / paths.BEST).exists()
                found.append(Saved(int(match[1]), int(match[2]), confirmed, quarantined, best))
        return sorted(found)

    def valid(self) -> list[Saved]:
        """Those that no fence excludes, oldest first."""
        return self._valid(self.fence.records())

    def _valid(self, records: Mapping[int, Mapping[str, Any]]) -> list[Saved]:
        listed = {n: set(r["committed"]) for n, r in records.items() if "committed" in r}
        return [
            saved
            for saved in self.committed()
            if all(saved.name in names for n, names in listed.items() if n > saved.attempt)
        ]

    def retreat(self, first_bad: int, refused: Refused) -> Saved | None:
        """The newest confirmed one from before step `first_bad` whose digests hold.

        Whatever was saved from that step on is quarantined, confirmed or not, and so is all that is newer than
        the target. Marks come first: a crash at any moment leaves nothing behind that could be resumed from.
        """
        valid = self.valid()
        for saved in valid:
            if saved.step >= first_bad and not saved.quarantined:
                self.mark(saved, paths.QUARANTINED)
        target = self._choose(self.valid(), ResumeFrom.CONFIRMED, refused)
        if target is not None:
            for saved in valid:
                if saved > target and not saved.quarantined:
                    self.mark(saved, paths.QUARANTINED)
        return target

    def position(self, saved: Saved) -> int:
        """The global sampler position that a checkpoint was saved at."""
        document = read_json(self.path(saved) / DOCUMENT) or {}
        return int(document.get("position", 0))

    def _choose(self, valid: list[Saved], wanted: ResumeFrom, refused: Refused) -> Saved | None:
        confirmed_only = wanted is ResumeFrom.CONFIRMED
        for saved in reversed(valid):
            if saved.quarantined or (confirmed_only and not saved.confirmed):
                continue
            reason = self.defect(saved)
            if reason is None:
                return saved
            refused(saved.name, reason)
        return None

    def defect(self, saved: Saved) -> str | None:
        """Why a committed checkpoint may not be loaded, or None. Digests first: nothing is parsed before."""
        commit = read_json(self.path(saved) / paths.COMMIT)
        if commit is None or not isinstance(commit.get("sha256"), dict):
            return f"{paths.COMMIT} is unreadable"
        digests: dict[str, Any] = commit["sha256"]
        present = {path.name for path in self.path(saved).iterdir()} - _MARKS
        for name in sorted({DOCUMENT, *present, *digests}):
            try:
                digest = self._files.digest(self.path(saved) / name)
            except OSError as error:
                return f"{name} cannot be read ({error})"
            if digest != digests.get(name):
                return f"{name} does not match its digest"
        return None

    def path(self, saved: Saved) -> Path:
        """Where it lies."""
        return paths.checkpoint_dir(self._run_dir, saved.step, saved.attempt)

    def document(self, saved: Saved) -> dict[str, Any]:
        """The JSON half. Any rank may call it once rank 0 checked the digests. Raises CheckpointError."""
        path = self.path(saved)
        document = read_json(path / DOCUMENT)
        if document is None:
            raise CheckpointError(f"{path / DOCUMENT}: cannot be read; delete the checkpoint")
        return document

    def read(self, saved: Saved, read: Callable[[Path, Files], T]) -> T:
        """What `read` makes of the folder, on any rank. Raises CheckpointError."""
        try:
            return read(self.path(saved), self._files)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{self.path(saved)}: {error}; delete the checkpoint") from error

    def load(self, saved: Saved) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors of one that was saved whole, on the host, and the document. Raises CheckpointError."""
        tensors = self.read(saved, lambda folder, files: files.read_tensors(folder / TENSORS))
        return tensors, self.document(saved)

    # -- writing -----------------------------------------------------------------------------------------------

    def save(
        self,
        step: int,
        tensors: Mapping[str, Tensor],
        document: Mapping[str, Any],
        *,
        quarantined: bool = False,
        before: int | None = None,
    ) -> Saved:
        """Write and commit `step-<step>.a<number>` whole. Raises CheckpointError; then nothing is left behind.

        `quarantined`: it bears that mark from the moment it exists. `before`: also keep the newest confirmed one
        of an earlier step than this.
        """
        draft = self.begin(step, quarantined=quarantined)
        needed = sum(tensor.nbytes for tensor in tensors.values())
        try:
            write = lambda folder, files: files.write_tensors(folder / TENSORS, tensors)  # noqa: E731
            self.write(draft, write, needed)
        except CheckpointError:
            self.drop(draft)
            raise
        return self.commit(draft, document, before)

    def begin(self, step: int, *, quarantined: bool) -> Draft:
        """Rank 0: make room for `step-<step>.a<number>`. Raises CheckpointError."""
        self.fence.check()
        saved = Saved(step, self.fence.number, quarantined=quarantined)
        draft = Draft(saved, self._root / f"{_TEMPORARY}{saved.name}")
        with self._explained(draft, 0):
            self._files.remove_tree(draft.folder)
            draft.folder.mkdir(parents=True)
        return draft

    def write(self, draft: Draft, write: Callable[[Path, Files], object], needed: int) -> None:
        """Any rank: let `write` put its files into the folder. `needed`: bytes. Raises CheckpointError."""
        with self._explained(draft, needed):
            write(draft.folder, self._files)

    def commit(self, draft: Draft, document: Mapping[str, Any], before: int | None) -> Saved:
        """Rank 0, once every file is there. Raises CheckpointError; then nothing is left behind."""
        try:
            with self._explained(draft, 0):
                self._commit(draft, document)
        except CheckpointError:
            self.drop(draft)
            raise
        self.fence.check()  # what is there now is no longer ours to delete
        self._retain(before)
        return draft.saved

    def drop(self, draft: Draft) -> None:
        """Rank 0: a part of it could not be written."""
        self._files.remove_tree(draft.folder)
        self._remove_uncommitted(draft.saved)

    def _commit(self, draft: Draft, document: Mapping[str, Any]) -> None:
        temporary, saved = draft.folder, draft.saved
        self._files.write_new(temporary / DOCUMENT, json.dumps(document))
        digests = {path.name: self._files.digest(path) for path in temporary.iterdir()}
        if saved.quarantined:
            self._files.write_new(temporary / paths.QUARANTINED, "")
        final = self.path(saved)
        if (final / paths.QUARANTINED).exists():  # from before a roll-back of this attempt
            self._files.remove_tree(final)
        self._remove_uncommitted(saved)
        self.fence.check()  # until here it has another name, which the next attempt sweeps away
        self._files.rename(temporary, final)
        self.fence.check()
        self._files.write_new(final / paths.COMMIT, json.dumps({"sha256": digests}))

    @contextlib.contextmanager
    def _explained(self, draft: Draft, needed: int) -> Iterator[None]:
        try:
            yield
        except (OSError, SafetensorError) as error:
            self.fence.check()  # a newer attempt swept away what was half written
            free = self._files.free_bytes(self._root)
            raise CheckpointError(explain(error, self.path(draft.saved), needed, free)) from error

    def _remove_uncommitted(self, saved: Saved) -> None:
        if read_json(self.path(saved) / paths.COMMIT) is None:
            self._files.remove_tree(self.path(saved))

    def mark(self, saved: Saved, mark: str) -> None:
        """Create CONFIRMED or QUARANTINED beside COMMIT; whoever was first wins, and nobody is told twice."""
        self.fence.check()
        try:
            self._files.write_new(self.path(saved) / mark, "")
        except FileExistsError:
            return
        except OSError as error:
            raise CheckpointError(explain(error, self.path(saved) / mark, 0, 0)) from error

    def _abandon(
        self, valid: list[Saved], target: Saved | None, wanted: ResumeFrom, before: int | None
    ) -> None:
        """After a health failure everything newer than the target is off the run's line: never resume from it."""
        if wanted is not ResumeFrom.CONFIRMED:
            return
        for saved in valid:
            late = before is not None and saved.step >= before
            if late or ((target is None or saved > target) and not saved.confirmed):
                self.mark(saved, paths.QUARANTINED)

    def _retain(self, before: int | None) -> None:
        """Keep the newest `keep_last` good ones, always the last confirmed and the best; drop the rest."""
        good = [saved for saved in self.valid() if not saved.quarantined]
        confirmed = [saved for saved in good if saved.confirmed]
        early = [saved for saved in confirmed if before is not None and saved.step < before]
        best = [saved for saved in good if saved.best]
        keep = {*good[-self._keep_last :], *confirmed[-1:], *early[-1:], *best}
        for saved in self.committed():
            if saved not in keep:
                self._files.remove_tree(self.path(saved))


def _stranger(target: Saved | None, uid: str, records: Mapping[int, Mapping[str, Any]]) -> str:
    """The job that wrote a checkpoint, when it is another one than `uid`; "" when it is the same or unknown."""
    record = records.get(target.attempt, {}) if target is not None else {}
    if not record or record.get("uid") == uid:
        return ""
    return str(record.get("job") or "another job")
