# ruff: noqa: E501 - lines as they are printed
"""Runs as trainers print them, judged: a fault is named whatever the printer, and a sound run is left alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from speech_contract.progress import Rule
from speech_contract.thresholds import Thresholds
from speech_health.monitor import Monitor
from speech_telemetry.printed import LineReader

WITHIN = 20  # reports after the first bad one


def judged(lines: list[str], seconds: float = 0.05) -> tuple[Monitor, LineReader]:
    """A line each `seconds`, then the end with exit code 0."""
    reader, monitor = LineReader(), Monitor(Thresholds(), started=0.0, wall=lambda: 0.0)
    for number, line in enumerate(lines):
        sample = reader.feed(line, number * seconds)
        if sample is not None:
            monitor.feed(sample)
    monitor.finish(len(lines) * seconds, 0)
    return monitor, reader


def rules(lines: list[str], seconds: float = 0.05) -> list[Rule]:
    return [finding.rule for finding in judged(lines, seconds)[0].findings]


def padded(value: float) -> str:
    """As Lightning's `format_num` does."""
    text = f"{value:.3g}"
    return text if "." in text or len(text) >= 5 else (text + ".").ljust(5, "0")


Printer = Callable[[int, float], str]
# number of the report from 1 on, loss → lines
PRINTERS: dict[str, Printer] = {
    "lightning": lambda n, x: f"Epoch 0: {n:3d}%|#| {n}/999 [00:01<00:09, 9.9it/s, v_num=0, train_loss={padded(x)}]",
    "lightning step": lambda n, x: f"Epoch 0: {n:3d}%|#| {n}/999 [00:01<00:09, 9.9it/s, v_num=0, train_loss_step={padded(x)}]",
    "nemo": lambda n, x: f"Epoch 0: {n}%|#| {n}/999 [00:01<00:09, 9.9it/s, v_num=a, reduced_train_loss={padded(x)}, global_step={n}.000]",
    "hifigan": lambda n, x: f"Steps : {n * 5:d}, Gen Loss Total : {x:4.3f}, Mel-Spec. Error : {x:4.3f}, s/b : 0.444",
    "coqui": lambda n, x: (
        f"\x1b[1m   --> TIME: 2024-03-07 11:31:00 -- STEP: {n * 25}/9000 -- GLOBAL_STEP: {n * 25}\x1b[0m\n     | > loss_0: 2.5  (2.5)\n"
        f"     | > loss_1: {x:.5f}  (2.5)\n     | > grad_norm_1: {'nan' if x != x else '1.5'}  (1.5)\n     | > step_time: 0.7  (0.7)"
    ),
    "coqui of old": lambda n, x: f"   --> STEP: {n}/9000 -- GLOBAL_STEP: {n}\n     | > postnet_loss: {x:.5f}  (2.5)\n     | > decoder_loss: {x:.5f}  (2.5)\n     | > step_time: 0.70  (0.7)",
    "vits": lambda n, x: f"INFO:test:Train Epoch: {n} [50%]\nINFO:test:[{x}, {2 + n / 7}, {5 + n / 7}, {23 - n / 7}, {1 + n / 9}, {1 + n / 8}, {n * 200}, 0.0002]",
    "so-vits": lambda n, x: f"INFO:44k:Losses: [{2 + n / 7}, {x}, {5 + n / 7}, {23 - n / 7}, {1 + n / 9}], step: {n * 200}, lr: 0.0001",
    "rvc": lambda n, x: f"INFO:mi:[{n * 200}, 9.99e-05]\nINFO:mi:loss_disc={x:.3f}, loss_gen={x:.3f}, loss_fm=9.1,loss_mel=17.5, loss_kl=1.25",
    "styletts2": lambda n, x: f"Epoch [1/200], Step [{n * 10}/9999], Mel Loss: 0.35, Disc Loss: {x:.5f}, Gen Loss: {x:.5f}",
    "espnet": lambda n, x: f"[h] (trainer:732) INFO: 1epoch:train:{n}-{n + 49}batch: iter_time=1.2e-04, loss_ctc={x:.2f}, loss={x:.3f}, grad_norm=33.1, optim0_lr0=1.25e-06",
    "icefall": lambda n, x: f"INFO [train.py:9] (0/4) Epoch 1, batch {n * 50}, loss[loss={x:.4g}, over 3000.00 frames. ], tot_loss[loss={x:.4g}, over 3000.00 frames. ], batch size: 40, lr: 4.5e-02",
    "fairseq": lambda n, x: f"2024-01-02 10:00:00 | INFO | train | epoch {n:03d} | loss {x:g} | ppl 1176 | num_updates {n * 100} | lr 0.0001 | gnorm 1.5 | loss_scale 64",
    "wenet": lambda n, x: f"DEBUG TRAIN Batch 0/{n * 100} loss {x:.6f} loss_att 7.1 loss_ctc 10.2 lr 0.0003 rank 0",
    "flashy": lambda n, x: f"[05-07 13:05:21][flashy.solver][INFO] - Train | Epoch {n} | 200/2000 | 3.19 it/sec | lr 5.0E-04 | ce {x:.3f} | ppl 49.000",
    "hugging face": lambda n, x: f"{{'loss': {x:.4f}, 'grad_norm': 1.5, 'learning_rate': 4.75e-05, 'epoch': {n / 100}}}",
    "speechbrain": lambda n, x: f"epoch: {n}, lr: 1.00e-03 - train loss: {x:.2e} - valid loss: 2.5, valid PER: 65.90",
    "keras": lambda n, x: f"Epoch {n}/99\n100/100 - 3s - 25ms/step - accuracy: 0.4000 - loss: {x:.4f} - val_loss: 2.5",
    "megatron": lambda n, x: f" iteration {n:8d}/  99999 | learning rate: 1.5E-04 | lm loss: {x:E} | loss scale: 1.0 | grad norm: 1.2 | number of nan iterations: 0 |",
    "accelerate": lambda n, x: f"Steps:   1%|1         | {n}/5000 [00:01<08:19,  1.00s/it, lr=1e-5, step_loss={x:.3g}]",
    "insightface": lambda n, x: f"Training: 2024-Speed 1234.56 samples/sec   Loss {x:.4f}   LearningRate 0.100000   Epoch: 0   Global Step: {n * 20}",
    "opennmt": lambda n, x: f"[2024-01-02 10:00:00,123 INFO] Step {n * 50}/500000; acc: 1.0; ppl: {x:.2f}; xent: {x:.2f}; lr: 0.00010; sents: 12; 12 sec;",
    "gan": lambda n, x: f"[0/5][{n}/1583]\tLoss_D: {x:.4f}\tLoss_G: {x:.4f}\tD(x): 0.5",
    "tacotron 2": lambda n, x: f"Train loss {n} {x:.6f} Grad Norm 1.234567 2.10s/it",
    "tensorflow": lambda n, x: f"INFO:tensorflow:loss = {x}, step = {n * 100} (1.2 sec)",
    "numpy": lambda n, x: f"step: {n}, train_mel_loss_before = {'nan.' if x != x else x}",
    "table": lambda n, x: f"╭──── Train ────╮\n│ loss │ {x:.3f} │ 2.1 │\n│ mel/loss │ 2.1 │ 2.1 │\n╰───────────────╯",
    "verl": lambda n, x: f"step:{n} - actor/entropy:0.3 - actor/pg_loss:{x:.3f} - actor/grad_norm:0.5",
    "wesep": lambda n, x: f"[ INFO : 2025-01-13 01:12:25,280 ] - |     TRAIN|{n:10d}|       100|{x:10.4f}|{0.0007:10.5g}|",
    "crowded bar": lambda n, x: f"Epoch 1/60:   1%|  | {n}/445 [00:02<02:04,  1.23it/s, L={x:.3f}, Cls=0.761, Grad=-]",
    "table between bars": lambda n, x: ("INFO - |  Epoch|  Batch|  Lr|  Loss|\n" if n == 1 else "")
    + f"INFO - |  1|{n * 100:8d}|  0.1|{x:10.4f}|",
    "llm.c": lambda n, x: f"s:{n} trl:{x:.4f} lr:0.000051 norm:1.51",
    "build-nanogpt": lambda n, x: f"{n * 250} val 4.1221\n{n * 250} train {x:.6f}",
    "paddle average": lambda n, x: f"Epoch {n}, Step 100, total used time 188.02 (s), avg loss so far is {x}",
    "gluoncv": lambda n, x: f"[Epoch {n}][Batch 50], Speed: 1.170 samples/sec, CrossEntropy={x:.2e}, SmoothL1=3.28e-03, val_AP=0.097",
    "fairseq's summary": lambda n, x: f'| INFO | train | {{"epoch": {n}, "train_loss": "{x:g}", "train_nll_loss": "2.1", "train_num_updates": "{n * 99}", "train_gnorm": "1.5"}}',
    "last line of a bar": lambda n, x: f"Epoch {n}/200: 100%|###| 400/400 [00:00<00:00, 450.1it/s, loss={x:.3g}]",
    "last step of an epoch": lambda n, x: f"Epoch [{n}/200], Step [400/400], Loss: {x:.4f}",
    "step stands still": lambda n, x: f"step 17 | loss {x:.4f} | time {n}s",
}  # fmt: skip


