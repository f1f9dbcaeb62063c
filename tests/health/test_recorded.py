"""Rows of a finished run → samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from speech_contract.phases import Phase
from speech_health.recorded import Place, Rows, number
from speech_health.samples import StepSample


def read(*rows: dict[str, Any]) -> list[StepSample]:
    return list(Rows().read(rows))


END = {"train_runtime": 9.0, "train_loss": 0.5}  # a closing entry


def train(step: int, **more: Any) -> dict[str, Any]:
    return {"step": step, "loss": 1.5, **more}


EVALUATIONS: dict[str, tuple[list[dict[str, Any]], list[tuple[int, dict[str, float] | None, bool]]]] = {
    "with its training row, and kept": (
        [train(1), train(2, val_loss=3.0), train(3)],
        [(1, None, False), (2, {"val_loss": 3.0}, True), (3, {"val_loss": 3.0}, False)],
    ),
    "with the next training row": (
        [train(1), {"step": 2, "val_loss": 3.0}, train(3)],
        [(1, None, False), (3, {"val_loss": 3.0}, True)],
    ),
    "before all training rows": (
        [{"step": 0, "val_loss": 3.0}, train(1)],
        [(1, {"val_loss": 3.0}, True)],
    ),
    "rows of one step are one": (
        [train(1), {"step": 2, "val_a": 3.0}, {"step": 2, "val_b": 4.0}, train(3), train(4)],
        [
            (1, None, False),
            (3, {"val_a": 3.0, "val_b": 4.0}, True),
            (4, {"val_a": 3.0, "val_b": 4.0}, False),
        ],
    ),
    "so are a row without training and one with": (
        [train(1), {"step": 2, "val_a": 3.0}, train(2, val_b=4.0)],
        [(1, None, False), (2, {"val_a": 3.0, "val_b": 4.0}, True)],
    ),
    "of several steps all but the newest by themselves": (
        [train(1), {"step": 2, "val_a": 3.0}, {"step": 3, "val_b": 4.0}, train(4, val_a=5.0)],
        [
            (1, None, False),
            (2, {"val_a": 3.0}, True),
            (3, {"val_b": 4.0}, True),
            (4, {"val_a": 5.0}, True),
        ],
    ),
    "after all training rows": (
        [train(1), {"step": 2, "val_a": 3.0}, {"step": 3, "val_a": 4.0}],
        [(1, None, False), (2, {"val_a": 3.0}, True), (3, {"val_a": 4.0}, True)],
    ),
    "before an event": (
        [train(1), {"step": 2, "val_a": 3.0}, {"event": "checkpoint_saved", "step": 2}, train(3)],
        [(1, None, False), (2, {"val_a": 3.0}, True), (2, None, False), (3, {"val_a": 3.0}, False)],
    ),
    "without a step": (
        [train(7), {"val_a": 3.0}, {"step": "nan", "val_b": 4.0}],
        [(7, None, False), (7, {"val_a": 3.0, "val_b": 4.0}, True)],
    ),
    "of another run": (
        [train(8, val_a=2.0), train(9), {"step": 9, "val_a": 3.0}, train(1), train(2, val_a=4.0)],
        [
            (8, {"val_a": 2.0}, True),
            (9, {"val_a": 2.0}, False),
            (1, None, False),
            (2, {"val_a": 4.0}, True),
        ],
    ),
    "of another run, maybe": (
        [train(8), train(9), {"step": 9, "val_a": 3.0}, {"step": 0, "val_a": 4.0}, train(1)],
        [(8, None, False), (9, None, False), (9, {"val_a": 3.0}, True), (1, None, False)],
    ),
    "in the first row of another run": (
        [train(8), train(9), {"step": 9, "val_a": 3.0}, train(1, val_a=4.0)],
        [(8, None, False), (9, None, False), (9, {"val_a": 3.0}, True), (1, {"val_a": 4.0}, True)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", EVALUATIONS)
def test_each_evaluation_is_told_once_in_its_place(case: str) -> None:
    rows, told = EVALUATIONS[case]
    assert [(one.step, one.evaluation, one.evaluated) for one in read(*rows)] == told


def test_an_event_whose_step_is_damaged_is_of_the_step_before() -> None:
    events = [{"event": "rolled_back", "step": step} for step in ("nan", "inf", "?", None)]
    assert [one.step for one in read(train(7), *events)] == [7] * 5


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-9", 1e-9), ("-nan", math.nan), ("Infinity", math.inf), (" 2 ", 2.0), (3, 3.0)],
)
def test_numbers_as_they_come(text: Any, value: float) -> None:
    read = number(text)
    assert read == value or (read is not None and math.isnan(read) and math.isnan(value))


@pytest.mark.parametrize("text", ["", None, "n/a", True, [1]])
def test_no_number_is_none(text: Any) -> None:
    assert number(text) is None


@pytest.mark.parametrize(
    ("row", "losses"),
    [
        ({"step": 3, "loss": "0.5", "val_loss": "0.1"}, {"loss": 0.5}),
        ({"global_step": 3, "train/loss": 0.5, "eval_loss": 0.4}, {"loss": 0.5}),
        ({"Step": "3", "Loss/train": "0.5", "Loss/test": "9"}, {"loss": 0.5}),
        ({"step": 3, "train_loss": "", "mel_loss": "2"}, {"mel_loss": 2.0}),
        ({"step": 3, "losses": {"total": "nan", "kl": 1}}, {"total": math.nan, "kl": 1.0}),
    ],
)
def test_columns_are_told_apart(row: Mapping[str, Any], losses: dict[str, float]) -> None:
    (sample,) = Rows().read([row])
    assert sample.step == 3
    assert repr(sample.losses) == repr(losses)


@pytest.mark.parametrize(("late", "seen"), [(199, True), (200, False)])
def test_the_first_two_hundred_rows_tell_what_stands_for_the_loss(late: int, seen: bool) -> None:
    """A total is the better choice than a part, when it is seen in time."""
    rows: list[dict[str, Any]] = [{"step": at, "mel_loss": 1.0} for at in range(1, 301)]
    rows[late]["g_total_loss"] = 2.0
    first, *_ = Rows().read(rows)
    assert first.stands == ("g_total_loss" if seen else "mel_loss")


def test_of_an_export_of_several_runs_the_first_is_read_with_what_is_common() -> None:
    header = ["step", "one - loss", "two - loss", "one - grad_norm", "two - grad_norm"]
    (sample,) = Rows().read_table(header, [["7", "1.5", "2.5", "3.5", "4.5"]])
    assert (sample.step, sample.losses, sample.gradient_norm) == (7, {"loss": 1.5}, 3.5)


def test_short_rows_of_a_table_are_filled_up_with_nothing() -> None:
    (sample,) = Rows().read_table(["step", "loss", "grad_norm"], [["7", "1.5"]])
    assert (sample.losses, sample.gradient_norm) == ({"loss": 1.5}, None)


def test_rows_without_training_values_say_nothing() -> None:
    assert read({"step": 1, "eval_loss": 2.0}, END, {"epoch": 1}) == []


def test_steps_are_counted_when_none_is_named() -> None:
    assert [s.step for s in Rows().read([{"loss": 1.0}, {"loss": 1.0}])] == [1, 2]


def test_each_gated_step_of_our_log_counts_once() -> None:
    rows = [{"event": "update_skipped", "step": step} for step in (3, 4, 5)]
    assert [sample.non_finite_steps for sample in Rows().read(rows)] == [1, 2, 3]


def test_each_roll_back_of_our_log_counts_once() -> None:
    rows = [{"event": "rolled_back", "step": step} for step in (5, 5)]
    assert [sample.rollbacks for sample in Rows().read(rows)] == [1, 2]


def test_rows_without_a_time_are_a_second_apart() -> None:
    assert [sample.now for sample in Rows().read([{"loss": 1.0}] * 3)] == [0.0, 1.0, 2.0]


def test_a_time_that_a_file_has_is_read() -> None:
    rows = [{"loss": 1.0, "_timestamp": 1.75e9}, {"loss": 1.0}]
    assert [sample.time for sample in Rows().read(rows)] == [1.75e9, 0.0]


@pytest.mark.parametrize(("back", "new"), [(10_500, True), (10_501, False)])
def test_a_run_that_goes_on_from_afar_is_another_one_near_its_own_start(
    back: int, new: bool
) -> None:
    """A file that begins at step 10,000: what falls to the twentieth part of its way has started over."""
    place = Place()
    moved = [place.moves(step, None) for step in (10_000, 15_000, 20_000, back)]
    assert moved == [False, False, False, new]


def test_true_and_false_are_no_numbers() -> None:
    assert (number(False), number(0)) == (None, 0.0)


PLACES: dict[str, tuple[list[tuple[float | None, float | None]], list[int]]] = {
    "steps that start over": ([(10, None), (20, None), (1, None)], [2]),
    "after one report alone there is no run to end": ([(10, None), (1, None), (2, None)], []),
    "nor after the first one of the next": ([(10, None), (20, None), (1, None), (0, None)], [2]),
    "but after two of it": ([(10, None), (20, None), (2, None), (1, None), (1, None), (0, None)], [2, 5]),
    "one report over again": ([(1, 0), (1, 0), (1, 0)], []),
    "no counters": ([(None, None)] * 3, []),
    "epochs that start over": ([(None, 1), (None, 2), (None, 1)], [2]),
    "an epoch of many steps": ([(1, 0), (2, 0), (3, 0)], []),
    "steps of an epoch": ([(1, 1), (2, 1), (1, 2)], []),
    "steps that start over in one epoch": ([(1, 1), (2, 1), (1, 1)], [2]),
    "where the epoch is left out": ([(1, 1), (2, 1), (1, None)], [2]),
    "where the epoch comes": ([(1, None), (2, None), (1, 3)], [2]),
    "a missing step": ([(1, None), (2, None), (None, None), (1, None)], []),
    "a roll-back, and then the start": ([(0, None), (1000, None), (500, None), (50, None)], [3]),
    "two roll-backs": ([(0, None), (1000, None), (500, None), (51, None)], []),
}  # fmt: skip


@pytest.mark.parametrize("case", PLACES)
def test_another_run_begins_where_its_counters_start_over(case: str) -> None:
    counters, begins = PLACES[case]
    place = Place()
    moved = [place.moves(*each) for each in counters]
    assert [at for at, new in enumerate(moved) if new] == begins


@pytest.mark.parametrize(
    ("rows", "opens"),
    [
        ([train(1), END, train(2), train(3)], [2]),
        ([END, train(1), train(2)], []),
        ([train(5), train(6), train(1), train(2)], [1]),
        ([train(5), train(6), train(7)], []),
    ],
    ids=["after a closing entry", "nothing before it", "steps start over", "one run"],
)
def test_a_report_says_that_it_opens_another_run(
    rows: list[dict[str, Any]], opens: list[int]
) -> None:
    assert [one.step for one in read(*rows) if one.opens] == opens


@pytest.mark.parametrize("step", ["nan", "inf", "", "?"])
def test_a_step_that_is_none_is_counted_on(step: str) -> None:
    assert [one.step for one in read(train(7), {"step": step, "loss": 1.0})] == [7, 8]


@pytest.mark.parametrize(
    ("names", "loss"),
    [
        ("loss mel_loss train_loss_epoch", {"loss": 1.0, "mel_loss": 2.0}),
        ("train_loss_epoch mel_loss", {"loss": 1.0, "mel_loss": 2.0}),
        ("kl_loss nll", {"kl_loss": 1.0}),
        ("acc nll kl", {"nll": 2.0, "kl": 3.0}),
        ("acc lr", None),
    ],
)
def test_what_a_file_calls_its_loss(names: str, loss: dict[str, float] | None) -> None:
    """An average where no step's loss is, terms where nothing is called a loss."""
    row = dict(zip(names.split(), (1.0, 2.0, 3.0), strict=False))
    (one,) = read({**row, "gnorm": 4.0})
    assert (one.losses, one.gradient_norm) == (loss, 4.0)


