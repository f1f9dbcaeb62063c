"""The pace that the time rules judge by: signs of life, gaps, and how long pauses took."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from speech_contract.findings import RankRow
from speech_contract.phases import PAUSES, STARTUP, Phase
from speech_health.pace import Pace, RankPace
from speech_health.samples import Source, StepSample, from_fields
from speech_health.stretch import Stretch, stretch_of

BEGAN = 100.0  # monotonic seconds at which the attempt starts


def report(step: int, now: float, **fields: Any) -> StepSample:
    told: dict[str, Any] = {"losses": {"loss": 1.0}} | fields
    return StepSample(time=0.0, now=now, rank=0, step=step, **told)


def said(*reports: StepSample) -> RankPace:
    """Rank 0 after these reports."""
    pace = Pace(BEGAN)
    for sample in reports:
        pace.feed(sample)
    return pace.of(0)


def row(phase: Phase = Phase.TRAINING, age: float = 0.0, **fields: Any) -> RankRow:
    return dataclasses.replace(
        RankRow(0, 0, phase=phase, phase_age=age, registered=True, step=1), **fields
    )


def seen(*ticks: tuple[float, RankRow]) -> RankPace:
    """Rank 0 after looks at these moments."""
    pace = Pace(BEGAN)
    for now, stamp in ticks:
        pace.tick(now, [stamp])
    return pace.of(0)


def test_nothing_is_known_before_the_first_word() -> None:
    pace = Pace(BEGAN)
    assert (pace.sampled, pace.told, pace.starting, pace.trained, pace.planned) == (
        False,
        False,
        False,
        0,
        None,
    )
    assert (pace.last_work, pace.ranks) == (None, {})
    rank = pace.of(3)
    assert (rank.life, rank.learned_gap, rank.lines, rank.last_line) == (None, 0.0, 0, None)
    assert pace.of(3) is rank
    assert list(pace.ranks) == [3]


@pytest.mark.parametrize(
    ("steps", "told", "trained", "planned"),
    [
        ([{}], True, 7, None),
        ([{"losses": None}], False, 7, None),  # a step alone
        ([{}, {"losses": None}], True, 7, None),  # once told, always told
        ([{"losses": None}, {}], True, 7, None),
        # A plan stays, a step back is no progress.
        ([{"total_steps": 90}, {"step": 3}], True, 7, 90),
        ([{"total_steps": 90}, {"total_steps": 80, "step": 9}], True, 9, 80),
    ],
)
def test_what_reports_tell_of_the_whole_attempt(
    steps: list[dict[str, Any]], told: bool, trained: int, planned: int | None
) -> None:
    pace = Pace(BEGAN)
    for number, fields in enumerate(steps):
        pace.feed(report(**{"step": 7, "now": BEGAN + number} | fields))
    assert pace.sampled
    assert (pace.told, pace.trained, pace.planned) == (told, trained, planned)


@pytest.mark.parametrize(
    ("times", "gap"),
    [
        ([130.0], 30.0),  # the start stands in
        ([130.0, 135.0, 145.0], 30.0),  # two gaps are too few to go by
        ([130.0, 190.0], 60.0),  # unless one is longer
        ([130.0, 135.0, 145.0, 147.0], 10.0),
    ],
)
def test_a_strangers_gap_is_its_longest_and_its_start_until_there_are_three(
    times: list[float], gap: float
) -> None:
    reports = [report(step, now, source=Source.STDOUT) for step, now in enumerate(times)]
    assert said(*reports).learned_gap == gap


@pytest.mark.parametrize(
    ("times", "gap"), [([130.0], 0.0), ([130.0, 131.0, 141.0], 5.5), ([130.0, 131, 141, 143], 2.0)]
)
def test_an_engines_gap_is_its_median_step(times: list[float], gap: float) -> None:
    reports = [report(step, now, gated=True) for step, now in enumerate(times)]
    assert said(*reports).learned_gap == gap


def test_the_newest_128_gaps_are_kept() -> None:
    rank = said(report(0, BEGAN), *(report(step, 150.0 + step) for step in range(1, 129)))
    assert (len(rank.gaps), rank.learned_gap) == (128, 51.0)
    rank.hear(report(129, 279.0), BEGAN)
    assert (len(rank.gaps), rank.learned_gap) == (128, 1.0)


@pytest.mark.parametrize(
    ("source", "step", "lives"),
    [
        (Source.REPORTER, 1, False),  # a pause's report at the step before
        (Source.REPORTER, 2, True),
        (Source.REPORTER, 0, True),
        (Source.STDOUT, 1, True),  # a line read off stdout
        (Source.STDOUT, 2, True),
    ],
)
def test_a_reporters_life_is_a_new_step_and_stdouts_is_anything(
    source: Source, step: int, lives: bool
) -> None:
    rank = said(report(1, 130.0, source=source), report(step, 135.0, source=source))
    assert rank.last_sample == 135.0
    assert rank.life == (135.0 if lives else 130.0)
    assert list(rank.gaps) == ([5.0] if lives else [])
    assert rank.step == step


@pytest.mark.parametrize("phase", [Phase.EVALUATION, Phase.FIRST_STEP])
def test_a_gap_with_another_phase_in_it_is_none_of_training(phase: Phase) -> None:
    rank = said(report(1, 130.0), report(2, 131.0, phase=phase), report(3, 151.0))
    assert list(rank.gaps) == [1.0]
    rank.hear(report(4, 153.0), BEGAN)
    assert list(rank.gaps) == [1.0, 2.0]
    rank.see(154.0, row(phase))
    rank.hear(report(5, 160.0), BEGAN)
    assert list(rank.gaps) == [1.0, 2.0]


@pytest.mark.parametrize(
    ("first", "second", "kept"), [*((kind, kind, True) for kind in Source), (*Source, False)]
)
def test_a_rank_that_reports_is_not_timed_by_what_it_prints(
    first: Source, second: Source, kept: bool
) -> None:
    rank = said(report(1, 130.0, source=first), report(2, 135.0, source=second))
    assert rank.last_sample == (135.0 if kept else 130.0)


def test_its_reporter_takes_over_from_stdout() -> None:
    rank = said(report(1, 130.0, source=Source.STDOUT), report(2, 135.0, gated=True))
    assert (rank.source, rank.gated, rank.last_sample) == (Source.REPORTER, True, 135.0)


@pytest.mark.parametrize("phase", Phase)
def test_how_long_a_pause_takes_is_learned_from_its_reports(phase: Phase) -> None:
    rank = said(
        report(1, 130.0),
        report(1, 131.0, phase=phase),
        report(1, 131.25, phase=phase),  # it goes on
        report(2, 131.5),
        report(2, 140.0, phase=phase),
        report(3, 140.25),  # a shorter one
    )
    assert rank.longest_still == ({phase: 0.5} if phase in PAUSES else {})


def test_one_pause_after_another_is_learned_too() -> None:
    evaluates, saves = Phase.EVALUATION, Phase.CHECKPOINT
    rank = said(report(1, 130.0, phase=evaluates), report(1, 134.0, phase=saves), report(2, 136.0))
    assert rank.longest_still == {evaluates: 4.0, saves: 2.0}


@pytest.mark.parametrize(
    ("second", "life"),
    [
        (row(age=29.9), 120.0),  # the stamp of before, second-hand
        (row(age=28.5), 120.0),
        (row(age=28.4), 121.6),
        (row(Phase.DATA, age=30.0), 120.0),
        (row(Phase.DATA, age=29.5), 120.5),
        (row(age=29.5, step=2), 120.5),
    ],
)
def test_a_stamp_moves_by_more_than_its_jitter_or_with_phase_or_step(
    second: RankRow, life: float
) -> None:
    assert seen((121.0, row(age=1.0)), (150.0, second)).life == pytest.approx(life)


def test_life_is_the_newest_of_stamp_and_step() -> None:
    rank = seen((121.0, row()))
    assert rank.life == 121.0
    rank.hear(report(1, 125.0), BEGAN)
    assert rank.life == 125.0
    rank.see(130.0, row(step=2))
    assert rank.life == 130.0


@pytest.mark.parametrize(
    ("ages", "longest"),
    [
        ([], {}),
        ([0.0], {}),  # gone within a tick: nothing is known of it
        ([0.5], {Phase.EVALUATION: 0.5}),
        ([0.0, 5.0], {Phase.EVALUATION: 5.0}),
        ([0.0, 5.0, 1.0], {Phase.EVALUATION: 5.0}),  # its stamp moved on
        ([0.0, 5.0, 0.0, 7.0], {Phase.EVALUATION: 7.0}),
    ],
)
def test_how_long_a_stamp_stood_still_outside_training_is_learned(
    ages: list[float], longest: dict[Phase, float]
) -> None:
    pauses = [(130.0 + 10.0 * i, row(Phase.EVALUATION, age)) for i, age in enumerate(ages)]
    rank = seen((120.0, row(age=10.0)), *pauses, (180.0, row(step=2)), (190.0, row(step=3)))
    assert rank.longest_still == longest


def test_training_counts_from_the_first_look_that_saw_it() -> None:
    looks = [
        (120.0, row(age=5.0)),
        (121.0, row(age=6.0)),
        (122.0, row(Phase.EVALUATION)),
        (130.0, row(age=2.0)),
    ]
    since = [seen(*looks[:number]).training_since for number in range(5)]
    assert since == [None, 120.0, 120.0, None, 130.0]


@pytest.mark.parametrize("phase", Phase)
def test_the_attempt_starts_while_a_registered_rank_that_lives_does(phase: Phase) -> None:
    pace = Pace(BEGAN)
    starting = []
    for told in ({}, {"registered": False}, {"exit_code": 0}, {"exit_code": 1}):
        pace.tick(101.0, [row(phase, **told), row(rank=1)])
        starting.append(pace.starting)
    assert starting == [phase in STARTUP, False, False, False]


@pytest.mark.parametrize("absent", [{"registered": False}, {"exit_code": 0}])
def test_the_stamp_of_a_rank_that_ended_or_never_registered_is_no_life(
    absent: dict[str, Any],
) -> None:
    assert seen((120.0, row(**absent))).life is None


def test_printed_lines_are_counted() -> None:
    pace = Pace(BEGAN)
    for now in (101.0, 102.5):
        pace.hear_line(now, 1)
    assert (pace.of(1).lines, pace.of(1).last_line, pace.of(1).life) == (2, 102.5, None)


def calm(**fields: Any) -> Stretch:
    """Eight reports, each later than the one before by more."""
    stretch = stretch_of(
        [
            from_fields(
                {
                    "time": 0.0,
                    "now": 110.0 + step * step,
                    "rank": 0,
                    "step": step,
                    "losses": {"loss": 1.0},
                }
                | fields
            )
            for step in range(1, 9)
        ]
    )
    assert stretch is not None
    return stretch


@pytest.mark.parametrize("before", [[], [report(0, 100.0)], [report(0, 100.0, gated=True)]])
def test_a_calm_stretch_teaches_what_its_reports_would(before: list[StepSample]) -> None:
    stretch, one, other = calm(), Pace(BEGAN), Pace(BEGAN)
    for sample in before:
        one.feed(sample)
        other.feed(sample)
    other.pass_over(stretch)
    for sample in stretch.reports:
        one.feed(sample)
    assert vars(other.of(0)) == vars(one.of(0))
    assert (other.trained, other.sampled, other.told) == (8, True, True)


def test_a_printed_stretch_of_a_rank_that_reports_teaches_no_time() -> None:
    pace = Pace(BEGAN)
    pace.feed(report(1, 101.0))
    pace.pass_over(calm(source=Source.STDOUT))
    assert (pace.of(0).last_sample, pace.of(0).step, pace.trained) == (101.0, 1, 8)
