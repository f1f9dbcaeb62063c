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
