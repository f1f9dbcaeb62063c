"""Documents of jobs that are not asked for again: the newest wins, and doubt means asking."""

from __future__ import annotations

from typing import Any

from speech_operator.cluster.base import JobKey
from speech_operator.cluster.known_jobs import TRUST_SECONDS, KnownJobs
from speech_operator.cluster.packed import Document, unpack

KEY = JobKey("speech", "asr")


def job(version: str) -> dict[str, Any]:
    return {"metadata": {"name": "asr", "resourceVersion": version}}


def newest(known: KnownJobs) -> Document | None:
    packed = known.newest(KEY)
    return None if packed is None else unpack(packed)


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_comes_late_does_not_undo_what_is_known() -> None:
    known = KnownJobs(Time())
    assert newest(known) is None
    known.told(KEY, job("9"))
    known.answered(KEY, job("10"))  # as numbers: as words it would be the older one
    known.told(KEY, job("9"))
    assert newest(known) == job("10")


def test_silence_means_asking_again() -> None:
    time = Time()
    known = KnownJobs(time)
    known.told(KEY, job("9"))
    time.now = TRUST_SECONDS
    assert newest(known) == job("9")
    time.now = TRUST_SECONDS + 1.0
    assert newest(known) is None
    known.told(KEY, job("9"))  # a list says that it is still so
    assert newest(known) == job("9")


def test_in_doubt_only_an_answer_is_believed() -> None:
    known = KnownJobs(Time())
    known.answered(KEY, job("10"))
    known.doubt(KEY)
    assert newest(known) is None
    for late in ("9", "10", "11"):  # it may be from before the write that failed
        known.told(KEY, job(late))
        assert newest(known) is None
    known.answered(KEY, job("12"))
    assert newest(known) == job("12")


def test_an_answer_that_comes_after_the_end_brings_nobody_back() -> None:
    """Our write was answered before somebody deleted the job; the watch was heard first."""
    mine, namesake = job("11"), job("13")
    mine["metadata"]["uid"], namesake["metadata"]["uid"] = "one", "other"
    known = KnownJobs(Time())
    known.told(KEY, mine)
    known.told(KEY, None)
    known.doubt(KEY)
    late = {"metadata": {**mine["metadata"], "resourceVersion": "12"}}
    known.answered(KEY, late)
    assert newest(known) is None
    known.answered(KEY, namesake)
    assert newest(known) == namesake
    known.answered(KEY, late)
    assert newest(known) == namesake


def test_a_job_that_went_is_forgotten_in_time() -> None:
    time = Time()
    known = KnownJobs(time)
    known.told(KEY, None)
    known.told(KEY, job("9"))
    assert newest(known) is None
    time.now = TRUST_SECONDS + 1.0
    known.doubt(JobKey("speech", "other"))
    known.told(KEY, job("9"))
    assert newest(known) == job("9")


def test_a_server_whose_versions_are_no_numbers_is_always_asked() -> None:
    known = KnownJobs(Time())
    known.answered(KEY, job("9"))
    known.answered(KEY, job("v10"))
    assert newest(known) is None
    known.told(KEY, {"metadata": {}})
    assert newest(known) is None


def test_a_status_is_nobodys_wish_and_what_people_write_is() -> None:
    known, first = KnownJobs(Time()), job("1")
    assert known.told(KEY, first)
    known.answered(KEY, {**job("2"), "status": {"attempt": 1}})
    assert not known.told(KEY, {**job("2"), "status": {"attempt": 1}})  # our own write comes back
    assert not known.told(KEY, {**job("3"), "status": {"attempt": 2}})
    for word, value in (
        ("generation", 2), ("labels", {"a": "b"}), ("annotations", {"a": "b"}), ("uid", "other"),
        ("deletionTimestamp", "2026-01-01T00:00:00Z"),
    ):  # fmt: skip
        changed = {"metadata": {**first["metadata"], "resourceVersion": "4", word: value}}
        assert known.told(KEY, changed), word
        known.answered(KEY, {"metadata": {**first["metadata"], "resourceVersion": "4"}})
    assert known.told(KEY, None)
    assert known.told(KEY, first), "in doubt anything may be wanted"
