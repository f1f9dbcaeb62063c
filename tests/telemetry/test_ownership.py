"""A run directory has one owner: who may follow whom, seen by one's own clock; races have one winner."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_contract import codec, paths
from speech_contract.owner import LAPTOP, Owner, in_use
from speech_telemetry.ownership import (
    STALE_SECONDS,
    OccupiedError,
    Ownership,
    mark_ended,
    place_of,
    records,
)

A = Owner("uid-a", "speech", "asr", 1)
B = Owner("uid-b", "speech", "other", 1)


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def owned(run_dir: Path, owner: Owner, clock: Clock, *, custom: bool = False) -> Ownership:
    """A claim that was granted at the first look."""
    claim = Ownership(run_dir, owner, clock, custom=custom)
    assert claim.claim()
    return claim


def touch(run_dir: Path, number: int, beat: int) -> None:
    """A sign of life, whatever this machine's clock says."""
    os.utime(paths.owner_file(run_dir, number), ns=(beat, beat))


def test_the_owner_file_names_the_job(tmp_path: Path, clock: Clock) -> None:
    owned(tmp_path, A, clock)
    document = json.loads(paths.owner_file(tmp_path, 1).read_text())
    assert document == {
        "uid": "uid-a", "namespace": "speech", "name": "asr", "attempt": 1, "place": "cluster",
    }  # fmt: skip


def test_a_living_owner_refuses_another_job_by_its_name(tmp_path: Path, clock: Clock) -> None:
    owned(tmp_path, A, clock)
    second = Ownership(tmp_path, B, clock, custom=False)
    assert not second.claim()
    touch(tmp_path, 1, 42)
    with pytest.raises(OccupiedError) as refused:
        second.claim()
    assert refused.value.owner == A
    sentence = in_use("/ckpt/te", refused.value.owner)
    assert sentence.startswith("checkpoint.uri: /ckpt/te belongs to job speech/asr, which has not")
    assert "`kubectl delete stj asr -n speech`" in sentence
    here = Owner("u", "default", "asr", place=LAPTOP)
    assert "`speechtrain suspend asr -n default --local`" in in_use("run", here)


def test_an_owner_file_that_is_being_written_ends_us_once_it_says_whose(
    tmp_path: Path, clock: Clock
) -> None:
    first = owned(tmp_path, A, clock)
    assert first.look() is True
    newer = paths.owner_file(tmp_path, 2)
    newer.touch()
    assert (first.look(), first.lost) == (False, None)  # nothing is published meanwhile
    newer.write_text(codec.dumps(Owner("uid-a", "speech", "asr", 2)))
    assert first.look() is False
    assert first.superseded


def test_a_new_attempt_of_the_same_job_passes_at_once(tmp_path: Path, clock: Clock) -> None:
    first = owned(tmp_path, A, clock)
    owned(tmp_path, Owner("uid-a", "speech", "asr", 2), clock)
    assert first.look() is False  # the older attempt learns of it
    assert first.lost is not None
    assert (first.lost.attempt, first.superseded) == (2, True)


def test_who_saves_is_waited_for_and_who_ended_is_followed_at_once(
    tmp_path: Path, clock: Clock
) -> None:
    first = owned(tmp_path, A, clock)
    second = Ownership(tmp_path, B, clock, custom=False)
    first.stopping()
    for beat in range(5):
        clock.now += STALE_SECONDS - 1
        touch(tmp_path, 1, beat)
        assert not second.claim()
    first.release()
    assert second.claim()
    assert second.before == A


def test_an_owner_without_a_sign_of_life_is_dead_after_a_while(
    tmp_path: Path, clock: Clock
) -> None:
    owned(tmp_path, A, clock)
    touch(tmp_path, 1, 2**62)  # a file server whose clock is centuries ahead
    second = Ownership(tmp_path, B, clock, custom=False)
    assert not second.claim()
    clock.now += STALE_SECONDS - 0.1
    assert not second.claim()
    clock.now += 0.1
    assert second.claim()


def test_of_two_that_saw_the_same_owner_die_one_wins(tmp_path: Path, clock: Clock) -> None:
    owned(tmp_path, A, clock)
    rivals = [
        Ownership(tmp_path, Owner(f"uid-{n}", "x", f"r{n}"), clock, custom=False) for n in "12"
    ]
    assert [rival.claim() for rival in rivals] == [False, False]
    clock.now += STALE_SECONDS
    assert [rival.claim() for rival in rivals] == [True, False]
    touch(tmp_path, 2, 7)
    with pytest.raises(OccupiedError, match="x/r1"):
        rivals[1].claim()


