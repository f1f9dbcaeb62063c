"""The course of a run: medians of blocks that grow with it."""

from __future__ import annotations

from speech_health.course import BLOCK, LEVELS, MOST, Course


def test_blocks_are_medians_with_their_first_step() -> None:
    course = Course()
    told = [course.add(float(value), 10 + value) for value in range(3 * BLOCK)]
    assert told == ([False] * (BLOCK - 1) + [True]) * 3
    assert course.levels == [3.5, 11.5, 19.5]
    assert course.steps == [10, 18, 26]
    assert course.reports == 3 * BLOCK


def test_two_become_one_when_they_are_too_many() -> None:
    course = Course()
    for value in range(LEVELS * BLOCK):
        course.add(float(value), value)
    assert len(course.levels) == LEVELS // 2
    assert (course.size, course.reports, course.interval) == (2 * BLOCK, LEVELS * BLOCK, 1)
    assert course.levels[0] == 7.5
    assert course.steps[:2] == [0, 16]
    assert course.of_last(8) == LEVELS * BLOCK // 4


def test_a_long_run_is_taken_at_intervals_that_are_odd() -> None:
    course, step = Course(), 0
    while step < 100_000:
        course.add(1.0, step)
        step += course.interval
    assert len(course.levels) < LEVELS
    assert course.size == MOST
    assert course.interval in (63, 127)
    assert step - course.reports < MOST * course.interval
