"""What a line says, whatever its format: bars, lists, numbers with the words before each. Called by `reader`. Pure."""

from __future__ import annotations

import functools
import math
import re
import string
from collections.abc import Iterable, Iterator
from typing import Final

from speech_health.columns import is_score
from speech_telemetry.printed.formats import (
    BAR,
    FASTAI,
    FASTAI_ROW,
    JSON,
    MEGATRON,
    VITS,
    WESEP,
    WESEP_ROW,
    Format,
    format_of,
)
from speech_telemetry.printed.names import HELD_OUT, Meaning, Role, meaning
from speech_telemetry.printed.numbers import NUMBER, TOKEN, count_of, is_word, signed, value_of
from speech_telemetry.printed.said import Said
from speech_telemetry.printed.sentences import all_skipped, sentence

MOST_PARTS: Final = 24  # components of a line; more are no loss's components
LOSSES: Final = (Role.LOSS, Role.AVERAGE, Role.PART)
# Looked up once: each number of a line asks for some.
_AVERAGE: Final = Role.AVERAGE
_BESIDE: Final = Role.BESIDE
_EPOCH: Final = Role.EPOCH
_LOSS: Final = Role.LOSS
_NONE: Final = Role.NONE
_NORM: Final = Role.NORM
_OF: Final = Role.OF
_PART: Final = Role.PART
_RANK: Final = Role.RANK
_RATE: Final = Role.RATE
_REWARD: Final = Role.REWARD
_SPREAD: Final = Role.SPREAD
_STEP: Final = Role.STEP
_TERM: Final = Role.TERM


BAR_SHAPE: Final = re.compile(
    r"(?P<step>\d{1,12})(?:/(?P<total>\d{1,12})|it|steps) "
    r"\[(?P<elapsed>\d+(?::\d\d)+)[^,\]]*,?(?P<rate>[^,\]]*)(?P<postfix>.*)"
)
# A bar around the bars of steps.
_OF_EPOCHS: Final = re.compile(r"^\W*epochs?\W*\d*\s*%?$", re.IGNORECASE)
# Words that a training bar may wear; any other (Map, Loading, Downloading) is somebody else's bar.
_TRAINING_BAR: Final = re.compile(
    r"^\W*\d*\W*$|train|epoch|step|iter|batch|loss\W{1,3}(?:\d|nan\b|inf\b)", re.IGNORECASE
)
_SOMEBODY_ELSES: Final = re.compile(
    r"tokeniz|adding|packing|truncat|dataset|download|loading|map\b|filter|extract|prepar|generat|saving|writing|"
    r"fetch|cach|convert|sanity|reading|scor|decod|sampling|inference|predict",
    re.IGNORECASE,
)
_FOREIGN_RATE: Final = re.compile(
    r"(?:examples|files|tokens|shards|[kMG]?i?B|[MG]it|\d{7,}(?:\.\d+)?it)/s"
)
_SHORT: Final = re.compile(rf"\bL=(?=[-+]?(?:nan\b|inf\b|{NUMBER}))")  # the loss of a crowded bar
_EPOCH_OF_TITLE: Final = re.compile(r"epochs?\W{0,3}(\d{1,9})", re.IGNORECASE)

# jaywalnut310/vits train.py logs `[*losses, global_step, lr]`; so-vits-svc `Losses: [...], step: 200, lr: …`
_LIST: Final = re.compile(
    rf"(?P<word>[Ll]oss(?:es)?\s*[:=]\s*)?\[(?P<items>[-+]?{NUMBER}(?:, *[-+]?{NUMBER})+)\](?P<rest>.*)$",
    re.IGNORECASE,
)
_VITS_NAMES: Final = ("disc", "gen", "fm", "mel", "dur", "kl")

_PROSE: Final = re.compile(r"[A-Za-z]{2,}['\",]* [A-Za-z'\"]*[a-z]{2,}")
_NAMES_SOMETHING: Final = re.compile(r"\([A-Za-z]+ ")
_LETTERS: Final = f"{string.ascii_letters}_ "
_RANK_OF: Final = re.compile(r"\] \((\d+)/\d+\) ")  # icefall


def read(line: str, folded: str) -> Said:
    """What the line says; `folded` is the same in lower case."""
    said = Said()
    if line[-1:] in ("]", "|") or "osses" in line:
        listed = _row(line)
        if listed is not None:
            return listed
    sentenced = sentence(line, folded)
    if sentenced is not None:
        return sentenced
    text = line
    if " [" in line and ("<" in line or "/s" in line or "it [" in line or "/it" in line):
        text = _bar(line, said)
        if said.foreign:
            return said
    text = _formatted(line, text, said)
    if "] (" in line:
        _ranked(line, said)
    _numbers(text, said)
    if said.format is MEGATRON and not said.values and all_skipped(line):
        said.norm, said.keys = math.nan, ("skipped",)
    return said


