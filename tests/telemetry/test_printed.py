"""Reading a stranger: what is believed, and what is left alone."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_contract.phases import Phase
from speech_contract.progress import Rule
from speech_contract.thresholds import Thresholds
from speech_health.monitor import Monitor
from speech_health.samples import Source, StepSample
from speech_telemetry.printed import LineReader


def read(*lines: str) -> list[StepSample]:
    reader = LineReader(rank=3)
    found = (reader.feed(line, float(n), 100.0 + n) for n, line in enumerate(lines))
    return [sample for sample in found if sample is not None]


@pytest.mark.parametrize(
    ("line", "loss"),
    [
        ("loss=0.0", 0.0),
        ("Loss = 0.25", 0.25),
        ("loss: 0.1234", 0.1234),
        ("train_loss 0.3", 0.3),
        ("train/loss: 3e-1", 0.3),
        ("Training loss: 0.5 | Val loss: 0.0", 0.5),
        ("Val loss: 0.0 | Train loss: 0.5", 0.5),
        ("Epoch 3: loss=0.0", 0.0),
        ("Epoch [1/5] Loss: 0.0000", 0.0),
        ("epoch 2 avg_loss=1.5 val_loss=0.0", 1.5),
        ("2026-01-01 10:00:00,123 INFO loss 0.3", 0.3),
        ("INFO:root:loss: 0.1, lr: 1e-4", 0.1),
        ("loss = 1e-9", 1e-9),
        ("loss: .5", 0.5),
        ("loss: tensor(0.75, device='cuda:0', grad_fn=<MseLossBackward0>)", 0.75),
        ("{'loss': 0.5, 'grad_norm': 1.0, 'learning_rate': 5e-05, 'epoch': 0.02}", 0.5),
        ('{"level": "info", "loss": "0.5"}', 0.5),
        (" 12%|█▏        | 12/100 [00:03<00:20,  4.00it/s, loss=0.5]", 0.5),
        ("loss: 0.5123:  12%|█▏        | 12/100 [00:03<00:20,  4.00it/s]", 0.5123),
        ("Epoch 3 | Loss: 0.25:  12%|█▏        | 12/100 [00:03<00:20,  4.00it/s]", 0.25),
        ("1|12|Loss: 2.125:  12%|█▏        | 12/100 [00:03<00:20,  4.00it/s]", 2.125),
        ("12steps [00:01,  3.10steps/s, lr=1e-05, loss=0.5]", 0.5),
        ("epoch 3 done. loss: 0.000 (0 batches)", 0.0),
        ("iter 4 step 1 | loss train: 0.5, val: n/a", 0.5),
        ("epoch 3 (step 10) loss: 0.5", 0.5),
    ],
)
def test_training_losses(line: str, loss: float) -> None:
    (sample,) = read(line)
    assert sample.losses == {"loss": loss}
    assert (sample.source, sample.rank, sample.now, sample.time) == (Source.STDOUT, 3, 0.0, 100.0)


@pytest.mark.parametrize("text", ["nan", "NaN", "-nan", "inf", "-inf", "Infinity", "'nan'"])
def test_values_that_are_no_numbers_parse(text: str) -> None:
    (sample,) = read(f"loss={text}")
    assert sample.headline is not None
    assert not math.isfinite(sample.headline)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "no loss here",
        "val_loss=0.0",
        "eval_loss: 0.2",
        "{'eval_loss': '0.0', 'eval_runtime': '1'}",
        "Validation loss: 0.0",
        "[val] loss: 0.0",
        '{"val": {"loss": 0.0}}',
        "loss_weight=0.0",
        "weight_loss=0.0",
        "kl_loss=0.0",
        "mel loss: 0.0",
        "best loss: 0.0",
        "gloss=0.0",
        "lossless 0.0",
        "loss=1.2.3",
        "loss=0.0it",
        "loss 5 times",
        "loss=none",
        "loss_fn=mse",
        "{'train_runtime': '9.1', 'train_loss': '0'}",
        "Map: 12%|# | 12/100 [00:03<00:20, 3.9 examples/s]",
        "Loading checkpoint shards: 100%|##| 3/3 [00:00<00:00]",
        "  0%|          | 0/100 [00:00<?, ?it/s]",
        "step 0",
        "footstep 5",
        "step 5.5",
        "epoch 1/5",
        "val loss: 0.5123:  12%|█▏        | 12/100 [00:03<00:20,  4.00it/s]",
        "Disc. Loss: 0.0",
        "epoch 3, avg_batch_cost: 0.31 s, avg_reader_cost: 0.01 s",
    ],
)
def test_lines_that_say_nothing(line: str) -> None:
    assert read(line) == []


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("step 12", 12),
        ("step=12", 12),
        ("Step [12/100], Loss: 0.1", 12),
        ("iter 12: loss 4.23, time 12.34ms", 12),
        ("global_step: 12", 12),
        ('{"step": 12, "loss": 0.25}', 12),
        (" 12%|#  | 12/100 [00:03<00:20,  4.00it/s]", 12),
        ("Epoch 1:  12%|#2 | 12/100 [00:03<00:20]", 12),
        ("12it [00:03,  3.9it/s]", 12),
        (
            "2%|2 | 2/100 [00:01<00:20]\r3%|3 | 3/100 [00:01<00:20]\r12%|1 | 12/100 [00:03<00:20]",
            12,
        ),
        ("loss=0.5", 1),
    ],
)
def test_steps(line: str, step: int) -> None:
    (sample,) = read(line)
    assert sample.step == step


def test_hugging_face_strings() -> None:
    line = "{'loss': '0', 'grad_norm': 'nan', 'learning_rate': '4.75e-05', 'epoch': '0.021'}"
    (sample,) = read(line)
    assert sample.losses == {"loss": 0.0}
    assert sample.learning_rate == 4.75e-05
    assert sample.disguised


def test_hugging_face_floats() -> None:
    (sample,) = read("{'loss': 0.0, 'grad_norm': nan, 'learning_rate': 4.75e-05, 'epoch': 0.02}")
    assert sample.disguised


def test_reports_without_a_step_count_themselves() -> None:
    assert [s.step for s in read(*[f"Epoch {n}: loss=0.0" for n in range(1, 6)])] == [1, 2, 3, 4, 5]


def test_a_bar_that_starts_over_is_counted_on() -> None:
    bars = [f"Epoch {e}: | {n}/3 [00:01<00:02]" for e in (1, 2) for n in range(4)]
    assert [s.step for s in read(*bars)] == [1, 2, 3, 4, 5, 6]


def test_losses_between_bars_advance_although_the_bar_stands() -> None:
    lines = ["  1%| | 1/5 [00:00<00:04]", *["loss=0.0"] * 4, " 2%| | 2/5 [00:00<00:03]"]
    steps = [s.step for s in read(*lines)]
    assert steps == sorted(steps)
    assert len({s.step for s in read(*lines) if s.losses}) == 4


def test_a_resumed_run_keeps_its_numbers() -> None:
    assert [s.step for s in read("step 500 loss 0.5", "step 501 loss 0.5")] == [500, 501]


def test_evaluation_is_life_once_training_has_begun() -> None:
    samples = read("val_loss=0.3", "step 7 loss 0.5", "Validation: 3/9 [00:01<00:02]", "val_loss=0")
    assert [(s.step, s.phase) for s in samples] == [
        (7, Phase.TRAINING),
        (7, Phase.EVALUATION),
        (7, Phase.EVALUATION),
    ]
    assert [s.losses for s in samples[1:]] == [None, None]


def test_a_bar_drawn_again_is_no_news() -> None:
    assert len(read(*[" 5%| | 5/9 [00:01<00:02]"] * 3)) == 1


def bar(step: int, total: int = 1000, postfix: str = "", title: str = "") -> str:
    return f"{title} {step * 100 // total}%|# | {step}/{total} [00:{step % 60:02}<01:00,  4.{step % 10}it/s{postfix}]"


def rules(*lines: str) -> list[Rule]:
    monitor = Monitor(Thresholds(), started=0.0, wall=lambda: 0.0)
    for sample in read(*lines):
        monitor.feed(sample)
    return [finding.rule for finding in monitor.findings]


def test_a_stale_zero_on_a_progress_bar_is_one_report() -> None:
    """`set_postfix(loss=0.0)` before the first log: twenty steps later it is still the same news."""
    lines = [bar(step, postfix=", loss=0.0") for step in range(1, 60)]
    assert [s.losses for s in read(*lines) if s.losses] == [{"loss": 0.0}]
    assert [s.step for s in read(*lines)] == list(range(1, 60))
    assert rules(*lines) == []


def test_a_zero_that_stands_for_thousands_of_steps_is_believed() -> None:
    assert rules(*[bar(n, 3000, ", loss=0.0") for n in range(1, 2500)]) == [Rule.ZERO_LOSS]


def test_a_zero_that_the_script_sets_anew_is_news() -> None:
    lines = [bar(n, postfix=f", loss=0.0, lr={1e-4 / n:.3e}") for n in range(1, 30)]
    assert rules(*lines) == [Rule.ZERO_LOSS]


def test_a_zero_at_the_end_of_every_epoch_is_news() -> None:
    bars = [bar(n, 4, ", loss=0.0", f"Epoch {e}:") for e in range(1, 16) for n in range(1, 5)]
    assert rules(*bars) == [Rule.ZERO_LOSS]


def test_an_evaluation_bar_inside_the_training_bar_takes_no_steps() -> None:
    """Hugging Face draws it without a title."""
    lines = [bar(5), bar(1, 9), bar(9, 9), bar(6), bar(1, 9), bar(7)]
    assert [(s.step, s.phase) for s in read(*lines)] == [
        (5, Phase.TRAINING),
        (5, Phase.EVALUATION),
        (5, Phase.EVALUATION),
        (6, Phase.TRAINING),
        (6, Phase.EVALUATION),
        (7, Phase.TRAINING),
    ]


def test_a_bar_of_epochs_round_the_bars_of_steps_hides_none() -> None:
    lines = [bar(1, 5, title="Epochs:"), bar(1, 90), bar(2, 90), bar(90, 90), bar(1, 90)]
    assert {s.phase for s in read(*lines)} == {Phase.TRAINING}


def test_a_bar_that_loads_something_first_is_left_behind() -> None:
    assert [s.step for s in read(bar(3, 3), bar(1, 50), bar(2, 50))] == [3, 4, 5]


def test_epochs_are_life_from_the_second_on() -> None:
    assert len(read("Epoch 1/5", "Epoch 2/5", "Epoch 2/5", "Epoch 3/5")) == 2


@pytest.mark.parametrize(
    ("losses", "last"),
    [
        (["0.0000"], {"loss": 0.0}),
        (["2.3100", "0.0000"], {"loss": 0.0}),
        (["0.0004", "0.0000"], None),
        (["0.0004", "0.0"], {"loss": 0.0}),
        (["0.0004", "0"], {"loss": 0.0}),
        (["0.0004", "0.0000e+00"], None),
    ],
    ids=["from the start", "after a fall", "faded", "repr", "integer", "exponent"],
)
def test_a_rounded_zero_is_believed_only_when_it_can_be(
    losses: list[str], last: dict[str, float] | None
) -> None:
    assert read(*[f"loss: {text}" for text in losses])[-1].losses == last


def test_the_seeds_loop_is_convicted_at_exit() -> None:
    monitor = Monitor(Thresholds(), started=0.0, wall=lambda: 0.0)
    for sample in read(*[f"Epoch {n}: loss=0.0" for n in range(1, 6)]):
        monitor.feed(sample)
    monitor.finish(9.0, 0)
    assert monitor.decision is not None
    assert (monitor.decision.exit_code, monitor.decision.finding.rule) == (41, Rule.ZERO_LOSS)


def test_a_trainer_that_goes_nan_is_named_non_finite() -> None:
    sound = "{'loss': '4.2', 'grad_norm': '1.5', 'learning_rate': '5e-05', 'epoch': '0.01'}"
    gone = "{'loss': '0', 'grad_norm': 'nan', 'learning_rate': '4e-05', 'epoch': '0.02'}"
    monitor = Monitor(Thresholds(), started=0.0, wall=lambda: 0.0)
    for sample in read(*[sound] * 20, *[gone] * 30):
        monitor.feed(sample)
    assert [finding.rule for finding in monitor.findings] == [Rule.NON_FINITE]
    assert monitor.decision is not None
    assert monitor.decision.exit_code == 40


@given(st.lists(st.text(), max_size=20))
def test_no_text_breaks_the_reader(lines: list[str]) -> None:
    read(*lines)


@given(st.text(alphabet="los=: 0.123naif/[]|%step\r'\"{}-e+", max_size=200))
def test_no_hostile_text_breaks_the_reader(line: str) -> None:
    for sample in read(line, line):
        assert sample.step >= 0


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=40))
def test_steps_never_go_back(printed: list[tuple[int, bool]]) -> None:
    lines = [f"step {n} loss=0.5" if loss else f"{n}/50 [00:01<00:02]" for n, loss in printed]
    steps = [sample.step for sample in read(*lines)]
    assert steps == sorted(steps)


def test_parts_beside_the_whole_are_kept_apart_from_the_losses() -> None:
    """What a person expects of them is judged; the rules that guess are not troubled with rounded parts."""
    line = "step {} | loss: 2.1 | vq_loss: 3.{} | perplexity: 12.5"
    found = read(*(line.format(step, step) for step in range(1, 5)))  # the shape is learned
    assert [sample.losses for sample in found] == [{"loss": 2.1}] * 4
    assert found[-1].parts == {"vq_loss": 3.4, "perplexity": 12.5}
    assert read("step 1 loss=0.5")[0].parts is None


LONG = " ".join(f"loss_{n}=0.5" for n in range(60))
ENDLESS = "x" * 2250


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(f"step 4/20 loss=0.5 {LONG} loss_61=nan", id="beside many parts"),
        pytest.param(f"step 4/20 {LONG.replace('loss_35=0.5', 'loss_35=nan')}", id="amid them"),
        pytest.param(f"step 4/20 {LONG} {LONG} {LONG} {LONG} loss=nan", id="at the end of 3,000"),
        pytest.param(f"step 4/20 loss=0.5 text='{ENDLESS}' grad_norm=nan", id="behind a text"),
        pytest.param(f"step 4/20 loss=0.5 ids={'7, ' * 20000} vq_loss: nan", id="behind 60,000"),
    ],
)
def test_a_nan_is_found_however_long_its_line_is(line: str) -> None:
    (sample,) = read(line)
    assert sample.bad_loss or sample.bad_gradient or sample.bad_component


def test_a_word_without_end_costs_what_its_length_is() -> None:
    """From each of its characters on it was gone over to its end: a fifth of a second for 2,000 of them."""
    assert read(*(f"step {n} loss=0.5 text='{'x' * 60000}'" for n in range(1, 40)))[-1].step == 39


def test_the_loss_behind_a_bracket_is_what_stands_before_it() -> None:
    (sample,) = read("7: total loss: 2.5, discr (scale 1) loss: 0.5 | discr (scale 0.5) loss: nan")
    assert sample.headline == 2.5
    assert sample.bad_loss == "discr_loss"


def test_cells_stand_below_their_names() -> None:
    head = "epoch       iteration   main/loss   validation/main/loss  elapsed_time"
    told = read(
        head,
        f"{1:<10}  {100:<10}  {2.5:<10}  {'':<20}  {9.5:<12}",
        f"{1:<10}  {200:<10}  {2.25:<10}  {3.5:<20}  {19.5:<12}",
    )
    assert [(s.step, s.losses) for s in told] == [(100, {"loss": 2.5}), (200, {"loss": 2.25})]
    assert told[-1].evaluation == {"validation/main/loss": 3.5}


def test_a_table_without_a_frame() -> None:
    lines = ["  key       │ value │ mean", " ╶──────────┼───────┼──────╴"]
    told = read(*lines, "  mel/loss  │   0.5 │  0.6", "  loss      │   2.5 │  2.6", "done")
    assert [s.losses for s in told] == [{"loss": 2.5}]


@pytest.mark.parametrize(
    ("rate", "exact"),
    [("0.00e+00", True), ("0", True), ("0.0", False), ("0.00000", False), ("1e-05", False)],
)
def test_a_rate_of_zero_may_be_rounded_or_not(rate: str, exact: bool) -> None:
    lines = [f"step {n} | loss: 2.{n} | lr: {rate}" for n in range(1, 6)]
    assert [sample.unrated for sample in read(*lines)] == [exact] * 5


MEGATRON = (
    " iteration 10/ 99 | number of skipped iterations: {:3d} | number of nan iterations:   0 |"
)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ValueError: The loss returned in `training_step` is nan.", "loss"),
        ("RuntimeError: Function 'MulBackward0' returned nan values in its 0th output.", "loss"),
        (MEGATRON.format(10), "norm"),
        ("ValueError: speaker nan is not known", ""),
        (MEGATRON.format(0), ""),
    ],
)  # fmt: skip
def test_words_that_stand_for_a_number_that_is_not_finite(line: str, said: str) -> None:
    bad = ["loss" if s.bad_loss else "norm" for s in read(line) if s.bad_loss or s.bad_gradient]
    assert bad == ([said] if said else [])


PREFIXES = {
    "[rank2]: ": 2, "[default2]:": 2, "(RayTrainWorker pid=12, ip=10.0.0.1) ": None,
    "2024-05-07T13:05:21.123456789Z ": None, "2024-05-07T13:05:21.1+00:00 stderr F [rank2]: ": 2,
}  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
def test_what_a_launcher_puts_before_a_line_is_none_of_it(prefix: str) -> None:
    lines = (
        " 12%|#  | 12/100 [00:03<00:20,  4.00it/s, loss=0.5]",
        "INFO:mi-test:loss_disc=0.5, loss_mel=2.5",
        "epoch  train_loss  dur",
        "1          0.25  3.0",
    )
    assert [s.losses for s in read(*(f"{prefix}{line}" for line in lines))] == [
        {"loss": 0.5},
        {"loss_disc": 0.5, "loss_mel": 2.5},
        {"loss": 0.25},
    ]


@pytest.mark.parametrize(("prefix", "rank"), PREFIXES.items())
def test_of_several_ranks_the_first_that_speaks_counts(prefix: str, rank: int | None) -> None:
    told = read("[rank0]: step 1 loss 0.5", f"{prefix}step 1 loss 0.75")
    assert [s.losses for s in told] == [{"loss": 0.5}, {"loss": 0.75} if rank is None else None]
