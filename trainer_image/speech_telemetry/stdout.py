"""Reading a stranger: step samples out of what a training script prints. Called by the supervisor's log tee.

Few patterns, chosen so that a healthy script is never accused: a training loss (`loss=0.0`, `loss: 0.12`,
`train_loss 0.3`, `{'loss': '0', 'grad_norm': 'nan'}`, JSON lines), a step (`step 12`, `iter: 12`, a progress
bar of the training loop). A validation loss or bar is a sign of life and nothing more. A number that we
can't be sure of is left out: a missing value is honest, a guessed one ends somebody's run.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Final

from speech_contract.phases import Phase
from speech_health.samples import Source, StepSample

LINE_LIMIT: Final = 4096  # characters; nobody prints a loss behind that
CLIFF: Final = (
    100.0  # a printed 0.0000 after a loss of more than 100 of its last digits fell, not faded
)

_NUMBER: Final = r"[-+]?(?:nan|inf(?:inity)?|(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)(?![\w.]*\w)"
# `=`, `:` or space between name and value; quotes round either; tensor( and array( before it.
_IS: Final = r"""(?P<is>['"]?\s*[=:]?\s*(?:tensor\(|array\()?\s*['"]?)"""
_LOSS: Final = re.compile(
    r"(?<![\w./-])(?P<train>train(?:ing)?[_/ .-])?(?:(?:total|avg|average|mean|running|epoch|batch|step)[_/-])?"
    rf"loss{_IS}(?P<value>{_NUMBER})",
    re.IGNORECASE,
)
_NORM: Final = re.compile(
    rf"(?<![\w./-])(?:grad(?:ient)?[_ ]?norm|gnorm){_IS}(?P<value>{_NUMBER})", re.IGNORECASE
)
_RATE: Final = re.compile(
    rf"(?<![\w./-])(?:learning[_ ]rate|lr){_IS}(?P<value>{_NUMBER})", re.IGNORECASE
)
_STEP: Final = re.compile(
    r"(?<![\w./-])(?:global[_ ])?(?:step|iter|iteration|update)['\"]?\s*[=:#\[]?\s*['\"]?(?P<value>\d{1,12})(?![\w.])",
    re.IGNORECASE,
)
_EPOCH: Final = re.compile(
    r"(?<![\w./-])epoch['\"]?\s*[=:#\[]?\s*['\"]?(?P<value>\d{1,9})\b", re.IGNORECASE
)
_BAR: Final = re.compile(
    r"(?P<step>\d{1,12})(?:/(?P<total>\d{1,12})|it) \[\d+:\d\d[^,\]]*,?[^,\]]*(?P<postfix>.*)"
)
STALE_STEPS: Final = (
    100  # a bar repeats its values until the script sets them anew; then it is news
)
_OF_EPOCHS: Final = re.compile(
    r"^\W*epochs?\W*\d*\s*%?$", re.IGNORECASE
)  # a bar around the bars of steps
# Words that a training bar may wear; any other (Map, Loading, Downloading) is somebody else's bar.
_TRAINING_BAR: Final = re.compile(r"^\W*\d*\W*$|train|epoch|step|iter|batch", re.IGNORECASE)
_HELD_OUT: Final = re.compile(
    r"\b(?:val|valid|validation|validating|eval|evaluation|evaluating|test|testing|dev|held[-_ ]out)\b"
    r"|\b(?:val|valid|eval|test|dev)_",
    re.IGNORECASE,
)
# The word before a bare `loss`, when a space parts them: these do not change what it means.
_WORD_BEFORE: Final = re.compile(r"(?P<word>[A-Za-z][\w-]*) +$")
_HARMLESS: Final = frozenset(
    "train training total avg average mean running current epoch batch mini-batch minibatch step iter "
    "iteration the and with info debug warning it is".split()
)
# Closing lines of a run that repeat an average, not a step.
_SUMMARY: Final = ("train_runtime", "train_samples_per_second", "best_loss", "final_loss")


@dataclasses.dataclass(frozen=True)
class _Printed:
    """What a line says of where the run is."""

    step: int | None = None
    total: int | None = None  # of a bar of steps
    bar: str | None = None  # a bar's own words and values, without counters and times; None: no bar
    foreign: bool = False  # a bar that is not the training loop's


class StdoutReader:
    """One rank's output, line by line. Steps never go back: a bar that starts over is counted on.

    When no step is printed, the number of loss reports is the step.
    """

    def __init__(self, rank: int = 0) -> None:
        self._rank = rank
        self._step = 0  # what the last sample said
        self._base = 0  # steps of bars that ended before
        self._printed: int | None = None  # the newest step as printed
        self._loss_step: int | None = None  # of the newest loss report
        self._total: int | None = None  # where the training bar ends
        self._zero: tuple[str, int] | None = (
            None  # a bar that shows a zero, and the step it was believed at
        )
        self._epoch: float | None = None  # as printed
        self._sampled = False
        self._last_loss: float | None = None  # newest loss that was not zero

    def feed_line(self, line: str, now: float, time: float) -> StepSample | None:
        """`now` monotonic, `time` epoch seconds. None when the line tells nothing. Never raises.

        Split the stream at `\\n` *and* at `\\r`: a progress bar writes no newline until it ends. A line
        that still holds several bars is read from its last one.
        """
        if "\r" in line:
            line = line.rstrip("\r\n").rpartition("\r")[2]
        if len(line) > LINE_LIMIT:
            line = line[:LINE_LIMIT]
        if not _worth_a_look(line):
            return None
        return self._read(line, now, time)

    def _read(self, line: str, now: float, time: float) -> StepSample | None:
        if any(word in line for word in _SUMMARY):
            return None
        loss, norm = self._loss(line), _value(_NORM, line)
        printed = _printed(line)
        if loss is None and (self._foreign(printed) or _HELD_OUT.search(line)):
            return self._life(now, time)
        if loss is None and norm is None and not self._moves(printed.step, line):
            return None
        restarted = self._follow(printed, loss is not None)
        return StepSample(
            time=time,
            now=now,
            rank=self._rank,
            step=self._step,
            source=Source.STDOUT,
            losses=None if loss is None else self._believable(loss, printed, restarted),
            gradient_norm=norm,
            learning_rate=_value(_RATE, line),
        )

    def _foreign(self, printed: _Printed) -> bool:
        """A bar of another length inside the unfinished training bar is an evaluation's."""
        known = self._total is not None and printed.total is not None
        inside = self._total is not None and (self._printed or 0) < self._total
        return printed.foreign or (known and inside and printed.total != self._total)

    def _follow(self, printed: _Printed, loss: bool) -> bool:
        """Go on to what the line says. Whether its bar started over."""
        before = self._printed
        self._advance(printed.step, loss)
        if printed.total is not None:
            self._total = printed.total
        return printed.step is not None and before is not None and printed.step < before

    def _moves(self, step: int | None, line: str) -> bool:
        """A line without values counts when its step or, without one, its epoch is a new one.

        Step 0 and the first epoch named only announce: nothing was done yet, and the silence that
        follows may be a long first step.
        """
        if step is not None:
            return step > 0 and step != self._printed
        epoch = _value(_EPOCH, line)
        if epoch is None or epoch == self._epoch:
            return False
        first, self._epoch = self._epoch is None, epoch
        return not first

    def _life(self, now: float, time: float) -> StepSample | None:
        """Evaluation, or a bar that is not the training loop's: alive, once training has begun."""
        if not self._sampled:
            return None
        return StepSample(time, now, self._rank, self._step, Source.STDOUT, phase=Phase.EVALUATION)

    def _advance(self, printed: int | None, loss: bool) -> None:
        """Follow the printed step; a loss without a step of its own still is a step of its own."""
        self._sampled = True
        if printed is not None:
            if self._printed is None:
                self._base = self._step if printed <= self._step else 0
            elif printed < self._printed:
                self._base = self._step
            self._printed = printed
            self._step = max(self._step, self._base + printed)
        elif (loss and self._step == self._loss_step) or self._step == 0:
            self._step += 1
        if loss:
            self._loss_step = self._step

    def _loss(self, line: str) -> str | None:
        """The training loss as printed; None when there is none or when it may be another loss."""
        for match in _LOSS.finditer(line):
            before = line[: match.start()]
            if not _assigned(match):
                continue
            if match["train"] or _plain(before):
                return match["value"]
        return None

    def _believable(self, text: str, printed: _Printed, restarted: bool) -> dict[str, float] | None:
        """`0.0000` may be 0.00004: it is zero from the first report on, or after a fall, else unknown."""
        value = float(text)
        if value != 0.0:
            self._last_loss = value
            return {"loss": value}
        digits = len(text.partition(".")[2].lower().partition("e")[0])
        faded = (
            digits >= 2
            and self._last_loss is not None
            and abs(self._last_loss) <= CLIFF * 10.0**-digits
        )
        if faded or (printed.bar is not None and not restarted and self._stale(printed)):
            return None
        return {"loss": 0.0}

    def _stale(self, printed: _Printed) -> bool:
        """A bar repeats its values at every step until the script sets them: the same zero is old news.

        Unless it stands at the bar's end, or for STALE_STEPS more steps.
        """
        assert printed.bar is not None
        if self._zero is not None and self._zero[0] == printed.bar:
            stands = self._step - self._zero[1]
            if stands < STALE_STEPS and printed.step != printed.total:
                return True
        self._zero = (printed.bar, self._step)
        return False


def _worth_a_look(line: str) -> bool:
    """Cheap substring tests first: most lines of a log are not for us."""
    folded = line.lower()
    return "loss" in folded or "norm" in folded or "it/s" in folded or _has_step(folded)


def _has_step(folded: str) -> bool:
    return (
        "step" in folded
        or "iter" in folded
        or "update" in folded
        or "epoch" in folded
        or ("/" in folded and " [" in folded)
        or "it [" in folded
    )


def _assigned(match: re.Match[str]) -> bool:
    """`loss 0.3` is a value, `loss 5` is prose: a bare space wants a number that looks measured."""
    return bool(match["is"].strip()) or not match["value"].isdigit()


def _plain(before: str) -> bool:
    """What stands before a bare `loss` does not make it a held-out, best or component loss."""
    if _HELD_OUT.search(before):
        return False
    match = _WORD_BEFORE.search(before)
    return match is None or match["word"].lower() in _HARMLESS


def _printed(line: str) -> _Printed:
    """The step, and what kind of bar the line shows, if any."""
    bar = _BAR.search(line)
    if bar is None:
        step = _value(_STEP, line)
        return _Printed(None if step is None else int(step))
    head = line[: bar.start()].partition("|")[0].rstrip()
    title = head.rstrip("0123456789% :")
    if _HELD_OUT.search(title) or not _TRAINING_BAR.search(title):
        return _Printed(foreign=True)
    total = None if bar["total"] is None or _OF_EPOCHS.search(head) else int(bar["total"])
    return _Printed(int(bar["step"]), total, f"{title}{bar['postfix']}")


def _value(pattern: re.Pattern[str], line: str) -> float | None:
    match = pattern.search(line)
    return None if match is None else float(match["value"])
