"""The table of line formats, each with its name and the mark by which it is known. Read by `grammar` and `reader`.

It holds what a format says in a way of its own: where its step stands, and what opens and closes its sections.
Everything else is read alike: numbers, and the words before each.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Final

from speech_telemetry.printed.numbers import NUMBER


@dataclasses.dataclass(frozen=True, eq=False)
class Format:
    """A way to print, told apart by identity.

    `mark` is in every line of it, `step` finds the counter where no word names it.
    """

    name: str
    mark: str
    step: re.Pattern[str] | None = None  # groups step, and perhaps total, epoch, rank, held
    bar: bool = False  # the line is drawn over until its counter is at its end
    loss: str = ""  # what stands before the loss, where it is not called so


def _p(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


PLAIN: Final = Format("lines of name and number", "")
BAR: Final = Format("progress bar", "", bar=True)
VITS: Final = Format("VITS list of losses", "[")
BLOCK: Final = Format("Coqui trainer", "| >")
TABLE: Final = Format("table", "|")
COLUMNS: Final = Format("table of columns", "")
FASTAI: Final = Format("fastai", "")
WESEP: Final = Format("WeSep", "TRAIN|")
ENDED: Final = Format("sentence of a stop", "")
SENTENCE: Final = Format("sentence of a skipped update", "")
JSON: Final = Format("JSON lines", "")
# Megatron-LM megatron/training/training.py: ` iteration      10/     100 | … | lm loss: 6.5E+00 | … | number of nan
# iterations:   0 |`; where every iteration since its last line was skipped no loss is printed
MEGATRON: Final = Format("Megatron", " nan iterations: ")

# Facts of the formats; where they can be looked up.
FORMATS: Final = (
    # transformers/trainer_callback.py, ProgressCallback.on_log: print(dict)
    Format("Hugging Face Trainer", "'loss':"),
    Format("Hugging Face Trainer", "'learning_rate':"),
    # lightning/pytorch/callbacks/progress/tqdm_progress.py; NeMo logs reduced_train_loss into the same bar
    Format("NeMo", "reduced_train_loss", bar=True),
    Format("Lightning", "v_num=", bar=True),
    # fairseq/logging/progress_bar.py, SimpleProgressBar and the end of an epoch: `| name value |`
    Format("fairseq", "num_updates", _p(r"num_updates['\"]?[ =:]+['\"]?(?P<step>\d[\d,]*)")),
    # espnet2/train/reporter.py: `3epoch:train:1-50batch: iter_time=…, loss_ctc=…`
    Format("ESPnet", "batch: ", _p(r"(?P<epoch>\d+)epoch:(?:train|(?P<held>valid)):\d+-(?P<step>\d+)batch:")),
    # icefall egs/*/train.py: `(0/4) Epoch 1, batch 50, loss[loss=…, over 3000.00 frames.], tot_loss[…`
    Format("icefall", "tot_loss[", _p(r"(?:\((?P<rank>\d+)/\d+\) )?Epoch (?P<epoch>\d+), batch (?P<step>\d+),")),
    # wenet/utils/executor.py: `TRAIN Batch 0/100 loss …`: epoch, then batch
    Format("wenet", " Batch ", _p(r"(?:TRAIN|(?P<held>CV))\b.*?\bBatch (?P<epoch>\d+)/(?P<step>\d+)\b")),
    # flashy/logging.py: `Train | Epoch 10 | 1800/2000 | 3.19 it/sec | …`
    Format("flashy", " | Epoch ", _p(
        r"(?:(?P<held>Valid|Evaluate|Test)|\w+) \| Epoch (?P<epoch>\d+) \| (?P<step>\d+)/(?P<total>\d+) \|"
    )),
    # keras/src/utils/progbar.py: `12/100 [===>…] - ETA: 3s - loss: 0.5`, Keras 3 with a heavy line for the bar
    Format("Keras", " - loss: ", _p(r"^\s*(?P<step>\d+)/(?P<total>\d+)\b"), bar=True),
    Format("Keras", "/step - ", _p(r"^\s*(?P<step>\d+)/(?P<total>\d+)\b"), bar=True),
    # ignite/handlers/tqdm_logger.py: `Epoch [1/2]: [12/40]  30%|███, loss=0.7 [00:00<00:00]`
    Format("PyTorch-Ignite", "]: [", _p(r"\[(?P<epoch>\d+)/\d+\]: \[(?P<step>\d+)/(?P<total>\d+)\](?=.*\|)"), bar=True),
    # mmengine/runner/log_processor.py: `Epoch(train) [2][38/40]  lr: …  loss: 0.1`, `Iter(train) [ 38/400]  …`
    Format("MMEngine", "(train)", _p(
        r"(?:Epoch|Iter)\(train\)\s*(?:\[(?P<epoch>\d+)\])?\[\s*(?P<step>\d+)/\s*(?P<total>\d+)\]"
    )),
    # flair/trainers/plugins/loggers/log_file.py and trainer.py: `epoch 1 - iter 4/48 - loss 0.3 - time (sec): …`
    Format("Flair", " - iter ", _p(r"epoch (?P<epoch>\d+) - iter (?P<step>\d+)/(?P<total>\d+)")),
    # composer/loggers/console_logger.py: a value a line below `[epoch=1][batch=2/24]:`
    Format("Composer", "Train loss/train/total: "),
    # poutyne/framework/callbacks/color_formatting.py: `Epoch: 1/30 Step: 1/2  50.00% |███|ETA: 0.04s loss: 0.5`
    Format("Poutyne", "|ETA: "),
    # NVIDIA/tacotron2 train.py: `Train loss 10 0.532 Grad Norm 1.2 2.1s/it`
    Format("Tacotron 2", "Train loss ", _p(r"(?<=Train loss )(?P<step>\d+) (?=\S+ Grad Norm)")),
    # speechbrain/utils/train_logger.py, FileTrainLogger: `epoch: 1, lr: 1e-3 - train loss: 2.9 - valid loss: …`
    Format("SpeechBrain", " - train loss: "),
    MEGATRON,
    # jik876/hifi-gan train.py: `Steps : 40, Gen Loss Total : 3.1, Mel-Spec. Error : 0.3, s/b : 0.4`
    Format("HiFi-GAN", "Gen Loss Total"),
    # RVC-Project train.py: `loss_disc=3.9, loss_gen=3.1, loss_fm=9.5,loss_mel=20.1, loss_kl=1.1`
    Format("RVC", "loss_disc="),
    # accelerate's examples in diffusers: a bar with `step_loss=0.1, lr=1e-5`
    Format("accelerate script", "step_loss=", bar=True),
    Format("TRL", "'reward':"),
    # karpathy/llm.c train_gpt2.cu, main.log: `s:58 trl:8.3003 lr:0.000051 norm:1.51`; `tel:` is held-out
    Format("llm.c", " trl:", _p(r"^s:(?P<step>\d+)(?= trl:)"), loss=" trl:"),
    # karpathy/build-nanogpt train_gpt2.py, log.txt: `58 train 8.210570`; also `0 val …`, `0 hella …`
    Format("build-nanogpt", " train ", _p(r"^(?P<step>\d+)(?= train [\w.]+$)"), loss=" train "),
    # facebookresearch/demucs, before flashy: `Epoch 000: train=0.17936380 valid=0.23429446 best=0.2343 ms=0.00MB …`
    Format("Demucs", " valid=", _p(r"Epoch (?P<step>\d+): (?=train=)"), loss="train="),
    # NVIDIA/waveglow train.py: `7:<tab>-5.991234567`, nine decimals: a log-likelihood, so below 0 for good reason
    Format("WaveGlow", ":\t", _p(r"^(?P<step>\d+)(?=:\t(?:-?\d+\.\d{9}|-?inf|nan)$)"), loss=":\t"),
    # The same where a tab was pasted as a space; a step of three digits at least, since lists of classes look so too.
    Format("WaveGlow", ": ", _p(r"^(?P<step>\d{3,})(?=: (?:-?\d+\.\d{9}|-?inf|nan)$)"), loss=": "),
)  # fmt: skip

# coqui-tts-trainer trainer/logging/console_logger.py
BLOCK_HEAD: Final = re.compile(
    r"--> .*?\bSTEP: (?P<step>\d+)(?:/(?P<total>\d+))?(?P<global>.*GLOBAL_STEP: \d+)?"
)
BLOCK_ROW: Final = re.compile(
    rf"^\s*\|\s*>\s*(?P<name>[\w./-]+):\s*(?P<value>[-+]?{NUMBER})", re.IGNORECASE
)
BLOCK_END: Final = ("step_time", "loader_time")
# rich and box drawing: `│ adv/disc_loss │ 2.3 │`, `| train/loss | 0.5 |`
TABLE_ROW: Final = re.compile(
    rf"^\s*[|│┃║]\s*(?P<name>[A-Za-z][\w ./-]*?)\s*[|│┃║]\s*(?P<value>[-+]?{NUMBER})\s*(?:[|│┃║].*)?$",
    re.IGNORECASE,
)
# audiotools/ml/decorators.py draws no frame: `loss │ 2.3 │ 2.4`
FRAMELESS_ROW: Final = re.compile(
    rf"^\s*(?P<name>[A-Za-z][\w ./-]*?)\s*│\s*(?P<value>[-+]?{NUMBER})\s*(?:│.*)?$", re.IGNORECASE
)
# fastai writes the row of its table as a list where it finds no terminal, and no heading with it:
# `[epoch, train_loss, valid_loss, …, '00:01']`.
FASTAI_ROW: Final = re.compile(
    rf"\[(?P<epoch>\d+), (?P<loss>[-+]?{NUMBER})(?:, (?:[-+]?{NUMBER}|None))*, '\d+:\d\d(?::\d\d)?'\]",
    re.IGNORECASE,
)
# wenet-e2e/wesep wesep/utils/executor.py: a row without a heading, `|  TRAIN|  14|  100|  -6.3|  7.2e-4|`:
# epoch, batch, the loss averaged over the epoch so far, the rate; the rows of VAL are averages over batches so far.
WESEP_ROW: Final = re.compile(
    rf".*\|\s*(?:TRAIN|(?P<held>VAL))\|\s*(?P<epoch>\d+)\|\s*(?P<step>\d+)\|\s*(?P<loss>[-+]?{NUMBER})\|"
    rf"\s*(?P<rate>{NUMBER}|-)\|",
    re.IGNORECASE,
)
# A heading that opens or closes a section, alone on its line.
OPENS: Final = re.compile(
    r"^\W*(?:running |computing |starting |start )?"
    r"(?:evaluation|validation|evaluating|validating|testing)(?: loss)?\W*$",
    re.IGNORECASE,
)
CLOSES: Final = re.compile(
    r"^\W*(?:(?:running |starting |start )?training\b|epoch\b)", re.IGNORECASE
)
EVALUATION: Final = "> EVALUATION"  # Coqui's heading: until its next `> TRAINING`
# What stands before the line itself: torchrun and torch, Ray's workers, the stamps of `kubectl logs --timestamps`.
PREFIX: Final = re.compile(
    r"(?:\[(?:rank|default)(?P<rank>\d+)\]:?\s?|\(\w+ pid=\d+(?:, ip=[\d.]+)?\) "
    r"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d) (?:std(?:out|err) [FP] )?)+"
)
# VITS logs under the run's name, which may be "test".
LOGGER: Final = re.compile(r"^[A-Z]+:[\w.-]+:")


_MARKED: Final = tuple((row.mark, row) for row in FORMATS)


def is_summary(line: str) -> bool:
    """A closing line of a run repeats an average, not a step."""
    return (
        "train_runtime" in line
        or "train_samples_per_second" in line
        or "best_loss" in line
        or "final_loss" in line
    )


def format_of(line: str, text: str) -> tuple[Format, re.Match[str] | None] | None:
    """The first row of the table whose mark the line bears, and its counter in `text`, the line without its bar.

    A common word alone is no mark: where a format has a counter of its own, the line must have that too.
    """
    for mark, row in _MARKED:
        if mark in line:
            found = None if row.step is None else row.step.search(text)
            if found is not None or row.step is None:
                return row, found
    return None
