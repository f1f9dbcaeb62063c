"""The zoo of silences: whole attempts, second by second, in which a rank stops for good, or only takes its time.

A curve is judged by what is reported, a silence by what is not: here the supervisor's clock ticks, stamps age and
reports fail to come. Used by tests/zoo/test_silences.py with fixed seeds and by benchmarks/accept_health.py.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

from runs import Dice

from speech_contract.findings import RankRow
from speech_contract.phases import PAUSES, Phase
from speech_contract.thresholds import Stall
from speech_health.samples import Source, StepSample

LIMITS = Stall()
PAUSE_FLOOR = 5 * LIMITS.floor_seconds  # docs/rules/Stalled.md: pauses, and scripts that only print
PATIENT = 0.8  # of its limit: the longest that anything healthy takes here
LATE = 3.0  # seconds after its limit in which a stop must be named: two ticks and a stamp that came second-hand


@dataclasses.dataclass(frozen=True)
class Mark:
    """From `at` on the ranks are in this phase, after this step; a report comes with it or not."""

    at: float
    phase: Phase
    step: int | None = None
    reports: bool = False


class Attempt:
    """One attempt as it unfolds. `tells`: its phases are known, by our engine or the three-line API."""

    def __init__(self, dice: Dice, source: Source = Source.REPORTER) -> None:
        self.dice, self.source = dice, source
        self.tells = source is Source.REPORTER
        self.gated = self.tells and dice.random() < 0.5
        self.ranks = dice.choice([1, 2, 4, 8]) if self.tells else 1
        self.every = 1 if self.gated else dice.choice([1, 1, 10, 50])
        # a script that prints nothing for 300 s from its start on is warned of, and rightly
        slowest = 40.0 if self.gated else (400.0 if self.tells else 150.0) / self.every
        self.step_seconds = dice.scale(0.05 / self.every, slowest)
        self.marks: list[Mark] = []
        self.now, self.step = 0.0, 0
        self.longest: dict[Phase, float] = {}
        self.stopped: float | None = None
        self.limit = 0.0  # seconds of silence after which a stop must be named

    @property
    def gap(self) -> float:
        """Seconds between reports, as meant."""
        return self.every * self.step_seconds

    def enter(self, phase: Phase, seconds: float) -> None:
        """Be in a phase for so long; all but the start's are reported as they begin."""
        self.marks.append(Mark(self.now, phase, self.step or None, reports=phase in PAUSES))
        self.now += seconds
        self.longest[phase] = max(self.longest.get(phase, 0.0), seconds)

    def begin(self, slow: float = 1.0) -> None:
        """All phases of a start; `slow` stretches them."""
        for phase in (Phase.RENDEZVOUS, Phase.DATA, Phase.RESTORING, Phase.PREFLIGHT):
            taken = (
                self.dice.scale(0.5, 60.0) * slow if self.tells else self.dice.uniform(0.5, 20.0)
            )
            self.enter(phase, min(taken, PATIENT * LIMITS.startup_seconds))
        honest = PATIENT * LIMITS.startup_seconds - 1.5 * self.gap if self.tells else 1.0
        self.enter(Phase.FIRST_STEP, min(self.gap * self.dice.uniform(0.0, 9.0) * slow, honest))

    def train(self, reports: int, hiccups: float = 0.0) -> None:
        """So many reports later; a share of them is late, up to what is honest."""
        for _ in range(reports):
            taken = self.gap * min(self.dice.noise(0.15), 1.5)
            if self.dice.random() < hiccups:
                taken = max(taken, self.dice.uniform(0.2, PATIENT) * self.training_limit)
            self.step += self.every
            self.now += taken
            self.marks.append(Mark(self.now, Phase.TRAINING, self.step, reports=True))
            self.longest[Phase.TRAINING] = max(self.longest.get(Phase.TRAINING, 0.0), taken)

    def pause(self, phase: Phase, seconds: float) -> None:
        """Evaluate or save for so long, or for as long as is honest; a stranger's script does not say it."""
        honest = PATIENT * (self.pause_limit(phase) if self.tells else float(PAUSE_FLOOR))
        seconds = min(seconds, honest)
        if not self.tells:
            self.now += seconds
            return
        self.enter(phase, seconds)
        if not self.gated:  # our engine says so with its next step
            self.marks.append(Mark(self.now, Phase.TRAINING, self.step, reports=True))

    def stop(self, limit: float) -> None:
        """Nothing moves any more."""
        self.stopped, self.limit = self.marks[-1].at, limit
        self.now = self.stopped + limit + 30.0

    def stop_in(self, phase: Phase) -> None:
        """A pause like one before never ends.

        Our engine's last until the next step is done: one slow step more was learned.
        """
        if self.gated:
            self.longest[phase] += 1.5 * self.gap
        limit = self.pause_limit(phase)
        self.enter(phase, 0.0)
        self.stop(limit)

    @property
    def training_limit(self) -> float:
        """The limit on the gaps as they were meant."""
        return self.step_limit(self.gap)

    def step_limit(self, gap: float) -> float:
        """Seconds, by the documented rule, where steps are so far apart."""
        floor = LIMITS.floor_seconds if self.tells else PAUSE_FLOOR
        return max(LIMITS.step_multiplier * gap, float(floor))

    def pause_limit(self, phase: Phase) -> float:
        """The same for pauses that are told."""
        longest = self.longest.get(phase)
        if longest is None:
            return float(LIMITS.startup_seconds)
        return max(LIMITS.step_multiplier * longest, float(PAUSE_FLOOR))


