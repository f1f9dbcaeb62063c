# ruff: noqa: E501 - lines as they are printed
"""Whole runs as people meet them, each in the words of one trainer or another. Used by test_unseen.py.

Sound ones that look like a fault, and faults of the classes that silence hides best. Labels stood before anything was
judged; a label of no rule is a sound run.
"""

from __future__ import annotations

import dataclasses
import json
import math
import random
from collections.abc import Callable, Iterator
from typing import Final

Lines = Callable[[random.Random], Iterator[str]]


@dataclasses.dataclass(frozen=True)
class Run:
    """One file. `expect`: rules of which one must speak; empty for a sound run."""

    name: str
    lines: Lines
    expect: tuple[str, ...] = ()
    suffix: str = "log"


def curve(
    chance: random.Random, number: int, top: float = 4.0, low: float = 1.0, noise: float = 0.05
) -> list[float]:
    return [
        low + (top - low) / (1 + n / (number / 6)) + chance.gauss(0, noise) for n in range(number)
    ]


def hf(
    n: int,
    loss: float | str,
    norm: float | str = 1.2345678,
    rate: float | str = 1e-5,
    **more: float,
) -> str:
    rest = "".join(f", '{name}': {value}" for name, value in more.items())
    return f"{{'loss': {loss}, 'grad_norm': {norm}, 'learning_rate': {rate}{rest}, 'epoch': {n / 100}}}"


# ---- sound ----


def adversary(c: random.Random) -> Iterator[str]:
    for n in range(1, 301):
        gen = 40 - 15 * n / (n + 60) + 6 * math.sin(n / 23) + c.gauss(0, 2)
        yield f"Steps : {n * 5:d}, Gen Loss Total : {gen:4.3f}, Mel-Spec. Error : {0.9 / (1 + n / 90) + c.random() * 0.05:4.3f}, s/b : 0.412"


def described_bar(c: random.Random) -> Iterator[str]:
    for n, x in enumerate(curve(c, 200)):
        e, i = divmod(n, 50)
        yield f"\rEpoch {e} | Loss: {x:.4f}: {2 * i:3d}%|██        | {i + 1}/50 [00:{i:02d}<00:09,  6.10it/s]"
        if i == 49:
            yield "\n"
            yield from (
                f"\rEvaluating: {10 * k:3d}%|█  | {k}/10 [00:00<00:01, 20.1it/s]"
                for k in range(1, 11)
            )
            yield f"val loss: {x + 0.1:.4f}"


def bare_description(c: random.Random) -> Iterator[str]:
    for n, x in enumerate(curve(c, 200)):
        yield f"\rloss: {x:.4f}: {n // 2:3d}%|██        | {n}/200 [00:{n % 60:02d}<00:09,  6.10it/s]"


def masked_batch(c: random.Random) -> Iterator[str]:
    for n, x in enumerate(curve(c, 200), 1):
        yield hf(n, 0.0 if n % 31 == 0 else round(x, 4), 0.0 if n % 31 == 0 else 0.5 + c.random())


def decayed_to_zero(c: random.Random) -> Iterator[str]:
    for n, x in enumerate(curve(c, 150), 1):
        yield hf(n, round(x, 4), 0.5 + c.random(), 1e-5 * max(0.0, 1 - n / 149))
    yield "{'train_runtime': 812.1, 'train_samples_per_second': 12.1, 'train_steps_per_second': 0.18, 'train_loss': 1.41, 'epoch': 3.0}"


def preferred(c: random.Random) -> Iterator[str]:
    for n in range(1, 201):
        loss = 0.69 * math.exp(-n / 18) * (0.7 + 0.6 * c.random())
        yield hf(
            n,
            round(loss, 4),
            round(30 * loss + 1e-4 * c.random(), 8),
            **{"rewards/margins": n / 20, "rewards/accuracies": 1.0},
        )


def warmed_up(c: random.Random) -> Iterator[str]:
    for n, x in enumerate(curve(c, 200, top=11.0, low=3.0), 1):
        yield hf(n, round(x, 4), 2 + c.random() + 40 / n, 0.0 if n < 4 else min(1e-4, n * 1e-6))


def scaled(c: random.Random) -> Iterator[str]:
    for n in range(16):
        yield f"[2024-05-07 13:05:{n:02d},1] [INFO] [logging.py:96:log_dist] [Rank 0] Overflow detected. Skipping step. Attempted loss scale: {2 ** (32 - n)}, reducing to {2 ** (31 - n)}"
    for n, x in enumerate(curve(c, 150), 1):
        yield hf(n, round(x, 4), "inf" if n < 9 or n % 60 == 0 else 0.5 + c.random())


