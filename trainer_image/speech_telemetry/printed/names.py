"""What the words before a number mean. Called by `grammar` with the text between two numbers of a line.

A trainer prints the same few texts at every line: the answer for each is remembered, which is what makes reading a
line cheap. What can't be told apart from something else has no meaning here: rather nothing is read than something
wrong.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import re
from typing import Final

REMEMBERED: Final = 4096  # texts


class Role(enum.Enum):
    """What a number is."""

    NONE = enum.auto()
    OF = enum.auto()  # the second number of `12/100`
    LOSS = enum.auto()  # the loss that stands for the run
    AVERAGE = enum.auto()  # the same over an epoch: drawn again and again until the next one
    PART = enum.auto()  # a component
    TERM = enum.auto()  # a training number that is no loss by name; only nan tells something
    # A component where a whole loss stands before it on the line; else anything.
    BESIDE = enum.auto()
    NORM = enum.auto()
    RATE = enum.auto()
    STEP = enum.auto()
    EPOCH = enum.auto()
    RANK = enum.auto()
    REWARD = enum.auto()
    SPREAD = enum.auto()  # of the rewards in a group


@dataclasses.dataclass(frozen=True)
class Meaning:
    """Of the text before a number."""

    role: Role = Role.NONE
    name: str = ""
    assigned: bool = False  # by `=` or `:`; else a bare space parts name and number
    held_out: bool = (
        False  # the number, and what follows it on the line, was measured on held-out data
    )
    training: bool = False  # says that it is training's
    alone: bool = False  # the name itself says held-out: what follows stands for itself


HELD_OUT: Final = re.compile(
    r"\b(?:val|valid|validation|validating|eval|evaluation|evaluating|test|testing|dev|held[-_ ]out|CV)\b"
    r"|\b(?:val|valid|eval|test|dev|cv)_",
    re.IGNORECASE,
)
_TRAIN: Final = re.compile(r"\btrain(?:ing)?(?:\b|_)", re.IGNORECASE)
# `=`, `:` or space, quotes round name and number, tensor( and array( before the number.
_TAIL: Final = re.compile(
    r"(?P<name>[A-Za-z_][\w./@-]*(?: [A-Za-z][\w./-]*){0,5})(?P<close>['\"\])]*)\s*(?P<sign>[=:]?)\s*"
    r"(?P<open>(?:tensor\(|array\(|np\.float\d+\()?)\[?\s*['\"]?$"
)
_HASH: Final = re.compile(r"(?P<name>[A-Za-z]+) ?[\[#(]$")
_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_PARTS: Final = re.compile(r"[\s_/.\-]+")
_SIGNS: Final = re.compile(r"[^a-z0-9/]+")
_UNIT: Final = re.compile(r"\S*/s(?:ec)?$")
# `epoch 3 done. loss: `; the dot of `Disc. Loss: ` and `Mel-Spec. Error : ` ends no sentence
_OVER: Final = re.compile(r".*\b(?:done|finished|completed?|over|ended)\. ", re.IGNORECASE)
_DIGITS: Final = re.compile(r"^\d+$")

# Words round `loss` that do not change what it means.
_HARMLESS: Final = frozenset(
    "train training total tot avg average mean running current epoch batch mini minibatch step iter iteration the "
    "and with info debug warning error root main it is lm reduced smoothed global overall net model "
    "done finished".split()
)
_AROUND_STEP: Final = frozenset(
    "train training global current info debug warning root main the at finished done num opt epoch batch".split()
)
_BEHIND: Final = frozenset(
    "step total sum avg average mean value epoch item so far train training".split()
)
# A loss of these is not this report's, or no loss at all.
_OTHER: Final = frozenset(
    "best min minimum lowest final last prev previous target initial history old max maximum init".split()
)
_NO_LOSS: Final = frozenset(
    "weight weights scale scaler scaling fn func function type lambda coef coeff coefficient factor ratio name mode "
    "time ms seconds history file reduction improvement threshold patience ema".split()
)
_PROSE: Final = frozenset(
    "was were if when has have had not no would could until unless or of for to a an than while".split()
)
_STEPS: Final = frozenset("step steps iter iters iteration iterations update updates".split())
_TERMS: Final = frozenset(
    "ce ppl perplexity nll xent mse l1 l2 smoothl1 mae kl kld bce elbo cost objective nelbo crossentropy "
    "objf".split()
)
# `avg_batch_cost: 0.31 s`.
_COSTS_OF_TIME: Final = frozenset("batch reader run time data step".split())
_BESIDE: Final = frozenset("cls reg seg box obj dfl rec recon vq commit commitment".split())
_REWARDS: Final = frozenset("reward rewards".split())
_ADVERSARIES: Final = re.compile(r"^(?:D|G)(?:_[A-Za-z]+)?$")  # CycleGAN's D_A, G_A


@functools.lru_cache(maxsize=REMEMBERED)
def meaning(text: str) -> Meaning:
    """Of the text between the number before and this one."""
    if text == "/":
        return Meaning(Role.OF)
    tail = _TAIL.search(text)
    if tail is None:
        hashed = _HASH.search(text)
        if hashed is None:
            return _context(text)
        name, sign, before = hashed["name"], ":", text[: hashed.start()]
    else:
        name, sign, before = tail["name"], tail["sign"], text[: tail.start()]
        if text[-1].isalnum() or text[-1] in "_./-@":  # `v1.`: the number is part of a word
            return _context(text)
        if name == "Batch" and before[-1:] == "[":  # gluoncv: `[Epoch 0][Batch 50], Speed: …`
            name, sign = "step", ":"
    return _named(name, sign, before, bool(tail and tail["close"]))


def _context(text: str) -> Meaning:
    """No name before the number; the words may still open a part of the line."""
    held, training = bool(HELD_OUT.search(text)), bool(_TRAIN.search(text))
    return Meaning(held_out=held and not training, training=training and not held)


def _named(name: str, sign: str, before: str, quoted: bool) -> Meaning:
    over = _OVER.match(name)
    if over is not None:
        before, name = f"{before}{over[0]}", name[over.end() :]
    bare, is_sentence = name, False
    if not sign and name.lower().endswith((" is", " are")):
        bare, is_sentence = name.rpartition(" ")[0], True
    words = _words(bare)
    own = bool(HELD_OUT.search(name)) or bool(_HELD_WORDS & set(words))
    training = bool(_TRAIN.search(name))
    held = (own or bool(HELD_OUT.search(before))) and not training
    role, shown = _role(words, bare)
    if is_sentence and role not in (Role.LOSS, Role.NORM):
        return _context(f"{before}{name}")
    alone = own and " " not in bare and (sign == "=" or quoted) and not HELD_OUT.search(before)
    return Meaning(role, shown, bool(sign) or quoted or is_sentence, held, training, alone)


_HELD_WORDS: Final = frozenset("val valid validation eval evaluation test dev".split())


def _words(name: str) -> list[str]:
    """`GradNorm`, `grad_norm_0` and `train/grad norm` as lower-case words, units and numbers at the end left out."""
    parts: list[str] = []
    for word in name.split(" "):
        if _UNIT.match(word):
            parts.clear()  # `12 samples/sec   Loss`: the unit of the number before
            continue
        parts += [part.lower() for part in _PARTS.split(_CAMEL.sub(" ", word)) if part]
    return parts


def _role(words: list[str], name: str) -> tuple[Role, str]:
    plain = [word.rstrip("0123456789") or word for word in words]
    shown = _shown(name)
    for word in ("loss", "losses", "logloss"):
        if word in words:
            return _loss(words, words.index(word), shown), shown
    if not words:
        return Role.NONE, ""
    if "gnorm" in plain or "gradnorm" in plain or ("norm" in plain and _GRADS & set(plain)):
        return (Role.NONE if _LIMITS & set(plain) else Role.NORM), shown
    if plain[-1] == "lr" or plain[-2:] == ["lr", words[-1]] or "learning rate" in " ".join(plain):
        return Role.RATE, shown
    if _REWARDS & set(plain):
        return (Role.SPREAD if "std" in plain else Role.REWARD), shown
    return _counter(words, plain, name), shown


_GRADS: Final = frozenset("grad gradient grads gradients".split())
_LIMITS: Final = frozenset("max clip clipped clipping threshold limit".split())


def _counter(words: list[str], plain: list[str], name: str) -> Role:
    last = words[-1]
    if last in ("epoch", "epochs"):
        return Role.EPOCH
    if last in _STEPS and set(words[:-1]) <= _AROUND_STEP:
        return Role.STEP
    if words == ["globalstep"] or words == ["rank"]:
        return Role.STEP if last == "globalstep" else Role.RANK
    if last == "cost" and _COSTS_OF_TIME & set(words):
        return Role.NONE
    term = set(words) - _HARMLESS
    term = {"".join(words)} if "".join(words) in _TERMS else term
    if (len(term) == 1 and term <= _TERMS) or _ADVERSARIES.match(name):
        return Role.TERM
    if len(term) == 1 and term <= _BESIDE:
        return Role.BESIDE
    return Role.TERM if last == "error" and {"mel", "spec"} & set(plain) else Role.NONE


def _loss(words: list[str], at: int, shown: str) -> Role:
    before, behind = set(words[:at]), words[at + 1 :]
    if _PROSE & set(words):
        return Role.NONE
    if before & _OTHER or set(behind) & (_NO_LOSS | _OTHER):
        return Role.NONE
    if not before <= _HARMLESS:
        return Role.PART
    if not set(behind) <= _BEHIND:
        return Role.PART
    return Role.AVERAGE if behind == ["epoch"] else Role.LOSS


def _shown(name: str) -> str:
    """The last words of a sentence before a colon: enough to tell components apart."""
    return _SIGNS.sub("_", name.lower()).strip("_/")[-48:]
