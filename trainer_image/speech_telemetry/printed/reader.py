"""Reading a stranger: step samples out of what a training script prints. Called by supervisors and by `replay`.

A healthy script is never accused: a validation loss or bar is a sign of life and nothing more, and a number that
we can't be sure of is left out. A missing value is honest, a guessed one ends somebody's run.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any, Final

from speech_contract.phases import Phase
from speech_health.samples import SKIP_SENTENCE, Source, StepSample, from_fields
from speech_telemetry.printed import formats, grammar
from speech_telemetry.printed.columns import Columns
from speech_telemetry.printed.counters import Counter
from speech_telemetry.printed.names import HELD_OUT
from speech_telemetry.printed.numbers import decimals, value_of
from speech_telemetry.printed.said import Said
from speech_telemetry.printed.scores import Scores
from speech_telemetry.printed.shapes import Shapes
from speech_telemetry.printed.standing import StandIn

LINE_LIMIT: Final = 8192  # characters that are read; behind them a NaN alone is looked for
# No name is so long, and what is (base64, a path) would be gone over from each of its characters on.
_ENDLESS: Final = re.compile(r"[^\s=:,|'\"\[\](){}<>]{256,}")
_ENDLESS_FROM: Final = 256
_BAD_BEHIND: Final = re.compile(
    r"[\w./-]{0,24}(?:loss|norm)[\w./-]{0,24}['\"]?\s{0,4}[=:]\s{0,4}['\"]?[-+]?(?:nan|inf)\b",
    re.IGNORECASE,
)
CLIFF: Final = (
    100.0  # a printed 0.0000 after a loss of more than 100 of its last digits fell, not faded
)
STALE_STEPS: Final = (
    100  # a bar repeats its values until the script sets them anew; then it is news
)
HEADING: Final = 80  # characters of a heading at the most
SECTION: Final = (
    50  # reports that an evaluation's heading covers, unless something closes it before
)
_ESCAPE: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x08")


class LineReader:
    """One rank's output, line by line. When no step is printed, the number of reports is the step."""

    def __init__(self, rank: int = 0) -> None:
        self.form = ""  # the format that was recognised: of the newest line with values
        self._rank = rank
        self._counter = Counter()
        self._shapes = Shapes()
        self._standing = StandIn()
        self._zero: tuple[str, int] | None = (
            None  # a bar that shows a zero, and the step it was believed at
        )
        self._last_loss: float | None = None  # newest loss that was not zero
        self._speaker: int | None = None  # of several ranks in one output, whose lines count
        self._columns = Columns()
        self._block: Said | None = None  # rows of one value each, until the last
        self._measures = False  # a block has shown a norm above 0
        self._section = 0  # reports that an evaluation's heading still covers
        self._evaluation = False  # a Coqui trainer's evaluation, until it trains again
        self._scores = Scores()

    @property
    def epoch(self) -> float | None:
        """The newest epoch, as printed."""
        return self._counter.epoch

    def feed(self, line: str, now: float, time: float = 0.0) -> StepSample | None:
        """`now` monotonic, `time` epoch seconds. None when the line tells nothing. Never raises.

        Split the stream at `\\n` *and* at `\\r`: a progress bar writes no newline until it ends. A line
        that still holds several bars is read from its last one.
        """
        if "\r" in line:
            line = line.rstrip("\r\n").rpartition("\r")[2]
        if self._block is None and not self._section and not self._evaluation:
            known = self._shapes.read(line)
            if known is not None:
                told = self._sample if known.values else self._judge
                return told(known, line, now, time)
        if len(line) > _ENDLESS_FROM:
            line = _ENDLESS.sub("…", line)
        if len(line) > LINE_LIMIT:
            behind = _BAD_BEHIND.search(line, LINE_LIMIT)
            line = line[:LINE_LIMIT] + (f" {behind[0]}" if behind else "")
        folded = line.lower()
        if self._block is None and not self._columns and not _worth_a_look(folded):
            return None
        if "\x1b" in line or "\x08" in line:
            line = _ESCAPE.sub("", line)
            folded = line.lower()
        return self._read(line, folded, now, time)

    def _read(self, line: str, folded: str, now: float, time: float) -> StepSample | None:
        if formats.is_summary(line):
            return None
        whole, (line, rank) = line, _bare(line)
        if self._block is None and (self._columns or "loss" in folded):
            row = self._columns.row(line)
            if row is not None:
                return self._judge(row, line, now, time)
            if self._columns.opens(line):
                return None
        if (
            self._block is not None
            or "> " in line
            or "│" in line
            or (line.lstrip()[:1] in ("|", "┃") and not formats.WESEP_ROW.fullmatch(line))
        ):
            rows = self._rows(line, now, time)
            if rows is not None or self._block is not None:
                return rows
        if len(line) < HEADING and self._heading(line):
            return None
        said = grammar.read(line, folded)
        if rank is not None and said.rank is None:
            said.rank = rank
        if said.values:
            self._shapes.learn(whole, said)
        return self._judge(said, line, now, time)

    def _judge(self, said: Said, line: str, now: float, time: float) -> StepSample | None:
        if self._somebody_elses(said):
            return self._aside(said, now, time)
        if self._foreign(said) or self._covered(said, line):
            return self._life(now, time)
        if not said.values:
            if said.held_out or (said.bar is None and HELD_OUT.search(line)):
                return self._evaluated(said, now, time)
            if (said.prose and "=" not in line) or not self._counter.moves(said):
                return None
        elif said.held_out and not (said.loss or said.norm is not None or said.parts or said.terms):
            return self._evaluated(said, now, time)
        return self._sample(said, line, now, time)

    def _sample(self, said: Said, line: str, now: float, time: float) -> StepSample:
        restarted = self._counter.follow(said, line, now)
        if said.values and (said.format.mark or not self.form):
            self.form = said.format.name
        losses = self._losses(said, restarted)
        fields: dict[str, Any] = {
            "time": time,
            "now": now,
            "rank": self._rank,
            "step": self._counter.step,
            "source": Source.STDOUT,
            "losses": losses,
            "stands": self._standing.of(losses),
            "gradient_norm": said.norm,
            "learning_rate": said.rate,
            "report": self._counter.reports,
            "form": SKIP_SENTENCE if said.format is formats.SENTENCE else self.form,
        }
        scores = said.held and self._scores.fresh(said, self._counter)
        if scores:
            fields |= {"evaluation": scores, "evaluated": True}
        if said.reward is not None or said.spread is not None:
            fields |= {"reward": said.reward, "reward_spread": said.spread}
        if said.unrated:
            fields["unrated"] = True
        if said.terms or said.parts:
            fields["parts"] = {**said.terms, **said.parts}
        return from_fields(fields)

    # ---- whose line it is ----

    def _somebody_elses(self, said: Said) -> bool:
        """Of several ranks in one output the first that reports speaks."""
        if said.rank is None or not said.values:
            return False
        if self._speaker is None:
            self._speaker = said.rank
        return said.rank != self._speaker

    def _aside(self, said: Said, now: float, time: float) -> StepSample | None:
        """Another rank's line: life, and a nan at the speaker's step."""
        life = self._life(now, time)
        if life is None or not _bad(said):
            return life
        losses = self._losses(said, False)
        return dataclasses.replace(
            life, phase=Phase.TRAINING, losses=losses, gradient_norm=said.norm
        )

    def _foreign(self, said: Said) -> bool:
        """A bar of another length inside the unfinished training bar is an evaluation's."""
        if said.foreign:
            return True
        if said.values or said.bar is None:
            return False
        counter = self._counter
        known = counter.total is not None and said.total is not None
        inside = counter.total is not None and (counter.printed or 0) < counter.total
        return known and inside and said.total != counter.total

    def _heading(self, line: str) -> bool:
        """An evaluation's heading covers what follows, until training goes on."""
        if formats.CLOSES.match(line):
            self._section, self._evaluation = 0, False
            return False
        if formats.OPENS.match(line):
            self._section = SECTION if self._counter.begun else 0
            self._evaluation = formats.EVALUATION in line
            return True
        return False

    def _covered(self, said: Said, line: str) -> bool:
        """Whether the report stands below an evaluation's heading."""
        if self._evaluation:
            return True
        if not self._section:
            return False
        counter = self._counter
        on = said.step is not None and said.step > (counter.printed or 0)
        later = said.epoch is not None and counter.epoch is not None and said.epoch > counter.epoch
        if on or later or said.bar is not None or line.startswith("{") or "train" in line.lower():
            self._section = 0
            return False
        if said.values:
            self._section -= 1
        return said.values

    # ---- one value a line ----

    def _rows(self, line: str, now: float, time: float) -> StepSample | None:
        """Blocks of Coqui's trainer, and tables. A block is told at its last row, or when another line comes."""
        head = formats.BLOCK_HEAD.search(line)
        if head is not None:
            return self._open(head, now, time)
        row = formats.BLOCK_ROW.match(line)
        kind = formats.BLOCK
        if row is None:
            row, kind = formats.TABLE_ROW.match(line), formats.TABLE
        if row is None and "│" in line:
            row = formats.FRAMELESS_ROW.match(line)
        if row is None:
            done = self._close(now, time)
            if done is not None and formats.CLOSES.match(line):
                self._evaluation = False
            if done is not None and formats.EVALUATION in line:
                self._evaluation = True
            return done
        if self._block is None:
            self._block = Said(kind)
        grammar.take_named(self._block, row["name"], row["value"])
        if kind is formats.BLOCK and row["name"] in formats.BLOCK_END:
            return self._close(now, time)
        return None

    def _open(self, head: re.Match[str], now: float, time: float) -> StepSample | None:
        done = self._close(now, time)
        if head["global"]:
            self._evaluation = False
        self._block = Said(
            formats.BLOCK,
            step=int(head["step"]),
            total=None if head["total"] is None else int(head["total"]),
        )
        return done

    def _close(self, now: float, time: float) -> StepSample | None:
        said, self._block = self._block, None
        if said is None:
            return None
        self._measures |= bool(said.norm)
        if not self._measures:
            # Coqui's trainer prints 0.0 where it clips nothing, and so measures nothing.
            said.norm = None
        if not (said.values or said.step):
            return None
        return self._judge(said, repr(said), now, time)

    # ---- values ----

    def _life(self, now: float, time: float) -> StepSample | None:
        """Evaluation, or a bar that is not the training loop's: alive, once training has begun."""
        if not self._counter.begun:
            return None
        counter = self._counter
        return StepSample(
            time,
            now,
            self._rank,
            counter.step,
            Source.STDOUT,
            phase=Phase.EVALUATION,
            report=counter.reports,
            form=self.form,
        )

    def _evaluated(self, said: Said, now: float, time: float) -> StepSample | None:
        """A line about held-out data alone: a sign of life, and the scores of an evaluation that is over."""
        life = self._life(now, time)
        scores = self._scores.fresh(said, self._counter)
        if life is None or not scores:
            return life
        return dataclasses.replace(life, evaluation=scores, evaluated=True)

    def _losses(self, said: Said, restarted: bool) -> dict[str, float] | None:
        """The whole loss, with it only parts that are not finite; without a whole all parts."""
        found: dict[str, float] = {}
        if said.loss is not None:
            whole = self._believable(said.loss, said, restarted)
            found.update({} if whole is None else {"loss": whole})
            found.update((k, v) for k, v in said.parts.items() if not math.isfinite(v))
        elif len(said.parts) > 1 or any(said.parts.values()):
            found.update(said.parts)
        elif said.step is not None:
            found.update(said.terms)
        found.update(said.bad)
        return found or None

    def _believable(self, text: str, said: Said, restarted: bool) -> float | None:
        """`0.0000` may be 0.00004: it is zero from the first report on, or after a fall, else unknown."""
        value = value_of(text)
        if value is None:
            return None
        if value != 0.0:
            if not (said.average and self._stale(said, restarted)):
                self._last_loss = value
                return value
            return None
        digits = decimals(text)
        faded = (
            digits >= 2
            and self._last_loss is not None
            and abs(self._last_loss) <= CLIFF * 10.0**-digits
        )
        return None if faded or self._stale(said, restarted) else 0.0

    def _stale(self, said: Said, restarted: bool) -> bool:
        """A bar repeats its values at every step until the script sets them: the same zero is old news.

        Unless it stands at the bar's end, or for STALE_STEPS more steps.
        """
        if said.bar is None or restarted or said.stepwise:
            return False
        if self._zero is not None and self._zero[0] == said.bar:
            stands = self._counter.step - self._zero[1]
            if stands < STALE_STEPS and said.step != said.total:
                return True
        self._zero = (said.bar, self._counter.step)
        return False


