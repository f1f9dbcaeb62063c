"""Formats of lines, each with its name, and what a line says in them. Called by `reader`. Pure.

The table holds what a format says in a way of its own: where its step stands, and the mark by which it is known.
Everything else is read alike: numbers, and the words before each.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator
from typing import Final

from speech_telemetry.printed.names import HELD_OUT, Meaning, Role, meaning
from speech_telemetry.printed.numbers import NUMBER, TOKEN, count_of, is_word, signed, value_of

MOST_PARTS: Final = 24  # components of a line; more are no loss's components


@dataclasses.dataclass(frozen=True)
class Format:
    """A way to print. `mark` is in every line of it, `step` finds the counter where no word names it."""

    name: str
    mark: str
    step: re.Pattern[str] | None = None  # groups step, and perhaps total, epoch, rank, held
    bar: bool = False  # the line is drawn over until its counter is at its end


def _p(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


PLAIN: Final = Format("lines of name and number", "")
BAR: Final = Format("progress bar", "", bar=True)
VITS: Final = Format("VITS list of losses", "[")
BLOCK: Final = Format("Coqui trainer", "| >")
TABLE: Final = Format("table", "|")
SENTENCE: Final = Format("sentence of a skipped update", "")
JSON: Final = Format("JSON lines", "")

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
    Format("flashy", " | Epoch ", _p(r"(?:(?P<held>Valid|Evaluate|Test)|\w+) \| Epoch (?P<epoch>\d+) \| (?P<step>\d+)/(?P<total>\d+) \|")),
    # keras/src/utils/progbar.py: `12/100 [===>…] - ETA: 3s - loss: 0.5`, Keras 3 with a heavy line for the bar
    Format("Keras", " - loss: ", _p(r"^\s*(?P<step>\d+)/(?P<total>\d+)\b"), bar=True),
    Format("Keras", "/step - ", _p(r"^\s*(?P<step>\d+)/(?P<total>\d+)\b"), bar=True),
    # NVIDIA/tacotron2 train.py: `Train loss 10 0.532 Grad Norm 1.2 2.1s/it`
    Format("Tacotron 2", "Train loss ", _p(r"(?<=Train loss )(?P<step>\d+) (?=\S+ Grad Norm)")),
    # speechbrain/utils/train_logger.py, FileTrainLogger: `epoch: 1, lr: 1e-3 - train loss: 2.9 - valid loss: …`
    Format("SpeechBrain", " - train loss: "),
    # Megatron-LM megatron/training/training.py: ` iteration      10/     100 | … | lm loss: 6.5E+00 |`
    Format("Megatron", "lm loss: "),
    # jik876/hifi-gan train.py: `Steps : 40, Gen Loss Total : 3.1, Mel-Spec. Error : 0.3, s/b : 0.4`
    Format("HiFi-GAN", "Gen Loss Total"),
    # RVC-Project train.py: `loss_disc=3.9, loss_gen=3.1, loss_fm=9.5,loss_mel=20.1, loss_kl=1.1`
    Format("RVC", "loss_disc="),
    # accelerate's examples in diffusers: a bar with `step_loss=0.1, lr=1e-5`
    Format("accelerate script", "step_loss=", bar=True),
    Format("TRL", "'reward':"),
)  # fmt: skip

BAR_SHAPE: Final = re.compile(
    r"(?P<step>\d{1,12})(?:/(?P<total>\d{1,12})|it) \[(?P<elapsed>\d+(?::\d\d)+)[^,\]]*,?(?P<rate>[^,\]]*)(?P<postfix>.*)"
)
_OF_EPOCHS: Final = re.compile(
    r"^\W*epochs?\W*\d*\s*%?$", re.IGNORECASE
)  # a bar around the bars of steps
# Words that a training bar may wear; any other (Map, Loading, Downloading) is somebody else's bar.
_TRAINING_BAR: Final = re.compile(r"^\W*\d*\W*$|train|epoch|step|iter|batch", re.IGNORECASE)
_SOMEBODY_ELSES: Final = re.compile(
    r"tokeniz|adding|packing|truncat|dataset|download|loading|map\b|filter|extract|prepar|generat|saving|writing|"
    r"fetch|cach|convert|sanity|reading|scor|decod|sampling|inference|predict",
    re.IGNORECASE,
)
_FOREIGN_RATE: Final = re.compile(
    r"(?:examples|files|tokens|shards|[kMG]?i?B|[MG]it|\d{7,}(?:\.\d+)?it)/s"
)
_EPOCH_OF_TITLE: Final = re.compile(r"epochs?\W{0,3}(\d{1,9})", re.IGNORECASE)

# jaywalnut310/vits train.py logs `[*losses, global_step, lr]`; so-vits-svc `Losses: [...], step: 200, lr: …`
_LIST: Final = re.compile(
    rf"(?P<word>[Ll]oss(?:es)?\s*[:=]\s*)?\[(?P<items>[-+]?{NUMBER}(?:, *[-+]?{NUMBER})+)\](?P<rest>.*)$",
    re.IGNORECASE,
)
_VITS_NAMES: Final = ("disc", "gen", "fm", "mel", "dur", "kl")

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
# ESPnet: "The grad norm is nan. Skipping updating the model."
_SKIPPED: Final = re.compile(
    r"(?:nan|inf|non-?finite|not finite)\b.*\b(?:skip|ignor|discard|drop)|\b(?:skip|ignor|discard|drop).*\b(?:nan|inf|non-?finite|not finite)\b",
    re.IGNORECASE,
)
_OF_TRAINING: Final = re.compile(r"loss|grad|norm|update|batch", re.IGNORECASE)
_PROSE: Final = re.compile(r"[A-Za-z]{2,}['\",]* [A-Za-z'\"]*[a-z]{2,}")
# A heading that opens or closes a section, alone on its line.
OPENS: Final = re.compile(
    r"^\W*(?:running |computing |starting |start )?(?:evaluation|validation|evaluating|validating|testing)(?: loss)?\W*$",
    re.IGNORECASE,
)
CLOSES: Final = re.compile(
    r"^\W*(?:(?:running |starting |start )?training\b|epoch\b)", re.IGNORECASE
)
EVALUATION: Final = "> EVALUATION"  # Coqui's heading: until its next `> TRAINING`
LOGGER: Final = re.compile(
    r"^[A-Z]+:[\w.-]+:"
)  # VITS logs under the run's name, which may be "test"
_RANK_PREFIX: Final = re.compile(r"^\[(?:rank|default)(\d+)\]:?|\] \((\d+)/\d+\) ")


@dataclasses.dataclass
class Said:
    """What a line says. Losses are as printed: the zero `0.0000` may be 0.00004."""

    format: Format = PLAIN
    loss: str | None = None  # the whole
    average: bool = False  # `loss` is an epoch's
    stepwise: bool = False  # `loss` says that it is a step's: set anew at each
    parts: dict[str, float] = dataclasses.field(default_factory=dict)
    bad: dict[str, float] = dataclasses.field(default_factory=dict)  # terms that are not finite
    norm: float | None = None
    rate: float | None = None
    reward: float | None = None
    spread: float | None = None
    step: int | None = None
    total: int | None = None  # where the counter ends
    epoch: float | None = None
    rank: int | None = None
    elapsed: str = ""  # of a bar
    bar: str | None = None  # its own words and values, without counters and times; None: no bar
    foreign: bool = False  # a bar that is not the training loop's
    held_out: bool = False  # says that (some of) it was measured on held-out data
    keys: tuple[str, ...] = ()  # names of what was read
    prose: bool = False  # a number between words

    @property
    def values(self) -> bool:
        """Says more than where the run is."""
        return self.loss is not None or bool(self.parts or self.bad) or self.norm is not None


def is_summary(line: str) -> bool:
    """A closing line of a run repeats an average, not a step."""
    return (
        "train_runtime" in line
        or "train_samples_per_second" in line
        or "best_loss" in line
        or "final_loss" in line
    )


def format_of(line: str) -> Format | None:
    """The first row of the table whose mark the line bears."""
    for row in FORMATS:
        if row.mark in line:
            return row
    return None


def read(line: str, folded: str) -> Said:
    """What the line says; `folded` is the same in lower case."""
    said = Said()
    if line[-1:] == "]" or "osses" in line:
        listed = _list(line)
        if listed is not None:
            return listed
    if "skip" in folded and "|" not in line and _SKIPPED.search(line) and _OF_TRAINING.search(line):
        if "loss scale" in folded or "loss_scale" in folded or "overflow" in folded:
            return said  # a scaler at work
        return Said(SENTENCE, norm=math.nan, keys=("skipped",))
    text = line
    if " [" in line and ("<" in line or "it [" in line or ":" in line):
        text = _bar(line, said)
        if said.foreign:
            return said
    row = format_of(line)
    if row is not None:
        said.format = row
        text = _placed(row, text, said)
    elif said.bar is not None:
        said.format = BAR
    elif line.startswith('{"'):
        said.format = JSON
    if "rank" in line or "] (" in line:
        _ranked(line, said)
    _numbers(text, said)
    return said


def _ranked(line: str, said: Said) -> None:
    found = _RANK_PREFIX.search(line)
    if found is not None:
        said.rank = int(found[1] or found[2])


def _bar(line: str, said: Said) -> str:
    """Take the bar out of the line; the text left holds title and values."""
    bar = BAR_SHAPE.search(line)
    if bar is None:
        return line
    head = line[: bar.start()].partition("|")[0].rstrip()
    title = head.rstrip("0123456789% :")
    if (
        HELD_OUT.search(title)
        or not _TRAINING_BAR.search(title)
        or _SOMEBODY_ELSES.search(title)
        or _FOREIGN_RATE.search(bar["rate"])
    ):
        said.foreign = True
        return line
    said.step = int(bar["step"])
    said.total = None if bar["total"] is None or _OF_EPOCHS.search(head) else int(bar["total"])
    said.bar, said.elapsed = f"{title}{bar['postfix']}", bar["elapsed"].rjust(12)
    epoch = _EPOCH_OF_TITLE.search(head)
    said.epoch = None if epoch is None else float(epoch[1])
    return f"{title} ;{bar['postfix']}"


def _placed(row: Format, text: str, said: Said) -> str:
    """Step, epoch and rank where the format puts them."""
    found = None if row.step is None else row.step.search(text)
    if found is None:
        return text
    groups = found.groupdict()
    said.step = count_of(groups["step"])
    if groups.get("total"):
        said.total = int(groups["total"])
    if groups.get("epoch"):
        said.epoch = float(groups["epoch"])
    if groups.get("rank"):
        said.rank = int(groups["rank"])
    if groups.get("held"):
        said.held_out = True
    if row.bar:
        said.bar, said.elapsed = said.bar if said.bar is not None else "", said.elapsed
    return f"{text[: found.start()]} {text[found.end() :]}" if row.name != "fairseq" else text


def _list(line: str) -> Said | None:
    """A bare list: losses, then step and rate; or after the word `Losses:`."""
    found = _LIST.search(line)
    if found is None or HELD_OUT.search(line[: found.start()]):
        return None
    items = [item.strip() for item in found["items"].split(",")]
    numbers = [value_of(item) for item in items]
    if any(number is None for number in numbers):
        return None
    values = [number for number in numbers if number is not None]
    said = Said(VITS)
    if found["word"] is None:
        step = count_of(items[-2])
        if step is None or not 0.0 < values[-1] < 1.0 or "." in items[-2]:
            return None
        if len(values) == 3 or (len(values) == 2 and "." not in items[-1] and "e" not in items[-1]):
            return None
        said.step, said.rate, values = step, values[-1], values[:-2]
    else:
        _numbers(found["rest"], said)
    names = _VITS_NAMES if len(values) == len(_VITS_NAMES) else [str(n) for n in range(len(values))]
    said.parts = {f"loss_{name}": value for name, value in zip(names, values, strict=True)}
    said.keys = tuple(said.parts)
    return said


def cells(text: str) -> list[tuple[Meaning, str, int]]:
    """Each number with the meaning of the words before it, and where it ends."""
    return list(_cells(text))


def filled(form: Format, meanings: Iterable[Meaning], tokens: Iterable[str]) -> Said:
    """What names and numbers say that are known to belong together, as `read` would."""
    said, keys = Said(form), []
    for found, token in zip(meanings, tokens):  # noqa: B905 - as many as groups; strict costs
        if found.role is not Role.NONE and _take(said, found, token):
            keys.append(found.name)
    said.keys = tuple(keys)
    if said.loss is None and len(said.parts) == 1 and not any(said.parts.values()):
        said.parts.clear()
    return said


def _cells(text: str) -> Iterator[tuple[Meaning, str, int]]:
    """Each number with the meaning of the words before it, and where it ends."""
    before = 0
    for match in TOKEN.finditer(text):
        start, end = match.span()
        start = signed(text, start)
        found, token = meaning(text[before:start]), text[start:end]
        if found.role is Role.NONE and is_word(token):
            continue  # a word of a sentence: `number of nan iterations: 0`
        yield found, token, end
        before = end


def _numbers(text: str, said: Said) -> None:
    """Everything that names and numbers say."""
    keys: list[str] = []
    held, last, behind = said.held_out, Role.NONE, 0
    for found, token, end in _cells(text):
        held = found.held_out or (held and not found.training)
        if found.role is Role.OF and last is Role.STEP and said.total is None:
            said.total = count_of(token)
        last = found.role
        if found.role in (Role.NONE, Role.OF):
            said.held_out |= held
            continue
        if held:
            said.held_out = True
            held = not found.alone
            continue
        if not found.assigned and not _measured(token, found.role, text, end, keys):
            said.prose |= found.role is not Role.EPOCH
            continue
        if _take(said, found, token):
            keys.append(found.name)
            behind = end
    said.keys = tuple(keys)
    if keys and not said.values and _PROSE.search(text, behind):
        said.prose = True  # `Step 3: A "Hello World" question`
    if said.loss is None and len(said.parts) == 1 and not any(said.parts.values()):
        said.parts.clear()  # one part at zero is switched off, or fell: who knows


def _measured(token: str, role: Role, text: str, end: int, keys: list[str]) -> bool:
    """`loss 0.3` is a value, `loss 5 times` is prose; `| loss 0 |` is a cell."""
    if role not in (Role.LOSS, Role.PART, Role.AVERAGE, Role.TERM) or not token.isdigit():
        return True
    rest = text[end : end + 2].strip()
    return rest[:1] in ("|", ",", ";") if rest else bool(keys)


def _take(said: Said, found: Meaning, token: str) -> bool:
    """Keep one number; False when it is of no use."""
    role = found.role
    if role is Role.STEP:
        count = count_of(token)
        if said.step is None:
            said.step = count
        return count is not None
    if role is Role.EPOCH:
        said.epoch = value_of(token) if said.epoch is None else said.epoch
        return True
    if role is Role.RANK:
        said.rank = count_of(token) if said.rank is None else said.rank
        return False
    value = value_of(token)
    if value is None:
        return False
    if role in (Role.LOSS, Role.AVERAGE):
        _take_loss(said, token, role is Role.AVERAGE, found.name.endswith("_step"))
    elif role in (Role.PART, Role.TERM):
        _take_part(said, found, value)
    else:
        _take_rest(said, role, value)
    return True


def _take_loss(said: Said, token: str, average: bool, stepwise: bool) -> None:
    """The first one counts; an epoch's average only where there is no other."""
    if said.loss is None or (said.average and not average):
        said.loss, said.average, said.stepwise = token, average, stepwise


def _take_part(said: Said, found: Meaning, value: float) -> None:
    if found.role is Role.TERM:
        # A perplexity overflows while the loss is sound; nan is nan everywhere.
        if math.isnan(value):
            said.bad.setdefault(found.name, value)
    elif len(said.parts) < MOST_PARTS:
        said.parts.setdefault(found.name, value)


def _take_rest(said: Said, role: Role, value: float) -> None:
    if role is Role.NORM:
        said.norm = value if said.norm is None else _larger(said.norm, value)
    elif role is Role.RATE:
        said.rate = value if said.rate is None else said.rate
    elif role is Role.REWARD:
        said.reward = value if said.reward is None else said.reward
    elif role is Role.SPREAD:
        said.spread = value if said.spread is None else said.spread


def _larger(one: float, other: float) -> float:
    """Of several optimizers' norms: a bad one, else the largest."""
    if math.isnan(one) or math.isnan(other):
        return math.nan
    return max(one, other)


def take_named(said: Said, name: str, token: str) -> None:
    """One row of a block or of a table."""
    found = meaning(f"{name}: ")
    if found.role in (Role.NONE, Role.OF) or found.held_out:
        return
    if _take(said, found, token):
        said.keys = (*said.keys, found.name)