def printed(printer: Printer, losses: list[float]) -> list[str]:
    return "\n".join(printer(n, x) for n, x in enumerate(losses, 1)).split("\n")


def falling(number: int) -> list[float]:
    noise = random.Random(1)
    return [4.2 / (1 + n / 40) + noise.random() * 0.01 for n in range(number)]


@pytest.mark.parametrize("name", PRINTERS)
def test_a_sound_run_is_left_alone(name: str) -> None:
    monitor, reader = judged(printed(PRINTERS[name], falling(60)))
    assert monitor.findings == []
    assert reader.form


@pytest.mark.parametrize(
    "line",
    [
        "[{n}] train loss {x:.4f}",
        "Train epoch: [1/50], batch: [{n}/3580], loss: {x:.4f}, learning rate: 0.0001",  # PPASR, not ESPnet
        "TRAIN Batch {n} loss {x:.4f}",  # no epoch, as wenet has
        "Epoch {n} - loss: {x:.4f}",  # no `12/100`, as Keras has
        "Train | Epoch {n} | loss {x:.4f}",  # no `1800/2000`, as flashy has
        "[epoch 1]: [{n}] loss {x:.4f}",  # no bar, as PyTorch-Ignite draws
        "step {n} (train) loss {x:.4f}",  # no `[38/400]`, as MMEngine has
        "epoch 1 - iter {n} - loss {x:.4f}",  # no `4/48`, as Flair has
    ],
)
def test_a_common_word_names_no_format(line: str) -> None:
    lines = [line.format(n=n, x=x) for n, x in enumerate(falling(30), 1)]
    assert judged(lines)[1].form == "lines of name and number"


