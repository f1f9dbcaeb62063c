"""The checkpoint store: commit, marks, fence, retention, corruption, full disks."""

from __future__ import annotations

import errno
import itertools
import json
import types
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import toy
from torch import Tensor

from speech_contract import outcome, paths
from speech_contract.events import Event
from speech_contract.run_config import ResumeFrom, ResumePolicy
from speech_trainer.engine.checkpoints import DOCUMENT, TENSORS, CheckpointStore, Opened, Saved
from speech_trainer.engine.fence import FencedOffError
from speech_trainer.engine.files import Files, explain
from speech_trainer.errors import CheckpointError, ConfigError


def open_store(
    run_dir: Path,
    attempt: int = 1,
    *,
    uid: str = "u1",
    keep: int = 3,
    wanted: ResumeFrom = ResumeFrom.NEWEST,
    policy: ResumePolicy = ResumePolicy.AUTO,
    files: Files | None = None,
    refusals: list[tuple[str, str]] | None = None,
) -> tuple[CheckpointStore, Opened]:
    """A store whose attempt has begun."""
    store = CheckpointStore(run_dir, keep, files)

    def refuse(name: str, reason: str) -> None:
        if refusals is not None:
            refusals.append((name, reason))

    return store, store.open_attempt(attempt, uid, wanted, policy, refuse)


def save(store: CheckpointStore, step: int, *marks: str) -> Saved:
    """A small checkpoint."""
    saved = store.save(step, {"x": torch.full((4,), float(step))}, {"step": step})
    for mark in marks:
        store.mark(saved, mark)
    return saved


def names(store: CheckpointStore) -> list[str]:
    return [saved.name for saved in store.valid()]