def _bare(line: str) -> tuple[str, int | None]:
    """A line without what launchers and loggers put before it, and the rank that they name."""
    rank = None
    if line[:1] in "[(" or line[10:11] == "T":
        prefix = formats.PREFIX.match(line)
        if prefix is not None:
            line = line[prefix.end() :]
            rank = None if prefix["rank"] is None else int(prefix["rank"])
    if line.startswith(("INFO:", "DEBUG:", "WARNING:")):
        line = formats.LOGGER.sub("", line)
    return line, rank


def _bad(said: Said) -> bool:
    loss = None if said.loss is None else value_of(said.loss)
    numbers = [
        *said.parts.values(),
        *said.bad.values(),
        *(n for n in (loss, said.norm) if n is not None),
    ]
    return not all(map(math.isfinite, numbers))


def _worth_a_look(folded: str) -> bool:
    """Cheap substring tests first: most lines of a log are not for us."""
    return (
        "loss" in folded
        or "norm" in folded
        or "it/s" in folded
        or "step" in folded
        or "iter" in folded
        or "update" in folded
        or "epoch" in folded
        or "nan" in folded
        or ("/" in folded and " [" in folded)
        or "it [" in folded
        or folded.endswith("]")
        or ("valid" in folded or "evalua" in folded or "train" in folded)
        or ":\t" in folded  # WaveGlow names nothing
    )