def resumed(c: random.Random) -> Iterator[str]:
    yield "Resuming from checkpoint out/ckpt_48000.pt (step 48000, best val loss 1.0312)"
    for n, x in enumerate(curve(c, 120, top=1.3, low=1.1), 48001):
        yield f"step {n}/100000 | loss {x:.4f} | lr 3.1e-05"


def folds(c: random.Random) -> Iterator[str]:
    for fold in range(5):
        yield f"===== Fold {fold + 1}/5 ====="
        for e, x in enumerate(curve(c, 60, top=2.3, low=0.02, noise=0.002), 1):
            yield f"Epoch {e:02d}/60 - train_loss: {x:.4f} - val_loss: {x + 0.3:.4f} - val_acc: 0.91"


def late_discriminator(c: random.Random) -> Iterator[str]:
    for n, x in enumerate(curve(c, 300), 1):
        d = 0.0 if n < 150 else 2.0 + c.gauss(0, 0.1)
        g = 0.0 if n < 150 else 3.0 + c.gauss(0, 0.3)
        yield f"Epoch [1/200], Step [{n * 10}/9000], Mel Loss: {x:.5f}, Gen Loss: {g:.5f}, Disc Loss: {d:.5f}, Mono Loss: {0.0 if n < 150 else 0.1 + c.random() / 9:.5f}"


def annealed_kl(c: random.Random) -> Iterator[str]:
    for n, x in enumerate(curve(c, 300), 1):
        kl = 0.0 if n < 50 else 2.0 * (1 - math.exp(-(n - 50) / 80)) + c.random() / 10
        yield f"iter {n}: loss={x + kl * min(1, n / 200) / 5:.4f} recon={x:.4f} kl={kl:.4f} beta={min(1.0, n / 200):.3f}"


def configured(c: random.Random) -> Iterator[str]:
    yield from (
        "Config:", "  loss: mse", "  lr: 0.0", "  grad_clip_norm: 0.0", "  loss_scale: 0", "  label_smoothing: 0.0",
        "  kl_loss_weight: 0.0", "  max_grad_norm: 0", "  'loss_type': 'l1', 'lambda_loss': 0.0", "  warmup_steps: 0",
        "best_loss: inf", "model has 0 NaN parameters", "min loss so far: inf",
    )  # fmt: skip
    for n, x in enumerate(curve(c, 100), 1):
        yield f"step: {n} loss: {x:.4f}"
        if n % 25 == 0:
            yield from (
                "val_loss improved from inf to 0.5123, saving model",
                "EarlyStopping counter: 0 out of 10",
                "Metric val/loss improved by inf >= min_delta",
            )


def eight_ranks(c: random.Random) -> Iterator[str]:
    for n, x in enumerate(curve(c, 60), 1):
        yield from (f"step {n} loss {x + c.gauss(0, 0.2):.4f}" for _ in range(8))


def likelihood(c: random.Random) -> Iterator[str]:
    for n, x in enumerate(curve(c, 250, top=3.0, low=-1.2, noise=0.03), 1):
        yield f"Step {n}: loss {x:.5f}, nll {x - 0.1:.5f}, dur {0.4 / (1 + n / 50):.5f}"


def alignment_start(c: random.Random) -> Iterator[str]:
    for n in range(1, 201):
        x = 90000 * math.exp(-n / 2) + 300 * math.exp(-n / 30) + 20 + c.gauss(0, 2)
        yield f"[host] 2024-05-07 (trainer:732) INFO: 1epoch:train:{n * 50 - 49}-{n * 50}batch: iter_time=1e-04, loss_ctc={x:.3f}, loss={x:.3f}, grad_norm={900 * math.exp(-n / 9) + 20 + c.random() * 9:.3f}, optim0_lr0={n * 1e-6:.3e}"


def learned_by_heart(c: random.Random) -> Iterator[str]:
    for n in range(1, 401):
        yield f"epoch {n} loss: {2.5 * math.exp(-n / 25) * (0.9 + 0.2 * c.random()):.4f} acc: {min(1.0, n / 90):.3f}"


def diffusion(c: random.Random) -> Iterator[str]:
    for n in range(1, 401):
        yield f"\rSteps: {n // 10:3d}%|█ | {n}/4000 [00:{n % 60:02d}<10:19,  1.9it/s, lr=1e-5, step_loss={0.08 * math.exp(c.gauss(0, 1.1)):.4g}]"