def _formatted(line: str, text: str, said: Said) -> str:
    """Name the format; the text left holds what is read alike in all."""
    known = format_of(line, text)
    if known is not None:
        said.format, counter = known
        return text if counter is None else _placed(counter, text, said)
    if said.bar is not None:
        said.format = BAR
    elif line.startswith('{"'):
        said.format = JSON
    return text


def _ranked(line: str, said: Said) -> None:
    found = _RANK_OF.search(line)
    if found is not None:
        said.rank = int(found[1])


@functools.lru_cache(maxsize=256)
def _ours(title: str) -> bool:
    """A bar of the training loop, by what it is called."""
    if HELD_OUT.search(title) or _SOMEBODY_ELSES.search(title):
        return False
    return bool(_TRAINING_BAR.search(title))


def _bar(line: str, said: Said) -> str:
    """Take the bar out of the line; the text left holds title and values."""
    bar = BAR_SHAPE.search(line)
    if bar is None:
        return line
    front = line[: bar.start()]
    head = front.partition("|")[0].rstrip()
    title = (_described(front) if "oss" in front else "") or head.rstrip("0123456789% :")
    rate = bar["rate"]
    plain = rate.endswith(("it/s", "s/it")) and len(rate) < 12
    if not _ours(title) or (not plain and _FOREIGN_RATE.search(rate)):
        said.foreign = True
        return line
    said.step = int(bar["step"])
    said.total = None if bar["total"] is None or _OF_EPOCHS.search(head) else int(bar["total"])
    postfix = bar["postfix"]
    said.bar, said.elapsed = f"{title}{postfix}", bar["elapsed"].rjust(12)
    epoch = _EPOCH_OF_TITLE.search(head) if "poch" in head else None
    said.epoch = None if epoch is None else float(epoch[1])
    return f"{title} ;{postfix if 'oss' in postfix else _SHORT.sub('loss=', postfix)}"


def _described(front: str) -> str:
    """A title that tells the loss, as `Epoch 3 | loss: 0.51:  10%|#` and torchtune's `1|5|Loss: 0.51:   1%|`."""
    words, percent, _ = front.rpartition("%|")
    return words.rpartition(":")[0] if percent else ""


def _placed(found: re.Match[str], text: str, said: Said) -> str:
    """Step, epoch and rank where the format puts them."""
    row, groups = said.format, found.groupdict()
    said.step = count_of(groups["step"])
    if groups.get("total"):
        said.total = int(groups["total"])
    if groups.get("epoch"):
        said.epoch = float(groups["epoch"])
    if groups.get("rank"):
        said.rank = int(groups["rank"])
    if groups.get("held"):
        said.held_out = True
    if row.loss:
        text = text.replace(row.loss, " loss: ", 1)
    if row.bar:
        said.bar, said.elapsed = said.bar if said.bar is not None else "", said.elapsed
    return f"{text[: found.start()]} {text[found.end() :]}" if row.name != "fairseq" else text


def _row(line: str) -> Said | None:
    """A line of values whose names nothing on it tells: known printers alone."""
    if line[-1:] == "|":
        row = WESEP_ROW.fullmatch(line)
        return None if row is None else _wesep(row)
    row = FASTAI_ROW.fullmatch(line)
    if row is not None:
        return Said(FASTAI, loss=row["loss"], epoch=float(row["epoch"]), keys=("train_loss",))
    return _list(line)


def _wesep(row: re.Match[str]) -> Said:
    said = Said(WESEP, epoch=float(row["epoch"]))
    if row["held"]:
        said.held_out = said.batch = True
        return said
    said.step, said.loss, said.keys = int(row["step"]), row["loss"], ("loss",)
    said.rate = value_of(row["rate"]) if row["rate"] != "-" else None
    return said


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
        if found.role is not _NONE and _take(said, found, token):
            keys.append(found.name)
    said.keys = tuple(keys)
    if said.loss is None and len(said.parts) == 1 and not any(said.parts.values()):
        said.parts.clear()
    return said


def _cells(text: str) -> Iterator[tuple[Meaning, str, int]]:
    """Each number with the meaning of the words before it, and where it ends."""
    before, bracketed = 0, ")" in text
    for match in TOKEN.finditer(text):
        start, end = match.span()
        start = signed(text, start)
        words = text[before:start]
        if bracketed and words[:1] == ")":
            words = _qualified(text, before, words)
        found, token = meaning(words), text[start:end]
        if found.role is _NONE and is_word(token):
            continue  # a word of a sentence: `number of nan iterations: 0`
        yield found, token, end
        before = end


