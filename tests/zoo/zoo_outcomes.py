"""Curves with a plan, with checkpoints compared: faults that the loss does not show, and sound runs. Used by curves."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

from runs import Run

from speech_contract.progress import Rule
from speech_contract.report import Codebook, Plan, Weights

MODULES = ("text_encoder", "flow", "decoder", "discriminator")
Spoil = Callable[[Run], tuple[Rule, int]]


def saves(run: Run, still_from: int) -> Iterator[int]:
    """Every few reports a checkpoint, compared with the one before; from a report on nothing moves."""
    every = run.dice.randint(2, 5)
    for index in range(every, len(run), every):
        step = index * run.every
        since = step - every * run.every
        still = since >= still_from * run.every
        shares = {name: 1.0 if still else run.dice.uniform(0.0, 0.9) for name in MODULES}
        moved = {name: 0.0 if still else run.dice.scale(1e-6, 1e-2) for name in MODULES}
        run.fields[index]["weights"] = Weights(step, since, step - since, shares, moved, 1e-3)
        if still:
            yield index


def weights_that_stay(run: Run) -> tuple[Rule, int]:
    """What is saved is not what is trained: from a step on checkpoints are bit-identical."""
    at = run.dice.choice([0, run.dice.randint(1, len(run) - 45)])
    first, *_ = saves(run, at)
    return Rule.NOT_UPDATING, first


def plan_that_moves_nothing(run: Run) -> tuple[Rule, int]:
    """Hundreds of steps at a rate so small that no weight can get anywhere."""
    steps, fresh = run.dice.randint(200, 2000), run.dice.random() < 0.5
    run.fields[0]["plan"] = Plan(steps, run.dice.scale(1e-9, 0.0199 if fresh else 1.9e-4), fresh)
    return Rule.NOT_UPDATING, 0


def planned(run: Run) -> None:
    """Every report states its plan."""
    for fields in run.fields:
        fields["planned_rate"] = fields["learning_rate"]


def rate_off_its_plan(run: Run) -> tuple[Rule, int]:
    """Somebody rewrites the rate, or the schedule is no longer stepped."""
    planned(run)
    at, kind = run.dice.randint(1, len(run) - 45), run.dice.randrange(3)
    factor = run.dice.choice([run.dice.scale(0.01, 0.9), run.dice.scale(1.1, 100.0)])
    # Frozen where it is no twin of the plan: the rate moves by less than 1 % in some reports.
    frozen = run.fields[at - 1]["learning_rate"] * factor
    for fields in run.fields[at:]:
        fields["learning_rate"] = frozen if kind == 0 else fields["learning_rate"] * factor
    if kind == 0:
        for fields in run.fields[at:]:
            fields["planned_rate"] = run.fields[at]["planned_rate"]
    return Rule.SCHEDULE_MISMATCH, at


def schedule_as_planned(run: Run) -> None:
    """Warm-up, decay to 0, float32, gated updates; asked before or after the schedule is stepped; a resume."""
    planned(run)
    kind, rate = run.dice.randrange(4), run.dice.scale(1e-6, 1e-2)
    if kind == 0:  # linear to 0
        for index, fields in enumerate(run.fields):
            fields["learning_rate"] = fields["planned_rate"] = rate * (1 - index / (len(run) - 1))
    if kind == 1:  # the rate of the next update beside the plan of this one, in a steep warm-up
        for index, fields in enumerate(run.fields):
            fields["planned_rate"] = rate * (index + 1) / 100
            fields["learning_rate"] = rate * (index + 2) / 100
    for fields in run.fields:
        fields["learning_rate"] *= 1.0 + run.dice.uniform(-1e-6, 1e-6)
    if kind == 2:  # a restored checkpoint's rate holds for one update
        run.fields[run.dice.randint(1, len(run) - 1)]["learning_rate"] *= 3.0


def codebooks(run: Run, start: int = 0) -> list[dict[str, Codebook]]:
    """Eight levels that come into use, from report `start` on, as often as a codec logs; noisy."""
    run.every = 10
    size, levels = run.dice.choice([256, 1024]), run.dice.choice([4, 8])
    top, spread = run.dice.uniform(0.3, 0.9), run.dice.uniform(0.02, 0.25)
    speed = run.dice.uniform(5.0, 25.0)
    for index, fields in enumerate(run.fields[start:]):
        fields["codebooks"] = {
            str(level): Codebook(
                perplexity=max(
                    1.0, size * top * (1 - math.exp(-(index + 1) / speed)) * run.dice.noise(spread)
                ),
                size=size,
                dead=max(0.0, min(1.0, 0.9 * math.exp(-index / speed) * run.dice.noise(spread))),
                movement=max(2e-3, 0.5 * math.exp(-index / speed)) * run.dice.noise(spread),
                residual=run.dice.uniform(0.3, 0.9),
            )
            for level in range(levels)
        }
    return [fields["codebooks"] for fields in run.fields[start:]]


def _spoil(books: list[dict[str, Codebook]], levels: int, **change: float) -> None:
    for report in books:
        for name in list(report)[:levels]:
            report[name] = dataclasses.replace(report[name], **change)


def codebooks_that_collapse(run: Run) -> tuple[Rule, int]:
    """Some or all levels fall to a code or two."""
    books, at = codebooks(run), run.dice.randint(25, len(run) - 45)
    _spoil(books[at:], run.dice.randint(1, 8), perplexity=run.dice.uniform(1.0, 1.9))
    return Rule.CODEBOOK_COLLAPSE, at


def codebooks_that_stand_still(run: Run) -> tuple[Rule, int]:
    """Moving averages of the quantised tensor: their fixed point is where they are."""
    _spoil(codebooks(run), 8, movement=run.dice.scale(1e-7, 5e-4))
    return Rule.CODEBOOK_COLLAPSE, 0


def levels_that_add(run: Run) -> tuple[Rule, int]:
    """Codebooks drawn too large: each level adds to what it should take away."""
    at = run.dice.randint(20, len(run) - 45)
    _spoil(codebooks(run)[at:], 8, residual=run.dice.uniform(1.05, 5.0))
    return Rule.CODEBOOK_COLLAPSE, at


def codebooks_that_begin_with_one_code(run: Run) -> tuple[Rule, int]:
    """Said to be begun by k-means, and all that is coded is coded by one code or two."""
    at = run.dice.randint(5, len(run) - 45)
    _begin(run, at, perplexity=run.dice.uniform(1.0, 1.9))
    return Rule.CODEBOOK_COLLAPSE, at


def codebooks_begun_by_k_means(run: Run) -> None:
    """Poor at first, as a sound codec's are after a few steps of warm-up: few codes in use, most of them dead."""
    start = run.dice.randint(5, len(run) - 45)
    _begin(run, start)