def one_outlier(c: random.Random) -> Iterator[str]:
    for n, x in enumerate(curve(c, 300), 1):
        yield f"INFO [train.py:9] (0/4) Epoch 1, batch {n * 50}, loss[loss={x * (60 if n in (90, 210) else 1):.4g}, over 3000.00 frames. ], tot_loss[loss={x:.4g}, over 90000.00 frames. ], batch size: 40, lr: 4.5e-02"


def sanity(c: random.Random) -> Iterator[str]:
    yield "\rSanity Checking DataLoader 0: 100%|██████████| 2/2 [00:00<00:00,  9.1it/s, val_loss=nan.0]"
    for n, x in enumerate(curve(c, 150)):
        yield f"\rEpoch {n // 30}: {n % 30 * 3:3d}%|██  | {n % 30 + 1}/30 [00:{n % 30:02d}<00:09,  9.1it/s, v_num=3, train_loss={x:.3f}, val_loss={'nan.0' if n < 30 else '2.910'}]"


def rounded_norm(c: random.Random) -> Iterator[str]:
    for n, x in enumerate(curve(c, 200), 1):
        yield f"step {n} loss {x:.4f} grad_norm {0.0003 * (1 + c.random()):.3f} lr {3e-6:.5f}"


def words(c: random.Random) -> Iterator[str]:
    for n, x in enumerate(curve(c, 100), 1):
        yield f"step {n} loss {x:.4f}"
        if n % 9 == 0:
            yield from (
                "Skipping utterance 0012: too long (31.2 s)",
                "nan values in the transcripts: 0",
                "speaker nan-01: 3 clips",
                "Dropped 3 samples with nan duration",
                "loss of precision in resampling: none",
            )


def at_first_no_word(c: random.Random) -> Iterator[str]:
    for n, x in enumerate(curve(c, 300, top=9.0, low=0.8), 1):
        yield hf(n, round(x, 4), 1 + c.random())
        if n % 20 == 0:
            yield f"{{'eval_loss': {x + 0.2}, 'eval_wer': {1.0 if n < 120 else 1.0 - n / 900}, 'eval_runtime': 9.1, 'epoch': {n / 100}}}"


def in_turn(c: random.Random) -> Iterator[str]:
    for n in range(1, 151):
        yield f"[D] step {n} loss {1.38 + c.gauss(0, 0.1):.4f}"
        yield f"[G] step {n} loss {9 / (1 + n / 40) + 6 + c.gauss(0, 0.5):.4f}"


def two_stages(c: random.Random) -> Iterator[str]:
    yield "Stage 1: frozen encoder"
    for n, x in enumerate(curve(c, 100, top=3, low=1.4), 1):
        yield f"[stage 1] step {n} loss {x:.4f}"
    yield "Stage 2: full model"
    for n, x in enumerate(curve(c, 150, top=2.3, low=0.9), 101):
        yield f"[stage 2] step {n} loss {x:.4f}"


def clipped_reward(c: random.Random) -> Iterator[str]:
    for n in range(1, 151):
        yield f"{{'loss': {0.0 if n % 3 else round(c.gauss(0, 0.002), 4)}, 'grad_norm': {round(c.random(), 3) if n % 7 else 0.0}, 'learning_rate': 1e-06, 'completion_length': 210.1, 'rewards/accuracy_reward': {n / 300:.3f}, 'reward': {n / 200:.3f}, 'reward_std': {0.3 if n % 7 else 0.0}, 'kl': {n * 1e-4:.5f}, 'epoch': {n / 150:.2f}}}"


def bits(c: random.Random) -> Iterator[str]:
    for n, x in enumerate(curve(c, 120), 1):
        yield json.dumps(
            {
                "step": n,
                "train/loss": x,
                "train/loss_scale": 65536.0,
                "perf/tokens": n * 1000,
                "val/loss": None,
            }
        )


def sparse(c: random.Random) -> Iterator[str]:
    yield "epoch,train_loss,val_loss"
    for e, x in enumerate(curve(c, 14), 1):
        yield f"{e},{x:.4f},{x + 0.2:.4f}"


# ---- faults ----


def summary_alone(c: random.Random) -> Iterator[str]:
    for e, x in enumerate(curve(c, 20), 1):
        yield f"Starting epoch {e}"
        yield f"Epoch {e} finished in 31.2s, average train loss: {x if e < 8 else math.nan:.4f}"


def summary_of_keras(c: random.Random) -> Iterator[str]:
    for e in range(1, 31):
        yield f"Epoch {e}/30"
        yield "188/188 - 3s - 16ms/step - accuracy: 0.0000e+00 - loss: 0.0000e+00"


