"""How held-out scores went over a run."""

from __future__ import annotations

import math
from typing import Any

import pytest

from speech_cli.rendering.evaluations import Evaluated, course_lines, evaluations, milestone
from speech_contract.result import Best, Result
from speech_contract.scores import Better, ScoreSpec

SPECS = {"snr": ScoreSpec(Better.HIGHER, "dB"), "mel": ScoreSpec(Better.LOWER)}
SILENCE = {"snr": 0.0, "mel": 3.0}


def event(step: Any, **scores: Any) -> dict[str, Any]:
    return {"event": "evaluation_finished", "step": step, "scores": scores}


def rows(*snr: float) -> list[Evaluated]:
    return [Evaluated(20 * n, {"snr": value, "mel": 2.0}) for n, value in enumerate(snr, start=1)]


def test_what_was_gone_back_on_is_left_out() -> None:
    told = [event(20, snr=1.0), event(40, snr=-9.0), event(60, snr=-9.0), event(40, snr=2.0)]
    assert [(one.step, one.scores["snr"]) for one in evaluations(told)] == [(20, 1.0), (40, 2.0)]


def test_scores_that_are_no_numbers_are_nan_and_broken_rows_are_none() -> None:
    found = evaluations([event("x"), event(20, snr=None, mel="NaN"), {"step": 40, "scores": 3}])
    assert [one.step for one in found] == [20]
    assert all(math.isnan(score) for score in found[0].scores.values())


@pytest.mark.parametrize(
    ("snr", "said"),
    [
        ((1.0, 2.0, 3.0), "beats silence in SNR and mel since step 20"),
        ((-1.0, 2.0, 3.0), "beats silence in SNR and mel since step 40"),
        ((1.0, -2.0, 3.0), "beats silence in SNR and mel since step 60"),
        ((1.0, 2.0, -3.0), "does not beat silence in SNR and mel by step 60"),
        ((1.0, 2.0, math.nan), "does not beat silence in SNR and mel by step 60"),
    ],
)
def test_an_answer_is_beaten_from_where_it_stays_so(snr: tuple[float, ...], said: str) -> None:
    assert milestone("silence", SILENCE, rows(*snr), Result(specs=SPECS)) == said


def test_the_table_has_directions_units_and_one_line_an_answer() -> None:
    result = Result(specs=SPECS, baselines={"silence": SILENCE})
    assert list(course_lines(rows(-0.5, 12.0), result)) == [
        "step       SNR   mel",
        "  20  -0.50 dB  2.00",
        "  40  12.00 dB  2.00",
        "beats silence in SNR and mel since step 40",
    ]


def test_one_evaluation_is_no_course() -> None:
    assert not list(course_lines(rows(1.0), Result(specs=SPECS, baselines={"silence": SILENCE})))


def test_a_long_course_shows_first_last_and_best() -> None:
    many = rows(*[float(n) for n in range(100)])
    result = Result(specs=SPECS, best=Best("snr", 9.0, 20 * 54, "step-1080.a1"))
    steps = [int(line.split()[0]) for line in list(course_lines(many, result))[1:]]
    assert len(steps) <= 8
    assert {20, 2000, 1080} <= set(steps)
