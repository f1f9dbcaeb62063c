"""Reading a finished run: columns of a CSV, mappings of a JSON log, our events → step samples.

Pure: the caller (`speechtrain replay`) brings rows that it read from a file. What can't be told apart from
another number is left out; held-out scores go with the training rows from theirs on, never into the losses.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from speech_contract.codec import camel, from_document
from speech_contract.errors import ContractError
from speech_contract.events import Event
from speech_contract.wire import Codebook, Weights
from speech_health.samples import StepSample

STEPS: Final = (
    "step", "global_step", "globalstep", "iteration", "iter", "update", "_step", "train/global_step",
    "trainer/global_step",
)  # fmt: skip
NORMS: Final = ("grad_norm", "gradient_norm", "gradnorm", "gradientnorm", "train/grad_norm")
RATES: Final = ("learning_rate", "learningrate", "lr", "train/learning_rate", "lr-adamw", "lr-adam")
REWARDS: Final = ("reward", "train/reward", "rewards/mean", "reward_mean")
SPREADS: Final = ("reward_std", "train/reward_std", "rewards/std", "frac_reward_zero_std")
PLANNED: Final = ("planned_learning_rate", "planned_rate", "planned_lr")
TIMES: Final = ("time", "timestamp", "ts", "wall_time", "updated_at")
WHOLE: Final = (
    "loss",
    "total",
    "train_loss",
    "train/loss",
    "total_loss",
    "loss/total",
    "loss_total",
    "training_loss",
    "loss/train",
    "train_loss_step",
    "loss_step",
)
SUMMARY: Final = "train_runtime"  # Hugging Face's closing entry repeats an average
_HELD_OUT: Final = re.compile(
    r"(^|[_/.\- ])(val|valid|validation|eval|evaluation|test|dev|best|epoch)([_/.\- ]|$)",
    re.IGNORECASE,
)
_SCORE: Final = re.compile(
    r"(eval|evaluation|val|valid|validation|test|dev)[_/.\- ]", re.IGNORECASE
)
_PART: Final = re.compile(r"loss", re.IGNORECASE)


@dataclasses.dataclass
class Rows:
    """Turns mappings into samples. Steps that a file does not name are counted; so are seconds."""

    step: int = 0
    non_finite: int = 0
    rollbacks: int = 0
    seen: int = 0
    scores: dict[str, float] | None = None  # the newest held-out ones

    def read(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[StepSample]:
        """One sample for each row that says something of training."""
        for row in rows:
            sample = self._event(row) if "event" in row else self._values(row)
            if sample is not None:
                self.seen += 1
                yield sample

    def _values(self, row: Mapping[str, Any]) -> StepSample | None:
        if SUMMARY in row:
            return None
        flat = {str(key).strip(): value for key, value in row.items()}
        folded = {key.lower(): value for key, value in flat.items()}
        self.scores = _scores(flat) or self.scores
        losses = _losses(flat)
        norm, rate = _first(folded, NORMS), _first(folded, RATES)
        if not losses and norm is None:
            return None
        step = _first(folded, STEPS)
        self.step = int(step) if step is not None and math.isfinite(step) else self.step + 1
        return self._sample(
            folded,
            losses=losses or None,
            gradient_norm=norm,
            learning_rate=rate,
            planned_rate=_first(folded, PLANNED),
            reward=_first(folded, REWARDS),
            reward_spread=_first(folded, SPREADS),
            codebooks=_codebooks(folded.get("codebooks")),
            evaluation=self.scores,
        )

    def _event(self, row: Mapping[str, Any]) -> StepSample | None:
        """Of our own log: the steps whose update was gated off, and roll-backs."""
        step = number(row.get("step"))
        self.step = int(step) if step is not None else self.step
        if row["event"] == Event.UPDATE_SKIPPED.value:
            self.non_finite += 1
            where = {name: str(row.get(name) or "") for name in ("bad_component", "bad_module")}
            return self._sample(row, bad_step=self.step, **where)
        if row["event"] == Event.ROLLED_BACK.value:
            self.rollbacks += 1
            return self._sample(row)
        if row["event"] == Event.CHECKPOINTS_COMPARED.value:
            return self._sample(row, weights=_weights(row))
        return self._sample(row) if row["event"] == Event.CHECKPOINT_SAVED.value else None

    def _sample(self, row: Mapping[str, Any], **fields: Any) -> StepSample:
        ours = "event" in row
        if ours:
            fields |= {"non_finite_steps": self.non_finite, "rollbacks": self.rollbacks}
        time = _first(row, TIMES)
        return StepSample(
            time=0.0 if time is None else time,
            now=float(self.seen),
            rank=0,
            step=self.step,
            gated=ours,
            **fields,
        )


def number(value: Any) -> float | None:
    """`-nan`, `1e-9`, `Infinity` and numbers; None for anything else, an empty cell included."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _weights(row: Mapping[str, Any]) -> Weights | None:
    """A comparison of checkpoints as the engine logged it; None when the line was cut or changed."""
    known = {
        field.name: row[field.name] for field in dataclasses.fields(Weights) if field.name in row
    }
    try:
        return from_document(Weights, {camel(name): value for name, value in known.items()})
    except ContractError:
        return None


def _scores(flat: Mapping[str, Any]) -> dict[str, float]:
    """Columns such as `eval_loss`, `val/wer`."""
    read = ((name, number(value)) for name, value in flat.items() if _SCORE.match(name))
    return {name: value for name, value in read if value is not None}


def _codebooks(value: Any) -> dict[str, Codebook] | None:
    """`codebooks: {…}` as our reporter takes it; a book that can't be read is left out."""
    books = {}
    for name, fields in value.items() if isinstance(value, Mapping) else ():
        try:
            books[str(name)] = from_document(Codebook, fields)
        except ContractError:
            continue
    return books or None


def _losses(flat: Mapping[str, Any]) -> dict[str, float]:
    """`losses: {…}` as our reporter writes it, else every training column that is called a loss."""
    held = flat.get("losses")
    pairs = held.items() if isinstance(held, Mapping) else _columns(flat)
    read = ((str(name), number(value)) for name, value in pairs)
    return {name: value for name, value in read if value is not None}


def _columns(flat: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The whole loss is called `loss`, whatever its column is; parts keep their names."""
    named = {key.lower(): key for key in flat}
    told = (named[name] for name in WHOLE if name in named)
    whole = next((key for key in told if number(flat[key]) is not None), None)
    if whole is not None:
        yield "loss", flat[whole]
    for key, value in flat.items():
        if key.lower() not in WHOLE and _PART.search(key) and not _HELD_OUT.search(key):
            yield key, value


def _first(row: Mapping[str, Any], names: Iterable[str]) -> float | None:
    return next((v for v in (number(row.get(name)) for name in names) if v is not None), None)
