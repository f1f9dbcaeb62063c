"""What the columns of a recorded run hold, told by their names. Called by `recorded`, once for each header. Pure.

A column that can't be told apart from another is left out. Held-out scores never pass for losses; the whole loss is
named, or one column stands for it, which is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from speech_contract.values import Value, frozen

STEPS: Final = (
    "step", "global_step", "globalstep", "iteration", "iter", "update", "_step", "train/global_step",
    "trainer/global_step", "num_updates", "steps", "current_steps",
)  # fmt: skip
EPOCHS: Final = ("epoch", "train/epoch", "current_epoch")
NORMS: Final = (
    "grad_norm", "gradient_norm", "gradnorm", "gradientnorm", "train/grad_norm", "actor/grad_norm", "gnorm",
    "actor_train/grad_norm", "grad-norm", "train_grad_norm",
)  # fmt: skip
RATES: Final = (
    "learning_rate", "learningrate", "lr", "train/learning_rate", "train/lr", "lr-adamw", "lr-adam", "actor/lr",
)  # fmt: skip
REWARDS: Final = (
    "reward", "train/reward", "rewards/mean", "reward_mean", "critic/rewards/mean", "mean_reward",
)  # fmt: skip
SPREADS: Final = ("reward_std", "train/reward_std", "rewards/std")
# Share of groups of equal rewards.
EQUAL: Final = ("frac_reward_zero_std", "train/frac_reward_zero_std")
PLANNED: Final = ("planned_learning_rate", "planned_rate", "planned_lr")
TIMES: Final = ("time", "timestamp", "ts", "wall_time", "updated_at", "wall time", "_timestamp")
WHOLE: Final = (
    "loss", "total", "train_loss", "train/loss", "total_loss", "loss/total", "loss_total", "training_loss",
    "loss/train", "train_loss_step", "loss_step", "train/loss_step", "train/total_loss", "reduced_train_loss",
)  # fmt: skip
# Where no step's loss is there.
AVERAGES: Final = ("train_loss_epoch", "train/loss_epoch", "loss_epoch")
SECONDS: Final = (
    "step_seconds", "step_time", "seconds_per_step", "time_per_step", "sec_per_step", "iter_time", "train/step_time",
)  # fmt: skip
SUMMARY: Final = "train_runtime"  # Hugging Face's closing entry repeats an average
_HELD_OUT: Final = re.compile(
    r"(^|[_/.\- ])(val|valid|validation|eval|evaluation|test|dev|best|epoch|cv)([_/.\- ]|$)",
    re.IGNORECASE,
)
_SCORE: Final = re.compile(
    r"(?:\w+/)?(eval|evaluation|val|valid|validation|test|dev)[_/.\- ]", re.IGNORECASE
)
_BATCHWISE: Final = re.compile(r"_step$", re.IGNORECASE)  # a value for each validation batch
_LOSS: Final = re.compile(r"loss", re.IGNORECASE)
_NO_LOSS: Final = re.compile(
    r"loss[_/ \-]?(scale|scaler|weight|lambda|coef\w*|time|ratio|fn|type)$|__(min|max)$|(weight|coef)s?$",
    re.IGNORECASE,
)
# Losses that are not called so; read where nothing else is.
_TERM: Final = re.compile(
    r"(^|[_/.\- ])(L|nll|elbo|nelbo|cost|objective|ce|mse|mae|kl|bce|xent|cross[_ ]?entropy|error)([_/.\- ]|$)"
    r"|^train$"
)
_WORDS: Final = re.compile(r"[a-z0-9]+")
_PLAIN: Final = frozenset(
    "train training loss losses mean avg average total sum running overall batch step iter".split()
)
_REGRESSIONS: Final = frozenset("critic value vf mel recon reconstruction nll xent ce".split())
_ADVERSARIES: Final = frozenset("d dis disc discriminator real fake adv actor policy".split())
_MOVING: Final = _ADVERSARIES | frozenset("g gen generator fm kl".split())
_RUN: Final = re.compile(r"^(?P<run>.+?) - (?P<name>\S.*)$")  # the CSV export of Weights & Biases

Key = int | str


@frozen
class Columns(Value):
    """Where a row keeps what: indexes of a list, or keys of a mapping, in the order of preference."""

    step: tuple[Key, ...]
    epoch: tuple[Key, ...]
    norm: tuple[Key, ...]
    rate: tuple[Key, ...]
    reward: tuple[Key, ...]
    spread: tuple[Key, ...]
    equal: tuple[Key, ...]
    planned: tuple[Key, ...]
    time: tuple[Key, ...]
    seconds: tuple[Key, ...]  # of a step
    whole: tuple[Key, ...]
    parts: tuple[tuple[str, Key], ...]
    scores: tuple[tuple[str, Key], ...]
    losses: tuple[Key, ...]  # `losses: {…}`, as our reporter writes them
    codebooks: tuple[Key, ...]
    summary: bool  # a closing entry
    rest: bool  # anything but steps, losses, norm, rate and epoch


def plan(names: Sequence[str], keys: Sequence[Key], averages: bool, terms: bool) -> Columns:
    """The plan of one header. `averages`, `terms`: what else may be a loss in this file."""
    shown = [plain(name) for name in names]
    folded = {name.lower(): key for name, key in reversed(list(zip(shown, keys, strict=True)))}
    wholes = (*WHOLE, *AVERAGES) if averages else WHOLE

    def found(known: Iterable[str]) -> tuple[Key, ...]:
        return tuple(folded[name] for name in known if name in folded)

    few = {name: found(known) for name, known in _FEW.items()}
    scores = tuple((n, k) for n, k in zip(shown, keys, strict=True) if is_score(n))
    return Columns(
        step=found(STEPS),
        epoch=found(EPOCHS),
        norm=found(NORMS),
        rate=found(RATES),
        whole=found(wholes),
        parts=tuple(
            (name, key)
            for name, key in zip(shown, keys, strict=True)
            if name.lower() not in (*wholes, "losses") and is_loss(name, terms)
        ),
        scores=scores,
        losses=found(("losses",)),
        codebooks=found(("codebooks",)),
        summary=SUMMARY in folded,
        rest=bool(scores) or any(few.values()),
        **few,
    )


_FEW: Final = {
    "reward": REWARDS, "spread": SPREADS, "equal": EQUAL, "planned": PLANNED, "time": TIMES,
    "seconds": SECONDS,
}  # fmt: skip


def plain(name: str) -> str:
    """Without blanks and quotes around it, and without the run's name before it."""
    name = name.strip().strip("\"'").strip()
    exported = _RUN.match(name)
    return exported["name"] if exported is not None else name


