"""What the columns of a recorded run hold, told by their names."""

from __future__ import annotations

import pytest

from speech_health.columns import (
    Columns,
    has_level,
    is_loss,
    is_score,
    plain,
    plan,
    run_of,
    stand_in,
)


def planned(header: str, averages: bool = False, terms: bool = False) -> Columns:
    """The plan of a header with blanks between, by the names themselves."""
    names = header.split()
    return plan(names, names, averages, terms)


@pytest.mark.parametrize(
    ("field", "header", "keys"),
    [
        ("step", "epoch current_steps Global_Step", ("Global_Step", "current_steps")),
        ("epoch", "step epoch", ("epoch",)),
        ("norm", "loss gnorm grad_norm", ("grad_norm", "gnorm")),
        ("rate", "lr learning_rate", ("learning_rate", "lr")),
        ("reward", "reward reward_std", ("reward",)),
        ("spread", "reward reward_std", ("reward_std",)),
        ("equal", "frac_reward_zero_std reward", ("frac_reward_zero_std",)),
        ("planned", "lr planned_lr", ("planned_lr",)),
        ("time", "ts timestamp time", ("time", "timestamp", "ts")),
        ("seconds", "time step_time", ("step_time",)),
        ("whole", "total mel_loss Loss", ("Loss", "total")),
        ("losses", "losses loss", ("losses",)),
        ("codebooks", "codebooks loss", ("codebooks",)),
        ("whole", "mel_loss acc", ()),
    ],
)
def test_where_a_row_keeps_what_in_the_order_of_preference(
    field: str, header: str, keys: tuple[str, ...]
) -> None:
    assert getattr(planned(header), field) == keys


def test_of_two_columns_of_one_name_the_first_is_read() -> None:
    columns = plan(["loss", "Loss", "mel_loss"], [0, 1, 2], averages=False, terms=False)
    assert (columns.whole, columns.parts) == ((0,), (("mel_loss", 2),))


def test_an_average_is_the_whole_loss_only_where_no_step_s_is_there() -> None:
    header = "train_loss_epoch loss"
    assert planned(header).whole == ("loss",)
    assert planned(header, averages=True).whole == ("loss", "train_loss_epoch")


@pytest.mark.parametrize(
    ("terms", "parts"),
    [(False, ["mel_loss", "G/loss_kl"]), (True, ["mel_loss", "G/loss_kl", "nll"])],
)
def test_parts_are_training_losses_beside_the_whole_one(terms: bool, parts: list[str]) -> None:
    header = "step Loss train_loss losses mel_loss G/loss_kl nll acc val_loss loss_scale"
    assert planned(header, terms=terms).parts == tuple((name, name) for name in parts)


@pytest.mark.parametrize(
    ("header", "rest"),
    [
        ("step epoch loss grad_norm lr acc", False),
        ("loss time", True),
        ("loss reward", True),
        ("loss val_loss", True),
    ],
)
def test_whether_there_is_anything_else(header: str, rest: bool) -> None:
    assert planned(header).rest is rest


def test_a_closing_entry_and_held_out_scores() -> None:
    assert planned("Train_Runtime train_loss").summary
    columns = planned("train_loss eval_loss val_loss_step dev/wer")
    assert not columns.summary
    assert columns.scores == (("eval_loss", "eval_loss"), ("dev/wer", "dev/wer"))


@pytest.mark.parametrize(
    ("name", "run", "rest"),
    [
        (' "loss" ', "", "loss"),
        ('"my-run - 2 - train/loss"', "my-run", "2 - train/loss"),
        (" lr-adam", "", "lr-adam"),
        ("a - ", "", "a -"),
    ],
)
def test_an_export_names_the_run_before_the_column(name: str, run: str, rest: str) -> None:
    assert (run_of(name), plain(name)) == (run, rest)


@pytest.mark.parametrize(
    ("name", "loss", "term"),
    [
        ("mel_loss", True, True),
        ("GLOSS", True, True),
        ("val_loss", False, False),
        ("loss_scale", False, False),
        ("kl_loss_weight", False, False),
        ("loss__max", False, False),
        ("nll", False, True),
        ("train", False, True),
        ("cross entropy", False, True),
        ("test/nll", False, False),
        ("control", False, False),
        ("accuracy", False, False),
    ],
)
def test_a_training_loss_is_told_by_its_name(name: str, loss: bool, term: bool) -> None:
    """`term`: where nothing is called a loss, one of its terms is read."""
    assert (is_loss(name), is_loss(name, terms=True)) == (loss, term)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("eval_loss", True),
        ("metrics/val.wer", True),
        ("Test loss", True),
        ("val_loss_step", False),
        ("train_loss", False),
        ("evaluate", False),
        ("a/b/val_loss", False),
    ],
)
def test_a_held_out_score_is_no_batch_s(name: str, told: bool) -> None:
    assert is_score(name) is told


@pytest.mark.parametrize(
    "names",
    [
        ["disc_loss", "kl_loss", "mel_loss", "g_total_loss", "avg_train_loss"],
        ["disc_loss", "kl_loss", "mel_loss", "g_total_loss"],
        ["disc_loss", "kl_loss", "mel_loss"],
        ["disc_loss", "kl_loss"],
        ["disc_loss"],
    ],
    ids=["plain words", "a total", "a regression", "no adversary", "what there is"],
)
def test_the_least_strange_loss_stands_for_the_whole(names: list[str]) -> None:
    assert stand_in(names) == names[-1]


def test_the_first_of_equals_stands_for_the_whole() -> None:
    assert stand_in(["mel_loss", "vf_loss"]) == "mel_loss"
    assert stand_in([]) == ""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("mel_loss", True),
        ("Loss", False),
        ("loss/2", False),
        ("mel_loss_2", True),
        ("gen_mel_loss", False),
        ("KL", False),
        ("fm_loss", False),
    ],
)
def test_a_level_of_its_own_has_what_nobody_trains_against(name: str, told: bool) -> None:
    assert has_level(name) is told