@pytest.mark.parametrize(
    ("names", "stands"),
    [
        ("loss mel_loss", ""),
        ("train_loss_epoch mel_loss", ""),
        ("losses mel_loss", ""),
        ("mel_loss xent", "mel_loss"),
        ("kl_loss xent", "kl_loss"),
        ("kl nll", "nll"),
        ("acc", ""),
    ],
)
def test_a_part_stands_for_the_loss_where_none_is_named(names: str, stands: str) -> None:
    rows = Rows()
    rows.learn(names.split())
    assert rows.stands == stands


def test_an_average_is_not_read_where_a_step_has_a_loss_of_its_own() -> None:
    average = {"step": 2, "loss": "", "train_loss_epoch": 3.0}
    assert [one.step for one in read(train(1), average, train(3))] == [1, 3]
    ours = {"step": 2, "losses": None, "train_loss_epoch": 3.0}
    assert [one.step for one in read({"step": 1, "losses": {"mel": 1.0}}, ours)] == [1]


def test_of_an_export_of_several_runs_the_parts_are_one_run_s() -> None:
    header = ["step", "one - kl_loss", "two - kl_loss", "two - mel_loss"]
    (one,) = Rows().read_table(header, [["7", "1.5", "2.5", "3.5"]])
    assert one.losses == {"kl_loss": 1.5}


