"""Curves of rule GoalUnreachable: goals out of reach, and scores that wander on their way. Found by curves."""

from __future__ import annotations

import math
from collections.abc import Callable

from runs import Run, named

from speech_contract.progress import Rule
from speech_contract.report import Plan


def too_little_audio(run: Run) -> tuple[Rule, int]:
    """A full-size model from random weights on a few files, or a fidelity beyond the bit rate."""
    weights = run.dice.randint(30_000_000, 300_000_000)
    few = weights / run.dice.scale(1.1e5, 1e7)
    codec = run.dice.random() < 0.5
    bits = run.dice.uniform(1500.0, 12_000.0)
    bound = {"goal_snr": run.dice.uniform(30.0, 40.0), "bits_per_second": bits}
    run.fields[0]["plan"] = Plan(
        run.dice.randint(200, 100_000),
        fresh=True,
        parameters=weights,
        audio_seconds=36_000.0 if codec else few,
        **(bound if codec else {}),
    )
    return Rule.GOAL_UNREACHABLE, 0


def scores(run: Run, value: Callable[[int], float], every: int) -> None:
    """Held-out scores, repeated in every report until the next evaluation."""
    newest: dict[str, float] | None = None
    for index, fields in enumerate(run.fields):
        if index % every == every - 1:
            newest = {"dtw_mel": value(index), "length_ratio": run.dice.uniform(0.2, 3.0)}
        fields["evaluation"] = newest


def score_that_falls_behind(run: Run) -> tuple[Rule, int]:
    """The loss falls for good; the held-out score has its best early and gets worse."""
    every, start = run.dice.randint(2, 4), run.dice.scale(0.5, 5.0)
    at, rise = run.dice.randint(30, 60), run.dice.uniform(0.25, 0.6)
    for index in range(len(run)):
        fall = math.exp(-index / run.dice.uniform(55.0, 60.0))
        run.loss(index, lambda loss, fall=fall: loss * fall)  # type: ignore[misc]
    scores(
        run, lambda i: start * (1 + max(0, (i - at) // every) * rise + max(0, at - i) * 0.01), every
    )
    return Rule.GOAL_UNREACHABLE, at


def scores_that_wander(run: Run) -> None:
    """A few held-out sentences: the score falls, wanders and rises a little when the model learns by heart."""
    every, start = run.dice.randint(5, 30), run.dice.scale(0.5, 5.0)
    wander = run.dice.uniform(0.0, 0.06)
    slow = run.dice.uniform(0.0, 1.5e-4)
    scores(
        run,
        lambda i: start * (0.6 + 0.4 * math.exp(-i / 50) + slow * i) * run.dice.noise(wander),
        every,
    )
    run.fields[0]["plan"] = Plan(
        1000, 1.0, fresh=True, parameters=950_000, audio_seconds=run.dice.uniform(20.0, 400.0),
        goal_snr=8.0, bits_per_second=6000.0,
    )  # fmt: skip


FAULTS = named(too_little_audio, score_that_falls_behind)
HEALTHY = named(scores_that_wander)