def _qualified(text: str, at: int, words: str) -> str:
    """The loss behind `discr (scale 1)` is the discriminator's: the words before a bracket that names something."""
    opens = text.rfind("(", 0, at)
    if opens < 0 or not _NAMES_SOMETHING.match(text, opens):
        return words
    whose = text[len(text[:opens].rstrip(_LETTERS)) : opens]
    return f"{whose.strip()} {words[1:].lstrip()}"


def _numbers(text: str, said: Said) -> None:
    """Everything that names and numbers say."""
    keys: list[str] = []
    held, last, behind = said.held_out, _NONE, 0
    for found, token, end in _cells(text):
        held = found.held_out or (held and not found.training)
        if found.role is _OF and last is _STEP and said.total is None:
            said.total = count_of(token)
        last = found.role
        if found.role in (_NONE, _OF):
            said.held_out |= held
            said.batch |= held and found.role is _OF
            continue
        if held:
            said.held_out = True
            take_held(said, found, token)
            held = not found.alone
            continue
        if not found.assigned and not _measured(token, found.role, text, end, keys):
            said.prose |= found.role is not _EPOCH
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
    if role not in (_LOSS, _PART, _AVERAGE, _TERM) or not token.isdigit():
        return True
    rest = text[end : end + 2].strip()
    return rest[:1] in ("|", ",", ";") if rest else bool(keys)


def _take(said: Said, found: Meaning, token: str) -> bool:
    """Keep one number; False when it is of no use."""
    role = found.role
    if role is _STEP:
        count = count_of(token)
        if said.step is None:
            said.step = count
        return count is not None
    if role is _EPOCH:
        said.epoch = value_of(token) if said.epoch is None else said.epoch
        return True
    if role is _RANK:
        said.rank = count_of(token) if said.rank is None else said.rank
        return False
    value = value_of(token)
    if value is None:
        return False
    if role in (_LOSS, _AVERAGE):
        _take_loss(said, token, role is _AVERAGE, found.name.endswith("_step"))
    elif role is _BESIDE and said.loss is None:
        return False
    elif role in (_PART, _TERM, _BESIDE):
        _take_part(said, found, value)
    else:
        _take_rest(said, role, value, token)
    return True


def _take_loss(said: Said, token: str, average: bool, stepwise: bool) -> None:
    """The first one counts; an epoch's average only where there is no other."""
    if said.loss is None or (said.average and not average):
        said.loss, said.average, said.stepwise = token, average, stepwise


def take_held(said: Said, found: Meaning, token: str) -> None:
    """A loss whose own name says that it is an evaluation's; below a heading it may be a batch's, and is left."""
    if found.assigned and found.role in LOSSES and is_score(found.name):
        value = value_of(token)
        if value is not None and len(said.held) < MOST_PARTS:
            said.held.setdefault(found.name, value)


def _take_part(said: Said, found: Meaning, value: float) -> None:
    if found.role is _TERM:
        # A perplexity overflows while the loss is sound; nan is nan everywhere.
        if math.isnan(value):
            said.bad.setdefault(found.name, value)
        elif value and math.isfinite(value) and len(said.terms) < MOST_PARTS:
            said.terms.setdefault(found.name, value)
    elif found.name not in said.parts and len(said.parts) < MOST_PARTS:
        said.parts[found.name] = value
    elif not math.isfinite(value):  # not lost with names that are too many, or there twice
        said.bad.setdefault(found.name, value)


def _take_rest(said: Said, role: Role, value: float, token: str) -> None:
    if role is _NORM:
        said.norm = value if said.norm is None else _larger(said.norm, value)
    elif role is _RATE:
        said.rate = value if said.rate is None else said.rate
        if not value:  # `{:g}` and `{:e}` round nothing to 0
            said.unrated = token.isdigit() or "e" in token
    elif role is _REWARD:
        said.reward = value if said.reward is None else said.reward
    elif role is _SPREAD:
        said.spread = value if said.spread is None else said.spread


def _larger(one: float, other: float) -> float:
    """Of several optimizers' norms: a bad one, else the largest."""
    if math.isnan(one) or math.isnan(other):
        return math.nan
    return max(one, other)


def take_named(said: Said, name: str, token: str) -> None:
    """One row of a block or of a table."""
    found = meaning(f"{name}: ")
    if found.held_out:
        return take_held(said, found, token)
    if found.role in (_NONE, _OF):
        return
    if _take(said, found, token):
        said.keys = (*said.keys, found.name)
