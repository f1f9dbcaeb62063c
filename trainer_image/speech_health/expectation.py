"""Rule Expectation: a loss component left the range that a person stated for it.

The rules know what no healthy run does; what *this* run should look like, only its owner knows. A name that no report
has is told as well: an expectation that is never looked at would be a silent one.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Iterable
from typing import Final

from speech_contract import stated
from speech_contract.actions import OnExceeded
from speech_contract.findings import Action
from speech_contract.losses import HEADLINES
from speech_contract.rules import Rule, Severity
from speech_health.detector import Attempt, Detector
from speech_health.samples import StepSample

PATIENCE: Final = 100  # reports with losses until a name that none of them has is told
NAMED: Final = 8  # components in a sentence
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SIGNS: Final = re.compile(r"[^a-z0-9]+")
_IDLE: Final = frozenset({"", "loss", "losses", "train", "training"})
WHOLE: Final = ""  # the folded name of the loss itself


@functools.lru_cache(maxsize=1024)
def folded(name: str) -> str:
    """`vqLoss`, `vq_loss`, `loss/vq` and `train/VQ loss` are one name; `loss` and `total` are WHOLE."""
    words = [word for word in _SIGNS.split(_CAMEL.sub(" ", name).lower()) if word not in _IDLE]
    plain = "".join(words)
    return WHOLE if plain in HEADLINES else plain


def _names(series: str) -> set[str]:
    """What a person may call it: the whole name, or what stands behind its last slash."""
    return {folded(series), folded(series.rpartition("/")[2])}


@dataclasses.dataclass(eq=False, repr=False)
class _Watch:
    """One component under one expectation, of one source and rank."""

    out: int = 0  # reports in a row
    since: int = 0  # step of the first of them
    sentence: str = ""  # while it is out for long enough


class Expectation(Detector[dict[str, stated.Expectation], dict[tuple[str, str], _Watch]]):
    """`forReports` reports in a row outside. Heals with the first one inside."""

    rule = Rule.EXPECTATION
    feeds_on = ("losses", "parts")

    def __init__(self, limits: dict[str, stated.Expectation], attempt: Attempt) -> None:
        super().__init__(limits, attempt)
        self._watched: dict[str, list[str]] = {}  # component → expectations that mean it
        self._unseen = {name: 0 for name in limits}  # reports without it
        self._told = ""  # names that none of them has, in a sentence

    def feed(self, sample: StepSample) -> None:
        """Judge every component that is meant."""
        numbers = {**(sample.parts or {}), **(sample.losses or {})}
        stream = self._streams.setdefault((sample.source, sample.rank), {})
        changed = False
        for series, value in numbers.items():
            for name in self._meant(series):
                if math.isfinite(value) and sample.step >= self._limits[name].from_step:
                    watch = stream.setdefault((name, series), _Watch())
                    changed |= self._judge(watch, name, series, value, sample.step)
        if numbers and (self._unseen or self._told):
            changed |= self._miss()
        if changed:
            self._tell(sample)

    def finish(self, now: float, exit_code: int) -> None:
        """A short run had its chance to show each name too."""
        if self._unseen and self._watched and not self._told:
            self._told = self._missing(list(self._unseen))
            self._tell(None)

    def _meant(self, series: str) -> list[str]:
        """The expectations that mean this component; remembered."""
        meant = self._watched.get(series)
        if meant is None:
            known = _names(series)
            meant = self._watched[series] = [n for n in self._limits if folded(n) in known]
            for name in meant:
                self._unseen.pop(name, None)
        return meant

    def _judge(self, watch: _Watch, name: str, series: str, value: float, step: int) -> bool:
        """True when what is to be said changed."""
        limits, before = self._limits[name], watch.sentence
        if limits.holds(value):
            watch.out, watch.sentence = 0, ""
            return bool(before)
        watch.since = watch.since if watch.out else step
        watch.out += 1
        if watch.out < limits.for_reports:
            return False
        watch.sentence = (
            f"loss component {series!r} is {value:.6g} at step {step}, expected {limits.text}: outside in "
            f"{watch.out} report(s) in a row since step {watch.since}"
        )
        return True

    def _miss(self) -> bool:
        for name in self._unseen:
            self._unseen[name] += 1
        late = [name for name, reports in self._unseen.items() if reports >= PATIENCE]
        told = self._missing(late) if late else ""
        changed, self._told = told != self._told, told
        return changed

    def _missing(self, names: Iterable[str]) -> str:
        shown = sorted(self._watched)[:NAMED]
        wanted = ", ".join(repr(name) for name in names)
        return f"no report has the loss component {wanted}, expected by health.expect; reported: {', '.join(shown)}"

    def _tell(self, sample: StepSample | None) -> None:
        watches = [
            (name, watch)
            for stream in self._streams.values()
            for (name, _), watch in stream.items()
            if watch.sentence
        ]
        rank = None if sample is None else sample.rank
        evidence = "; ".join(
            [*(watch.sentence for _, watch in watches), *filter(None, [self._told])]
        )
        if watches:
            step = min(watch.since for _, watch in watches)
            stops = any(self._limits[n].on_exceeded is OnExceeded.STOP for n, _ in watches)
            action = OnExceeded.STOP if stops else OnExceeded.WARN
            self._exceed(evidence, action, step=step, rank=rank)
        elif self._told:
            self._warn(evidence, severity=Severity.INFO, action=Action.NONE, rank=rank)
        else:
            self._heal(f"within its range at step {sample.step}" if sample else "")

    def forget_stdout(self) -> None:
        """See the base class. The names that stdout lacked are looked for anew."""
        super().forget_stdout()
        self._told, self._unseen = "", dict.fromkeys(self._unseen, 0)
        self._heal("the script reports by itself")