def _begin(run: Run, start: int, **change: float) -> None:
    """Books of known age, from report `start` on; every step is reported."""
    books, speed = codebooks(run, start), run.dice.uniform(3.0, 30.0)
    run.every = 1
    for age, report in enumerate(books):
        young = max(0.2, 1.0 - math.exp(-(age + 1) / speed))
        for name, book in report.items():
            lively = max(8.0, (book.perplexity or 0.0) * young)
            fields = {"perplexity": lively, "movement": min(1.0, 9e-4 * age)} | change
            report[name] = dataclasses.replace(book, age=age, dead=0.7 * (1.0 - young), **fields)


def codebooks_in_use(run: Run) -> None:
    """A codec that learns: k-means late, silent batches, levels that are used little at first, a late resume."""
    books = codebooks(run, run.dice.choice([0, 6, 30]))
    for report in books:
        if run.dice.random() < 0.05:  # a batch of silence
            _spoil([report], 8, perplexity=1.0)
    if run.dice.random() < 0.3:  # resumed when nothing moves any more
        for index, fields in enumerate(run.fields):
            fields["step"] = 50_000 + index * 10
        _spoil(books, 8, movement=1e-6)


def checkpoints_compared(run: Run) -> None:
    """Saves at any distance; most of an embedding, or of a module that is warming up, stays as it was."""
    list(saves(run, len(run)))
    for fields in run.fields:
        weights = fields.get("weights")
        if weights is not None:
            weights.unchanged["text_encoder"] = run.dice.uniform(0.9, 0.9999)
    run.fields[0]["plan"] = Plan(len(run) * run.every, run.dice.scale(0.02, 10.0), fresh=True)


def short_trial(run: Run) -> None:
    """A few steps to see whether it runs, or a pretrained model that is adapted gently."""
    trial = run.dice.random() < 0.5
    steps = run.dice.randint(2, 199) if trial else run.dice.randint(200, 3000)
    rates = run.dice.scale(1e-6, 1e-2) if trial else run.dice.scale(2.1e-4, 1e-2)
    run.fields[0]["plan"] = Plan(steps, rates, fresh=trial)


OUTCOME_FAULTS: dict[str, Spoil] = {
    spoil.__name__.replace("_", " "): spoil
    for spoil in (
        weights_that_stay,
        plan_that_moves_nothing,
        rate_off_its_plan,
        codebooks_that_collapse,
        codebooks_that_stand_still,
        levels_that_add,
        codebooks_that_begin_with_one_code,
    )
}
OUTCOME_HEALTHY: dict[str, Callable[[Run], None]] = {
    sound.__name__.replace("_", " "): sound
    for sound in (
        checkpoints_compared,
        short_trial,
        schedule_as_planned,
        codebooks_in_use,
        codebooks_begun_by_k_means,
    )
}
