"""Rule CodebookCollapse: the quantiser of a codec uses a few of its codes, or its codebooks stand still.

Four signs per codebook, each to last for some steps: a perplexity far below the number of codes, dead codes, a
codebook that does not move while the run is young (statistics taken of the wrong tensor), and a level that adds to
the residual instead of taking from it. Several levels with a perplexity near 1 are past help. A codebook counts from
its first report on: k-means may come late. One that says that data gave it its codes (`age`) has no excuse to use one
of them or to stand still, and of that is told at once. What is not reported is not judged.
"""

from __future__ import annotations

import dataclasses

from speech_contract import thresholds
from speech_contract.report import Codebook
from speech_contract.rules import Rule
from speech_health.detector import Attempt, Detector
from speech_health.samples import StepSample

REPORTS = 5  # in a row, at least, however far apart they lie
VERY_LOW = 5.0  # perplexity that no book with enough codes keeps once it has settled
YOUNG = (100, 500)  # steps of a book in which it has to move
SHORT = 2  # a book that began with data shows a sign half as long
NAMED = 4  # signs in a sentence


@dataclasses.dataclass(eq=False, repr=False)
class _Sign:
    """One sign on one book: how often in a row, and since which step."""

    reports: int = 0
    since: int = 0
    text: str = ""

    def take(self, step: int, text: str | None) -> None:
        """`text` None: it is not there now."""
        if text is None:
            self.reports = 0
            return
        self.since = self.since if self.reports else step
        self.reports, self.text = self.reports + 1, text

    def lasts(self, step: int, for_steps: int) -> bool:
        """It has been there long enough to be believed."""
        return self.reports >= REPORTS and step - self.since + 1 >= for_steps


@dataclasses.dataclass(eq=False, repr=False)
class _Book:
    """One codebook of one rank."""

    name: str
    first: int  # step of its first report
    begun: bool = False  # data gave it its codes
    signs: dict[str, _Sign] = dataclasses.field(default_factory=dict)

    def take(self, kind: str, step: int, text: str | None) -> None:
        """What a report says of one sign."""
        sign = self.signs.get(kind)
        if sign is None:
            if text is None:
                return  # nearly every report of a sound run
            sign = self.signs[kind] = _Sign()
        sign.take(step, None if text is None else f"codebook {self.name}: {text}")


@dataclasses.dataclass(eq=False, repr=False)
class _Stream:
    """One rank as heard through one source."""

    books: dict[str, _Book] = dataclasses.field(default_factory=dict)
    last_step: int | None = None


class CodebookCollapse(Detector[thresholds.CodebookCollapse, _Stream]):
    """Signs that last are a warning; `stopLevels` levels below `stopPerplexity` end the run."""

    rule = Rule.CODEBOOK_COLLAPSE
    feeds_on = ("plan", "codebooks")

    def __init__(self, limits: thresholds.CodebookCollapse, attempt: Attempt) -> None:
        super().__init__(limits, attempt)
        self._fresh = True
        # Read once, not for each book of each report.
        self._stop_perplexity = float(limits.stop_perplexity)
        self._min_perplexity_share = float(limits.min_perplexity_share)
        self._max_dead_share = float(limits.max_dead_share)
        self._max_residual_ratio = float(limits.max_residual_ratio)
        self._min_movement = float(limits.min_movement)

    def feed(self, sample: StepSample) -> None:
        """Follow every book of the report."""
        if sample.plan is not None:
            self._fresh = sample.plan.fresh is not False
        if not sample.codebooks:
            return
        stream = self._streams.setdefault((sample.source, sample.rank), _Stream())
        if sample.step == stream.last_step:
            return
        if stream.last_step is not None and sample.step < stream.last_step:
            stream.books.clear()  # rolled back: what was counted is another line of the run
        stream.last_step = sample.step
        for name, values in sample.codebooks.items():
            book = stream.books.get(name)
            if book is None:
                book = stream.books[name] = _Book(name, sample.step)
            self._follow(book, values, sample.step)
        self._judge(stream, sample)

    def _follow(self, book: _Book, values: Codebook, step: int) -> None:
        """Every sign that this report can tell of, there or not."""
        limits = self._limits
        book.begun = values.age is not None
        age = step - book.first if values.age is None else values.age
        self._follow_use(book, values, age, step)
        if (dead := values.dead) is not None:
            many = age >= limits.after_steps and dead > self._max_dead_share
            book.take("dead", step, f"{dead:.0%} dead codes" if many else None)
        if (way := values.movement) is not None:
            still = self._is_young(book, age) and way < self._least_way(age)
            book.take("movement", step, f"moved by {way:.2g} of itself" if still else None)
        if (left := values.residual) is not None:
            adds = age >= limits.grace_steps and left > self._max_residual_ratio
            told = f"leaves {left:.3g} times the residual it was given" if adds else None
            book.take("residual", step, told)

    def _follow_use(self, book: _Book, values: Codebook, age: int, step: int) -> None:
        perplexity, least = values.perplexity, self._lowest(values, age)
        if perplexity is None:
            return
        settled = book.begun or age >= self._limits.grace_steps
        low, gone = perplexity < least, settled and perplexity < self._stop_perplexity
        told = (
            f"perplexity {perplexity:.3g} below {least:.3g}{_of(values)}" if low or gone else None
        )
        book.take("perplexity", step, told if low else None)
        book.take("collapsed", step, told if gone else None)

    def _lowest(self, values: Codebook, age: int) -> float:
        """The least perplexity that a book of this age may have."""
        size = float(values.size or 0)
        if age >= self._limits.after_steps and size:
            return max(self._min_perplexity_share * size, min(VERY_LOW, size / 4))
        if age >= self._limits.grace_steps:
            return min(VERY_LOW, size / 4) if size else self._stop_perplexity
        return 0.0 if values.age is None else self._stop_perplexity

    def _is_young(self, book: _Book, age: int) -> bool:
        """It has to move now. A resumed book of unknown age has found its place."""
        first = 1 if book.begun else YOUNG[0]
        known = book.begun or book.first <= YOUNG[1]
        return self._fresh and known and first <= age <= YOUNG[1]

    def _least_way(self, age: int) -> float:
        """Movement is told over a hundred steps, and over fewer while the book is younger."""
        return self._min_movement * min(age, YOUNG[0]) / YOUNG[0]

    def _judge(self, stream: _Stream, sample: StepSample) -> None:
        lasting = {
            (name, kind): sign
            for name, book in stream.books.items()
            for kind, sign in book.signs.items()
            if sign.lasts(sample.step, self._limits.for_steps // (SHORT if book.begun else 1))
        }
        if not lasting:
            books = [book for heard in self._streams.values() for book in heard.books.values()]
            if not any(sign.reports for book in books for sign in book.signs.values()):
                self._heal(f"every codebook is in use at step {sample.step}")
            return
        gone = [name for name, kind in lasting if kind == "collapsed"]
        since = min(sign.since for sign in lasting.values())
        texts = list(dict.fromkeys(sign.text for sign in lasting.values()))
        more = f" and {len(texts) - NAMED} more signs" if len(texts) > NAMED else ""
        evidence = f"{'; '.join(texts[:NAMED])}{more}; since step {since}"
        if len(gone) >= min(self._limits.stop_levels, len(stream.books)):
            self._exceed(
                f"{len(gone)} of {len(stream.books)} codebooks collapsed: {evidence}",
                self._limits.on_exceeded,
                step=since,
                rank=sample.rank,
            )
        else:
            self._warn(evidence, step=since, rank=sample.rank)


def _of(values: Codebook) -> str:
    return f" (of {values.size} codes)" if values.size else ""