class FullDisk(Files):
    """Has room for `room` checkpoints."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write_tensors(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        if self.room == 0:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= 1
        super().write_tensors(path, tensors)

    def free_bytes(self, path: Path) -> int:
        return 1_000


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    store, opened = open_store(tmp_path)
    assert opened.target is None
    saved = save(store, 5)
    tensors, document = store.load(saved)
    assert torch.equal(tensors["x"], torch.full((4,), 5.0))
    assert document == {"step": 5}
    assert sorted(p.name for p in store.path(saved).iterdir()) == [paths.COMMIT, DOCUMENT, TENSORS]


def test_without_commit_it_does_not_exist(tmp_path: Path) -> None:
    store, _ = open_store(tmp_path)
    (store.path(save(store, 5)) / paths.COMMIT).unlink()
    assert names(store) == []
    _, opened = open_store(tmp_path, 2)
    assert opened.target is None
    assert list((tmp_path / paths.CHECKPOINTS).iterdir()) == []  # the next attempt clears it away


@pytest.mark.parametrize(
    ("marks", "newest", "confirmed"),
    [
        ({5: (), 10: ()}, 10, None),
        ({5: (paths.CONFIRMED,), 10: ()}, 10, 5),
        ({5: (paths.CONFIRMED,), 10: (paths.QUARANTINED,)}, 5, 5),
        ({5: (), 10: (paths.CONFIRMED, paths.QUARANTINED)}, 5, None),  # QUARANTINED wins
        ({5: (paths.QUARANTINED,)}, None, None),
        ({}, None, None),
    ],
)
def test_what_an_attempt_resumes_from(
    tmp_path: Path, marks: dict[int, tuple[str, ...]], newest: int | None, confirmed: int | None
) -> None:
    for wanted, expected in ((ResumeFrom.NEWEST, newest), (ResumeFrom.CONFIRMED, confirmed)):
        run_dir = tmp_path / wanted.value
        store, _ = open_store(run_dir)
        for step, those in marks.items():
            save(store, step, *those)
        _, opened = open_store(run_dir, 2, wanted=wanted)
        assert (opened.target.step if opened.target else None) == expected


def test_what_an_older_attempt_commits_after_the_fence_is_ignored_for_good(tmp_path: Path) -> None:
    old, _ = open_store(tmp_path, 1)
    save(old, 5)
    new, opened = open_store(tmp_path, 2)
    assert opened.target is not None
    with pytest.raises(CheckpointError, match="attempt 2 has taken over"):
        save(old, 10)
    with pytest.raises(CheckpointError, match="stale"):
        old.mark(Saved(5, 1), paths.CONFIRMED)
    # It had checked the fence just before, and commits all the same:
    late = paths.checkpoint_dir(tmp_path, 10, 1)
    store_path = old.path(Saved(5, 1))
    late.mkdir()
    for path in store_path.iterdir():
        (late / path.name).write_bytes(path.read_bytes())
    assert names(new) == ["step-5.a1"]
    assert open_store(tmp_path, 3)[1].target == Saved(5, 1)


class TakenOver(Files):
    """Right before one of its operations the next attempt takes over the directory."""

    def __init__(self, at: str, run_dir: Path) -> None:
        self.at, self._run_dir = at, run_dir
        self.newer: CheckpointStore | None = None

    def _take_over(self, operation: str) -> None:
        if operation == self.at and self.newer is None:
            self.newer, _ = open_store(self._run_dir, 2)
            save(self.newer, 11, paths.CONFIRMED)

    def write_tensors(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        self._take_over("tensors")
        super().write_tensors(path, tensors)

    def write_new(self, path: Path, text: str) -> None:
        if path.name == DOCUMENT:
            self._take_over("document")
        super().write_new(path, text)
        if path.name == paths.COMMIT:
            self._take_over("retention")

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        self._take_over("commit")


@pytest.mark.parametrize("at", ["tensors", "document", "commit", "retention"])
def test_a_zombie_of_an_older_attempt_publishes_nothing_and_deletes_nothing(
    tmp_path: Path, at: str
) -> None:
    """Its node lost the API server amid a save; the next attempt trains elsewhere meanwhile."""
    files = TakenOver("", tmp_path)
    old, _ = open_store(tmp_path, 1, files=files, keep=1)
    save(old, 5, paths.CONFIRMED)
    files.at = at
    with pytest.raises(FencedOffError, match="attempt 2 has taken over") as caught:
        save(old, 10)
    assert caught.value.exit_code == outcome.EXIT_SUPERSEDED
    assert files.newer is not None
    before = ["step-10.a1"] if at == "retention" else []  # it was whole when the next one began
    there = ["step-5.a1", *before, "step-11.a2"]  # keepLast 1 of the old one drops none
    assert names(files.newer) == [saved.name for saved in old.committed()] == there
    save(files.newer, 12)
    assert open_store(tmp_path, 3)[1].target == Saved(12, 2)
    left = [path.name for path in (tmp_path / paths.CHECKPOINTS).iterdir()]
    assert not [name for name in left if name.startswith(".writing")]


def test_a_rank_that_raised_no_fence_is_not_fenced_off(tmp_path: Path) -> None:
    open_store(tmp_path, 3)
    CheckpointStore(tmp_path, 3).fence.check()


def test_the_same_attempt_cannot_start_twice(tmp_path: Path) -> None:
    open_store(tmp_path, 1)
    with pytest.raises(CheckpointError, match="attempt 1 already started"):
        open_store(tmp_path, 1)


def test_another_job_continues_under_numbers_of_its_own(tmp_path: Path) -> None:
    store, _ = open_store(tmp_path, 1)
    save(store, 5)
    other, opened = open_store(tmp_path, 1, uid="u2")
    assert opened == Opened(2, Saved(5, 1), "another job")
    assert save(other, 10).name == "step-10.a2"
    assert open_store(tmp_path, 2, uid="u2")[1] == Opened(3, Saved(10, 2))


def test_never_refuses_a_used_directory_but_not_the_jobs_own_restart(tmp_path: Path) -> None:
    store, _ = open_store(tmp_path, 1, policy=ResumePolicy.NEVER)
    save(store, 5)
    assert open_store(tmp_path, 2, policy=ResumePolicy.NEVER)[1].target == Saved(5, 1)
    with pytest.raises(ConfigError, match=r"checkpoint\.resume: Never.*holds another run"):
        open_store(tmp_path, 1, uid="u2", policy=ResumePolicy.NEVER)


@pytest.mark.parametrize("name", [TENSORS, DOCUMENT, paths.COMMIT])
def test_a_corrupt_newest_is_refused_and_the_next_older_is_used(tmp_path: Path, name: str) -> None:
    store, _ = open_store(tmp_path)
    save(store, 5)
    path = store.path(save(store, 10)) / name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    refusals: list[tuple[str, str]] = []
    store, opened = open_store(tmp_path, 2, refusals=refusals)
    assert opened.target == Saved(5, 1)
    assert [refused for refused, _ in refusals] == ["step-10.a1"]
    assert name in refusals[0][1]
    assert [s.quarantined for s in store.valid()] == [False, True]


def test_nothing_starts_over_in_silence_when_all_are_corrupt(tmp_path: Path) -> None:
    store, _ = open_store(tmp_path)
    (store.path(save(store, 5)) / TENSORS).write_bytes(b"")
    with pytest.raises(CheckpointError, match="delete them to start over"):
        open_store(tmp_path, 2)


def test_retention_keeps_the_newest_and_never_drops_the_last_confirmed(tmp_path: Path) -> None:
    store, _ = open_store(tmp_path, keep=2)
    save(store, 5, paths.CONFIRMED)
    save(store, 10, paths.CONFIRMED)
    save(store, 15)
    save(store, 20, paths.QUARANTINED)
    save(store, 25)
    save(store, 30)
    assert names(store) == ["step-10.a1", "step-25.a1", "step-30.a1"]


def test_retention_keeps_a_confirmed_one_from_before_bad_steps_that_still_count(
    tmp_path: Path,
) -> None:
    store, _ = open_store(tmp_path, keep=1)
    save(store, 5, paths.CONFIRMED)
    save(store, 10, paths.CONFIRMED)
    store.save(15, {"x": torch.zeros(1)}, {}, before=8)
    assert names(store) == ["step-5.a1", "step-10.a1", "step-15.a1"]
    store.save(20, {"x": torch.zeros(1)}, {})
    assert names(store) == ["step-10.a1", "step-20.a1"]


def test_a_retreat_quarantines_what_came_after_the_first_bad_step(tmp_path: Path) -> None:
    store, _ = open_store(tmp_path, keep=9)
    for step in (5, 10, 15):
        save(store, step, paths.CONFIRMED)
    (store.path(Saved(10, 1)) / TENSORS).write_bytes(b"corrupt")
    save(store, 20)
    refusals: list[str] = []
    target = store.retreat(12, lambda name, reason: refusals.append(name))
    assert target == Saved(5, 1)
    assert refusals == ["step-10.a1"]
    assert [s.step for s in store.valid() if s.quarantined] == [10, 15, 20]
    assert open_store(tmp_path, 2)[1].target == Saved(5, 1)


def test_a_checkpoint_amid_bad_steps_bears_its_mark_before_it_exists(tmp_path: Path) -> None:
    class DiesAfterCommit(Files):
        def write_new(self, path: Path, text: str) -> None:
            super().write_new(path, text)
            if path.name == paths.COMMIT:
                raise KeyboardInterrupt

    store, _ = open_store(tmp_path, files=DiesAfterCommit())
    with pytest.raises(KeyboardInterrupt):
        store.save(5, {"x": torch.zeros(1)}, {}, quarantined=True)
    assert open_store(tmp_path, 2)[1].target is None


def test_a_quarantined_step_may_be_saved_again_after_a_roll_back(tmp_path: Path) -> None:
    store, _ = open_store(tmp_path)
    save(store, 5, paths.QUARANTINED)
    assert not save(store, 5).quarantined
    assert store.valid() == [Saved(5, 1)]
    assert not store.valid()[0].quarantined


def test_after_a_health_failure_newer_provisional_ones_are_off_the_line(tmp_path: Path) -> None:
    store, _ = open_store(tmp_path)
    save(store, 5, paths.CONFIRMED)
    save(store, 10)
    open_store(tmp_path, 2, wanted=ResumeFrom.CONFIRMED)
    assert open_store(tmp_path, 3)[1].target == Saved(5, 1)


def test_after_a_spike_nothing_of_it_is_resumed_from_although_it_was_confirmed(
    tmp_path: Path,
) -> None:
    """The engine sees finite steps; only the rule knows where the spike began."""
    store, _ = open_store(tmp_path)
    for step in (5, 10, 15):
        save(store, step, paths.CONFIRMED)
    second = CheckpointStore(tmp_path, 3)
    policy = ResumePolicy.AUTO
    opened = second.open_attempt(2, "u1", ResumeFrom.CONFIRMED, policy, lambda *_: None, before=10)
    assert opened.target == Saved(5, 1)
    assert open_store(tmp_path, 3)[1].target == Saved(5, 1)


def test_a_full_disk_says_path_room_and_remedy_and_leaves_nothing_behind(tmp_path: Path) -> None:
    store, _ = open_store(tmp_path, files=FullDisk(0))
    with pytest.raises(CheckpointError) as full:
        save(store, 5)
    text = str(full.value)
    assert text.startswith(f"checkpoint.uri: cannot write {tmp_path}/checkpoints/step-5.a1: ")
    assert "the disk is full (needs 0.0 MB, 0.0 MB free); free space there" in text
    assert list((tmp_path / paths.CHECKPOINTS).iterdir()) == []


def test_safetensors_reports_a_full_disk_as_text() -> None:
    error = RuntimeError("I/O error: No space left on device (os error 28)")
    assert "the disk is full (needs 2.00 GB" in explain(error, Path("x"), 2_000_000_000, 0)
    assert "make the directory writable" in explain(PermissionError("no"), Path("x"), 0, 0)


def test_the_first_save_must_work(tmp_path: Path) -> None:
    run = toy.make(toy.make_config(tmp_path), files=FullDisk(0))
    with pytest.raises(CheckpointError, match="the disk is full") as full:
        run.run()
    assert full.value.exit_code == outcome.EXIT_ERROR


class FullForAWhile(FullDisk):
    """Somebody frees space after the first failure."""

    def write_tensors(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        try:
            super().write_tensors(path, tensors)
        except OSError:
            self.room = 9
            raise


def test_a_later_full_disk_is_shown_and_training_goes_on(tmp_path: Path) -> None:
    run = toy.make(toy.make_config(tmp_path), files=FullForAWhile(1))
    assert run.run() == 0
    assert run.said.steps_of(Event.CHECKPOINT_FAILED) == [10]
    assert any("checkpoint at step 10 failed" in d.message for d in run.said.datagrams)
    assert sorted(p.name for p in (tmp_path / paths.CHECKPOINTS).iterdir()) == ["step-12.a1", "step-5.a1"]  # fmt: skip


def test_the_time_that_saves_took_is_reported_whether_they_worked_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count()  # a second between two looks at the clock
    clock = types.SimpleNamespace(monotonic=lambda: float(next(ticks)))
    monkeypatch.setattr("speech_trainer.engine.saver.time", clock)
    run = toy.make(toy.make_config(tmp_path), files=FullForAWhile(1))
    assert run.run() == 0
    took = {d.step: d.checkpoint_seconds for d in run.said.datagrams}
    assert [took[step] for step in (4, 6, 11, 12)] == [0.0, 1.0, 2.0, 3.0]


def test_a_run_that_cannot_save_its_last_step_is_not_done(tmp_path: Path) -> None:
    run = toy.make(toy.make_config(tmp_path), files=FullDisk(1))
    with pytest.raises(CheckpointError, match="the disk is full"):
        run.run()
    assert run.said.last.last_checkpoint_step == 5
    assert [p.name for p in (tmp_path / paths.CHECKPOINTS).iterdir()] == ["step-5.a1"]


def test_a_disk_that_other_files_fill_is_named_too() -> None:
    error = OSError(errno.ENOSPC, "No space left on device")
    assert explain(error, Path("x"), 0, 0).startswith(
        "checkpoint.uri: cannot write x: the disk is full; free"
    )


def test_a_mark_is_made_once(tmp_path: Path) -> None:
    store, _ = open_store(tmp_path)
    saved = save(store, 5, paths.CONFIRMED, paths.CONFIRMED)
    assert (store.path(saved) / paths.CONFIRMED).read_text() == ""


def test_the_fence_records_its_target_and_what_it_saw(tmp_path: Path) -> None:
    store, _ = open_store(tmp_path)
    save(store, 5)
    open_store(tmp_path, 2)
    record = json.loads(paths.attempt_file(tmp_path, 2).read_text())
    assert (record["target"], record["committed"]) == ("step-5.a1", ["step-5.a1"])


def test_a_checkpoint_of_another_model_is_refused_with_a_sentence(tmp_path: Path) -> None:
    toy.make(toy.make_config(tmp_path)).run()

    class Wider(toy.ToyRecipe):
        def build(self) -> toy.Built:
            built = super().build()
            built.models["d"] = torch.nn.Linear(3, 3)
            return built

    with pytest.raises(CheckpointError, match=r"step-12\.a1: does not fit model d"):
        toy.make(toy.make_config(tmp_path, attempt=2), recipe=Wider).run()
