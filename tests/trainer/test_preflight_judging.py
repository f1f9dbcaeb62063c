"""From measured steps to rows: what each check lets pass and what it names. No model, no torch."""

from __future__ import annotations

import math

import pytest

from speech_contract.preflight import Check, CheckResult, Mark
from speech_trainer.engine.expectations import Expectations, Range
from speech_trainer.preflight import judging, ranks, rows
from speech_trainer.preflight.judging import Trial
from speech_trainer.preflight.ranks import Fact

NAN = math.nan
EXPECTED = Expectations(
    components={"a": Range(0.1, 10.0, "ten at most"), "b": Range(-1.0, 1.0, "round zero")},
    weights={"a": 2.0, "b": 1.0},
    objectives={"main": "total"},
    learning_rates={},
    data=list,
    inputs=lambda batches: [],
)


def trial(a: float, b: float, total: float | None = None, **changes: object) -> Trial:
    losses = {"total": 2.0 * a + b if total is None else total, "a": a, "b": b}
    fields = {"step": 1, "losses": losses, "norms": {"m": 1.0}, "weight": 1.0, "samples": 4}
    fields["attached"] = ()
    return Trial(**{**fields, **changes})  # type: ignore[arg-type]


def failed(found: list[CheckResult]) -> list[str]:
    return [row.field for row in found if row.mark is Mark.FAILED]


@pytest.mark.parametrize(
    ("trials", "fields"),
    [
        ([trial(1, 0.5), trial(2, -0.5), trial(3, 0.1)], []),
        ([trial(0.1, 1.0), trial(10.0, -1.0)], []),  # the ends are inside
        ([trial(0, 0), trial(1, 0.5), trial(2, 0.1)], ["total"]),  # one zero is enough
        ([trial(NAN, 0.5), trial(2, 0.5), trial(3, 0.1)], []),  # one NaN may be the data's
        ([trial(NAN, 0.5), trial(NAN, 0.5), trial(3, 0.1)], ["total", "a"]),
        ([trial(11, 0.5), trial(12, 0.5), trial(13, 0.1)], ["a"]),
        ([trial(1, 0.5, total=9.0)], ["total as weighted sum"]),
        ([trial(1, 0.5, total=2.5008)], []),  # summed in another order
        ([trial(1, 0.5, losses={"total": 2.0, "a": 1.0})], ["b"]),
        ([trial(0, 0, weight=0.0), trial(1, 0.5)], []),  # an empty batch is 0 by design
    ],
)
def test_losses_against_their_formulas(trials: list[Trial], fields: list[str]) -> None:
    found = judging.initial_losses(trials, EXPECTED)
    assert failed(found) == fields
    assert all(row.remedy for row in found if row.mark in (Mark.FAILED, Mark.WARNED))


def test_a_loss_that_is_odd_on_one_batch_is_a_warning() -> None:
    found = judging.initial_losses([trial(NAN, 0.5), trial(2, 0.5), trial(3, 0.1)], EXPECTED)
    assert [row.field for row in found if row.mark is Mark.WARNED] == ["total", "a"]


@pytest.mark.parametrize(
    ("trials", "fields"),
    [
        ([trial(1, 0.5), trial(2, 0.5), trial(3, 0.5)], ["b"]),
        ([trial(1, 0.5), trial(2, 0.5), trial(3, 0.4)], []),
        ([trial(1, 0.0), trial(2, 0.0)], []),  # a part that has not started
        ([trial(1, 0.5), trial(2, 0.0), trial(3, 0.5)], ["b"]),  # and one that had not yet
        ([trial(1, math.inf), trial(2, math.inf)], []),  # named as not finite
        ([trial(1, 0.5), trial(1, 0.5, weight=0.0)], []),
    ],
)
def test_a_component_that_never_varies(trials: list[Trial], fields: list[str]) -> None:
    assert failed(judging.components(trials)) == fields