@pytest.mark.parametrize("name", PRINTERS)
def test_a_nan_is_named_within_twenty_reports(name: str) -> None:
    lines = printed(PRINTERS[name], [*falling(40), *[float("nan")] * WITHIN])
    (finding,) = judged(lines)[0].findings
    assert (finding.rule, finding.severity.value) == (Rule.NON_FINITE, "critical")


WHOLE = (
    "lightning step", "espnet", "icefall", "wenet", "speechbrain", "keras", "megatron", "insightface", "tensorflow",
    "last line of a bar", "last step of an epoch", "step stands still",
)  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_a_loss_of_exactly_zero_is_named(name: str) -> None:
    lines = [
        line.replace("grad_norm=33.1, ", "").replace("grad norm: 1.2 | ", "")
        for line in printed(PRINTERS[name], [0.0] * 40)
    ]
    assert rules(lines) == [Rule.ZERO_LOSS]


def test_a_gradient_beside_a_zero_acquits() -> None:
    assert rules(printed(PRINTERS["espnet"], [0.0] * 40)) == []
    assert rules(printed(PRINTERS["hugging face"], [0.0] * 40)) == []


def test_fairseqs_zeros_are_integers() -> None:
    line = "2024 | INFO | train | epoch {:03d} | loss 0 | nll_loss 0 | num_updates {} | lr 0.0001 | gnorm 0 | wall 9"
    assert rules([line.format(n, n * 100) for n in range(1, 9)]) == [Rule.NO_GRADIENT]


def test_a_finished_bar_drawn_again_is_one_report() -> None:
    bar = "100%|###| 400/400 [00:0{}<00:00, 130.{}it/s, loss=nan]"
    lines = [bar.format(3, 1), bar.format(3, 1), bar.format(3, 2)]
    _, reader = judged(lines, 0.01)
    sample = reader.feed("Epoch 2 | step 1 loss 0.5", 9.0)
    assert sample is not None
    assert sample.report == 2


def test_duplicated_handlers_make_no_second_report() -> None:
    lines = [line for n in range(1, 5) for line in [f"step {n} loss nan"] * 2]
    _, reader = judged(lines)
    sample = reader.feed("step 9 loss 0.5", 9.0)
    assert sample is not None
    assert sample.report == 5


def policy(rows: int) -> Iterator[str]:
    for n in range(rows):
        equal = n % 12 in (6, 7, 8)
        yield (
            f"{{'loss': 0.0, 'grad_norm': {0.0 if equal else 0.7}, 'learning_rate': 4e-05, 'reward': {0.3 + n / 300}, "
            f"'reward_std': {0.0 if equal else 0.2}, 'epoch': {n / 100}}}"
        )


def test_a_policys_objective_is_zero_by_construction() -> None:
    assert rules(list(policy(60))) == []