def test_a_report_is_of_rank_0_at_no_time_and_may_hold_a_norm_alone() -> None:
    one, other, last = read(train(1), {"step": 2, "grad_norm": 3.0}, {"step": 3, "val_loss": 1.0})
    assert (one.rank, one.time, one.losses, one.gradient_norm) == (0, 0.0, {"loss": 1.5}, None)
    assert (other.losses, other.gradient_norm) == (None, 3.0)
    assert (last.rank, last.time, last.now, last.phase) == (0, 0.0, 2.0, Phase.EVALUATION)


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({"event": "update_skipped", "step": 4}, {"bad_step": 4, "non_finite_steps": 1, "bad_component": ""}),
        ({"event": "update_skipped", "bad_module": "decoder"}, {"bad_step": 3, "bad_module": "decoder"}),
        ({"event": "rolled_back", "step": 2, "ts": 9.5}, {"rollbacks": 1, "time": 9.5, "non_finite_steps": 0}),
        ({"event": "checkpoint_saved", "step": 4, "time": "?"}, {"step": 4, "rollbacks": 0, "weights": None}),
    ],
)  # fmt: skip
def test_an_event_of_our_own_log(event: dict[str, Any], told: dict[str, Any]) -> None:
    one = read(train(3), event)[1]
    seen = {"gated": True, "rank": 0, "now": 1.0, "time": 0.0, "step": event.get("step", 3)} | told
    assert {name: getattr(one, name) for name in seen} == seen


