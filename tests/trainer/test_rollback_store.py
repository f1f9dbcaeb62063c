"""Whatever happens to a run, no attempt resumes from a checkpoint that a fault may have touched: a property.

The engine's own store, saver and budget are driven step by step with any pattern of bad steps, kills at any
moment, interrupts and health failures; a plain model beside them says what may be resumed from.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import pytest
import torch
import toy
from hypothesis import given, settings
from hypothesis import strategies as some

from speech_contract import paths
from speech_contract.run_config import ResumeFrom, ResumePolicy
from speech_contract.thresholds import NonFinite
from speech_trainer.engine.budget import Decision, NonFiniteBudget
from speech_trainer.engine.checkpoints import CheckpointStore, Saved
from speech_trainer.engine.distributed import Ranks, World
from speech_trainer.engine.files import Files
from speech_trainer.engine.flags import StepFlags
from speech_trainer.engine.reporting import NoTelemetry, Reporting
from speech_trainer.engine.saver import Saver
from speech_trainer.errors import NonFiniteBudgetSpent

EVERY = 3  # steps between saves
LIMITS = NonFinite(skip_budget=1, window_steps=8, confirm_steps=2, max_rollbacks=1)
WORLD = World(Ranks(), torch.device("cpu"))


class Killed(BaseException):
    """SIGKILL."""


class Dies(Files):
    """Is killed at the n-th write to the disk; tensors are not what is tested."""

    def __init__(self, writes: int) -> None:
        self.left = writes

    def _write(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed

    def write_tensors(self, path: Path, tensors: object) -> None:
        self._write()
        path.write_bytes(b"")

    def write_new(self, path: Path, text: str) -> None:
        self._write()
        with path.open("x") as file:
            file.write(text)

    def rename(self, source: Path, target: Path) -> None:
        self._write()
        source.rename(target)


@dataclasses.dataclass
class Truth:
    """What really happened: which checkpoints were saved when, and from which step on a fault had shown."""

    saved_at: dict[str, int] = dataclasses.field(default_factory=dict)
    forbidden: set[str] = dataclasses.field(default_factory=set)
    finite_after: dict[str, int] = dataclasses.field(default_factory=dict)

    def saves(self, name: str, step: int, *, amid_bad: bool) -> None:
        """A checkpoint of this name is being written; an older one of it is gone for good."""
        self.saved_at[name], self.finite_after[name] = step, 0
        self.forbidden.discard(name)
        if amid_bad:
            self.forbidden.add(name)

    def spent(self, first_bad: int) -> None:
        """The budget is spent: nothing from the first bad step on may be resumed from, ever."""
        self.forbidden |= {name for name, step in self.saved_at.items() if step >= first_bad}

    def sees(self, *, bad: bool) -> None:
        """One step more behind every checkpoint that waits to be confirmed."""
        for name, count in self.finite_after.items():
            if count < LIMITS.confirm_steps:
                self.finite_after[name] = -1_000_000 if bad else count + 1


class Life:
    """One attempt on a fault-injecting disk. Steps come from a pattern: True is a bad one."""

    def __init__(self, run_dir: Path, attempt: int, wanted: ResumeFrom, writes: int) -> None:
        config = toy.make_config(
            run_dir,
            attempt=attempt,
            resume_from=wanted,
            checkpoint={"keep_last": 2},
            non_finite=dataclasses.asdict(LIMITS),
        )
        self.attempt, self.wanted = attempt, wanted
        self.store = CheckpointStore(run_dir, 2, Dies(writes))
        voice = Reporting(NoTelemetry(), NoTelemetry(), rank=0, total_steps=99, device="cpu")
        self.saver = Saver(self.store, WORLD, voice, config)
        self.budget = NonFiniteBudget(LIMITS)
        self.step = self.position = 0

    def start(self, truth: Truth) -> Saved | None:
        """Resume, and check what was resumed from."""
        start = self.saver.open()
        if start.target is not None:
            assert not start.target.quarantined
            assert start.target.name not in truth.forbidden
            assert start.target.name in truth.saved_at
            self.step = start.target.step
            self.position = self.store.position(start.target)
            if self.wanted is ResumeFrom.CONFIRMED:  # what is newer is off the run's line for good
                truth.spent(self.step + 1)
            truth.finite_after = {
                n: c for n, c in truth.finite_after.items() if truth.saved_at[n] <= self.step
            }
        return start.target

    def train(self, pattern: list[bool], truth: Truth) -> bool:
        """Train through the pattern. False when the attempt ended by exit code 40."""
        for bad in pattern:
            self.step += 1
            window = (self.position, self.position + 4)
            self.position += 4
            flags = StepFlags(self.step, window, bad, interrupt=False, updated=not bad)
            decision = self.budget.feed(flags)
            truth.sees(bad=bad)
            self.saver.observe(flags)
            if decision is not Decision.GO_ON:
                if not self._retreat(decision, truth):
                    return False
            elif self.step % EVERY == 0:
                self._save(truth)
        return True

    def _save(self, truth: Truth) -> None:
        name = Saved(self.step, self.attempt).name
        amid_bad = self.budget.in_a_row > 0
        truth.saves(name, self.step, amid_bad=amid_bad)
        document = {"position": self.position}
        before = self.budget.first_in_window
        self.saver.save(self.step, dict, document, must=True, suspicious=amid_bad, before=before)

    def _retreat(self, decision: Decision, truth: Truth) -> bool:
        spent = self.budget.spent
        assert spent is not None
        confirmed = {n for n, c in truth.finite_after.items() if c >= LIMITS.confirm_steps}
        truth.spent(spent.first_step)
        start = self.saver.retreat(self.step, spent.first_step, self.budget.windows_since, "test")
        target = start.target
        if target is None or decision is Decision.STOP:
            return False
        assert target.name in confirmed - truth.forbidden
        assert target.step < spent.first_step
        self.step, self.position = target.step, self.store.position(target)
        truth.finite_after = {
            n: c for n, c in truth.finite_after.items() if truth.saved_at[n] <= target.step
        }
        self.budget.rolled_back()
        return True


attempts = some.lists(
    some.tuples(
        some.lists(some.booleans() | some.just(False), max_size=24),
        some.integers(0, 60) | some.just(10_000),
    ),
    min_size=2,
    max_size=5,
)


@settings(deadline=None, max_examples=150)
@given(lives=attempts)
def test_no_attempt_resumes_from_what_a_fault_may_have_touched(
    lives: list[tuple[list[bool], int]],
) -> None:
    truth, wanted = Truth(), ResumeFrom.NEWEST
    with tempfile.TemporaryDirectory() as folder:
        for number, (pattern, writes) in enumerate(lives, start=1):
            life = Life(Path(folder), number, wanted, writes)
            try:
                life.start(truth)
                healthy = life.train(pattern, truth)
            except Killed:
                # before it trained, the operator asks again for what it asked for
                wanted = wanted if life.step == 0 else ResumeFrom.NEWEST
                continue
            except NonFiniteBudgetSpent:
                assert wanted is ResumeFrom.CONFIRMED  # nothing confirmed is left: the job fails
                return
            wanted = ResumeFrom.NEWEST if healthy else ResumeFrom.CONFIRMED


@settings(deadline=None, max_examples=60)
@given(lives=attempts)
def test_windows_once_recorded_are_passed_over_by_every_later_attempt(
    lives: list[tuple[list[bool], int]],
) -> None:
    truth, recorded = Truth(), set[tuple[int, int]]()
    with tempfile.TemporaryDirectory() as folder:
        for number, (pattern, writes) in enumerate(lives, start=1):
            life = Life(Path(folder), number, ResumeFrom.NEWEST, writes)
            try:
                assert recorded <= set(life.saver.open().skips)
                life.train(pattern, truth)
            except Killed:
                pass
            names = (Path(folder) / paths.SKIPS).glob("*.json")
            recorded = {w for _ in [*names] for w in life.store.fence.skips()}


def test_a_stale_attempt_can_neither_commit_nor_mark_what_the_next_one_sees(
    tmp_path: Path,
) -> None:
    truth = Truth()
    old = Life(tmp_path, 1, ResumeFrom.NEWEST, 10_000)
    old.start(truth)
    old.train([False] * 5, truth)
    new = Life(tmp_path, 2, ResumeFrom.NEWEST, 10_000)
    target = new.start(truth)
    with pytest.raises(Exception, match="has taken over"):
        old.train([False] * 6, truth)
    third = CheckpointStore(tmp_path, 2)
    opened = third.open_attempt(3, "u1", ResumeFrom.NEWEST, ResumePolicy.AUTO, lambda *_: None)
    assert target is not None
    assert opened.target is not None
    assert opened.target.name == target.name