Kind = Callable[[Attempt], None]


# ------------------------------------------------------------------------------------------------ stops


def stop_in_training(attempt: Attempt) -> None:
    """A rank sleeps inside a collective, and all the others wait."""
    attempt.begin()
    attempt.train(attempt.dice.randint(5, 60))
    longest = attempt.longest[Phase.TRAINING] if not attempt.gated else attempt.gap * 1.5
    attempt.stop(attempt.step_limit(longest))


def stop_in_an_evaluation(attempt: Attempt) -> None:
    """The second or third evaluation does not end."""
    _rounds(attempt, Phase.EVALUATION, attempt.dice.scale(1.0, 400.0))
    attempt.stop_in(Phase.EVALUATION)


def stop_in_a_checkpoint(attempt: Attempt) -> None:
    """The volume hangs in the middle of a save."""
    _rounds(attempt, Phase.CHECKPOINT, attempt.dice.scale(0.1, 100.0))
    attempt.stop_in(Phase.CHECKPOINT)


def stop_before_the_first_step(attempt: Attempt) -> None:
    """Rendezvous, data, restore, preflight or the first step never end."""
    attempt.begin()
    attempt.marks = attempt.marks[: attempt.dice.randint(1, len(attempt.marks))]
    attempt.stop(float(LIMITS.startup_seconds))


def stranger_stops(attempt: Attempt) -> None:
    """A script that only prints falls silent."""
    attempt.begin()
    attempt.train(attempt.dice.randint(5, 60))
    longest = max(attempt.longest[Phase.TRAINING], attempt.marks[5].at)
    attempt.stop(attempt.step_limit(longest))


# --------------------------------------------------------------------------------------------- patience


def plain(attempt: Attempt) -> None:
    """Steps of the same length, give or take."""
    attempt.begin()
    attempt.train(attempt.dice.randint(20, 150))


def evaluations_and_saves(attempt: Attempt) -> None:
    """Pauses of every length, some three times as long as the one before."""
    attempt.begin()
    evaluation, save = attempt.dice.scale(1.0, 900.0), attempt.dice.scale(0.1, 200.0)
    for _ in range(attempt.dice.randint(2, 6)):
        attempt.train(attempt.dice.randint(3, 20))
        attempt.pause(Phase.EVALUATION, evaluation * attempt.dice.uniform(0.5, 3.0))
        attempt.pause(Phase.CHECKPOINT, save * attempt.dice.uniform(0.5, 3.0))
    attempt.train(5)


def slow_storage(attempt: Attempt) -> None:
    """One report in ten waits for its data, up to 80 % of its limit."""
    attempt.begin()
    attempt.train(attempt.dice.randint(20, 60), hiccups=0.1)