def run_of(name: str) -> str:
    """The run that a column of an export belongs to; empty for any other column."""
    exported = _RUN.match(name.strip().strip("\"'"))
    return exported["run"] if exported is not None else ""


def is_loss(name: str, terms: bool = False) -> bool:
    """A training loss or a part of it."""
    if _HELD_OUT.search(name) or _NO_LOSS.search(name):
        return False
    return bool(_LOSS.search(name)) or (terms and bool(_TERM.search(name)))


def is_score(name: str) -> bool:
    """A number measured on held-out data, once an evaluation."""
    return bool(_SCORE.match(name)) and not _BATCHWISE.search(name)


def stand_in(names: Iterable[str]) -> str:
    """The training loss that stands for the whole where none is named; empty without any."""
    return min(names, key=_strangeness, default="")


def has_level(name: str) -> bool:
    """Has a name of its own, and nobody trains against it: a spike can stand above its level."""
    said = {word for word in _WORDS.findall(name.lower()) if not word.isdigit()}
    return bool(said - {"loss"}) and not said & _MOVING


def _strangeness(name: str) -> int:
    words = set(_WORDS.findall(name.lower()))
    if not words - _PLAIN:
        return 0
    if "total" in words:
        return 1
    if words & _REGRESSIONS:
        return 2  # an actor's objective has no level of its own
    return 4 if words & _ADVERSARIES else 3