@pytest.mark.parametrize(
    "sentence",
    [
        "[h] (trainer:632) WARNING: The grad norm is nan. Skipping updating the model.",
        "WARNING: loss is nan, skipping this batch",
        "Skipping batch 7: non-finite gradient norm",
        "grad norm is inf, update skipped",
    ],
)
def test_updates_skipped_for_ever_are_named_and_some_are_not(sentence: str) -> None:
    some = [f"step {n} loss {9 / n:.4f}" if n % 3 else sentence for n in range(1, 200)]
    assert Rule.NON_FINITE not in [
        f.rule for f in judged(some)[0].findings if f.severity.value == "critical"
    ]
    lasting = [*some[:20], *[sentence] * 40]
    assert [f.severity.value for f in judged(lasting)[0].findings] == ["critical"]


HELD_OUT = {
    "coqui": ["\x1b[1m > EVALUATION \x1b[0m", "\x1b[1m   --> STEP: 0\x1b[0m", "     | > loss: nan  (nan)", "     | > step_time: 1"],
    "wenet": ["DEBUG CV Batch 0/100 loss nan loss_att nan history loss nan rank 0"],
    "fairseq": ["2024 | INFO | valid | epoch 001 | valid on 'valid' subset | loss nan | ppl nan | num_updates 300"],
    "icefall": ["INFO [train.py:1] (0/4) Computing validation loss", "INFO [train.py:2] (0/4) Epoch 1, validation: loss=nan, over 9.0 frames. "],
    "espnet": ["[h] INFO: 1epoch:valid:1-50batch: loss_ctc=nan, loss=nan"],
    "heading": ["Running validation", "loss: nan", "loss: nan"],
    "lightning": ["Validation DataLoader 0:  50%|##| 1/2 [00:00<00:00, 9.1it/s, v_num=0, val_loss=nan.0]"],
    "accuracy": ["step 12 | loss 0.5 | accuracy/bin_3 nan | wer nan"],
    "past": ["previous loss was nan, now fine", "if loss is nan the run ends", "number of nan iterations: 0"],
    "scaler": ["Gradient overflow.  Skipping step, loss scaler 0 reducing loss scale to 32768.0 (grad norm inf)"],
}  # fmt: skip


@pytest.mark.parametrize("name", HELD_OUT)
def test_what_is_not_trainings_is_nobodys_fault(name: str) -> None:
    lines = [
        line
        for n, loss in enumerate(falling(12), 1)
        for line in (f"epoch {n} step {n * 10} loss {loss:.4f}", *HELD_OUT[name], f"epoch {n + 1}")
    ]
    assert rules(lines) == []


@pytest.mark.parametrize(
    "line",
    [
        "Tokenizing train dataset:  50%|##| 4000/8000 [00:00<00:01, 4100.00 examples/s]",
        "Adding EOS to train dataset:  50%|##| 4000/8000 [00:00<00:01, 4100.00 examples/s]",
        "170499072it [01:04, 2643134.23it/s]",
        "Tokens / optimizer step : 32,768",
        'Step 3: A "Hello World" question',
        "number of skipped iterations: 0",
    ],
)
def test_counters_of_somebody_else_take_no_steps(line: str) -> None:
    reader = LineReader()
    for number, text in enumerate([line, "step 47700 | loss 2.0000 | lr 1.8e-04", line]):
        reader.feed(text, float(number))
    sample = reader.feed("step 47701 | loss 2.0000 | lr 1.8e-04", 9.0)
    assert sample is not None
    assert sample.step == 47701


@pytest.mark.parametrize(
    ("line", "loss"),
    [
        ("Step 1,200/4,000 | loss 1,200.40 | lr 1e-4", 1200.4),
        ("Step 1,200/4,000 | loss 0,123 | lr 1e-4", None),
        ("Step 1,200/4,000 | loss 1,234 | lr 1e-4", None),
    ],
)
def test_thousands_are_read_or_left_out(line: str, loss: float | None) -> None:
    sample = LineReader().feed(line, 0.0)
    assert sample is not None
    assert (sample.step, sample.headline) == (1200, loss)


def test_several_ranks_in_one_output_are_one_run() -> None:
    lines = [
        f"[rank{r}]: step {n} loss {2 + r / 10 + 1 / n:.3f}" for n in range(1, 30) for r in range(4)
    ]
    _, reader = judged(lines)
    sample = reader.feed("[rank0]: step 30 loss 2.000", 99.0)
    assert sample is not None
    assert (sample.step, sample.report) == (30, 30)


def test_a_nan_of_another_rank_is_seen_once_a_step() -> None:
    lines = [
        f"[rank{r}]: step {n} loss {'nan' if r == 2 and n > 3 else '2.5'}"
        for n in range(1, 30)
        for r in range(4)
    ]
    assert rules(lines) == [Rule.NON_FINITE]
    assert judged([*lines[: 4 * 5], "[rank0]: step 6 loss 2.5"])[0].decision is None
