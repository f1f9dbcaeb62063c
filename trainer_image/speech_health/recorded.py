"""Reading a finished run: columns of a CSV, mappings of a JSON log, our events → step samples.

Pure: the caller (`speechtrain replay`) brings rows that it read from a file. What can't be told apart from
another number is left out; held-out scores go with the training rows from theirs on, never into the losses. A file
may hold several runs: where step or epoch start over, or a closing entry stands between, the next one opens.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from speech_contract.codec import camel, from_document
from speech_contract.errors import ContractError
from speech_contract.events import Event
from speech_contract.phases import Phase
from speech_contract.report import Codebook, Weights
from speech_health import columns
from speech_health.columns import Columns, Key
from speech_health.samples import StepSample, from_fields

LOOKED_AT: Final = 200  # rows whose columns tell what the file calls its loss
NEAR: Final = 0.05  # of the way made: how near to its start a counter must fall to be another run's
OURS: Final = frozenset(("losses", "codebooks"))  # nested in rows of our own reporter


@dataclasses.dataclass(eq=False, repr=False)
class Place:
    """How far a run has come by its own counters, and whether another one has begun."""

    step: float | None = None
    epoch: float | None = None
    _steps: tuple[float, float] | None = None  # first and highest of this run
    _epochs: tuple[float, float] | None = None
    _reports: int = 0

    def moves(self, step: float | None, epoch: float | None) -> bool:
        """Take a report's counters. True when they started over."""
        before = self.step, self.epoch
        self.step, self.epoch = step, epoch
        stands = epoch is None or before[1] is None or epoch <= before[1]
        back = self._reports > 1 and (
            _fell(self._epochs, before[1], epoch)
            or (stands and _fell(self._steps, before[0], step))
        )
        if back:
            self._steps = self._epochs = None
            self._reports = 0
        self._reports += 1
        self._steps, self._epochs = _range(self._steps, step), _range(self._epochs, epoch)
        return back


def _fell(known: tuple[float, float] | None, before: float | None, now: float | None) -> bool:
    """Back to where the run began: a roll-back or a resume falls to somewhere on the way."""
    if known is None or before is None or now is None or now >= before:
        return False
    return now <= known[0] + NEAR * (known[1] - known[0])


def _range(known: tuple[float, float] | None, now: float | None) -> tuple[float, float] | None:
    if now is None:
        return known
    return (now, now) if known is None else (known[0], max(known[1], now))


