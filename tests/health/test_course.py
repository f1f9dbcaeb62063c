"""The course of a run: medians of blocks that grow with it."""

from __future__ import annotations

from speech_health.course import BLOCK, LEVELS, Course


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
    assert (course.size, course.reports) == (2 * BLOCK, LEVELS * BLOCK)
    assert course.levels[0] == 7.5
    assert course.steps[:2] == [0, 16]