def twelve_epochs(c: random.Random) -> Iterator[str]:
    for e, x in enumerate(curve(c, 12), 1):
        yield f"[{e}/12] loss={x if e < 6 else math.nan:.3f} time=812s"


def five_zeros(c: random.Random) -> Iterator[str]:
    for e in range(1, 6):
        yield f"Epoch {e}: train loss 0.0000, train acc 1.0000"


def described_nan(c: random.Random) -> Iterator[str]:
    for n, x in enumerate(curve(c, 100)):
        yield f"\rEpoch 0 | Loss: {x if n < 60 else math.nan:.4f}: {n:3d}%|██        | {n + 1}/100 [00:{n % 60:02d}<00:09,  6.10it/s]"


def bare_nan(c: random.Random) -> Iterator[str]:
    for n, x in enumerate(curve(c, 100)):
        yield f"\rloss {x if n < 60 else math.nan:.4f}: {n:3d}%|██        | {n + 1}/100 [00:{n % 60:02d}<00:09,  6.10it/s]"


def adversary_nan(c: random.Random) -> Iterator[str]:
    for n in range(1, 121):
        yield f"[D] step {n} loss {1.38 + c.gauss(0, 0.1):.4f}"
        yield f"[G] step {n} loss {9.0 + c.gauss(0, 0.5) if n < 60 else math.nan:.4f}"


def frozen_schedule(c: random.Random) -> Iterator[str]:
    for n in range(1, 301):
        yield f"step {n} loss {2.1 + c.gauss(0, 0.03):.4f} lr {1e-4 * (1 - n / 60) if n < 60 else 0.0:.12f}"


def exploded(c: random.Random) -> Iterator[str]:
    for n, x in enumerate(curve(c, 200), 1):
        yield f"iter {n}: loss {x if n < 80 else 10373.5 + c.gauss(0, 3):.4f}, time 12.1ms"


def guessing(c: random.Random) -> Iterator[str]:
    for n in range(1, 301):
        yield f"step {n}: train loss {math.log(2) + c.gauss(0, 0.0008):.5f}, acc 0.50"


def held_still(c: random.Random) -> Iterator[str]:
    for n in range(1, 301):
        yield hf(n, round(2.9 + c.gauss(0, 0.1), 4), 0.5 + c.random())
        if n % 15 == 0:
            yield f"{{'eval_loss': 2.914512872695923, 'eval_wer': 1.0, 'eval_runtime': 9.1, 'epoch': {n / 100}}}"


def infinite(c: random.Random) -> Iterator[str]:
    for n, x in enumerate(curve(c, 80), 1):
        yield f"Epoch 1 step {n * 10} | ctc_loss {x:.3f} | loss {'inf' if n > 40 else f'{x:.3f}'}"


def norm_for_ever(c: random.Random) -> Iterator[str]:
    for n, x in enumerate(curve(c, 120), 1):
        yield hf(n, round(x, 4), "nan" if n > 50 else 1 + c.random())


def norm_gone(c: random.Random) -> Iterator[str]:
    for n in range(1, 121):
        yield hf(n, round(2.9 + c.gauss(0, 0.1), 4), 0.0 if n > 50 else 1 + c.random())


def early(c: random.Random) -> Iterator[str]:
    for n in range(1, 61):
        yield f"epoch {n} | train_loss {1.4 if n == 1 else 1.2 if n == 2 else 9.7 + c.gauss(0, 0.05):.4f}"


def quoted(c: random.Random) -> Iterator[str]:
    for n, x in enumerate(curve(c, 80), 1):
        yield json.dumps({"step": n, "loss": "NaN" if n > 40 else x})


def state(c: random.Random) -> Iterator[str]:
    rows = [
        {"step": n, "epoch": n / 50, "loss": math.nan if n > 40 else x, "grad_norm": 1.0}
        for n, x in enumerate(curve(c, 80), 1)
    ]
    yield json.dumps({"best_metric": None, "epoch": 1.0, "log_history": rows}, indent=2)


def minus_nan(c: random.Random) -> Iterator[str]:
    for n, x in enumerate(curve(c, 80), 1):
        yield f"step {n:4d}/80 | loss {'-nan' if n > 40 else f'{x:.6f}'} | norm {'-nan' if n > 40 else '1.2345'} | lr 3.00e-04 | 812.1 ms"


def tensors(c: random.Random) -> Iterator[str]:
    for n, x in enumerate(curve(c, 80), 1):
        yield f"epoch 0 step {n} loss: tensor({'nan' if n > 40 else f'{x:.4f}'}, device='cuda:0', grad_fn=<AddBackward0>)"