@dataclasses.dataclass(eq=False, repr=False)
class Rows:
    """Turns mappings into samples. Steps that a file does not name are counted; so are seconds."""

    step: int = 0
    non_finite: int = 0
    rollbacks: int = 0
    seen: int = 0
    stands: str = ""  # the column that stands for the loss where none is named
    scores: dict[str, float] | None = None  # the newest held-out ones
    _place: Place = dataclasses.field(default_factory=Place)
    _waiting: list[tuple[int, dict[str, float]]] = dataclasses.field(default_factory=list)
    _plans: dict[tuple[str, ...], Columns] = dataclasses.field(default_factory=dict)
    _over: bool = False  # a closing entry came
    _apart: bool = False  # losses and scores stand in rows of their own
    _averages: bool = False
    _terms: bool = False

    def read(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[StepSample]:
        """One sample for each row that says something of training."""
        rest = iter(rows)
        first = [_flat(row) for row in itertools.islice(rest, LOOKED_AT)]
        self.learn(dict.fromkeys(str(name) for row in first for name in row))
        self._apart = self._in_turn((row, self._known(row)) for row in first if "event" not in row)
        yield from self._told(self._mappings(itertools.chain(first, map(_flat, rest))))

    def read_table(
        self, header: Sequence[str], rows: Iterable[Sequence[str]]
    ) -> Iterator[StepSample]:
        """The same of lists of cells under one header. Short rows are filled up with nothing."""
        self.learn(header)
        runs = dict.fromkeys(filter(None, map(columns.run_of, header)))
        kept = [
            at for at, name in enumerate(header) if columns.run_of(name) in ("", *list(runs)[:1])
        ]
        plan, nothing = self._plan([header[at] for at in kept], kept), [""] * len(header)
        cells = ([*row, *nothing] for row in rows)
        first = list(itertools.islice(cells, LOOKED_AT))
        self._apart = self._in_turn((row, plan) for row in first)
        yield from self._told(self._values(row, plan) for row in itertools.chain(first, cells))

    def _mappings(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[StepSample | None]:
        for row in rows:
            yield self._event(row) if "event" in row else self._values(row, self._known(row))

    def _known(self, row: Mapping[str, Any]) -> Columns:
        """The plan of a mapping; rows of the same names share it."""
        names = tuple(row)
        known = self._plans.get(names)
        if known is None:
            known = self._plans[names] = self._plan(names, names)
        return known

    def _in_turn(self, rows: Iterable[tuple[Any, Columns]]) -> bool:
        """Each row holds a loss or scores, and NaN in the place of the other: as tables fill what was not measured."""
        both = ((self._losses(row, plan), _read(row, plan.scores)) for row, plan in rows)
        kinds = {(_lost(losses), _lost(scores)) for losses, scores in both if losses and scores}
        return kinds == {(True, False), (False, True)}

    def _told(self, read: Iterable[StepSample | None]) -> Iterator[StepSample]:
        """What the rows said, with the evaluations that waited for it, each in its place."""
        for sample in read:
            if sample is None:
                continue
            if self._waiting:
                yield from self._evaluations()
            self.seen += 1
            yield sample
        if self.seen:
            yield from self._evaluations()

    def learn(self, names: Iterable[str]) -> None:
        """Which of a file's columns is the loss."""
        self._plans.clear()
        shown = [columns.plain(name) for name in names]
        folded = [name.lower() for name in shown]
        told: list[str] = [name for name in columns.WHOLE if name in folded]
        if not told and "losses" not in folded:
            told = [name for name in columns.AVERAGES if name in folded]
            self._averages = bool(told)
        if told or "losses" in folded:
            return
        parts = [name for name in shown if columns.is_loss(name)]
        if not parts:
            parts = [name for name in shown if columns.is_loss(name, terms=True)]
            self._terms = bool(parts)
        self.stands = columns.stand_in(parts)

    def _plan(self, names: Sequence[str], keys: Sequence[Key]) -> Columns:
        return columns.plan(names, keys, self._averages, self._terms)

    def _values(self, row: Any, known: Columns) -> StepSample | None:
        if known.summary:
            self._over = True
            return None
        scores = _read(row, known.scores) if known.scores else None
        losses = self._losses(row, known)
        if self._apart and scores:
            losses, scores = {} if _lost(losses) else losses, {} if _lost(scores) else scores
        norm = _first(row, known.norm)
        step = _first(row, known.step)
        if not losses and norm is None:
            if scores:
                self._evaluated(_counted(step, self.step), scores)
            return None
        self.step = _counted(step, self.step + 1)
        opens = self._place.moves(step, _first(row, known.epoch)) or self._over
        if scores:
            self._evaluated(self.step, scores)
        newest = self._waiting.pop()[1] if self._waiting else None  # it goes with this report
        if opens:
            opens, self._over = self.seen > 0, False
            self.scores = newest = newest if scores else None  # else: which run's can't be told
        fields: dict[str, Any] = {
            "time": 0.0,
            "now": float(self.seen),
            "rank": 0,
            "step": self.step,
            "losses": losses or None,
            "gradient_norm": norm,
            "learning_rate": _first(row, known.rate),
            "evaluation": self.scores,
            "stands": self.stands,
            "opens": opens,
        }
        if newest:
            fields["evaluated"] = True
        if known.rest:
            fields |= _rest(row, known)
        for key in known.codebooks:
            fields["codebooks"] = _codebooks(row[key])
        return from_fields(fields)

    def _evaluated(self, step: int, scores: dict[str, float]) -> None:
        """Several rows of one step are one evaluation."""
        if self._waiting and self._waiting[-1][0] == step:
            scores = {**self._waiting.pop()[1], **scores}
        self._waiting.append((step, scores))
        self.scores = scores

    def _evaluations(self) -> Iterator[StepSample]:
        """Those since the last training row, but for the newest: it goes with the next one, if there is any."""
        waiting, self._waiting = self._waiting, []
        for step, scores in waiting:
            yield from_fields(
                {
                    "time": 0.0,
                    "now": float(self.seen),
                    "rank": 0,
                    "step": step,
                    "evaluation": scores,
                    "evaluated": True,
                }
                | {"phase": Phase.EVALUATION}
            )

    def _losses(self, row: Any, known: Columns) -> dict[str, float]:
        """`losses: {…}` as our reporter writes it, else every training column that is called a loss.

        The whole loss is called `loss`, whatever its column is; parts keep their names.
        """
        for key in known.losses:
            if isinstance(row[key], Mapping):
                return _read(row[key], [(str(name), name) for name in row[key]])
        losses = _read(row, known.parts) if known.parts else {}
        whole = _first(row, known.whole)
        if whole is None:
            return losses
        return {"loss": whole, **losses}

    def _event(self, row: Mapping[str, Any]) -> StepSample | None:
        """Of our own log: the steps whose update was gated off, and roll-backs."""
        self.step = _counted(number(row.get("step")), self.step)
        if row["event"] == Event.UPDATE_SKIPPED.value:
            self.non_finite += 1
            where = {name: str(row.get(name) or "") for name in ("bad_component", "bad_module")}
            return self._ours(row, bad_step=self.step, **where)
        if row["event"] == Event.ROLLED_BACK.value:
            self.rollbacks += 1
            return self._ours(row)
        if row["event"] == Event.CHECKPOINTS_COMPARED.value:
            return self._ours(row, weights=_weights(row))
        return self._ours(row) if row["event"] == Event.CHECKPOINT_SAVED.value else None

    def _ours(self, row: Mapping[str, Any], **fields: Any) -> StepSample:
        time = next((number(row[name]) for name in columns.TIMES if name in row), None)
        return StepSample(
            time=0.0 if time is None else time,
            now=float(self.seen),
            rank=0,
            step=self.step,
            gated=True,
            non_finite_steps=self.non_finite,
            rollbacks=self.rollbacks,
            **fields,
        )


def _flat(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """`{"train": {"loss": 1}}` as `{"train/loss": 1}`."""
    nested = [name for name, value in row.items() if type(value) is dict and name not in OURS]
    if not nested or "event" in row:
        return row
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if name in nested:
            flat.update((f"{name}/{inner}", item) for inner, item in value.items())
        else:
            flat[name] = value
    return flat


def number(value: Any) -> float | None:
    """`-nan`, `1e-9`, `Infinity` and numbers; None for anything else, an empty cell included."""
    if value is None or value == "" or value is True or value is False:
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _lost(values: Mapping[str, float]) -> bool:
    return all(map(math.isnan, values.values()))


def _counted(value: float | None, other: int) -> int:
    """A step as a file holds it; `other` where it is none."""
    return int(value) if value is not None and math.isfinite(value) else other


def _first(row: Any, keys: Iterable[Key]) -> float | None:
    for key in keys:
        value = number(row[key])
        if value is not None:
            return value
    return None


def _read(row: Any, pairs: Iterable[tuple[str, Any]]) -> dict[str, float]:
    read = ((name, number(row[key])) for name, key in pairs)
    return {name: value for name, value in read if value is not None}


def _rest(row: Any, known: Columns) -> dict[str, Any]:
    """Rewards, plan and time. Groups of equal rewards alone have no spread."""
    spread, equal, time = (_first(row, keys) for keys in (known.spread, known.equal, known.time))
    if equal is not None:
        spread = 0.0 if equal >= 1.0 else (spread if spread is not None else 1.0 - equal)
    return {
        "time": 0.0 if time is None else time,
        "reward": _first(row, known.reward),
        "reward_spread": spread,
        "planned_rate": _first(row, known.planned),
        "step_seconds": _first(row, known.seconds),
    }


def _weights(row: Mapping[str, Any]) -> Weights | None:
    """A comparison of checkpoints as the engine logged it; None when the line was cut or changed."""
    known = {
        field.name: row[field.name] for field in dataclasses.fields(Weights) if field.name in row
    }
    try:
        return from_document(Weights, {camel(name): value for name, value in known.items()})
    except ContractError:
        return None


def _codebooks(value: Any) -> dict[str, Codebook] | None:
    """`codebooks: {…}` as our reporter takes it; a book that can't be read is left out."""
    books = {}
    for name, fields in value.items() if isinstance(value, Mapping) else ():
        try:
            books[str(name)] = from_document(Codebook, fields)
        except ContractError:
            continue
    return books or None