def test_a_file_cut_off_by_a_crash_is_waited_for_like_an_owner(
    tmp_path: Path, clock: Clock
) -> None:
    path = paths.owner_file(tmp_path, 1)
    path.parent.mkdir()
    path.write_text("{")
    claim = Ownership(tmp_path, A, clock, custom=False)
    assert not claim.claim()
    clock.now += STALE_SECONDS
    assert claim.claim()


def test_logs_and_reports_go_aside_when_another_job_takes_over(
    tmp_path: Path, clock: Clock
) -> None:
    log = paths.rank_log(tmp_path, 1, 0)
    first = owned(tmp_path, A, clock)
    log.parent.mkdir(parents=True)
    log.write_text("of a")
    (tmp_path / paths.RESULT).write_text("{}")
    (tmp_path / paths.CHECKPOINTS).mkdir()
    first.release()
    assert place_of(tmp_path, "uid-a") == tmp_path
    assert not place_of(tmp_path, "uid-b").exists()  # it has left nothing here yet
    owned(tmp_path, B, clock)
    assert not log.exists()
    assert (tmp_path / paths.CHECKPOINTS).exists()
    assert paths.rank_log(place_of(tmp_path, "uid-a"), 1, 0).read_text() == "of a"
    assert (place_of(tmp_path, "uid-a") / paths.RESULT).exists()
    assert place_of(tmp_path, "uid-b") == tmp_path


def test_a_crash_before_the_move_is_made_good_by_the_next_attempt(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    owned(tmp_path, A, clock).release()
    log = paths.rank_log(tmp_path, 1, 0)
    log.parent.mkdir(parents=True)
    log.write_text("of a")
    with monkeypatch.context() as broken:
        broken.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("server is away")))
        with pytest.raises(OSError, match="away"):
            Ownership(tmp_path, B, clock, custom=False).claim()
    owned(tmp_path, Owner("uid-b", "speech", "other", 2), clock)
    assert paths.rank_log(place_of(tmp_path, "uid-a"), 1, 0).read_text() == "of a"
    own = paths.rank_log(tmp_path, 2, 0)
    own.parent.mkdir(parents=True)
    owned(tmp_path, Owner("uid-b", "speech", "other", 3), clock)
    assert own.parent.exists()  # once is enough


def test_files_of_a_custom_script_stay_where_they_are(tmp_path: Path, clock: Clock) -> None:
    owned(tmp_path, A, clock, custom=True).release()
    (tmp_path / "logs" / "attempt-1").mkdir(parents=True)
    (tmp_path / "logs" / "tensorboard").mkdir()
    (tmp_path / paths.RESULT).write_text("the script's own")
    owned(tmp_path, B, clock, custom=True)
    assert (tmp_path / paths.RESULT).exists()
    assert [p.name for p in (tmp_path / "logs").iterdir()] == ["tensorboard"]


def test_marked_as_ended_by_who_knows_that_it_is_dead(tmp_path: Path, clock: Clock) -> None:
    owned(tmp_path, A, clock)
    mark_ended(tmp_path, records(tmp_path)[-1])
    assert Ownership(tmp_path, B, clock, custom=False).claim()


@given(order=st.lists(st.sampled_from([0, 1, 2]), min_size=1, max_size=40))
def test_never_two_owners_in_any_order_of_looks(
    tmp_path_factory: pytest.TempPathFactory, order: list[int]
) -> None:
    folder, clock = tmp_path_factory.mktemp("run"), Clock()
    claims = [Ownership(folder, Owner(f"u{n}", "x", str(n)), clock, custom=False) for n in range(3)]
    granted: list[int] = []
    named: set[str] = set()
    for beat, who in enumerate(order):
        clock.now += STALE_SECONDS / 4
        for number in range(1, len(granted) + 1):
            touch(folder, number, beat)  # all of them live
        if who in granted:
            continue
        try:
            granted += [who] if claims[who].claim() else []
        except OccupiedError as refused:
            named.add(refused.owner.uid)
    assert len(granted) == 1
    assert named <= {f"u{granted[0]}"}