def test_other_events_say_nothing() -> None:
    assert len(read(train(3), {"event": "model_built", "step": 4, "loss": 1.0})) == 1


def test_compared_checkpoints_are_read_as_they_are_nested() -> None:
    fields = {"since": 10, "updates": 10, "movement": {}, "unchanged": {"flow": 1.0}}
    row = {"event": "checkpoints_compared", "step": 20, **fields}
    good, cut = read(row, {**row, "since": None})
    assert good.weights is not None
    assert (good.weights.since, good.weights.unchanged) == (10, {"flow": 1.0})
    assert cut.weights is None


def test_other_mappings_are_taken_apart() -> None:
    (one,) = read({"step": 4, "train": {"loss": 0.5, "lr": 1e-3}, "val": {"wer": 0.25}})
    assert (one.losses, one.learning_rate, one.evaluation) == (
        {"loss": 0.5},
        1e-3,
        {"val/wer": 0.25},
    )


def test_codebooks_that_can_be_read() -> None:
    good, bad = {"perplexity": 9.0, "size": 16}, {"unheard": 1}
    both, none = read(train(1, codebooks={"q0": good, "q1": bad}), train(2, codebooks={"q0": bad}))
    assert both.codebooks is not None
    assert [(name, book.perplexity) for name, book in both.codebooks.items()] == [("q0", 9.0)]
    assert none.codebooks is None


@pytest.mark.parametrize(
    ("equal", "spread", "told"),
    [(1.0, 0.5, 0.0), (1.0, None, 0.0), (0.25, None, 0.75), (0.25, 0.5, 0.5), (None, 0.5, 0.5), (None, None, None)],
)  # fmt: skip
def test_groups_of_equal_rewards_alone_have_no_spread(
    equal: float | None, spread: float | None, told: float | None
) -> None:
    (one,) = read(train(1, reward=2.0, reward_std=spread, frac_reward_zero_std=equal))
    assert (one.reward, one.reward_spread, one.time) == (2.0, told, 0.0)


NAN = "nan"


@pytest.mark.parametrize(
    ("rows", "losses", "scores"),
    [
        ([(NAN, "1.5"), ("1.8", NAN), (NAN, "1.0"), ("0.9", NAN)], [1.8, 0.9], [1.5, 1.0]),
        ([("1.8", "1.5"), (NAN, "1.0"), ("0.9", NAN)], [1.8, math.nan, 0.9], [1.5, 1.0, math.nan]),
        (
            [("1.8", NAN), (NAN, NAN), (NAN, "1.0")],
            [1.8, math.nan, math.nan],
            [math.nan] * 2 + [1.0],
        ),
        ([(NAN, "1.5"), (NAN, "1.0")], [math.nan] * 2, [1.5, 1.0]),
    ],
    ids=["in turn", "once both", "once neither", "never a loss"],
)
def test_a_nan_in_the_place_of_what_was_not_measured_is_none(
    rows: list[tuple[str, str]], losses: list[float], scores: list[float]
) -> None:
    table = [(str(step), *cells) for step, cells in enumerate(rows, start=1)]
    samples = list(Rows().read_table(("step", "train_loss", "val_loss"), table))
    named = ({"step": int(a), "train_loss": float(b), "val_loss": float(c)} for a, b, c in table)
    for told in (samples, list(Rows().read(named))):
        found = [one.losses["loss"] for one in told if one.losses]
        assert str(found) == str(losses)
        held = [one.evaluation["val_loss"] for one in told if one.evaluated and one.evaluation]
        assert str(held) == str(scores)