@pytest.mark.parametrize(
    ("norms", "mark"),
    [
        ([1.0, 2.0, 1e-12], Mark.PASSED),
        ([0.0, 0.0, 0.0], Mark.FAILED),
        ([1.0, 0.0, 1.0], Mark.FAILED),
        ([NAN, NAN, 1.0], Mark.FAILED),
        ([NAN, 1.0, 1.0], Mark.WARNED),
        ([math.inf, math.inf, math.inf], Mark.FAILED),
    ],
)
def test_gradients_of_a_module(norms: list[float], mark: Mark) -> None:
    (found,) = judging.gradients([trial(1, 0.5, norms={"m": norm}) for norm in norms])
    assert found.mark is mark


def test_a_part_that_starts_late_is_judged_where_it_is_active() -> None:
    trials = [trial(1, 0.5, norms={"m": 1.0}), trial(1, 0.5, norms={"m": 1.0, "late": 2.0})]
    assert failed(judging.gradients(trials)) == []


@pytest.mark.parametrize(
    ("moved", "able", "mark"),
    [(100, 100, Mark.PASSED), (50, 100, Mark.PASSED), (49, 100, Mark.FAILED), (0, 0, Mark.WARNED)],
)
def test_weights_that_move(moved: int, able: int, mark: Mark) -> None:
    (found,) = judging.weights({"m": (moved, able)}, 1e-3)
    assert found.mark is mark


@pytest.mark.parametrize(
    ("first", "tried", "fell"),
    [
        (10.0, {1e-4: 9.9}, True),
        (10.0, {1e-4: 11.0, 1e-5: 9.999}, True),
        (10.0, {1e-4: 10.0, 1e-5: 9.99999}, False),  # noise
        (-5.0, {1e-4: -5.1}, True),
        (10.0, {1e-4: NAN, 1e-5: 10.1}, False),
    ],
)
def test_a_loss_that_falls(first: float, tried: dict[float, float], fell: bool) -> None:
    assert (judging.loss_falls("total", first, tried).mark is Mark.PASSED) is fell


def test_losses_that_hold_their_graph() -> None:
    assert judging.detached([trial(1, 1)]).mark is Mark.PASSED
    found = judging.detached([trial(1, 1, attached=("total",))])
    assert (found.check, found.mark) == (Check.MEMORY, Mark.FAILED)


def fact(**changes: object) -> Fact:
    fields = {"digest": "d", "weights": "w", "compute_seconds": 0.01, "reduced": 6.0}
    fields["reduce_seconds"] = 0.004
    return Fact(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("odd", "marks"),
    [
        (fact(), {}),
        (fact(digest="x"), {"configuration": Mark.FAILED}),
        (fact(weights="x"), {"initial weights": Mark.FAILED}),
        (fact(reduced=5.0), {"all-reduce": Mark.FAILED}),
        (fact(compute_seconds=0.04), {}),  # four times as slow, and too short to mean anything
        (fact(compute_seconds=0.4), {"pace": Mark.WARNED}),
    ],
)
def test_ranks_that_agree(odd: Fact, marks: dict[str, Mark]) -> None:
    found = ranks.judge([fact(), fact(), odd])
    assert {row.field: row.mark for row in found if row.mark is not Mark.PASSED} == marks
    assert all("rank 2" in row.measured for row in found if row.mark is Mark.WARNED)


def test_rows_of_several_ranks_become_one_table() -> None:
    good = rows.row(Check.GRADIENTS, "m", True, 1, 1)
    bad = rows.row(Check.GRADIENTS, "m", False, 0, 1, "mend it")
    early = rows.row(Check.DATA, "d", True, 1, 1)
    (first, second, third) = rows.joined([[good, early], [bad], [bad]])
    assert (first, second) == (early, good)
    assert (third.mark, third.rank) == (Mark.FAILED, 1)  # once, by the first rank that saw it