def long_start(attempt: Attempt) -> None:
    """Downloads, compilation, a preflight of minutes."""
    attempt.begin(slow=attempt.dice.uniform(3.0, 30.0))
    attempt.train(10)


def stranger_with_pauses(attempt: Attempt) -> None:
    """A script that only prints evaluates now and then, and says nothing of it."""
    attempt.begin()
    pause = attempt.dice.scale(1.0, PAUSE_FLOOR)
    for _ in range(attempt.dice.randint(2, 5)):
        attempt.train(attempt.dice.randint(3, 20))
        attempt.pause(Phase.EVALUATION, pause * attempt.dice.uniform(0.5, 2.0))
    attempt.train(5)


def _rounds(attempt: Attempt, phase: Phase, seconds: float) -> None:
    attempt.begin()
    for _ in range(attempt.dice.randint(1, 3)):
        attempt.train(attempt.dice.randint(3, 20))
        attempt.pause(phase, seconds * attempt.dice.uniform(0.7, 1.3))
    attempt.train(attempt.dice.randint(3, 20))


STRANGERS = {stranger_stops, stranger_with_pauses}
STOPS: dict[str, Kind] = {
    kind.__name__.replace("_", " "): kind
    for kind in (
        stop_in_training, stop_in_an_evaluation, stop_in_a_checkpoint, stop_before_the_first_step, stranger_stops,
    )
}  # fmt: skip
PATIENCE: dict[str, Kind] = {
    kind.__name__.replace("_", " "): kind
    for kind in (plain, evaluations_and_saves, slow_storage, long_start, stranger_with_pauses)
}


def unfold(kind: str, seed: int) -> Attempt:
    """Draw one attempt; the same kind and seed give the same."""
    draw = (STOPS | PATIENCE)[kind]
    source = Source.STDOUT if draw in STRANGERS else Source.REPORTER
    attempt = Attempt(Dice(f"{kind}/{seed}"), source)
    draw(attempt)
    return attempt


@dataclasses.dataclass(frozen=True)
class Second:
    """What the supervisor hears within one second, and what it sees at its end."""

    now: float
    samples: list[StepSample]
    rows: list[RankRow]


def seconds(attempt: Attempt) -> Iterator[Second]:
    """Play it, tick by tick."""
    heard = seen = 0
    for second in range(1, math.ceil(attempt.now) + 1):
        now = float(second)
        while seen < len(attempt.marks) and attempt.marks[seen].at <= now:
            seen += 1
        fresh = [mark for mark in attempt.marks[heard:seen] if mark.reports]
        heard = seen
        samples = [sample(attempt, mark, rank) for mark in fresh for rank in range(attempt.ranks)]
        yield Second(now, samples, _rows(attempt, seen, now))


def sample(attempt: Attempt, mark: Mark, rank: int) -> StepSample:
    """A report of a run that learns."""
    step = mark.step or 0
    told: dict[str, Any] = {}
    if mark.phase is Phase.TRAINING:
        loss = 1.0 + math.exp(-step / 500) * (1.0 + 0.05 * math.sin(mark.at))
        told = {"losses": {"loss": loss}, "gradient_norm": 1.0 + 0.3 * math.sin(mark.at * 7)}
    return StepSample(
        time=mark.at,
        now=mark.at,
        rank=rank,
        step=step,
        source=attempt.source,
        gated=attempt.gated,
        phase=mark.phase,
        **told,
    )


def _rows(attempt: Attempt, seen: int, now: float) -> list[RankRow]:
    if not attempt.tells or not seen:
        return [RankRow(rank, rank) for rank in range(attempt.ranks)]
    mark = attempt.marks[seen - 1]
    rows = []
    for rank in range(attempt.ranks):
        # what a worker says of its stamp comes over the network and once a second
        age = max(0.0, now - mark.at + (attempt.dice.uniform(-0.5, 0.5) if rank else 0.0))
        rows.append(RankRow(rank, rank, mark.step, mark.phase, phase_age=age, registered=True))
    return rows
