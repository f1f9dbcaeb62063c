"""Names without end: bounded, said once, and no NaN lost with its name."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from speech_contract.phases import Phase
from speech_contract.wire import Datagram
from speech_telemetry.naming import MOST_NAMES, OTHER, Names

MANY = {f"loss_of_{n}": 1.0 for n in range(MOST_NAMES)}


def report(**fields) -> Datagram:
    return Datagram(0, 1, 1.0, Phase.TRAINING, **fields)


def names() -> tuple[Names, list[tuple[str, str]]]:
    told: list[tuple[str, str]] = []
    return Names(lambda *words: told.append(words)), told


def test_few_names_pass_as_they_are():
    given_names, told = names()
    sent = report(losses={"mel": 1.0, "kl": math.nan}, skipped={"DecodeError": 2})
    assert given_names.bounded(sent) is sent
    assert told == []


def test_names_beyond_are_left_out_and_said_once():
    bound, told = names()
    bound.bounded(report(losses=MANY))
    for step in range(3):
        assert bound.bounded(report(losses={f"u{step}": 1.0, "loss_of_3": 2.0})).losses == {
            "loss_of_3": 2.0
        }
    assert told == [("losses", "u0")]


def test_a_nan_beyond_is_seen_under_one_name():
    bound, _ = names()
    bound.bounded(report(losses=MANY))
    ((name, value),) = bound.bounded(report(losses={"u1": 1.0, "u2": math.nan})).losses.items()
    assert (name, math.isnan(value)) == (OTHER, True)


def test_the_whole_loss_always_has_its_place():
    bound, _ = names()
    bound.bounded(report(losses=MANY))
    assert bound.bounded(report(losses={"total": 3.0, "u": 1.0})).losses == {"total": 3.0}


def test_samples_skipped_for_ever_new_reasons_stay_counted():
    bound, _ = names()
    bound.bounded(report(skipped={f"Error {n}": 1 for n in range(MOST_NAMES)}))
    skipped = bound.bounded(report(skipped={"Error 1": 1, "Error a": 2, "Error b": 3})).skipped
    assert skipped == {"Error 1": 1, OTHER: 5}


values = st.floats(allow_nan=True, allow_infinity=True)
drawn = st.lists(st.dictionaries(st.integers(0, 500).map(str), values, max_size=40), max_size=12)


@given(drawn)
def test_however_they_come_names_are_bounded_and_no_nan_is_lost(reports):
    bound, told = names()
    seen: set[str] = set()
    for losses in reports:
        shown = bound.bounded(report(losses=losses)).losses
        seen |= shown.keys()
        bad = any(not math.isfinite(v) for v in losses.values())
        assert any(not math.isfinite(v) for v in shown.values()) == bad
    assert len(seen) <= MOST_NAMES + 1
    assert len(told) <= 1