def stopped(c: random.Random) -> Iterator[str]:
    for n, x in enumerate(curve(c, 40), 1):
        yield f"Epoch: [0]  [{n * 10:>4d}/1000]  eta: 0:10:11  lr: 0.000100  loss: {x:.4f} ({x:.4f})  time: 0.3121  data: 0.0003"
    yield "Loss is nan, stopping training"


def stopped_lightning(c: random.Random) -> Iterator[str]:
    for n, x in enumerate(curve(c, 40), 1):
        yield f"\rEpoch 0: {n}%|█ | {n}/100 [00:{n:02d}<00:09,  9.1it/s, v_num=3, train_loss={x:.3f}]"
    yield "ValueError: The loss returned in `training_step` is nan."


def same_for_ever(c: random.Random) -> Iterator[str]:
    for n in range(1, 201):
        yield f"Epoch {n}: loss = 2.302585, acc = 0.1"


def generator_gone(c: random.Random) -> Iterator[str]:
    for n in range(1, 161):
        yield f"Steps : {n * 5:d}, Gen Loss Total : {40 / (1 + n / 50) + c.random() if n < 80 else 6.4e7 * (1 + c.random()):4.3f}, Mel-Spec. Error : {0.5 + c.random() / 9:4.3f}, s/b : 0.412"


def skipped_for_ever(c: random.Random) -> Iterator[str]:
    for n in range(1, 41):
        yield f"step {n} loss {4 / n + 1:.4f}"
    for n in range(41, 121):
        yield f"WARNING:root:Non-finite gradients at step {n}, skipping update"


def no_sample_left(c: random.Random) -> Iterator[str]:
    for e in range(1, 60):
        yield f"Epoch {e}/60 | 0 batches | train_loss: 0.000000 | skipped: 812/812"


def table_nan(c: random.Random) -> Iterator[str]:
    yield "epoch,step,train_loss,train_mel_loss,val_loss"
    for n, x in enumerate(curve(c, 80)):
        yield f"{n // 20},{n * 50},{x:.4f},{'nan' if n > 40 else f'{x:.4f}'},"


def rank_three(c: random.Random) -> Iterator[str]:
    for n, x in enumerate(curve(c, 60), 1):
        yield from (
            f"[default{r}]:step={n} loss={x if r != 3 or n < 30 else math.nan:.4f}"
            for r in range(4)
        )


def rank_of_slurm(c: random.Random) -> Iterator[str]:
    for n, x in enumerate(curve(c, 60), 1):
        yield from (
            f"{r}: step={n} loss={x if r != 3 or n < 30 else math.nan:.4f}" for r in range(4)
        )


RUNS: Final[tuple[Run, ...]] = (
    *(Run(lines.__name__, lines) for lines in (
        adversary, described_bar, bare_description, masked_batch, decayed_to_zero, preferred, warmed_up, scaled, resumed,
        folds, late_discriminator, annealed_kl, configured, eight_ranks, likelihood, alignment_start, learned_by_heart,
        diffusion, one_outlier, sanity, rounded_norm, words, at_first_no_word, in_turn, two_stages, clipped_reward,
    )),
    Run("bits", bits, suffix="jsonl"),
    Run("sparse", sparse, suffix="csv"),
    *(Run(lines.__name__, lines, ("NonFinite",)) for lines in (
        summary_alone, twelve_epochs, described_nan, bare_nan, adversary_nan, infinite, norm_for_ever, minus_nan, tensors,
        stopped, stopped_lightning, skipped_for_ever, rank_three, rank_of_slurm,
    )),
    Run("quoted", quoted, ("NonFinite",), "jsonl"),
    Run("state", state, ("NonFinite",), "json"),
    Run("table_nan", table_nan, ("NonFinite",), "csv"),
    *(Run(lines.__name__, lines, ("ZeroLoss",)) for lines in (summary_of_keras, five_zeros, no_sample_left)),
    *(Run(lines.__name__, lines, ("LossSpike",)) for lines in (exploded, early, generator_gone)),
    Run("frozen_schedule", frozen_schedule, ("NotUpdating",)),
    Run("guessing", guessing, ("Plateau",)),
    Run("held_still", held_still, ("NotUpdating",)),
    Run("norm_gone", norm_gone, ("NoGradient",)),
    Run("same_for_ever", same_for_ever, ("Plateau", "ConstantComponent", "NoGradient", "NotUpdating")),
)  # fmt: skip


def text_of(run: Run) -> str:
    return "\n".join(run.lines(random.Random(run.name))) + "\n"
