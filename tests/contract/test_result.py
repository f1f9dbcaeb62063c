"""Scores that say which way is better, and what the trainer writes is what the command line reads."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_contract import codec
from speech_contract.result import BadSample, Best, Result
from speech_contract.scores import Better, ScoreSpec

LOWER, HIGHER, NEAR = ScoreSpec(Better.LOWER), ScoreSpec(Better.HIGHER), ScoreSpec(Better.TARGET)
NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False)


@pytest.mark.parametrize(
    ("spec", "value", "other", "beats"),
    [
        (LOWER, 1.0, 2.0, True),
        (LOWER, 2.0, 2.0, False),
        (HIGHER, 2.0, 1.0, True),
        (HIGHER, -1.0, 1.0, False),
        (NEAR, 0.9, 1.2, True),
        (NEAR, 1.3, 0.8, False),
        (ScoreSpec(), 1.0, 2.0, False),
        (LOWER, math.nan, 2.0, False),
        (LOWER, 1.0, math.nan, False),
        (LOWER, -math.inf, 2.0, False),
        (HIGHER, math.inf, 2.0, False),
    ],
)
def test_a_score_beats_another_in_its_own_direction(
    spec: ScoreSpec, value: float, other: float, beats: bool
) -> None:
    assert spec.beats(value, other) is beats


@given(spec=st.sampled_from([LOWER, HIGHER, NEAR, ScoreSpec()]), one=NUMBERS, two=NUMBERS)
def test_two_scores_never_beat_each_other(spec: ScoreSpec, one: float, two: float) -> None:
    assert not (spec.beats(one, two) and spec.beats(two, one))


def test_a_result_survives_its_file() -> None:
    result = Result(
        step=40,
        scores={"snr": math.nan, "length_ratio": 0.9},
        specs={"snr": ScoreSpec(Better.HIGHER, "dB"), "length_ratio": NEAR},
        baselines={"silence": {"snr": 0.0}},
        samples=["samples/step-40/1.wav"],
        best=Best("snr", 7.5, 20, "step-20.a1"),
    )
    read = codec.loads(Result, codec.dumps(result))
    assert math.isnan(read.scores["snr"])
    assert codec.dumps(read) == codec.dumps(result)
    assert read.trivial("snr") == {"silence": 0.0}
    assert read.trivial("length_ratio") == {}
    assert read.spec("unheard").better is None


def test_a_bad_sample_survives_its_row_and_half_a_row_is_read_as_far_as_it_goes() -> None:
    sample = BadSample("Silent", "wavs/1.wav", "is silent", 2, 14)
    assert BadSample.of(sample.row()) == sample
    assert BadSample.of({"audio_filepath": "a.wav", "line": "x"}) == BadSample(
        audio_filepath="a.wav"
    )
