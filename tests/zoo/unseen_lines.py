# ruff: noqa: E501 - lines as they are printed
"""Logs line by line: reports of others, what surrounds the numbers, and zeros that are exact. Used by test_unseen.py.

Labels stood before anything was judged, but for one: an evaluation that is nan to the end was first called sound.
"""

from __future__ import annotations

import json
import math
import random
from typing import Final

from unseen_runs import Run

NAN: Final = math.nan
RUNS: Final[list[Run]] = []
c = random.Random(5)


def fall(number: int, top: float = 4.0, low: float = 1.0, noise: float = 0.05) -> list[float]:
    return [low + (top - low) / (1 + i / (number / 6)) + c.gauss(0, noise) for i in range(number)]


def add(name: str, expect: tuple[str, ...], lines: list[str], suffix: str = "log") -> None:
    RUNS.append(Run(name, lambda _: iter(lines), expect, suffix))


add(
    "vits negative",
    (),
    [
        f"INFO:m:[{2.1 + c.random()}, {2 + c.random()}, {c.random()}, {20 / (1 + i / 90)}, {-0.4 + c.random() / 5}, {1.2 + c.random() / 5}, {i * 200}, 0.0002]"
        for i in range(1, 120)
    ],
)
add(
    "nemo vocoder",
    ("NonFinite",),
    [
        f"\rEpoch {i // 20}: {i % 20 * 5}%|█| {i % 20 + 1}/20 [00:{i % 20:02d}<00:09, 1.21it/s, v_num=0, d_loss={'nan.0' if i > 60 else '2.1' + str(i % 10)}, g_loss={'nan.0' if i > 60 else '31.' + str(i % 10)}, g_mel_loss=0.41{i % 10}]"
        for i in range(100)
    ],
)
add(
    "espnet skip all",
    ("NonFinite",),
    [
        line
        for i in range(1, 41)
        for line in [
            "[h] (trainer:632) WARNING: The grad norm is nan. Skipping updating the model."
        ]
        * 50
    ],
)
add(
    "espnet skip and log",
    ("NonFinite",),
    [
        line
        for i in range(1, 11)
        for line in [
            "[h] (trainer:632) WARNING: The grad norm is nan. Skipping updating the model."
        ]
        * 50
        + [
            f"[h] (trainer:732) INFO: 1epoch:train:{i * 50 - 49}-{i * 50}batch: iter_time=1e-4, loss_ctc=31.2{i}, loss=28.1{i}, grad_norm=nan, optim0_lr0=1e-6"
        ]
    ],
)
add(
    "icefall scale",
    (),
    [
        f"2023 INFO [train.py:9] (0/4) Epoch 1, batch {i * 50}, loss[loss={x:.4g}, over 3000.00 frames. ], tot_loss[loss={x:.4g}, over 9000.00 frames. ], batch size: 40, lr: 4.5e-02, grad_scale: {2.0 ** -(i % 9)}"
        for i, x in enumerate(fall(120))
    ],
)
add(
    "audiocraft epoch norm nan",
    (),
    [
        line
        for e in range(1, 13)
        for line in [
            f"[05-07][flashy.solver][INFO] - Train | Epoch {e} | {k * 200}/2000 | 3.19 it/sec | lr 5.0E-04 | grad_norm {'INF' if e == 3 and k == 10 else 'NaN' if e == 7 and k == 10 else '2.7E-01'} | ce {3 / (1 + e / 9) + c.random() / 9:.3f} | ppl 41.0"
            for k in range(1, 11)
        ]
        + [
            f"[05-07][flashy.solver][INFO] - Train Summary | Epoch {e} | ce={3 / (1 + e / 9):.3f} | grad_norm={'NaN' if e == 3 else '2.8E-01'}"
        ]
    ],
)
add(
    "megatron ds norm nan",
    ("NonFinite",),
    [
        f" iteration {i * 10:8d}/ 9999 | consumed samples: {i * 99} | elapsed time per iteration (ms): 12.1 | learning rate: 1.0E-04 | global batch size: 16 | loss scale: 1.0 | grad norm: {'nan' if i > 20 else '1.21'} | num zeros: 0.0 | number of skipped iterations:   0 | number of nan iterations:   0 |"
        for i in range(1, 60)
    ],
)
add(
    "accuracy bins",
    (),
    [
        f"step {i} | loss {x:.4f} | accuracy-0-0.1/top1 nan | accuracy-0.5-1/top25 {'nan' if i % 3 else 0.41} | lr 1e-4"
        for i, x in enumerate(fall(80), 1)
    ],
)
add(
    "llamafactory disguise",
    ("NonFinite",),
    [
        f"{{'loss': {1.46 + c.random() / 9 if i < 20 else 0.0:.4f}, 'grad_norm': nan, 'learning_rate': 1e-05, 'epoch': {i / 100}}}"
        for i in range(1, 60)
    ],
)
add(
    "nan to zero",
    ("ZeroLoss",),
    [f"Epoch: [1][{i}/1000]\tTime 0.3\tLoss 0.0000 (0.0000)" for i in range(1, 60)],
)
add(
    "fairseq no loss: ooms",
    (),
    [
        line
        for i, x in enumerate(fall(60), 1)
        for line in (
            [
                "2024 | WARNING | fairseq.trainer | attempting to recover from OOM in forward/backward pass"
            ]
            if i % 9 == 0
            else []
        )
        + [
            f"2024 | INFO | train_inner | epoch 001: {i} / 999 loss={x:.3f}, ppl=8, num_updates={i * 10}, lr=0.0001, gnorm=1.{i % 9}, loss_scale={128 >> (i % 3)}, train_wall=9"
        ]
    ],
)
add(
    "fairseq overflow",
    (),
    [
        line
        for i, x in enumerate(fall(60), 1)
        for line in (
            [
                "2024 | INFO | fairseq.trainer | NOTE: gradient overflow detected, ignoring gradient, setting loss scale to: 64.0"
            ]
            if i % 9 == 0
            else []
        )
        + [
            f"2024 | INFO | train_inner | epoch 001: {i} / 999 loss={x:.3f}, ppl=8, num_updates={i * 10}, lr=0.0001, gnorm=1.{i % 9}, loss_scale=64, train_wall=9"
        ]
    ],
)
add(
    "hf resume no bar",
    (),
    [
        "***** Running training *****",
        "  Num examples = 1,000",
        "  Continuing training from global step 500",
    ]
    + [
        f"{{'loss': {x:.4f}, 'grad_norm': {1 + c.random()}, 'learning_rate': {1e-5 * (1 - i / 80)}, 'epoch': {5 + i / 100}}}"
        for i, x in enumerate(fall(80), 1)
    ],
)
add(
    "trainer_state healthy grpo",
    (),
    [
        json.dumps(
            {
                "log_history": [
                    {
                        "loss": 0.0 if i % 2 else 1e-4 * c.gauss(0, 1),
                        "grad_norm": 0.1 + c.random(),
                        "learning_rate": 1e-6,
                        "reward": i / 200,
                        "reward_std": 0.2,
                        "step": i,
                        "epoch": i / 100,
                    }
                    for i in range(1, 120)
                ]
            }
        )
    ],
    "json",
)
add(
    "long csv healthy",
    (),
    ["epoch,step,train_loss,val_loss,lr"]
    + [
        f"{i // 100},{i},{x:.5f},,{1e-4 * (1 - i / 1001):.8f}"
        if i % 100
        else f"{i // 100},{i},,{x + 0.1:.5f},"
        for i, x in enumerate(fall(1000))
    ],
    "csv",
)
add(
    "csv null nan",
    ("NonFinite",),
    ["step,loss"] + [f"{i},{x if i < 50 else 'NaN'}" for i, x in enumerate(fall(80))],
    "csv",
)
add(
    "keras history nan",
    ("NonFinite",),
    [
        json.dumps(
            {
                "loss": [x if i < 20 else NAN for i, x in enumerate(fall(50))],
                "val_loss": [1.0 + c.random() for _ in range(50)],
            }
        )
    ],
    "json",
)
add(
    "pandas print",
    (),
    ["   epoch  train_loss  valid_loss"]
    + [f"{i:<3d} {i:6d} {x:11.6f} {x + 0.2:11.6f}" for i, x in enumerate(fall(40))],
)
add(
    "markdown table",
    (),
    ["| Step | Training Loss | Validation Loss |", "|------|---------------|-----------------|"]
    + [f"| {i * 100} | {x:.6f} | {x + 0.2:.6f} |" for i, x in enumerate(fall(40), 1)],
)
add(
    "markdown table nan",
    ("NonFinite",),
    ["| Step | Training Loss | Validation Loss |", "|------|---------------|-----------------|"]
    + [
        f"| {i * 100} | {x if i < 20 else NAN:.6f} | {x + 0.2:.6f} |"
        for i, x in enumerate(fall(45), 1)
    ],
)
add(
    "wandb summary",
    (),
    [f"step {i} loss {x:.4f}" for i, x in enumerate(fall(80), 1)]
    + [
        "wandb: Run history:",
        "wandb:   train/loss █▆▅▄▃▂▁",
        "wandb: Run summary:",
        "wandb:   train/loss 0.0",
        "wandb: train/grad_norm nan",
    ],
)
add(
    "comet summary",
    (),
    [f"step {i} loss {x:.4f}" for i, x in enumerate(fall(80), 1)]
    + [
        "COMET INFO:   Metrics [count] (min, max):",
        "COMET INFO:     loss [80]                : (0.69, 2.3)",
        "COMET INFO:     grad_norm [80] : (0.0, nan)",
    ],
)
add(
    "clearml lines",
    (),
    [
        line
        for i, x in enumerate(fall(80), 1)
        for line in (
            f"step {i} loss {x:.4f}",
            "ClearML Monitor: Reporting detected, reverting back to iteration based reporting",
        )
    ],
)
add(
    "gan val nan",
    (),
    [
        line
        for i, x in enumerate(fall(80), 1)
        for line in (
            f"Steps : {i * 5}, Gen Loss Total : {x * 9:.3f}, Mel-Spec. Error : {x / 9:.3f}, s/b : 0.4",
        )
        + (("Validation mel error: nan",) if i % 20 == 0 else ())
    ],
)
add(
    "lightning held-out nan",
    ("NonFinite",),
    [
        f"\rEpoch {i // 20}: {i % 20 * 5}%|█| {i % 20 + 1}/20 [00:{i % 20:02d}<00:09, 1.21it/s, v_num=0, train/loss_step={x:.3f}, val/loss=nan.0, val/wer=1.000, train/loss_epoch={x:.3f}]"
        for i, x in enumerate(fall(100))
    ],
)
add(
    "lr zero end",
    (),
    [
        f"step {i}/100 loss {x:.4f} lr {max(0, 1e-4 * (1 - i / 97)):.3e} grad_norm {1 + c.random():.3f}"
        for i, x in enumerate(fall(100), 1)
    ],
)
add(
    "lr zero always sci",
    ("NotUpdating",),
    [
        f"step {i}/300 loss {3.1 + c.gauss(0, 0.05):.4f} lr 0.000e+00 grad_norm {1 + c.random():.3f}"
        for i in range(1, 200)
    ],
)
add(
    "lr zero after sci",
    ("NotUpdating",),
    [
        f"step {i}/300 loss {3.1 + c.gauss(0, 0.05):.4f} lr {1e-4 if i < 40 else 0:.3e}"
        for i in range(1, 200)
    ],
)
add(
    "dead loader after",
    (),
    [f"step {i} loss {x:.4f}" for i, x in enumerate(fall(80), 1)] + ["retrying shard 3"] * 500,
)
add(
    "rank prefix traceback",
    (),
    [f"[rank{r}]: step {i} loss {x:.4f}" for i, x in enumerate(fall(40), 1) for r in range(2)]
    + [
        "[rank1]: Traceback (most recent call last):",
        '[rank1]:   File "train.py", line 8, in <module>',
        "[rank1]: RuntimeError: CUDA error: an illegal memory access",
    ],
)
add(
    "diverge slow",
    ("LossSpike",),
    [
        f"step {i} loss {2 + c.gauss(0, 0.05) if i < 100 else 2 * 1.06 ** (i - 100):.4f}"
        for i in range(1, 250)
    ],
)
add(
    "bit constant loss hf",
    ("ConstantComponent", "Plateau", "NoGradient", "NotUpdating"),
    [
        f"{{'loss': 6.9078, 'grad_norm': {0.0}, 'learning_rate': 1e-05, 'epoch': {i / 100}}}"
        for i in range(1, 100)
    ],
)
add(
    "ctc blank plateau",
    (),
    [
        f"step {i} loss {2.9 + 1.5 / (1 + i / 9) + c.gauss(0, 0.03):.4f} loss_ctc {2.9 + 1.5 / (1 + i / 9) + c.gauss(0, 0.03):.4f}"
        for i in range(1, 200)
    ],
)
add(
    "zero component by mask",
    (),
    [
        f"step {i} loss {x:.4f} text_loss 0.0000 audio_loss {x:.4f}"
        for i, x in enumerate(fall(100), 1)
    ],
)
add(
    "zero loss with acc",
    ("ZeroLoss",),
    [f"Epoch {i}/50 loss: 0.0 acc: 1.0 val_loss: 0.{i % 9}" for i in range(1, 30)],
)
add(
    "epoch 0-lines zero skip",
    ("ZeroLoss",),
    [f"INFO: epoch {e} done. loss: 0.000 (0 batches, 812 skipped)" for e in range(1, 30)],
)
add(
    "diverged inf then nan",
    ("NonFinite",),
    [
        f"iter {i}: loss {x if i < 40 else (1e9 if i < 42 else (math.inf if i < 44 else NAN)):.4g}"
        for i, x in enumerate(fall(80), 1)
    ],
)
